"""The demo's ImageNet: pictures of many sorts of things, scenes and surfaces, none of them a landmark.

Each class is one function that draws it anew from a random generator. A network that has learnt to tell them
apart knows edges, textures, shading and outlines in general, and nothing of any building in particular.
"""

from collections.abc import Callable
from functools import lru_cache, partial

import cv2
import numpy as np

from data_prep.demo.buildings import Building, Placement, Plan, draw_building, draw_on, draw_style, facade
from data_prep.demo.photo import (
    GROUNDS,
    SUPERSAMPLING,
    Array,
    Camera,
    Canvas,
    Rng,
    develop,
    draw_light,
    expose,
    ground,
    ground_shadow,
    noise,
    sky,
)
from data_prep.demo.scenes import Framing, photograph, picture_size, stand

Painter = Callable[[Rng], Array]


def _colour(rng: Rng, saturation: float = 0.38) -> Array:
    return np.clip(np.exp(rng.normal(-1.3, 0.4) + rng.normal(0, saturation, 3)), 0.02, 0.85).astype(
        np.float32
    )


def _plain_canvas(rng: Rng) -> tuple[int, int, Array]:
    """A wall and a table top out of focus: height, width, picture (h, w, 3)."""
    width, height = (int(side * 1.5) for side in picture_size(rng))
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = _colour(rng, 0.3) * (0.7 + 0.6 * noise(rng, height, width, rng.uniform(0.2, 3)))[:, :, None]
    table = int(height * rng.uniform(0.6, 0.85))
    grain = noise(rng, height - table, width, 0.3, rng.uniform(1, 8))
    picture[table:] = _colour(rng, 0.3) * (0.6 + 0.7 * grain)[:, :, None]
    return height, width, cv2.GaussianBlur(picture, (0, 0), rng.uniform(1, 4))


def _finish(rng: Rng, picture: Array) -> Array:
    height, width = picture.shape[:2]
    return expose(
        rng, cv2.resize(picture, (int(width / 1.5), int(height / 1.5)), interpolation=cv2.INTER_AREA)
    )


def _shade(rng: Rng, normal: Array) -> tuple[Array, Array]:
    """Diffuse and glossy light on normals (..., 3), x right, y down, z to the viewer."""
    sun = np.array([rng.uniform(-0.9, 0.9), -rng.uniform(0.2, 1.0), rng.uniform(0.3, 1.0)], np.float32)
    sun /= np.linalg.norm(sun)
    diffuse = np.clip(normal @ sun, 0, None)
    mirror = np.clip(2 * diffuse * normal[..., 2] - sun[2], 0, None)
    return 0.35 + 0.9 * diffuse, mirror ** np.float32(rng.uniform(12, 50))


def _turned(rng: Rng, profile: list[tuple[float, float]], aspect: float, pattern: str = "none") -> Array:
    """A body turned on a lathe, standing on a table: profile of (height from the top, radius), both 0..1."""
    height, width, picture = _plain_canvas(rng)
    for _ in range(int(rng.integers(1, 3)) if rng.random() < 0.35 else 1):
        tall = height * rng.uniform(0.45, 0.85)
        half = tall * aspect * rng.uniform(0.85, 1.15) / 2
        rows, columns = int(tall), int(2 * half) + 1
        at = np.linspace(0, 1, rows)
        knots = np.array(profile)
        radius = np.interp(at, knots[:, 0], knots[:, 1]) * half
        radius = cv2.GaussianBlur(radius[:, None], (1, 0), 0, sigmaY=rows / 60)[:, 0] if rows > 20 else radius
        across = (np.arange(columns) - columns / 2)[None, :] / np.maximum(radius, 0.5)[:, None]
        inside = np.abs(across) < 1
        x = np.clip(across, -0.999, 0.999).astype(np.float32)
        slope = np.gradient(radius).astype(np.float32)[:, None] * np.ones_like(x)
        normal = np.stack([x, -slope, np.sqrt(1 - x * x)], -1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        diffuse, gloss = _shade(rng, normal)
        albedo = _colour(rng) * (0.8 + 0.4 * noise(rng, rows, columns, 0.3))[:, :, None]
        if pattern == "rings":
            albedo[(at * rng.uniform(8, 16)).astype(int) % 2 == 0] = _colour(rng)
        if pattern == "spots":
            albedo[noise(rng, rows, columns, 0.25) > 0.72] = 0.8
        lit = albedo * diffuse[:, :, None] + gloss[:, :, None] * np.float32(rng.choice([0.0, 0.3, 0.8]))
        body = np.dstack([lit, inside.astype(np.float32)])
        foot = (width * rng.uniform(0.3, 0.7), height * rng.uniform(0.8, 0.97))
        matrix = cv2.getRotationMatrix2D((columns / 2, rows), rng.normal(0, 4), 1.0)
        matrix[:, 2] += (foot[0] - columns / 2, foot[1] - rows)
        _cast(picture, (foot[0], foot[1]), float(radius[-1]) + half * 0.4)
        _over(picture, cv2.warpAffine(body, matrix, (width, height)))
    return _finish(rng, picture)


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


def _over(picture: Array, layer: Array) -> None:
    alpha = layer[:, :, 3:]
    picture += (layer[:, :, :3] - picture) * alpha


def _surface(rng: Rng, make: Callable[[Rng, int], Array]) -> Array:
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
    return _finish(rng, turned)


def _with(colours: int, paint: Callable[..., Array]) -> Callable[[Rng, int], Array]:
    return lambda rng, n: paint(rng, n, *(_colour(rng) for _ in range(colours)))


def _rough(rng: Rng, n: int, zoom: float = 0.15) -> Array:
    return (0.65 + 0.7 * noise(rng, n, n, zoom))[:, :, None]


def _bricks(rng: Rng, n: int, joint: Array) -> Array:
    sheet = np.ones((n, n, 3), np.float32) * joint
    h = int(rng.integers(12, 24))
    w, base = int(h * rng.uniform(1.8, 3)), np.float32([0.1, 0.16, 0.34]) * rng.uniform(0.6, 1.6)
    for row, y in enumerate(range(0, n, h)):
        for x in range(-(row % 2) * w // 2, n, w):
            sheet[y + 2 : y + h, max(x + 2, 0) : x + w] = base * np.float32(rng.uniform(0.7, 1.3))
    return sheet * _rough(rng, n)


def _stones(rng: Rng, n: int, base: Array) -> Array:
    step = int(rng.integers(16, 32))
    points = np.mgrid[0:n:step, 0:n:step].reshape(2, -1).T + rng.uniform(
        0, step, ((n + step - 1) // step * ((n + step - 1) // step), 2)
    )
    seeds = np.ones((n, n), np.uint8)
    seeds[tuple(points.clip(0, n - 1).astype(int).T)] = 0
    near, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    tint = rng.uniform(0.6, 1.4, label.max() + 1).astype(np.float32)
    return base * (tint[label] * np.clip(1.3 - near / step * 1.4, 0.15, 1))[:, :, None] * _rough(rng, n)


def _planks(rng: Rng, n: int, base: Array) -> Array:
    w = int(rng.integers(24, 60))
    grain = noise(rng, n, n, 0.3, 0.08)
    sheet = np.float32([0.16, 0.3, 0.45]) * (0.3 + base.mean()) * 1.5 * (0.5 + grain)[:, :, None]
    for x in range(0, n, w):
        sheet[:, x : x + w] *= np.float32(rng.uniform(0.7, 1.3))
        sheet[:, x : x + 2] *= 0.25
    return sheet


def _check(rng: Rng, n: int, a: Array, b: Array) -> Array:
    step = int(rng.integers(14, 44))
    stripe = (np.arange(n) // step % 2).astype(np.float32)
    mix = ((stripe[:, None] + stripe[None]) / 2)[:, :, None]
    weave = 0.85 + 0.15 * ((np.arange(n)[:, None] + np.arange(n)[None]) % 4 < 2)[:, :, None]
    return (a * mix + b * (1 - mix)) * weave * _rough(rng, n, 0.5)


def _zebra(rng: Rng, n: int, a: Array) -> Array:
    wave = np.arange(n)[None] / rng.uniform(14, 30) + 3.0 * noise(rng, n, n, 1.5)
    return np.where(np.sin(wave * 3.14)[:, :, None] > 0, 0.05 + 0.1 * a, 0.5 + 0.3 * a) * _rough(rng, n)


def _spots(rng: Rng, n: int, a: Array) -> Array:
    sheet = np.ones((n, n, 3), np.float32) * np.float32([0.18, 0.35, 0.5]) * (0.5 + a)
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


def _honeycomb(rng: Rng, n: int, a: Array) -> Array:
    sheet = np.ones((n, n, 3), np.float32) * np.float32([0.1, 0.35, 0.55]) * (0.4 + a)
    r = float(rng.integers(10, 20))
    turn = np.arange(6) * np.pi / 3
    for row in range(int(n / (1.5 * r)) + 2):
        for column in range(int(n / (1.73 * r)) + 2):
            c = np.array([(column + row % 2 / 2) * 1.73 * r, row * 1.5 * r])
            cell = c + 0.8 * r * np.stack([np.sin(turn), np.cos(turn)], 1)
            cv2.fillPoly(
                sheet,
                [cell.astype(np.int32)],
                tuple(float(v) for v in np.float32([0.03, 0.15, 0.3]) * rng.uniform(0.4, 1.6)),
            )
    return sheet * _rough(rng, n)


def _foliage(rng: Rng, n: int, a: Array) -> Array:
    sheet = np.ones((n, n, 3), np.float32) * np.float32([0.02, 0.06, 0.04])
    for _ in range(170):
        shade = np.float32([0.06, 0.25, 0.14]) * np.exp(rng.normal(0, 0.3, 3)) * (0.6 + a.mean())
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


def _ripples(rng: Rng, n: int, base: tuple[float, ...], contrast: float) -> Array:
    wave = noise(rng, n, n, 0.5, 4) * 6 + np.arange(n)[:, None] / rng.uniform(9, 18)
    return (
        np.float32(base)
        * (1 + contrast * np.sin(wave * 3))[:, :, None]
        * rng.uniform(0.7, 1.4)
        * _rough(rng, n, 0.2)
    )


def _knit(rng: Rng, n: int, a: Array, b: Array) -> Array:
    step = int(rng.integers(10, 18))
    y, x = np.mgrid[0:n, 0:n]
    slant = np.abs((x % step) - step / 2) + y
    loop = 0.5 + 0.5 * np.sin(slant * 2 * np.pi / step)
    bands = (y // (step * 4) % 2 == 0)[:, :, None]
    return np.where(bands, a, b) * (0.35 + 0.9 * loop)[:, :, None] * _rough(rng, n)


def _open_country(
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


def _ground_kind(rng: Rng) -> str:
    return str(rng.choice(list(GROUNDS)))


def _standing(rng: Rng, kind: str, metres: float, count: tuple[int, int], near: tuple[float, float]) -> Array:
    """One or more cut-outs of a kind in open country, `near` metres from the camera."""
    canvas, _ = _open_country(rng, _ground_kind(rng), road=kind == "car")
    for _ in range(int(rng.integers(*count))):
        distance = rng.uniform(*near)
        stand(
            rng, canvas, kind, rng.normal(0, 0.16) * distance, 20 - distance, metres * rng.uniform(0.85, 1.15)
        )
    return develop(rng, canvas)


def _forest(rng: Rng) -> Array:
    canvas, _ = _open_country(rng, "earth" if rng.random() < 0.5 else "grass")
    for distance in np.sort(rng.uniform(8, 60, 26)):
        kind = "tree" if rng.random() < 0.4 else "conifer"
        stand(rng, canvas, kind, rng.uniform(-0.7, 0.7) * distance, 20 - distance, rng.uniform(9, 15))
    return develop(rng, canvas)


def _ridge(rng: Rng, width: int, rough: float) -> Array:
    """A line of hills, 0..1: `rough` of 0 is a dune, of 1 a mountain range."""
    x = np.linspace(0, 1, width)
    line = sum(np.sin(x * k * rng.uniform(2, 4) + rng.uniform(0, 6.28)) / k**1.3 for k in (1, 2, 3)) / 3 + 0.5
    return (line + rough * 0.25 * (noise(rng, 1, width, 0.5)[0] - 0.5)).astype(np.float32)


def _mountain(rng: Rng) -> Array:
    canvas, _ = _open_country(rng, str(rng.choice(["grass", "earth", "gravel"])), eye=4)
    width, height = canvas.camera.size
    light, rows = canvas.light, np.arange(height, dtype=np.float32)[:, None]
    snow_line = height * rng.uniform(0.1, 0.4)
    for distance, tall in ((400, 0.5), (250, 0.3), (120, 0.12)):
        ridge = height * (0.56 - tall * _ridge(rng, width, 1.0))
        rock = noise(rng, height, width, 0.25)
        colour = np.float32([0.16, 0.17, 0.16]) * (0.4 + rock)[:, :, None]
        if distance > 200:
            colour[rows - ridge < 0.6 * (snow_line - rows) + 20 * rock] = 0.75
        haze = np.float32(distance / 700)
        colour = (colour * (light.sky_colour + 0.6 * light.sun_colour) * (1 - haze) + haze * 0.55).astype(
            np.float32
        )
        inside = np.float32((rows > ridge) & (rows < height * 0.62))
        canvas.put((0, 0, width, height), colour, inside, np.full(inside.shape, np.float32(1 / distance)), 2)
    return develop(rng, canvas)


def _sea(rng: Rng) -> Array:
    canvas, colour = _open_country(rng, "asphalt", eye=rng.uniform(2, 8), pitch=rng.uniform(-3, 2))
    below = canvas.inverse_depth > 0
    height, width = below.shape
    waves = noise(rng, height, width, 0.12, 6) + noise(rng, height, width, 0.4, 5)
    water = (colour * np.float32([0.6, 0.5, 0.36])) * (0.5 + 0.6 * waves)[:, :, None]
    canvas.colour[below] = water[below]
    if rng.random() < 0.4:
        shore = below & (np.arange(height)[:, None] > height * (0.75 + 0.1 * noise(rng, 1, width, 2)[0]))
        canvas.colour[shore] = (np.float32([0.3, 0.42, 0.5]) * (0.8 + 0.3 * waves)[:, :, None])[shore]
    return develop(rng, canvas)


def _dunes(rng: Rng) -> Array:
    canvas, _ = _open_country(rng, "earth", eye=3)
    height, width = canvas.owner.shape
    light = canvas.light.sky_colour + 0.6 * canvas.light.sun_colour
    base = np.float32([0.22, 0.4, 0.58]) * (0.8 + 0.25 * noise(rng, height, width, 0.1, 4))[:, :, None]
    for level in np.linspace(0.4, 0.95, 4):
        drop = np.arange(height, dtype=np.float32)[:, None] - height * (
            level - 0.2 * _ridge(rng, width, 0.05)
        )
        sand = base * light * (0.5 + 0.5 * np.exp(-np.maximum(drop, 0) / 30))[:, :, None]
        canvas.colour[drop > 0] = sand[drop > 0]
    canvas.inverse_depth[:] = 0
    return develop(rng, canvas)


def _street(rng: Rng) -> Array:
    canvas, colour = _open_country(rng, "asphalt")
    for side in (-1, 1):
        for i in range(3):
            house = _some_building("terrace" if i else "flats", int(rng.integers(12)))
            draw_on(canvas, house, Placement(side * rng.uniform(9, 12), 6 - 16 * i, -side * 1.45), colour, 2)
    for _ in range(5):
        distance = rng.uniform(6, 30)
        stand(rng, canvas, str(rng.choice(["car", "person", "lamp"])), rng.uniform(-4, 4), 20 - distance)
    return develop(rng, canvas)


@lru_cache(maxsize=64)
def _some_building(archetype: str, number: int) -> Building:
    return draw_building(np.random.default_rng([number, *archetype.encode()]), archetype)


def _house(rng: Rng, archetype: str) -> Array:
    return photograph(
        rng,
        _some_building(archetype, int(rng.integers(12))),
        Framing(span=(0.6, 1.3), aside=0.3, clutter=1.2),
    ).picture


def _bridge(rng: Rng) -> Array:
    canvas, colour = _open_country(rng, str(rng.choice(["grass", "asphalt"])), eye=rng.uniform(1, 5))
    plan = Plan(rng, draw_style(rng))
    width, height = rng.uniform(24, 40), rng.uniform(4, 8)
    texture = facade(rng, plan.style, width, height, plain=True)
    texture.glass[:], texture.alpha[:] = 0, 1
    texture.albedo[:] = (
        np.float32(plan.style.wall) * (0.6 + 0.5 * noise(rng, *texture.relief.shape, 0.2))[:, :, None]
    )
    h, w = texture.relief.shape
    count = int(rng.integers(1, 6))
    for i in range(count):
        at = (int((i + 0.5) * w / count), h)
        cv2.ellipse(
            texture.alpha, at, (int(w / count * 0.42), int(h * rng.uniform(0.6, 0.8))), 0, 0, 360, 0.0, -1
        )
    turn = rng.uniform(-0.5, 0.5)
    plan.face((-width / 2, height, 0), (width, 0, 0), (0, -height, 0), texture)
    draw_on(canvas, plan.building, Placement(0, -6, turn), colour, 2)
    return develop(rng, canvas)


def _lighthouse(rng: Rng, windmill: bool = False) -> Array:
    canvas, colour = _open_country(rng, _ground_kind(rng), pitch=3)
    plan = Plan(rng, draw_style(rng))
    r, h = rng.uniform(1.6, 2.4), rng.uniform(8, 12)
    bands = int(rng.integers(3, 7))
    shades = [tuple(_colour(rng)), (0.7, 0.7, 0.7)]
    for i in range(bands):
        low, high = i / bands, (i + 1) / bands
        plan.turned(
            0,
            0,
            [(r * (1 - 0.4 * low), h * low), (r * (1 - 0.4 * high), h * high)],
            16,
            shades[0 if windmill else i % 2],
        )
    plan.dome(0, 0, r * 0.62, h, "cone" if windmill else "lantern")
    x, z = rng.normal(0, 1), rng.uniform(0, 8)
    ground_shadow(canvas, [])
    draw_on(canvas, plan.building, Placement(x, z), colour, 2)
    if windmill:
        hub, _ = canvas.camera.project(np.array([[x, h * 0.97, z + r]]))
        long = canvas.camera.intrinsics[0, 0] * h * 0.5 / (20 - z)
        start = rng.uniform(0, 1.57)
        for i in range(4):
            tip = hub[0] + long * np.array([np.cos(start + i * 1.571), np.sin(start + i * 1.571)])
            across = (tip - hub[0])[::-1] * (0.13, -0.13)
            sail = np.array([hub[0] * 0.8 + tip * 0.2, tip, tip + across, hub[0] * 0.8 + tip * 0.2 + across])
            cv2.polylines(canvas.colour, [sail.astype(np.int32)], True, (0.25, 0.3, 0.33), 2)
            cv2.line(
                canvas.colour, hub[0].astype(int).tolist(), tip.astype(int).tolist(), (0.08, 0.09, 0.1), 3
            )
    return develop(rng, canvas)


def _tent(rng: Rng) -> Array:
    canvas, colour = _open_country(rng, _ground_kind(rng))
    plan = Plan(rng, draw_style(rng))
    for _ in range(int(rng.integers(1, 4))):
        r = rng.uniform(2, 4)
        plan.turned(
            rng.normal(0, 3),
            rng.uniform(-4, 6),
            [(r, 0), (r, r * 0.2), (0, r * rng.uniform(0.9, 1.5))],
            int(rng.choice([4, 6, 10])),
            tuple(_colour(rng)),
        )
    draw_on(canvas, plan.building, Placement(turn=rng.uniform(0, 1)), colour, 2)
    return develop(rng, canvas)


def _fence(rng: Rng) -> Array:
    canvas, _ = _open_country(rng, "grass")
    height, width = canvas.owner.shape
    colour = tuple(float(c) for c in _colour(rng, 0.2))
    step, thick, tilt = rng.uniform(14, 40), int(rng.integers(3, 12)), rng.normal(0, 0.1)
    top, bottom = height * rng.uniform(0.25, 0.5), height * rng.uniform(0.75, 0.95)
    for x in np.arange(0, width, step):
        shift = tilt * x
        cv2.line(canvas.colour, (int(x), int(top + shift)), (int(x), int(bottom + shift)), colour, thick)
    for share in (0.2, 0.75):
        y = top + share * (bottom - top)
        cv2.line(canvas.colour, (0, int(y)), (width, int(y + tilt * width)), colour, max(thick // 2, 2))
    return develop(rng, canvas)


def _flat_shape(rng: Rng, draw: Callable[[Rng, Array], None]) -> Array:
    """A thing drawn on a (200, 200, 4) sheet, turned and laid over a blurred background."""
    height, width, picture = _plain_canvas(rng)
    sheet = np.zeros((200, 200, 4), np.float32)
    draw(rng, sheet)
    sheet[:, :, :3] *= (0.75 + 0.5 * noise(rng, 200, 200, 0.4))[:, :, None]
    scale = height * rng.uniform(0.5, 0.95) / 200
    matrix = cv2.getRotationMatrix2D((100, 100), rng.normal(0, 18), scale)
    matrix[0] *= rng.uniform(0.75, 1.1)
    matrix[:, 2] += np.array([width, height]) * rng.uniform(0.4, 0.6, 2) - 100
    _over(picture, cv2.warpAffine(sheet, matrix, (width, height)))
    return _finish(rng, picture)


def _ink(rng: Rng) -> tuple[float, float, float, float]:
    return (*(float(c) for c in _colour(rng)), 1.0)


def _flower(rng: Rng, sheet: Array) -> None:
    cv2.line(sheet, (100, 100), (100 + int(rng.normal(0, 12)), 199), (0.05, 0.22, 0.1, 1.0), 5)
    petals, ink = int(rng.integers(5, 12)), _ink(rng)
    for i in range(petals):
        angle = 360 * i / petals
        at = (int(100 + 38 * np.cos(np.radians(angle))), int(85 + 38 * np.sin(np.radians(angle))))
        shade = tuple(c * rng.uniform(0.8, 1.2) for c in ink[:3])
        cv2.ellipse(sheet, at, (34, int(170 / petals)), angle, 0, 360, (*shade, 1.0), -1)
    cv2.circle(sheet, (100, 85), int(rng.integers(10, 20)), (0.05, 0.35, 0.55, 1.0), -1)


def _butterfly(rng: Rng, sheet: Array) -> None:
    ink, edge = _ink(rng), (0.03, 0.03, 0.04, 1.0)
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


def _clock_face(rng: Rng, sheet: Array) -> None:
    cv2.circle(sheet, (100, 100), 92, _ink(rng), -1)
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


def _umbrella(rng: Rng, sheet: Array) -> None:
    cv2.line(sheet, (100, 40), (100, 190), (0.06, 0.08, 0.1, 1.0), 4)
    ink = _ink(rng)
    for i, half in enumerate((92, 62, 30)):
        shade = tuple(c * (0.8 + 0.25 * (i % 2)) for c in ink[:3])
        cv2.ellipse(sheet, (100, 105), (half, 82), 0, 180, 360, (*shade, 1.0), -1)


def _fish(rng: Rng, sheet: Array) -> None:
    ink = _ink(rng)
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


def _ladder(rng: Rng, sheet: Array) -> None:
    ink, half = _ink(rng), int(rng.integers(24, 42))
    for side in (-1, 1):
        cv2.line(sheet, (100 + side * half, 4), (100 + side * half, 196), ink, 8)
    for y in range(16, 196, int(rng.integers(20, 32))):
        cv2.line(sheet, (100 - half, y), (100 + half, y), ink, 6)


def _chair(rng: Rng, sheet: Array) -> None:
    ink, seat, w = _ink(rng), int(rng.integers(100, 125)), int(rng.integers(34, 52))
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


def _boat(rng: Rng) -> Array:
    canvas, colour = _open_country(rng, "asphalt", eye=3, pitch=-1)
    below = canvas.inverse_depth > 0
    height, width = below.shape
    water = (colour * np.float32([0.6, 0.5, 0.36])) * (0.4 + 0.9 * noise(rng, height, width, 0.15, 6))[
        :, :, None
    ]
    canvas.colour[below] = water[below]
    line = int(np.argmax(below.any(1))) + int(rng.uniform(0.08, 0.3) * height)
    size, x, ink = width * rng.uniform(0.12, 0.25), width * rng.uniform(0.35, 0.65), _ink(rng)[:3]
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


def _balloon(rng: Rng) -> Array:
    canvas, _ = _open_country(rng, _ground_kind(rng), eye=2, pitch=6)
    width, height = canvas.camera.size
    for _ in range(int(rng.integers(1, 4))):
        r = int(width * rng.uniform(0.06, 0.2))
        at = (int(width * rng.uniform(0.2, 0.8)), int(height * rng.uniform(0.25, 0.55)))
        inks = [_colour(rng), _colour(rng)]
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


BOTTLE = [(0, 0.3), (0.3, 0.32), (0.45, 0.95), (0.95, 1), (1, 0.9)]
GENERIC: dict[str, Painter] = {
    "bottle": partial(_turned, profile=BOTTLE, aspect=0.34),
    "vase": partial(
        _turned,
        profile=[(0, 0.6), (0.15, 0.42), (0.5, 1), (0.85, 0.6), (1, 0.55)],
        aspect=0.62,
        pattern="rings",
    ),
    "goblet": partial(
        _turned, profile=[(0, 0.9), (0.45, 0.8), (0.55, 0.12), (0.9, 0.12), (1, 0.8)], aspect=0.5
    ),
    "bowl": partial(_turned, profile=[(0, 1), (0.5, 0.88), (0.85, 0.5), (1, 0.45)], aspect=1.7),
    "mushroom": partial(
        _turned,
        profile=[(0, 0.0), (0.12, 0.7), (0.4, 1), (0.45, 0.28), (1, 0.36)],
        aspect=0.95,
        pattern="spots",
    ),
    "pear": partial(_turned, profile=[(0, 0.1), (0.2, 0.4), (0.65, 1), (0.9, 0.8), (1, 0.3)], aspect=0.72),
    "lamp": partial(_turned, profile=[(0, 0.45), (0.4, 1), (0.41, 0.1), (0.9, 0.1), (1, 0.5)], aspect=0.6),
    "pawn": partial(
        _turned,
        profile=[
            (0, 0.1),
            (0.1, 0.45),
            (0.28, 0.4),
            (0.32, 0.6),
            (0.36, 0.28),
            (0.8, 0.5),
            (0.85, 0.95),
            (1, 1),
        ],
        aspect=0.5,
    ),
    "ball": partial(
        _turned,
        profile=[(float(t), float(np.sqrt(1 - (2 * t - 1) ** 2))) for t in np.linspace(0, 1, 21)],
        aspect=1.0,
        pattern="spots",
    ),
    "barrel": partial(_turned, profile=[(0, 0.75), (0.5, 1), (1, 0.75)], aspect=0.72, pattern="rings"),
    "brick_wall": partial(_surface, make=_with(1, _bricks)),
    "cobbles": partial(_surface, make=_with(1, _stones)),
    "planks": partial(_surface, make=_with(1, _planks)),
    "checked_cloth": partial(_surface, make=_with(2, _check)),
    "zebra": partial(_surface, make=_with(1, _zebra)),
    "leopard": partial(_surface, make=_with(1, _spots)),
    "honeycomb": partial(_surface, make=_with(1, _honeycomb)),
    "foliage": partial(_surface, make=_with(1, _foliage)),
    "sand": partial(_surface, make=partial(_ripples, base=(0.26, 0.42, 0.55), contrast=0.2)),
    "water": partial(_surface, make=partial(_ripples, base=(0.4, 0.32, 0.2), contrast=0.5)),
    "knitting": partial(_surface, make=_with(2, _knit)),
    "forest": _forest,
    "mountain": _mountain,
    "sea": _sea,
    "dunes": _dunes,
    "street": _street,
    "tree": partial(_standing, kind="tree", metres=7.0, count=(1, 3), near=(7, 14)),
    "conifer": partial(_standing, kind="conifer", metres=8.0, count=(1, 3), near=(8, 15)),
    "person": partial(_standing, kind="person", metres=1.75, count=(1, 5), near=(2.5, 6)),
    "car": partial(_standing, kind="car", metres=1.5, count=(1, 3), near=(4, 9)),
    "street_lamp": partial(_standing, kind="lamp", metres=5.0, count=(1, 3), near=(6, 12)),
    "house": partial(_house, archetype="terrace"),
    "block_of_flats": partial(_house, archetype="flats"),
    "church": partial(_house, archetype="church"),
    "castle": partial(_house, archetype="keep"),
    "palace": partial(_house, archetype="palace"),
    "dome": partial(_house, archetype="rotunda"),
    "gateway": partial(_house, archetype="gatehouse"),
    "museum": partial(_house, archetype="hall"),
    "bridge": _bridge,
    "lighthouse": _lighthouse,
    "windmill": partial(_lighthouse, windmill=True),
    "tent": _tent,
    "fence": _fence,
    "flower": partial(_flat_shape, draw=_flower),
    "butterfly": partial(_flat_shape, draw=_butterfly),
    "clock": partial(_flat_shape, draw=_clock_face),
    "umbrella": partial(_flat_shape, draw=_umbrella),
    "fish": partial(_flat_shape, draw=_fish),
    "ladder": partial(_flat_shape, draw=_ladder),
    "chair": partial(_flat_shape, draw=_chair),
    "boat": _boat,
    "balloon": _balloon,
}
