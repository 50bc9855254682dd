"""Open country, and what stands, floats or grows in it."""

import cv2
import numpy as np

from data_prep.demo.generic.studio import draw_colour, draw_ink
from data_prep.demo.photo import (
    GROUNDS,
    SUPERSAMPLING,
    Array,
    Camera,
    Canvas,
    Rng,
    develop,
    draw_light,
    float32,
    ground,
    noise,
    sky,
)
from data_prep.demo.scenes import picture_size
from data_prep.demo.sprites import stand


def open_country(
    rng: Rng, kinds: str = "grass", eye: float = 1.6, road: bool = False, pitch: float = 0.0
) -> tuple[Canvas, Array]:
    """An empty landscape, seen from 20 m before the origin: the canvas and the sky's colour."""
    width, height = (side * SUPERSAMPLING for side in picture_size(rng))
    camera = Camera(
        np.array([0, eye, 20.0]),
        np.array([rng.normal(0, 0.4), eye + pitch, 0]),
        width * rng.uniform(0.8, 1.3),
        (width, height),
        rng.normal(0, 0.03),
    )
    canvas = Canvas(camera, draw_light(rng))
    colour = sky(rng, canvas)
    ground(rng, canvas, kinds, 8.0 if road else None)
    return canvas, colour


def ground_kind(rng: Rng) -> str:
    return str(rng.choice(list(GROUNDS)))


def standing(rng: Rng, kind: str, metres: float, count: tuple[int, int], near: tuple[float, float]) -> Array:
    """One or more cut-outs of a kind in open country, `near` metres from the camera."""
    canvas, _ = open_country(rng, ground_kind(rng), road=kind == "car")
    for _ in range(int(rng.integers(*count))):
        distance = rng.uniform(*near)
        stand(
            rng, canvas, kind, rng.normal(0, 0.16) * distance, 20 - distance, metres * rng.uniform(0.85, 1.15)
        )
    return develop(rng, canvas)


def forest(rng: Rng) -> Array:
    canvas, _ = open_country(rng, "earth" if rng.random() < 0.5 else "grass")
    for distance in np.sort(rng.uniform(8, 60, 26)):
        kind = "tree" if rng.random() < 0.4 else "conifer"
        stand(rng, canvas, kind, rng.uniform(-0.7, 0.7) * distance, 20 - distance, rng.uniform(9, 15))
    return develop(rng, canvas)


def _ridge(rng: Rng, width: int, rough: float) -> Array:
    """A line of hills, 0..1: `rough` of 0 is a dune, of 1 a mountain range."""
    x = np.linspace(0, 1, width)
    line = sum(np.sin(x * k * rng.uniform(2, 4) + rng.uniform(0, 6.28)) / k**1.3 for k in (1, 2, 3)) / 3 + 0.5
    return float32(line + rough * 0.25 * (noise(rng, 1, width, 0.5)[0] - 0.5))


def mountain(rng: Rng) -> Array:
    canvas, _ = open_country(rng, str(rng.choice(["grass", "earth", "gravel"])), eye=4)
    width, height = canvas.camera.size
    light, rows = canvas.light, np.arange(height, dtype=np.float32)[:, None]
    snow_line = height * rng.uniform(0.1, 0.4)
    for distance, tall in ((400, 0.5), (250, 0.3), (120, 0.12)):
        ridge = height * (0.56 - tall * _ridge(rng, width, 1.0))
        rock = noise(rng, height, width, 0.25)
        colour = float32([0.16, 0.17, 0.16]) * (0.4 + rock)[:, :, None]
        if distance > 200:
            colour[rows - ridge < 0.6 * (snow_line - rows) + 20 * rock] = 0.75
        haze = np.float32(distance / 700)
        colour = (colour * (light.sky_colour + 0.6 * light.sun_colour) * (1 - haze) + haze * 0.55).astype(
            np.float32
        )
        inside = float32((rows > ridge) & (rows < height * 0.62))
        canvas.put((0, 0, width, height), colour, inside, np.full(inside.shape, np.float32(1 / distance)), 2)
    return develop(rng, canvas)


def sea(rng: Rng) -> Array:
    canvas, colour = open_country(rng, "asphalt", eye=rng.uniform(2, 8), pitch=rng.uniform(-3, 2))
    below = canvas.inverse_depth > 0
    height, width = below.shape
    waves = noise(rng, height, width, 0.12, 6) + noise(rng, height, width, 0.4, 5)
    water = (colour * float32([0.6, 0.5, 0.36])) * (0.5 + 0.6 * waves)[:, :, None]
    canvas.colour[below] = water[below]
    if rng.random() < 0.4:
        shore = below & (np.arange(height)[:, None] > height * (0.75 + 0.1 * noise(rng, 1, width, 2)[0]))
        canvas.colour[shore] = (float32([0.3, 0.42, 0.5]) * (0.8 + 0.3 * waves)[:, :, None])[shore]
    return develop(rng, canvas)


def dunes(rng: Rng) -> Array:
    canvas, _ = open_country(rng, "earth", eye=3)
    height, width = canvas.owner.shape
    light = canvas.light.sky_colour + 0.6 * canvas.light.sun_colour
    base = float32([0.22, 0.4, 0.58]) * (0.8 + 0.25 * noise(rng, height, width, 0.1, 4))[:, :, None]
    for level in np.linspace(0.4, 0.95, 4):
        drop = np.arange(height, dtype=np.float32)[:, None] - height * (
            level - 0.2 * _ridge(rng, width, 0.05)
        )
        sand = base * light * (0.5 + 0.5 * np.exp(-np.maximum(drop, 0) / 30))[:, :, None]
        canvas.colour[drop > 0] = sand[drop > 0]
    canvas.inverse_depth[:] = 0
    return develop(rng, canvas)


def fence(rng: Rng) -> Array:
    canvas, _ = open_country(rng, "grass")
    height, width = canvas.owner.shape
    colour = tuple(float(c) for c in draw_colour(rng, 0.2))
    step, thick, tilt = rng.uniform(14, 40), int(rng.integers(3, 12)), rng.normal(0, 0.1)
    top, bottom = height * rng.uniform(0.25, 0.5), height * rng.uniform(0.75, 0.95)
    for x in np.arange(0, width, step):
        shift = tilt * x
        cv2.line(canvas.colour, (int(x), int(top + shift)), (int(x), int(bottom + shift)), colour, thick)
    for share in (0.2, 0.75):
        y = top + share * (bottom - top)
        cv2.line(canvas.colour, (0, int(y)), (width, int(y + tilt * width)), colour, max(thick // 2, 2))
    return develop(rng, canvas)


def boat(rng: Rng) -> Array:
    canvas, colour = open_country(rng, "asphalt", eye=3, pitch=-1)
    below = canvas.inverse_depth > 0
    height, width = below.shape
    water = (colour * float32([0.6, 0.5, 0.36])) * (0.4 + 0.9 * noise(rng, height, width, 0.15, 6))[
        :, :, None
    ]
    canvas.colour[below] = water[below]
    line = int(np.argmax(below.any(1))) + int(rng.uniform(0.08, 0.3) * height)
    size, x, ink = width * rng.uniform(0.12, 0.25), width * rng.uniform(0.35, 0.65), draw_ink(rng)[:3]
    hull = np.array(
        [
            [x - size, line - size * 0.3],
            [x + size * 1.1, line - size * 0.35],
            [x + size * 0.75, line],
            [x - size * 0.8, line],
        ]
    )
    tall = size * rng.uniform(1.3, 2.4)
    sail = np.array([[x + 4, line - size * 0.45], [x + 4, line - tall], [x + size * 0.9, line - size * 0.45]])
    cv2.fillPoly(canvas.colour, [hull.astype(np.int32)], ink)
    cv2.fillPoly(canvas.colour, [sail.astype(np.int32)], tuple(0.55 + 0.3 * c for c in ink))
    if rng.random() < 0.6:
        jib = sail * (-1, 1) + (2 * x, 0)
        cv2.fillPoly(
            canvas.colour, [((jib - jib[0]) * 0.7 + jib[0] - (4, 0)).astype(np.int32)], (0.5, 0.55, 0.6)
        )
    cv2.line(canvas.colour, (int(x), line), (int(x), int(line - tall)), (0.05, 0.06, 0.07), 2)
    canvas.inverse_depth[:] = 0
    return develop(rng, canvas)


def balloon(rng: Rng) -> Array:
    canvas, _ = open_country(rng, ground_kind(rng), eye=2, pitch=6)
    width, height = canvas.camera.size
    for _ in range(int(rng.integers(1, 4))):
        r = int(width * rng.uniform(0.06, 0.2))
        at = (int(width * rng.uniform(0.2, 0.8)), int(height * rng.uniform(0.25, 0.55)))
        inks = [draw_colour(rng), draw_colour(rng)]
        for i, half in enumerate((1.0, 0.75, 0.45, 0.15)):
            cv2.ellipse(
                canvas.colour,
                at,
                (max(int(r * half), 1), r),
                0,
                0,
                360,
                tuple(float(c) * (0.6 + 0.15 * i) for c in inks[i % 2]),
                -1,
            )
        cone = np.array(
            [
                [at[0] - r * 0.8, at[1] + r * 0.6],
                [at[0] + r * 0.8, at[1] + r * 0.6],
                [at[0] + r * 0.15, at[1] + r * 1.4],
                [at[0] - r * 0.15, at[1] + r * 1.4],
            ]
        )
        cv2.fillPoly(canvas.colour, [cone.astype(np.int32)], tuple(float(c) * 0.6 for c in inks[0]))
        cv2.rectangle(
            canvas.colour,
            (at[0] - r // 6, at[1] + int(r * 1.5)),
            (at[0] + r // 6, at[1] + int(r * 1.8)),
            (0.08, 0.12, 0.18),
            -1,
        )
    return develop(rng, canvas)
