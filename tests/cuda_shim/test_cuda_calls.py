"""What a CUDA build of Caffe calls, where there is no GPU: shim.cpp answers, and writes down who called what.

It shows the sequence of calls, not arithmetic: no kernel runs. `./run_tests.sh --cuda` makes the build and
runs this; without a CUDA build in CAFFE_PREFIX these tests skip.
"""

import os
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PREFIX = Path(os.environ.get("CAFFE_PREFIX", ROOT / ".caffe"))
CACHE = PREFIX / "build/objects/CMakeCache.txt"
MIB = 1 << 20
FP32, TF32 = 3, 0  # CUDNN_FMA_MATH, CUDNN_DEFAULT_MATH
CONVOLUTIONS = 3  # of NET, the last a deconvolution
ITERATIONS = 10

INPUT = """layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 4 dim: 3 dim: 32 dim: 32 } shape { dim: 4 }
  data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 1 } } }
"""
LAYERS = """
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
  convolution_param { num_output: 8 group: 2 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "sigmoid" type: "Sigmoid" bottom: "conv2" top: "sigmoid" }
layer { name: "norm" type: "LRN" bottom: "sigmoid" top: "norm" }
layer { name: "pool" type: "Pooling" bottom: "norm" top: "pool"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "tanh" type: "TanH" bottom: "pool" top: "tanh" }
layer { name: "up" type: "Deconvolution" bottom: "tanh" top: "up"
  convolution_param { num_output: 4 kernel_size: 2 stride: 2 weight_filler { type: "xavier" } } }
"""
TOP = """layer { name: "fc" type: "InnerProduct" bottom: "up" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "fc" top: "fc" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
SOLVER = f"""net: "net.prototxt" test_iter: 2 test_interval: 5 display: 1 max_iter: {ITERATIONS}
base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 snapshot_prefix: "s" snapshot_after_train: false
solver_mode: GPU random_seed: 5
"""
# Forwards of one net, of the same shape, then of another; marks in the log say where each begins.
PYCAFFE = """
import os, sys, caffe
caffe.set_device({device}); caffe.set_mode_gpu()
net = caffe.Net("deploy.prototxt", caffe.TEST)
def mark(text):
    with open(os.environ["SHIM_LOG"], "a") as log: log.write(f"0 0 mark {{text}}\\n")
net.forward(); mark("second"); net.forward(); mark("reshaped")
net.blobs["data"].reshape(2, 3, 16, 16); net.forward(); mark("again"); net.forward(); mark("deleted")
del net
mark("end")
"""


def cache(name: str) -> str:
    found = re.search(rf"^{name}:[A-Z]+=(.*)$", CACHE.read_text(), re.MULTILINE)
    assert found, name
    return found[1]


if not CACHE.exists() or "CAFFE_CUDA:BOOL=ON" not in CACHE.read_text():
    pytest.skip("this Caffe is not built for CUDA: ./run_tests.sh --cuda", allow_module_level=True)


@dataclass(frozen=True)
class Call:
    thread: int
    device: int
    name: str
    details: str

    def number(self, name: str) -> int:
        return int(re.search(rf"\b{name}=(\d+)", self.details)[1])  # type: ignore[index]


class Run:
    """A program under the shim, and the calls that it made."""

    def __init__(self, folder: Path, shim: Path, *command: str, **environment: object) -> None:
        log = folder / "calls"
        log.unlink(missing_ok=True)
        settings = {"SHIM_LOG": str(log), "LD_PRELOAD": str(shim)}
        settings |= {name: str(value) for name, value in environment.items()}
        self.done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        lines = [line.split(" ", 3) for line in log.read_text().splitlines()]
        self.calls = [Call(int(line[0]), int(line[1]), line[2], " ".join(line[3:])) for line in lines]

    def named(self, pattern: str) -> list[Call]:
        return [call for call in self.calls if re.fullmatch(pattern, call.name)]

    def bad(self) -> list[str]:
        return sorted({call.details for call in self.named("BAD")})

    def between(self, first: str, last: str) -> list[Call]:
        at = {call.details: number for number, call in enumerate(self.calls) if call.name == "mark"}
        return self.calls[at[first] : at[last]]

    def in_use(self) -> Counter[int]:
        """Bytes of each GPU that are allocated and not freed when main ends."""
        held: Counter[int] = Counter()
        for call in self.calls:
            if call.name == "main":
                break
            if call.name == "cudaMalloc" and "refused" not in call.details:
                held[call.device] += int(call.details)
            elif call.name == "cudaFree":
                held[call.device] -= int(call.details)
        return held

    def most_in_use(self, least: int) -> int:
        """Bytes that are allocated at once, in pieces of at least so many."""
        held, most = 0, 0
        for call in self.named("cudaMalloc|cudaFree"):
            size = 0 if "refused" in call.details else int(call.details)
            if size >= least:
                held += size if call.name == "cudaMalloc" else -size
            most = max(most, held)
        return most


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    includes = [
        f"-I{cache(header + '_dir')}" for header in ("cuda_runtime.h", "cudnn.h", "nccl.h", "curand.h")
    ]
    command = ["g++", "-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", *includes]
    subprocess.run([*command, HERE / "shim.cpp", "-o", library, "-ldl"], check=True)
    return library


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.prototxt").write_text(INPUT + LAYERS + TOP)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    (tmp_path / "deploy.prototxt").write_text(INPUT + LAYERS)
    (tmp_path / "forward.py").write_text(PYCAFFE.format(device=3))
    return tmp_path


def train(folder: Path, shim: Path, gpus: str = "0", **environment: object) -> Run:
    return Run(folder, shim, "caffe", "train", "-solver", "solver.prototxt", "-gpu", gpus, **environment)


def test_a_training_ends_with_its_main(folder: Path, shim: Path) -> None:
    run = train(folder, shim)
    assert run.done.returncode == 0, run.done.stderr
    assert f"Iteration {ITERATIONS}, loss" in run.done.stderr and run.bad() == []
    assert run.calls[-1].name == "main" and run.in_use() == {0: 0}


def test_an_algorithm_is_searched_once_a_shape_and_pass(folder: Path, shim: Path) -> None:
    """In training for each pass that runs, of which the first layer lacks one; in tests forward alone."""
    run = train(folder, shim)
    assert len(run.named("convolve-.*")) > 10 * CONVOLUTIONS
    assert len(run.named("cudnnGet.*Algorithm_v7")) == 3 * CONVOLUTIONS - 1 + CONVOLUTIONS


def test_a_forward_of_the_same_shape_searches_and_allocates_nothing(folder: Path, shim: Path) -> None:
    run = Run(folder, shim, "python", "forward.py", SHIM_GPUS=4)
    assert run.done.returncode == 0 and run.bad() == [], run.done.stderr
    for first, last in (("second", "reshaped"), ("again", "deleted")):
        calls = run.between(first, last)
        assert [
            call for call in calls if re.match("cudnn(Get|SetConv|Create)|cuda(Malloc|Free)$", call.name)
        ] == []
        assert sum(call.name.startswith("convolve-") for call in calls) == CONVOLUTIONS + 1  # two groups
    searched = Counter(call.name for call in run.between("reshaped", "again"))
    assert sum(searched[name] for name in searched if name.endswith("Algorithm_v7")) == CONVOLUTIONS


def test_one_set_of_handles_a_thread_and_gpu(folder: Path, shim: Path) -> None:
    run = train(folder, shim, "0,1", SHIM_GPUS=2)
    made = Counter((call.thread, call.device) for call in run.named("cudnnCreate"))
    assert sorted(made.values()) == [3, 3] and {device for _, device in made} == {0, 1}
    assert len(run.named("cudaStreamCreate")) == 4 and len(run.named("cudnnDestroy")) == 6
    for name in ("cublasCreate_v2", "curandCreateGenerator"):
        assert Counter(call.device for call in run.named(name)) == {0: 1, 1: 1}


def test_two_gpus_train_ten_steps_and_end(folder: Path, shim: Path) -> None:
    run = train(folder, shim, "0,1", SHIM_GPUS=2)
    assert run.done.returncode == 0 and run.bad() == [], run.done.stderr
    assert Counter(call.device for call in run.named("ncclAllReduce")) == {
        0: 4 * ITERATIONS,
        1: 4 * ITERATIONS,
    }
    assert Counter(call.device for call in run.named("convolve-filter")) == {
        0: 4 * ITERATIONS,
        1: 4 * ITERATIONS,
    }
    assert sum(run.in_use().values()) == 0


def test_a_worker_of_gpu_3_opens_that_one_alone(folder: Path, shim: Path) -> None:
    """Also where another process has GPU 0 to itself."""
    for environment in ({}, {"SHIM_TAKEN": 0}):
        run = Run(folder, shim, "python", "forward.py", SHIM_GPUS=4, **environment)
        assert run.done.returncode == 0 and run.bad() == [], run.done.stderr
        assert {call.device for call in run.named("context")} == {3}
        assert {call.device for call in run.named("cuda.*|cudnn.*|cublas.*|convolve.*|launch")} == {3}


def test_who_asks_which_gpus_there_are_opens_none(folder: Path, shim: Path) -> None:
    for taken in (-1, 0):
        run = Run(folder, shim, "sh", "-c", "caffe_gpus", SHIM_GPUS=3, SHIM_TAKEN=taken)
        assert (run.done.returncode, run.done.stdout) == (0, "0,1,2\n")
        assert run.named("context") == []


def test_a_training_on_the_cpu_opens_none(folder: Path, shim: Path) -> None:
    solver = folder / "solver.prototxt"
    solver.write_text(SOLVER.replace("solver_mode: GPU", "solver_mode: CPU"))
    run = Run(folder, shim, "caffe", "train", "-solver", "solver.prototxt", SHIM_GPUS=2)
    assert run.done.returncode == 0 and run.named("context") == []


@pytest.mark.parametrize(
    ("megabytes", "forward", "data", "filter_"), [(None, 6, 4, 3), (512, 7, 5, 5), (8, 0, 0, 0), (0, 0, 0, 0)]
)
def test_fp32_takes_the_fastest_of_fp32_that_fits(folder, shim, megabytes, forward, data, filter_) -> None:
    """The list's first is TF32's and takes 1 MiB, its second can't be had."""
    limit = {} if megabytes is None else {"CAFFE_CUDNN_WORKSPACE_MB": megabytes}
    run = train(folder, shim, **limit)
    assert run.done.returncode == 0 and run.bad() == []
    for name, algorithm in (("forward", forward), ("data", data), ("filter", filter_)):
        assert {call.number("algorithm") for call in run.named(f"convolve-{name}")} == {algorithm}
    assert {call.number("math") for call in run.named("convolve-.*")} == {FP32}
    assert {call.number("mode") for call in run.named("cublasSetMathMode")} == {0}


def test_tf32_takes_cudnns_order(folder: Path, shim: Path) -> None:
    """But for a deconvolution's gradient, which goes without the first."""
    run = train(folder, shim, CAFFE_TF32=1)
    assert run.done.returncode == 0 and run.bad() == []
    assert Counter(call.number("algorithm") for call in run.named("convolve-filter")).keys() == {1}
    assert {call.number("algorithm") for call in run.named("convolve-data")} == {1}
    assert {call.number("algorithm") for call in run.named("convolve-forward")} == {1, 6}
    assert {call.number("math") for call in run.named("convolve-.*")} == {TF32}
    assert {call.number("mode") for call in run.named("cublasSetMathMode")} == {3}


def test_all_layers_share_one_workspace(folder: Path, shim: Path) -> None:
    """Two passes of 40 MiB side by side are the most that any layer asks for at once."""
    run = train(folder, shim)
    assert run.most_in_use(least=10 * MIB) == 80 * MIB
    # of the net that learns, and of the one that tests, on the same thread
    assert len([call for call in run.named("cudaMalloc") if int(call.details) >= 40 * MIB]) <= 3


def test_where_the_workspace_has_no_room_slower_algorithms_run(folder: Path, shim: Path) -> None:
    run = train(folder, shim, SHIM_MEMORY=60 * MIB)
    assert run.done.returncode == 0 and run.bad() == [], run.done.stderr
    assert [call for call in run.named("cudaMalloc") if "refused" in call.details]
    assert {call.number("algorithm") for call in run.named("convolve-forward")} == {0, 6}
    # alone the first layer's 40 MiB fit, beside another pass or group's they don't
    assert {call.number("algorithm") for call in run.named("convolve-filter")} == {0, 3}


def test_the_log_names_algorithms_once(folder: Path, shim: Path) -> None:
    said = train(folder, shim, CAFFE_CUDNN_LOG=1).done.stderr
    assert said.count("conv1: cudnnConvolutionForward by algorithm WINOGRAD, FP32, 41943040 bytes") == 2
    assert said.count("bytes of workspace") == 3 * CONVOLUTIONS - 1 + CONVOLUTIONS
    assert "bytes of workspace" not in train(folder, shim).done.stderr


def read_from_lmdb(folder: Path) -> None:
    """Let the net read pictures of an LMDB."""
    draw = np.random.default_rng(0)
    for number in range(8):
        cv2.imwrite(str(folder / f"{number}.png"), draw.integers(0, 256, (32, 32, 3), np.uint8))
    (folder / "list").write_text("".join(f"{number}.png {number % 3}\n" for number in range(8)))
    command = ["convert_imageset", f"{folder}/", "list", "lmdb"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    data = f'data_param {{ source: "{folder}/lmdb" batch_size: 4 backend: LMDB }} }}\n'
    data = 'layer { name: "data" type: "Data" top: "data" top: "label" ' + data
    (folder / "net.prototxt").write_text(data + LAYERS + TOP)


def test_a_reading_thread_makes_no_handles(folder: Path, shim: Path) -> None:
    read_from_lmdb(folder)
    run = train(folder, shim)
    assert run.done.returncode == 0 and run.bad() == [], run.done.stderr
    readers = {call.thread for call in run.named("cudaMemcpyAsync")}
    makers = {call.thread for call in run.named("cudnnCreate|cublasCreate_v2|curandCreateGenerator")}
    assert (
        len(readers) == 2 and len(makers) == 1 and not readers & makers
    )  # a net that learns, one that tests


def one_sentence(run: Run, sentence: str) -> None:
    said = [line for line in run.done.stderr.splitlines() if not re.match(r"[IW]\d{8} ", line)]
    assert run.done.returncode == 1 and len(said) == 1 and sentence in said[0], run.done.stderr


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        (
            {"SHIM_DRIVER": 12080},
            "the driver is too old, it goes up to CUDA 12.8; this Caffe (CUDA 13.0) needs",
        ),
        ({"SHIM_DRIVER": 0, "SHIM_GPUS": 0}, "no driver is in reach; this Caffe (CUDA 13.0) needs"),
        (
            {"SHIM_CAPABILITY": "7.0"},
            "this Caffe holds no code for GPU 0 (no GPU at all, compute capability 7.0)",
        ),
        ({"SHIM_TAKEN": 0}, "GPU 0 is in use, and the process that uses it has it to itself"),
        ({"SHIM_GPUS": 0}, "CUDA finds no GPU"),
        ({"CAFFE_TF32": "yes"}, "CAFFE_TF32 is 0 or 1, not yes"),
        ({"CAFFE_CUDNN_LOG": "yes"}, "CAFFE_CUDNN_LOG is 0 or 1, not yes"),
        ({"CAFFE_CUDNN_WORKSPACE_MB": "much"}, "CAFFE_CUDNN_WORKSPACE_MB is a number of MiB, not much"),
    ],
)
def test_a_gpu_that_cannot_be_had_is_one_sentence(folder, shim, environment, sentence) -> None:
    one_sentence(train(folder, shim, **environment), sentence)


def test_newer_gpus_run_what_was_compiled_for_older_ones(folder: Path, shim: Path) -> None:
    """The newest architecture is there as PTX too."""
    assert Run(folder, shim, "sh", "-c", "caffe_gpus", SHIM_CAPABILITY="12.1").done.stdout == "0\n"


def test_out_of_memory_is_said(folder: Path, shim: Path) -> None:
    run = train(folder, shim, SHIM_MEMORY=100_000)
    assert run.done.returncode != 0
    assert re.search(
        r"^F.* Check failed: error == cudaSuccess \(2 vs. 0\) +out of memory", run.done.stderr, re.M
    )


def test_one_of_two_gpus_lost_ends_the_training(folder: Path, shim: Path) -> None:
    run = train(folder, shim, "0,1", SHIM_GPUS=2, SHIM_LOST="1:400")
    assert run.done.returncode != 0
    assert re.search(r"^F.* Check failed: ", run.done.stderr, re.M)


def test_a_reduction_that_never_ends_is_ended(folder: Path, shim: Path) -> None:
    """By tools/finetune.sh."""
    read_from_lmdb(folder)
    (folder / "solver.prototxt").write_text(
        SOLVER.replace('"net', f'"{folder}/net').replace('"s"', f'"{folder}/s"')
    )
    command = f'tools/finetune.sh --prototxt "{folder}" --out "{folder}/m" --gpu 0,1 --silence 3'
    run = Run(folder, shim, "sh", "-c", f'cd "{ROOT}" && {command}', SHIM_GPUS=2, SHIM_HANG=1)
    assert run.done.returncode == 1, run.done.stderr
    assert run.done.stderr.splitlines()[-1].startswith(
        "finetune: the training displayed nothing for 3 seconds"
    )
