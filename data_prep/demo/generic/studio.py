"""What pictures of single things share: a drawn colour, a blurred background, the camera at the end."""

import cv2
import numpy as np

from data_prep.demo.photo import Array, Rng, expose, noise
from data_prep.demo.scenes import picture_size

HUES = {
    "red": (-0.8, -0.8, 0.7),
    "yellow": (-0.9, 0.45, 0.6),
    "green": (-0.4, 0.5, -0.5),
    "blue": (0.8, 0.0, -0.8),
}
"""Of coloured things, logarithms of what their colour's B, G and R are multiplied by."""


def draw_colour(rng: Rng, saturation: float = 0.38, hue: str = "") -> Array:
    """A thing's colour (3,), BGR, in linear light: any, or of one of HUES."""
    tint = rng.normal(0, saturation, 3)
    if hue:
        tint = 0.4 * tint + HUES[hue]
    return np.clip(np.exp(rng.normal(-1.3, 0.4) + tint), 0.02, 0.85).astype(np.float32)


def draw_ink(rng: Rng, hue: str = "") -> tuple[float, float, float, float]:
    """A colour with an alpha of 1, to draw with on a sheet."""
    blue, green, red = (float(c) for c in draw_colour(rng, hue=hue))
    return blue, green, red, 1.0


def plain_canvas(rng: Rng) -> tuple[int, int, Array]:
    """A wall and a table top out of focus: height, width, picture (h, w, 3)."""
    width, height = (int(side * 1.5) for side in picture_size(rng))
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = (
        draw_colour(rng, 0.3) * (0.7 + 0.6 * noise(rng, height, width, rng.uniform(0.2, 3)))[:, :, None]
    )
    table = int(height * rng.uniform(0.6, 0.85))
    grain = noise(rng, height - table, width, 0.3, rng.uniform(1, 8))
    picture[table:] = draw_colour(rng, 0.3) * (0.6 + 0.7 * grain)[:, :, None]
    return height, width, cv2.GaussianBlur(picture, (0, 0), rng.uniform(1, 4))


def lay_over(picture: Array, layer: Array) -> None:
    """Lay a layer (h, w, 4) of colour and alpha over a picture (h, w, 3)."""
    alpha = layer[:, :, 3:]
    picture += (layer[:, :, :3] - picture) * alpha


def finish(rng: Rng, picture: Array) -> Array:
    """The uint8 picture of a scene that plain_canvas began, at two thirds of its size."""
    height, width = picture.shape[:2]
    return expose(
        rng, cv2.resize(picture, (int(width / 1.5), int(height / 1.5)), interpolation=cv2.INTER_AREA)
    )
