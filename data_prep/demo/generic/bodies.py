"""Bodies turned on a lathe, on a table: bottles, bowls, balls."""

from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.demo.generic.studio import draw_colour, finish, lay_over, plain_canvas
from data_prep.demo.photo import Array, Rng, noise


@dataclass(frozen=True)
class Body:
    """A body turned on a lathe: knots (height from the top, radius), both 0..1, and width over height."""

    aspect: float
    profile: tuple[tuple[float, float], ...]
    pattern: str = "none"


BODIES = {
    "bottle": Body(0.34, ((0, 0.3), (0.3, 0.32), (0.45, 0.95), (0.95, 1), (1, 0.9))),
    "vase": Body(0.62, ((0, 0.6), (0.15, 0.42), (0.5, 1), (0.85, 0.6), (1, 0.55)), "rings"),
    "goblet": Body(0.5, ((0, 0.9), (0.45, 0.8), (0.55, 0.12), (0.9, 0.12), (1, 0.8))),
    "bowl": Body(1.7, ((0, 1), (0.5, 0.88), (0.85, 0.5), (1, 0.45))),
    "mushroom": Body(0.95, ((0, 0.0), (0.12, 0.7), (0.4, 1), (0.45, 0.28), (1, 0.36)), "spots"),
    "pear": Body(0.72, ((0, 0.1), (0.2, 0.4), (0.65, 1), (0.9, 0.8), (1, 0.3))),
    "lamp": Body(0.6, ((0, 0.45), (0.4, 1), (0.41, 0.1), (0.9, 0.1), (1, 0.5))),
    "pawn": Body(
        0.5, ((0, 0.1), (0.1, 0.45), (0.28, 0.4), (0.32, 0.6), (0.36, 0.28), (0.8, 0.5), (0.85, 0.95), (1, 1))
    ),
    "ball": Body(
        1.0,
        tuple((float(t), float(np.sqrt(1 - (2 * t - 1) ** 2))) for t in np.linspace(0, 1, 21)),
        "spots",
    ),
    "barrel": Body(0.72, ((0, 0.75), (0.5, 1), (1, 0.75)), "rings"),
}


def turned_body(rng: Rng, body: Body, hue: str = "") -> Array:
    """A picture of one body, or two, of one of HUES or any, standing on a table."""
    height, width, picture = plain_canvas(rng)
    for _ in range(int(rng.integers(1, 3)) if rng.random() < 0.35 else 1):
        tall = height * rng.uniform(0.45, 0.85)
        half = tall * body.aspect * rng.uniform(0.85, 1.15) / 2
        rows, columns = int(tall), int(2 * half) + 1
        radius = _radii(body, rows, half)
        layer = _lit(rng, body, radius, columns, hue)
        foot = (width * rng.uniform(0.3, 0.7), height * rng.uniform(0.8, 0.97))
        matrix: Array = cv2.getRotationMatrix2D((columns / 2, rows), rng.normal(0, 4), 1.0)
        matrix[:, 2] += (foot[0] - columns / 2, foot[1] - rows)
        _cast(picture, (foot[0], foot[1]), float(radius[-1]) + half * 0.4)
        lay_over(picture, cv2.warpAffine(layer, matrix, (width, height)))
    return finish(rng, picture)


def _radii(body: Body, rows: int, half: float) -> Array:
    """The body's radius in each row, in pixels, its knots rounded off."""
    knots = np.array(body.profile)
    radius: Array = np.interp(np.linspace(0, 1, rows), knots[:, 0], knots[:, 1]) * half
    if rows > 20:
        radius = cv2.GaussianBlur(radius[:, None], (1, 0), 0, sigmaY=rows / 60)[:, 0]
    return radius


def _lit(rng: Rng, body: Body, radius: Array, columns: int, hue: str) -> Array:
    """The body in some light: (rows, columns, 4), colour and alpha."""
    rows = len(radius)
    across = (np.arange(columns) - columns / 2)[None, :] / np.maximum(radius, 0.5)[:, None]
    inside = np.abs(across) < 1
    x = np.clip(across, -0.999, 0.999).astype(np.float32)
    slope = np.gradient(radius).astype(np.float32)[:, None] * np.ones_like(x)
    normal = np.stack([x, -slope, np.sqrt(1 - x * x)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    diffuse, gloss = _shade(rng, normal)
    albedo = draw_colour(rng, hue=hue) * (0.8 + 0.4 * noise(rng, rows, columns, 0.3))[:, :, None]
    if body.pattern == "rings":
        colour = draw_colour(rng)
        albedo[(np.linspace(0, 1, rows) * rng.uniform(8, 16)).astype(int) % 2 == 0] = colour
    if body.pattern == "spots":
        albedo[noise(rng, rows, columns, 0.25) > 0.72] = 0.8
    lit = albedo * diffuse[:, :, None] + gloss[:, :, None] * np.float32(rng.choice([0.0, 0.3, 0.8]))
    return np.dstack([lit, inside.astype(np.float32)])


def _shade(rng: Rng, normal: Array) -> tuple[Array, Array]:
    """Diffuse and glossy light on normals (..., 3), x right, y down, z to the viewer."""
    sun = np.array([rng.uniform(-0.9, 0.9), -rng.uniform(0.2, 1.0), rng.uniform(0.3, 1.0)], np.float32)
    sun /= np.linalg.norm(sun)
    diffuse = np.clip(normal @ sun, 0, None)
    mirror = np.clip(2 * diffuse * normal[..., 2] - sun[2], 0, None)
    return 0.35 + 0.9 * diffuse, mirror ** np.float32(rng.uniform(12, 50))


def _cast(picture: Array, foot: tuple[float, float], size: float) -> None:
    shadow = np.zeros(picture.shape[:2], np.float32)
    cv2.ellipse(
        shadow,
        (int(foot[0] + size * 0.5), int(foot[1])),
        (int(size * 1.3) + 1, int(size * 0.35) + 1),
        0,
        0,
        360,
        0.6,
        -1,
    )
    picture *= 1 - cv2.blur(shadow, (9, 9))[:, :, None]
