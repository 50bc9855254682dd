"""Storeyed walls: windows, doors, arcades, columns, clocks and roses painted onto a bare wall."""

from dataclasses import replace

import numpy as np

from data_prep.demo.buildings.style import Style
from data_prep.demo.buildings.textures import PIXELS_PER_METRE, Texture, line, opening, paint, rect, wall
from data_prep.demo.photo import Rng


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
            paint(texture, rect(0, bottom - 1, w, bottom + 1), style.trim, 1.5)
    if style.quoins:
        for i, y in enumerate(range(0, h, 6)):
            size = 6 if i % 2 else 9
            paint(texture, rect(0, y, size, y + 4), style.trim, 1)
            paint(texture, rect(w - size, y, w, y + 4), style.trim, 1)
    if style.cornice:
        paint(
            texture, rect(0, 0, w, style.cornice * PIXELS_PER_METRE * 0.7), style.trim, 2 + 3 * style.cornice
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
        window(rng, texture, replace(style, panes=(bays * 2, 1)), w / 2, sill, w * 0.9, height)
        return
    for i in range(bays):
        if style.bay_rhythm > 1 and i % style.bay_rhythm == style.bay_rhythm - 1 and bays > 3:
            continue
        window(rng, texture, style, (i + 0.5) * bay, sill, width, height)


def _verticals(texture: Texture, style: Style, bays: int, storey: float) -> None:
    h, w = texture.relief.shape
    if style.verticals == "none":
        return
    half = {"pilasters": 2.2, "columns": 2.2, "buttresses": 3.2}[style.verticals]
    colour = style.trim if style.verticals != "buttresses" else tuple(0.95 * c for c in style.wall)
    base = h - storey if style.ground_floor in ("rustic", "arcade") else h
    for i in range(bays + 1):
        x = np.clip(i * w / bays, half, w - half)
        paint(
            texture, rect(x - half, 0, x + half, base), colour, 3 if style.verticals == "buttresses" else 1.5
        )
        if style.verticals == "columns":
            for offset in (-2, -1, 0, 1, 2):
                column = int(np.clip(x + offset, 0, w - 1))
                texture.relief[: int(base), column] = 3.5 - 0.5 * offset**2
        if style.verticals != "buttresses":
            paint(texture, rect(x - half - 1, 4, x + half + 1, 8), style.trim, 3)


def _ground_floor(rng: Rng, texture: Texture, style: Style, bays: int, storey: float) -> None:
    h, w = texture.relief.shape
    bay = w / bays
    if style.ground_floor == "arcade":
        for i in range(bays):
            outline = opening(
                "pointed" if style.window == "pointed" else "round",
                (i + 0.5) * bay,
                h,
                bay * 0.72,
                storey * 0.86,
            )
            paint(texture, outline, tuple(0.16 * c for c in style.wall), -4)
        return
    if style.ground_floor == "rustic":
        for y in range(int(h - storey), h, 5):
            paint(texture, rect(0, y, w, y + 1), tuple(0.6 * c for c in style.wall), -1)
        paint(texture, rect(0, h - storey - 1, w, h - storey + 2), style.trim, 2)
        _storey(
            rng, texture, replace(style, surround="none", window="segment"), bays, h, storey, top_floor=True
        )
        return
    for i in range(bays):
        paint(
            texture, rect((i + 0.12) * bay, h - storey * 0.72, (i + 0.88) * bay, h - 3), (0.5,) * 3, -2, 1.0
        )
        shade = tuple(float(c) for c in rng.uniform(0.05, 0.5, 3))
        paint(
            texture, rect((i + 0.06) * bay, h - storey * 0.9, (i + 0.94) * bay, h - storey * 0.74), shade, 2
        )


def window(
    rng: Rng, texture: Texture, style: Style, cx: float, bottom: float, width: float, height: float
) -> None:
    """One window, or the two lights of a twin, standing on `bottom`; lengths in texture pixels."""
    if style.window == "twin":
        light = replace(style, window="round")
        for side in (-0.27, 0.27):
            window(rng, texture, light, cx + side * width, bottom, width * 0.46, height)
        return
    kind = "rect" if style.window == "band" else style.window
    _surround(texture, style, kind, cx, bottom, width, height)
    pane = float(rng.uniform(0.2, 1.0))
    paint(texture, opening(kind, cx, bottom, width, height), (pane,) * 3, -2.5, 1.0)
    frame = (0.08, 0.08, 0.09) if style.frame_dark else (0.62, 0.63, 0.64)
    for i in range(1, style.panes[0]):
        x = cx - width / 2 + width * i / style.panes[0]
        line(texture, (x, bottom - height * 0.97), (x, bottom - 1), frame)
    for i in range(1, style.panes[1]):
        y = bottom - height * i / style.panes[1]
        line(texture, (cx - width * 0.45, y), (cx + width * 0.45, y), frame)


def _surround(
    texture: Texture, style: Style, kind: str, cx: float, bottom: float, width: float, height: float
) -> None:
    border = max(0.16 * width, 1.5)
    top = bottom - height - border
    if style.surround in ("frame", "hood", "gablet"):
        outer = opening(kind, cx, bottom + border * 0.6, width + 2 * border, height + 1.6 * border)
        paint(texture, outer, style.trim, 0.8)
    if style.surround == "gablet":
        gablet = np.array([[cx - width * 0.75, top], [cx, top - width * 0.4], [cx + width * 0.75, top]])
        paint(texture, gablet, style.trim, 2.0)
    if style.surround == "hood":
        paint(texture, rect(cx - width * 0.75, top - 2, cx + width * 0.75, top), style.trim, 2.5)
    if style.surround in ("sill", "hood", "gablet"):
        paint(texture, rect(cx - width * 0.62, bottom, cx + width * 0.62, bottom + 1.5), style.trim, 1.5)


def _door(
    texture: Texture, style: Style, kind: str, cx: float, bottom: float, width: float, storey: float
) -> None:
    shape = "rect" if kind == "rect" else ("pointed" if style.window == "pointed" else "round")
    tall = min(storey * (0.95 if kind == "gate" else 0.72), bottom * 0.95)
    wide = width * (1.1 if kind == "gate" else 0.6)
    paint(texture, opening(shape, cx, bottom, wide * 1.35, tall * 1.1), style.trim, 2)
    paint(texture, opening(shape, cx, bottom, wide, tall), (0.05, 0.06, 0.09), -3)


def clock_dial(texture: Texture, cx: float, cy: float, radius: float, colour: tuple[float, ...]) -> None:
    circle = opening("oculus", cx, cy + radius, 2 * radius, 2 * radius)
    paint(texture, circle, colour, 1.0)
    line(texture, (cx, cy), (cx, cy - 0.75 * radius), (0.03,) * 3)
    line(texture, (cx, cy), (cx + 0.5 * radius, cy + 0.2 * radius), (0.03,) * 3)


def rose_window(texture: Texture, style: Style, cx: float, cy: float, radius: float) -> None:
    paint(texture, opening("oculus", cx, cy + radius * 1.2, 2.4 * radius, 2.4 * radius), style.trim, 1.5)
    paint(texture, opening("oculus", cx, cy + radius, 2 * radius, 2 * radius), (0.4,) * 3, -2.5, 1.0)
    for angle in np.arange(0, np.pi, np.pi / 4):
        dx, dy = radius * np.cos(angle), radius * np.sin(angle)
        line(texture, (cx - dx, cy - dy), (cx + dx, cy + dy), style.trim)
