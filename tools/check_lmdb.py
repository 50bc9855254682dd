"""Check that an LMDB holds what its list says: the article only looks at the folder's size.

convert_imageset skips a picture that it can't read with a line in its log and exits 0, so a database with
holes looks like a whole one.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import lmdb
import numpy as np

from tools.files.prototxt import caffe_messages
from tools.program import one_sentence

# Debian's OpenCV and pip's gave the same bytes for 180 photographs of Oxford, but other versions of OpenCV or
# libjpeg may round otherwise. Two different photographs among those 180 differ by 12 levels and more.
MEAN_TOLERANCE = 2.0
NAMED_AT_MOST = 3


class Entry(NamedTuple):
    """One line of a list: a picture, as it is written there, and its class."""

    picture: str
    label: int


def read_list(path: Path) -> list[Entry]:
    """Read lines of `PICTURE LABEL`, parted at the last space as convert_imageset does.

    Raises ValueError with the line's number where one makes no sense.
    """
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="surrogateescape").splitlines(), 1):
        picture, _, label = line.rpartition(" ")
        if not picture or not label.isascii() or not label.isdigit():
            raise ValueError(f"{path}, line {number} is not a picture and a number: {line!r}")
        entries.append(Entry(picture, int(label)))
    if not entries:
        raise ValueError(f"{path} lists no pictures")
    return entries


@contextmanager
def open_lmdb(path: Path) -> Iterator[lmdb.Environment]:
    """Open a database for reading; it may lie on a read-only disk. Raises ValueError where there is none."""
    try:
        environment = lmdb.open(str(path), readonly=True, create=False, lock=False)
    except lmdb.Error as error:
        raise ValueError(
            f"{path} can't be read as an LMDB: {str(error).removeprefix(f'{path}: ')}"
        ) from error
    with environment:
        yield environment


def entry_count(path: Path) -> int:
    """Number of entries of an LMDB. Raises ValueError where there is none."""
    with open_lmdb(path) as environment:
        return environment.stat()["entries"]


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
            _compare(path, transaction.get(_key(i, entries[i])), entries[i], root + entries[i].picture, size)


def _key(number: int, entry: Entry) -> bytes:
    return f"{number:08}_{entry.picture}".encode(errors="surrogateescape")


def _missing(get: Callable[[bytes], bytes | None], entries: list[Entry]) -> str:
    gone = [entry.picture for i, entry in enumerate(entries) if get(_key(i, entry)) is None]
    if not gone:
        return ""
    more = f" and {len(gone) - NAMED_AT_MOST} more" if len(gone) > NAMED_AT_MOST else ""
    return f"; not there: {', '.join(gone[:NAMED_AT_MOST])}{more}"


def _compare(path: Path, value: bytes | None, entry: Entry, file: str, size: tuple[int, int]) -> None:
    where = f"{path}, entry {entry.picture}"
    if value is None:
        raise ValueError(f"{where}: not there, so the database was made from another list")
    datum = caffe_messages().Datum.FromString(value)
    if datum.label != entry.label:
        raise ValueError(f"{where}: its label is {datum.label}, the list says {entry.label}")
    stored = _pixels(datum)
    if stored.shape != (*size, 3):
        raise ValueError(f"{where}: its shape is {stored.shape}, not {(*size, 3)}")
    encoded = np.frombuffer(Path(file).read_bytes(), np.uint8)
    picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    if picture is None:
        raise ValueError(f"{file} is not a picture that OpenCV can read")
    wanted = cv2.resize(picture, (size[1], size[0]))
    difference = np.abs(stored.astype(np.int16) - wanted).mean()
    if difference > MEAN_TOLERANCE:
        raise ValueError(f"{where}: it is not that picture (mean difference {difference:.1f} grey levels)")


def _pixels(datum: Any) -> np.ndarray:
    """A Datum's picture, (H, W, 3) uint8 BGR; Caffe stores planes."""
    data = np.frombuffer(datum.data, np.uint8)
    if datum.encoded:
        return cv2.imdecode(data, cv2.IMREAD_COLOR)
    shape = (datum.channels, datum.height, datum.width)
    if data.size != np.prod(shape):
        return np.empty((0, 0, 0), np.uint8)
    return data.reshape(shape).transpose(1, 2, 0)


def height_and_width(text: str) -> tuple[int, int]:
    """An argparse type: `256` for a square, `256x320` for height and width."""
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def main(argv: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.check_lmdb",
        description="Check an LMDB that convert_imageset made: as many entries as the list has lines, and a"
        " sample of entries with the right picture, label and size. Exit status 0 means that all is right.",
        epilog="example: python -m tools.check_lmdb lmdb/train_lmdb lists/train.txt",
    )
    parser.add_argument("lmdb", metavar="LMDB", type=Path, help="the database's folder")
    parser.add_argument("list", metavar="LIST", type=Path, help="lines of PICTURE LABEL")
    parser.add_argument(
        "--root", default="", metavar="PREFIX", help="what convert_imageset put before the pictures' names"
    )
    parser.add_argument(
        "--size",
        type=height_and_width,
        default="256",
        metavar="HxW",
        help="picture size (default: 256x256)",
    )
    parser.add_argument(
        "--sample", type=int, default=50, metavar="N", help="how many entries to decode (default: 50)"
    )
    args = parser.parse_args(argv)
    try:
        entries = read_list(args.list)
        check(args.lmdb, entries, root=args.root, size=args.size, sample=args.sample)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError) as error:
        print(f"check_lmdb: {one_sentence(error)}", file=sys.stderr)
        return 1
    decoded = min(max(args.sample, 0), len(entries))
    print(f"{args.lmdb}: {len(entries)} entries as listed, {decoded} decoded and right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
