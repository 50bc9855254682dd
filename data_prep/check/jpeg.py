"""JPEGs that every reader shows alike, by headers and a decode at an eighth of their size; spoilt JPEGs."""

import io
import re
import struct
from collections.abc import Iterable, Iterator

import numpy as np
import simplejpeg
from PIL import Image

GREY_ROWS = 8
"""Rows of flat grey at the lower edge from which on a picture counts as cut off."""
BLOCK = 8  # pixels on each side, of which a decode at an eighth gives the mean

PLAIN_FRAMES = (0xC0, 0xC2)
"""Start of frame: baseline, progressive. Not every reader has arithmetic coding or lossless JPEG."""
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
START_OF_SCAN, APP1 = 0xDA, 0xE1
END = b"\xff\xd9"
LEFT_OVER = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0x(..)")
FEW = 2
"""Junk bytes that some encoders leave before a marker. Damaged in the middle, 9 of 10 photographs of
1024 x 768 have 30 and more left over."""
HARMLESS = ("Unknown Adobe", "Warning: unknown JFIF", "Invalid SOS parameters", "Corrupt JPEG data: bad ICC")
"""Warnings about what is not the picture."""
ORIENTATION = 0x0112
TEXT, SHORT, LONG, RATIONAL = 2, 3, 4, 5
BYTES_OF_TYPE = {1: 1, TEXT: 1, SHORT: 2, LONG: 4, RATIONAL: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
READ_BY_OPENCV = {
    **dict.fromkeys((0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x8298), (TEXT, None)),
    **dict.fromkeys((0x0128, 0x0213, ORIENTATION), (SHORT, 1)),
    **dict.fromkeys((0x011A, 0x011B), (RATIONAL, 1)),
    **{0x013E: (RATIONAL, 2), 0x013F: (RATIONAL, 6), 0x0211: (RATIONAL, 3), 0x0214: (RATIONAL, 6)},
    0x8769: (LONG, 1),
}
"""Type and number of values of the tags that OpenCV 4 reads: others in them cost it the orientation."""


def is_plainly_good_jpeg(data: bytes) -> bool:
    """True where data is proved to be a good JPEG in the eyes of every reader; False proves nothing.

    As at full size all of the data is taken apart, so what lacks there is missed here too.
    """
    try:
        if not (is_plain(data) and has_end(data)):
            return False
        picture: Image.Image = Image.open(io.BytesIO(data), formats=("JPEG",))
        if picture.format != "JPEG" or picture.mode != "RGB":
            return False
        height = picture.height
        eighth = at_an_eighth(data, picture.width, height)
    except Exception:  # a full decode says what it is
        return False
    return len(eighth) == -(-height // BLOCK) and not _may_end_in_grey(eighth, height)


def at_an_eighth(data: bytes, width: int, height: int) -> np.ndarray:
    """A JPEG of this size as (height / 8, width / 8, 3) uint8, RGB.

    Raises ValueError for what libjpeg warns of first, which Pillow and OpenCV pass over.
    """
    sides = {"min_width": -(-width // BLOCK), "min_height": -(-height // BLOCK)}
    pixels: np.ndarray = simplejpeg.decode_jpeg(data, min_factor=BLOCK, **sides)
    return pixels


def first_warning(data: bytes, width: int, height: int) -> tuple[str, ...]:
    """What libjpeg warns of first in a JPEG of this size, if of anything."""
    try:
        at_an_eighth(data, width, height)
    except ValueError as error:
        return (str(error),)
    return ()


def damage(data: bytes, warnings: Iterable[str]) -> str | None:
    """The first of libjpeg's warnings that makes data a spoilt picture; None where none does.

    Bytes left over before a marker are the commonest sign of damage: the decoder lost its place in the data.
    They are harmless where they are few, or all the same before the end: cameras fill up to whole blocks.
    """
    for warning in warnings:
        if warning.startswith(HARMLESS):
            continue
        if left_over := LEFT_OVER.match(warning):
            count, end = int(left_over[1]), data.rfind(END)
            if count <= FEW or (left_over[2] == "d9" and len(set(data[end - count : end])) == 1):
                continue
        return warning
    return None


def is_plain(data: bytes) -> bool:
    """True for three colours of 8 bits in one common frame, with EXIF data that can be read one way only.

    An orientation may stand in XMP data too, which one reader looks at where EXIF data has none: not plain.
    """
    in_xmp = False
    exif = []
    frames = []
    for marker, payload in segments(data):
        if marker in FRAMES:
            frames.append((marker, payload[0], payload[5]))
        elif marker == APP1 and payload.startswith(b"Exif"):
            exif.append(plain_orientation(payload))
        elif marker == APP1:
            in_xmp = in_xmp or b"Orientation" in payload
    if len(exif) > 1 or (in_xmp and exif in ([], [0])):
        return False
    return len(frames) == 1 and frames[0][0] in PLAIN_FRAMES and frames[0][1:] == (8, 3)


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """A JPEG's segments, marker and payload, up to the first scan. Raises struct.error at the data's end."""
    at = 2
    while True:
        start, marker, length = struct.unpack_from(">BBH", data, at)
        if start != 0xFF or marker == START_OF_SCAN:
            return
        if marker == 0xFF:  # a byte that fills up
            at += 1
            continue
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length


def has_end(data: bytes) -> bool:
    """False where no end marker follows a JPEG's first scan: a download's place may be filled with zeros."""
    try:
        before = sum(len(payload) for _, payload in segments(data))
    except struct.error:
        return False
    return data.rfind(END) > before


def plain_orientation(payload: bytes) -> int:
    """The orientation in a segment of EXIF data, 1 to 8; 0 where there is none.

    Raises an exception of some type where its first directory is not whole, or not every reader takes the
    orientation from it.
    """
    tiff = payload[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}[tiff[:4]]
    (at,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, at)
    orientation = 0
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, values, place = struct.unpack_from(f"{order}HHII", tiff, entry)
        size = BYTES_OF_TYPE[kind] * values
        wanted, number = READ_BY_OPENCV.get(tag, (kind, None))
        if kind != wanted or number not in (None, values) or (size > 4 and place + size > len(tiff)):
            raise ValueError("a value of another type, or beyond the end")
        if tag == ORIENTATION:
            (value,) = struct.unpack_from(f"{order}H", tiff, entry + 8)
            if orientation or not 1 <= value <= 8:
                raise ValueError("an orientation that makes no sense")
            orientation = value
    return orientation


def _may_end_in_grey(eighth: np.ndarray, height: int) -> bool:
    """False where the means of 8 x 8 pixels rule out GREY_ROWS of grey at the lower edge.

    Looks at the row of blocks that shares the most rows with the last 8. Its `others` are not among them but
    above, or below the picture, and may be anything: each moves the mean by up to 128 / 8. 8 more are for the
    rounding of colours.
    """
    row = max(0, (height - BLOCK // 2) // BLOCK)
    others = abs(row * BLOCK - (height - BLOCK))
    allowed = 8 + others * 128 // BLOCK
    return bool((np.abs(eighth[row].astype(np.int16) - 128) <= allowed).all())
