"""The demo's photographs of buildings: where the photographer stood, and what stood in the way."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from data_prep.demo.buildings import Building, Placement, draw_building, draw_on
from data_prep.demo.photo import (
    GROUNDS,
    NEAREST_METRES,
    SUPERSAMPLING,
    Array,
    Camera,
    Canvas,
    Rng,
    develop,
    draw_light,
    ground,
    ground_shadow,
    noise,
    sky,
)

NEIGHBOURS = 12
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
    out[:, :, :3] = np.float32(colour) * light[:, :, None]
    out[:, :, 3] = ragged
    return out


def _green(rng: Rng) -> Array:
    return np.array([0.05, 0.17, 0.11]) * np.exp(rng.normal(0, 0.22, 3)) * rng.choice([1.0, 1.4])


def _tree(rng: Rng) -> Array:
    h, w = 160, 120
    shape = np.zeros((h, w), np.float32)
    for _ in range(int(rng.integers(5, 12))):
        centre = (int(w / 2 + rng.normal(0, 19)), int(h * 0.38 + rng.normal(0, 20)))
        cv2.circle(shape, centre, int(rng.integers(14, 30)), 1.0, -1)
    out = _leaves(rng, cv2.GaussianBlur(shape, (0, 0), 7), _green(rng))
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
    return _leaves(rng, cv2.GaussianBlur(shape, (0, 0), 2), _green(rng) * 0.7)


def _bush(rng: Rng) -> Array:
    h, w = 60, 100
    shape = np.zeros((h, w), np.float32)
    for _ in range(6):
        cv2.circle(shape, (int(w / 2 + rng.normal(0, 18)), h - 12), int(rng.integers(14, 30)), 1.0, -1)
    return _leaves(rng, cv2.GaussianBlur(shape, (0, 0), 4), _green(rng))


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
    matrix = np.float64([[scale, 0, left - x0], [0, scale, top - y0]])
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


@dataclass(frozen=True)
class Framing:
    """How to photograph: how much of the picture the building fills, how far off-centre, how much in the way.

    `span` 1.0 fills the picture, `aside` shifts by that share of the building's size at most, `turn` is the
    greatest angle off the front in radians, `clutter` scales the number of things standing about, `blocked`
    is how many trees or vehicles stand right before the building.
    """

    span: tuple[float, float] = (0.75, 1.1)
    aside: float = 0.12
    turn: float = 0.75
    clutter: float = 1.0
    blocked: tuple[int, int] = (0, 1)


@dataclass(frozen=True)
class Photo:
    """A picture (H, W, 3) uint8 BGR, the building's box x0, y0, x1, y1 in it, its visible share 0..1."""

    picture: Array
    box: tuple[float, float, float, float]
    visible: float


def picture_size(rng: Rng, upright: float = 0.12) -> tuple[int, int]:
    """Width and height of a picture as cameras have them, with a share of `upright` ones."""
    long = int(rng.integers(36, 41)) * 4
    short = int(long * rng.choice([0.75, 0.667])) // 2 * 2
    return (short, long) if rng.random() < upright else (long, short)


def photograph(rng: Rng, building: Building, framing: Framing) -> Photo:
    """Photograph a building once: place, lens, weather, neighbours and passers-by are drawn from rng."""
    canvas = Canvas(_camera(rng, building, framing), draw_light(rng))
    sky_colour = sky(rng, canvas)
    road = building_front(building) + rng.uniform(5, 12) if rng.random() < 0.5 else None
    ground(rng, canvas, str(rng.choice(list(GROUNDS), p=[0.3, 0.2, 0.3, 0.1, 0.1])), road)
    _horizon(rng, canvas)
    ground_shadow(canvas, building.prisms)
    draw_on(canvas, building, Placement(), sky_colour, 1)
    _neighbours(rng, canvas, building, sky_colour, framing)
    _stand_about(rng, canvas, building, framing, road)
    box, outline_area = _outline(canvas, building)
    visible = float((canvas.owner == 1).sum()) / max(outline_area, 1.0)
    scaled = tuple(float(c) / SUPERSAMPLING for c in box)
    return Photo(develop(rng, canvas), scaled, min(visible, 1.0))


def building_front(building: Building) -> float:
    """The z of the foremost wall."""
    return max(float(corners[:, 2].max()) for corners, _ in building.prisms)


def _camera(rng: Rng, building: Building, framing: Framing) -> Camera:
    upright = 0.85 if building.height > building.width else 0.06
    width, height = (side * SUPERSAMPLING for side in picture_size(rng, upright))
    focal = max(width, height) * rng.uniform(0.75, 1.4)
    azimuth = rng.uniform(-1, 1) * framing.turn
    span = rng.uniform(*framing.span)
    need = max(building.width / width, building.height * 1.08 / height) * focal / span
    distance = need + building_front(building)
    eye = rng.uniform(1.5, 2.5) if rng.random() < 0.75 else rng.uniform(2.5, 0.5 * building.height + 2.5)
    aside, up = rng.uniform(-1, 1, 2) * framing.aside
    c, s = np.cos(azimuth), np.sin(azimuth)
    target = np.array(
        [c * aside * building.width, building.height * (0.46 + 0.6 * up), -s * aside * building.width]
    )
    position = np.array([s * distance + target[0], eye, c * distance + target[2]])
    return Camera(position, target, focal, (width, height), rng.normal(0, 0.025))


def _horizon(rng: Rng, canvas: Canvas) -> None:
    """A line of trees or hills well behind the building, most of the time."""
    if rng.random() < 0.25:
        return
    camera, light = canvas.camera, canvas.light
    width, height = camera.size
    distance = float(np.linalg.norm(camera.position)) + rng.uniform(45, 130)
    ahead = camera.rotation[2] * (1, 0, 1)
    foot, _ = camera.project((camera.position * (1, 0, 1) + ahead / np.linalg.norm(ahead) * distance)[None])
    base = float(foot[0, 1])
    tall = camera.intrinsics[0, 0] * rng.uniform(5, 16) / distance
    ridge = base - tall * (0.35 + noise(rng, 1, width, rng.uniform(0.15, 2))[0])
    top, bottom = int(np.clip(ridge.min(), 0, height)), int(np.clip(base + 2, 0, height))
    if bottom <= top:
        return
    inside = np.float32(np.arange(top, bottom)[:, None] > ridge)
    colour = _green(rng).astype(np.float32) * (0.5 + noise(rng, bottom - top, width, 0.15))[:, :, None]
    colour = (colour + 0.03) * (light.sky_colour + 0.4 * light.sun_colour)
    canvas.put((0, top, width, bottom), colour, inside, np.full(inside.shape, np.float32(1 / distance)), 2)


@lru_cache(maxsize=NEIGHBOURS)
def _neighbour(number: int) -> Building:
    rng = np.random.default_rng([number, 77])
    return draw_building(rng, str(rng.choice(["terrace", "flats", "hall"])))


def _neighbours(rng: Rng, canvas: Canvas, building: Building, sky_colour: Array, framing: Framing) -> None:
    for side in (-1, 1):
        if rng.random() < 0.3 * framing.clutter:
            other = _neighbour(int(rng.integers(NEIGHBOURS)))
            gap = building.width / 2 + other.width / 2 + rng.uniform(0.5, 6)
            where = Placement(side * gap, rng.uniform(-8, 0), -side * rng.uniform(0, 0.5))
            draw_on(canvas, other, where, sky_colour, 2)


def _stand_about(rng: Rng, canvas: Canvas, building: Building, framing: Framing, road: float | None) -> None:
    """Trees, cars, people and lamps between the photographer and the building, and beside it."""
    eye, front = canvas.camera.position, building_front(building)
    middle = np.array([0, 0, front])
    reach = float(np.linalg.norm((eye - middle)[[0, 2]]))
    sideways = np.array([(eye - middle)[2], 0, -(eye - middle)[0]]) / reach

    def put(kind: str, share: float, offset: float, metres: float | None = None) -> None:
        spot = middle + (eye - middle) * share + sideways * offset * (1 - 0.8 * share)
        stand(rng, canvas, kind, float(spot[0]), float(spot[2]), metres)

    half = building.width / 2
    for _ in range(rng.poisson(1.3 * framing.clutter)):
        side = rng.choice([-1, 1]) * half * rng.uniform(0.9, 1.7)
        put(str(rng.choice(["tree", "tree", "conifer"])), rng.uniform(-0.2, 0.3), side)
    for _ in range(rng.poisson(0.9 * framing.clutter)):
        put("bush", rng.uniform(0.0, 0.15), rng.uniform(-1, 1) * half)
    for _ in range(rng.poisson(1.6 * framing.clutter)):
        put("person", rng.uniform(0.02, 0.75), rng.uniform(-1, 1) * half)
    for _ in range(rng.poisson(0.4 * framing.clutter)):
        put("lamp", rng.uniform(0.05, 0.5), rng.uniform(-1, 1) * half)
    if road is not None:
        for _ in range(rng.poisson(1.2 * framing.clutter)):
            stand(rng, canvas, "car", rng.uniform(-1.2, 1.2) * half, road + rng.choice([-1.6, 1.6]))
    for _ in range(int(rng.integers(framing.blocked[0], framing.blocked[1] + 1))):
        kind = str(rng.choice(["tree", "tree", "conifer", "car", "person"]))
        share = {"car": rng.uniform(0.35, 0.7), "person": rng.uniform(0.7, 0.88)}.get(
            kind, rng.uniform(0.1, 0.6)
        )
        put(kind, share, rng.uniform(-0.6, 0.6) * half)


def _outline(canvas: Canvas, building: Building) -> tuple[tuple[float, float, float, float], float]:
    """The building's box within the picture, and the area of its whole outline, in canvas pixels.

    The outline is what would be seen with nothing in the way and the picture large enough: that is what the
    visible share is a share of.
    """
    width, height = canvas.camera.size
    pixels, depth = canvas.camera.project(building.outline_points())
    pixels = pixels[depth > NEAREST_METRES]
    low, high = np.clip(pixels.min(0), 0, (width, height)), np.clip(pixels.max(0), 0, (width, height))
    scale, margin = 0.25, 2
    mask = np.zeros((int(height * scale) * (2 * margin + 1), int(width * scale) * (2 * margin + 1)), np.uint8)
    offset = np.array([width, height]) * margin
    for face in building.faces:
        corners = np.array(
            [face.origin, face.origin + face.u, face.origin + face.u + face.v, face.origin + face.v]
        )
        if face.texture.alpha.min() < 1:
            h, w = face.texture.alpha.shape
            inner = cv2.findContours(
                face.texture.alpha.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
            )[0]
            shares = [c[:, 0, :] / (max(w - 1, 1), max(h - 1, 1)) for c in inner]
            pieces = [face.origin + s[:, :1] * face.u + s[:, 1:] * face.v for s in shares]
        else:
            pieces = [corners]
        _fill(canvas, mask, pieces, offset, scale)
    _fill(canvas, mask, [facet.points for facet in building.facets], offset, scale)
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1])), float(mask.sum()) / scale**2


def _fill(canvas: Canvas, mask: Array, pieces: list[Array], offset: Array, scale: float) -> None:
    for piece in pieces:
        pixels, depth = canvas.camera.project(piece)
        if len(pixels) > 2 and depth.min() > NEAREST_METRES:
            cv2.fillPoly(mask, [np.rint((pixels + offset) * scale).clip(-9999, 9999).astype(np.int32)], 1)
