"""Cut-outs that stand about in a scene: trees, bushes, people, cars, lamps."""

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from data_prep.demo.photo import NEAREST_METRES, Array, Canvas, Rng, float32, noise

SPRITES = {"tree": 14, "conifer": 6, "person": 16, "car": 12, "lamp": 4, "bush": 8}
SPRITE_METRES = {
    "tree": (5, 13),
    "conifer": (6, 14),
    "person": (1.6, 1.9),
    "car": (1.45, 1.7),
    "lamp": (4, 7),
    "bush": (1, 2.2),
}


@lru_cache(maxsize=256)
def sprite(kind: str, number: int) -> Array:
    """A cut-out to stand in a scene: (h, w, 4) float32, linear BGR and alpha, standing on its last row."""
    rng = np.random.default_rng([number, *kind.encode()])
    return _SPRITE_PAINTERS[kind](rng)


def _leaves(rng: Rng, shape: Array, colour: Array) -> Array:
    """Turn a soft mask (h, w) into foliage: ragged, light above and dark below."""
    h, w = shape.shape
    ragged = shape + 0.9 * (noise(rng, h, w, 0.12) - 0.5) > 0.5
    light = 0.35 + 0.75 * noise(rng, h, w, 0.1) + 0.35 * noise(rng, h, w, 0.5)
    light *= np.linspace(1.15, 0.65, h, dtype=np.float32)[:, None]
    out = np.zeros((h, w, 4), np.float32)
    out[:, :, :3] = float32(colour) * light[:, :, None]
    out[:, :, 3] = ragged
    return out


def draw_green(rng: Rng) -> Array:
    """A plant's colour (3,), BGR."""
    green: Array = np.array([0.05, 0.17, 0.11]) * np.exp(rng.normal(0, 0.22, 3)) * rng.choice([1.0, 1.4])
    return green


def _tree(rng: Rng) -> Array:
    h, w = 160, 120
    shape = np.zeros((h, w), np.float32)
    for _ in range(int(rng.integers(5, 12))):
        centre = (int(w / 2 + rng.normal(0, 19)), int(h * 0.38 + rng.normal(0, 20)))
        cv2.circle(shape, centre, int(rng.integers(14, 30)), 1.0, -1)
    out = _leaves(rng, cv2.GaussianBlur(shape, (0, 0), 7), draw_green(rng))
    trunk, lean = rng.uniform(2, 5), rng.normal(0, 4)
    outline = np.array([[w / 2 - trunk, h], [w / 2 + lean, h * 0.4], [w / 2 + trunk, h]]).astype(np.int32)
    bare = out[:, :, 3] == 0
    stem = np.zeros((h, w), np.uint8)
    cv2.fillPoly(stem, [outline], 1)
    out[(stem > 0) & bare] = (0.07, 0.09, 0.11, 1)
    return out


def _conifer(rng: Rng) -> Array:
    h, w = 160, 80
    shape = np.zeros((h, w), np.float32)
    for y in np.linspace(8, h * 0.75, 7):
        half = 6 + (w / 2 - 10) * y / h * rng.uniform(0.9, 1.2)
        points = np.array([[w / 2, y - 8], [w / 2 + half, y + 34], [w / 2 - half, y + 34]])
        cv2.fillPoly(shape, [points.astype(np.int32)], 1.0)
    return _leaves(rng, cv2.GaussianBlur(shape, (0, 0), 2), draw_green(rng) * 0.7)


def _bush(rng: Rng) -> Array:
    h, w = 60, 100
    shape = np.zeros((h, w), np.float32)
    for _ in range(6):
        cv2.circle(shape, (int(w / 2 + rng.normal(0, 18)), h - 12), int(rng.integers(14, 30)), 1.0, -1)
    return _leaves(rng, cv2.GaussianBlur(shape, (0, 0), 4), draw_green(rng))


def _person(rng: Rng) -> Array:
    h, w = 90, 40
    out = np.zeros((h, w, 4), np.float32)
    coat, legs = (tuple(float(c) for c in np.exp(rng.normal(-2.0, 0.8, 3)).clip(0.02, 0.7)) for _ in range(2))
    skin = tuple(float(c) for c in np.array([0.25, 0.33, 0.48]) * rng.uniform(0.35, 1.1))
    stride, c = int(rng.integers(0, 7)), w // 2
    for side in (-1, 1):
        cv2.line(out, (c + side * 3, 48), (c + side * (3 + stride), h - 2), (*legs, 1.0), 6)
        cv2.line(out, (c + side * 7, 20), (c + side * int(rng.integers(8, 13)), 46), (*coat, 1.0), 5)
    cv2.ellipse(out, (c, 32), (9, 19), 0, 0, 360, (*coat, 1.0), -1)
    cv2.ellipse(out, (c, 8), (5, 7), 0, 0, 360, (*skin, 1.0), -1)
    cv2.ellipse(out, (c, 5), (5, 5), 0, 180, 360, (0.03, 0.04, 0.06, 1.0), -1)
    out[:, :, :3] *= np.linspace(1.1, 0.75, w, dtype=np.float32)[None, :, None]
    return out


def _car(rng: Rng) -> Array:
    h, w = 60, 170
    out = np.zeros((h, w, 4), np.float32)
    paint = tuple(
        float(c) for c in (rng.choice([0.06, 0.3, 0.6]) * np.exp(rng.normal(0, 0.6, 3))).clip(0.02, 0.8)
    )
    bonnet, back, roof = rng.uniform(40, 62), rng.uniform(8, 45), rng.uniform(2, 9)
    cabin = np.array([[bonnet, 26], [bonnet + 20, roof], [w - back - 16, roof], [w - back + 4, 26]]).astype(
        np.int32
    )
    body = np.array([[5, 30], [bonnet, 24], [w - back + 4, 24], [w - 6, 28], [w - 4, 48], [4, 48]]).astype(
        np.int32
    )
    cv2.fillPoly(out, [cabin], (*paint, 1.0))
    cv2.fillPoly(out, [body], (*paint, 1.0))
    inner = ((cabin - cabin.mean(0)) * (0.88, 0.8) + cabin.mean(0)).astype(np.int32)
    cv2.fillPoly(out, [inner], (0.12, 0.11, 0.1, 1.0))
    middle = int(cabin[:, 0].mean())
    cv2.line(out, (middle, int(roof)), (middle, 28), (*paint, 1.0), 4)
    out[30:48, :, :3] *= 0.75
    for x in (36, w - 36):
        cv2.circle(out, (x, 47), 12, (0.02, 0.02, 0.02, 1.0), -1)
        cv2.circle(out, (x, 47), 6, (0.3, 0.3, 0.3, 1.0), -1)
    return out if rng.random() < 0.5 else np.ascontiguousarray(out[:, ::-1])


def _lamp(rng: Rng) -> Array:
    h, w = 160, 40
    out = np.zeros((h, w, 4), np.float32)
    metal = (0.05, 0.05, 0.05, 1.0)
    cv2.line(out, (w // 2, 22), (w // 2, h), metal, 3)
    cv2.line(out, (w // 2, h - 20), (w // 2, h), metal, 6)
    if rng.random() < 0.5:
        cv2.fillPoly(out, [np.array([[12, 8], [28, 8], [24, 24], [16, 24]])], (0.5, 0.55, 0.55, 1.0))
        cv2.line(out, (11, 7), (29, 7), metal, 3)
    else:
        cv2.ellipse(out, (w // 2 + 8, 22), (9, 16), 0, 180, 330, metal, 2)
        cv2.ellipse(out, (w // 2 + 14, 14), (6, 3), 0, 0, 360, (0.5, 0.5, 0.5, 1.0), -1)
    return out


_SPRITE_PAINTERS: dict[str, Callable[[Rng], Array]] = {
    "tree": _tree,
    "conifer": _conifer,
    "person": _person,
    "car": _car,
    "lamp": _lamp,
    "bush": _bush,
}


def stand(rng: Rng, canvas: Canvas, kind: str, x: float, z: float, metres: float | None = None) -> None:
    """Put a cut-out of a kind upright at (x, z), `metres` high (default: as things of its kind are)."""
    image = sprite(kind, int(rng.integers(SPRITES[kind])))
    h, w = image.shape[:2]
    tall = metres or rng.uniform(*SPRITE_METRES[kind])
    ends, depth = canvas.camera.project(np.array([[x, 0, z], [x, tall, z]]))
    if depth.min() < 2 * NEAREST_METRES:
        return
    scale = (ends[0, 1] - ends[1, 1]) / h
    left, top = ends[0, 0] - scale * w / 2, ends[1, 1]
    box = canvas.clip(np.array([[left, top], [left + scale * w, ends[0, 1]]]))
    if box is None or scale < 0.01:
        return
    if rng.random() < 0.5:
        image = image[:, ::-1]
    x0, y0, x1, y1 = box
    matrix = np.array([[scale, 0, left - x0], [0, scale, top - y0]])
    flags = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
    drawn = (
        _shrunk(image, matrix, (x1 - x0, y1 - y0))
        if flags == cv2.INTER_AREA
        else cv2.warpAffine(image, matrix, (x1 - x0, y1 - y0))
    )
    light = canvas.light
    shade = light.sky_colour * 0.8 + light.sun_colour * (0.35 + 0.45 * max(float(light.sun[2]), 0.0))
    nearness = np.float32(1 / depth[0])
    canvas.put(box, drawn[:, :, :3] * shade, drawn[:, :, 3], np.full(drawn.shape[:2], nearness), 2)


def _shrunk(image: Array, matrix: Array, size: tuple[int, int]) -> Array:
    """warpAffine of a much reduced image without its aliasing."""
    factor = 1 / (2 * matrix[0, 0])
    small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    scaled = matrix.copy()
    scaled[0, 0], scaled[1, 1] = (
        matrix[0, 0] * image.shape[1] / small.shape[1],
        matrix[1, 1] * image.shape[0] / small.shape[0],
    )
    return cv2.warpAffine(small, scaled, size)
