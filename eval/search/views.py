"""Pictures as the page shows them: small JPEGs, upright, of whatever the network can read.

A browser can't show all of those (HEIC, TIFF), and need not load 20 MB to show a picture a hand wide.
"""

import io
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image

from eval.forward.photographs import Picture, read_part
from tools.files.pixels import decoded
from tools.processes import CrashError, CrashProof, core_count

VIEW_SIDE = 1280
THUMBNAIL_SIDE = 240
KEPT_VIEWS = 64
KEPT_THUMBNAILS = 4096
REDUCTIONS = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)
Box = tuple[float, float, float, float]
Key = tuple[str, int]
Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class View:
    """A picture to look at, and the size in pixels of the one it was made from."""

    jpeg: bytes
    width: int
    height: int


class Views:
    """Makes views and keeps the newest. Any thread may use it; no more pictures than cores are decoded at
    once, in processes of their own, as a decoder may crash."""

    def __init__(self) -> None:
        self._decoders = CrashProof(core_count())
        self._lock = threading.Lock()
        self._views: OrderedDict[Key, View] = OrderedDict()
        self._thumbnails: OrderedDict[Key, bytes] = OrderedDict()

    def of(self, path: Path) -> View:
        """The whole picture, its longer side at most VIEW_SIDE. Raises OSError or ValueError."""
        return self._kept(self._views, KEPT_VIEWS, Picture(str(path)), _view)

    def thumbnail(self, path: Path, box: Box | None = None) -> bytes:
        """The picture or a box of it as JPEG, its shorter side at most THUMBNAIL_SIDE. Raises OSError or
        ValueError."""
        return self._kept(self._thumbnails, KEPT_THUMBNAILS, Picture(str(path), box), _thumbnail)

    def decode(self, function: Callable[[Given], Made], given: Given) -> Made:
        """function(given), which decodes. Raises what it raises, and ValueError where a decoder crashes."""
        try:
            return self._decoders.call(function, given)
        except CrashError:
            raise ValueError("The picture crashes its decoder.") from None

    def close(self) -> None:
        """End the processes that decode."""
        self._decoders.close()

    def _kept(
        self, kept: OrderedDict[Key, Made], most: int, picture: Picture, make: Callable[[Picture], Made]
    ) -> Made:
        key = picture.path, picture.stamp()
        with self._lock:
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
        made = self.decode(make, picture)
        with self._lock:
            kept[key] = made
            while len(kept) > most:
                kept.popitem(last=False)
        return made


def _view(picture: Picture) -> View:
    pixels = _pixels(picture)
    height, width = pixels.shape[:2]
    return View(_jpeg(pixels, VIEW_SIDE / max(height, width)), width, height)


def _thumbnail(picture: Picture) -> bytes:
    pixels = None if picture.box else _reduced(Path(picture.path).read_bytes())
    if pixels is None:
        pixels = _pixels(picture)
    return _jpeg(pixels, THUMBNAIL_SIDE / min(pixels.shape[:2]))


def _pixels(picture: Picture) -> np.ndarray:
    try:
        return read_part(picture).pixels
    except ValueError:
        raise ValueError("The picture can't be decoded.") from None


def _reduced(content: bytes) -> np.ndarray | None:
    """A large JPEG decoded at a half, a quarter or an eighth of its size, which is quick; None for others."""
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as picture:
            shorter = min(picture.size)
    except Exception:  # the decoder that reads it whole will say what is wrong
        return None
    for factor, flag in REDUCTIONS:
        if shorter >= factor * THUMBNAIL_SIDE:
            return decoded(content, flag)
    return None


def _jpeg(pixels: np.ndarray, scale: float) -> bytes:
    """Pixels (H, W, 3) BGR as JPEG, never enlarged."""
    height, width = (max(1, round(side * min(1.0, scale))) for side in pixels.shape[:2])
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
