"""Save what can be saved: the picture in three channels, upright, in a format and under a name that do."""

import hashlib
import io
import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, TiffImagePlugin

from data_prep.check.finding import Finding
from data_prep.check.look import Look, format_of, is_16_bits, look_at
from tools.files.picture_names import FORMAT_OF_SUFFIX, ROOM, shortened, trouble_with
from tools.files.pixels import upright
from tools.program import LONGEST_NAME, one_sentence

SAVED_QUALITY = 95
FAINT = 8
"""A picture whose levels span no more than this, in each channel, shows nothing."""


def looked_at(name: str, fix: bool, caffe: str | None) -> tuple[Finding, bytes] | None:
    """The finding on a file and its remedy, None for a good one: half a million are not worth passing on.

    Only looks; what is written is written by the process that asked, once, however often a cluster does this.
    The remedy is the bytes of a good file to put in a bad one's place; none where it can't be saved. Raises
    OSError where Caffe's reader can't be run, or what is saved can't be tried on disk.
    """
    try:
        look = look_at(Path(name), caffe)
        if not look.finding.problems:
            return None
        return remedy(look, caffe) if fix else (look.finding, b"")
    except OSError as error:
        error.filename = error.filename or name
        raise


def crashed(name: str) -> tuple[Finding, bytes]:
    """What is found of a file at which the process that looked at it came to its end."""
    return Finding(Path(name), ("unreadable",), ("a decoder crashes on it, or takes all memory",)), b""


def remedy(look: Look, caffe: str | None) -> tuple[Finding, bytes]:
    """The finding, with one reason more for what can't be saved, and a good file's bytes or none."""
    finding, data, picture = look
    if not data:
        return finding, b""
    target = right_name(finding.path)
    if set(finding.problems) <= {"name"}:
        return finding, data
    if picture is None:
        return finding, b""
    wanted = FORMAT_OF_SUFFIX[target.suffix.lower()]
    if set(finding.problems) <= {"name", "extension"} and format_of(picture) == wanted:
        return finding, data
    try:
        good = encoded(three_channels(picture), wanted)
    except Exception as error:  # encoders and converters raise errors of every type
        return cannot(finding, one_sentence(error) or type(error).__name__), b""
    if again := reasons_against(good, target.suffix, caffe):
        return cannot(finding, f"saved anew it is bad still: {'; '.join(again)}"), b""
    return finding, good


def reasons_against(data: bytes, suffix: str, caffe: str | None) -> tuple[str, ...]:
    """What the check finds wrong with a file of these bytes."""
    with TemporaryDirectory(prefix="check-") as place:
        path = Path(place) / f"saved{suffix}"
        path.write_bytes(data)
        return look_at(path, caffe).finding.reasons


def cannot(finding: Finding, why: str) -> Finding:
    """The finding with one reason more."""
    return replace(finding, reasons=(*finding.reasons, f"can't be fixed: {why}"))


def right_name(path: Path) -> Path:
    """The name under which a saved picture goes."""
    name = path.name if path.suffix.lower() in FORMAT_OF_SUFFIX else f"{path.name}.jpg"
    name = name.replace("\n", " ")
    if trouble_with(name):
        suffix = Path(name).suffix
        mark = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
        name = shortened(name.removesuffix(suffix), f"~{mark}{suffix}", LONGEST_NAME - ROOM)
    return path.with_name(name)


def encoded(picture: Image.Image, kind: str) -> bytes:
    """A picture as a file of this format."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": SAVED_QUALITY} if kind in ("JPEG", "WEBP") else {}))
    return buffer.getvalue()


def three_channels(picture: Image.Image) -> Image.Image:
    """The picture in RGB, upright, without what else its file held: profile, EXIF data, compression.

    Alpha goes over white, but where nothing would be seen then the colours stand as they are. 16-bit grey
    keeps its upper 8 bits. Raises ValueError where those show nothing.
    """
    is_deep, is_negative = is_16_bits(picture), _white_is_zero(picture)  # which a turned one doesn't tell
    picture = upright(picture)
    if is_deep:
        picture = _upper_bits(picture, is_negative)
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        bare = rgba.convert("RGB")
        over_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), rgba).convert("RGB")
        picture = bare if span(over_white) <= FAINT < span(bare) else over_white
    return Image.fromarray(np.asarray(picture.convert("RGB")))


def span(picture: Image.Image) -> int:
    """How many levels the values of an RGB picture span, in the channel where that is most."""
    values = np.asarray(picture)
    return int(np.ptp(values, axis=(0, 1)).max())


def _white_is_zero(picture: Image.Image) -> bool:
    """Whether it is a TIFF whose white is 0, which Pillow passes over where there are 16 bits."""
    return getattr(picture, "tag_v2", {}).get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0


def _upper_bits(picture: Image.Image, is_negative: bool) -> Image.Image:
    values = np.asarray(picture)
    upper = (values >> 8).astype(np.uint8)
    if is_negative:
        upper = 255 - upper
    if np.ptp(upper) <= FAINT < np.ptp(values):
        raise ValueError("of its 16 bits the upper 8 show nothing")
    return Image.fromarray(upper)
