"""How much memory eval.extract --pool takes, by the number of pictures: python -m bench.memory --help."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np

from bench.measure import Row, compare, finish, in_fresh_process, options, run_bench
from eval.forward.photographs import list_pictures

DEPLOY = Path("prototxt/demo/deploy.prototxt")
NUMBERS, QUICK_NUMBERS = [500, 2000, 5063], [50, 200]
GOAL = "<= 1.05"
MADE = 20
LOOK_EVERY_SECONDS = 0.2


def make_weights(path: Path) -> None:
    """A caffemodel of the demo's network, its weights drawn from a seed."""
    import caffe

    net = caffe.Net(str(DEPLOY), caffe.TEST)
    random = np.random.default_rng(0)
    for blobs in net.params.values():
        shape = blobs[0].data.shape
        blobs[0].data[...] = random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    net.save(str(path))


def make_pictures(folder: Path) -> None:
    """Some pictures, upright and lying, of blurred noise."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(MADE):
        size = (150, 200, 3) if i % 2 else (200, 150, 3)
        noise = random.integers(0, 256, size, dtype=np.uint8)
        cv2.imwrite(str(folder / f"{i}.jpg"), cv2.GaussianBlur(noise, (0, 0), 3))


def held_mib() -> dict[int, tuple[int, float]]:
    """Each process with its parent and the most memory (RSS) that it has held so far, in MiB."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):  # it has ended
            fields = dict(re.findall(r"^(PPid|VmHWM):\s+(\d+)", status.read_text(), re.MULTILINE))
            found[int(status.parent.name)] = int(fields["PPid"]), int(fields.get("VmHWM", 0)) / 1024
    return found


def peaks(command: Sequence[str]) -> tuple[float, float]:
    """Run a command; the most that it and that its largest child have held, in MiB.

    Both are the kernel's own high-water marks, read as long as the processes live.
    Raises ValueError with the command's last line where it fails.
    """
    own = largest = 0.0
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(command, stdout=said, stderr=said) as running:
        while running.poll() is None:
            for process, (parent, mib) in held_mib().items():
                own = max(own, mib) if process == running.pid else own
                largest = max(largest, mib) if parent == running.pid else largest
            time.sleep(LOOK_EVERY_SECONDS)
        said.seek(0)
        if running.returncode:
            raise ValueError((said.read().strip().splitlines() or ["eval.extract failed"])[-1])
    return own, largest


def extracted(pictures: Sequence[str], number: int, weights: Path, jobs: int) -> tuple[float, float]:
    """What the parent and the largest worker hold over `number` links to the pictures, in MiB."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "pictures")
        folder.mkdir()
        for i, picture in enumerate(islice(cycle(pictures), number)):
            (folder / f"{i:06}{Path(picture).suffix}").symlink_to(Path(picture).resolve())
        command = [sys.executable, "-m", "eval.extract", "--deploy", str(DEPLOY), "--weights", str(weights)]
        command += [
            "--images",
            str(folder),
            "--mean",
            "104,117,123",
            "--layers",
            "pool5",
            "--jobs",
            str(jobs),
        ]
        command += ["--pool", "sum,max,gem,crow,rmac", "--max-side", "160", "--min-side", "96"]
        return peaks([*command, "--out", str(Path(place, "features.h5"))])


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = options(
        "memory",
        "Runs eval.extract --pool with the demo's network over links to some pictures, and prints the most "
        "memory that its parent and its largest worker have held.",
        "--images photographs --numbers 100 1000",
    )
    cores = len(os.sched_getaffinity(0))
    said = " ".join(map(str, NUMBERS))
    parser.add_argument("--images", type=Path, metavar="DIR", help="pictures (default: made from a seed)")
    parser.add_argument("--numbers", type=int, nargs="+", metavar="N", help=f"how many (default {said})")
    parser.add_argument("--jobs", type=int, default=cores, metavar="N", help="workers (default: the cores)")
    arguments = parser.parse_args()
    arguments.numbers = arguments.numbers or (QUICK_NUMBERS if arguments.quick else NUMBERS)
    if min(*arguments.numbers, arguments.jobs, sys.maxsize) < 1:
        parser.error("--numbers and --jobs take numbers from 1 up")
    return arguments


def main() -> int:
    """Rows of both memories by the number of pictures, and of the whole, the most against the fewest."""
    arguments = parse_arguments()
    rows: list[Row] = []
    whole = {}
    with tempfile.TemporaryDirectory() as place:
        weights, made = Path(place, "demo.caffemodel"), Path(place, "pictures")
        in_fresh_process(make_weights, weights, environment={"GLOG_minloglevel": "2"})
        make_pictures(made)
        pictures = [picture.path for picture in list_pictures(arguments.images or made).values()]
        for number in sorted(set(arguments.numbers)):
            own, largest = extracted(pictures, number, weights, arguments.jobs)
            what = f"extract --pool, {number} pictures"
            rows.append(compare(what, "parent", "", "MiB at most", [own]))
            rows.append(compare(what, "largest worker", "", "MiB at most", [largest]))
            whole[number] = own + arguments.jobs * largest
    few, many = min(whole), max(whole)
    of_goal_size = (few, many) == (NUMBERS[0], NUMBERS[-1])
    what = f"extract --pool, parent and {arguments.jobs} workers"
    names = f"{many} pictures", f"{few} pictures"
    goal = GOAL if of_goal_size else ""
    rows.append(compare(what, *names, "MiB at most", [whole[many]], [whole[few]], goal=goal))
    return finish(rows, arguments)


if __name__ == "__main__":
    run_bench("memory", main)
