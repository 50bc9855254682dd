"""How every room but Caffe's tools reads a picture: by OpenCV, in colour, upright as EXIF data say."""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from tools.files.pointers import FETCH_IT, is_pointer


def decoded(data: bytes, flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """A file's bytes as pixels (H, W, 3) uint8, BGR; None where OpenCV can't decode them."""
    if not data:
        return None
    try:
        with DECODERS.silent():
            return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # sides or pixels beyond its limits
        return None


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
