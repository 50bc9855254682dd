"""The pictures that features are computed of: which there are, their pixels, a query's part of them."""

import hashlib
import math
import os
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from eval.files.ground_truth import Query

PICTURE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp"))


class Picture(NamedTuple):
    """One row to be: a file, the part of it (x1, y1, x2, y2) in pixels, or all of it, and the row's name."""

    path: str
    box: tuple[float, float, float, float] | None = None
    name: str = ""

    def stamp(self) -> int:
        """A number other than 0 that changes with the file's size and time of change, or with the box."""
        stat = Path(self.path).stat()
        seen = f"{stat.st_size} {stat.st_mtime_ns} {self.box}".encode()
        return int.from_bytes(hashlib.sha256(seen).digest()[:8]) | 1


class Part(NamedTuple):
    """A picture's pixels (H, W, 3) uint8 BGR, and height and width of the picture that they are a part of."""

    pixels: np.ndarray
    whole: tuple[int, int]


def read_part(picture: Picture) -> Part:
    """Decode a picture and cut its box; coordinates are rounded, halves up.

    Raises OSError where the file can't be read, ValueError where it is no picture or the box lies outside.
    """
    encoded = np.frombuffer(Path(picture.path).read_bytes(), np.uint8)
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    if image is None:
        raise ValueError(f"{picture.path} is not a picture that OpenCV can read")
    if picture.box is None:
        return Part(image, image.shape[:2])
    x1, y1, x2, y2 = (max(0, math.floor(value + 0.5)) for value in picture.box)
    cut = image[y1:y2, x1:x2]
    if not cut.size:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise ValueError(f"{picture.path}: the query's box {picture.box} leaves nothing of its {size} pixels")
    return Part(cut, image.shape[:2])


def list_pictures(folder: Path) -> dict[str, Picture]:
    """Pictures below a folder by their names (path below it without extension, '/' between), sorted by name.

    Raises ValueError where there are none, two have one name, or a name is not UTF-8; OSError for no folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(20, "Not a folder", str(folder))
    found: dict[str, Picture] = {}
    for parent, _, files in os.walk(folder):
        for file in files:
            path = Path(parent, file)
            if path.suffix.lower() not in PICTURE_SUFFIXES or file.startswith("."):
                continue
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                raise ValueError(f"{path} and {found[name].path} would have one name, {name}")
            if not name.isprintable():
                raise ValueError(f"{str(path)!r} has a name that is not printable text")
            found[name] = Picture(str(path), None, name)
    if not found:
        raise ValueError(f"{folder} holds no pictures ({' '.join(sorted(PICTURE_SUFFIXES))})")
    return dict(sorted(found.items()))


def query_pictures(
    queries: list[Query], database: dict[str, Picture], folder: Path, whole: bool
) -> dict[str, Picture]:
    """The boxes to cut, or the `whole` pictures that they are cut from, by query.

    Raises ValueError where a query's picture isn't in the database.
    """
    for query in queries:
        if query.image not in database:
            raise ValueError(
                f"query {query.name} is cut from {query.image}, and {folder} has no such picture"
            )
    return {
        query.name: Picture(database[query.image].path, None if whole else query.box, query.name)
        for query in queries
    }


def drawn(pictures: dict[str, Picture], count: int, seed: int) -> dict[str, Picture]:
    """`count` pictures, or all if there are no more, drawn by seed, in their order."""
    names = list(pictures)
    chosen = np.random.default_rng(seed).choice(len(names), min(count, len(names)), replace=False)
    return {names[i]: pictures[names[i]] for i in sorted(chosen)}
