"""A PNG's chunks, of which every reader passes over other ones."""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ANIMATION = (b"acTL", b"fcTL", b"fdAT")
"""What makes a PNG an animated one: its other chunks are the picture that readers without animation show."""


class Chunk(NamedTuple):
    """A chunk, as its four letters and its bytes from the length to the checksum, perhaps cut off."""

    kind: bytes
    whole: bytes

    @property
    def payload(self) -> bytes:
        """What it holds."""
        return self.whole[8:-4]

    @property
    def is_sound(self) -> bool:
        """Whether its checksum is right."""
        return zlib.crc32(self.whole[4:-4]) == int.from_bytes(self.whole[-4:])


def chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a PNG, in order; none of other data."""
    at = len(SIGNATURE) if data.startswith(SIGNATURE) else len(data)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        yield Chunk(data[at + 4 : at + 8], data[at:end])
        at = end


def is_animated(data: bytes) -> bool:
    """Whether it is an animated PNG: the chunk that says so comes before the picture."""
    for chunk in chunks(data):
        if chunk.kind in (b"acTL", b"IDAT"):
            return chunk.kind == b"acTL"
    return False


def still(data: bytes) -> bytes:
    """An animated PNG as the still one that it is to readers without animation; other data as they are."""
    if not is_animated(data):
        return data
    return SIGNATURE + b"".join(chunk.whole for chunk in chunks(data) if chunk.kind not in ANIMATION)
