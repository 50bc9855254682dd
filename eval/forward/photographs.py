"""The pictures that features are computed of: which there are, their pixels, a query's part of them."""

import hashlib
import io
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eval.files.ground_truth import Query
from tools.files.picture_names import FORMAT_OF_SUFFIX, files_below, is_picture
from tools.files.pixels import decoded, what_instead

BLANKS = " \t"
"""What readers of ground truth and of ranked lists take off a name's ends."""


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
    content = Path(picture.path).read_bytes()
    if not content:
        raise ValueError(f"{picture.path} is empty")
    image = decoded(content)
    if image is None:
        image = _read_heic(picture.path, content)
    if image is None:
        raise ValueError(f"{picture.path} is {what_instead(content)}")
    if picture.box is None:
        return Part(image, image.shape[:2])
    x1, y1, x2, y2 = (max(0, math.floor(value + 0.5)) for value in picture.box)
    cut = image[y1:y2, x1:x2]
    if not cut.size:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise ValueError(f"{picture.path}: the query's box {picture.box} leaves nothing of its {size} pixels")
    return Part(cut, image.shape[:2])


def _read_heic(path: str, content: bytes) -> np.ndarray | None:
    """The pixels (H, W, 3) uint8 BGR of a phone's HEIC, upright, which OpenCV can't read; None for others."""
    import pillow_heif  # an annex: nothing on the article's way is HEIC

    if not pillow_heif.is_supported(io.BytesIO(content)):
        return None
    try:
        opened = pillow_heif.open_heif(io.BytesIO(content), convert_hdr_to_8bit=True, bgr_mode=True)
        return np.ascontiguousarray(np.asarray(opened)[:, :, :3])
    except Exception as error:  # libheif's own, of several kinds
        raise ValueError(f"{path} is a broken HEIC: {error}") from None


def list_pictures(folder: Path) -> dict[str, Picture]:
    """Pictures below a folder by their names, sorted by name.

    A name is the path below the folder without extension, '/' between, no blanks at its ends. Raises
    ValueError where there are no pictures, or names that can't be (all of them listed); OSError for no
    folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(20, "Not a folder", str(folder))
    found: dict[str, Picture] = {}
    refused = []
    for file in files_below(folder):
        path = Path(file)
        if not is_picture(path.name):
            continue
        name = path.relative_to(folder).with_suffix("").as_posix().strip(BLANKS)
        if why := trouble_with(name):
            refused.append(f"{file!r} {why}")
        elif name in found:
            refused.append(f"{file!r} and {found[name].path!r} would have one name, {name}")
        else:
            found[name] = Picture(file, None, name)
    if refused:
        raise ValueError(f"pictures to rename: {'; '.join(refused)}")
    if not found:
        raise ValueError(f"{folder} holds no pictures ({' '.join(sorted(FORMAT_OF_SUFFIX))})")
    return dict(sorted(found.items()))


def trouble_with(name: str) -> str | None:
    """Why features, ranked lists and ground truth can't hold this name; None where they can."""
    if not name.rpartition("/")[2]:
        return "has a name of blanks alone"
    if "\n" in name or "\r" in name:
        return "has a line break in its name"
    if "\ufeff" in name:
        return "has a byte-order mark in its name"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    return None


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
