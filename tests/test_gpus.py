"""GPUs that are not there, and batches shared among GPUs."""

import os
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import caffe
import pytest
from caffe.proto import caffe_pb2

from tools.snapshots import pictures_a_step

ROOT = Path(__file__).parent.parent
GPUS = subprocess.run(["caffe_gpus"], capture_output=True, text=True, check=True).stdout.strip()
DEMO = ROOT / "prototxt" / "demo"


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | environment,
    )  # fmt: skip


def one_sentence(done: subprocess.CompletedProcess[str], beginning: str) -> None:
    assert done.returncode == 1
    said = [
        line for line in done.stderr.splitlines() if not re.match(r"[IW]\d{8} ", line)
    ]  # beside Caffe's log
    assert len(said) == 1 and said[0].startswith(beginning), done.stderr
    assert "Check failed" not in done.stderr and "Traceback" not in done.stderr


def test_there_is_no_gpu_99() -> None:
    model = DEMO / "deploy.prototxt"
    one_sentence(run("caffe_gpus", "99"), "caffe: -gpu 99: ")
    one_sentence(run("caffe", "time", "-model", model, "-gpu", "99"), "caffe: -gpu 99: ")
    one_sentence(run("caffe", "device_query", "-gpu", "0,99"), "caffe: -gpu 0,99: ")


def test_a_solver_that_wants_a_gpu(tmp_path) -> None:
    """solver_mode: GPU asks for one as -gpu does."""
    solver = tmp_path / "solver.prototxt"
    solver.write_text(f'net: "{DEMO}/train_val.prototxt"\nsolver_mode: GPU\ndevice_id: 99\n')
    one_sentence(run("caffe", "train", "-solver", solver), "caffe: -gpu 99: ")


@pytest.mark.parametrize("flag", ["x", "0,", "0;1", "1.5"])
def test_a_list_of_gpus_that_is_none(flag) -> None:
    done = run("caffe", "device_query", "-gpu", flag)
    one_sentence(done, f"caffe: -gpu {flag}: a list of GPUs is numbers such as 0,1, not {flag}")


@pytest.mark.skipif(bool(GPUS), reason="this machine has a GPU")
def test_no_gpu_at_all() -> None:
    one_sentence(run("caffe", "device_query", "-gpu", "all"), "caffe: -gpu all: ")
    with pytest.raises(ValueError):
        caffe.set_mode_gpu()


def test_pycaffe_without_that_gpu() -> None:
    with pytest.raises(ValueError) as said:
        caffe.set_device(99)
    assert str(said.value) in run("caffe_gpus", "99").stderr
    caffe.set_mode_cpu()


def test_run_all_without_that_gpu(tmp_path) -> None:
    done = run("./run_all.sh", "--gpu", "99", "--from", "data", "--work", tmp_path / "work")
    one_sentence(done, "run_all: --gpu 99: ")
    done = run("./run_all.sh", "--gpu", "one", "--work", tmp_path / "work")
    assert done.returncode == 2
    assert done.stderr == "run_all: --gpu takes numbers such as 0,1, or none, not one (see --help)\n"


@pytest.mark.parametrize(("gpus", "count", "mode"), [("0,3", 2, "GPU"), ("1", 1, "GPU"), ("none", 0, "CPU")])
def test_run_all_passes_gpus_on(gpus, count, mode, tmp_path) -> None:
    """The plan of a machine that has them: without Caffe nobody can say that it has none."""
    nowhere = str(tmp_path / "no caffe")
    plan = run(
        "./run_all.sh", "--dry-run", "--profile", "article", "--gpu", gpus, CAFFE_PREFIX=nowhere
    ).stdout
    fill, finetune = (
        next(line.split() for line in plan.splitlines() if name in line)
        for name in ("fill_prototxt", "tools/finetune.sh")
    )
    options = dict(pairwise(fill))
    assert (options["--solver-mode"], options["--gpus"]) == (mode, str(count))
    assert options["--effective-batch"] == "128"
    assert finetune[-2:] == ["--gpu", gpus]


def test_gpus_that_cannot_share_a_step_are_refused_before_anything(tmp_path) -> None:
    nowhere, options = str(tmp_path / "no caffe"), ("--profile", "article", "--gpu", "0,1,2")
    one_sentence(
        run("./run_all.sh", "--dry-run", *options, CAFFE_PREFIX=nowhere),
        "run_all: 3 GPUs (0,1,2) can't share EFFECTIVE_BATCH=128 pictures a step evenly: ",
    )
    plan = run("./run_all.sh", "--dry-run", "--table", "1", *options, CAFFE_PREFIX=nowhere)
    assert plan.returncode == 0, "nothing is trained"


def test_pictures_a_step() -> None:
    solver = caffe_pb2.SolverParameter(net=str(ROOT / "prototxt/vgg16/train_val.prototxt"))
    assert pictures_a_step(solver, 1) == "64"
    assert pictures_a_step(solver, 2) == "64 x 2 GPUs = 128"
    solver.iter_size = 4
    assert pictures_a_step(solver, 2) == "64 x iter_size 4 x 2 GPUs = 512"


def test_the_images_entry_point() -> None:
    prefix = os.environ["CAFFE_PREFIX"]
    assert run("tools/entrypoint.sh", "--list", CAFFE_PREFIX=prefix).stdout.startswith("setup\ndata\n")
    assert (
        run("tools/entrypoint.sh", "caffe", "--version", CAFFE_PREFIX=prefix).stdout
        == "caffe version 1.0.0\n"
    )
    assert run("tools/entrypoint.sh", "sh", "-c", "exit 7", CAFFE_PREFIX=prefix).returncode == 7
