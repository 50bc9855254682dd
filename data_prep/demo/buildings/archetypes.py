"""The demo's buildings: drawn up once from a seed, then photographed from anywhere in any light.

What tells two buildings apart is what is built: massing, storeys, bays, windows, arches, columns, gables,
towers, domes. Wall colours overlap from building to building.

The order of random draws is a contract, here and in every module of data_prep.demo: the demo's pictures, and
with them its tables, are the same for a seed in every version. A draw that is added, left out or moved
changes every picture behind it.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from data_prep.demo.buildings.facades import facade, rose_window
from data_prep.demo.buildings.plan import Building, Plan
from data_prep.demo.buildings.style import Style, draw_style
from data_prep.demo.buildings.textures import PIXELS_PER_METRE, wall
from data_prep.demo.photo import Rng


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
        rose_window(
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


def draw_building(rng: Rng, archetype: str | None = None, style: Style | None = None) -> Building:
    """Draw up one building, of a given archetype (a key of ARCHETYPES) and style, or of any."""
    kind = archetype or str(rng.choice(list(ARCHETYPES)))
    plan = Plan(rng, style or draw_style(rng))
    ARCHETYPES[kind](plan)
    points = plan.building.outline_points()
    plan.building.width = float(np.ptp(points[:, 0]))
    plan.building.height = float(points[:, 1].max())
    return plan.building
