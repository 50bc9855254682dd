"""What a run has left in its folder. What is not there is None or empty, never an error."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from eval.files.ground_truth import GroundTruth, read_ground_truth
from eval.files.scores import Scores, read_scores
from eval.forward.photographs import Picture, list_pictures
from eval.results.article import MODELS, Article, article
from tools.files.class_names import read_class_names
from tools.files.csv_rows import read_csv
from tools.files.image_list import read_image_list
from tools.files.picture_names import folders_in, pictures_in


@dataclass(frozen=True)
class Step:
    """A command that the run has carried out, and how long it took."""

    stage: str
    seconds: int
    command: str


@dataclass(frozen=True)
class ClassSize:
    """A class of the training data: pictures that came through the check, and after augmentation."""

    name: str
    originals: int
    augmented: int


@dataclass(frozen=True)
class Run:
    """A run's folder, and the data that it searched in."""

    work: Path
    images: Path | None = None
    gt: Path | None = None
    network: Path | None = None
    """Folder with the network's own prototxt files."""
    profile: Path | None = None

    @cached_property
    def steps(self) -> dict[str, list[Step]]:
        """Commands by stage, in the order they ended in."""
        found: dict[str, list[Step]] = {}
        files = (self.work / ".steps").glob("*.ran")
        for file in sorted(files, key=lambda file: (file.stat().st_mtime_ns, file.name)):
            noted = file.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\t", 2)
            if len(noted) == 3 and noted[1].isdecimal():  # a power cut may have emptied it
                stage, seconds, command = noted
                found.setdefault(stage, []).append(Step(stage, int(seconds), command))
        return found

    @cached_property
    def findings(self) -> list[dict[str, str]] | None:
        """Rows of check.csv: file, problem, reason, done."""
        return read_rows(self.work / "check.csv")

    @cached_property
    def class_names(self) -> dict[str, str]:
        """Names of the classes by their number."""
        path = self.work / "classes.csv"
        names = read_class_names(path) if path.is_file() else []
        return {str(number): name for number, name in enumerate(names)}

    @cached_property
    def class_sizes(self) -> list[ClassSize]:
        """Sizes by class, in the folders' order."""
        before, after = (count_pictures(self.work / name) for name in ("checked", "augmented"))
        return [ClassSize(name, before.get(name, 0), after[name]) for name in after]

    @cached_property
    def left_out(self) -> list[str]:
        """Classes that had too few pictures after the check to be augmented."""
        before, after = (count_pictures(self.work / name) for name in ("checked", "augmented"))
        return [name for name in before if after and name not in after]

    @cached_property
    def lists(self) -> dict[str, int]:
        """Lines of train.txt and val.txt."""
        files = {name: self.work / "lists" / f"{name}.txt" for name in ("train", "val")}
        return {name: len(read_image_list(file)) for name, file in files.items() if file.is_file()}

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """What was scored, by model."""
        files = {model: self.ranks(model) / "scores.json" for model in MODELS}
        return {model: read_scores(file) for model, file in files.items() if file.is_file()}

    def ranks(self, model: str) -> Path:
        """Folder with a model's ranked lists."""
        return self.work / "ranks" / model

    @cached_property
    def tables(self) -> dict[int, dict[str, Any]]:
        """The tables' figures by their number."""
        files = sorted((self.work / "results").glob("table[0-9].json"))
        return {int(file.stem[-1]): read_json(file) for file in files}

    @cached_property
    def claims(self) -> Any:
        """claims.json of eval.claims, or None."""
        path = self.work / "results" / "claims.json"
        return read_json(path) if path.is_file() else None

    @cached_property
    def truths(self) -> dict[str, GroundTruth]:
        """Ground truth by query."""
        if self.gt is None:
            return {}
        return {truth.query.name: truth for truth in read_ground_truth(self.gt)}

    @cached_property
    def database(self) -> dict[str, Picture]:
        """The searched pictures by name."""
        return list_pictures(self.images) if self.images is not None else {}

    @property
    def article(self) -> Article:
        """The article's figures."""
        return article()


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises OSError, or ValueError with the file's name."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def read_rows(path: Path) -> list[dict[str, str]] | None:
    """Rows of a CSV file, or None where there is none."""
    if not path.is_file():
        return None
    header, *rows = read_csv(path) or [[]]
    return [dict(zip(header, row, strict=False)) for row in rows]


def count_pictures(folder: Path) -> dict[str, int]:
    """Pictures in each class folder of a data set, by its name, sorted."""
    classes = folders_in(folder) if folder.is_dir() else []
    return {name: len(pictures_in(folder / name)) for name in classes}
