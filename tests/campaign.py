"""Stops a small run at drawn moments, lets it go on, and compares with a run that nobody disturbed.

    python -m tests.campaign kill --times 100       signals to the run or to its processes
    python -m tests.campaign power-cut --times 50   what had reached a loop-mounted ext4, and nothing else

A proof of its own, an hour or two: not part of the daily tests; the second needs root. The run is the whole
walk to Table 2 on drawn pictures, the demo's network and some steps of training. Every stage has its turn,
and the moment in it is drawn. Of four disturbed runs two are stopped on their first way (they begin with what
an undisturbed run had when it came to the stage), one is --force on a finished run, and one begins on a
finished run with another seed and goes on with the first; every third is stopped twice by `kill`, and goes on
to the report as those stopped in it do. A stop in training changes the rounding of what is trained, so after
one only what training does not touch must be the same bytes.

With --keep DIR what became of each run is in DIR/kill.jsonl or DIR/power-cut.jsonl, and a campaign that was
stopped goes on behind the last. The same seed draws the same moments.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
MARK = "CAMPAIGN_RUN"
"""In the environment of every process of a run, which tells them from others."""
IMAGE_BYTES = 400 << 20
CLASSES, EACH = 4, 6
LONGEST_SECONDS = 1800
"""What a run on a loaded machine may take."""
KILLS = {
    "KILL to all": signal.SIGKILL,
    "KILL to run_all.sh": signal.SIGKILL,
    "KILL to its largest process": signal.SIGKILL,
    "TERM": signal.SIGTERM,
    "INT": signal.SIGINT,
    "HUP": signal.SIGHUP,
    "TERM to all": signal.SIGTERM,
}
BEGINNINGS = ("first way", "first way", "--force", "another seed")
SAME, BUT_TRAINING = "the same bytes", "but for the training"


@dataclass(frozen=True)
class Outcome:
    """What became of a disturbed run: how it was stopped, in which stages, and what it came to."""

    number: int
    beginning: str
    stops: list[tuple[str, str]]
    """How and in which stage."""
    result: str
    seconds: float


@dataclass(frozen=True)
class Reference:
    """The run that nobody disturbed: seconds by stage, and results."""

    stages: dict[str, float]
    results: dict[str, str]


def draw(kind: int, number: int) -> np.ndarray:
    """A picture (96, 128, 3) of a kind: its blocks in another place and light."""
    drawn = np.random.default_rng([kind, number])
    picture = np.full((96, 128, 3), 40 + 20 * kind, np.uint8)
    for block in range(4):
        x, y = drawn.integers(0, 90), drawn.integers(0, 60)
        colour = ((kind * 97 + block * 60) % 256, (kind * 31 + 80 * block) % 256, 200 - 40 * block)
        cv2.rectangle(picture, (int(x), int(y)), (int(x) + 30, int(y) + 25), colour, -1)
    return np.clip(picture + drawn.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)


def write_inputs(folder: Path) -> Path:
    """Class folders, photographs with ground truth, weights, and the profile that names them; the profile."""
    for kind in range(CLASSES):
        (folder / "classes" / f"place {kind}").mkdir(parents=True)
        for number in range(EACH):
            cv2.imwrite(str(folder / "classes" / f"place {kind}" / f"{number}.jpg"), draw(kind, number))
    (folder / "classes" / "place 0" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    for name in ("jpg", "gt"):
        (folder / name).mkdir()
    for kind in range(CLASSES):
        names = [f"place_{kind}_{number}" for number in range(EACH)]
        for number, name in enumerate(names):
            cv2.imwrite(str(folder / "jpg" / f"{name}.jpg"), draw(kind, 50 + number))
        (folder / "gt" / f"place{kind}_1_query.txt").write_text(f"oxc1_{names[0]} 8 8 100 90\n")
        for judged, listed in (("good", names[:4]), ("ok", names[4:5]), ("junk", names[5:])):
            (folder / "gt" / f"place{kind}_1_{judged}.txt").write_text("".join(f"{one}\n" for one in listed))
    os.environ |= {"GLOG_minloglevel": "2"}  # read when Caffe is loaded
    import caffe

    net = caffe.Net(str(ROOT / "prototxt" / "demo" / "deploy.prototxt"), caffe.TEST)
    drawn = np.random.default_rng(1)
    for blobs in net.params.values():
        blobs[0].data[...] = drawn.normal(0, np.sqrt(2 / blobs[0].data[0].size), blobs[0].data.shape)
    net.save(str(folder / "pretrained.caffemodel"))
    profile = folder / "small"
    profile.write_text(
        f"NETWORK=demo\nTRAIN_PICTURES='{folder}/classes'\nDATABASE='{folder}/jpg'\nGROUND_TRUTH='{folder}/gt'\n"
        f"WEIGHTS='{folder}/pretrained.caffemodel'\nMEAN=104,117,123\nNUM_WANTED=30\nRESIZE=72\nMAX_ITER=30\n"
        "BASE_LR=0.0001\nLAYERS='fc6 fc7'\nDIMS='8 none'\n"
    )
    return profile


def start(profile: Path, work: Path, name: str, *more: str) -> subprocess.Popen[bytes]:
    """Begin a run, or go on with it; its log lies beside its folder."""
    words = ["--profile", profile, "--work", work, "--table", "2", "--from", "data", *more]
    with log_of(work).open("ab") as log:
        return subprocess.Popen(
            [ROOT / "run_all.sh", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {MARK: name},
            start_new_session=True,
        )


def log_of(work: Path) -> Path:
    """Where a run's words are gathered."""
    return work.parent / f"{work.name}.log"


def processes_of(name: str) -> list[int]:
    """Every process that a run has started and that is still there."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={name}\0".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def results(work: Path) -> dict[str, str]:
    """What a run comes to: tables, and the hashes of what came before training."""
    read = {path.name: path.read_text() for path in sorted((work / "results").glob("table*.json"))}
    for name in ("lists/train.txt", "lists/val.txt", "classes.csv", "check.csv"):
        read[name] = (work / name).read_text().replace(str(work), "")
    return read


def without_training(found: dict[str, str]) -> dict[str, str]:
    """The same, but for the fine-tuned network's figures."""
    kept = dict(found)
    for name in [name for name in found if name.startswith("table")]:
        rows = json.loads(found[name])["rows"]
        kept[name] = json.dumps([row for row in rows if row.get("model") != "finetuned"])
    return kept


def stage_in(log: Path) -> str:
    """The stage that a log ends in."""
    return (stages_in(log.read_text()) or ["start"])[-1]


def stages_in(log: str) -> list[str]:
    """The stages that a log has headers of."""
    return re.findall(r"^─{20,}\n(\w+)", log, re.MULTILINE)


def reference_run(profile: Path, work: Path) -> Reference:
    """The run that nobody disturbs, with a copy of its folder after each stage; made by the first call."""
    made = work.with_name("reference.json")
    if not made.is_file():
        shutil.rmtree(work, ignore_errors=True)
        seconds: dict[str, float] = {}
        for stage in stages_of(profile):
            began = time.monotonic()
            if start(profile, work, "reference", "--to", stage).wait() != 0:
                sys.exit(f"campaign: the undisturbed run failed: see {log_of(work)}")
            seconds[stage] = time.monotonic() - began
            shutil.rmtree(after(stage, work), ignore_errors=True)
            shutil.copytree(work, after(stage, work), symlinks=True)
        made.write_text(json.dumps(asdict(Reference(seconds, results(work)))))
    return Reference(**json.loads(made.read_text()))


def stages_of(profile: Path) -> list[str]:
    """The run's stages but for set-up."""
    words = [ROOT / "run_all.sh", "--profile", profile, "--table", "2", "--list"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[1:]


def after(stage: str, reference: Path) -> Path:
    """The undisturbed run's folder as it was after a stage."""
    return reference.with_name(f"after_{stage}")


def wait_for_moment(process: subprocess.Popen[bytes], work: Path, stage: str, seconds: float) -> None:
    """Until so many seconds after a run has begun with a stage, or until it has ended."""
    before = log_of(work).stat().st_size
    while process.poll() is None:
        with log_of(work).open("rb") as log:
            log.seek(before)
            if stage in stages_in(log.read().decode(errors="replace")):
                break
        time.sleep(0.02)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def kill_run(process: subprocess.Popen[bytes], name: str, how: str) -> None:
    """Stop a run in one of the ways that runs are stopped, and wait for run_all.sh's end."""
    targets = [process.pid]
    if how.endswith("all"):
        targets = processes_of(name)
    elif how.endswith("process"):
        targets = sorted(processes_of(name), key=memory_of)[-1:]
    for pid in targets:
        with suppress(ProcessLookupError):
            os.kill(pid, KILLS[how])
    process.wait(LONGEST_SECONDS)


def memory_of(pid: int) -> int:
    """Pages of a process that are in memory; 0 where it has ended."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return 0


def beginning(number: int, reference: Path, work: Path, aimed: str, stages: Sequence[str]) -> list[str]:
    """Options that a disturbed run begins with; what must be there is put there."""
    kind = BEGINNINGS[number % len(BEGINNINGS)]
    before = stages.index(aimed) - 1
    if kind != "first way":
        shutil.copytree(reference, work, symlinks=True)
    elif before >= 0:
        shutil.copytree(after(stages[before], reference), work, symlinks=True)
    return {"--force": ["--force", "--from", aimed], "another seed": ["--seed", "2"]}.get(kind, [])


def end(number: int, aimed: str) -> list[str]:
    """Options for the last stage: the report takes a quarter of a run's time, and makes no figures."""
    return [] if number % 3 == 0 or aimed == "report" else ["--to", "tables"]


def went_on(profile: Path, work: Path, expected: dict[str, str], name: str, *more: str) -> str:
    """Let a disturbed run go on to its end; what it came to."""
    status = start(profile, work, name, "--take-over", *more).wait(LONGEST_SECONDS)
    if status != 0:
        return f"failed: exit {status}, see {log_of(work)}"
    found = results(work)
    if found == expected:
        return SAME
    if without_training(found) == without_training(expected):
        return BUT_TRAINING
    return "failed: other " + ", ".join(key for key in expected if found.get(key) != expected[key])


def kill_one(number: int, drawn: random.Random, place: Path, profile: Path, reference: Reference) -> Outcome:
    """A run that is killed, in a folder of its own."""
    began = time.monotonic()
    name, work = f"kill_{number}", place / f"run_{number}"
    shutil.rmtree(work, ignore_errors=True)
    log_of(work).write_text("")
    stages = list(reference.stages)
    aim = number % len(stages)
    more = beginning(number, place / "reference", work, stages[aim], stages)
    stops: list[tuple[str, str]] = []
    for _ in range(2 if number % 3 == 0 else 1):
        aim = min(aim + len(stops) * drawn.randrange(4), len(stages) - 1)
        how = drawn.choice(list(KILLS))
        process = start(profile, work, name, *more, *(["--take-over"] if stops else []))
        wait_for_moment(process, work, stages[aim], drawn.uniform(0, reference.stages[stages[aim]]))
        stops.append((how, stage_in(log_of(work))))
        kill_run(process, name, how)
    result = went_on(profile, work, reference.results, name, *end(number, stages[aim]))
    if not result.startswith("failed"):
        shutil.rmtree(work)
        log_of(work).unlink()
    return Outcome(number, BEGINNINGS[number % len(BEGINNINGS)], stops, result, time.monotonic() - began)


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """An image's file system at a folder."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def cut_one(number: int, drawn: random.Random, place: Path, profile: Path, reference: Reference) -> Outcome:
    """A run whose power is cut: what had reached the device is there, what waited in memory is not."""
    began = time.monotonic()
    name = f"cut_{number}"
    # in memory, so that the copy of a moment takes a moment
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="campaign-") as memory:
        image, copy = Path(memory, "image"), Path(memory, "copy")
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        with mounted(image, place / f"disk_{number}") as disk:
            work = disk / "work"
            log_of(work).write_text("")
            stages = list(reference.stages)
            aimed = stages[number % len(stages)]
            more = beginning(number, place / "reference", work, aimed, stages)
            os.sync()
            process = start(profile, work, name, *more)
            wait_for_moment(process, work, aimed, drawn.uniform(0, reference.stages[aimed]))
            stopped = stage_in(log_of(work))
            signal_all(name, signal.SIGSTOP)
            subprocess.run(["cp", "--sparse=always", image, copy], check=True)
            signal_all(name, signal.SIGKILL)
            process.wait(LONGEST_SECONDS)
        copy.replace(image)
        with mounted(image, place / f"disk_{number}") as disk:
            result = went_on(profile, disk / "work", reference.results, name, *end(number, aimed))
            if result.startswith("failed"):
                shutil.copytree(disk, place / name, symlinks=True)
    kind = BEGINNINGS[number % len(BEGINNINGS)]
    return Outcome(number, kind, [("power cut", stopped)], result, time.monotonic() - began)


def signal_all(name: str, number: int) -> None:
    """A signal to every process of a run."""
    for pid in processes_of(name):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def campaign(what: str, times: int, seed: int, place: Path, jobs: int) -> list[Outcome]:
    """The disturbed runs, those of an earlier call among them; `jobs` at a time."""
    journal = place / f"{what}.jsonl"
    journal.touch()
    outcomes = [Outcome(**json.loads(line)) for line in journal.read_text().splitlines()]
    if not (place / "inputs" / "small").is_file():
        shutil.rmtree(place / "inputs", ignore_errors=True)
        write_inputs(place / "inputs")
    profile = place / "inputs" / "small"
    reference = reference_run(profile, place / "reference")
    one = kill_one if what == "kill" else cut_one

    def disturb(number: int) -> Outcome:
        return one(number, random.Random(f"{what} {seed} {number}"), place, profile, reference)

    numbers = sorted(set(range(times)) - {outcome.number for outcome in outcomes})
    with ThreadPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(disturb, number) for number in numbers]):
            outcomes.append(done.result())
            with journal.open("a") as file:
                file.write(json.dumps(asdict(outcomes[-1])) + "\n")
            print(f"{len(outcomes)}/{times}: {in_words(outcomes[-1])}", flush=True)
    return outcomes


def in_words(outcome: Outcome) -> str:
    """One line on a run."""
    stops = ", ".join(f"{how} in {stage}" for how, stage in outcome.stops)
    return f"run {outcome.number}, {outcome.beginning}; {stops}: {outcome.result} ({outcome.seconds:.0f} s)"


def report(outcomes: Sequence[Outcome]) -> None:
    """How many of how many, by beginning, by kind of stop and by stage."""
    tables: dict[str, dict[str, Counter[str]]] = {"begun": {}, "stopped by": {}, "stopped in": {}}
    for outcome in outcomes:
        result = outcome.result.partition(":")[0]
        keys = [("begun", outcome.beginning)]
        for how, stage in outcome.stops:
            keys += [("stopped by", how), ("stopped in", stage)]
        for table, key in dict.fromkeys(keys):
            tables[table].setdefault(key, Counter())[result] += 1
    for table, rows in tables.items():
        for key, counted in rows.items():
            print(
                f"{table} {key}: " + ", ".join(f"{count} {result}" for result, count in counted.most_common())
            )
    failed = [outcome for outcome in outcomes if outcome.result.startswith("failed")]
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} went on to the undisturbed run's tables")
    for outcome in failed:
        print(in_words(outcome))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a campaign; exit status 1 where a run did not come to its end."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaign",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=("kill", "power-cut"))
    parser.add_argument("--times", type=int, default=20, metavar="N", help="disturbed runs (default: 20)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the moments (default: 1)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work there, and go on with what is there")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: 1)")
    options = parser.parse_args(argv)
    if options.what == "power-cut" and os.geteuid() != 0:
        parser.error("power-cut mounts file systems, and needs root")
    place = (options.keep or Path(tempfile.mkdtemp(prefix="campaign-"))).resolve()
    place.mkdir(parents=True, exist_ok=True)
    outcomes = campaign(options.what, options.times, options.seed, place, options.jobs)
    report(outcomes)
    failed = any(outcome.result.startswith("failed") for outcome in outcomes)
    if not failed and not options.keep:
        shutil.rmtree(place, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
