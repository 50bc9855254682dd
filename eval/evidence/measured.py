"""What claims are tried on: features and scores of one run, or of several that differ in their seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from eval.evidence.statistics import Effect, Figures, effect_of
from eval.files.features import Vectors, open_features, read_vectors
from eval.files.scores import Scores, read_scores


class MissingError(Exception):
    """A file or a row that a claim needs and that a run has not made."""


@dataclass(frozen=True)
class Folders:
    """Where a run has its features files, and eval.score's folders."""

    features: Path
    ranks: Path


@dataclass(frozen=True)
class Scored:
    """One plain row of scores.json, in every run."""

    ap: Sequence[Figures]
    maps: Sequence[float]
    truths: Sequence[str | None]
    """Whose ground truth, by its fingerprint."""

    @property
    def map(self) -> float:
        """mAP, the mean over runs."""
        return float(np.mean(self.maps))

    def over(self, other: "Scored") -> Effect:
        """How much better this is than the other."""
        return effect_of(self.ap, other.ap, self.truths)


class Measured:
    """Features and scores of the runs, read when a claim asks for them."""

    def __init__(self, runs: Sequence[Folders], layer: str, label: str, fc_label: str = "128") -> None:
        """`layer` is the map whose poolings are compared, `label` the dimension, as eval.score has it.

        `fc_label` is the dimension of the article's tables, which fully connected layers are compared at.
        """
        self.runs, self.layer, self.label, self.fc_label = runs, layer, label, fc_label
        self._scores = cache(self._read_scores)

    def vectors(self, name: str, layer: str) -> list[Vectors]:
        """A layer's features of the database, in every run. Raises MissingError, ValueError or OSError."""
        found = []
        for run in self.runs:
            path = run.features / f"{name}.h5"
            if not path.is_file():
                raise MissingError(str(path))
            with open_features(path) as features:
                found.append(read_vectors(features, "database", layer))
        return found

    def row(self, name: str, layer: str, label: str) -> Scored:
        """The plain row of a layer at a dimension. Raises MissingError where it was not scored."""
        rows, truths = [], []
        for run in self.runs:
            scores = self._scores(run.ranks / name / "scores.json")
            if (layer, label) not in scores.plain:
                raise MissingError(f"{layer} at {label} in {scores.path}")
            rows.append(scores.plain[layer, label])
            truths.append(scores.made_of.ground_truth_sha256)
        return Scored([row.ap for row in rows], [row.map for row in rows], truths)

    def pooled(self, name: str, pooling: str) -> Scored:
        """The row of the compared map's pooling, at the compared dimension."""
        return self.row(name, f"{self.layer}_{pooling}", self.label)

    def _read_scores(self, path: Path) -> Scores:
        if not path.is_file():
            raise MissingError(str(path))
        return read_scores(path)
