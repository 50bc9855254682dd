"""VGG16 on the CPU: Caffe with the oneDNN engine against what people use instead, and against its own code.

Every peer is a process that stays up and computes when told to, one at a time, in alternating order.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.measure import Row, compare, finish, options, peak_mib, run_bench, seconds
from bench.peers.vgg16 import onnxruntime_pass, openvino_pass, pixels, torch_pass
from eval.forward.network import work_in_place
from eval.forward.precision import why_no_bf16

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "prototxt/vgg16/deploy.prototxt"
WHILE = 0.5  # seconds
OURS, OURS_BF16, OWN = "onednn", "bf16", "caffe"
PEERS = {
    OURS: "Caffe, oneDNN",
    OURS_BF16: "Caffe, oneDNN in bf16",
    "torch": "PyTorch, channels last",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO in FP32",
    "openvino_bf16": "OpenVINO in bf16",
    OWN: "Caffe's own code",
}
CASES = {
    "fc7": "forward to fc7, 224x224, batch 8",
    "pool5": "forward to pool5, 768x1024, batch 1",
    "training": "forward and backward, 224x224, batch 8",
}
COMPARED = {
    "fc7": {
        (OURS, "torch"): "<= 0.45",
        (OURS, "onnxruntime"): "<= 0.5",
        (OURS, "openvino"): "",
        (OURS, OWN): "",
        (OURS_BF16, OURS): "",
        (OURS_BF16, "openvino_bf16"): "<= 1",
    },
    "pool5": {
        (OURS, "torch"): "",
        (OURS, "onnxruntime"): "",
        (OURS, "openvino"): "",
        (OURS, OWN): "",
        (OURS_BF16, OURS): "<= 0.5",
        (OURS_BF16, "openvino_bf16"): "",
    },
    "training": {(OURS, "torch"): "<= 0.45", (OURS, OWN): ""},
}
"""Of each case what is compared with what, and the goal of the ratio. PyTorch alone trains too."""


def input_shape(case: str) -> tuple[int, int, int, int]:
    """A case's input, (N, C, H, W)."""
    return (1, 3, 768, 1024) if case == "pool5" else (8, 3, 224, 224)


def caffe_pass(case: str) -> Callable[[], object]:
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
    last = {"fc7": "fc7", "pool5": "pool5", "training": "loss"}[case]
    work_in_place(net_parameter, [last])  # as eval.extract does, and as train_val.prototxt is written
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(text_format.MessageToString(net_parameter))
        file.flush()
        net = caffe.Net(file.name, caffe.TRAIN if case == "training" else caffe.TEST)
    net.blobs["data"].data[...] = pixels(input_shape(case))

    def step() -> None:
        net.forward(end=last)
        if case == "training":
            net.backward()

    return step


def step_of(peer: str, case: str, threads: int) -> Callable[[], object]:
    """One pass of a case by that peer."""
    shape = input_shape(case)
    if peer == "torch":
        return torch_pass(case, shape, threads)
    if peer == "onnxruntime":
        return onnxruntime_pass(case, shape, threads)
    if peer.startswith("openvino"):
        return openvino_pass(case, shape, threads, "bf16" if peer.endswith("bf16") else "f32")
    return caffe_pass(case)


def serve(peer: str, case: str, threads: int) -> None:
    """Answer each line of standard input with a pass's seconds, its end with the peak memory in MiB.

    A pass's seconds are the mean of as many as half a second holds, at least one; passes for half a second
    before do not count: they find the caches full of another process's memory, as no pass but the first does
    for somebody who computes features of many pictures.
    """
    step = step_of(peer, case, threads)
    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        for_a_while(step)
        print(for_a_while(step), flush=True)
    print(peak_mib(), flush=True)


def for_a_while(step: Callable[[], object]) -> float:
    """Passes until half a second is over; the mean of their seconds."""
    passes: list[float] = []
    while sum(passes) < WHILE:
        passes.append(seconds(step))
    return statistics.mean(passes)


def start(peer: str, case: str, threads: int) -> subprocess.Popen[str]:
    """A peer's process, set up and waiting."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    environment |= {"CAFFE_CPU_ENGINE": OWN if peer == OWN else OURS, "GLOG_minloglevel": "2"}
    environment |= {"CAFFE_CPU_PRECISION": "bf16" if peer == OURS_BF16 else "fp32"}
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
    compared = COMPARED[case]
    if why_no_bf16():
        compared = {pair: goal for pair, goal in compared.items() if OURS_BF16 not in pair}
    peers = [peer for peer in PEERS if any(peer in pair for pair in compared)]
    processes = {peer: start(peer, case, threads) for peer in peers}
    milliseconds: dict[str, list[float]] = {peer: [] for peer in peers}
    for run in range(runs):
        for peer in peers if run % 2 == 0 else reversed(peers):
            passed = float(_answer(processes[peer], "go\n"))
            milliseconds[peer].append(1000 * passed / input_shape(case)[0])
    memory = {peer: float(process.communicate()[0]) for peer, process in processes.items()}
    what = f"VGG16 {CASES[case]}, {threads} threads"
    rows = []
    for (ours, peer), goal in compared.items():
        times = milliseconds[ours], milliseconds[peer]
        rows.append(compare(what, PEERS[ours], PEERS[peer], "ms an image", *times, goal=goal))
    for ours, peer in ((OURS, OWN), (OURS_BF16, OURS)):
        if (ours, peer) in compared:
            held = [memory[ours]], [memory[peer]]
            row = compare(f"{what}, peak memory", PEERS[ours], PEERS[peer], "MiB", *held, goal="<= 1")
            rows.append(row)
    return rows


def main() -> int:
    """Measure the cases one after another."""
    parser = options(
        "caffe_cpu",
        "VGG16 on the CPU: Caffe with the oneDNN engine beside PyTorch, ONNX Runtime, OpenVINO and Caffe's "
        "own code, in float32; and in bf16, where the CPU has it, beside itself and OpenVINO.",
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
