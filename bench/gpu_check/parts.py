"""What is checked and measured, part by part: each gives Markdown and what it found wrong."""

import array
import json
import os
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from bench.gpu_check import nets
from bench.gpu_check.running import Caffe, CheckError, ended, nvidia_smi

# gtest's names of what runs on a GPU; of the typed tests, 2 and 3 are the GPU's float and double. Those that
# read pictures test no GPU, and a bundle reads none.
GPU_TESTS = "*GPU*:*CuDNN*:*/2.*:*/3.*:Im2colKernelTest*:PlatformTest*-ImageDataLayerTest*"
REHEARSAL_TESTS = "SoftmaxLayerTest/0.*:ConvolutionLayerTest/0.*:NeuronLayerTest/0.*"
SHARDS = 8
ARITHMETIC = {"FP32": "0", "TF32": "1"}
TOLERANCE = {"FP32": 1e-4, "TF32": 1e-2}
GOALS = (("train", 64, 1.2), ("forward", 64, 1.1), ("forward", 1, 1.5))
TORCH = Path(__file__).resolve().parents[1] / "peers" / "gpu_times.py"


@dataclass
class Measured:
    """What caffe_measure printed."""

    milliseconds: list[float]
    losses: list[float]
    cpu_milliseconds: float
    memory_mib: int

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)


@dataclass
class Check:
    """What is measured, on what, and what came out so far."""

    caffe: Caffe
    torch: str | None = None
    """A Python that has PyTorch."""
    size: nets.Size = nets.WHOLE
    batches: Sequence[int] = (1, 32, 64)
    iterations: int = 20
    seconds: int = 4
    tests: str = GPU_TESTS
    figures: dict[str, object] = field(default_factory=dict)
    """For the JSON file, by part."""
    problems: list[str] = field(default_factory=list)
    times: dict[tuple[str, int, str], float] = field(default_factory=dict)
    """Ours in milliseconds, by what, batch and arithmetic."""

    def wrong(self, sentence: str) -> str:
        """Note what is wrong; returns it for the report."""
        self.problems.append(sentence)
        return f"**Wrong:** {sentence}"

    def net(self, size: nets.Size, batch: int, *, smooth: bool = False) -> str:
        """A file with the network."""
        path = self.caffe.scratch / f"vgg16_{size.divisor}_{batch}_{smooth}.prototxt"
        path.write_text(nets.vgg16(size, batch, smooth=smooth), encoding="utf-8")
        return str(path)

    def measure(
        self,
        net: str,
        what: str,
        *options: str,
        cpu: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> Measured:
        """A run of caffe_measure, on the GPU or on the CPU."""
        device = [] if cpu else self.caffe.option
        done = self.caffe.good("caffe_measure", net, what, *device, *options, environment=environment)
        found = json.loads(done.out.strip().splitlines()[-1])
        return Measured(
            found["milliseconds"], found["losses"], found["cpu_milliseconds"], found["memory_mib"]
        )


def device(check: Check) -> list[str]:
    """Which card it is, and whether Caffe can use it."""
    caffe = check.caffe
    if caffe.gpu is None:
        return ["A rehearsal on the CPU: no figure here is a GPU's."]
    caffe.good("caffe_gpus", str(caffe.gpu))
    queries = ("name", "driver_version", "memory.total", "compute_cap", "compute_mode", "clocks.max.sm")
    about = {query: nvidia_smi(query, caffe.gpu) or "unknown" for query in queries}
    check.figures["device"] = about
    usable = caffe.good("caffe_gpus").out.strip()
    rest = ", ".join(f"{query} {value}" for query, value in about.items() if query != "name")
    return [f"GPU {caffe.gpu}: **{about['name']}**, {rest}. Caffe can use: {usable}."]


def ends(check: Check) -> list[str]:
    """Programs that did what they should exit 0: CUDA is not called after their main."""
    caffe, steps = check.caffe, 5
    (caffe.scratch / "train_val.prototxt").write_text(
        nets.vgg16(nets.SMALL, 8, own_data=True), encoding="utf-8"
    )
    solver = nets.solver("train_val.prototxt", steps, caffe.gpu is not None)
    (caffe.scratch / "solver.prototxt").write_text(solver, encoding="utf-8")
    commands = [["caffe", "train", "-solver", "solver.prototxt", *caffe.flag]]
    commands.append(["caffe", "time", "-model", check.net(nets.SMALL, 2), "-iterations", "2", *caffe.flag])
    if caffe.gpu is not None:
        commands.append(["caffe", "device_query", *caffe.flag])
    lines, statuses = [], {}
    for command in commands:
        done = caffe.run(*command)
        name = " ".join(command[:2])
        statuses[name] = done.status
        if done.status:
            lines.append(check.wrong(f"{name} {ended(done)}"))
        elif command[1] == "train" and f"Iteration {steps - 1}" not in done.err:
            lines.append(check.wrong(f"{name} exited 0 without its last step"))
    check.figures["exit statuses"] = statuses
    return [", ".join(f"`{name}` exits {status}" for name, status in statuses.items()) + ".", *lines]


def several(check: Check) -> list[str]:
    """Two GPUs train together, where there are two."""
    caffe = check.caffe
    if caffe.gpu is None:
        return ["Not in a rehearsal on the CPU."]
    gpus = caffe.good("caffe_gpus").out.strip().split(",")
    if len(gpus) < 2:
        return ["There is one GPU."]
    (caffe.scratch / "train_val.prototxt").write_text(
        nets.vgg16(nets.SMALL, 8, own_data=True), encoding="utf-8"
    )
    (caffe.scratch / "solver.prototxt").write_text(
        nets.solver("train_val.prototxt", 10, True), encoding="utf-8"
    )
    command = ["caffe", "train", "-solver", "solver.prototxt", "-gpu", ",".join(gpus[:2])]
    done = caffe.good(*command, environment={"NCCL_LAUNCH_MODE": "GROUP"})
    check.figures["two GPUs"] = done.seconds
    return [f"GPUs {' and '.join(gpus[:2])} took 10 steps together and ended, in {done.seconds:.0f} s."]


def parse_tests(text: str) -> tuple[list[str], list[str], str | None]:
    """gtest's output -> names of the passed, of the failed, and of the one under way where it breaks off."""
    passed = re.findall(r"^\[       OK \] ([^\s,(]+)", text, re.MULTILINE)
    failed = re.findall(r"^\[  FAILED  \] ([^\s,(]+),? .*\(\d+ ms\)", text, re.MULTILINE)
    begun = re.findall(r"^\[ RUN      \] (\S+)", text, re.MULTILINE)
    under_way = [name for name in begun if name not in {*passed, *failed}]
    return passed, failed, under_way[-1] if under_way else None


def list_tests(text: str) -> list[str]:
    """The names in gtest's list."""
    names, case = [], ""
    for line in text.splitlines():
        word = line.split("#")[0].rstrip()
        if re.fullmatch(r"\S+\.", word):
            case = word
        elif re.fullmatch(r"  \S+", word) and case:
            names.append(case + word.strip())
    return names


def caffe_tests(check: Check) -> list[str]:
    """Caffe's own tests for GPUs, several processes at a time; one that crashes costs one test."""
    caffe = check.caffe
    program = caffe.prefix / "tests" / "caffe_test"
    if not program.exists():
        raise CheckError(f"{program} is missing (tools/caffe/build.sh --test makes it)")
    device = [] if caffe.gpu is None else [str(caffe.gpu)]
    listed = caffe.run(
        str(program), "--gtest_list_tests", f"--gtest_filter={check.tests}", cwd=program.parent
    )
    names = list_tests(listed.out)
    if not names:
        raise CheckError(f"caffe_test lists no tests: it {ended(listed)}")

    def run_some(mine: list[str]) -> tuple[list[str], list[str], list[str]]:
        passed, failed, crashed = [], [], []
        while mine:
            filter_ = f"--gtest_filter={':'.join(mine)}"
            try:
                done = caffe.run(str(program), *device, filter_, cwd=program.parent)
            except CheckError:
                break
            some, bad, under_way = parse_tests(done.out)
            passed += some
            failed += bad
            crashed += [under_way] if under_way else []
            ran = {*some, *bad, under_way}
            if not ran & set(mine):
                crashed.append(mine[0])
                ran.add(mine[0])
            mine = [name for name in mine if name not in ran]
        return passed, failed, crashed

    with ThreadPoolExecutor(SHARDS) as threads:
        results = list(threads.map(run_some, [names[shard::SHARDS] for shard in range(SHARDS)]))
    passed, failed, crashed = (sorted(chain.from_iterable(one[i] for one in results)) for i in range(3))
    late = len(names) - len(passed) - len(failed) - len(crashed)
    check.figures["tests"] = {
        "passed": len(passed),
        "failed": failed,
        "crashed": crashed,
        "not reached": late,
    }
    lines = [f"{len(names)} tests (`{check.tests}`): {len(passed)} passed, {len(failed)} failed, "]
    lines[0] += f"{len(crashed)} crashed, {late} not reached in time."
    if failed:
        lines.append(check.wrong(f"{len(failed)} tests failed: {_first(failed)}"))
    if crashed:
        lines.append(check.wrong(f"{len(crashed)} tests crashed: {_first(crashed)}"))
    if late:
        lines.append(check.wrong(f"{late} tests were not reached in time"))
    return lines


def _first(names: Sequence[str], most: int = 12) -> str:
    """The names, or so many of them: the JSON file has all."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def relative(ours: Iterable[float], reference: Iterable[float]) -> float:
    """Two lists' largest difference over the second's largest value; infinite for what is no number."""
    ours, reference = list(ours), list(reference)
    if len(ours) != len(reference) or not ours or not all(map(_is_number, [*ours, *reference])):
        return float("inf")
    most = max(map(abs, reference))
    difference = max(abs(a - b) for a, b in zip(ours, reference, strict=True))
    return difference / most if most else float("inf")


def _is_number(value: float) -> bool:
    return value == value and abs(value) != float("inf")


def training(check: Check) -> list[str]:
    """The losses of twenty steps, GPU against CPU, of a small network without dropout."""
    net, steps = check.net(nets.SMALL, 16, smooth=True), ("--iterations", "20", "--warm-up", "0")
    reference = check.measure(net, "train", *steps, cpu=True).losses
    lines = [
        "| arithmetic | largest difference / largest loss | may be | first loss | last loss |",
        "|---|---|---|---|---|",
    ]
    wrong = []
    for arithmetic, value in ARITHMETIC.items():
        losses = check.measure(net, "train", *steps, environment={"CAFFE_TF32": value}).losses
        off, may = relative(losses, reference), TOLERANCE[arithmetic]
        check.figures[f"losses {arithmetic}"] = {"GPU": losses, "CPU": reference, "difference": off}
        lines.append(f"| {arithmetic} | {off:.1e} | {may:.0e} | {losses[0]:.4f} | {losses[-1]:.4f} |")
        if off > may:
            wrong.append(
                check.wrong(f"losses in {arithmetic} are {off:.1e} from the CPU's, more than {may:.0e}")
            )
    if reference[-1] >= reference[0]:
        wrong.append(check.wrong("20 steps on the CPU don't lower the loss: the comparison says nothing"))
    return [*lines, "", *wrong]


def features(check: Check) -> list[str]:
    """VGG16's features, GPU against CPU."""
    net = check.net(check.size, 2)
    lines = ["| layer | arithmetic | largest difference / largest value | may be |", "|---|---|---|---|"]
    wrong = []

    def blob(name: str, *, cpu: bool, environment: Mapping[str, str] | None = None) -> "array.array[float]":
        path = check.caffe.scratch / "blob.bin"
        once = ("--iterations", "1", "--warm-up", "0", "--blob", name, "--out", str(path))
        check.measure(net, "forward", *once, cpu=cpu, environment=environment)
        return array.array("f", path.read_bytes())

    for name in ("pool5", "fc6", "fc7"):
        reference = blob(name, cpu=True)
        for arithmetic, value in ARITHMETIC.items():
            off, may = (
                relative(blob(name, cpu=False, environment={"CAFFE_TF32": value}), reference),
                TOLERANCE[arithmetic],
            )
            check.figures[f"{name} {arithmetic}"] = off
            lines.append(f"| {name} | {arithmetic} | {off:.1e} | {may:.0e} |")
            if off > may:
                wrong.append(
                    check.wrong(f"{name} in {arithmetic} is {off:.1e} from the CPU's, more than {may:.0e}")
                )
    return [*lines, "", *wrong]


def times(check: Check) -> list[str]:
    """Whole forward passes and whole training steps."""
    lines = [
        f"Milliseconds a batch, median of up to {check.iterations} iterations after 3, weights and pictures "
        "drawn; a step is forward, backward and update.",
        "",
        "| batch | arithmetic | workspace, MB | forward | step | memory of a step, MiB |",
        "|---|---|---|---|---|---|",
    ]
    count = ("--iterations", str(check.iterations), "--seconds", str(check.seconds))
    try:
        for batch in check.batches:
            for arithmetic in ARITHMETIC:
                for limit in (256, 8) if batch == check.batches[-1] else (256,):
                    lines.append(_time(check, batch, arithmetic, limit, count))
        sleeping = [
            (batch, check.measure(check.net(check.size, batch), "forward", *count, "--blocking", "1"))
            for batch in (check.batches[0], check.batches[-1])
        ]
    except CheckError as error:  # what was measured before stays
        return [*lines, "", check.wrong(f"Times: {error}")]
    busy = ", ".join(f"{one.cpu_milliseconds:.2f} ms at batch {batch}" for batch, one in sleeping)
    check.figures["CPU time of a forward"] = {str(batch): one.cpu_milliseconds for batch, one in sleeping}
    return [*lines, "", f"A core's time of a forward pass, the wait for the GPU not counted: {busy}."]


def _time(check: Check, batch: int, arithmetic: str, limit: int, count: Sequence[str]) -> str:
    """A row of the times' table."""
    net = check.net(check.size, batch)
    setting = {"CAFFE_TF32": ARITHMETIC[arithmetic], "CAFFE_CUDNN_WORKSPACE_MB": str(limit)}
    forward = check.measure(net, "forward", *count, environment=setting)
    step = check.measure(net, "train", *count, environment=setting)
    check.figures[f"batch {batch} {arithmetic} {limit} MB"] = {
        "forward": forward.milliseconds,
        "train": step.milliseconds,
        "memory_mib": step.memory_mib,
    }
    if limit == 256:
        check.times["forward", batch, arithmetic] = forward.median
        check.times["train", batch, arithmetic] = step.median
    columns = f"{forward.median:.2f} | {step.median:.2f} | {step.memory_mib}"
    return f"| {batch} | {arithmetic} | {limit} | {columns} |"


def beside_torch(check: Check) -> list[str]:
    """PyTorch's times on the same card, and whether ours reach the goals."""
    if not check.torch:
        return ["Not measured: no Python with PyTorch (--torch PYTHON)."]
    where = "cpu" if check.caffe.gpu is None else f"cuda:{check.caffe.gpu}"
    size = check.size
    shape = [str(number) for number in (size.divisor, size.side, size.hidden, size.classes)]
    count = [str(check.iterations), str(check.seconds), ",".join(map(str, check.batches))]
    plain = {"PYTHONPATH": "", "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")}
    done = check.caffe.run(check.torch, str(TORCH), where, *shape, *count, environment=plain)
    theirs = {}
    for line in filter(None, done.out.splitlines()):
        row = json.loads(line)
        theirs[row["what"], row["batch"], row["how"]] = row["milliseconds"]
    check.figures["PyTorch"] = [[*key, value] for key, value in theirs.items()]
    kinds = list(dict.fromkeys(how for _, _, how in theirs))
    lines = [f"| | batch | {' | '.join(kinds)} | Caffe FP32 | Caffe TF32 |", "|---" * (len(kinds) + 4) + "|"]
    for what in ("forward", "train"):
        for batch in check.batches:
            cells = [theirs.get((what, batch, how)) for how in kinds]
            cells += [check.times.get((what, batch, arithmetic)) for arithmetic in ARITHMETIC]
            shown = " | ".join("" if cell is None else f"{cell:.2f}" for cell in cells)
            lines.append(f"| {what} | {batch} | {shown} |")
    lines += ["", *goals(check.times, theirs)]
    if done.status:
        lines.append(check.wrong(f"PyTorch {ended(done)}"))
    return lines


def goals(ours: dict[tuple[str, int, str], float], theirs: dict[tuple[str, int, str], float]) -> list[str]:
    """Our FP32 beside the faster of PyTorch's two orders in FP32. A goal that is missed is no error."""
    lines = []
    for what, batch, most in GOALS:
        mine = ours.get((what, batch, "FP32"))
        peer = [
            ms for (kind, size, how), ms in theirs.items() if (kind, size) == (what, batch) and "FP32" in how
        ]
        if mine is not None and peer:
            ratio = mine / min(peer)
            verdict = "reached" if ratio <= most else "missed"
            lines.append(
                f"- {what}, batch {batch}, FP32: {ratio:.2f} of PyTorch's time; goal {most}: {verdict}"
            )
    return lines


Part = Callable[[Check], list[str]]
PARTS: tuple[tuple[str, int, Part], ...] = (
    ("The GPU", 30, device),
    ("Programs end well", 40, ends),
    ("Training, GPU against CPU", 60, training),
    ("Features, GPU against CPU", 60, features),
    ("Times", 130, times),
    ("Beside PyTorch", 90, beside_torch),
    ("Caffe's own tests", 180, caffe_tests),
    ("Two GPUs", 40, several),
)


def python_with_torch(wanted: str | None) -> str | None:
    """The Python that was asked for, or this one where it has PyTorch."""
    import importlib.util

    if wanted:
        return wanted
    return sys.executable if importlib.util.find_spec("torch") else None
