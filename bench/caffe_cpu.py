"""VGG16 on the CPU: Caffe with the oneDNN engine against PyTorch and Caffe's own code.

Every peer is a process that stays up and computes when told to, one at a time, in alternating order.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.measure import Row, compare, finish, options, peak_mib, run_bench, seconds
from eval.forward.precision import why_no_bf16

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "prototxt/vgg16/deploy.prototxt"
PEERS = {
    "onednn": "Caffe, oneDNN",
    "bf16": "Caffe, oneDNN in bf16",
    "torch": "PyTorch, channels last",
    "caffe": "Caffe's own code",
}
CASES = {
    "fc7": "forward to fc7, 224x224, batch 8",
    "pool5": "forward to pool5, 768x1024, batch 1",
    "training": "forward and backward, 224x224, batch 8",
}
GOALS = {"fc7": "<= 0.65", "pool5": "<= 0.7", "training": "<= 0.8"}
BF16_GOALS = {"fc7": "", "pool5": "<= 0.5"}
CONVOLUTIONS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def input_shape(case: str) -> tuple[int, int, int, int]:
    """A case's input, (N, C, H, W)."""
    return (1, 3, 768, 1024) if case == "pool5" else (8, 3, 224, 224)


def caffe_step(case: str) -> Callable[[], object]:
    """One pass of a case by pycaffe, with random weights."""
    import caffe
    from caffe.proto import caffe_pb2
    from google.protobuf import text_format

    net_parameter = text_format.Parse(DEPLOY.read_text(), caffe_pb2.NetParameter())
    for layer in net_parameter.layer:
        if layer.type == "Convolution":
            layer.convolution_param.weight_filler.type = "msra"
        elif layer.type == "InnerProduct":
            layer.inner_product_param.weight_filler.type = "xavier"
        elif layer.type == "Input":
            layer.input_param.shape[0].dim[:] = input_shape(case)
    names = [layer.name for layer in net_parameter.layer]
    if case == "pool5":
        del net_parameter.layer[names.index("pool5") + 1 :]
    elif case == "training":
        del net_parameter.layer[names.index("fc8") + 1 :]
        label = net_parameter.layer.add(name="label", type="Input", top=["label"])
        label.input_param.shape.add(dim=[8])
        net_parameter.layer.add(name="loss", type="SoftmaxWithLoss", bottom=["fc8", "label"], top=["loss"])
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(text_format.MessageToString(net_parameter))
        file.flush()
        net = caffe.Net(file.name, caffe.TRAIN if case == "training" else caffe.TEST)
    net.blobs["data"].data[...] = 50 * np.random.default_rng(0).standard_normal(input_shape(case))

    def step() -> None:
        net.forward(end={"fc7": "fc7", "pool5": "pool5", "training": "loss"}[case])
        if case == "training":
            net.backward()

    return step


def torch_step(case: str, threads: int) -> Callable[[], object]:
    """One pass of a case by PyTorch: channels last, no gradients unless asked for."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    convolutions, channels = [], 3
    for count, width in CONVOLUTIONS:
        for _ in range(count):
            convolution = torch.nn.Conv2d(channels, width, 3, padding=1)
            torch.nn.init.kaiming_normal_(convolution.weight)
            convolutions.append(convolution.to(memory_format=torch.channels_last))
            channels = width
    wide = [] if case == "pool5" else [torch.nn.Linear(25088, 4096), torch.nn.Linear(4096, 4096)]
    last = torch.nn.Linear(4096, 1000)
    x = (50 * torch.randn(*input_shape(case))).to(memory_format=torch.channels_last)
    labels = torch.zeros(8, dtype=torch.long)

    def forward() -> torch.Tensor:
        y, layers = x, iter(convolutions)
        for count, _ in CONVOLUTIONS:
            for _ in range(count):
                y = functional.relu(next(layers)(y), inplace=True)
            y = functional.max_pool2d(y, 2)
        if not wide:
            return y
        y = wide[0](y.flatten(1))
        return wide[1](functional.dropout(functional.relu(y), training=case == "training"))

    def train() -> None:
        y = functional.dropout(functional.relu(forward()))
        functional.cross_entropy(last(y), labels).backward()

    return train if case == "training" else torch.inference_mode()(forward)


def serve(peer: str, case: str, threads: int) -> None:
    """Answer each line of standard input with a pass's seconds, its end with the peak memory in MiB."""
    step = torch_step(case, threads) if peer == "torch" else caffe_step(case)
    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(seconds(step), flush=True)
    print(peak_mib(), flush=True)


def start(peer: str, case: str, threads: int) -> subprocess.Popen[str]:
    """A peer's process, set up and waiting."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    environment |= {"CAFFE_CPU_ENGINE": "caffe" if peer == "caffe" else "onednn", "GLOG_minloglevel": "2"}
    environment |= {"CAFFE_CPU_PRECISION": "bf16" if peer == "bf16" else "fp32"}
    command = [sys.executable, "-m", "bench.caffe_cpu", "--serve", peer, "--cases", case]
    process = subprocess.Popen(
        command, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    if _answer(process) != "ready\n":
        raise ValueError(f"the process of {PEERS[peer]} ended before its first pass")
    return process


def _answer(process: subprocess.Popen[str], question: str = "") -> str:
    """Write to a peer's process, and read its next line."""
    assert process.stdin and process.stdout
    process.stdin.write(question)
    process.stdin.flush()
    return process.stdout.readline()


def measure(case: str, runs: int, threads: int) -> list[Row]:
    """The rows of one case: every peer in turn, `runs` passes each. bf16 only where it is to be had."""
    bf16 = case in BF16_GOALS and not why_no_bf16()
    peers = [peer for peer in PEERS if peer != "bf16" or bf16]
    processes = {peer: start(peer, case, threads) for peer in peers}
    milliseconds: dict[str, list[float]] = {peer: [] for peer in peers}
    for run in range(runs):
        for peer in peers if run % 2 == 0 else reversed(peers):
            passed = float(_answer(processes[peer], "go\n"))
            milliseconds[peer].append(1000 * passed / input_shape(case)[0])
    memory = {peer: float(process.communicate()[0]) for peer, process in processes.items()}
    what = f"VGG16 {CASES[case]}, {threads} threads"
    ours, own = PEERS["onednn"], PEERS["caffe"]
    rows = [
        compare(what, ours, PEERS[peer], "ms an image", milliseconds["onednn"], milliseconds[peer], goal=goal)
        for peer, goal in (("torch", GOALS[case]), ("caffe", ""))
    ] + [
        compare(f"{what}, peak memory", ours, own, "MiB", [memory["onednn"]], [memory["caffe"]], goal="<= 1")
    ]
    if bf16:
        half = PEERS["bf16"]
        times = milliseconds["bf16"], milliseconds["onednn"]
        rows.append(compare(what, half, ours, "ms an image", *times, goal=BF16_GOALS[case]))
        bytes_held = [memory["bf16"]], [memory["onednn"]]
        rows.append(compare(f"{what}, peak memory", half, ours, "MiB", *bytes_held, goal="<= 1"))
    return rows


def main() -> int:
    """Measure the cases one after another."""
    parser = options(
        "caffe_cpu",
        "VGG16 on the CPU: Caffe with the oneDNN engine beside PyTorch and Caffe's own code, in float32; and "
        "in bf16 beside itself.",
        "--cases fc7 --runs 9",
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--runs", type=int, default=7, help="passes a peer (default 7)")
    parser.add_argument("--serve", choices=PEERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    if arguments.serve:
        serve(arguments.serve, arguments.cases[0], threads)
        return 0
    cases = ["fc7"] if arguments.quick else arguments.cases
    rows = [row for case in cases for row in measure(case, 3 if arguments.quick else arguments.runs, threads)]
    return finish(rows, arguments)


if __name__ == "__main__":
    run_bench("caffe_cpu", main)
