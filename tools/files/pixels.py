"""How every room but Caffe's tools reads a picture: by OpenCV, in colour, upright as its file says."""

import ctypes
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image

from tools.files.png import still
from tools.files.pointers import FETCH_IT, is_pointer

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets a picture of this EXIF orientation upright."""


def decoded(data: bytes, flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """A file's bytes as pixels (H, W, 3) uint8, BGR; None where OpenCV can't decode them.

    An animated PNG is the still one that Caffe's reader sees: OpenCV 5.0 writes beyond its memory over some
    animations. An AVIF is Pillow's, as OpenCV passes over how it is turned.
    """
    if not data:
        return None
    if is_avif(data):
        return _avif(data)
    try:
        with DECODERS.silent():
            return cv2.imdecode(np.frombuffer(still(data), np.uint8), flags)
    except cv2.error:  # sides or pixels beyond its limits
        return None


def is_avif(data: bytes) -> bool:
    """Whether a file's first bytes say that it is an AVIF."""
    return data[4:8] == b"ftyp" and b"avi" in data[8 : int.from_bytes(data[:4])][:64]


def _avif(data: bytes) -> np.ndarray | None:
    try:
        with Image.open(io.BytesIO(data), formats=("AVIF",)) as picture:
            return np.ascontiguousarray(np.asarray(upright(picture).convert("RGB"))[:, :, ::-1])
    except Exception:  # decoders raise errors of every type
        return None


def orientation_of(picture: Image.Image) -> int:
    """The EXIF orientation of an open picture, 1 to 8; 1, as it lies, where none makes sense."""
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken directory raises errors of every type
        return 1
    return value if value in UPRIGHT else 1


def upright(picture: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says."""
    picture.load()  # which turns a TIFF, and takes its orientation away
    method = UPRIGHT.get(orientation_of(picture))
    return picture if method is None else picture.transpose(method)


class _Decoders:
    """libjpeg, libpng and libtiff within OpenCV, which print what they think of a picture to C's stderr.

    Python's stderr is another, so C's may lead nowhere while they are at work, in whichever threads.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        library.fopen.restype = ctypes.c_void_p
        self._stderr = ctypes.c_void_p.in_dll(library, "stderr")
        self._real = self._stderr.value
        self._nowhere = library.fopen(os.devnull.encode(), b"w")
        self._lock = threading.Lock()
        self._at_work = 0

    @contextmanager
    def silent(self) -> Iterator[None]:
        with self._lock:
            self._at_work += 1
            self._stderr.value = self._nowhere
        try:
            yield
        finally:
            with self._lock:
                self._at_work -= 1
                if not self._at_work:
                    self._stderr.value = self._real


DECODERS = _Decoders()


def read_pixels(path: Path) -> np.ndarray:
    """A picture's pixels (H, W, 3) uint8, BGR.

    Raises OSError where the file can't be read, ValueError where it is no picture that OpenCV can decode.
    """
    data = path.read_bytes()
    pixels = decoded(data)
    if pixels is None:
        raise ValueError(f"{path} is {what_instead(data)}")
    return pixels


def what_instead(data: bytes) -> str:
    """What a file is that OpenCV can't decode, in words that follow its name."""
    return FETCH_IT if is_pointer(data) else "not a picture that OpenCV can read"
