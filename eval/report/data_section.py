"""The report's sections on training data: what was broken, copies, lists, the mean, entries of an LMDB."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.report import figures
from eval.report.page_pictures import Illustration, Pictures, Pixels, Shown
from eval.report.run_folder import ClassSize, Run
from eval.results.words import text
from tools.files.image_lmdb import entries as lmdb_entries
from tools.files.image_lmdb import open_lmdb, picture_of
from tools.files.mean_file import read_mean_image
from tools.files.picture_names import pictures_in

MOST_BROKEN = 24
COPIES = 7
ENTRIES = 8
Mean = NDArray[np.float32]
"""(H, W, 3), BGR."""


@dataclass(frozen=True)
class Broken:
    """A picture that the check found bad."""

    file: str
    reason: str
    done: str
    picture: Shown | None


@dataclass(frozen=True)
class Copies:
    """An original, and copies of it behind it."""

    original: str
    pictures: list[Shown]


@dataclass(frozen=True)
class Entry:
    """An entry of an LMDB."""

    key: str
    label: int
    name: str
    stored: Shown
    centred: Shown | None


@dataclass(frozen=True)
class Entries:
    """How many entries an LMDB has, and some of them."""

    count: int
    shown: list[Entry]


@dataclass(frozen=True)
class MeanShown:
    """The mean picture: its size, and its mean by channel (B, G, R)."""

    picture: Shown
    size: tuple[int, int]
    values: list[float]


@dataclass(frozen=True)
class DataSection:
    """What the run has left of its training data; None or empty where it hasn't."""

    findings: Sequence[Mapping[str, str]] | None
    broken: list[Broken]
    sizes: Sequence[ClassSize]
    sizes_figure: Illustration | None
    left_out: Sequence[str]
    copies: Copies | None
    lists: Mapping[str, int]
    mean: MeanShown | None
    entries: Entries | None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.findings is not None or self.sizes or self.lists or self.mean or self.entries)


def data_section(run: Run, pictures: Pictures) -> DataSection:
    """Broken pictures, class sizes, an original with its copies, lists, the mean, entries of the LMDB."""
    mean = mean_image(run.work / "lmdb" / "mean.binaryproto")
    return DataSection(
        findings=run.findings,
        broken=broken(run, pictures),
        sizes=run.class_sizes,
        sizes_figure=_class_sizes(run.class_sizes, pictures) if run.class_sizes else None,
        left_out=run.left_out,
        copies=copies(run, pictures),
        lists=run.lists,
        mean=None if mean is None else _mean_shown(mean, pictures),
        entries=entries(run, pictures, mean),
    )


def _class_sizes(sizes: Sequence[ClassSize], pictures: Pictures) -> Illustration:
    before, after = [size.originals for size in sizes], [size.augmented for size in sizes]
    caption = text(
        "{count} classes. Before augmentation the smallest has {least} pictures, the largest {most}; after "
        "it {least_after} and {most_after}. A network trained on the dark part alone would lean to the large "
        "classes; the light part evens that out.",
        count=len(sizes),
        least=min(before),
        most=max(before),
        least_after=min(after),
        most_after=max(after),
    )
    if len(sizes) == 1:
        caption = text(
            "One class, with {before} pictures before augmentation and {after} after it. A network learns "
            "nothing from it: there is nothing to tell apart.",
            before=before[0],
            after=after[0],
        )
    alt = text("Bars of pictures in each class, originals and copies; the table below has the figures")
    return Illustration(pictures.figure("class_sizes", figures.class_sizes(sizes), alt), caption)


def _mean_shown(mean: Mean, pictures: Pictures) -> MeanShown:
    image = enlarged(np.clip(np.rint(mean), 0, 255).astype(np.uint8))
    shown = pictures.png("mean", image, "the mean of all training pictures, a soft blur")
    return MeanShown(shown, (mean.shape[0], mean.shape[1]), mean.mean(axis=(0, 1)).tolist())


def broken(run: Run, pictures: Pictures) -> list[Broken]:
    """The first findings of the check, with what can be seen of each."""
    shown = []
    for row in (run.findings or [])[:MOST_BROKEN]:
        places = (run.work / folder / row["file"] for folder in ("quarantine", "checked"))
        path = next((place for place in places if place.is_file()), None)
        alt = text("what can be read of {file}", file=row["file"])
        picture = pictures.thumbnail(path, f"broken/{row['file']}", alt, 72) if path else None
        shown.append(Broken(row["file"], row["reason"], row["done"], picture))
    return shown


def copies(run: Run, pictures: Pictures) -> Copies | None:
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
                    shown.append(
                        pictures.thumbnail(file, f"copies/{file.name}", text("copy {number}", number=number))
                    )
                return Copies(f"{size.name}/{original.name}", [one for one in shown if one])
    return None


def mean_image(path: Path) -> Mean | None:
    """The mean of compute_image_mean, (H, W, 3) BGR; None where there is no such file."""
    return read_mean_image(path).transpose(1, 2, 0) if path.is_file() else None


def enlarged(image: Pixels, height: int = 160) -> Pixels:
    """(H, W, 3) uint8 with its pixels repeated, if it is small, so that a browser need not blur it."""
    factor = max(1, round(height / image.shape[0]))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def entries(run: Run, pictures: Pictures, mean: Mean | None) -> Entries | None:
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
        alt = text("entry of {name}", name=name or label)
        stored = pictures.jpeg(f"lmdb/{number}", enlarged(image, 120), alt)
        centred = None
        if mean is not None and mean.shape == image.shape:
            less = np.clip(image - mean + 128, 0, 255).astype(np.uint8)
            centred = pictures.jpeg(f"lmdb/{number}_centred", enlarged(less, 120), "the same less the mean")
        shown.append(Entry(key.decode(errors="replace"), label, name, stored, centred))
    return Entries(count, shown)
