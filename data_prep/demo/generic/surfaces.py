"""Surfaces seen aslant: walls, cloth, fur, water; each maker returns a sheet (n, n, 3) for a size n."""

from collections.abc import Callable

import cv2
import numpy as np

from data_prep.demo.generic.studio import draw_colour, finish
from data_prep.demo.photo import Array, Rng, float32, noise
from data_prep.demo.scenes import picture_size


def surface(rng: Rng, make: Callable[[Rng, int], Array]) -> Array:
    """A surface seen aslant: `make` returns (n, n, 3) for a size n."""
    width, height = (int(side * 1.5) for side in picture_size(rng))
    n = 320
    sheet = make(rng, n).astype(np.float32)
    y, x = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j].astype(np.float32)
    sheet *= (1 + rng.normal(0, 0.25) * x + rng.normal(0, 0.25) * y)[:, :, None].clip(0.3, 1.8)
    size = n * rng.uniform(0.4, 0.9) / 2
    angle, c = rng.uniform(-0.5, 0.5) if rng.random() < 0.7 else rng.uniform(0, 6.28), n / 2
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ [
        [np.cos(angle), -np.sin(angle)],
        [np.sin(angle), np.cos(angle)],
    ]
    corners = (square * size * rng.uniform(0.7, 1.25, (4, 2)) + c).astype(np.float32)
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    turned = cv2.warpPerspective(
        sheet, cv2.getPerspectiveTransform(corners, frame), (width, height), borderMode=cv2.BORDER_REFLECT
    )
    return finish(rng, turned)


def with_colours(colours: int, paint: Callable[..., Array]) -> Callable[[Rng, int], Array]:
    return lambda rng, n: paint(rng, n, *(draw_colour(rng) for _ in range(colours)))


def _rough(rng: Rng, n: int, zoom: float = 0.15) -> Array:
    rough: Array = 0.65 + 0.7 * noise(rng, n, n, zoom)[:, :, None]
    return rough


def bricks(rng: Rng, n: int, joint: Array) -> Array:
    sheet = np.ones((n, n, 3), np.float32) * joint
    h = int(rng.integers(12, 24))
    w, base = int(h * rng.uniform(1.8, 3)), float32([0.1, 0.16, 0.34]) * rng.uniform(0.6, 1.6)
    for row, y in enumerate(range(0, n, h)):
        for x in range(-(row % 2) * w // 2, n, w):
            sheet[y + 2 : y + h, max(x + 2, 0) : x + w] = base * np.float32(rng.uniform(0.7, 1.3))
    return sheet * _rough(rng, n)


def stones(rng: Rng, n: int, base: Array) -> Array:
    step = int(rng.integers(16, 32))
    points = np.mgrid[0:n:step, 0:n:step].reshape(2, -1).T + rng.uniform(
        0, step, ((n + step - 1) // step * ((n + step - 1) // step), 2)
    )
    seeds = np.ones((n, n), np.uint8)
    seeds[tuple(points.clip(0, n - 1).astype(int).T)] = 0
    near, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    tint = rng.uniform(0.6, 1.4, label.max() + 1).astype(np.float32)
    mortar = np.clip(1.3 - near / step * 1.4, 0.15, 1)
    sheet: Array = base * (tint[label] * mortar)[:, :, None] * _rough(rng, n)
    return sheet


def planks(rng: Rng, n: int, base: Array) -> Array:
    w = int(rng.integers(24, 60))
    grain = noise(rng, n, n, 0.3, 0.08)
    sheet: Array = float32([0.16, 0.3, 0.45]) * (0.3 + base.mean()) * 1.5 * (0.5 + grain)[:, :, None]
    for x in range(0, n, w):
        sheet[:, x : x + w] *= np.float32(rng.uniform(0.7, 1.3))
        sheet[:, x : x + 2] *= 0.25
    return sheet


def check(rng: Rng, n: int, a: Array, b: Array) -> Array:
    step = int(rng.integers(14, 44))
    stripe = (np.arange(n) // step % 2).astype(np.float32)
    mix = ((stripe[:, None] + stripe[None]) / 2)[:, :, None]
    weave = 0.85 + 0.15 * ((np.arange(n)[:, None] + np.arange(n)[None]) % 4 < 2)[:, :, None]
    return (a * mix + b * (1 - mix)) * weave * _rough(rng, n, 0.5)


def zebra(rng: Rng, n: int, a: Array) -> Array:
    wave = np.arange(n)[None] / rng.uniform(14, 30) + 3.0 * noise(rng, n, n, 1.5)
    return np.where(np.sin(wave * 3.14)[:, :, None] > 0, 0.05 + 0.1 * a, 0.5 + 0.3 * a) * _rough(rng, n)


def spots(rng: Rng, n: int, a: Array) -> Array:
    sheet = np.ones((n, n, 3), np.float32) * float32([0.18, 0.35, 0.5]) * (0.5 + a)
    step = int(rng.integers(18, 36))
    for y in range(0, n, step):
        for x in range(0, n, step):
            at = (int(x + rng.uniform(0, step)), int(y + rng.uniform(0, step)))
            cv2.ellipse(
                sheet,
                at,
                (int(step * 0.3), int(step * rng.uniform(0.15, 0.35))),
                rng.uniform(0, 180),
                0,
                360,
                (0.03, 0.05, 0.08),
                -1,
            )
    return sheet * _rough(rng, n)


def honeycomb(rng: Rng, n: int, a: Array) -> Array:
    sheet = np.ones((n, n, 3), np.float32) * float32([0.1, 0.35, 0.55]) * (0.4 + a)
    r = float(rng.integers(10, 20))
    turn = np.arange(6) * np.pi / 3
    for row in range(int(n / (1.5 * r)) + 2):
        for column in range(int(n / (1.73 * r)) + 2):
            c = np.array([(column + row % 2 / 2) * 1.73 * r, row * 1.5 * r])
            cell = c + 0.8 * r * np.stack([np.sin(turn), np.cos(turn)], 1)
            cv2.fillPoly(
                sheet,
                [cell.astype(np.int32)],
                tuple(float(v) for v in float32([0.03, 0.15, 0.3]) * rng.uniform(0.4, 1.6)),
            )
    return sheet * _rough(rng, n)


def foliage(rng: Rng, n: int, a: Array) -> Array:
    sheet = np.ones((n, n, 3), np.float32) * float32([0.02, 0.06, 0.04])
    for _ in range(170):
        shade = float32([0.06, 0.25, 0.14]) * np.exp(rng.normal(0, 0.3, 3)) * (0.6 + a.mean())
        at, long = rng.uniform(0, n, 2).astype(int), rng.uniform(10, 30)
        cv2.ellipse(
            sheet,
            (int(at[0]), int(at[1])),
            (int(long), int(long * 0.4)),
            rng.uniform(0, 180),
            0,
            360,
            tuple(float(v) for v in shade),
            -1,
        )
    return sheet * _rough(rng, n)


def ripples(rng: Rng, n: int, base: tuple[float, ...], contrast: float) -> Array:
    wave = noise(rng, n, n, 0.5, 4) * 6 + np.arange(n)[:, None] / rng.uniform(9, 18)
    return (
        float32(base)
        * (1 + contrast * np.sin(wave * 3))[:, :, None]
        * rng.uniform(0.7, 1.4)
        * _rough(rng, n, 0.2)
    )


def knit(rng: Rng, n: int, a: Array, b: Array) -> Array:
    step = int(rng.integers(10, 18))
    y, x = np.mgrid[0:n, 0:n]
    slant = np.abs((x % step) - step / 2) + y
    loop = 0.5 + 0.5 * np.sin(slant * 2 * np.pi / step)
    bands = (y // (step * 4) % 2 == 0)[:, :, None]
    sheet: Array = np.where(bands, a, b) * (0.35 + 0.9 * loop)[:, :, None] * _rough(rng, n)
    return sheet
