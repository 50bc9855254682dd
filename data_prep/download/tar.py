"""The members of a .tar.gz one after another, within bounds that no archive can talk its way out of.

Python's tarfile believes what it reads: a header of gigabytes is read whole, a sparse file of 80 bytes is a
terabyte, thousands of headers before one member end in recursion. This reader takes the plain files and
folders that the data sets have, counts what comes out of gzip, and stops at the bound; it knows the formats
ustar, GNU and pax (POSIX 1003.1-2001) as far as names and sizes go.
"""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_prep.download.servers import CHUNK

BLOCK = 512
LONGEST_HEADER = 1 << 20
"""Bytes of one long name or pax header; a path has at most 4,096."""
FILE, FOLDER = "file", "folder"
_KINDS = {b"0": FILE, b"\0": FILE, b"7": FILE, b"5": FOLDER}
_STRANGE = {b"1": "a link", b"2": "a link", b"3": "a device", b"4": "a device", b"6": "a device"}


class DamagedError(Exception):
    """What is wrong with an archive, in words; `_Reader.errors` names the archive."""


class TooMuchError(Exception):
    """What in an archive goes beyond its bound."""


class Member:
    """One member: its name, kind (FILE, FOLDER, or what else it is) and size, and its content in pieces."""

    def __init__(self, name: str, kind: str, size: int, reader: "_Reader") -> None:
        self.name, self.kind, self.size, self._reader, self._left = name, kind, size, reader, size

    def pieces(self) -> Iterator[bytes]:
        """The content, to be taken before the next member. Raises what `members` does."""
        with self._reader.errors():
            while self._left:
                piece = self._reader.exactly(min(self._left, CHUNK))
                self._left -= len(piece)
                yield piece


def members(archive: Path, most_bytes: int) -> Iterator[Member]:
    """The members of a .tar.gz in order. Raises OSError for a file that can't be read.

    Raises ValueError, naming the archive, for one that is damaged (gzip's checksum at its end counts too) or
    would unpack to more than most_bytes. A member's size is looked at before anything of it is read.
    """
    with gzip.open(archive) as stream:
        reader = _Reader(archive, stream, most_bytes)
        with reader.errors():
            yield from reader.members()
            reader.drain()


class _Reader:
    def __init__(self, archive: Path, stream: gzip.GzipFile, most_bytes: int) -> None:
        self._archive, self._stream, self._most, self._left = archive, stream, most_bytes, most_bytes

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what goes wrong into a ValueError that names the archive."""
        try:
            yield
        except (DamagedError, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{self._archive} is damaged or no .tgz archive ({error})") from error
        except TooMuchError as error:
            raise ValueError(
                f"{self._archive} would unpack to more than {self._most:,} bytes ({error}): refused"
            ) from error

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise TooMuchError("what gzip holds has no end")
        return data

    def exactly(self, size: int) -> bytes:
        data = self._read(size)
        while len(data) < size:
            more = self._read(size - len(data))
            if not more:
                raise DamagedError("it ends within a member")
            data += more
        return data

    def drain(self) -> None:
        """Read what lies behind the last member: only at the very end gzip compares its checksum."""
        while self._read(CHUNK):
            pass

    def members(self) -> Iterator[Member]:
        while (header := self._header()) is not None:
            member, padding = header
            yield member
            for _ in member.pieces():
                pass  # what the caller left
            self.exactly(padding)

    def _header(self) -> tuple[Member, int] | None:
        """The next member and the bytes behind its content that fill its last block; None at the end."""
        name, size, sparse = None, None, False
        while True:
            block = self._read(BLOCK)
            if not block or block == bytes(BLOCK):
                return None
            if len(block) < BLOCK or not _sum_is_right(block):
                raise DamagedError("a header is none")
            kind, length = block[156:157], _number(block[124:136])
            if kind in b"LKxXg":
                text = self._long_header(length)
                if kind == b"L":
                    name = text.partition(b"\0")[0]
                elif kind in b"xX":
                    records = _records(text)
                    name = records.get(b"path", name)
                    size = _decimal(records[b"size"]) if b"size" in records else size
                    sparse = any(key.startswith(b"GNU.sparse") for key in records)
                continue
            name = _name(block) if name is None else name
            if b"\0" in name:
                raise DamagedError("a name is none")
            size = length if size is None else size
            return self._member(name, "a sparse file" if sparse else _kind(kind, name), size)

    def _long_header(self, length: int) -> bytes:
        if length > LONGEST_HEADER:
            raise TooMuchError(f"a name or header of {length:,} bytes")
        return self.exactly(length + -length % BLOCK)[:length]

    def _member(self, name: bytes, kind: str, size: int) -> tuple[Member, int]:
        shown = os.fsdecode(name)
        if kind != FILE:
            size = 0
        if size > self._left:
            raise TooMuchError(f"{shown[:200]} alone claims {size:,}")
        return Member(shown, kind, size, self), -size % BLOCK


def _sum_is_right(block: bytes) -> bool:
    """A header's checksum: the sum of its bytes, its own field as blanks (old tars: of signed bytes)."""
    told = _number(block[148:156])
    rest = block[:148] + b" " * 8 + block[156:]
    return told == sum(rest) or told == sum(byte - 256 * (byte > 127) for byte in rest)


def _number(field: bytes) -> int:
    """A header's number: octal digits, or base 256 behind a first byte of 128."""
    if field[0] & 0x80:
        number = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if field[0] & 0x40:
            raise DamagedError("a size below zero")
        return number
    digits = field.partition(b"\0")[0].strip()
    try:
        return int(digits or b"0", 8)
    except ValueError:
        raise DamagedError("a number is none") from None


def _decimal(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 30:
        raise DamagedError("a size is no number")
    return int(digits)


def _records(text: bytes) -> dict[bytes, bytes]:
    """A pax header's records, each "LENGTH KEY=VALUE" and a line feed, LENGTH being the whole record's."""
    records, at = {}, 0
    while at < len(text) and text[at]:
        digits, blank, _ = text[at : at + 20].partition(b" ")
        length = int(digits) if blank and digits.isdigit() else 0
        record = text[at + len(digits) + 1 : at + length]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n") or at + length > len(text):
            raise DamagedError("a pax header is none")
        records[key] = value[:-1]
        at += length
    return records


def _name(block: bytes) -> bytes:
    name, prefix = block[:100].partition(b"\0")[0], block[345:500].partition(b"\0")[0]
    return prefix + b"/" + name if prefix and block[257:263] == b"ustar\0" else name


def _kind(kind: bytes, name: bytes) -> str:
    if kind == b"S":
        return "a sparse file"
    if name.endswith(b"/"):
        return FOLDER
    return _KINDS.get(kind) or _STRANGE.get(kind, "something that is no file")
