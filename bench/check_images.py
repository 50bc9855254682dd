"""check_images beside a bare decode loop, and how it starts: python -m bench.check_images --help."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np

from bench.measure import Row, alternate, compare, finish, options, run_bench
from data_prep.check.readers import caffe_program
from data_prep.check.report import write_report
from data_prep.check_images import check_folder
from tools.processes import core_count
from tools.program import positive_int

KINDS = ((1024, 768, 93, 900), (256, 256, 75, 9000))
"""Width, height, JPEG quality, number: files as large as Oxford's photographs', and as those at 256 x 256."""
FILES = 500_000
IN_EACH = 500
CHUNK = 256


def photograph(width: int, height: int, quality: int, seed: int) -> bytes:
    """A JPEG with a photograph's number of bytes: coarse noise enlarged, under fine noise."""
    random = np.random.default_rng(seed)
    coarse = cv2.resize(random.integers(0, 256, (24, 32, 3), np.uint8), (width, height), interpolation=2)
    noisy = coarse + random.normal(0, 7, coarse.shape)
    pixels = np.clip(noisy, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def fill(folder: Path, pictures: list[bytes], count: int) -> None:
    """`count` files that are the pictures in turn."""
    folder.mkdir()
    for number, data in enumerate(islice(cycle(pictures), count)):
        (folder / f"{number:06}.jpg").write_bytes(data)


def decode(path: str) -> int:
    """All there is to it: read the file, decode it. The pixels' bytes."""
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    return 0 if picture is None else picture.nbytes


def one_thread() -> None:
    """OpenCV decodes in the process that calls it."""
    cv2.setNumThreads(1)


def bare_loop(folder: Path, jobs: int) -> None:
    """Decode every file of folder in a pool of processes."""
    names = sorted(entry.path for entry in os.scandir(folder))
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), one_thread) as pool:
        assert all(pool.map(decode, names, chunksize=CHUNK))


def checked(folder: Path, jobs: int) -> None:
    """Check every file of folder as the program does, its report written."""
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        findings = check_folder(folder, None, False, jobs, None, caffe_program())
        outcomes = write_report(findings, folder, folder.with_name("report.csv"))
    if set(outcomes) != {"good"}:
        raise ValueError(f"to be decoded in full the pictures must all be good: {dict(outcomes)}")


def rates(folder: Path, what: str, jobs: int, runs: int, goal: str) -> Row:
    """Pictures a second of both, each with its own pool of processes."""
    count = sum(1 for _ in os.scandir(folder))
    seconds = alternate(lambda: checked(folder, jobs), lambda: bare_loop(folder, jobs), runs=runs)
    ours, peer = ([count / duration for duration in durations] for durations in seconds)
    what, program = f"{count} pictures {what}, {jobs} processes", "check_images (decodes at 1/8 first)"
    return compare(what, program, "read, decode by OpenCV", "a second", ours, peer, goal=goal)


def start(folder: Path, jobs: int) -> tuple[float, float]:
    """Seconds from the program's start to its first line, and the most memory of it, without its pool's."""
    command = [sys.executable, "-u", "-m", "data_prep.check_images", str(folder), "--jobs", str(jobs)]
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        process.stdout.readline()
        first = time.perf_counter() - begun
        for number, _ in enumerate(process.stdout):
            if number % 1000 == 0:
                status = Path(f"/proc/{process.pid}/status").read_text()
    return first, int(status.partition("VmHWM:")[2].split()[0]) / 1024


def starts(folder: Path, count: int, jobs: int) -> Iterator[Row]:
    """How soon there is a finding among `count` empty files, in class folders and in one folder."""
    goal = "<= 1" if count == FILES else ""
    for shape, in_each in ((f"folders of {IN_EACH}", IN_EACH), ("one folder", count)):
        for number in range(count):
            place = folder / shape / f"{number // in_each:05}"
            if number % in_each == 0:
                place.mkdir(parents=True)
            (place / f"{number:07}.jpg").touch()
        first, memory = start(folder / shape, jobs)
        what = f"check_images among {count} empty files in {shape}"
        yield compare(what, "its first line", "", "s", [first], goal=goal)
        yield compare(what, "most memory, without the pool's", "", "MiB", [memory])


def measured(folder: Path, given: Path | None, quick: bool, jobs: int) -> Iterator[Row]:
    """All rows."""
    goal, part, runs = ("", 5, 3) if quick else (">= 0.9", 1, 5)
    if given:
        pictures = [path.read_bytes() for path in sorted(given.rglob("*.jpg"))]
        if not pictures:
            raise ValueError(f"{given} holds no .jpg")
        fill(folder / "given", pictures, KINDS[0][-1] // part)
        yield rates(folder / "given", f"of {given.name}", jobs, runs, goal)
    for width, height, quality, count in KINDS:
        pictures = [photograph(width, height, quality, seed) for seed in range(24)]
        fill(folder / f"{width}", pictures, count // part)
        yield rates(folder / f"{width}", f"{width} x {height}", jobs, runs, goal)
    yield from starts(folder, FILES // 10 if quick else FILES, jobs)


def main() -> int:
    """Measure rates and starts."""
    parser = options(
        "check_images",
        "Pictures a second of check_images, its report written, and of a bare loop that reads and decodes by "
        "OpenCV. Then how soon check_images has looked at a first one of half a million files, and how much "
        "memory listing them takes.",
        "--images oxford/jpg",
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="good JPEGs to measure on as well")
    parser.add_argument(
        "--jobs", type=positive_int, default=core_count(), help="processes (default: one a core)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        rows = list(measured(Path(place), arguments.images, arguments.quick, arguments.jobs))
    return finish(rows, arguments)


if __name__ == "__main__":
    run_bench("check_images", main)
