"""What people build, as generic classes: none of these buildings is a landmark of the demo."""

from functools import lru_cache

import cv2
import numpy as np

from data_prep.demo.buildings.archetypes import draw_building
from data_prep.demo.buildings.facades import facade
from data_prep.demo.buildings.plan import Building, Plan
from data_prep.demo.buildings.renderer import Placement, draw_on
from data_prep.demo.buildings.style import draw_style
from data_prep.demo.generic.landscapes import ground_kind, open_country
from data_prep.demo.generic.studio import draw_colour
from data_prep.demo.photo import Array, Rng, develop, float32, ground_shadow, noise
from data_prep.demo.scenes import Framing, photograph
from data_prep.demo.sprites import stand


@lru_cache(maxsize=256)
def _some_building(archetype: str, number: int, make: int = 0) -> Building:
    """One of a make of buildings: those of one make agree in all details of style, not in their plan."""
    style = draw_style(np.random.default_rng([make, *archetype.encode()])) if make else None
    return draw_building(np.random.default_rng([number, make, *archetype.encode()]), archetype, style)


def house(rng: Rng, archetype: str, make: int) -> Array:
    return photograph(
        rng,
        _some_building(archetype, int(rng.integers(12)), make),
        Framing(span=(0.6, 1.3), aside=0.3, clutter=1.2),
    ).picture


def street(rng: Rng) -> Array:
    canvas, colour = open_country(rng, "asphalt")
    for side in (-1, 1):
        for i in range(3):
            house = _some_building("terrace" if i else "flats", int(rng.integers(12)))
            draw_on(canvas, house, Placement(side * rng.uniform(9, 12), 6 - 16 * i, -side * 1.45), colour, 2)
    for _ in range(5):
        distance = rng.uniform(6, 30)
        stand(rng, canvas, str(rng.choice(["car", "person", "lamp"])), rng.uniform(-4, 4), 20 - distance)
    return develop(rng, canvas)


def bridge(rng: Rng) -> Array:
    canvas, colour = open_country(rng, str(rng.choice(["grass", "asphalt"])), eye=rng.uniform(1, 5))
    plan = Plan(rng, draw_style(rng))
    width, height = rng.uniform(24, 40), rng.uniform(4, 8)
    texture = facade(rng, plan.style, width, height, plain=True)
    texture.glass[:], texture.alpha[:] = 0, 1
    h, w = texture.relief.shape
    texture.albedo[:] = float32(plan.style.wall) * (0.6 + 0.5 * noise(rng, h, w, 0.2))[:, :, None]
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


def lighthouse(rng: Rng, windmill: bool = False) -> Array:
    canvas, colour = open_country(rng, ground_kind(rng), pitch=3)
    plan = Plan(rng, draw_style(rng))
    r, h = rng.uniform(1.6, 2.4), rng.uniform(8, 12)
    bands = int(rng.integers(3, 7))
    shades = [tuple(draw_colour(rng)), (0.7, 0.7, 0.7)]
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


def tent(rng: Rng) -> Array:
    canvas, colour = open_country(rng, ground_kind(rng))
    plan = Plan(rng, draw_style(rng))
    for _ in range(int(rng.integers(1, 4))):
        r = rng.uniform(2, 4)
        plan.turned(
            rng.normal(0, 3),
            rng.uniform(-4, 6),
            [(r, 0), (r, r * 0.2), (0, r * rng.uniform(0.9, 1.5))],
            int(rng.choice([4, 6, 10])),
            tuple(draw_colour(rng)),
        )
    draw_on(canvas, plan.building, Placement(turn=rng.uniform(0, 1)), colour, 2)
    return develop(rng, canvas)
