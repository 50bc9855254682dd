"""How fast check_images is beside a bare decode loop, and how it starts on very many files.

python -m bench.check_images --help
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, redirect_stderr
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np

from data_prep.check_images import check_folder, report
from data_prep.parallel import core_count, positive_int

GOAL_RATIO, GOAL_SECONDS = 0.9, 1.0
CHUNK = 256
FILES_A_FOLDER = 500


def decode(path: str) -> int:
    """All there is to it: read the file, decode it. The pixels' bytes."""
    with open(path, "rb") as file:  # noqa: PTH123
        data = np.frombuffer(file.read(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR).nbytes


def one_thread() -> None:
    """OpenCV decodes in the process that calls it."""
    cv2.setNumThreads(1)


def bare_loop(folder: Path, jobs: int) -> None:
    """Decode every file of folder in a pool of processes."""
    names = sorted(entry.path for entry in os.scandir(folder))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, spawn, one_thread) as pool:
        for size in pool.map(decode, names, chunksize=CHUNK):
            assert size


def checked(folder: Path, jobs: int) -> None:
    """Check every file of folder as the program does, its report written."""
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        findings = check_folder(folder, None, False, jobs)
        outcomes = report(findings, folder, folder.with_name("report.csv"))
    if set(outcomes) != {"good"}:
        raise ValueError(f"the pictures must all be good ones, to be decoded in full: {dict(outcomes)}")


def link_pictures(source: Path, folder: Path, count: int) -> None:
    """Fill folder with `count` copies, as hard links where it can be, of source's JPEGs in turn."""
    pictures = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not pictures:
        raise ValueError(f"{source} has no JPEGs")
    folder.mkdir()
    # a file system allows a file only so many links, so a copy of each is what the links lead to
    for number, picture in enumerate(islice(cycle(pictures), count)):
        first = folder / f"{number % len(pictures):06}.jpg"
        if number < len(pictures):
            first.write_bytes(picture.read_bytes())
        else:
            (folder / f"{number:06}.jpg").hardlink_to(first)


def seconds_of(action: Callable[[], None]) -> float:
    """How long action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def rates(folder: Path, count: int, jobs: int, runs: int) -> Iterator[tuple[float, float]]:
    """Pictures a second of the bare loop and of check_images, one after the other, `runs` times."""
    checked(folder, jobs)
    for _ in range(runs):
        yield (
            count / seconds_of(lambda: bare_loop(folder, jobs)),
            count / seconds_of(lambda: checked(folder, jobs)),
        )


def start(folder: str, jobs: int) -> None:
    """In a process of its own: print the seconds to the first and last finding, and the largest memory."""
    begun = time.perf_counter()
    with closing(check_folder(Path(folder), None, False, jobs)) as findings:
        next(findings)
        first = time.perf_counter() - begun
        count = 1 + sum(1 for _ in findings)
    last = time.perf_counter() - begun
    print(count, first, last, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def measure_start(folder: Path, jobs: int) -> str:
    """What start prints, as a line."""
    program = f"from bench.check_images import start; start({str(folder)!r}, {jobs})"
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    whole = time.perf_counter() - begun
    count, first, last, memory = map(float, done.stdout.split())
    first += whole - last  # what Python and its imports took
    return f"{count:.0f} files: {first:.2f} s (goal: {GOAL_SECONDS:g} s), {memory:.0f} MiB at most"


def make_tree(folder: Path, count: int, in_each: int) -> None:
    """`count` empty files in nested class folders with so many in each."""
    for number in range(count):
        kind = number // in_each
        place = folder / f"{kind // 50:03}" / f"{kind:05}"
        if number % in_each == 0:
            place.mkdir(parents=True)
        (place / f"{number:07}.jpg").touch()


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.check_images",
        description="Rates of check_images (its report written) and of a bare loop that reads and decodes\n"
        "with OpenCV, each in a process a core, in turn; the medians and their ratio. Then, with --files,\n"
        "the seconds from the start of the program to its first finding, among so many empty files in\n"
        "nested folders and in a single one, and the memory of the process that lists them.",
        epilog="example: python -m bench.check_images oxford/jpg --pictures 3600 --files 500000",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pictures_in", type=Path, metavar="DIR", help="good JPEGs of three channels")
    parser.add_argument(
        "--pictures", type=positive_int, default=2000, metavar="N", help="so many, linked (default 2000)"
    )
    parser.add_argument("--runs", type=positive_int, default=5, help="the median is over so many (default 5)")
    parser.add_argument("--jobs", type=positive_int, default=core_count(), help="default: one a core")
    parser.add_argument("--files", type=int, default=0, metavar="N", help="default: not measured")
    return parser.parse_args()


def main() -> None:
    """Print the rates, their ratio against the goal, and how it starts."""
    arguments = parse_arguments()
    jobs = arguments.jobs
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        link_pictures(arguments.pictures_in, folder / "pictures", arguments.pictures)
        measured = list(rates(folder / "pictures", arguments.pictures, jobs, arguments.runs))
        for name, one in zip(("bare loop", "check_images"), zip(*measured, strict=True), strict=True):
            spread = f"{min(one):.0f} to {max(one):.0f}"
            print(f"{name:<12} {statistics.median(one):7.0f} a second ({spread}), {jobs} processes")
        ratio = statistics.median(check / bare for bare, check in measured)
        print(f"{'ratio':<12} {ratio:7.2f} (goal: {GOAL_RATIO:g})")
        if arguments.files:
            for shape, in_each in (("nested", FILES_A_FOLDER), ("flat", arguments.files)):
                make_tree(folder / shape, arguments.files, in_each)
                print(f"{shape:<12} {measure_start(folder / shape, jobs)}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"bench.check_images: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
