"""What the mason and the joiner agreed on for one building, drawn at random."""

from dataclasses import dataclass

import numpy as np

from data_prep.demo.photo import Rng

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
