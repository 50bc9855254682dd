"""The mean of compute_image_mean: a BlobProto in a binaryproto file."""

import math
from pathlib import Path

import numpy as np

from tools.files.prototxt import caffe_messages, read_message
from tools.program import DECIMAL_NUMBER, shown


def read_mean_image(path: Path) -> np.ndarray:
    """The mean picture, (C, H, W) float32, its channels as in the LMDB (B, G, R), grey levels 0 to 255.

    Raises ValueError where the file holds no such thing, OSError where it can't be read.
    """
    blob = caffe_messages().BlobProto()
    read_message(path, blob, "a file of compute_image_mean's")
    shape = list(blob.shape.dim) or [blob.num, blob.channels, blob.height, blob.width]
    with np.errstate(over="ignore"):  # found below, as it isn't finite then
        mean = np.array(blob.data or blob.double_data).astype(np.float32)
    if len(shape) < 3 or min(shape) < 1 or math.prod(shape) != math.prod(shape[-3:]) or not mean.size:
        raise ValueError(f"{path} is not the mean of pictures: its shape is {shape}")
    if mean.size != math.prod(shape):
        raise ValueError(f"{path} is not whole: {mean.size} values for a mean of shape {shape}")
    if not np.isfinite(mean).all():
        raise ValueError(f"{path} holds values that are not finite")
    return mean.reshape(shape[-3:])


def read_mean(text: str) -> tuple[float, float, float]:
    """The mean of each channel, B,G,R: three numbers, or a mean file's, averaged over its pixels.

    Raises ValueError where it is neither, OSError where the file can't be read.
    """
    numbers = [float(number) for number in text.split(",") if DECIMAL_NUMBER.fullmatch(number)]
    if len(numbers) == 3 and text.count(",") == 2 and all(0 <= number <= 255 for number in numbers):
        blue, green, red = numbers
        return blue, green, red
    if ("," in text or numbers) and not Path(text).exists():
        raise ValueError(f"{shown(text)} is not a mean B,G,R of three grey levels, 0 to 255")
    mean = read_mean_image(Path(text))
    if len(mean) != 3:
        raise ValueError(f"{text} is not the mean of pictures with three channels")
    blue, green, red = mean.astype(np.float64).mean(axis=(1, 2)).tolist()
    return blue, green, red
