"""What tools.convert_in_parts gains over one convert_imageset: python -m bench.lmdb --help."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from bench.measure import Row, alternate, compare, finish, options, run_bench

COMMAND = ["convert_imageset", "--resize_height", "256", "--resize_width", "256", "/"]
PICTURES = 2000
COMPUTED_CORES = 4
GOAL, COMPUTED_GOAL = ">= 1.6", ">= 1.5"
NOISE, QUALITY = 12, 85  # 80 kB a picture, about what a photograph of that size takes


def make_pictures(folder: Path, count: int) -> Path:
    """JPEGs of 640 x 480 and a list of them, each picture there ten times; the list's path."""
    random = np.random.default_rng(0)
    for i in range(-(-count // 10)):
        rough = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        smooth = cv2.resize(rough, (640, 480), interpolation=cv2.INTER_CUBIC).astype(np.int16)
        noisy = smooth + random.integers(-NOISE, NOISE + 1, (480, 640, 1), dtype=np.int16)
        picture = np.clip(noisy, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    listed = folder / "list.txt"
    listed.write_text("".join(f"{folder / str(i // 10)}.jpg {i % 7}\n" for i in range(count)))
    return listed


def cpu_of_children() -> float:
    """CPU seconds of this process's finished children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measured(listed: Path, count: int, jobs: int, runs: int) -> list[Row]:
    """Convert by one process and by several."""
    place = listed.parent
    cpu: dict[str, list[float]] = {"several": [], "one": []}

    def convert(name: str, *command: str) -> None:
        shutil.rmtree(place / name, ignore_errors=True)
        before = cpu_of_children()
        subprocess.run(command, check=True, capture_output=True)
        cpu[name].append(cpu_of_children() - before)

    in_parts = [sys.executable, "-m", "tools.convert_in_parts", "--jobs", str(jobs), str(listed)]
    durations = alternate(
        lambda: convert("several", *in_parts, str(place / "several"), "--", *COMMAND),
        lambda: convert("one", *COMMAND, str(listed), str(place / "one")),
        runs=runs,
    )
    several, one = ([count / duration for duration in of_one] for of_one in durations)
    what = f"LMDB of {count} JPEGs of 640x480, resized to 256x256"
    ours = "convert_in_parts"
    return [
        compare(
            what,
            f"{ours}, {jobs} at a time",
            COMMAND[0],
            "pictures/s",
            several,
            one,
            goal=GOAL if jobs > 1 else "",
        ),
        compare(
            f"{what}; computed from CPU seconds, the disk not counted",
            f"{ours}, {COMPUTED_CORES} cores",
            f"{COMMAND[0]}, 1 core",
            "pictures/s",
            [COMPUTED_CORES * count / spent for spent in cpu["several"]],
            [count / spent for spent in cpu["one"]],
            goal=COMPUTED_GOAL,
        ),
    ]


def main() -> int:
    """Measure in a temporary folder."""
    parser = options(
        "lmdb", "Times convert_imageset on a whole list against several on parts of it, joined.", "--jobs 4"
    )
    parser.add_argument("--pictures", type=int, help=f"default {PICTURES}, 400 for a quick look")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="default: one a core")
    arguments = parser.parse_args()
    count = arguments.pictures or (400 if arguments.quick else PICTURES)
    if min(count, arguments.jobs) < 1:
        parser.error("--pictures and --jobs take numbers from 1 up")
    if shutil.which(COMMAND[0]) is None:
        raise ValueError("convert_imageset is not on PATH: source .caffe/env.sh")
    with tempfile.TemporaryDirectory() as place:
        listed = make_pictures(Path(place), count)
        rows = measured(listed, count, arguments.jobs, 1 if arguments.quick else 5)
    return finish(rows, arguments)


if __name__ == "__main__":
    run_bench("lmdb", main)
