"""Pieces of wall and roof: paint, relief, glass and outline, which any light can shade anew."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from data_prep.demo.buildings.style import Style
from data_prep.demo.photo import Array, Rng, float32, noise

PIXELS_PER_METRE = 9
TRIANGLE = np.array([[0.5, 0], [1, 1], [0, 1]])


@dataclass
class Texture:
    """albedo (h, w, 3), relief, glass and alpha (h, w), all float32; albedo, glass and alpha 0..1."""

    albedo: Array
    relief: Array
    glass: Array
    alpha: Array

    @cached_property
    def ledges(self) -> Array:
        """How much darker than the flat wall the sky alone leaves each point: below ledges, in reveals."""
        edge = cv2.Sobel(self.relief, cv2.CV_32F, 0, 1, ksize=1)
        return 1 - np.clip(0.09 * edge, -0.3, 0.3)

    @cached_property
    def smaller(self) -> "Texture":
        """The same at half the size, for when it is seen from afar."""
        h, w = self.relief.shape
        size = (max(w // 2, 2), max(h // 2, 2))
        layers = (self.albedo, self.relief, self.glass, self.alpha)
        return Texture(*(cv2.resize(layer, size, interpolation=cv2.INTER_AREA) for layer in layers))


def _blank(height: int, width: int) -> Texture:
    zeros = np.zeros((height, width), np.float32)
    return Texture(np.zeros((height, width, 3), np.float32), zeros, zeros.copy(), np.ones_like(zeros))


def wall(rng: Rng, style: Style, width: float, height: float) -> Texture:
    """A bare wall of the style's masonry, width x height metres."""
    w, h = max(int(width * PIXELS_PER_METRE), 4), max(int(height * PIXELS_PER_METRE), 4)
    texture = _blank(h, w)
    stain = 0.75 + 0.3 * noise(rng, h, w, 0.6) + 0.2 * noise(rng, h, w, 0.12)
    texture.albedo[:] = float32(style.wall) * stain[:, :, None]
    step, length = {"courses": (3, 6), "ashlar": (5, 11), "rough": (4, 7), "plain": (0, 0)}[style.masonry]
    if step:
        joint = np.zeros((h, w), bool)
        joint[::step] = True
        for row, top in enumerate(range(0, h, step)):
            joint[top : top + step, (row % 2) * length // 2 :: length] = True
        texture.albedo[joint] *= 0.8
        if style.masonry == "rough":
            texture.relief += 0.8 * noise(rng, h, w, 0.1)
    return texture


def roofing(rng: Rng, style: Style, width: float, height: float) -> Texture:
    """A roof's covering with its rows of tiles, and dormers left to the caller."""
    w, h = max(int(width * PIXELS_PER_METRE), 4), max(int(height * PIXELS_PER_METRE), 4)
    texture = _blank(h, w)
    texture.albedo[:] = float32(style.roof) * (0.7 + 0.6 * noise(rng, h, w, 0.4))[:, :, None]
    texture.albedo[::4] *= 0.8
    return texture


def paint(
    texture: Texture, points: Array, colour: tuple[float, ...] | None, relief: float, glass: float = 0.0
) -> None:
    outline = [np.rint(np.asarray(points)).astype(np.int32)]
    if colour is not None:
        cv2.fillPoly(texture.albedo, outline, colour)
    cv2.fillPoly(texture.relief, outline, relief)
    cv2.fillPoly(texture.glass, outline, glass)


def rect(x0: float, y0: float, x1: float, y1: float) -> Array:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def opening(kind: str, cx: float, bottom: float, width: float, height: float) -> Array:
    """Outline (N, 2) of an opening in texture pixels, standing on `bottom`."""
    half, top = width / 2, bottom - height
    turn = np.linspace(np.pi, 0, 9)
    if kind == "round":
        spring = min(top + half, bottom)
        head = np.stack([cx + half * np.cos(turn), spring - half * np.sin(turn)], 1)
    elif kind == "pointed":
        spring = min(top + 1.6 * half, bottom)
        left = np.linspace(np.pi, 2 * np.pi / 3, 5)
        head = np.stack([cx + half + width * np.cos(left), spring - width * np.sin(left)], 1)
        head = np.concatenate([head, np.stack([2 * cx - head[::-1, 0], head[::-1, 1]], 1)])
    elif kind == "segment":
        head = np.stack([cx + half * np.cos(turn), top + 0.3 * half * (1 - np.sin(turn))], 1)
    elif kind == "oculus":
        radius, around = min(half, height / 2), np.linspace(0, 2 * np.pi, 17)
        return np.stack([cx + radius * np.cos(around), bottom - height / 2 + radius * np.sin(around)], 1)
    else:
        return rect(cx - half, top, cx + half, bottom)
    return np.concatenate([[[cx - half, bottom]], head, [[cx + half, bottom]]])


def line(
    texture: Texture, start: tuple[float, float], end: tuple[float, float], colour: tuple[float, ...]
) -> None:
    """A bar of a window or a hand of a clock: one pixel wide, set back, and no glass."""
    a, b = ([round(float(c)) for c in point] for point in (start, end))
    cv2.line(texture.albedo, a, b, colour, 1)
    cv2.line(texture.glass, a, b, 0.0, 1)
    cv2.line(texture.relief, a, b, -1.8, 1)


def cut_out(texture: Texture, points: Array) -> Texture:
    """The texture where it lies inside `points`, given as fractions of its width and height."""
    h, w = texture.relief.shape
    texture.alpha[:] = 0
    cv2.fillPoly(texture.alpha, [np.rint(np.asarray(points) * (w - 1, h - 1)).astype(np.int32)], 1.0)
    return texture
