"""The article's profile from downloads to report, on stand-ins: minutes, memory and disk of every stage.

A server on the loopback address hands out what bench.rehearsal.stand_ins makes; a copy of the checkout
runs run_all.sh on it stage by stage, each once stopped in the middle with --stop. What is done is noted in
rehearsal.json, so that the same command goes on; rehearsal.md puts it beside what run_all.sh --plan said.
"""

import argparse
import functools
import http.server
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.rehearsal.stand_ins import (
    Scale,
    add_scale_options,
    cluster_sizes,
    make_all,
    photographs,
    write_sources,
)
from tools.processes import core_count
from tools.program import run_program, write_text

ROOT = Path(__file__).resolve().parent.parent.parent
POLL_SECONDS, SAMPLE_SECONDS = 0.5, 3.0
"""How often a stage is looked at, and how often its memory is."""
FACTOR = 1.5
"""What was measured may be so many times the plan, or the plan so many times that."""
LEAST_SECONDS, LEAST_BYTES = 60.0, 100e6
"""Below these a figure says nothing of the plan."""
STOP_SECONDS = 60.0
"""After which --stop stops a stage, at the real counts."""
LEAST_SIDE = 96
"""Of pictures from whose last map R-MAC's regions can be taken: three cells."""
UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


@dataclass
class Measured:
    """What a stage took: in all its starts, if it was stopped."""

    stage: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of all its processes: what other work on the machine does not lengthen."""
    peak_bytes: int = 0
    disk_bytes: int = 0
    """What work folder and data take on the disk after it."""
    stops: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Planned:
    """What run_all.sh --plan says of a stage; seconds are None where a GPU's time is not known."""

    seconds: float | None
    bytes: float


@dataclass(frozen=True)
class Place:
    """Where a rehearsal lies."""

    work: Path

    @property
    def served(self) -> Path:
        """The stand-ins, and their table of sources."""
        return self.work / "served"

    @property
    def checkout(self) -> Path:
        """A copy of this checkout with the rehearsal's profile."""
        return self.work / "checkout"

    @property
    def run(self) -> Path:
        """run_all.sh's work folder."""
        return self.work / "run"

    @property
    def data(self) -> Path:
        """Where downloads go."""
        return self.work / "data"


def rehearse(place: Place, scale: Scale, stop: bool) -> int:
    """Run every stage that isn't done yet; returns 1 if one fails. Raises OSError."""
    place.work.mkdir(parents=True, exist_ok=True)
    make_all(place.served, scale)
    copy_checkout(place.checkout, scale, place.served)
    notes = place.work / "rehearsal.json"
    with serving(place.served) as url:
        weights = place.served / "VGG_ILSVRC_16_layers.caffemodel"
        write_sources(place.served / "sources.toml", url, scale, weights)
        plan_once(place, "plan.txt")
        done = [Measured(**each) for each in json.loads(notes.read_text())] if notes.exists() else []
        stages = [stage for stage in run_all(place, "--list").split() if stage != "setup"]
        for number, stage in enumerate(stages):
            if stage != "data":
                plan_once(place, "plan_with_data.txt")  # of the pictures that are there now
            if stage in {each.stage for each in done}:
                continue
            stop_after = scale.share * STOP_SECONDS if stop else None
            measured, status = run_stage(place, stage, stop_after, SIGNALS[number % 3])
            if status:
                print(f"rehearsal: stage {stage} failed: see {place.run}/logs/{stage}.log", file=sys.stderr)
                return 1
            done.append(measured)
            write_text(notes, json.dumps([asdict(each) for each in done], indent=1))
    plan = plan_of((place.work / "plan_with_data.txt").read_text())
    plan["data"] = plan_of((place.work / "plan.txt").read_text())["data"]
    page = table(done, plan, core_count())
    if scale.side != 224:
        page += (
            f"The network's input here is {scale.side}, not VGG16's 224, and maps are as much smaller: less "
            "to compute and to keep, of as many pictures.\n"
        )
        if scale.side < LEAST_SIDE:
            page += f"Square pictures are {LEAST_SIDE} where R-MAC's regions are taken from their maps.\n"
    write_text(place.work / "rehearsal.md", page)
    print(page)
    return 0


# The checkout, the server, and what is asked of run_all.sh


def copy_checkout(copy: Path, scale: Scale, served: Path) -> None:
    """Copy what the run needs, with VGG16 for an input of the scale's side and the profile at its scale."""
    if copy.exists():
        return
    part = copy.with_name("checkout.part")
    shutil.rmtree(part, ignore_errors=True)
    for name in ("data_prep", "eval", "profiles", "prototxt", "tools"):
        shutil.copytree(ROOT / name, part / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "run_all.sh", part)
    for path in (part / "prototxt" / "vgg16").rglob("*.prototxt"):
        path.write_text(path.read_text().replace("224", str(scale.side)))
    plan_for(part / "tools" / "run" / "plan.py", scale, served)
    solver = part / "prototxt" / "vgg16" / "solver.prototxt"  # to be tested at both ends
    solver.write_text(re.sub(r"(?m)^test_interval: .*", "test_interval: 50000", solver.read_text()))
    settings = part / "prototxt" / "vgg16" / "settings"
    settings.write_text(
        re.sub(r"(?m)^DOUBLE_SIDE=448", f"DOUBLE_SIDE={2 * scale.side}", settings.read_text())
    )
    if scale.side < LEAST_SIDE:  # the square pictures' maps would have fewer cells than R-MAC has regions
        recipe = part / "tools" / "run" / "recipes" / "representations.sh"
        pools = "--pool sum,average,max,crow,rmac\n"
        if recipe.read_text().count(pools) != 1:
            raise ValueError(f"{recipe} has no more the step whose pictures the rehearsal enlarges")
        recipe.write_text(recipe.read_text().replace(pools, f"--side {LEAST_SIDE} {pools}"))
    with (part / "profiles" / "article").open("a") as profile:
        profile.writelines(f"{name}={value}\n" for name, value in scaled_settings(scale).items())
    part.rename(copy)


def plan_for(plan: Path, scale: Scale, served: Path) -> None:
    """Let the plan count the stand-ins where it counts what is published. Raises ValueError if it can't."""
    sizes = cluster_sizes(scale)
    paris = [served / f"paris_{part}-v1.tgz" for part in (1, 2)]
    downloads = {
        "paris6k": (2 * scale.of(320, 5), sum(path.stat().st_size for path in paris)),
        "oxford5k": (len(photographs(scale)), (served / "oxbuild_images-v1.tgz").stat().st_size),
        "sfm120k": (sum(sizes), (served / "ims.tar.gz").stat().st_size),
    }
    text, changed = plan.read_text(), 0
    for name, (count, size) in downloads.items():
        text, times = re.subn(rf'"{name}": \([\d_]+, [\d_]+', f'"{name}": ({count}, {size}', text)
        changed += times
    if changed != len(downloads):
        raise ValueError(f"{plan} has the counts of what is published no more where the rehearsal looks")
    plan.write_text(text)


def scaled_settings(scale: Scale) -> dict[str, int | str]:
    """What the rehearsal's profile has instead of the article's."""
    return {
        "NUM_WANTED": scale.of(800, 20),
        "RESIZE": scale.side * 8 // 7,
        "EFFECTIVE_BATCH": scale.of(128, 8),
        "TEST_BATCH": scale.of(52, 8),
        "MAX_ITER": 3,
        "BASE_LR": "1e-6",  # of random weights nothing is learnt, but they must stay finite
        "MAX_SIDE": scale.of(1024 * scale.side // 224, 320 if scale.share < 1 else 0),
        "LEARN_SAMPLE": scale.of(500, 60),
        "MOP_SAMPLE": scale.of(500, 60),
        "MOP_STEP": 32 if scale.share == 1 else 64,
        "MOP_CENTRES": scale.of(100, 20),
        "MOP_WINDOW_DIMS": scale.of(500, 32),
        "MOP_OUTPUT_DIMS": scale.of(4096, 40),
    }


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder's files on the loopback address; gives the folder's address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


def command(place: Place, *options: str) -> list[str]:
    """run_all.sh of the copy, with this rehearsal's folders."""
    run = ["./run_all.sh", "--profile", "article", "--work", str(place.run), "--gpu", "none"]
    return [*run, *options]


def environment(place: Place) -> dict[str, str]:
    """The copy uses this checkout's Caffe and virtual environment, and fetches from the server."""
    prefix, venv = (
        os.environ.get("CAFFE_PREFIX", ROOT / ".caffe"),
        os.environ.get("CAFFE_VENV", ROOT / ".venv"),
    )
    return os.environ | {
        "CAFFE_PREFIX": str(prefix),
        "CAFFE_VENV": str(venv),
        "DATA_DIR": str(place.data),
        "FETCH_SOURCES": str(place.served / "sources.toml"),
    }


def run_all(place: Place, *options: str) -> str:
    """What run_all.sh prints. Raises OSError where it fails."""
    done = subprocess.run(
        command(place, *options), cwd=place.checkout, env=environment(place), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise OSError(f"run_all.sh {' '.join(options)} failed: {done.stderr.strip()}")
    return done.stdout


def plan_once(place: Place, name: str) -> None:
    """Keep what run_all.sh --plan says now, if it isn't kept yet."""
    if not (place.work / name).exists():
        write_text(place.work / name, run_all(place, "--plan"))


# One stage


def run_stage(
    place: Place, stage: str, stop_after: float | None, stop_by: signal.Signals
) -> tuple[Measured, int]:
    """Run a stage to its end, stopped once after so many seconds; what it took, and its exit status."""
    measured = Measured(stage)
    status = start_stage(place, stage, measured, stop_after, stop_by)
    if measured.stops and status != 0:
        status = start_stage(place, stage, measured, None, stop_by)
    du = ["du", "-s", "--block-size=1", str(place.run), str(place.data)]
    sizes = subprocess.run(du, capture_output=True, text=True, check=False).stdout.splitlines()
    measured.disk_bytes = sum(int(line.split()[0]) for line in sizes)
    return measured, status


def start_stage(
    place: Place, stage: str, measured: Measured, stop_after: float | None, stop_by: signal.Signals
) -> int:
    """Start a stage once and watch it, with a signal after so many seconds, if any."""
    began, used = time.monotonic(), used_by_children()
    sampled = 0.0
    process = subprocess.Popen(
        command(place, "--only", stage), cwd=place.checkout, env=environment(place), start_new_session=True
    )
    try:
        while process.poll() is None:
            time.sleep(POLL_SECONDS)
            if time.monotonic() - sampled > SAMPLE_SECONDS:
                measured.peak_bytes = max(measured.peak_bytes, memory_of(process.pid))
                sampled = time.monotonic()
            if stop_after is not None and time.monotonic() - began > stop_after:
                measured.stops.append(stop_by.name)
                end_session(process.pid, stop_by)
                stop_after = None
    except BaseException:
        end_session(process.pid, signal.SIGTERM)
        process.wait()
        raise
    measured.seconds += time.monotonic() - began
    measured.cpu_seconds += used_by_children() - used
    return process.returncode


def used_by_children() -> float:
    """CPU seconds of this process's children that have ended, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def session_of(leader: int) -> Iterator[int]:
    """The processes of a session that have not ended: run_all.sh gives its commands groups of their own. One
    that has ended stays listed until its parent asks, which in a container may be nobody."""
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with suppress(OSError):
                state, _, _, session = (path / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) == leader and state != "Z":
                    yield int(path.name)


def end_session(leader: int, number: signal.Signals) -> None:
    """Send a signal to all of a session; a plain stop to its leader alone, which passes it on."""
    for process in session_of(leader) if number == signal.SIGKILL else [leader]:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def memory_of(leader: int) -> int:
    """Bytes that the session's processes hold by themselves: files that they map are the system's cache."""
    total = 0
    for process in session_of(leader):
        with suppress(OSError):
            status = Path(f"/proc/{process}/status").read_text()
            total += sum(int(kb) << 10 for kb in re.findall(r"(?m)^Rss(?:Anon|Shmem):\s*(\d+) kB", status))
    return total


# The plan, and the table


def plan_of(text: str) -> dict[str, Planned]:
    """Each stage's line or lines of run_all.sh --plan: `STAGE 1.2 GB 4 min   why`."""
    plan: dict[str, Planned] = {}
    line = r"(?m)^(\w+) +([\d.]+) ([kMG]B) +(?:([\d.]+) (min|h)|on the GPU)   "
    for stage, size, of, amount, unit in re.findall(line, text):
        before = plan.get(stage, Planned(0.0, 0.0))
        seconds = float(amount) * (60 if unit == "min" else 3600) if amount else None
        known = None if seconds is None or before.seconds is None else before.seconds + seconds
        plan[stage] = Planned(known, before.bytes + UNITS[of] * float(size))
    return plan


def table(done: Sequence[Measured], plan: dict[str, Planned], cores: int) -> str:
    """The rehearsal as Markdown; figures beyond FACTOR are marked."""
    lines = [
        "| stage | minutes | planned | CPU minutes | memory, MB | disk added, GB | planned | stopped by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    before = 0
    for each in done:
        planned = plan.get(each.stage)
        added, before = each.disk_bytes - before, each.disk_bytes
        least = min(each.seconds, each.cpu_seconds / cores)
        time_cells = in_table((least, each.seconds), planned.seconds if planned else None, LEAST_SECONDS, 60)
        gigabytes = in_table((added, added), planned.bytes if planned else None, LEAST_BYTES, 1e9)
        lines.append(
            f"| {each.stage} | {time_cells} | {each.cpu_seconds / 60:.2f} | {each.peak_bytes / 1e6:,.0f} "
            f"| {gigabytes} | {', '.join(each.stops) or '-'} |"
        )
    minutes = sum(each.seconds for each in done) / 60
    highest = max((each.peak_bytes for each in done), default=0) / 1e6
    used = sum(each.cpu_seconds for each in done) / 60
    lines.append(f"| all | {minutes:.1f} | | {used:.1f} | {highest:,.0f} | {before / 1e9:.2f} | | |")
    lines.append(
        f"\n(!) more than {FACTOR} times the plan, or the plan more than {FACTOR} times that; of time, "
        "even where other work on the machine is allowed for (from CPU minutes on all cores to minutes).\n"
    )
    return "\n".join(lines)


def in_table(found: tuple[float, float], planned: float | None, least: float, unit: float) -> str:
    """Two cells: what was found and what was planned; marked where they differ and are not small.

    What was found lies between two figures, the second of which is shown: other work on the machine makes a
    stage longer than its CPU time on all cores.
    """
    low, high = found
    if not planned:
        return f"{high / unit:.2f} | -"
    differs = not low / FACTOR <= planned <= FACTOR * high and max(high, planned) > least
    return f"{high / unit:.2f} | {planned / unit:.2f}{' (!)' if differs else ''}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="bench/rehearsal.sh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: bench/rehearsal.sh --scale 0.02 --work work/small_rehearsal",
    )
    add_scale_options(parser)
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("work/rehearsal"),
        metavar="DIR",
        help="where it lies (default %(default)s)",
    )
    parser.add_argument(
        "--stop",
        action="store_true",
        help="stop every stage once, if it takes a minute (less in proportion to --scale), and let it go on",
    )
    options = parser.parse_args(argv)
    place, scale = Place(options.work.absolute()), Scale(options.scale, options.side)
    return run_program(
        "rehearsal",
        lambda: rehearse(place, scale, options.stop),
        interrupted="stopped; the same command goes on",
    )


if __name__ == "__main__":
    sys.exit(main())
