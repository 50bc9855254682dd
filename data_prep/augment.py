"""Fill up small classes with augmented copies of their pictures until each has exactly --num-wanted.

The copies are those of Keras 2.0.4's ImageDataGenerator, the Keras of the article, with the article's
settings: rotation by up to 10 degrees, shifts by up to 0.2 of the picture, shear by up to 0.2 radians, zoom
0.8 to 1.2, horizontal flip, the nearest pixel's value, edges repeated, and each copy stretched so that its
brightest value is 255.
A class that has num-wanted pictures or more is left alone. The copies are spread evenly over a class's
originals and named after them: a.png gives aug_a.png_0.jpg, aug_a.png_1.jpg and so on.

What is made depends on the seed, the class's name, the original's name and the copy's number alone. So any
number of processes writes the same bytes, a second run finds nothing to do, and a run that was interrupted
is completed by running it again. Copies that are there already are kept: delete them to try another seed.
Where originals were added or taken away since, copies over the number wanted are removed.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

from data_prep.augmentation.engines import (
    ENGINES,
    KERAS3_DIFFERS,
    KERAS3_REQUIREMENTS,
    Engine,
    Look,
    engine_called,
)
from data_prep.classes.folders import (
    add_from_option,
    begin_from,
    class_folders,
    copy_name,
    is_copy,
    picture_names,
    refuse_names,
    too_small,
)
from tools.files.pixels import decoded
from tools.processes import add_jobs_option, add_scheduler_option, lent_executor, map_ordered
from tools.program import positive_int, run_program, whole_number, written_beside

END_OF_JPEG = b"\xff\xd9"
JPEG_QUALITY = 75  # Pillow's default, with which Keras saves; the file is Pillow's to the byte


@dataclass(frozen=True)
class ClassPlan:
    """One class folder's originals, the copies to make (original, number) and those that are too many."""

    folder: Path
    originals: int
    to_make: list[tuple[str, int]]
    surplus: list[str]


def plan_class(folder: Path, num_wanted: int) -> ClassPlan:
    """What is missing in a class folder, and what is too much, for it to have exactly num_wanted pictures.

    Each original gets num_wanted // originals - 1 copies, the first ones by name one more where that doesn't
    come out even. Raises ValueError for a folder without pictures or with copies only.
    """
    names = picture_names(folder)
    originals = [name for name in names if not is_copy(name)]
    if not originals:
        raise ValueError(f"class folder {folder} has augmented copies only, their originals are gone")
    if len(originals) >= num_wanted:
        return ClassPlan(folder, len(originals), [], [])
    each, one_more = divmod(num_wanted - len(originals), len(originals))
    wanted = {
        copy_name(original, number): (original, number)
        for index, original in enumerate(originals)
        for number in range(each + (index < one_more))
    }
    there = {name for name in names if is_copy(name)}
    to_make = [task for name, task in wanted.items() if name not in there or not _is_whole(folder / name)]
    return ClassPlan(folder, len(originals), to_make, sorted(there - wanted.keys()))


def _is_whole(copy: Path) -> bool:
    """Whether a copy ends as a JPEG does: of one that a power cut met there may be nothing, or zeros."""
    with copy.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - len(END_OF_JPEG)))
        return file.read() == END_OF_JPEG


def copy_seed(seed: int, class_name: str, original: str, number: int) -> int:
    """The number (0 to 2**32 - 1) that one copy's random change is drawn from."""
    key = "\0".join((str(seed), class_name, original, str(number)))
    digest = hashlib.sha256(key.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:4], "big")


@lru_cache(maxsize=1)
def read_picture(path: Path) -> np.ndarray:
    """A picture as Caffe's convert_imageset sees it: (H, W, 3) uint8, BGR, upright as its EXIF data says.

    The last one is remembered: one original's copies are made one after the other. Raises ValueError with
    the file's name when it can't be decoded.
    """
    picture = decoded(path.read_bytes())
    if picture is None:
        raise ValueError(f"{path} is no readable picture: run python -m data_prep.check_images first")
    return picture


def make_copy(task: tuple[Path, str, int], seed: int, engine: Engine) -> None:
    """Write one augmented copy beside its original; the task is (class folder, original's name, number)."""
    folder, original, number = task
    cv2.setNumThreads(1)  # every core has a process of its own
    picture = read_picture(folder / original)
    copy = engine.copy(picture, copy_seed(seed, folder.name, original, number))
    _, data = cv2.imencode(".jpg", copy, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    with written_beside(folder / copy_name(original, number), one_of_many=True) as part:
        part.write_bytes(data.data)


def refuse_crash(task: tuple[Path, str, int]) -> None:
    """Raise ValueError for a task at which its process has died."""
    folder, original, _ = task
    raise ValueError(
        f"{folder / original} crashes its decoder or takes all memory: run data_prep.check_images first"
    )


def augment(
    folder: Path, num_wanted: int, seed: int, engine: Engine, jobs: int, executor: Executor | None = None
) -> tuple[int, int]:
    """Bring every class folder below num_wanted pictures to exactly that many; (copies made, copies removed).

    `executor` stands for a pool of `jobs` processes. Raises ValueError for a class without pictures, before
    anything is written, and for an original that can't be decoded; OSError for what can't be read or written.
    """
    folders = class_folders(folder)
    refuse_names(folders)
    made = sum(len(plan_class(class_folder, num_wanted).to_make) for class_folder in folders)
    removed = 0

    def tasks() -> Iterator[tuple[Path, str, int]]:
        nonlocal removed
        for class_folder in folders:
            plan = plan_class(class_folder, num_wanted)
            for name in plan.surplus:
                (class_folder / name).unlink()
            removed += len(plan.surplus)
            yield from ((class_folder, original, number) for original, number in plan.to_make)

    make = partial(make_copy, seed=seed, engine=engine)
    copies = map_ordered(
        make, tasks(), jobs=jobs, what="augmenting", total=made, executor=executor, died=refuse_crash
    )
    with closing(copies):
        for _ in copies:
            pass
    return made, removed


def leave_small_out(source: Path | None, folder: Path, least: int) -> None:
    """begin_from without the classes that have fewer than `least` pictures, which are named in one list."""
    small = too_small(source, least) if source is not None else {}
    if small:
        listed = ", ".join(f"{name} ({size})" for name, size in small.items())
        print(f"{len(small)} classes with fewer than {least} pictures left out: {listed}")
    begin_from(source, folder, small)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.augment",
        description=__doc__,
        epilog="example: python -m data_prep.augment work/demo/augmented --num-wanted 800 --seed 1",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="folder of class folders, which get the copies"
    )
    add_from_option(parser)
    parser.add_argument(
        "--num-wanted", type=positive_int, default=800, metavar="N", help="pictures a class (default: 800)"
    )
    parser.add_argument(
        "--min-pictures",
        type=positive_int,
        default=2,
        metavar="N",
        help="with --from, leave classes with fewer pictures out (default: 2, as a split needs)",
    )
    parser.add_argument(
        "--seed", type=whole_number, default=0, metavar="S", help="of the random changes (default: 0)"
    )
    parser.add_argument(
        "--engine",
        choices=list(ENGINES),
        default="keras",
        help="keras: the article's, Keras 2.0.4 (default); opencv: the same picture, ten times as fast; "
        f"keras3: the package keras of today, which differs ({KERAS3_REQUIREMENTS})",
    )
    parser.add_argument(
        "--interpolation",
        choices=["nearest", "bilinear"],
        default="nearest",
        help="a copy's values: the nearest pixel's, as in the Keras of the article (default), or bilinear",
    )
    parser.add_argument(
        "--stretch",
        choices=["yes", "no"],
        default="yes",
        help="make each copy's brightest value 255, as Keras does where it saves copies (default), or not",
    )
    add_jobs_option(parser)
    add_scheduler_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit status."""
    arguments = build_parser().parse_args(argv)
    look = Look(bilinear=arguments.interpolation == "bilinear", stretch=arguments.stretch == "yes")

    def run() -> int:
        engine = engine_called(arguments.engine, look)
        if arguments.engine == "keras3":
            print(KERAS3_DIFFERS)
        leave_small_out(arguments.source, arguments.folder, arguments.min_pictures)
        with lent_executor(arguments.scheduler, [arguments.folder]) as executor:
            jobs = executor.workers if executor else arguments.jobs
            made, removed = augment(
                arguments.folder, arguments.num_wanted, arguments.seed, engine, jobs, executor
            )
        classes = len(class_folders(arguments.folder))
        too_many = f", {removed} copies too many removed" if removed else ""
        print(f"{classes} classes: {made} copies made{too_many}")
        return 0

    return run_program("augment", run)


if __name__ == "__main__":
    # the module by its own name, as a cluster's workers look for its functions there
    from data_prep import augment as by_name

    sys.exit(by_name.main())
