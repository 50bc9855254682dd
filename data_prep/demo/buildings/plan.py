"""A building put together from blocks, roofs and towers, in metres: front faces look to +z."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import cv2
import numpy as np

from data_prep.demo.buildings.facades import clock_dial, facade, window
from data_prep.demo.buildings.style import Style
from data_prep.demo.buildings.textures import PIXELS_PER_METRE, TRIANGLE, Texture, cut_out, roofing, wall
from data_prep.demo.photo import Array, Rng, float32

Vector = tuple[float, ...] | Array


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


class Plan:
    """Puts a building together from blocks, roofs and towers; front faces look to +z."""

    def __init__(self, rng: Rng, style: Style) -> None:
        self.rng, self.style, self.building = rng, style, Building()

    def face(self, origin: Vector, u: Vector, v: Vector, texture: Texture) -> None:
        """Add a flat piece (see Face)."""
        corner, across, down = (np.array(vector, np.float64) for vector in (origin, u, v))
        self.building.faces.append(Face(corner, across, down, texture))

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
            texture.albedo[:] = float32(self.style.trim)
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
        self.face((cx - w / 2, top, z1), (w, 0, 0), (0, -rise, 0), cut_out(gable, TRIANGLE))
        slope = roofing(self.rng, self.style, d, float(np.hypot(w / 2, rise)))
        self.face((cx, top, z1 + e), (0, 0, -d - e), (w / 2, -rise, 0), slope)
        self.face((cx, top, z1 - d), (0, 0, d + e), (-w / 2, -rise, 0), slope)

    def gable_side(self, cx: float, z1: float, w: float, d: float, base: float, rise: float) -> None:
        """A saddle roof whose eaves face the front, with dormers or chimneys as the draw decides."""
        top, zc, e = base + rise, z1 - d / 2, 0.3
        slope = roofing(self.rng, self.style, w, float(np.hypot(d / 2, rise)))
        self.face((cx - w / 2 - e, top, zc), (w + 2 * e, 0, 0), (0, -rise, d / 2), slope)
        for origin, u in (((cx + w / 2, top, z1), (0, 0, -d)), ((cx - w / 2, top, z1 - d), (0, 0, d))):
            self.face(origin, u, (0, -rise, 0), cut_out(wall(self.rng, self.style, d, rise), TRIANGLE))

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
            self.face(origin, u, v, cut_out(texture, np.array([[cut, 0], [1 - cut, 0], [1, 1], [0, 1]])))

    def dormers(
        self, cx: float, z1: float, w: float, base: float, rise: float, count: int, back: float
    ) -> None:
        """Small gabled windows standing on the front slope of a roof."""
        size = min(1.9, rise * 0.7)
        for x in cx + (np.arange(count) + 0.5 - count / 2) * w / count:
            front = wall(self.rng, self.style, size, size * 1.1)
            h, ww = front.relief.shape
            window(
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
            self.face(ring[i], ring[(i + 1) % sides] - ring[i], (0, -h, 0), texture)
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
                shade = float32(albedo) * np.float32(0.92 + 0.16 * self.rng.random())
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
            clock_dial(
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
        beam.albedo[:] = float32(self.style.trim)
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
