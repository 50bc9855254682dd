"""scores.json, which eval.score writes beside its ranked lists: what was scored, and how well.

    {"model": "pretrained", "features": "features/pretrained.h5",
     "preprocessing": {"resize": [224, 224], ...} or null, "learnt": {LAYER: pictures it was learnt from},
     "pca_features": file that the PCA was fitted on, or null for the searched one, "pca_set": in words,
     "made_of": {"weights_sha256": of the caffemodel, "pictures": 5063, "ground_truth_sha256": fingerprint},
     "rows": [{"layer": "fc6", "label": "128", "dim": 128, "pca": true, "query_expansion": "none",
               "rerank": "none", "noise_directions": 0, "ranks": "fc6/128",
               "map": 0.459, "ap": {"all_souls_1": 0.5, ...}}, ...]}

By a revisited ground truth a row also has "protocols": {"easy": {"map": 0.6, "mp": {"1": 0.8, "5": 0.7,
"10": 0.6}, "ap": {...}}, "medium": ..., "hard": ...}; its own `map` and `ap` are medium's.

A row is one setting: `label` is the dimension as it was asked for (a number, `full`, or `none` for no PCA),
`dim` what came of it, `noise_directions` how many of those hold only rounding, `ranks` the folder of its
ranked lists, and figures are shares from 0 to 1. `model`, `preprocessing`, `learnt`, `pca_features`,
`pca_set` and `made_of` (or parts of it) may be missing; other keys are passed over. There is no NaN and no
infinity in the file.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

Kind = TypeVar("Kind")

Key = tuple[str, str]
"""A plain row's layer and label."""


@dataclass(frozen=True)
class ProtocolFigures:
    """What a ranking is worth by one protocol of Revisited Oxford and Paris."""

    map: float
    mp: Mapping[str, float]
    """Mean precision among the first 1, 5 and 10."""
    ap: Mapping[str, float]
    """Average precision by query, of those with something to find."""


@dataclass(frozen=True)
class Row:
    """One setting's figures."""

    layer: str
    label: str
    dim: int
    pca: bool
    query_expansion: str
    rerank: str
    noise_directions: int
    ranks: str
    map: float
    ap: Mapping[str, float]
    """Average precision by query."""
    protocols: Mapping[str, ProtocolFigures] = field(default_factory=dict)
    """By easy, medium and hard; empty by Oxford's own ground truth."""

    @property
    def plain(self) -> bool:
        """Whether it is the ranking as it came, neither expanded nor re-ranked."""
        return self.query_expansion == self.rerank == "none"

    @property
    def key(self) -> Key:
        """By what a plain row is found."""
        return self.layer, self.label


@dataclass(frozen=True)
class MadeOf:
    """Which network searched which pictures for what; None where the file doesn't say."""

    weights_sha256: str | None = None
    pictures: int | None = None
    ground_truth_sha256: str | None = None
    """As eval.files.ground_truth.fingerprint has it."""


@dataclass(frozen=True)
class Scores:
    """A scores.json."""

    path: Path
    model: str
    preprocessing: Mapping[str, Any]
    learnt: Mapping[str, str]
    pca_features: str | None
    pca_set: str | None
    """What pictures those are; None for the searched ones."""
    made_of: MadeOf
    rows: Sequence[Row]
    plain: Mapping[Key, Row] = field(init=False)
    """The rows without expansion and re-ranking, by layer and label, in the file's order."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "plain", {row.key: row for row in self.rows if row.plain})

    def evened_out(self, row: Row) -> bool:
        """Whether its whitening has made every searched picture equally far from every other, so that there
        is nothing to rank: fitted on n of them, n - 1 dimensions or more are all that they span."""
        searched = self.made_of.pictures
        return row.pca and self.pca_features is None and searched is not None and row.dim >= searched - 1


def shown_rows(scores: Mapping[str, Scores], layer: str = "fc6", label: str = "128") -> dict[str, Row]:
    """The row of each model that stands for it, where one setting is shown: that of the article's Table 2.

    Where not all models have the layer at that dimension, the layer at another stands for it, the nearest one
    of those with PCA first; then the first layer that all have. Empty where no setting is every model's.
    """
    files = list(scores.values())
    common = [key for key in files[0].plain if all(key in file.plain for file in files)] if files else []
    if not common:
        return {}

    def distance(key: Key) -> tuple[bool, bool, float]:
        other_layer, other_label = key
        number = math.inf if other_label in ("full", "none") else abs(int(other_label) - int(label))
        return other_layer != layer, not math.isfinite(number), number

    chosen = min(common, key=distance)
    return {model: file.plain[chosen] for model, file in scores.items()}


def read_scores(path: Path) -> Scores:
    """Read a scores.json. Raises OSError, or ValueError with one sentence for what is no such file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
        return _scores(path, found)
    except KeyError as error:
        reason = f"it lacks {error}"
    except RecursionError:
        reason = "it is nested too deeply"
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
    raise ValueError(f"{path} is not a scores.json of eval.score: {reason}")


def _scores(path: Path, found: Any) -> Scores:
    content = _of(dict, found, "the file")
    rows = [_row(row) for row in _of(list, content["rows"], "rows")]
    learnt = _of(dict, content.get("learnt", {}), "learnt")
    pca_features = content.get("pca_features")
    return Scores(
        path,
        _of(str, content.get("model", path.parent.name), "model"),
        _of(dict, content.get("preprocessing") or {}, "preprocessing"),
        {layer: _of(str, pictures, "learnt") for layer, pictures in learnt.items()},
        None if pca_features is None else _of(str, pca_features, "pca_features"),
        None if pca_features is None else _of(str, content.get("pca_set") or pca_features, "pca_set"),
        _made_of(_of(dict, content.get("made_of") or {}, "made_of")),
        rows,
    )


def _made_of(found: Mapping[str, Any]) -> MadeOf:
    kinds: dict[str, type] = {"weights_sha256": str, "pictures": int, "ground_truth_sha256": str}
    given = {name: found[name] for name in kinds if found.get(name) is not None}
    return MadeOf(**{name: _of(kinds[name], value, name) for name, value in given.items()})


def _row(found: Any) -> Row:
    row = _of(dict, found, "a row")
    words = {
        name: _of(str, row[name], name) for name in ("layer", "label", "query_expansion", "rerank", "ranks")
    }
    label = words["label"]
    if label not in ("full", "none") and not re.fullmatch("[1-9][0-9]{,8}", label):
        raise ValueError(f"label is {label[:20]!r}, not a number of dimensions, full or none")
    return Row(
        **words,
        dim=_of(int, row["dim"], "dim"),
        pca=_of(bool, row["pca"], "pca"),
        noise_directions=_of(int, row["noise_directions"], "noise_directions"),
        map=_share(row["map"], "map"),
        ap=_shares(row["ap"], "ap"),
        protocols={
            name: ProtocolFigures(
                _share(figures["map"], "map"), _shares(figures["mp"], "mp"), _shares(figures["ap"], "ap")
            )
            for name, found in _of(dict, row.get("protocols", {}), "protocols").items()
            if (figures := _of(dict, found, "a protocol"))
        },
    )


def _shares(found: Any, name: str) -> dict[str, float]:
    return {key: _share(figure, name) for key, figure in _of(dict, found, name).items()}


def _of(kind: type[Kind], value: Any, name: str) -> Kind:
    """The value, if it is of this kind; JSON's true is no number."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{name} is not {_IN_WORDS[kind]}")
    return value


_IN_WORDS = {dict: "an object", list: "a list", str: "a word", int: "a whole number", bool: "true or false"}


def _share(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise TypeError(f"{name} is not a figure from 0 to 1")
    return float(value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no figure")
