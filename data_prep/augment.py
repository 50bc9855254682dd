"""Fill up small classes with augmented copies of their pictures until each has exactly --num-wanted.

The random changes are Keras' ImageDataGenerator's with the article's parameters: rotation by up to 10
degrees, shifts by up to 0.2 of the picture, shear 0.2 (radians, as the article's Keras took it), zoom 0.2,
horizontal flip, edges filled with the nearest pixel.
A class that has num-wanted pictures or more is left alone. The copies are spread evenly over a class's
originals and named after them: a.png gives aug_a.png_0.jpg, aug_a.png_1.jpg and so on.

What is made depends on the seed, the class's name, the original's name and the copy's number alone. So any
number of processes writes the same bytes, a second run finds nothing to do, and a run that was interrupted
is completed by running it again. Copies that are there already are kept: delete them to try another seed.
Where originals were added or taken away since, copies over the number wanted are removed.

Unlike Keras' own save_to_dir, a copy is not stretched to the full range of grey: what was hazy stays hazy.
"""

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

# keras-preprocessing is the same ImageDataGenerator as Keras 3's legacy one, without the backend that Keras
# needs even for this.
from keras_preprocessing.image import ImageDataGenerator
from keras_preprocessing.image.affine_transformations import transform_matrix_offset_center

from data_prep.classes.folders import (
    add_from_option,
    begin_from,
    class_folders,
    copy_name,
    is_copy,
    picture_names,
)
from tools.processes import add_jobs_option, add_scheduler_option, lent_executor, map_ordered
from tools.program import positive_int, run_program, written_beside

# Keras read shear_range in radians in 2017 and reads it in degrees today, when a literal 0.2 would do nothing
# that an eye can see.
ARTICLE_SHEAR = 0.2

JPEG_QUALITY = 75  # Pillow's default, with which the article's script saved its copies

Transform = dict[str, float | bool | None]


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
    to_make = [task for name, task in wanted.items() if name not in there]
    return ClassPlan(folder, len(originals), to_make, sorted(there - wanted.keys()))


@cache
def article_generator() -> ImageDataGenerator:
    """ImageDataGenerator with the article's parameters."""
    return ImageDataGenerator(
        rotation_range=10,
        width_shift_range=0.2,
        height_shift_range=0.2,
        shear_range=np.rad2deg(ARTICLE_SHEAR),
        zoom_range=0.2,
        horizontal_flip=True,
        fill_mode="nearest",
    )


def draw_transform(
    shape: tuple[int, ...], seed: int, class_name: str, original: str, number: int
) -> Transform:
    """Keras' random parameters for one copy of a picture of this (H, W, 3) shape."""
    key = "\0".join((str(seed), class_name, original, str(number)))
    digest = hashlib.sha256(key.encode(errors="surrogateescape")).digest()
    return article_generator().get_random_transform(shape, seed=int.from_bytes(digest[:4], "big"))


def warp_keras(picture: np.ndarray, transform: Transform) -> np.ndarray:
    """The picture (H, W, 3) uint8 as Keras transforms it (in float, by scipy), rounded to uint8."""
    warped = article_generator().apply_transform(picture.astype(np.float32), transform)
    return np.clip(np.rint(warped), 0, 255).astype(np.uint8)


def warp_opencv(picture: np.ndarray, transform: Transform) -> np.ndarray:
    """The same picture (H, W, 3) uint8 from one OpenCV warp: Keras' geometry, bilinear, edges repeated."""
    height, width = picture.shape[:2]
    return cv2.warpAffine(
        picture,
        affine_matrix(transform, height, width),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def affine_matrix(transform: Transform, height: int, width: int) -> np.ndarray:
    """Keras' transform as the (2, 3) matrix that takes an output pixel's (x, y, 1) to the input's (x, y).

    Keras builds it over (row, column) in apply_affine_transform as rotation, shift, shear, zoom, taken about
    the picture's centre; there x means rows. Its flip comes after, so here it mirrors the output's x first.
    """
    theta, shear = np.deg2rad(transform["theta"]), np.deg2rad(transform["shear"])
    rotation = np.array([[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 1]])
    shift = np.array([[1, 0, transform["tx"]], [0, 1, transform["ty"]], [0, 0, 1]])
    shearing = np.array([[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]])
    zoom = np.diag([transform["zx"], transform["zy"], 1])
    of_rows = transform_matrix_offset_center(rotation @ shift @ shearing @ zoom, height, width)
    of_x = of_rows[[1, 0]][:, [1, 0, 2]]
    if transform["flip_horizontal"]:
        of_x = of_x @ np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]])
    return of_x


ENGINES: dict[str, Callable[[np.ndarray, Transform], np.ndarray]] = {
    "keras": warp_keras,
    "opencv": warp_opencv,
}


@lru_cache(maxsize=1)
def read_picture(path: Path) -> np.ndarray:
    """A picture as Caffe's convert_imageset sees it: (H, W, 3) uint8, BGR, upright as its EXIF data says.

    The last one is remembered: one original's copies are made one after the other. Raises ValueError with
    the file's name when it can't be decoded.
    """
    data = np.fromfile(path, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if picture is None:
        raise ValueError(f"{path} is no readable picture: run python -m data_prep.check_images first")
    return picture


def make_copy(task: tuple[Path, str, int], seed: int, engine: str) -> None:
    """Write one augmented copy beside its original; the task is (class folder, original's name, number)."""
    folder, original, number = task
    cv2.setNumThreads(1)  # every core has a process of its own
    picture = read_picture(folder / original)
    transform = draw_transform(picture.shape, seed, folder.name, original, number)
    warped = ENGINES[engine](picture, transform)
    _, data = cv2.imencode(".jpg", warped, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    with written_beside(folder / copy_name(original, number)) as part:
        part.write_bytes(data)


def augment(
    folder: Path, num_wanted: int, seed: int, engine: str, jobs: int, executor: Executor | None = None
) -> tuple[int, int]:
    """Bring every class folder below num_wanted pictures to exactly that many; (copies made, copies removed).

    `executor` stands for a pool of `jobs` processes. Raises ValueError for a class without pictures, before
    anything is written, and for an original that can't be decoded; OSError for what can't be read or written.
    """
    folders = class_folders(folder)
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
    copies = map_ordered(make, tasks(), jobs=jobs, what="augmenting", total=made, executor=executor)
    with closing(copies):
        for _ in copies:
            pass
    return made, removed


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
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the random changes (default: 0)")
    parser.add_argument(
        "--engine",
        choices=sorted(ENGINES),
        default="keras",
        help="who warps: Keras itself (default), or OpenCV with Keras' parameters, many times as fast",
    )
    add_jobs_option(parser)
    add_scheduler_option(parser)
    return parser


def main() -> int:
    """Run the program; the exit status."""
    arguments = build_parser().parse_args()

    def run() -> int:
        begin_from(arguments.source, arguments.folder)
        with lent_executor(arguments.scheduler, [arguments.folder]) as executor:
            made, removed = augment(
                arguments.folder,
                arguments.num_wanted,
                arguments.seed,
                arguments.engine,
                executor.workers if executor else arguments.jobs,
                executor,
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
