"""What Caffe does on this GPU: its own tests, figures beside the CPU's, times beside PyTorch's; a report.

bench/gpu_check.sh prepares what this needs and calls it.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from tools.files.prototxt import caffe_messages, read_net, read_prototxt, write_prototxt
from tools.program import one_sentence, run_program, write_text

# gtest's names of what runs on a GPU; of the typed tests, 2 and 3 are the GPU's float and double
GPU_TESTS = "*GPU*:*CuDNN*:*/2.*:*/3.*:Im2colKernelTest*:PlatformTest*"
LAYERS = ("fc6", "fc6_relu6", "fc7", "fc7_relu7")
ARITHMETIC = {"FP32": {"CAFFE_TF32": "0"}, "TF32": {"CAFFE_TF32": "1"}}
WORKSPACES_MB = (8, 64, 256, 1024)


@dataclass
class Plan:
    """What is measured, on what."""

    work: Path
    """A demo run that has got as far as its prototxt stage."""
    scratch: Path
    gpu: int | None
    """None rehearses everything on the CPU, in small."""
    network: Path
    batches: Sequence[int]
    iterations: int
    train_iterations: int
    tests: str
    torch: str | None = None
    """A Python that has PyTorch."""
    log: list[str] = field(default_factory=list)

    @property
    def gpu_flag(self) -> list[str]:
        return [] if self.gpu is None else ["-gpu", str(self.gpu)]


def run(plan: Plan, name: str, command: Sequence[str], **environment: str) -> str:
    """Run a command; returns its output, also in scratch/NAME.log. Raises OSError where it fails."""
    print(f"gpu_check: {name}", flush=True)
    done = subprocess.run(
        command,
        env=os.environ | {"GLOG_minloglevel": "0"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    log = plan.scratch / f"{name.replace(' ', '-')}.log"
    log.write_text(done.stdout)
    if done.returncode:
        raise OSError(f"{name} failed with exit status {done.returncode}: {log}")
    return done.stdout


def parse_tests(text: str) -> tuple[int, int, list[str]]:
    """gtest's output -> (run, passed, names of the failed). Raises ValueError where it breaks off."""
    ran = re.search(r"^\[=+\] (\d+) tests? from .* ran\.", text, re.MULTILINE)
    passed = re.search(r"^\[  PASSED  \] (\d+) test", text, re.MULTILINE)
    if not ran or not passed:
        raise ValueError("Caffe's test program did not get to its end")
    failed = re.findall(r"^\[  FAILED  \] ([^\s,(]+),? .*\(\d+ ms\)", text, re.MULTILINE)
    return int(ran[1]), int(passed[1]), failed


def parse_time(text: str) -> dict[str, float]:
    """`caffe time`'s output -> milliseconds: forward, backward, both, each layer's forward as layer:NAME."""
    found = {
        key: re.search(rf"Average {label}: ([\d.e+-]+) ms", text)
        for key, label in (
            ("forward", "Forward pass"),
            ("backward", "Backward pass"),
            ("both", "Forward-Backward"),
        )
    }
    if not all(found.values()):
        raise ValueError("caffe time did not get to its end")
    times = {key: float(match[1]) for key, match in found.items() if match}
    for layer, milliseconds in re.findall(r"\] +(\S+)\tforward: ([\d.e+-]+) ms", text):
        times[f"layer:{layer}"] = float(milliseconds)
    return times


def parse_losses(text: str) -> dict[int, float]:
    """`caffe train`'s output -> loss by iteration."""
    found = re.findall(r"Iteration (\d+) \(.*?\), loss = ([\d.e+-]+|nan|inf)", text)
    return {int(iteration): float(loss) for iteration, loss in found}


def caffe_tests(plan: Plan) -> list[str]:
    """Caffe's own tests."""
    program = Path(os.environ["CAFFE_PREFIX"]) / "tests" / "caffe_test"
    if not program.exists():
        return [f"Not run: {program} is missing (`tools/caffe/build.sh --test` makes it)."]
    print("gpu_check: Caffe's tests", flush=True)
    device = [] if plan.gpu is None else [str(plan.gpu)]
    done = subprocess.run(
        [program, *device, f"--gtest_filter={plan.tests}"],
        cwd=program.parent, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    (plan.scratch / "tests.log").write_text(done.stdout + done.stderr)
    ran, passed, failed = parse_tests(done.stdout)
    lines = [f"{ran} run (filter `{plan.tests}`), {passed} passed, {len(failed)} failed."]
    return lines + [f"- failed: {name}" for name in failed]


def extract(plan: Plan, name: str, *gpu: str, **environment: str) -> Path:
    """Features of the demo's pictures by eval.extract."""
    out = plan.scratch / f"{name.replace(' ', '-')}.h5"
    out.unlink(missing_ok=True)
    data = plan.work / "data"
    run(
        plan, name,
        [
            sys.executable, "-m", "eval.extract", "--deploy", str(plan.work / "prototxt/deploy.prototxt"),
            "--weights", str(data / "pretrained.caffemodel"), "--images", str(data / "retrieval/jpg"),
            "--mean", str(data / "pretraining/lmdb/mean.binaryproto"), "--layers", *LAYERS,
            "--out", str(out), *gpu,
        ],
        **environment,
    )  # fmt: skip
    return out


def difference(ours: Path, reference: Path, layer: str) -> tuple[float, float]:
    """Largest |a - b| over the layer's largest |b|, and the smallest cosine of a picture's two vectors."""
    with h5py.File(ours) as a_file, h5py.File(reference) as b_file:
        a, b = (np.asarray(file[f"database/{layer}"], np.float64) for file in (a_file, b_file))
    cosines = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-30)
    return float(np.abs(a - b).max() / np.abs(b).max()), float(cosines.min())


def compare_features(plan: Plan) -> list[str]:
    """Features of the demo network, GPU against CPU."""
    reference = extract(plan, "features on the CPU")
    gpu = [] if plan.gpu is None else ["--gpu", str(plan.gpu)]
    lines = [
        "| layer | arithmetic | largest difference / largest value | smallest cosine |",
        "|---|---|---|---|",
    ]
    for arithmetic, environment in ARITHMETIC.items():
        ours = extract(plan, f"features in {arithmetic}", *gpu, **environment)
        for layer in LAYERS:
            largest, cosine = difference(ours, reference, layer)
            lines.append(f"| {layer} | {arithmetic} | {largest:.2e} | {cosine:.9f} |")
    return lines


def train(plan: Plan, name: str, seed: int, gpu_flag: Sequence[str]) -> dict[int, float]:
    """Fine-tune on the demo's data; returns the loss by iteration."""
    solver = caffe_messages().SolverParameter()
    read_prototxt(plan.work / "prototxt/train/solver.prototxt", solver)
    solver.ClearField("test_interval")
    solver.ClearField("test_iter")
    solver.max_iter, solver.display, solver.snapshot, solver.random_seed = plan.train_iterations, 10, 0, seed
    solver.average_loss = 10
    solver.snapshot_after_train = False
    solver.snapshot_prefix = str(plan.scratch / "snapshot")
    solver.solver_mode = solver.SolverMode.Value("GPU" if gpu_flag else "CPU")
    path = plan.scratch / f"solver_{seed}.prototxt"
    write_prototxt(path, solver, "gpu_check")
    weights = str(plan.work / "data/pretrained.caffemodel")
    command = ["caffe", "train", "-solver", str(path), "-weights", weights, *gpu_flag]
    return parse_losses(run(plan, name, command))


def compare_training(plan: Plan) -> list[str]:
    """Fine-tuning: the GPU's loss beside the CPU's, and beside what another seed changes on the CPU alone."""
    curves = [
        train(plan, "training on the CPU", 1, []),
        train(plan, "training on the CPU again with another seed", 2, []),
        train(plan, "training on the GPU", 1, plan.gpu_flag),
    ]
    iterations = sorted(set.intersection(*map(set, curves)))
    if not iterations:
        raise ValueError("caffe train printed no loss")
    cpu, other, gpu = (np.array([curve[i] for i in iterations]) for curve in curves)
    shown = iterations[:: max(1, len(iterations) // 8)]
    lines = ["| iteration | CPU | CPU, another seed | GPU |", "|---|---|---|---|"]
    lines += [f"| {i} | {curves[0][i]:.4f} | {curves[1][i]:.4f} | {curves[2][i]:.4f} |" for i in shown]
    noise, ours = float(np.abs(other - cpu).mean()), float(np.abs(gpu - cpu).mean())
    said = f"Mean difference from the CPU's curve: {ours:.4f}; another seed on the CPU alone: {noise:.4f}."
    return [*lines, "", said]


class Memory:
    """The most memory of the card in use while a `with` block runs, above what was in use before, in MiB."""

    def __init__(self, gpu: int | None) -> None:
        self._gpu, self._stop, self.most = gpu, threading.Event(), 0
        self._before = self._used()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _used(self) -> int:
        if self._gpu is None:
            return 0
        used = nvidia_smi("memory.used", self._gpu)
        return int(used) if used.isdigit() else 0

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            self.most = max(self.most, self._used() - self._before)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def nvidia_smi(query: str, gpu: int) -> str:
    """One value from nvidia-smi; empty where there is none."""
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits", f"--id={gpu}"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def with_batch(plan: Plan, batch: int) -> Path:
    """The network's deploy file for another batch."""
    net = read_net(plan.network / "deploy.prototxt")
    inputs = [layer for layer in net.layer if layer.type == "Input"]
    if inputs:
        inputs[0].input_param.shape[0].dim[0] = batch
    else:
        net.input_shape[0].dim[0] = batch
    path = plan.scratch / f"deploy_{batch}.prototxt"
    write_prototxt(path, net, "gpu_check")
    return path


def time_caffe(plan: Plan, model: Path, name: str, **environment: str) -> tuple[dict[str, float], int]:
    """`caffe time` of a model: milliseconds, and MiB of the card's memory."""
    command = ["caffe", "time", "-model", str(model), "-iterations", str(plan.iterations), *plan.gpu_flag]
    with Memory(plan.gpu) as memory:
        text = run(plan, name, command, **environment)
    return parse_time(text), memory.most


def time_torch(plan: Plan, batch: int, tf32: bool) -> dict[str, float] | None:
    """PyTorch's times of VGG16 by bench/peers/gpu_times.py; None without PyTorch."""
    if not plan.torch:
        return None
    script = Path(__file__).parent.parent / "peers" / "gpu_times.py"
    device = "cpu" if plan.gpu is None else f"cuda:{plan.gpu}"
    name = f"PyTorch batch {batch} {'TF32' if tf32 else 'FP32'}"
    command = [plan.torch, str(script), device, str(batch), str(plan.iterations), "tf32" if tf32 else "fp32"]
    times: dict[str, float] = json.loads(run(plan, name, command, PYTHONPATH="").strip().splitlines()[-1])
    return times


def compare_times(plan: Plan) -> list[str]:
    """Forward, and forward with backward, beside PyTorch's."""
    lines = [
        f"`caffe time`, mean of {plan.iterations} passes, milliseconds a batch, {plan.network.name}.",
        "",
        "| batch | arithmetic | forward | with backward | memory, MiB | PyTorch forward | with backward |",
        "|---|---|---|---|---|---|---|",
    ]
    for batch in plan.batches:
        model = with_batch(plan, batch)
        for arithmetic, environment in ARITHMETIC.items():
            ours, memory = time_caffe(plan, model, f"batch {batch} {arithmetic}", **environment)
            theirs = time_torch(plan, batch, arithmetic == "TF32")
            columns = f"{ours['forward']:.2f} | {ours['both']:.2f} | {memory}"
            columns += f" | {theirs['forward']:.2f} | {theirs['both']:.2f}" if theirs else " | not measured |"
            lines.append(f"| {batch} | {arithmetic} | {columns} |")
    return lines


def compare_workspaces(plan: Plan) -> list[str]:
    """What a larger workspace limit gains."""
    lines = [
        "| CAFFE_CUDNN_WORKSPACE_MB | batch | arithmetic | forward | with backward | memory, MiB |",
        "|---|---|---|---|---|---|",
    ]
    for batch in (plan.batches[0], plan.batches[-1]):
        model = with_batch(plan, batch)
        for arithmetic, environment in ARITHMETIC.items():
            for limit in WORKSPACES_MB:
                name = f"workspace {limit} MB batch {batch} {arithmetic}"
                setting = {"CAFFE_CUDNN_WORKSPACE_MB": str(limit)}
                times, memory = time_caffe(plan, model, name, **setting, **environment)
                columns = f"{times['forward']:.2f} | {times['both']:.2f} | {memory}"
                lines.append(f"| {limit} | {batch} | {arithmetic} | {columns} |")
    return lines


def data_share(plan: Plan) -> list[str]:
    """How long a training step waits for its pictures."""
    lmdb, prototxt = plan.scratch / "lmdb", plan.scratch / "prototxt"
    side = "256" if plan.network.name == "vgg16" else "72"
    run(plan, "lmdb", ["tools/make_lmdb.sh", str(plan.work / "lists"), str(lmdb), side])
    run(plan, "mean", ["tools/make_mean.sh", str(lmdb / "train_lmdb"), str(lmdb / "mean.binaryproto")])
    run(
        plan, "prototxt",
        [
            sys.executable, "-m", "tools.fill_prototxt", "--net", str(plan.network), "--out", str(prototxt),
            "--train-lmdb", str(lmdb / "train_lmdb"), "--val-lmdb", str(lmdb / "val_lmdb"),
            "--mean", str(lmdb / "mean.binaryproto"), "--classes", str(plan.work / "classes.csv"),
            "--train-batch", str(plan.batches[-1]), "--test-batch", "1",
        ],
    )  # fmt: skip
    model = prototxt / "train_val.prototxt"
    times, _ = time_caffe(plan, model, "data layer")
    name = next(layer.name for layer in read_net(model).layer if layer.type == "Data")
    waited = times[f"layer:{name}"]
    return [
        f"Pictures of {side}x{side} from LMDB, batch {plan.batches[-1]}: the data layer takes {waited:.2f} ms"
        f" of a step's {times['both']:.2f} ms ({waited / times['both']:.1%})."
    ]


def report(plan: Plan) -> str:
    """Measure everything; a part that fails says so in its place and the others go on."""
    parts: list[tuple[str, Callable[[Plan], list[str]]]] = [
        ("Caffe's own tests", caffe_tests),
        ("Features, GPU against CPU", compare_features),
        ("Fine-tuning, GPU beside CPU", compare_training),
        ("Times", compare_times),
        ("cuDNN's workspace", compare_workspaces),
        ("The data layer", data_share),
    ]
    lines = heading(plan)
    for title, part in parts:
        lines += ["", f"## {title}", ""]
        try:
            lines += part(plan)
        except (ValueError, OSError, KeyError) as error:
            plan.log.append(f"{title}: {one_sentence(error)}")
            lines.append(f"Failed: {one_sentence(error)}")
    return "\n".join(lines) + "\n"


def heading(plan: Plan) -> list[str]:
    if plan.gpu is None:
        return ["# Rehearsal on the CPU", "", "No figure here is a GPU's."]
    queries = ("name", "driver_version", "memory.total")
    name, driver, memory = (nvidia_smi(query, plan.gpu) or "unknown" for query in queries)
    return [f"# Caffe on GPU {plan.gpu}: {name}", "", f"Driver {driver}, {memory} MiB."]


def parse(argv: Iterable[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu_check",
        description=__doc__,
        epilog="example: python -m bench.gpu_check --work work/demo --gpu 0 --out gpu.md",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", type=Path, required=True, help="a demo run, prototxt stage done")
    parser.add_argument("--out", type=Path, required=True, help="the report, Markdown")
    parser.add_argument("--gpu", type=int, help="its number (default: all on the CPU, in small)")
    parser.add_argument("--torch", metavar="PYTHON", help="a Python with PyTorch, to compare times with")
    return parser.parse_args(argv if argv is None else list(argv))


def make_plan(args: argparse.Namespace) -> Plan:
    scratch = args.out.parent / "logs"
    scratch.mkdir(parents=True, exist_ok=True)
    common = {"work": args.work, "scratch": scratch, "gpu": args.gpu, "torch": args.torch}
    if args.gpu is None:
        small = Path("prototxt/demo")
        tests = "SoftmaxLayerTest/0*"
        return Plan(**common, network=small, batches=(1, 4), iterations=2, train_iterations=30, tests=tests)
    vgg16, batches = Path("prototxt/vgg16"), (1, 32, 64)
    return Plan(
        **common, network=vgg16, batches=batches, iterations=20, train_iterations=300, tests=GPU_TESTS
    )


def main(argv: Iterable[str] | None = None) -> int:
    """Run the program; returns its exit status: 1 where a part failed."""
    args = parse(argv)

    def run_parts() -> int:
        plan = make_plan(args)
        write_text(args.out, report(plan))
        for failure in plan.log:
            print(f"gpu_check: {failure}", file=sys.stderr)
        print(f"gpu_check: {args.out}")
        return 1 if plan.log else 0

    return run_program("gpu_check", run_parts)


if __name__ == "__main__":
    sys.exit(main())
