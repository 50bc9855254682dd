"""train.txt and val.txt: the lists that Caffe's convert_imageset makes an LMDB of.

A line is a picture's path, a space, and the label of its class, a number from 0 up. As convert_imageset
has it, the last space parts the two, so that a path may hold spaces, and a line feed alone ends a line.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tools.files.image_lmdb import LONGEST_KEY, key_of
from tools.program import shown, some

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MOST_LABEL = 2**31 - 1
MOST_SHOWN = 20
"""Names in one error."""


class Entry(NamedTuple):
    """A picture, as it is written in the list, and its class."""

    picture: str
    label: int


def raw_lines(path: Path) -> list[bytes]:
    """A list's lines as they are, each with its line feed but perhaps the last. Raises OSError.

    Raises ValueError where there is none.
    """
    lines = path.read_bytes().split(b"\n")
    last = lines.pop()
    whole = [line + b"\n" for line in lines] + [last] * bool(last)
    if not whole:
        raise ValueError(f"{path} lists no pictures")
    return whole


def read_image_list(path: Path) -> list[Entry]:
    """A list's entries. Raises OSError, and ValueError for what convert_imageset would read otherwise.

    That is a line which is no picture and label, with its number, or pictures whose keys LMDB doesn't take.
    """
    lines = raw_lines(path)
    if lines[0].startswith(BYTE_ORDER_MARK):
        raise ValueError(f"{path} begins with a byte-order mark, which would be taken for a part of the path")
    entries = []
    for number, line in enumerate(lines, 1):
        picture, _, label = os.fsdecode(line.rstrip(b"\r\n")).rpartition(" ")
        if not picture or not label.isascii() or not label.isdigit() or int(label[:11]) > MOST_LABEL:
            found = shown(repr(os.fsdecode(line.rstrip(b"\n"))), 300)
            raise ValueError(f"{path}, line {number} is not a picture and a number: {found}")
        entries.append(Entry(picture, int(label)))
    _refuse_long_keys(path, entries)
    return entries


def write_image_list(path: Path, entries: Iterable[Entry]) -> None:
    """Write a list. Raises OSError, and ValueError for pictures that no list or LMDB can hold, with names."""
    listed = list(entries)
    if broken := [repr(entry.picture) for entry in listed if "\n" in entry.picture]:
        raise ValueError(
            f"a line break in a name, which no list can hold; rename: {some(broken, MOST_SHOWN)}"
        )
    _refuse_long_keys(path, listed)
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        file.writelines(f"{picture} {label}\n" for picture, label in listed)


def _refuse_long_keys(path: Path, entries: Iterable[Entry]) -> None:
    most = LONGEST_KEY - len(key_of(0, ""))
    long = [entry.picture for entry in entries if len(os.fsencode(entry.picture)) > most]
    if long:
        raise ValueError(
            f"{path}: LMDB's keys leave {most} bytes for a picture's path, and {len(long)} are longer: "
            f"{some(shown(picture, 600) for picture in long)}; give them shorter names or a place nearer to /"
        )
