"""Flat things before a blurred background, each drawn on a (200, 200, 4) sheet of colour and alpha."""

from collections.abc import Callable

import cv2
import numpy as np

from data_prep.demo.generic.studio import draw_ink, finish, lay_over, plain_canvas
from data_prep.demo.photo import Array, Rng, noise


def flat_shape(rng: Rng, draw: Callable[[Rng, Array], None]) -> Array:
    """A thing drawn on a (200, 200, 4) sheet, turned and laid over a blurred background."""
    height, width, picture = plain_canvas(rng)
    sheet = np.zeros((200, 200, 4), np.float32)
    draw(rng, sheet)
    sheet[:, :, :3] *= (0.75 + 0.5 * noise(rng, 200, 200, 0.4))[:, :, None]
    scale = height * rng.uniform(0.5, 0.95) / 200
    matrix: Array = cv2.getRotationMatrix2D((100, 100), rng.normal(0, 18), scale)
    matrix[0] *= rng.uniform(0.75, 1.1)
    matrix[:, 2] += np.array([width, height]) * rng.uniform(0.4, 0.6, 2) - 100
    lay_over(picture, cv2.warpAffine(sheet, matrix, (width, height)))
    return finish(rng, picture)


def flower(rng: Rng, sheet: Array) -> None:
    cv2.line(sheet, (100, 100), (100 + int(rng.normal(0, 12)), 199), (0.05, 0.22, 0.1, 1.0), 5)
    petals, ink = int(rng.integers(5, 12)), draw_ink(rng)
    for i in range(petals):
        angle = 360 * i / petals
        at = (int(100 + 38 * np.cos(np.radians(angle))), int(85 + 38 * np.sin(np.radians(angle))))
        shade = tuple(c * rng.uniform(0.8, 1.2) for c in ink[:3])
        cv2.ellipse(sheet, at, (34, int(170 / petals)), angle, 0, 360, (*shade, 1.0), -1)
    cv2.circle(sheet, (100, 85), int(rng.integers(10, 20)), (0.05, 0.35, 0.55, 1.0), -1)


def butterfly(rng: Rng, sheet: Array) -> None:
    ink, edge = draw_ink(rng), (0.03, 0.03, 0.04, 1.0)
    up, low = rng.uniform(32, 50), rng.uniform(24, 38)
    for side in (-1, 1):
        for centre, size, angle in (
            ((100 + side * 42, 75), up, side * 35),
            ((100 + side * 34, 130), low, -side * 40),
        ):
            cv2.ellipse(sheet, centre, (int(size * 0.7), int(size)), angle, 0, 360, edge, -1)
            cv2.ellipse(sheet, centre, (int(size * 0.55), int(size * 0.82)), angle, 0, 360, ink, -1)
            cv2.circle(sheet, (centre[0] + side * 8, centre[1]), int(size * 0.2), edge, -1)
    cv2.ellipse(sheet, (100, 105), (6, 48), 0, 0, 360, edge, -1)


def clock_face(rng: Rng, sheet: Array) -> None:
    cv2.circle(sheet, (100, 100), 92, draw_ink(rng), -1)
    cv2.circle(sheet, (100, 100), 80, (0.7, 0.72, 0.74, 1.0), -1)
    for angle in np.arange(12) * np.pi / 6:
        ends = [(int(100 + r * np.cos(angle)), int(100 + r * np.sin(angle))) for r in (64, 76)]
        cv2.line(sheet, ends[0], ends[1], (0.03, 0.03, 0.03, 1.0), 4)
    for long, thick in ((40, 6), (62, 4)):
        angle = rng.uniform(0, 6.28)
        cv2.line(
            sheet,
            (100, 100),
            (int(100 + long * np.cos(angle)), int(100 + long * np.sin(angle))),
            (0.03, 0.03, 0.03, 1.0),
            thick,
        )


def umbrella(rng: Rng, sheet: Array) -> None:
    cv2.line(sheet, (100, 40), (100, 190), (0.06, 0.08, 0.1, 1.0), 4)
    ink = draw_ink(rng)
    for i, half in enumerate((92, 62, 30)):
        shade = tuple(c * (0.8 + 0.25 * (i % 2)) for c in ink[:3])
        cv2.ellipse(sheet, (100, 105), (half, 82), 0, 180, 360, (*shade, 1.0), -1)


def fish(rng: Rng, sheet: Array) -> None:
    ink = draw_ink(rng)
    high = int(rng.integers(24, 50))
    cv2.fillPoly(
        sheet,
        [np.array([[150, 100], [196, 100 - high], [185, 100], [196, 100 + high]])],
        (*(0.7 * c for c in ink[:3]), 1.0),
    )
    cv2.ellipse(sheet, (90, 100), (78, high), 0, 0, 360, ink, -1)
    for x in range(50, 150, 16):
        cv2.ellipse(sheet, (x, 100), (7, int(high * 0.7)), 0, -80, 80, (*(0.6 * c for c in ink[:3]), 1.0), 2)
    cv2.circle(sheet, (34, 92), 6, (0.8, 0.8, 0.8, 1.0), -1)
    cv2.circle(sheet, (34, 92), 3, (0.02, 0.02, 0.02, 1.0), -1)


def ladder(rng: Rng, sheet: Array) -> None:
    ink, half = draw_ink(rng), int(rng.integers(24, 42))
    for side in (-1, 1):
        cv2.line(sheet, (100 + side * half, 4), (100 + side * half, 196), ink, 8)
    for y in range(16, 196, int(rng.integers(20, 32))):
        cv2.line(sheet, (100 - half, y), (100 + half, y), ink, 6)


def chair(rng: Rng, sheet: Array) -> None:
    ink, seat, w = draw_ink(rng), int(rng.integers(100, 125)), int(rng.integers(34, 52))
    for x in (100 - w, 100 + w - 18, 100 - w + 18, 100 + w):
        cv2.line(sheet, (x, seat), (x, 190 if x in (100 - w, 100 + w) else 170), ink, 7)
    cv2.fillPoly(
        sheet,
        [np.array([[88 - w, seat + 8], [100 + w, seat + 8], [112 + w, seat - 10], [100 - w, seat - 10]])],
        ink,
    )
    for x in range(100 - w, 101 + w, max(2 * w // int(rng.integers(2, 6)), 1)):
        cv2.line(sheet, (x, seat), (x, 20), ink, 6)
    cv2.line(sheet, (100 - w, 24), (100 + w, 24), ink, 12)
