"""Check that an LMDB holds what its list says: the article only looks at the folder's size.

convert_imageset skips a picture that it can't read with a line in its log and exits 0, so a database with
holes looks like a whole one.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from tools.files.image_list import Entry, read_image_list
from tools.files.image_lmdb import is_encoded, key_of, open_lmdb, picture_of, shapes
from tools.files.pixels import read_pixels
from tools.program import positive_int, run_program, some

# Debian's OpenCV and pip's gave the same bytes for 180 photographs of Oxford, but other versions of OpenCV or
# libjpeg may round otherwise. Two different photographs among those 180 differ by 12 levels and more.
MEAN_TOLERANCE = 2.0
LOSSY_TOLERANCE = 6.0
"""Of one that convert_imageset has encoded anew: small drawings full of noise differ by up to 3.2 as JPEG."""


def check(path: Path, entries: list[Entry], *, root: str, size: tuple[int, int], sample: int) -> None:
    """Compare a database with the list that it was made from; `size` is (height, width).

    All entries are counted; `sample` of them, spread evenly with the first and the last, are compared in
    label, size and picture. Raises ValueError with what is wrong, OSError where a picture can't be read.
    """
    with open_lmdb(path) as environment, environment.begin() as transaction:
        count = environment.stat()["entries"]
        if count != len(entries):
            missing = _missing(transaction.get, entries)
            raise ValueError(f"{path} has {count} entries where the list has {len(entries)}{missing}")
        chosen = np.unique(np.linspace(0, count - 1, min(sample, count)).astype(int))
        for i in chosen.tolist():
            value = transaction.get(key_of(i, entries[i].picture))
            try:
                _compare(value, entries[i], root + entries[i].picture, size)
            except ValueError as error:
                raise ValueError(f"{path}, entry {entries[i].picture}: {error}") from error


def check_alone(path: Path, sample: int) -> int:
    """How many entries a database has, which is whole and of pictures of one size, as far as a sample tells.

    Raises ValueError where it isn't.
    """
    with open_lmdb(path) as environment:
        sizes = sorted(shapes(environment, path, sample))
        if len(sizes) > 1:
            two = " and ".join(" x ".join(map(str, size)) for size in sizes[:2])
            raise ValueError(
                f"{path} holds pictures of several sizes, such as {two} (channels, height, width)"
            )
        return int(environment.stat()["entries"])


def _missing(get: Callable[[bytes], bytes | None], entries: list[Entry]) -> str:
    gone = [entry.picture for i, entry in enumerate(entries) if get(key_of(i, entry.picture)) is None]
    return f"; not there: {some(gone)}" if gone else ""


def _compare(value: bytes | None, entry: Entry, file: str, size: tuple[int, int]) -> None:
    if value is None:
        raise ValueError("not there, so the database was made from another list")
    label, stored = picture_of(value)
    if label != entry.label:
        raise ValueError(f"its label is {label}, the list says {entry.label}")
    if stored.shape != (*size, 3):
        raise ValueError(f"its shape is {stored.shape}, not {(*size, 3)}")
    wanted = cv2.resize(read_pixels(Path(file)), (size[1], size[0]))
    difference = np.abs(stored.astype(np.int16) - wanted).mean()
    if difference > (LOSSY_TOLERANCE if is_encoded(value) else MEAN_TOLERANCE):
        raise ValueError(f"it is not that picture (mean difference {difference:.1f} grey levels)")


def height_and_width(text: str) -> tuple[int, int]:
    """An argparse type: `256` for a square, `256x320` for height and width."""
    height, _, width = text.partition("x")
    return positive_int(height), positive_int(width or height)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.check_lmdb",
        description="Check an LMDB that convert_imageset made: as many entries as the list has lines, and a"
        " sample of entries with the right picture, label and size. Exit status 0 means that all is right.",
        epilog="example: python -m tools.check_lmdb lmdb/train_lmdb lists/train.txt",
    )
    add = parser.add_argument
    add("lmdb", metavar="LMDB", type=Path, help="the database's folder")
    add(
        "list",
        metavar="LIST",
        nargs="?",
        type=Path,
        help="lines of PICTURE LABEL (default: only that the database is whole, of pictures of one size)",
    )
    add("--root", default="", metavar="PREFIX", help="what convert_imageset put before the pictures' names")
    add("--size", type=height_and_width, default="256", metavar="HxW", help="picture size (default: 256x256)")
    add("--sample", type=positive_int, default=50, metavar="N", help="entries to decode (default: 50)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    args = build_parser().parse_args(argv)

    def run() -> None:
        if args.list is None:
            print(f"{args.lmdb}: {check_alone(args.lmdb, args.sample)} entries, whole")
            return
        entries = read_image_list(args.list)
        check(args.lmdb, entries, root=args.root, size=args.size, sample=args.sample)
        decoded = min(args.sample, len(entries))
        print(f"{args.lmdb}: {len(entries)} entries as listed, {decoded} decoded and right")

    return run_program("check_lmdb", run)


if __name__ == "__main__":
    sys.exit(main())
