"""data_prep.augment's two engines, and what more processes gain: python -m bench.augment --help."""

import os
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from bench.measure import Row, alternate, compare, finish, options, run_bench
from data_prep.augment import augment
from data_prep.augmentation.engines import Look, engine_called

HEIGHT, WIDTH = 480, 640
ORIGINALS = 10
PER_CORE_GOAL = ">= 10"
CORES_OF_GOAL, CORES_GOAL = 16, ">= 14"
NOISE, QUALITY = 12, 85  # 80 kB a picture, about what a photograph of that size takes


def make_class(folder: Path) -> None:
    """A folder with one class of photograph-like JPEGs."""
    random = np.random.default_rng(0)
    (folder / "class").mkdir(parents=True)
    for i in range(ORIGINALS):
        rough = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        smooth = cv2.resize(rough, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.int16)
        noisy = smooth + random.integers(-NOISE, NOISE + 1, (HEIGHT, WIDTH, 1), dtype=np.int16)
        picture = np.clip(noisy, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "class" / f"{i}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def fill_up(folder: Path, copies: int, engine: str, jobs: int) -> None:
    """Make so many copies, the last run's being removed first."""
    for copy in (folder / "class").glob("aug_*"):
        copy.unlink()
    augment(folder, ORIGINALS + copies, 1, engine_called(engine, Look()), jobs)


def measured(folder: Path, copies: dict[str, int], runs: int) -> list[Row]:
    """Rates of both engines in one process, and of OpenCV's in more and more processes."""
    cores = len(os.sched_getaffinity(0))
    size = f"augmented {WIDTH}x{HEIGHT} JPEGs, decoding and encoding counted"

    def rates(engine: str, durations: list[float]) -> list[float]:
        return [copies[engine] / duration for duration in durations]

    engines = [partial(fill_up, folder, copies[engine], engine, 1) for engine in ("opencv", "keras")]
    opencv, keras = alternate(*engines, runs=runs)
    rows = [
        compare(
            f"{size}, 1 process",
            "engine opencv",
            "engine keras",
            "pictures/s",
            rates("opencv", opencv),
            rates("keras", keras),
            goal=PER_CORE_GOAL,
        )
    ]
    counts = [2**power for power in range(1, cores.bit_length()) if 2**power <= cores]
    processes = [partial(fill_up, folder, copies["opencv"] * 2, "opencv", jobs) for jobs in (1, *counts)]
    alone, *several = alternate(*processes, runs=runs)
    for jobs, durations in zip(counts, several, strict=True):
        rows.append(
            compare(
                f"{size}, engine opencv",
                f"{jobs} processes",
                "1 process",
                "pictures/s",
                rates("opencv", [duration / 2 for duration in durations]),
                rates("opencv", [duration / 2 for duration in alone]),
                goal=CORES_GOAL if jobs == CORES_OF_GOAL else "",
            )
        )
    return rows


def main() -> int:
    """Measure in a temporary folder."""
    parser = options(
        "augment", "Times data_prep.augment's engines, in one process and in several.", "--quick"
    )
    arguments = parser.parse_args()
    copies = {"opencv": 300, "keras": 40} if arguments.quick else {"opencv": 2000, "keras": 200}
    with tempfile.TemporaryDirectory() as place:
        make_class(Path(place))
        rows = measured(Path(place), copies, 1 if arguments.quick else 5)
    return finish(rows, arguments)


if __name__ == "__main__":
    run_bench("augment", main)
