"""Ground truth of Revisited Oxford and Paris: a pickle such as gnd_roxford5k.pkl.

    {"imlist": [names of the pictures searched], "qimlist": [names of the queries' pictures, which are not],
     "gnd": [{"bbx": [x1, y1, x2, y2], "easy": [places in imlist], "hard": [...], "junk": [...]}, ...]}

with one entry of `gnd` a query. Names have no folder and no extension.
Radenović, Iscen, Tolias, Avrithis and Chum, "Revisiting Oxford and Paris", CVPR 2018, arXiv 1803.11285.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tools.files.plain_pickle import read_plain_pickle
from tools.program import LONGEST_NAME

KINDS = ("easy", "hard", "junk")
NO_NAME = set("/\0\n\r")
"""Characters of no name here: they end folders' names, or lines of a ranked list."""


@dataclass(frozen=True)
class Asked:
    """A query: a part of a picture, and what is to be found."""

    image: str
    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels, left < right, top < bottom."""
    easy: frozenset[str]
    hard: frozenset[str]
    junk: frozenset[str]


@dataclass(frozen=True)
class Revisited:
    """A whole file."""

    searched: tuple[str, ...]
    """The pictures that are ranked; the queries' own are not among them."""
    asked: tuple[Asked, ...]


def read_revisited(path: Path) -> Revisited:
    """Read a gnd file. Raises OSError, or ValueError with one sentence for what is none."""
    found = read_plain_pickle(path)
    if not isinstance(found, dict) or (lacking := {"imlist", "qimlist", "gnd"} - set(found)):
        what = f"it lacks {', '.join(sorted(lacking))}" if isinstance(found, dict) else "it is no dict"
        raise ValueError(f"{path} is no ground truth of Revisited Oxford or Paris: {what}")
    searched, images = (_names(path, found[key], key) for key in ("imlist", "qimlist"))
    entries = list(found["gnd"]) if isinstance(found["gnd"], list | tuple) else None
    if entries is None or len(entries) != len(images) or not images:
        raise ValueError(f"{path}: gnd has not one entry for each of the {len(images)} names of qimlist")
    if both := sorted(set(searched) & set(images)):
        raise ValueError(f"{path}: {both[0]} is a query's picture and searched too")
    asked = (_asked(path, image, entry, searched) for image, entry in zip(images, entries, strict=True))
    return Revisited(searched, tuple(asked))


def _names(path: Path, found: Any, key: str) -> tuple[str, ...]:
    names = found.tolist() if isinstance(found, np.ndarray) else found
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{path}: {key} is not a list of names")
    if any(set(name) & NO_NAME or len(name) > LONGEST_NAME for name in names):
        raise ValueError(f"{path}: {key} has a name that no picture can have")
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: {key} has {next(n for n in names if names.count(n) > 1)} twice")
    return tuple(names)


def _asked(path: Path, image: str, entry: Any, searched: Sequence[str]) -> Asked:
    if not isinstance(entry, dict) or (lacking := {"bbx", *KINDS} - set(entry)):
        what = f"lacks {', '.join(sorted(lacking))}" if isinstance(entry, dict) else "is no dict"
        raise ValueError(f"{path}: gnd's entry for {image} {what}")
    lists = {kind: _pictures(path, image, kind, entry[kind], searched) for kind in KINDS}
    for one, other in (("easy", "hard"), ("easy", "junk"), ("hard", "junk")):
        if both := lists[one] & lists[other]:
            raise ValueError(f"{path}: for {image} {min(both)} is {one} and {other}")
    return Asked(image, _box(path, image, entry["bbx"]), **lists)


def _pictures(path: Path, image: str, kind: str, found: Any, searched: Sequence[str]) -> frozenset[str]:
    places = found.tolist() if isinstance(found, np.ndarray) else found
    if not isinstance(places, list | tuple) or not all(
        type(one) is int or isinstance(one, np.integer) for one in places
    ):
        raise ValueError(f"{path}: {kind} of {image} is not a list of places in imlist")
    if outside := [int(place) for place in places if not 0 <= place < len(searched)]:
        raise ValueError(
            f"{path}: {kind} of {image} names place {outside[0]} of imlist, which has {len(searched)}"
        )
    return frozenset(searched[place] for place in places)


def _box(path: Path, image: str, found: Any) -> tuple[float, float, float, float]:
    try:
        x1, y1, x2, y2 = (float(value) for value in found)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{path}: bbx of {image} is not x1, y1, x2, y2") from None
    if not all(math.isfinite(value) for value in (x1, y1, x2, y2)) or x1 >= x2 or y1 >= y2:
        raise ValueError(f"{path}: bbx of {image} has no area: {x1:g} {y1:g} {x2:g} {y2:g}")
    return x1, y1, x2, y2
