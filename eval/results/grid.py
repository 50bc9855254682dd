"""The tables' JSON, read as grids of figures: for the report's page and a terminal's lines."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from eval.results.article import place_of
from eval.results.as_published import AS_TOLD, HABITS
from eval.results.words import Words, text

NAMES = {"pretrained": "pre-trained", "finetuned": "fine-tuned"}
WHITENED = {"map": "whitened here", "whitened_elsewhere": "whitened elsewhere"}
"""Where a whitening is fitted, by the name of its figure: on the searched pictures, or on others."""
PRECISIONS = ("mp1", "mp5", "mp10")
PROTOCOL_HEADINGS = ("easy", "medium", "mP@1", "mP@5", "mP@10", "hard", "mP@1", "mP@5", "mP@10")
Figures = tuple[float | None, float | None]
"""Ours, the article's; None where there is none."""


@dataclass(frozen=True)
class Grid:
    """A table of mAP figures: columns' headings, and a row of figures for each label."""

    number: int
    headings: list[Words]
    rows: list[tuple[Words, list[Figures]]]


@contextmanager
def reading(what: str, path: Path) -> Iterator[None]:
    """Turn what Python says of JSON of another shape into a ValueError that names the file."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{path} is not {what}: it lacks {error}") from None
    except (TypeError, AttributeError, ValueError):
        raise ValueError(f"{path} is not {what}") from None


def grid_of(table: Mapping[str, Any], number: int) -> Grid:
    """A table's JSON as rows and columns, in its order."""
    return _grid_of_representations(table) if number == 3 else _grid_of_layers(table, number)


def grid_of_habits(table: Mapping[str, Any]) -> Grid | None:
    """The second block of Tables 1 and 2: ours and the article's, then ours by each habit of his code."""
    habits = table.get("as_published", [])
    if not habits:
        return None
    labels = sorted({row["label"] for row in habits}, key=place_of)
    tried = {(row["layer"], row.get("model", "")) for row in habits}
    rows: dict[tuple[str, str, str], dict[str, Figures]] = {}
    for row in sorted(
        [*table["rows"], *habits], key=lambda row: list(HABITS).index(row["habit"]) if "habit" in row else -1
    ):
        key = row["layer"], row.get("model", ""), row.get("habit", "")
        if key[:2] not in tried:
            continue
        theirs = None if key[2] else row["article"]
        rows.setdefault(key, {})[row["label"]] = row["map"], theirs
    order = list(dict.fromkeys(key[:2] for key in rows))
    ordered = sorted(rows, key=lambda key: order.index(key[:2]))
    cells: list[tuple[Words, list[Figures]]] = [
        (
            text("{row}, {column}", row=_named(layer, model), column=text(HABITS.get(habit, AS_TOLD))),
            [rows[layer, model, habit].get(label, (None, None)) for label in labels],
        )
        for layer, model, habit in ordered
    ]
    return Grid(table["table"], [dimension(label) for label in labels], cells)


def grid_of_elsewhere(table: Mapping[str, Any]) -> Grid | None:
    """The block of Tables 1 and 2 whose whitening is fitted on other pictures, beside the same figures of the
    table itself; None where nothing was whitened elsewhere."""
    kept = [row for row in table["rows"] if row.get("whitened_elsewhere") is not None]
    if not kept:
        return None
    labels = sorted({row["label"] for row in kept}, key=place_of)
    rows: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in kept:
        rows.setdefault((row["layer"], row.get("model", "")), {})[row["label"]] = row
    cells: list[tuple[Words, list[Figures]]] = []
    for key, found in rows.items():
        for name, where in WHITENED.items():
            figures: list[Figures] = [
                (found[label][name], None) if label in found else (None, None) for label in labels
            ]
            cells.append((text("{row}, {column}", row=_named(*key), column=text(where)), figures))
    return Grid(table["table"], [dimension(label) for label in labels], cells)


def grid_of_protocols(table: Mapping[str, Any], every: bool) -> Grid:
    """Table 4; unless `every` row is wanted, each representation at its fewest dimensions, not expanded."""
    rows: dict[_Ranking, list[Figures]] = {}
    for row in table["rows"]:
        ranking = _Ranking(*(row[name] for name in _Ranking._fields))
        wanted = ("map", *([] if row["protocol"] == "easy" else PRECISIONS))
        rows.setdefault(ranking, []).extend((row[name], None) for name in wanted)
    first: dict[tuple[str, str, str], _Ranking] = {}
    for one in sorted(rows, key=lambda one: (one.query_expansion != "none", place_of(one.label))):
        first.setdefault(one[:3], one)
    cells = [(one.words, figures) for one, figures in rows.items() if every or one in first.values()]
    return Grid(4, [text(heading) for heading in PROTOCOL_HEADINGS], cells)


class _Ranking(NamedTuple):
    """What a row of Table 4 is of."""

    model: str
    layer: str
    pooling: str
    label: str
    query_expansion: str

    @property
    def words(self) -> Words:
        layer = " ".join(filter(None, (self.layer, self.pooling)))
        row = text("{row}, {column}", row=_named(layer, self.model), column=dimension(self.label))
        return row if self.query_expansion == "none" else text("{column}, QE", column=row)


def _named(layer: str, model: str) -> Words:
    """A row of a table: its layer, and its model where there are two."""
    return text("{layer}, {model}", layer=layer, model=text(NAMES.get(model, model))) if model else layer


def _grid_of_layers(table: Mapping[str, Any], number: int) -> Grid:
    """Tables 1 and 2: a row for each layer of a model."""
    rows: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in table["rows"]:
        rows.setdefault((row["layer"], row.get("model", "")), {})[row["label"]] = row
    labels = sorted({row["label"] for row in table["rows"]}, key=place_of)
    cells = [
        (
            _named(layer, model),
            [(row["map"], row["article"]) if row else (None, None) for row in map(of.get, labels)],
        )
        for (layer, model), of in rows.items()
    ]
    return Grid(number, [dimension(label) for label in labels], cells)


def dimension(label: str) -> Words:
    """A column's heading: the dimension as it was asked for."""
    if label in ("full", "none"):
        return text("PCA to full") if label == "full" else text("no PCA")
    return text("PCA to {dim}", dim=label)


def _grid_of_representations(table: Mapping[str, Any]) -> Grid:
    """Table 3: a row for each representation, a column for each dimension, plain and expanded."""
    columns: dict[tuple[str, bool], Words] = {}
    for row in table["rows"]:
        for figure in row["figures"]:
            expanded = figure["query_expansion"] != "none"
            plain = dimension(figure["label"])
            heading = text("{column}, QE", column=plain) if expanded else plain
            columns[figure["label"], expanded] = heading
    rows: list[tuple[Words, list[Figures]]] = []
    for row in table["rows"]:
        ours = {(one["label"], one["query_expansion"] != "none"): one for one in row["figures"]}
        cells: list[Figures] = [(ours[key]["map"] if key in ours else None, None) for key in columns]
        label = " ".join(filter(None, (row["layer"], row["pooling"])))
        rows.append((f"{label}, {row['pictures']}" if row["pictures"] else label, cells))
    return Grid(3, list(columns.values()), rows)
