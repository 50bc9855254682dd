"""Who makes a copy of a picture: Keras 2.0.4's way, the same by OpenCV, or today's Keras itself.

A picture is (H, W, 3) uint8; in which order its colours come is all the same to each of them.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import cv2
import numpy as np
from scipy import ndimage

from data_prep.augmentation.transform import (
    ROTATION_RANGE,
    SHEAR_RANGE,
    SHIFT_RANGE,
    ZOOM_RANGE,
    Transform,
    draw,
)

KERAS3_REQUIREMENTS = "tools/requirements-keras3.txt"
KERAS3_BACKEND = "openvino"
KERAS3_DIFFERS = (
    "engine keras3: today's Keras takes the article's shear_range = 0.2 as degrees, not radians, exchanges "
    "rows and columns in rotation, shear, shifts and zooms, turns a picture about its centre where it is "
    "square and about another point where it isn't, and its stretch also takes the darkest value to 0"
)


@dataclass(frozen=True)
class Look:
    """How a copy's pixels are found: bilinear or from the nearest pixel, stretched or as they are."""

    bilinear: bool = False
    stretch: bool = True


class Engine(Protocol):
    """Makes copies. Picklable, as every process gets one."""

    def copy(self, picture: np.ndarray, seed: int) -> np.ndarray:
        """The picture (H, W, 3) uint8 as the random change of this seed (0 to 2**32 - 1) leaves it."""


@dataclass(frozen=True)
class Keras2017:
    """Keras 2.0.4's own way, channel after channel, in float32, by SciPy."""

    look: Look

    def copy(self, picture: np.ndarray, seed: int) -> np.ndarray:
        """As the protocol has it."""
        return as_saved(self.warp(picture, draw(picture.shape[0], picture.shape[1], seed)), self.look.stretch)

    def warp(self, picture: np.ndarray, transform: Transform) -> np.ndarray:
        """The changed picture (H, W, 3) float32; what lies outside has the value of the edge."""
        source = transform.source_of(*picture.shape[:2])
        channels = [
            ndimage.affine_transform(
                channel, source[:, :2], source[:, 2], order=int(self.look.bilinear), mode="nearest"
            )
            for channel in np.moveaxis(picture.astype(np.float32), 2, 0)
        ]
        warped = np.stack(channels, axis=2)
        return warped[:, ::-1] if transform.mirrored else warped


class OpenCV(Keras2017):
    """The same picture by one OpenCV warp, many times as fast.

    OpenCV computes places in float32, SciPy in float64: of 100,000 nearest pixels some 4 lie so close to the
    border between two that OpenCV takes the other.
    """

    def warp(self, picture: np.ndarray, transform: Transform) -> np.ndarray:
        """The changed picture (H, W, 3), uint8, or float32 where values between two pixels are wanted."""
        height, width = picture.shape[:2]
        source = transform.source_of(height, width)[[1, 0]][:, [1, 0, 2]]  # of (x, y) now
        if transform.mirrored:
            source = source @ np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]])
        return cv2.warpAffine(
            picture.astype(np.float32) if self.look.bilinear else picture,
            source,
            (width, height),
            flags=cv2.WARP_INVERSE_MAP | (cv2.INTER_LINEAR if self.look.bilinear else cv2.INTER_NEAREST),
            borderMode=cv2.BORDER_REPLICATE,
        )


@dataclass(frozen=True)
class Keras3:
    """The package `keras` itself, with the article's settings as the article wrote them."""

    look: Look

    def copy(self, picture: np.ndarray, seed: int) -> np.ndarray:
        """As the protocol has it, but for what KERAS3_DIFFERS says."""
        image = _keras3()
        generator = image.ImageDataGenerator(
            rotation_range=ROTATION_RANGE,
            width_shift_range=SHIFT_RANGE,
            height_shift_range=SHIFT_RANGE,
            shear_range=SHEAR_RANGE,
            zoom_range=ZOOM_RANGE,
            horizontal_flip=True,
            fill_mode="nearest",
            interpolation_order=int(self.look.bilinear),
        )
        changed = generator.random_transform(picture.astype(np.float32), seed=seed)
        return np.asarray(image.array_to_img(changed, scale=self.look.stretch))


def as_saved(warped: np.ndarray, stretch: bool) -> np.ndarray:
    """What Keras 2.0.4's flow(save_to_dir=...) saves of a changed picture with values 0 to 255, as uint8.

    It stretches every picture (array_to_img's scale=True): the brightest value of all becomes 255, and 0
    stays 0. Its first line, x + max(-min(x), 0), lifts negative values only, so the darkest value goes to 0
    in later versions, not in this one. Fractions are cut off, as they are without the stretch.
    """
    brightest = np.float32(warped.max() if stretch else 255)
    if brightest == 255:  # x / 255 * 255 is x for whole numbers in float32
        return warped.astype(np.uint8, copy=False)
    if warped.dtype == np.uint8:
        levels = np.minimum(np.arange(256, dtype=np.float32), brightest)  # none is above it
        return cv2.LUT(warped, _stretched(levels, brightest))
    return _stretched(warped, brightest)


def _stretched(values: np.ndarray, brightest: np.float32) -> np.ndarray:
    return (values / (brightest or np.float32(1)) * np.float32(255)).astype(np.uint8)


@cache
def _keras3() -> Any:
    os.environ.setdefault("KERAS_BACKEND", KERAS3_BACKEND)  # Keras wants one even for this
    return importlib.import_module("keras._tf_keras.keras.preprocessing.image")


ENGINES: dict[str, Callable[[Look], Engine]] = {"keras": Keras2017, "opencv": OpenCV, "keras3": Keras3}


def engine_called(name: str, look: Look) -> Engine:
    """The engine of this name. Raises OSError where today's Keras is asked for and isn't installed."""
    if name == "keras3" and importlib.util.find_spec("keras") is None:
        raise OSError(
            f"engine keras3 needs the package keras: .venv/bin/pip install -r {KERAS3_REQUIREMENTS}"
        )
    return ENGINES[name](look)
