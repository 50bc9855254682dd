"""Look at one file: what is wrong with it, and the picture where it can be saved."""

import io
import warnings
import zlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from data_prep.check.finding import Finding
from data_prep.check.jpeg import GREY_ROWS, damage, first_warning, has_end, is_plainly_good_jpeg
from data_prep.check.readers import CaffeReader, Seen, seen
from tools.files import png
from tools.files.picture_names import FORMAT_OF_SUFFIX, trouble_with
from tools.files.pixels import decoded, is_avif, orientation_of, upright
from tools.files.pointers import FETCH_IT, is_pointer

GREY_IS_128_IN = ("RGB", "L", "CMYK")
CHANNELS = {
    "1": "black and white",
    "L": "grey, one channel",
    "LA": "grey with alpha",
    "P": "palette",
    "PA": "palette with alpha",
    "CMYK": "CMYK, four channels",
    "RGBA": "alpha, four channels",
    "RGBa": "alpha, four channels",
    "I;16": "grey of 16 bits",
    "I;16B": "grey of 16 bits",
    "I": "grey of 32 bits",
    "F": "grey of floating point numbers",
}
SEVERAL_IN_ONE = "MPO"
"""What Pillow calls a JPEG with further pictures behind it, as phones write; readers show the first."""
HEIC = "HEIC (as iPhones write)"
SHOWN_FORMAT = {SEVERAL_IN_ONE: "MPO (a JPEG with more pictures behind it)", "HEIF": HEIC}

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
CHANNELS_OF_PNG = {2: 3, 4: 2, 6: 4}
KEPT_CHUNKS = (b"tRNS", b"eXIf")


CAFFES = "Caffe's reader"


class Look(NamedTuple):
    """What was seen of a file: the finding, its bytes, and the decoded picture where it can be saved."""

    finding: Finding
    data: bytes = b""
    picture: Image.Image | None = None


@cache
def caffe_reader(program: str) -> CaffeReader:
    """This process's reader of Caffe's."""
    return CaffeReader(program)


def look_at(path: Path, caffe: str | None) -> Look:
    """Read one file and decode it, by Caffe's reader too if it is named. No content raises anything."""
    try:
        data = path.read_bytes()
    except IsADirectoryError:
        return Look(Finding(path, ("empty",), ("a folder without pictures",)))
    except OSError as error:
        return Look(Finding(path, ("unreadable",), (error.strerror or str(error),)))
    if not data:
        return Look(Finding(path, ("empty",), ("zero bytes",)))
    with warnings.catch_warnings():
        # A decoder's warnings concern metadata and size; errors are what counts.
        warnings.simplefilter("ignore")
        look = look_into(path, data)
        if not look.finding.problems and look.picture is not None:
            look = compared(look, look.picture, caffe)
    if why := trouble_with(path.name):
        finding = look.finding
        found = Finding(path, (*finding.problems, "name"), (*finding.reasons, f"it {why}"))
        return look._replace(finding=found)
    return look


def look_into(path: Path, data: bytes) -> Look:
    """What the bytes of a file called path are to Pillow; a plainly good JPEG comes without a picture."""
    if FORMAT_OF_SUFFIX.get(path.suffix.lower()) == "JPEG" and is_plainly_good_jpeg(data):
        return Look(Finding(path), data)
    kind = kind_of(data)
    try:
        if kind == HEIC:
            import pillow_heif  # seldom needed, and slow to load

            pillow_heif.register_heif_opener()
        picture: Image.Image = Image.open(io.BytesIO(without_extras(data)))
    except UnidentifiedImageError:
        if kind:
            reason = f"{kind}, which can't be read here: convert it to JPEG"
            return Look(Finding(path, ("unreadable",), (reason,)))
        if is_pointer(data):
            return Look(Finding(path, ("not-image",), (FETCH_IT,)))
        return Look(Finding(path, ("not-image",), ("not an image, or not even its header is whole",)))
    except Exception as error:  # decoders raise errors of every type when the data is garbage
        return Look(Finding(path, ("unreadable",), (f"{kind or 'header'} can't be read: {error}",)))
    try:
        picture.load()
    except Exception as error:
        problem = "truncated" if "truncated" in str(error).lower() else "unreadable"
        return Look(Finding(path, (problem,), (f"{picture.format} can't be decoded: {error}",)))
    if format_of(picture) == "JPEG" and not has_end(data):
        return Look(Finding(path, ("truncated",), ("JPEG without an end marker",)))
    rows = grey_rows(picture) if picture.mode in GREY_IS_128_IN else 0
    if rows >= GREY_ROWS:
        reason = f"flat grey from row {picture.height - rows} of {picture.height} on"
        return Look(Finding(path, ("truncated",), (reason,)))
    found = dict(_wrong_channels(picture) + _wrong_extension(path, picture))
    savable = is_16_bits(picture) or picture.mode not in ("I", "F")  # no telling which value is white
    return Look(Finding(path, tuple(found), tuple(found.values())), data, picture if savable else None)


def compared(look: Look, picture: Image.Image, caffe: str | None) -> Look:
    """The look at a picture that is good to Pillow, compared with what the other readers show of it."""
    path, data = look.finding.path, look.data
    kind = describe(picture)
    try:
        ours = seen(np.asarray(upright(picture).convert("RGB"))[:, :, ::-1])
        pixels = decoded(data)
        shown: dict[str, Seen | str] = {"our OpenCV": "can't decode it" if pixels is None else seen(pixels)}
        if caffe is not None:
            shown[CAFFES] = caffe_reader(caffe).see(path)
    except (cv2.error, ValueError, MemoryError) as error:
        return look._replace(finding=Finding(path, ("unreadable",), (f"{kind}: {error}",)))
    if blind := [f"{reader} {words}" for reader, words in shown.items() if isinstance(words, str)]:
        if lacks_rows(data):
            return Look(Finding(path, ("truncated",), ("PNG with less data than its size needs",)))
        return look._replace(finding=Finding(path, ("unreadable",), (f"{kind}: {' and '.join(blind)}",)))
    if words := spoilt(picture, data, shown.get(CAFFES)):
        problem = "truncated" if "remature" in words else "damaged"
        return Look(Finding(path, (problem,), (f"{kind}: {words}",)))
    others = [reader for reader, one in shown.items() if isinstance(one, Seen) and not one.agrees_with(ours)]
    if not others:
        return look
    reason = f"{kind}, which {' and '.join(others)} shows another way up, or otherwise"
    # those that later stages read with are of one mind; but they don't scale a PPM's values by their maximum
    if pixels is not None and len(others) == len(shown) and picture.format != "PPM":
        picture = Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    return Look(Finding(path, ("orientation",), (reason,)), data, picture)


def spoilt(picture: Image.Image, data: bytes, by_caffe: Seen | str | None) -> str | None:
    """What libjpeg, or the one behind Caffe's reader, warns of in a JPEG that is spoilt."""
    warnings = by_caffe.warnings if isinstance(by_caffe, Seen) else ()
    if not warnings and format_of(picture) == "JPEG":
        warnings = first_warning(data, *picture.size)
    return damage(data, warnings)


def describe(picture: Image.Image) -> str:
    """A picture's format, and what may set readers apart."""
    words = [str(picture.format)]
    if compression := picture.info.get("compression"):
        words.append(f"of compression {compression}")
    if getattr(picture, "is_animated", False):
        words.append("of several pictures")
    if (orientation := orientation_of(picture)) > 1:
        words.append(f"with EXIF orientation {orientation}")
    return " ".join(words)


def without_extras(data: bytes) -> bytes:
    """A PNG's chunks that make its picture; data of other formats as it is.

    Pillow refuses a PNG for the size of its texts, or a wrong checksum where libpng looks away.
    """
    if not data.startswith(png.SIGNATURE):
        return data
    kept = [
        chunk.whole
        for chunk in png.chunks(data)
        if chunk.kind[:1].isupper() or (chunk.kind in KEPT_CHUNKS and chunk.is_sound)
    ]
    return png.SIGNATURE + b"".join(kept)


def lacks_rows(data: bytes) -> bool:
    """True for a PNG whose compressed data ends before its last row, which Pillow leaves black."""
    if not data.startswith(png.SIGNATURE):
        return False
    packed = b"".join(chunk.payload for chunk in png.chunks(data) if chunk.kind == b"IDAT")
    width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    bits = data[24] * CHANNELS_OF_PNG.get(data[25], 1)
    # an interlaced one's passes have more row starts, and as many pixels
    needed = height * (1 + (width * bits + 7) // 8) if not data[28] else height * width * bits // 8
    try:
        return len(zlib.decompressobj().decompress(packed, needed)) < needed
    except zlib.error:
        return False


def kind_of(data: bytes) -> str | None:
    """What a picture is that Pillow doesn't know; None where it is none that is known here."""
    if data[4:8] == b"ftyp":
        brands = data[8 : int.from_bytes(data[:4])][:64]
        if is_avif(data):
            return "AVIF"
        if any(brand in brands for brand in (b"hei", b"hev", b"mif1", b"msf1")):
            return HEIC
        return "a film"
    if data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")):
        return "JPEG XL"
    return "TIFF of a rare kind" if data.startswith(TIFF) else None


def grey_rows(picture: Image.Image) -> int:
    """How many rows at the lower edge are flat grey of 128, give or take 1, in all channels."""
    width, height = picture.size
    if not _is_grey(picture.crop((0, height - 1, width, height))).all():
        return 0
    flat_rows = np.all(_is_grey(picture).reshape(height, -1), axis=1)
    return height if flat_rows.all() else int(np.argmin(flat_rows[::-1]))


def _is_grey(picture: Image.Image) -> np.ndarray:
    return np.abs(np.asarray(picture).astype(np.int16) - 128) <= 1


def _wrong_channels(picture: Image.Image) -> list[tuple[str, str]]:
    if picture.mode == "RGB":
        return []
    mode = "I;16" if is_16_bits(picture) else picture.mode
    return [("channels", CHANNELS.get(mode, f"colour mode {picture.mode}") + " instead of three")]


def _wrong_extension(path: Path, picture: Image.Image) -> list[tuple[str, str]]:
    suffix, actual = path.suffix.lower(), format_of(picture)
    shown = SHOWN_FORMAT.get(str(picture.format), actual)
    if suffix not in FORMAT_OF_SUFFIX:
        name = f"the extension {path.suffix}" if suffix else "no extension"
        return [("extension", f"{shown} data under {name}, which convert_imageset is not given")]
    if FORMAT_OF_SUFFIX[suffix] != actual:
        return [("extension", f"{shown} data under the extension {path.suffix}")]
    return []


def is_16_bits(picture: Image.Image) -> bool:
    """Whether it is grey of 16 bits: Pillow scales a PGM's values to that, and calls them 32 bits."""
    return picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM")


def format_of(picture: Image.Image) -> str:
    """The format that decides on the extension."""
    return "JPEG" if picture.format == SEVERAL_IN_ONE else str(picture.format)
