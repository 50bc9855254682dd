"""The article's figures, and what others have published: article.json, read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("article.json")
MODELS = ("pretrained", "finetuned")


@dataclass(frozen=True)
class Column:
    """A column of the article's Table 1."""

    label: str
    dim: int
    pca: bool
    heading: str


@dataclass(frozen=True)
class Article:
    """What the article measured: mAP from 0 to 1."""

    source: Mapping[str, str]
    """Its author, title, date and url."""
    network: str
    dataset: str
    weights_sha256: str
    """Of VGG_ILSVRC_16_layers.caffemodel."""
    pictures: Sequence[int]
    """How many Oxford5k has: one of its 5063 files can't be read in some copies."""
    ground_truth_sha256: str
    """Of Oxford5k's own files, as eval.files.ground_truth.fingerprint has it."""
    trained_on: str
    """What the fine-tuned network was trained on."""
    columns: Sequence[Column]
    map: Mapping[str, Mapping[str, Mapping[str, float]]]
    """By model, layer and label of the dimension."""
    representations: Sequence[Mapping[str, Any]]
    """Figures that others have published for the same pictures."""
    revisited: Sequence[Mapping[str, Any]]
    """Figures that others have published for Revisited Oxford and Paris."""
    revisited_source: str
    """How those were measured, and where they were read."""
    sources: Mapping[str, Mapping[str, str]]
    """Where those are from, by the name that `representations` gives."""

    def with_dimension(self, label: str) -> "Article":
        """The article, its column of 128 dimensions called by those that play their part here.

        Its figures stay: 8 of 256 dimensions are what 128 are of VGG16's 4096.
        """

        def renamed(of: str) -> str:
            return label if of == "128" else of

        columns = [
            replace(one, label=label, heading=f"PCA to {label}") if one.label == "128" else one
            for one in self.columns
        ]
        figures = {
            model: {layer: {renamed(of): share for of, share in row.items()} for layer, row in rows.items()}
            for model, rows in self.map.items()
        }
        return replace(self, columns=columns, map=figures)

    def heading(self, label: str) -> str:
        """A column's heading, the article's own where it has one."""
        named = {column.label: column.heading for column in self.columns}
        return named.get(label) or ("no PCA" if label == "none" else f"PCA to {label}")


@cache
def article() -> Article:
    """The article, read once."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    columns = [Column(**column) for column in found.pop("columns")]
    return Article(columns=columns, **found)


def place_of(label: str) -> int:
    """What columns are sorted by: numbers of dimensions first, the layer's own, no PCA last."""
    return {"full": 1 << 30, "none": 1 << 31}.get(label) or int(label)
