"""The demo's buildings: drawn up once from a seed, then photographed from anywhere in any light.

A building is a list of faces in metres. A textured face carries its paint (albedo), its relief (how far each
point stands out of the wall, in texture pixels: reveals, sills, cornices, columns) and its glass, so that sun
and sky shade it anew in each photograph. What tells two buildings apart is what is built: massing, storeys,
bays, windows, arches, columns, gables, towers, domes. Wall colours overlap from building to building.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import cv2
import numpy as np

from data_prep.demo.photo import NEAREST_METRES, Array, Canvas, Rng, noise

PIXELS_PER_METRE = 9
EDGE_ON = 1e-3  # metres off a face's plane below which nothing of it is seen
WALLS = {
    "brick": (0.13, 0.19, 0.36),
    "sandstone": (0.34, 0.47, 0.56),
    "limestone": (0.50, 0.57, 0.60),
    "plaster": (0.48, 0.56, 0.62),
    "granite": (0.36, 0.37, 0.38),
}
ROOFS = {
    "tile": (0.10, 0.15, 0.30),
    "slate": (0.17, 0.15, 0.14),
    "lead": (0.34, 0.34, 0.33),
    "copper": (0.36, 0.42, 0.30),
}


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


@dataclass(frozen=True)
class Face:
    """A flat piece in space: corners origin, +u, +u+v, +v; it is seen from the side that v x u points to."""

    origin: Array
    u: Array
    v: Array
    texture: Texture


@dataclass(frozen=True)
class Facet:
    """A plain polygon (k, 3) of one colour with its outward normal (domes, spires of many sides)."""

    points: Array
    normal: Array
    albedo: Array


@dataclass
class Building:
    """Faces and facets, and the prisms (corners on the ground, height) that throw its shadow."""

    faces: list[Face] = field(default_factory=list)
    facets: list[Facet] = field(default_factory=list)
    prisms: list[tuple[Array, float]] = field(default_factory=list)
    width: float = 10.0
    height: float = 10.0

    def outline_points(self) -> Array:
        """Every corner (N, 3), to find where the building lies in a picture."""
        corners = [[f.origin, f.origin + f.u, f.origin + f.u + f.v, f.origin + f.v] for f in self.faces]
        return np.concatenate([np.reshape(corners, (-1, 3)), *[f.points for f in self.facets]])


@dataclass(frozen=True)
class Style:
    """What the mason and the joiner agreed on for one building; lengths in metres."""

    wall: tuple[float, float, float]
    masonry: str
    trim: tuple[float, float, float]
    roof: tuple[float, float, float]
    storey: float
    bay: float
    window: str
    window_width: float
    window_height: float
    surround: str
    panes: tuple[int, int]
    course: bool
    verticals: str
    ground_floor: str
    cornice: float
    parapet: str
    quoins: bool
    bay_rhythm: int
    frame_dark: bool


def draw_style(rng: Rng) -> Style:
    """Draw every detail that runs through a whole building."""
    material = str(rng.choice(list(WALLS)))
    tint = np.exp(rng.normal(0, 0.10, 3)) * np.exp(rng.normal(0, 0.12))
    wall = np.clip(np.array(WALLS[material]) * tint, 0.05, 0.8)
    trim = np.clip(np.array([0.55, 0.6, 0.63]) * rng.uniform(0.75, 1.2), 0, 0.85)
    if rng.random() < 0.35:
        trim = wall * rng.uniform(1.05, 1.35)
    storey = rng.uniform(3.0, 5.4)
    bay = rng.uniform(2.1, 4.4)
    return Style(
        wall=tuple(wall),
        masonry="courses" if material == "brick" else str(rng.choice(["ashlar", "plain", "rough"])),
        trim=tuple(trim),
        roof=tuple(np.array(ROOFS[str(rng.choice(list(ROOFS)))]) * rng.uniform(0.75, 1.25)),
        storey=storey,
        bay=bay,
        window=str(
            rng.choice(
                ["rect", "round", "pointed", "segment", "twin", "oculus", "band"],
                p=[0.27, 0.2, 0.15, 0.12, 0.12, 0.06, 0.08],
            )
        ),
        window_width=bay * rng.uniform(0.34, 0.62),
        window_height=storey * rng.uniform(0.42, 0.72),
        surround=str(rng.choice(["none", "frame", "hood", "sill", "gablet"])),
        panes=(int(rng.integers(1, 4)), int(rng.integers(1, 5))),
        course=bool(rng.random() < 0.5),
        verticals=str(rng.choice(["none", "pilasters", "columns", "buttresses"], p=[0.5, 0.2, 0.15, 0.15])),
        ground_floor=str(rng.choice(["same", "arcade", "rustic", "shop"], p=[0.45, 0.25, 0.2, 0.1])),
        cornice=float(rng.choice([0.0, 0.4, 0.9])),
        parapet=str(
            rng.choice(
                ["none", "wall", "battlements", "balustrade", "pinnacles"], p=[0.35, 0.2, 0.15, 0.15, 0.15]
            )
        ),
        quoins=bool(rng.random() < 0.3),
        bay_rhythm=int(rng.choice([1, 1, 2, 3])),
        frame_dark=bool(rng.random() < 0.3),
    )


def _blank(height: int, width: int) -> Texture:
    zeros = np.zeros((height, width), np.float32)
    return Texture(np.zeros((height, width, 3), np.float32), zeros, zeros.copy(), np.ones_like(zeros))


def wall(rng: Rng, style: Style, width: float, height: float) -> Texture:
    """A bare wall of the style's masonry, width x height metres."""
    w, h = max(int(width * PIXELS_PER_METRE), 4), max(int(height * PIXELS_PER_METRE), 4)
    texture = _blank(h, w)
    stain = 0.75 + 0.3 * noise(rng, h, w, 0.6) + 0.2 * noise(rng, h, w, 0.12)
    texture.albedo[:] = np.float32(style.wall) * stain[:, :, None]
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
    texture.albedo[:] = np.float32(style.roof) * (0.7 + 0.6 * noise(rng, h, w, 0.4))[:, :, None]
    texture.albedo[::4] *= 0.8
    return texture


def _paint(
    texture: Texture, points: Array, colour: tuple[float, ...] | None, relief: float, glass: float = 0.0
) -> None:
    outline = [np.rint(np.asarray(points)).astype(np.int32)]
    if colour is not None:
        cv2.fillPoly(texture.albedo, outline, colour)
    cv2.fillPoly(texture.relief, outline, relief)
    cv2.fillPoly(texture.glass, outline, glass)


def _rect(x0: float, y0: float, x1: float, y1: float) -> Array:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _opening(kind: str, cx: float, bottom: float, width: float, height: float) -> Array:
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
        return _rect(cx - half, top, cx + half, bottom)
    return np.concatenate([[[cx - half, bottom]], head, [[cx + half, bottom]]])


def _window(
    rng: Rng, texture: Texture, style: Style, cx: float, bottom: float, width: float, height: float
) -> None:
    kind = style.window
    if kind == "twin":
        for side in (-0.27, 0.27):
            _window(
                rng, texture, replace(style, window="round"), cx + side * width, bottom, width * 0.46, height
            )
        return
    if kind == "band":
        kind = "rect"
    border = max(0.16 * width, 1.5)
    if style.surround in ("frame", "hood", "gablet"):
        _paint(
            texture,
            _opening(kind, cx, bottom + border * 0.6, width + 2 * border, height + 1.6 * border),
            style.trim,
            0.8,
        )
    if style.surround == "gablet":
        top = bottom - height - border
        _paint(
            texture,
            np.array([[cx - width * 0.75, top], [cx, top - width * 0.4], [cx + width * 0.75, top]]),
            style.trim,
            2.0,
        )
    if style.surround == "hood":
        top = bottom - height - border
        _paint(texture, _rect(cx - width * 0.75, top - 2, cx + width * 0.75, top), style.trim, 2.5)
    if style.surround in ("sill", "hood", "gablet"):
        _paint(texture, _rect(cx - width * 0.62, bottom, cx + width * 0.62, bottom + 1.5), style.trim, 1.5)
    pane = float(rng.uniform(0.2, 1.0))
    outline = _opening(kind, cx, bottom, width, height)
    _paint(texture, outline, (pane,) * 3, -2.5, 1.0)
    frame = (0.08, 0.08, 0.09) if style.frame_dark else (0.62, 0.63, 0.64)
    for i in range(1, style.panes[0]):
        x = cx - width / 2 + width * i / style.panes[0]
        _line(texture, (x, bottom - height * 0.97), (x, bottom - 1), frame)
    for i in range(1, style.panes[1]):
        y = bottom - height * i / style.panes[1]
        _line(texture, (cx - width * 0.45, y), (cx + width * 0.45, y), frame)


def _line(
    texture: Texture, start: tuple[float, float], end: tuple[float, float], colour: tuple[float, ...]
) -> None:
    ends = [tuple(round(float(c)) for c in p) for p in (start, end)]
    cv2.line(texture.albedo, *ends, colour, 1)
    cv2.line(texture.glass, *ends, 0.0, 1)
    cv2.line(texture.relief, *ends, -1.8, 1)


def facade(
    rng: Rng, style: Style, width: float, height: float, *, plain: bool = False, door: str = "none"
) -> Texture:
    """A storeyed wall with windows.

    `plain` leaves out what only a front has, `door` is none, round, gate or rect.
    """
    texture = wall(rng, style, width, height)
    h, w = texture.relief.shape
    floors = max(round(float(height / style.storey)), 1)
    bays = max(round(float(width / style.bay)), 1)
    if bays % 2 == 0 and door != "none":
        bays += 1
    storey, bay = h / floors, w / bays
    if not plain:
        _verticals(texture, style, bays, storey)
    for floor in range(floors):
        bottom = h - floor * storey
        if floor == 0 and not plain and style.ground_floor != "same":
            _ground_floor(rng, texture, style, bays, storey)
            continue
        _storey(rng, texture, style, bays, bottom, storey, top_floor=floor == floors - 1 and floors > 2)
        if style.course and floor:
            _paint(texture, _rect(0, bottom - 1, w, bottom + 1), style.trim, 1.5)
    if style.quoins:
        for i, y in enumerate(range(0, h, 6)):
            size = 6 if i % 2 else 9
            _paint(texture, _rect(0, y, size, y + 4), style.trim, 1)
            _paint(texture, _rect(w - size, y, w, y + 4), style.trim, 1)
    if style.cornice:
        _paint(
            texture, _rect(0, 0, w, style.cornice * PIXELS_PER_METRE * 0.7), style.trim, 2 + 3 * style.cornice
        )
    if door != "none":
        _door(texture, style, door, w / 2, h, min(bay, 3.4 * PIXELS_PER_METRE), storey)
    return texture


def _storey(
    rng: Rng, texture: Texture, style: Style, bays: int, bottom: float, storey: float, *, top_floor: bool
) -> None:
    w = texture.relief.shape[1]
    bay = w / bays
    height = style.window_height / style.storey * storey * (0.7 if top_floor else 1.0)
    width = style.window_width / style.bay * bay
    sill = bottom - (storey - height) * 0.45
    if style.window == "band":
        _window(rng, texture, replace(style, panes=(bays * 2, 1)), w / 2, sill, w * 0.9, height)
        return
    for i in range(bays):
        if style.bay_rhythm > 1 and i % style.bay_rhythm == style.bay_rhythm - 1 and bays > 3:
            continue
        _window(rng, texture, style, (i + 0.5) * bay, sill, width, height)


def _verticals(texture: Texture, style: Style, bays: int, storey: float) -> None:
    h, w = texture.relief.shape
    if style.verticals == "none":
        return
    half = {"pilasters": 2.2, "columns": 2.2, "buttresses": 3.2}[style.verticals]
    colour = style.trim if style.verticals != "buttresses" else tuple(0.95 * c for c in style.wall)
    base = h - storey if style.ground_floor in ("rustic", "arcade") else h
    for i in range(bays + 1):
        x = np.clip(i * w / bays, half, w - half)
        _paint(
            texture, _rect(x - half, 0, x + half, base), colour, 3 if style.verticals == "buttresses" else 1.5
        )
        if style.verticals == "columns":
            for offset in (-2, -1, 0, 1, 2):
                column = int(np.clip(x + offset, 0, w - 1))
                texture.relief[: int(base), column] = 3.5 - 0.5 * offset**2
        if style.verticals != "buttresses":
            _paint(texture, _rect(x - half - 1, 4, x + half + 1, 8), style.trim, 3)


def _ground_floor(rng: Rng, texture: Texture, style: Style, bays: int, storey: float) -> None:
    h, w = texture.relief.shape
    bay = w / bays
    if style.ground_floor == "arcade":
        for i in range(bays):
            outline = _opening(
                "pointed" if style.window == "pointed" else "round",
                (i + 0.5) * bay,
                h,
                bay * 0.72,
                storey * 0.86,
            )
            _paint(texture, outline, tuple(0.16 * c for c in style.wall), -4)
        return
    if style.ground_floor == "rustic":
        for y in range(int(h - storey), h, 5):
            _paint(texture, _rect(0, y, w, y + 1), tuple(0.6 * c for c in style.wall), -1)
        _paint(texture, _rect(0, h - storey - 1, w, h - storey + 2), style.trim, 2)
        _storey(
            rng, texture, replace(style, surround="none", window="segment"), bays, h, storey, top_floor=True
        )
        return
    for i in range(bays):
        _paint(
            texture, _rect((i + 0.12) * bay, h - storey * 0.72, (i + 0.88) * bay, h - 3), (0.5,) * 3, -2, 1.0
        )
        shade = tuple(float(c) for c in rng.uniform(0.05, 0.5, 3))
        _paint(
            texture, _rect((i + 0.06) * bay, h - storey * 0.9, (i + 0.94) * bay, h - storey * 0.74), shade, 2
        )


def _door(
    texture: Texture, style: Style, kind: str, cx: float, bottom: float, width: float, storey: float
) -> None:
    shape = "rect" if kind == "rect" else ("pointed" if style.window == "pointed" else "round")
    tall = min(storey * (0.95 if kind == "gate" else 0.72), bottom * 0.95)
    wide = width * (1.1 if kind == "gate" else 0.6)
    _paint(texture, _opening(shape, cx, bottom, wide * 1.35, tall * 1.1), style.trim, 2)
    _paint(texture, _opening(shape, cx, bottom, wide, tall), (0.05, 0.06, 0.09), -3)


def _clock(texture: Texture, cx: float, cy: float, radius: float, colour: tuple[float, ...]) -> None:
    circle = _opening("oculus", cx, cy + radius, 2 * radius, 2 * radius)
    _paint(texture, circle, colour, 1.0)
    _line(texture, (cx, cy), (cx, cy - 0.75 * radius), (0.03,) * 3)
    _line(texture, (cx, cy), (cx + 0.5 * radius, cy + 0.2 * radius), (0.03,) * 3)


def _rose(texture: Texture, style: Style, cx: float, cy: float, radius: float) -> None:
    _paint(texture, _opening("oculus", cx, cy + radius * 1.2, 2.4 * radius, 2.4 * radius), style.trim, 1.5)
    _paint(texture, _opening("oculus", cx, cy + radius, 2 * radius, 2 * radius), (0.4,) * 3, -2.5, 1.0)
    for angle in np.arange(0, np.pi, np.pi / 4):
        dx, dy = radius * np.cos(angle), radius * np.sin(angle)
        _line(texture, (cx - dx, cy - dy), (cx + dx, cy + dy), style.trim)


def _cut(texture: Texture, points: Array) -> Texture:
    """The texture where it lies inside `points`, given as fractions of its width and height."""
    h, w = texture.relief.shape
    texture.alpha[:] = 0
    cv2.fillPoly(texture.alpha, [np.rint(np.asarray(points) * (w - 1, h - 1)).astype(np.int32)], 1.0)
    return texture


TRIANGLE = np.array([[0.5, 0], [1, 1], [0, 1]])


class Plan:
    """Puts a building together from blocks, roofs and towers; front faces look to +z."""

    def __init__(self, rng: Rng, style: Style) -> None:
        self.rng, self.style, self.building = rng, style, Building()

    def face(self, origin: tuple, u: tuple, v: tuple, texture: Texture) -> None:
        """Add a flat piece (see Face)."""
        self.building.faces.append(Face(*(np.array(a, np.float64) for a in (origin, u, v)), texture))

    def block(
        self, cx: float, z1: float, w: float, d: float, h: float, front: Texture, *, base: float = 0.0
    ) -> None:
        """A box: its front texture is given, its sides are plain walls of the same style."""
        x0, x1, z0, top = cx - w / 2, cx + w / 2, z1 - d, base + h
        side = facade(self.rng, self.style, d, h, plain=True)
        self.face((x0, top, z1), (w, 0, 0), (0, -h, 0), front)
        self.face((x1, top, z1), (0, 0, -d), (0, -h, 0), side)
        self.face((x0, top, z0), (0, 0, d), (0, -h, 0), side)
        if base == 0:
            corners = np.array([[x0, 0, z0], [x1, 0, z0], [x1, 0, z1], [x0, 0, z1]])
            self.building.prisms.append((corners, h))

    def crown(self, cx: float, z1: float, w: float, d: float, top: float) -> None:
        """What stands on the wall head: parapet, battlements, balustrade or pinnacles."""
        kind, size = (
            self.style.parapet,
            {"none": 0, "wall": 0.9, "battlements": 1.3, "balustrade": 1.0, "pinnacles": 2.2},
        )
        h = size[kind]
        if not h:
            return
        for origin, u, length in (
            ((cx - w / 2, top + h, z1), (w, 0, 0), w),
            ((cx + w / 2, top + h, z1), (0, 0, -d), d),
            ((cx - w / 2, top + h, z1 - d), (0, 0, d), d),
        ):
            self.face(origin, u, (0, -h, 0), self._parapet(kind, length, h))

    def _parapet(self, kind: str, length: float, h: float) -> Texture:
        texture = wall(self.rng, self.style, length, h)
        if kind != "battlements":
            texture.albedo[:] = np.float32(self.style.trim)
        rows, columns = texture.relief.shape
        if kind == "battlements":
            texture.alpha[: rows // 2, np.arange(columns) % 16 < 7] = 0
        elif kind == "balustrade":
            texture.alpha[2:-2, np.arange(columns) % 4 < 2] = 0
        elif kind == "pinnacles":
            texture.alpha[: rows - 4] = 0
            for x in np.linspace(3, columns - 4, max(int(length / self.style.bay), 1) + 1):
                cv2.fillPoly(
                    texture.alpha, [np.array([[x - 3, rows], [x, 0], [x + 3, rows]]).astype(np.int32)], 1.0
                )
        return texture

    def gable_front(
        self, cx: float, z1: float, w: float, d: float, base: float, rise: float, gable: Texture
    ) -> None:
        """A saddle roof whose gable faces the front."""
        e, top = 0.3, base + rise
        self.face((cx - w / 2, top, z1), (w, 0, 0), (0, -rise, 0), _cut(gable, TRIANGLE))
        slope = roofing(self.rng, self.style, d, float(np.hypot(w / 2, rise)))
        self.face((cx, top, z1 + e), (0, 0, -d - e), (w / 2, -rise, 0), slope)
        self.face((cx, top, z1 - d), (0, 0, d + e), (-w / 2, -rise, 0), slope)

    def gable_side(self, cx: float, z1: float, w: float, d: float, base: float, rise: float) -> None:
        """A saddle roof whose eaves face the front, with dormers or chimneys as the draw decides."""
        top, zc, e = base + rise, z1 - d / 2, 0.3
        slope = roofing(self.rng, self.style, w, float(np.hypot(d / 2, rise)))
        self.face((cx - w / 2 - e, top, zc), (w + 2 * e, 0, 0), (0, -rise, d / 2), slope)
        for origin, u in (((cx + w / 2, top, z1), (0, 0, -d)), ((cx - w / 2, top, z1 - d), (0, 0, d))):
            self.face(origin, u, (0, -rise, 0), _cut(wall(self.rng, self.style, d, rise), TRIANGLE))

    def hip(
        self, cx: float, z1: float, w: float, d: float, base: float, rise: float, inset: float, inset_z: float
    ) -> None:
        """A roof leaning in on all sides: insets w/2 and d/2 make a pyramid, less a ridge or a flat top."""
        x0, x1, z0, top = cx - w / 2, cx + w / 2, z1 - d, base + rise
        i, k = inset / w, inset_z / d
        for origin, u, v, cut, length in (
            ((x0, top, z1 - inset_z), (w, 0, 0), (0, -rise, inset_z), i, w),
            ((x1 - inset, top, z1), (0, 0, -d), (inset, -rise, 0), k, d),
            ((x0 + inset, top, z0), (0, 0, d), (-inset, -rise, 0), k, d),
        ):
            texture = roofing(self.rng, self.style, length, rise)
            self.face(origin, u, v, _cut(texture, np.array([[cut, 0], [1 - cut, 0], [1, 1], [0, 1]])))

    def dormers(
        self, cx: float, z1: float, w: float, base: float, rise: float, count: int, back: float
    ) -> None:
        """Small gabled windows standing on the front slope of a roof."""
        size = min(1.9, rise * 0.7)
        for x in cx + (np.arange(count) + 0.5 - count / 2) * w / count:
            front = wall(self.rng, self.style, size, size * 1.1)
            h, ww = front.relief.shape
            _window(
                self.rng,
                front,
                replace(self.style, panes=(2, 2), surround="none"),
                ww / 2,
                h * 0.9,
                ww * 0.6,
                h * 0.75,
            )
            self.face((x - size / 2, base + size * 1.3, z1 - back), (size, 0, 0), (0, -size * 1.1, 0), front)
            self.gable_front(
                x,
                z1 - back,
                size * 1.2,
                2.0,
                base + size * 1.3,
                size * 0.6,
                wall(self.rng, self.style, size, size * 0.6),
            )

    def chimneys(self, cx: float, z: float, w: float, base: float, count: int) -> None:
        """Brick stacks along a ridge."""
        for x in cx + (np.arange(count) + 0.5 - count / 2) * w / count:
            self.block(x, z, 0.9, 0.9, 2.4, wall(self.rng, self.style, 0.9, 2.4), base=base - 0.8)

    def drum(
        self, cx: float, zc: float, radius: float, base: float, h: float, sides: int, skin: Texture
    ) -> None:
        """An upright prism of many sides, its skin wrapped once around the visible half."""
        angles = np.linspace(0, 2 * np.pi, sides, endpoint=False) + np.pi / sides
        ring = np.stack(
            [cx + radius * np.sin(angles), np.full(sides, base + h), zc + radius * np.cos(angles)], 1
        )
        pieces = np.array_split(np.arange(skin.relief.shape[1]), max(sides // 2, 1))
        for i in range(sides):
            part = pieces[i % len(pieces)]
            cut = np.s_[:, part[0] : part[-1] + 1]
            texture = Texture(skin.albedo[cut], skin.relief[cut], skin.glass[cut], skin.alpha[cut])
            self.face(tuple(ring[i]), tuple(ring[(i + 1) % sides] - ring[i]), (0, -h, 0), texture)
        if base == 0:
            self.building.prisms.append((ring * (1, 0, 1), h))

    def turned(
        self, cx: float, zc: float, profile: list[tuple[float, float]], sides: int, albedo: tuple[float, ...]
    ) -> None:
        """A body turned on a lathe: profile of (radius, height) from the bottom up."""
        angles = np.linspace(0, 2 * np.pi, sides + 1)
        for (r0, y0), (r1, y1) in pairwise(profile):
            for a, b in pairwise(angles):
                points = [
                    [r * np.sin(t), y, r * np.cos(t)]
                    for r, y, t in ((r0, y0, a), (r0, y0, b), (r1, y1, b), (r1, y1, a))
                ]
                shade = np.float32(albedo) * np.float32(0.92 + 0.16 * self.rng.random())
                placed = np.add(points, (cx, 0, zc))
                normal = np.cross(placed[2] - placed[0], placed[3] - placed[1])
                self.building.facets.append(Facet(placed, normal / np.linalg.norm(normal), shade))

    def dome(self, cx: float, zc: float, radius: float, base: float, kind: str) -> None:
        """round, onion, cone or lantern dome."""
        t = np.linspace(0, np.pi / 2, 6)
        if kind == "onion":
            profile = [
                (radius * r, base + radius * y)
                for r, y in ((0.85, 0), (1.1, 0.4), (1.05, 0.8), (0.6, 1.3), (0.2, 1.7), (0, 2.3))
            ]
        elif kind == "cone":
            profile = [(radius, base), (0, base + radius * 2.4)]
        else:
            profile = [(radius * np.cos(a), base + radius * 1.1 * np.sin(a)) for a in t]
        self.turned(cx, zc, profile, 14, self.style.roof)
        if kind == "lantern":
            r, y = radius * 0.2, base + radius * 1.05
            self.turned(cx, zc, [(r, y), (r, y + 3 * r), (0, y + 6 * r)], 8, self.style.trim)

    def tower(
        self,
        cx: float,
        z1: float,
        w: float,
        h: float,
        top: str,
        *,
        clock: bool,
        base: float = 0.0,
        round_: bool = False,
    ) -> None:
        """A tower with its head: flat, pyramid, spire, dome, onion or gable."""
        style = replace(self.style, ground_floor="same", bay=max(self.style.bay, w / 2.2), bay_rhythm=1)
        zc = z1 - w / 2
        skin = facade(self.rng, style, w * (2.2 if round_ else 1), h, plain=True)
        if clock:
            _clock(
                skin,
                skin.relief.shape[1] / 2,
                w * 0.5 * PIXELS_PER_METRE,
                w * 0.28 * PIXELS_PER_METRE,
                (0.75, 0.78, 0.8),
            )
        if round_:
            self.drum(cx, zc, w / 2, base, h, 12, skin)
        else:
            self.block(cx, z1, w, w, h, skin, base=base)
        if top in ("flat", "pyramid") and not round_:
            self.crown(cx, z1, w, w, base + h)
        if top in ("pyramid", "spire") and not round_:
            self.hip(cx, z1, w, w, base + h, w * (0.8 if top == "pyramid" else 2.1), w / 2, w / 2)
        elif top in ("spire", "pyramid"):
            self.dome(cx, zc, w * 0.55, base + h, "cone")
        elif top in ("dome", "onion"):
            self.dome(cx, zc, w * 0.46, base + h, "round" if top == "dome" else "onion")
        elif top == "gable":
            self.gable_front(cx, z1, w, w, base + h, w * 0.7, wall(self.rng, style, w, w * 0.7))

    def portico(self, cx: float, z1: float, w: float, h: float, depth: float, columns: int) -> None:
        """Free columns under a pediment."""
        radius = min(0.5, w / columns * 0.2)
        for x in cx + (np.arange(columns) / (columns - 1) - 0.5) * (w - 2 * radius):
            self.turned(float(x), z1 + depth - radius, [(radius, 0), (radius * 0.85, h)], 8, self.style.trim)
        beam = wall(self.rng, self.style, w, 0.9)
        beam.albedo[:] = np.float32(self.style.trim)
        self.block(cx, z1 + depth, w, depth, 0.9, beam, base=h)
        gable = wall(self.rng, self.style, w, w * 0.22)
        gable.albedo *= 0.9
        self.gable_front(cx, z1 + depth, w + 0.6, depth, h + 0.9, w * 0.22, gable)
        self.building.prisms.append(
            (
                np.array(
                    [
                        [cx - w / 2, 0, z1],
                        [cx + w / 2, 0, z1],
                        [cx + w / 2, 0, z1 + depth],
                        [cx - w / 2, 0, z1 + depth],
                    ]
                ),
                h,
            )
        )


def _roof(plan: Plan, cx: float, z1: float, w: float, d: float, base: float) -> None:
    rng = plan.rng
    kind = rng.choice(["flat", "saddle", "hip", "mansard"])
    rise = min(d, w) * rng.uniform(0.25, 0.5)
    if kind == "flat":
        plan.crown(cx, z1, w, d, base)
    elif kind == "saddle":
        plan.gable_side(cx, z1, w, d, base, rise)
        if rng.random() < 0.5:
            plan.chimneys(cx, z1 - d / 2 + 0.4, w * 0.9, base + rise, int(rng.integers(2, 5)))
    elif kind == "hip":
        plan.hip(cx, z1, w, d, base, rise, min(d / 2, w / 2), d / 2)
    else:
        plan.hip(cx, z1, w, d, base, min(rise, 4.0), 1.6, 1.6)
    if kind != "flat" and rng.random() < 0.45:
        plan.dormers(cx, z1, w * 0.95, base, rise, max(int(w / rng.uniform(3.5, 7)), 1), 0.5)


def _hall(plan: Plan) -> None:
    rng, style = plan.rng, plan.style
    w, h, d = rng.uniform(14, 28), style.storey * rng.integers(2, 5), rng.uniform(9, 14)
    plan.block(0, 0, w, d, h, facade(rng, style, w, h, door=str(rng.choice(["round", "rect"]))))
    _roof(plan, 0, 0, w, d, h)
    extra = rng.choice(["portico", "gable", "cupola", "none"], p=[0.35, 0.3, 0.25, 0.1])
    if extra == "portico":
        plan.portico(
            0,
            0,
            w * rng.uniform(0.3, 0.6),
            min(h * 0.8, rng.uniform(5, 9)),
            rng.uniform(2, 3.5),
            int(rng.choice([4, 6])),
        )
    elif extra == "gable":
        part = w * rng.uniform(0.25, 0.4)
        plan.block(0, 0.8, part, d * 0.6, h * 1.05, facade(rng, style, part, h * 1.05, door="round"))
        plan.gable_front(
            0, 0.8, part, d * 0.6, h * 1.05, part * rng.uniform(0.3, 0.6), wall(rng, style, part, part * 0.4)
        )
    elif extra == "cupola":
        plan.tower(
            0,
            -d * 0.3,
            rng.uniform(2.5, 4),
            rng.uniform(3, 6),
            str(rng.choice(["dome", "spire", "onion"])),
            clock=bool(rng.random() < 0.5),
            base=h + 1.5,
        )


def _church(plan: Plan) -> None:
    rng, style = plan.rng, plan.style
    w, h, d = rng.uniform(8, 13), rng.uniform(6, 11), rng.uniform(14, 22)
    rise = w * rng.uniform(0.45, 0.8)
    front = facade(rng, replace(style, ground_floor="same"), w, h, door="gate")
    if rng.random() < 0.6:
        _rose(
            front, style, front.relief.shape[1] / 2, h * 0.25 * PIXELS_PER_METRE, w * 0.13 * PIXELS_PER_METRE
        )
    plan.block(0, 0, w, d, h, front)
    plan.gable_front(0, 0, w, d, h, rise, wall(rng, style, w, rise))
    tower = rng.uniform(3.6, 6)
    top = str(rng.choice(["spire", "pyramid", "flat", "onion", "gable"]))
    tall, clock = (h + rise) * rng.uniform(1.0, 1.6), bool(rng.random() < 0.4)
    place = rng.choice(["left", "right", "middle", "twin"])
    if place in ("left", "twin"):
        plan.tower(-w / 2 - tower * 0.45, 0.5, tower, tall, top, clock=clock)
    if place in ("right", "twin"):
        plan.tower(w / 2 + tower * 0.45, 0.5, tower, tall, top, clock=clock)
    if place == "middle":
        plan.tower(0, 1.2, tower, tall, top, clock=clock)
    if rng.random() < 0.5 and place != "twin":
        aisle, low = rng.uniform(2.5, 4), h * 0.55
        for side in (-1, 1):
            plan.block(
                side * (w / 2 + aisle / 2),
                -1.5,
                aisle,
                d - 2,
                low,
                facade(rng, style, aisle, low, plain=True),
            )


def _palace(plan: Plan) -> None:
    rng, style = plan.rng, plan.style
    w, h, d = rng.uniform(20, 32), style.storey * rng.integers(2, 4), rng.uniform(9, 13)
    plan.block(0, 0, w, d, h, facade(rng, style, w, h, door="round"))
    _roof(plan, 0, 0, w, d, h)
    wing, tall = rng.uniform(4, 7), h * rng.uniform(1.0, 1.45)
    top, round_ = str(rng.choice(["flat", "pyramid", "dome", "gable", "spire"])), bool(rng.random() < 0.35)
    for side in (-1, 1):
        plan.tower(
            side * (w / 2),
            rng.uniform(0.8, 2.0) if side < 0 else 1.4,
            wing,
            tall,
            top,
            clock=False,
            round_=round_,
        )
    if rng.random() < 0.5:
        plan.tower(
            0,
            1.0,
            wing * rng.uniform(0.8, 1.3),
            tall * rng.uniform(1.0, 1.5),
            str(rng.choice(["dome", "spire", "flat", "pyramid"])),
            clock=True,
        )


def _rotunda(plan: Plan) -> None:
    rng, style = plan.rng, plan.style
    radius, h = rng.uniform(6, 10), rng.uniform(6, 13)
    if rng.random() < 0.5:
        low = rng.uniform(3, 5)
        plan.drum(
            0,
            0,
            radius * 1.3,
            0,
            low,
            16,
            facade(rng, replace(style, ground_floor="rustic"), radius * 4, low),
        )
    plan.drum(0, 0, radius, 0, h, 16, facade(rng, style, radius * 3.2, h))
    neck = radius * rng.uniform(0.6, 0.9)
    if rng.random() < 0.6:
        plan.turned(0, 0, [(radius, h), (neck, h + 0.6)], 16, style.roof)
        plan.drum(
            0,
            0,
            neck,
            h,
            3.0,
            16,
            facade(rng, replace(style, storey=3.0, ground_floor="same"), neck * 3, 3.0, plain=True),
        )
        h += 3.0
    else:
        neck = radius
    plan.dome(0, 0, neck, h, str(rng.choice(["round", "lantern", "cone", "lantern"])))
    if rng.random() < 0.5:
        plan.portico(0, radius, radius * 1.1, h * 0.6, 2.5, int(rng.choice([4, 6])))


def _gatehouse(plan: Plan) -> None:
    rng, style = plan.rng, replace(plan.style, window_height=plan.style.window_height * 0.7)
    w, h = rng.uniform(6, 10), rng.uniform(8, 13)
    front = facade(rng, replace(style, ground_floor="same"), w, h, door="gate")
    plan.block(0, 0, w, 8, h, front)
    plan.crown(0, 0, w, 8, h)
    tower, tall = rng.uniform(3.5, 5.5), h * rng.uniform(1.05, 1.5)
    top, round_ = str(rng.choice(["flat", "pyramid", "spire", "onion"])), bool(rng.random() < 0.5)
    for side in (-1, 1):
        plan.tower(side * (w + tower) / 2, 1.0, tower, tall, top, clock=False, round_=round_)
    low, length = h * rng.uniform(0.4, 0.65), rng.uniform(5, 9)
    for side in (-1, 1):
        x = side * (w / 2 + tower + length / 2)
        plan.block(x, 0, length, 7, low, facade(rng, style, length, low))
        plan.crown(x, 0, length, 7, low)


def _terrace(plan: Plan) -> None:
    rng, style = plan.rng, plan.style
    count, w = int(rng.integers(2, 5)), rng.uniform(5, 8)
    gabled = rng.random() < 0.7
    for i in range(count):
        own = replace(
            style, window=style.window if i % 2 == 0 else str(rng.choice(["rect", "round", "segment"]))
        )
        h, x = style.storey * rng.integers(2, 5), (i + 0.5 - count / 2) * w
        plan.block(x, 0, w, 9, h, facade(rng, own, w, h, door="rect"))
        if gabled:
            plan.gable_front(x, 0, w, 9, h, w * rng.uniform(0.35, 0.8), wall(rng, own, w, w * 0.5))
        else:
            plan.gable_side(x, 0, w, 9, h, rng.uniform(2, 4))


def _block_of_flats(plan: Plan) -> None:
    rng = plan.rng
    style = replace(
        plan.style,
        storey=3.1,
        parapet="wall",
        window=str(rng.choice(["rect", "band"])),
        window_height=rng.uniform(1.4, 2.3),
    )
    w, h, d = rng.uniform(9, 20), 3.1 * rng.integers(5, 10), rng.uniform(8, 12)
    plan.block(0, 0, w, d, h, facade(rng, style, w, h))
    if rng.random() < 0.6:
        part, tall = w * rng.uniform(0.25, 0.4), h + rng.uniform(2, 6)
        plan.block(
            rng.uniform(-0.3, 0.3) * w,
            rng.uniform(0.8, 3),
            part,
            d,
            tall,
            facade(rng, replace(style, window="band"), part, tall),
        )
    if rng.random() < 0.6:
        low, wide = rng.uniform(4, 7), w * rng.uniform(1.3, 1.7)
        plan.block(0, 4, wide, 6, low, facade(rng, replace(style, ground_floor="shop"), wide, low))


def _keep(plan: Plan) -> None:
    rng, style = plan.rng, plan.style
    w, h = rng.uniform(9, 14), rng.uniform(12, 20)
    plan.block(0, 0, w, w, h, facade(rng, style, w, h, door="round"))
    plan.crown(0, 0, w, w, h)
    top = str(rng.choice(["pyramid", "spire", "onion", "dome", "flat"]))
    for side in (-1, 1):
        plan.tower(
            side * w / 2,
            0.8,
            rng.uniform(2, 3.2),
            h * rng.uniform(1.05, 1.3),
            top,
            clock=False,
            round_=bool(rng.random() < 0.6),
        )
    if rng.random() < 0.6:
        plan.tower(0, -w * 0.3, w * 0.5, rng.uniform(4, 8), top, clock=bool(rng.random() < 0.5), base=h)
    else:
        plan.hip(0, -0.8, w - 1.6, w - 1.6, h, w * 0.5, w / 2 - 0.8, w / 2 - 0.8)


ARCHETYPES: dict[str, Callable[[Plan], None]] = {
    "hall": _hall,
    "church": _church,
    "palace": _palace,
    "rotunda": _rotunda,
    "gatehouse": _gatehouse,
    "terrace": _terrace,
    "flats": _block_of_flats,
    "keep": _keep,
}


def draw_building(rng: Rng, archetype: str | None = None) -> Building:
    """Draw up one building, of a given archetype (a key of ARCHETYPES) or of any."""
    kind = archetype or str(rng.choice(list(ARCHETYPES)))
    plan = Plan(rng, draw_style(rng))
    ARCHETYPES[kind](plan)
    points = plan.building.outline_points()
    plan.building.width = float(np.ptp(points[:, 0]))
    plan.building.height = float(points[:, 1].max())
    return plan.building


@dataclass(frozen=True)
class Placement:
    """Where a building stands (x, z) and how it is turned about the vertical, in radians."""

    x: float = 0.0
    z: float = 0.0
    turn: float = 0.0

    def place(self, vectors: Array, *, shift: bool = True) -> Array:
        """Turn, and with `shift` move, (..., 3) vectors."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        turned = vectors @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
        return np.add(turned, (self.x, 0, self.z)) if shift else turned


def draw_on(canvas: Canvas, building: Building, where: Placement, sky_colour: Array, owner: int) -> None:
    """Photograph the building onto the canvas, marking its pixels as `owner`'s."""
    for face in building.faces:
        placed = Face(
            where.place(face.origin),
            where.place(face.u, shift=False),
            where.place(face.v, shift=False),
            face.texture,
        )
        _draw_face(canvas, placed, sky_colour, owner)
    if building.facets:
        _draw_facets(canvas, building.facets, where, owner)


def _relief_shadow(relief: Array, towards: Array, climb: float) -> Array:
    """Where the relief hides the sun: `towards` points to it in the texture, it climbs `climb` a pixel."""
    shadow = np.zeros(relief.shape, bool)
    h, w = relief.shape
    for step in range(1, 6):
        dx, dy = round(float(towards[0]) * step), round(float(towards[1]) * step)
        if abs(dx) >= w or abs(dy) >= h:
            break
        here = np.s_[max(-dy, 0) : h - max(dy, 0), max(-dx, 0) : w - max(dx, 0)]
        there = np.s_[max(dy, 0) : h - max(-dy, 0), max(dx, 0) : w - max(-dx, 0)]
        shadow[here] |= relief[there] - relief[here] > climb * step
    return shadow


def _lit(texture: Texture, face: Face, normal: Array, canvas: Canvas, sky_colour: Array) -> Array:
    """The texture in this light: (h, w, 4) float32, colour and alpha."""
    light = canvas.light
    u, v = face.u / np.linalg.norm(face.u), face.v / np.linalg.norm(face.v)
    facing = float(light.sun @ normal)
    ambient = light.sky_colour * np.float32(0.75 + 0.25 * normal[1])
    shade = texture.ledges[:, :, None] * ambient
    if facing > 0.02 and light.sun_colour[2] > 0.2:
        across = np.array([light.sun @ u, light.sun @ v])
        length = float(np.hypot(*across)) or 1e-6
        shadow = _relief_shadow(texture.relief, across / length, facing / length)
        shade += np.where(shadow, np.float32(0.06), np.float32(facing))[:, :, None] * light.sun_colour
    shade *= texture.albedo
    panes = texture.glass > 0.5
    if panes.any():
        shade[panes] = _glass(texture.albedo[panes], light.night, sky_colour)
    return np.dstack([shade, texture.alpha])


def _glass(panes: Array, night: bool, sky_colour: Array) -> Array:
    """What window panes (n, 3) show: the sky, or at night a lit room behind some of them."""
    if night:
        return np.where(panes > 0.55, np.float32([0.25, 0.55, 0.85]), np.float32(0.03))
    return np.float32(0.02) + sky_colour * (0.06 + 0.3 * panes * panes)


def _draw_face(canvas: Canvas, face: Face, sky_colour: Array, owner: int) -> None:
    normal = np.cross(face.v, face.u)
    normal /= np.linalg.norm(normal)
    camera = canvas.camera
    if normal @ (camera.position - face.origin) <= EDGE_ON:
        return
    corners = np.array(
        [face.origin, face.origin + face.u, face.origin + face.u + face.v, face.origin + face.v]
    )
    pixels, depth = camera.project(corners)
    if depth.min() < NEAREST_METRES:
        return
    box = canvas.clip(pixels)
    if box is None:
        return
    x0, y0, x1, y1 = box
    texture = face.texture
    if texture.relief.size > 2 * cv2.contourArea(pixels.astype(np.float32)) and min(texture.relief.shape) > 8:
        texture = texture.smaller
    h, w = texture.relief.shape
    to_pixels = camera.plane_homography(face.origin, face.u / w, face.v / h)
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    shift = np.array([[1, 0, -x0 - 0.5], [0, 1, -y0 - 0.5], [0, 0, 1.0]])
    lit = cv2.warpPerspective(
        _lit(texture, face, normal, canvas, sky_colour),
        shift @ to_pixels @ half,
        (x1 - x0, y1 - y0),
        borderMode=cv2.BORDER_REPLICATE,
    )
    inside = np.zeros((y1 - y0, x1 - x0), np.uint8)
    outline = np.rint((pixels - (x0 + 0.5, y0 + 0.5)) * 16).clip(-500000, 500000).astype(np.int32)
    cv2.fillConvexPoly(inside, outline, 1, cv2.LINE_8, 4)
    plane = camera.inverse_depth_plane(face.origin, normal)
    canvas.put(box, lit[:, :, :3], lit[:, :, 3] * inside, canvas.plane_depth(box, plane), owner)


def _draw_facets(canvas: Canvas, facets: list[Facet], where: Placement, owner: int) -> None:
    light, camera = canvas.light, canvas.camera
    for facet in facets:
        points, normal = where.place(facet.points), where.place(facet.normal, shift=False)
        if normal @ (camera.position - points[0]) <= EDGE_ON:
            continue
        pixels, depth = camera.project(points)
        box = canvas.clip(pixels)
        if depth.min() < NEAREST_METRES or box is None:
            continue
        x0, y0, x1, y1 = box
        inside = np.zeros((y1 - y0, x1 - x0), np.float32)
        outline = np.rint((pixels - (x0 + 0.5, y0 + 0.5)) * 16).clip(-500000, 500000).astype(np.int32)
        cv2.fillConvexPoly(inside, outline, 1.0, cv2.LINE_8, 4)
        shade = light.sky_colour * np.float32(0.75 + 0.25 * normal[1]) + light.sun_colour * max(
            float(light.sun @ normal), 0.0
        )
        plane = camera.inverse_depth_plane(points[0], normal)
        canvas.put(box, facet.albedo * shade, inside, canvas.plane_depth(box, plane), owner)
