"""The report's pictures of the training data: what was broken, copies, the mean, entries of an LMDB."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from eval.report.pages import Pictures, Shown, read_image
from eval.report.run_folder import Run
from tools.files.image_lmdb import entries as lmdb_entries
from tools.files.image_lmdb import open_lmdb, picture_of
from tools.files.mean_file import read_mean_image
from tools.files.picture_names import pictures_in

MOST_BROKEN = 24
COPIES = 7
ENTRIES = 8


@dataclass(frozen=True)
class Broken:
    """A picture that the check found bad."""

    file: str
    reason: str
    done: str
    picture: Shown | None


@dataclass(frozen=True)
class Entry:
    """An entry of an LMDB."""

    key: str
    label: int
    name: str
    stored: Shown
    centred: Shown | None


def broken(run: Run, pictures: Pictures) -> list[Broken]:
    """The first findings of the check, with what can be seen of each."""
    shown = []
    for row in (run.findings or [])[:MOST_BROKEN]:
        places = (run.work / folder / row["file"] for folder in ("quarantine", "checked"))
        path = next((place for place in places if place.is_file()), None)
        alt = f"what can be read of {row['file']}"
        picture = pictures.thumbnail(path, f"broken/{row['file']}", alt, 72) if path else None
        shown.append(Broken(row["file"], row["reason"], row["done"], picture))
    return shown


def copies(run: Run, pictures: Pictures) -> tuple[str, list[Shown]] | None:
    """An original of the class with the most copies an original, and its first copies; None without any."""
    grown = [size for size in run.class_sizes if size.augmented > size.originals > 0]
    for size in sorted(grown, key=lambda size: (size.originals / size.augmented, size.name)):
        folder = run.work / "augmented" / size.name
        files = [folder / name for name in pictures_in(folder)]
        for original in (file for file in files if not file.name.startswith("aug_")):
            # augment names a copy after its original: aug_a.jpg_0.jpg
            made = [file for file in files if file.name.startswith(f"aug_{original.name}_")][:COPIES]
            if made:
                shown = [pictures.thumbnail(original, f"copies/{original.name}", "the original")]
                for number, file in enumerate(made, 1):
                    shown.append(pictures.thumbnail(file, f"copies/{file.name}", f"copy {number}"))
                return f"{size.name}/{original.name}", [one for one in shown if one]
    return None


def mean_image(path: Path) -> np.ndarray | None:
    """The mean of compute_image_mean, (H, W, 3) float32 BGR; None where there is no such file."""
    return read_mean_image(path).transpose(1, 2, 0) if path.is_file() else None


def enlarged(image: np.ndarray, height: int = 160) -> np.ndarray:
    """(H, W, 3) uint8 with its pixels repeated, if it is small, so that a browser need not blur it."""
    factor = max(1, round(height / image.shape[0]))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def entries(run: Run, pictures: Pictures, mean: np.ndarray | None) -> tuple[int, list[Entry]] | None:
    """How many entries train_lmdb has, and some from all over it; None where there is none."""
    folder = run.work / "lmdb" / "train_lmdb"
    if not (folder / "data.mdb").is_file():
        return None
    with open_lmdb(folder) as database:
        count = database.stat()["entries"]
        read = list(islice(lmdb_entries(database, max(1, count // ENTRIES)), ENTRIES))
    shown = []
    for number, (key, value) in enumerate(read):
        label, image = picture_of(value)
        name = run.class_names.get(str(label), "")
        stored = pictures.jpeg(f"lmdb/{number}", enlarged(image, 120), f"entry of {name or label}")
        centred = None
        if mean is not None and mean.shape == image.shape:
            less = np.clip(image - mean + 128, 0, 255).astype(np.uint8)
            centred = pictures.jpeg(f"lmdb/{number}_centred", enlarged(less, 120), "the same less the mean")
        shown.append(Entry(key.decode(errors="replace"), label, name, stored, centred))
    return count, shown


def boxed(path: Path, box: tuple[float, float, float, float], height: int = 150) -> np.ndarray | None:
    """A picture with a query's box drawn on it, (h, w, 3) uint8 BGR; None where it is no picture."""
    image = read_image(path)
    if image is None:
        return None
    scale = min(1.0, height / image.shape[0], 3 * height / image.shape[1])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    left, top, right, bottom = (round(value * scale) for value in box)
    for colour, thickness in (((0, 0, 0), 4), ((0, 220, 255), 2)):
        cv2.rectangle(small, (left, top), (right - 1, bottom - 1), colour, thickness)
    return small
