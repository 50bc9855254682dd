"""Stops a small run at drawn moments, lets it go on, and compares with a run that nobody disturbed.

    python -m tests.campaign kill --times 100       SIGKILL, SIGTERM or SIGINT to the run or its processes
    python -m tests.campaign power-cut --times 50   what had reached a loop-mounted ext4, and nothing else

A proof of its own, minutes to an hour: not part of the daily tests; the second needs root. The run is the
whole walk to Table 2 on drawn pictures, the demo's network and some steps of training; every third
disturbed run is one with --force on a finished folder. A stop in training changes the order of its
pictures, so after one only what training does not touch must be the same bytes. The same seed draws the
same moments.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
MARK = "CAMPAIGN_RUN"
"""In the environment of every process of a run, which tells them from others."""
IMAGE_BYTES = 400 << 20
CLASSES, EACH = 4, 6


@dataclass
class Tally:
    """What became of the disturbed runs."""

    same: int = 0
    trained_anew: int = 0
    failures: list[str] = field(default_factory=list)
    stages: dict[str, int] = field(default_factory=dict)


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
        "BASE_LR=0.0001\nDIMS='8 none'\n"
    )
    return profile


def command(profile: Path, work: Path, *more: str) -> list[str]:
    return [
        str(ROOT / "run_all.sh"),
        "--profile",
        str(profile),
        "--work",
        str(work),
        "--table",
        "2",
        "--from",
        "data",
        *more,
    ]


def start(profile: Path, work: Path, name: str, *more: str) -> subprocess.Popen:
    log = (work.parent / f"{work.name}.log").open("ab")
    environment = os.environ | {MARK: name}
    return subprocess.Popen(
        command(profile, work, *more), stdout=log, stderr=log, env=environment, start_new_session=True
    )


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


def stage_at_work(work: Path) -> str:
    """The stage whose step was begun last."""
    begun = list((work / ".steps").glob("*.begun")) if (work / ".steps").is_dir() else []
    return begun[0].name.removesuffix(".begun") if begun else "between two steps"


def settle(tally: Tally, profile: Path, work: Path, expected: dict[str, str], name: str, stage: str) -> None:
    """Let a disturbed run go on to its end, and compare."""
    tally.stages[stage] = tally.stages.get(stage, 0) + 1
    process = start(profile, work, name, "--take-over")
    if process.wait(900) != 0:
        tally.failures.append(f"{name}, stopped at {stage}: exit {process.returncode}, see {work}.log")
        return
    found = results(work)
    if found == expected:
        tally.same += 1
    elif without_training(found) == without_training(expected):
        tally.trained_anew += 1
    else:
        other = [key for key in expected if found.get(key) != expected[key]]
        tally.failures.append(f"{name}, stopped at {stage}: other {', '.join(other)}")


def kill_run(process: subprocess.Popen, name: str, drawn: random.Random) -> str:
    """Stop a run in one of the ways that runs are stopped; which."""
    how = drawn.choice(["KILL to all", "KILL to run_all.sh", "TERM", "INT", "TERM to all"])
    number = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "INT": signal.SIGINT}[how.split()[0]]
    targets = processes_of(name) if how.endswith("all") else [process.pid]
    for pid in targets:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    process.wait(300)
    return how


def kill_campaign(times: int, seed: int, place: Path) -> Tally:
    """Runs that are killed, each in a folder of its own."""
    tally, drawn = Tally(), random.Random(seed)
    profile = write_inputs(place / "inputs")
    seconds, expected = undisturbed(profile, place / "reference")
    for number in range(times):
        name, work = f"kill_{number}", place / f"run_{number}"
        more = []
        if number % 3 == 2:
            shutil.copytree(place / "reference", work, symlinks=True)
            more = ["--force"]
        process = start(profile, work, name, *more)
        with suppress(subprocess.TimeoutExpired):
            process.wait(drawn.uniform(0.02, 1) * seconds)
        stage = stage_at_work(work)
        how = kill_run(process, name, drawn)
        settle(tally, profile, work, expected, f"{name} ({how})", stage)
        report(tally, number + 1, times)
        if not any(failure.startswith(name) for failure in tally.failures):
            shutil.rmtree(work)
    return tally


def undisturbed(profile: Path, work: Path) -> tuple[float, dict[str, str]]:
    """Seconds and results of the run that nobody disturbs."""
    began = time.monotonic()
    if start(profile, work, "reference").wait() != 0:
        sys.exit(f"campaign: the undisturbed run failed: see {work}.log")
    return time.monotonic() - began, results(work)


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """An image's file system at a folder."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def power_campaign(times: int, seed: int, place: Path) -> Tally:
    """Runs whose power is cut: what had reached the device is there, what waited in memory is not."""
    tally, drawn = Tally(), random.Random(seed)
    profile = write_inputs(place / "inputs")
    seconds, expected = undisturbed(profile, place / "reference")
    # in memory, so that the copy of a moment takes a moment
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="campaign-") as memory:
        for number in range(times):
            name, image, copy = f"cut_{number}", Path(memory, "image"), Path(memory, "copy")
            with image.open("wb") as file:
                file.truncate(IMAGE_BYTES)
            subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
            with mounted(image, place / "disk") as disk:
                more = []
                if number % 3 == 2:
                    shutil.copytree(place / "reference", disk / "work", symlinks=True)
                    os.sync()
                    more = ["--force"]
                process = start(profile, disk / "work", name, *more)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(drawn.uniform(0.02, 1) * seconds)
                stage = stage_at_work(disk / "work")
                for pid in processes_of(name):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP)
                subprocess.run(["cp", "--sparse=always", image, copy], check=True)
                for pid in processes_of(name):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait(60)
            copy.replace(image)
            with mounted(image, place / "disk") as disk:
                settle(tally, profile, disk / "work", expected, name, stage)
                if any(failure.startswith(name) for failure in tally.failures):
                    shutil.copytree(disk, place / name, symlinks=True)
            report(tally, number + 1, times)
    return tally


def report(tally: Tally, done: int, times: int) -> None:
    """One line on how it goes."""
    print(
        f"{done}/{times}: {tally.same} the same bytes, {tally.trained_anew} but for the training, "
        f"{len(tally.failures)} failed" + (f" (last: {tally.failures[-1]})" if tally.failures else ""),
        flush=True,
    )


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
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work there, and leave what failed")
    options = parser.parse_args(argv)
    if options.what == "power-cut" and os.geteuid() != 0:
        parser.error("power-cut mounts file systems, and needs root")
    place = (options.keep or Path(tempfile.mkdtemp(prefix="campaign-"))).resolve()
    place.mkdir(parents=True, exist_ok=True)
    campaign = kill_campaign if options.what == "kill" else power_campaign
    tally = campaign(options.times, options.seed, place)
    for stage, count in sorted(tally.stages.items(), key=lambda item: -item[1]):
        print(f"  stopped at {stage}: {count}")
    for failure in tally.failures:
        print(f"  failed: {failure}")
    if not tally.failures:
        shutil.rmtree(place, ignore_errors=True)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
