"""The demo's photographs of buildings: where the photographer stood, and what stood in the way."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from data_prep.demo.buildings.archetypes import draw_building
from data_prep.demo.buildings.plan import Building
from data_prep.demo.buildings.renderer import Placement, draw_on
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
    float32,
    ground,
    ground_shadow,
    noise,
    sky,
)
from data_prep.demo.sprites import draw_green, stand

NEIGHBOURS = 12


@dataclass(frozen=True)
class Framing:
    """How to photograph: how much of the picture the building fills, how far off-centre, how much in the way.

    `span` 1.0 fills the picture, `aside` shifts by that share of the building's size at most, `turn` is the
    greatest angle off the front in radians, `clutter` scales the number of things standing about, `blocked`
    is how many trees or vehicles stand right before the building. `across` moves the building's middle off
    the picture's by that share of the picture's sides at most; `town` scales the number of other buildings;
    `pixels` is the picture's size in that of the pictures to train on. `place` seeds the ground, the road
    and the town, which stay from one photograph to the next; () draws them anew.
    """

    span: tuple[float, float] = (0.75, 1.1)
    aside: float = 0.12
    turn: float = 0.75
    clutter: float = 1.0
    blocked: tuple[int, int] = (0, 1)
    across: float = 0.0
    town: float = 0.0
    pixels: float = 1.0
    place: tuple[int, ...] = ()


@dataclass(frozen=True)
class Photo:
    """A picture (H, W, 3) uint8 BGR, the building's box x0, y0, x1, y1 in it, its visible share 0..1."""

    picture: Array
    box: tuple[float, float, float, float]
    visible: float


def picture_size(rng: Rng, upright: float = 0.12, pixels: float = 1.0) -> tuple[int, int]:
    """Width and height of a picture as cameras have them, with a share of `upright` ones."""
    long = int(rng.integers(36, 41) * pixels) * 4
    short = int(long * rng.choice([0.75, 0.667])) // 2 * 2
    return (short, long) if rng.random() < upright else (long, short)


def photograph(rng: Rng, building: Building, framing: Framing) -> Photo:
    """Photograph a building once: place, lens, weather, neighbours and passers-by are drawn from rng."""
    canvas = Canvas(_camera(rng, building, framing), draw_light(rng))
    sky_colour = sky(rng, canvas)
    where = np.random.default_rng(framing.place) if framing.place else rng
    road = building_front(building) + where.uniform(5, 12) if where.random() < 0.5 else None
    ground(where, canvas, str(where.choice(list(GROUNDS), p=[0.3, 0.2, 0.3, 0.1, 0.1])), road)
    _horizon(rng, canvas)
    ground_shadow(canvas, building.prisms)
    draw_on(canvas, building, Placement(), sky_colour, 1)
    if framing.town:
        _town(where, canvas, building, sky_colour, framing)
    else:
        _neighbours(rng, canvas, building, sky_colour, framing)
    _stand_about(rng, canvas, building, framing, road)
    box, outline_area = _outline(canvas, building)
    visible = float((canvas.owner == 1).sum()) / max(outline_area, 1.0)
    x0, y0, x1, y1 = (float(c) / SUPERSAMPLING for c in box)
    return Photo(develop(rng, canvas), (x0, y0, x1, y1), min(visible, 1.0))


def building_front(building: Building) -> float:
    """The z of the foremost wall."""
    return max(float(corners[:, 2].max()) for corners, _ in building.prisms)


def _camera(rng: Rng, building: Building, framing: Framing) -> Camera:
    upright = 0.85 if building.height > building.width else 0.06
    width, height = (side * SUPERSAMPLING for side in picture_size(rng, upright, framing.pixels))
    focal = max(width, height) * rng.uniform(0.75, 1.4)
    azimuth = rng.uniform(-1, 1) * framing.turn
    span = rng.uniform(*framing.span)
    if framing.across:  # a landmark is far off as often as it is near
        span = float(np.exp(rng.uniform(*np.log(framing.span))))
    need = max(building.width / width, building.height * 1.08 / height) * focal / span
    distance = need + building_front(building)
    eye = rng.uniform(1.5, 2.5) if rng.random() < 0.75 else rng.uniform(2.5, 0.5 * building.height + 2.5)
    aside, up = rng.uniform(-1, 1, 2) * framing.aside
    c, s = np.cos(azimuth), np.sin(azimuth)
    target = np.array(
        [c * aside * building.width, building.height * (0.46 + 0.6 * up), -s * aside * building.width]
    )
    if framing.across:
        metres = need / focal
        x, y = rng.uniform(-1, 1, 2) * framing.across * (width * metres, 0.7 * height * metres)
        target += np.array([c * x, y, -s * x])
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
    inside = float32(np.arange(top, bottom)[:, None] > ridge)
    colour = draw_green(rng).astype(np.float32) * (0.5 + noise(rng, bottom - top, width, 0.15))[:, :, None]
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


def _town(rng: Rng, canvas: Canvas, building: Building, sky_colour: Array, framing: Framing) -> None:
    """Rows of other buildings beside the building, and some behind it, as far as the picture may reach."""
    for side in (-1, 1):
        edge, z = building.width / 2, rng.uniform(-6, 2)
        for _ in range(rng.poisson(1.6 * framing.town)):
            other = _neighbour(int(rng.integers(NEIGHBOURS)))
            edge += rng.uniform(0.5, 10)
            where = Placement(side * (edge + other.width / 2), z, -side * rng.uniform(0, 0.3))
            draw_on(canvas, other, where, sky_colour, 2)
            edge += other.width
    for _ in range(rng.poisson(1.5 * framing.town)):
        other = _neighbour(int(rng.integers(NEIGHBOURS)))
        x, z = rng.normal(0, 2.0) * building.width, -rng.uniform(25, 80)
        draw_on(canvas, other, Placement(x, z, rng.uniform(-0.5, 0.5)), sky_colour, 2)


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
