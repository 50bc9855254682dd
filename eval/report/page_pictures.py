"""Pictures and figures of the report's page: written small, each with what the page must know to show it."""

import re
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageFile

from eval.results.words import Words
from tools.files.pixels import decoded

JPEG_QUALITY = 80
Pixels = NDArray[np.uint8]
"""(H, W, 3), BGR."""
# matplotlib's own colours (its drawings stay plain) by the name of what a colour scheme makes of them
SCHEME = {
    "#000000": ("ink", "#1d2330", "#e8ebf1"),
    "#ffffff": ("paper", "#ffffff", "#161a22"),
    "#b0b0b0": ("grid", "#c4c9d2", "#3d4554"),
    "#1f77b4": ("c0", "#1c69a8", "#79bdf7"),
    "#ff7f0e": ("c1", "#c25700", "#ffab61"),
    "#2ca02c": ("c2", "#25802b", "#79d48b"),
    "#d62728": ("c3", "#c02428", "#ff8b85"),
    "#9467bd": ("c4", "#7b4fa6", "#c7a4ec"),
    "#7f7f7f": ("c7", "#646b78", "#a3acba"),
}


@dataclass(frozen=True)
class Shown:
    """A picture on the page: path from the page, size in pixels, and the words for those who can't see it."""

    src: str
    width: int
    height: int
    alt: Words


@dataclass(frozen=True)
class Illustration:
    """A figure with the words below it that say what to see."""

    picture: Shown
    caption: Words


class Pictures:
    """The folder that the page's pictures go into."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[str, int], Shown] = {}

    def figure(self, name: str, figure: Figure, alt: Words) -> Shown:
        """Write a figure as SVG that follows the reader's colour scheme, and close it."""
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None}, transparent=True)
        plt.close(figure)
        return self.svg(name, text.getvalue(), alt)

    def svg(self, name: str, text: str, alt: Words) -> Shown:
        """Write an SVG drawn in matplotlib's colours, so that it follows the reader's colour scheme."""
        path = self._place(f"{name}.svg")
        path.write_text(follow_scheme(text), encoding="utf-8")
        width, height = (_points(text, side) for side in ("width", "height"))
        return Shown(self._src(path), round(width * 4 / 3), round(height * 4 / 3), alt)

    def jpeg(self, name: str, image: Pixels, alt: Words, quality: int = JPEG_QUALITY) -> Shown:
        """Write pixels (H, W, 3) uint8 BGR as JPEG."""
        path = self._place(f"{name}.jpg")
        path.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())
        return Shown(self._src(path), image.shape[1], image.shape[0], alt)

    def png(self, name: str, image: Pixels, alt: Words) -> Shown:
        """Write pixels (H, W, 3) uint8 BGR as PNG, for pictures whose single pixels matter."""
        path = self._place(f"{name}.png")
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
        return Shown(self._src(path), image.shape[1], image.shape[0], alt)

    def thumbnail(self, path: Path, name: str, alt: Words, height: int = 120) -> Shown | None:
        """A file's thumbnail, made once however often it is shown; None where the file is no picture."""
        key = (str(path), height)
        if key not in self._known:
            image = read_small(path, height)
            if image is None:
                return None
            self._known[key] = self.jpeg(f"{name}_{height}", image, alt)
        known = self._known[key]
        return Shown(known.src, known.width, known.height, alt)

    def _place(self, name: str) -> Path:
        path = self._folder / re.sub(r"[^\w./-]", "_", name)
        number = 1
        while path.exists():
            number += 1
            path = path.with_name(f"{path.stem.removesuffix(f'-{number - 1}')}-{number}{path.suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _src(self, path: Path) -> str:
        return path.relative_to(self._folder.parent).as_posix()


def _points(svg: str, side: str) -> float:
    """A side of an SVG as matplotlib writes it. Raises ValueError for another's."""
    found = re.search(rf'\b{side}="([\d.]+)pt"', svg)
    if found is None:
        raise ValueError(f"this SVG has no {side} in points: {svg[:60]!r}")
    return float(found[1])


def follow_scheme(svg: str) -> str:
    """Let an SVG drawn in matplotlib's colours have dark ones where the reader's device asks for them.

    An SVG that is shown as a picture takes its own style sheet's side of prefers-color-scheme.
    """
    for colour, (name, _, _) in SCHEME.items():
        svg = svg.replace(colour, f"var(--{name})")
    light, dark = (";".join(f"--{entry[0]}:{entry[i]}" for entry in SCHEME.values()) for i in (1, 2))
    style = (
        f"<style>svg{{{light}}}@media screen and (prefers-color-scheme:dark){{svg{{{dark}}}}}"
        "text{fill:var(--ink)}</style>"
    )
    head, tail = re.split(r"(?<=>)(?=\s*<metadata>|\s*<defs>)", svg, maxsplit=1)
    return head + style + tail


def read_small(path: Path, height: int) -> Pixels | None:
    """A file's pixels (h, w, 3) uint8 BGR at this height or less, None where it is no picture.

    No wider than three times its height.
    """
    image = read_image(path)
    return None if image is None else fit(image, height)


def read_image(path: Path) -> Pixels | None:
    """A file's pixels (H, W, 3) uint8 BGR; None where OpenCV reads no picture from it."""
    try:
        image = decoded(path.read_bytes())
    except OSError:
        return None
    return what_there_is(path) if image is None else np.asarray(image, np.uint8)


def what_there_is(path: Path) -> Pixels | None:
    """The pixels (H, W, 3) uint8 BGR of a file that is cut short, as far as they go; None without any."""
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        with Image.open(path) as picture:
            return np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, :, ::-1])
    except (OSError, SyntaxError, ValueError):
        return None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def fit(image: Pixels, height: int) -> Pixels:
    """Scale down to a height, or a width of three times that; small pictures stay as they are."""
    scale = min(1.0, height / image.shape[0], 3 * height / image.shape[1])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA)) if scale < 1 else image


def boxed(path: Path, box: tuple[float, float, float, float], height: int = 150) -> Pixels | None:
    """A picture with a query's box drawn on it, (h, w, 3) uint8 BGR; None where it is no picture."""
    image = read_image(path)
    if image is None:
        return None
    small = fit(image, height).copy()
    scale = small.shape[1] / image.shape[1]
    left, top, right, bottom = (round(value * scale) for value in box)
    for colour, thickness in (((0, 0, 0), 4), ((0, 220, 255), 2)):
        cv2.rectangle(small, (left, top), (right - 1, bottom - 1), colour, thickness)
    return small
