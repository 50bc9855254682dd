"""Caffe's picture databases: an LMDB folder of Datum messages, as convert_imageset writes it."""

import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import lmdb
import numpy as np
from google.protobuf.message import DecodeError

from tools.files.pixels import decoded
from tools.files.pointers import refuse_pointer
from tools.files.prototxt import caffe_messages

LONGEST_KEY = 511
"""Bytes of a key: LMDB's limit, past which convert_imageset aborts."""
KEY_DIGITS = 8
LABEL_FIELD = 5  # of Datum in caffe.proto


class Picture(NamedTuple):
    """A Datum: its class, and its pixels (H, W, C), BGR: uint8, or float32 where the Datum holds floats."""

    label: int
    pixels: np.ndarray


def key_of(number: int, name: str) -> bytes:
    """The key that convert_imageset gives the picture `name` on line `number` (from 0) of its list."""
    return f"{number:0{KEY_DIGITS}}_{name}".encode(errors="surrogateescape")


def picture_of(value: bytes) -> Picture:
    """What a database holds under a key. Raises ValueError where it is no picture, or not a whole one."""
    datum = caffe_messages().Datum()
    try:
        datum.ParseFromString(value)
    except DecodeError as error:
        raise ValueError("not a Datum of Caffe's") from error
    if datum.encoded:
        pixels = decoded(datum.data)
        if pixels is None:
            raise ValueError("an encoded picture that OpenCV can't read")
        return Picture(datum.label, pixels)
    flat = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
    shape = datum.channels, datum.height, datum.width
    if min(shape) < 1 or flat.size != math.prod(shape):
        raise ValueError(f"{flat.size} values for {' x '.join(map(str, shape))} (channels, height, width)")
    return Picture(datum.label, flat.reshape(shape).transpose(1, 2, 0))


def is_encoded(value: bytes) -> bool:
    """Whether a picture lies there as a JPEG or PNG, as convert_imageset -encoded writes it."""
    return bool(caffe_messages().Datum.FromString(value).encoded)


def label_of(value: bytes | memoryview) -> int:
    """A Datum's class, without reading its pixels. Raises ValueError where it is no Datum."""
    at, label = 0, 0
    try:
        while at < len(value):
            tag, at = _varint(value, at)
            if tag & 7 == 0:
                number, at = _varint(value, at)
                label = number if tag >> 3 == LABEL_FIELD else label
            elif tag & 7 == 2:
                length, at = _varint(value, at)
                at += length
            elif tag & 7 == 5:
                at += 4
            else:
                raise ValueError("not a Datum of Caffe's")
    except IndexError:
        at = len(value) + 1
    if at != len(value):
        raise ValueError("not a Datum of Caffe's")
    label &= 0xFFFFFFFF
    return label - (1 << 32) if label >= 1 << 31 else label


def _varint(value: bytes | memoryview, at: int) -> tuple[int, int]:
    """A number of protobuf's wire format, and where it ends."""
    number = shift = 0
    while value[at] >= 128:
        number |= (value[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if shift > 63:
            raise ValueError("not a Datum of Caffe's")
    return number | value[at] << shift, at + 1


@contextmanager
def open_lmdb(path: Path) -> Iterator[lmdb.Environment]:
    """Open a database for reading; it may lie on a read-only disk.

    Raises ValueError where there is none or it isn't whole: LMDB maps the file, and would end the process by
    a signal at a page that isn't there.
    """
    try:
        check_pages(path / "data.mdb")
        environment = lmdb.open(str(path), readonly=True, create=False, lock=False)
    except OSError as error:
        raise ValueError(f"{path} can't be read as an LMDB: {error.strerror}") from error
    except lmdb.Error as error:
        said = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path} can't be read as an LMDB: {said}") from error
    except ValueError as error:
        raise ValueError(f"{path} can't be read as an LMDB: {error}") from error
    with environment:
        try:
            yield environment
        except lmdb.Error as error:  # of what is no page's place: the order of keys, the tree's depth
            raise ValueError(f"{path} can't be read as an LMDB: it is damaged ({error})") from error


def entry_count(path: Path) -> int:
    """Number of entries of an LMDB. Raises ValueError where there is none, or not a whole one."""
    with open_lmdb(path) as environment:
        return int(environment.stat()["entries"])


def entries(environment: lmdb.Environment, every: int = 1) -> Iterator[tuple[bytes, bytes]]:
    """Every so manieth entry as key and value, in the order of the keys."""
    with environment.begin(buffers=True) as transaction:
        for number, (key, value) in enumerate(transaction.cursor()):
            if number % every == 0:
                yield bytes(key), bytes(value)


def shapes(environment: lmdb.Environment, path: Path, most: int = 20) -> set[tuple[int, int, int]]:
    """Shapes (C, H, W) of the pictures of a database at path, of so many entries spread evenly.

    Raises ValueError where there is none, or an entry is no picture.
    """
    count = environment.stat()["entries"]
    if not count:
        raise ValueError(f"{path} is empty")
    found = set()
    for key, value in entries(environment, max(1, count // most)):
        try:
            height, width, channels = picture_of(value).pixels.shape
        except ValueError as error:
            raise ValueError(f"{path}, entry {key.decode(errors='replace')}: {error}") from error
        found.add((channels, height, width))
    return found


def labels(environment: lmdb.Environment, most: int) -> dict[int, bytes]:
    """The classes that there are, each with the key of its first entry.

    Of more than `most` entries as many are looked at, spread evenly. Raises ValueError for what is no Datum.
    """
    every = max(1, environment.stat()["entries"] // most)
    found: dict[int, bytes] = {}
    with environment.begin(buffers=True) as transaction:
        for number, (key, value) in enumerate(transaction.cursor()):
            if number % every == 0:
                found.setdefault(label_of(value), bytes(key))
    return found


# LMDB's file (version 1 of its format, mdb.c of 0.9): pages of one size, the first two with what is known of
# the whole, of which the one of the later transaction counts; from the root that it names a B+ tree.

META = struct.Struct("<16x II 16x I44x 4xHH24xQQ QQ")
PAGE_HEADER, NODE_HEADER = struct.Struct("<8x2xHHH"), struct.Struct("<HHHH")
MAGIC, VERSION = 0xBEEFC0DE, 1
BRANCH, LEAF, IN_OWN_PAGES = 1, 2, 1
NO_ROOT = 2**64 - 1


class _Meta(NamedTuple):
    magic: int
    version: int
    page_size: int
    flags: int
    depth: int
    entries: int
    root: int
    last_page: int
    transaction: int


def check_pages(file: Path) -> None:
    """Walk through the tree of a data.mdb without mapping it: every page that LMDB would touch is there.

    Values in pages of their own (pictures) are not read: half a million pictures take a second or two. Raises
    ValueError where the file is no LMDB or is cut short, OSError where it can't be read.
    """
    refuse_pointer(file)
    with file.open("rb") as opened:
        descriptor, size = opened.fileno(), os.fstat(opened.fileno()).st_size
        meta = _newest_meta(descriptor)
        if meta.flags:
            raise ValueError("not a database of Caffe's: its keys have several values")
        if meta.root == NO_ROOT:
            return
        walk = _Walk(descriptor, size, meta.page_size)
        walk.through(meta.root)
    if walk.entries != meta.entries:
        raise ValueError(f"it is damaged: {walk.entries} entries where it should hold {meta.entries}")


def _newest_meta(descriptor: int) -> _Meta:
    first = _meta_at(descriptor, 0)
    second = _meta_at(descriptor, first.page_size)
    if first.page_size != second.page_size:
        raise ValueError("it is damaged: two sizes of a page")
    return max(first, second, key=lambda meta: meta.transaction)


def _meta_at(descriptor: int, offset: int) -> _Meta:
    data = os.pread(descriptor, META.size, offset)
    if len(data) < META.size:
        raise ValueError("it is cut short")
    meta = _Meta(*META.unpack(data))
    if meta.magic != MAGIC:
        raise ValueError("data.mdb is another kind of file")
    if meta.version != VERSION:
        raise ValueError(f"its format is version {meta.version}, and Caffe's LMDB reads version {VERSION}")
    if meta.page_size not in (1 << power for power in range(9, 17)):
        raise ValueError(f"it is damaged: pages of {meta.page_size} bytes")
    return meta


class _Walk:
    """Through the tree, counting what is in it; raises ValueError at the first thing that is not there."""

    def __init__(self, descriptor: int, size: int, page_size: int) -> None:
        self._descriptor, self._size, self._page_size = descriptor, size, page_size
        self._pages_left = size // page_size
        self.entries = 0

    def through(self, root: int) -> None:
        waiting = [root]
        while waiting:
            waiting += self._page(waiting.pop())

    def _page(self, number: int) -> list[int]:
        """Check a page; the pages below it."""
        self._pages_left -= 1
        if self._pages_left < 0:
            raise ValueError("it is damaged: its pages go round in a circle")
        self._check_place(number, self._page_size)
        page = os.pread(self._descriptor, self._page_size, number * self._page_size)
        flags, lower, upper = PAGE_HEADER.unpack_from(page)
        count = (lower - 16) // 2
        if flags not in (BRANCH, LEAF) or not 16 < lower <= upper <= self._page_size:
            raise ValueError(f"it is damaged: page {number} is none of a tree")
        if flags == BRANCH and count < 2:
            raise ValueError(f"it is damaged: page {number} has one branch")
        try:
            nodes = [self._node(page, at, flags) for at in struct.unpack_from(f"<{count}H", page, 16)]
        except struct.error as error:
            raise ValueError(f"it is damaged: page {number} refers to beyond its end") from error
        if flags == BRANCH:
            return nodes
        self.entries += count
        return []

    def _node(self, page: bytes, at: int, kind: int) -> int:
        """Check a node of a page: the page that it leads to, or -1."""
        low, high, flags, key_size = NODE_HEADER.unpack_from(page, at)
        end = at + NODE_HEADER.size + key_size
        below = -1
        if kind == BRANCH:
            below = low | high << 16 | flags << 32
        elif flags == IN_OWN_PAGES:
            (number,) = struct.unpack_from("<Q", page, end)
            self._check_place(number, 16 + (low | high << 16))
        elif flags:
            raise ValueError("not a database of Caffe's: it holds other databases")
        else:
            end += low | high << 16
        if end > self._page_size:
            raise struct.error
        return below

    def _check_place(self, number: int, length: int) -> None:
        end = number * self._page_size + length
        if number < 2 or end > self._size:
            raise ValueError(f"it is cut short or damaged: {self._size} bytes where a page ends at {end}")
