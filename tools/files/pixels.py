"""How every room but Caffe's tools reads a picture: by OpenCV, in colour, upright as EXIF data say."""

from pathlib import Path

import cv2
import numpy as np


def decoded(data: bytes) -> np.ndarray | None:
    """A file's bytes as pixels (H, W, 3) uint8, BGR; None where OpenCV can't decode them."""
    if not data:
        return None
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # sides or pixels beyond its limits
        return None


def read_pixels(path: Path) -> np.ndarray:
    """A picture's pixels (H, W, 3) uint8, BGR.

    Raises OSError where the file can't be read, ValueError where it is no picture that OpenCV can decode.
    """
    pixels = decoded(path.read_bytes())
    if pixels is None:
        raise ValueError(f"{path} is not a picture that OpenCV can read")
    return pixels
