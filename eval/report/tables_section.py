"""The report's tables: Tables 1 to 3 as grids with a figure each, and the claims with their verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.report import figures
from eval.report.page_pictures import Illustration, Pictures
from eval.report.run_folder import Run, read_as
from eval.report.words import Text, percent, text
from eval.results.article import place_of

NAMES = figures.NAMES
MOST_BARS = 24
Bar = tuple[str, float, float | None]
"""Label, this run's mAP, the article's."""
Figures = tuple[float | None, float | None]
"""Ours, the article's; None where there is none."""


@dataclass(frozen=True)
class Grid:
    """A table of mAP figures: columns' headings, and a row of figures for each label."""

    number: int
    headings: list[str]
    rows: list[tuple[str, list[Figures]]]


@dataclass(frozen=True)
class Table:
    """One of the article's tables with what is said of it."""

    grid: Grid
    figure: Illustration | None
    remarks: list[str]
    comparable: bool | None
    """Whether its figures can be compared with the article's; None where that can't be told."""
    compared: str
    """The same in a sentence."""
    published: list[Mapping[str, Any]]
    sources: Mapping[str, Mapping[str, str]]


def table(run: Run, pictures: Pictures, number: int) -> Table | None:
    """A table that the run has made; None where it has not. Raises ValueError for a file that is no table."""
    made = run.tables.get(number)
    if made is None:
        return None
    with read_as("a table of eval.tables", run.work / "results" / f"table{number}.json"):
        grid = grid_of(made, number)
    bars = bars_of(grid)
    figure = None
    if bars:
        drawing = figures.against_article(bars)
        shown = pictures.figure(
            f"table{number}", drawing, text("The figures of Table {number}", number=number)
        )
        figure = Illustration(shown, _caption(grid, bars))
    return Table(
        grid,
        figure,
        made.get("remarks", []),
        made.get("comparable"),
        made.get("compared", ""),
        made.get("published", []),
        made.get("sources", {}),
    )


@dataclass(frozen=True)
class Claim:
    """One of the article's claims, and what this run says of it."""

    number: int
    words: str
    verdict: str
    kind: str
    """The verdict for the eye: yes, no, open, or unknown."""
    figure: str
    how: str
    command: str
    """What measures it, where this run has not."""


def claims(run: Run) -> list[Claim]:
    """The claims as eval.claims has tried them; empty where it has not."""
    kinds = {"holds": "yes", "does not hold": "no", "too close to tell": "open"}
    with read_as("one of eval.claims", run.work / "results" / "claims.json"):
        return [
            Claim(
                row["claim"],
                row["text"],
                row["verdict"],
                kinds.get(row["verdict"], "unknown"),
                row.get("figure", ""),
                row.get("how", ""),
                row.get("command", ""),
            )
            for row in (run.claims or {"claims": ()})["claims"]
        ]


def bars_of(grid: Grid) -> list[Bar]:
    """A bar for every figure of a table; in one with many figures, for the best of each row."""
    every = [
        [
            (f"{label}, {heading}" if len(grid.headings) > 1 else label, ours, theirs)
            for heading, (ours, theirs) in zip(grid.headings, cells, strict=True)
            if ours is not None
        ]
        for label, cells in grid.rows
    ]
    if sum(map(len, every)) > MOST_BARS:
        return [max(bars, key=lambda bar: bar[1]) for bars in every if bars]
    return [bar for bars in every for bar in bars]


def _caption(grid: Grid, bars: Sequence[Bar]) -> Text:
    best = max(bars, key=lambda bar: bar[1])
    one_a_row = len(bars) == len(grid.rows) and len(grid.headings) > 1
    values = {"best": best[0], "figure": percent(best[1], 1)}
    given = [(label, theirs) for label, _, theirs in bars if theirs is not None]
    if one_a_row:
        return text(
            "Each bar is the best figure of its row. This run is best with {best} ({figure}).", **values
        )
    if not given:
        return text("This run is best with {best} ({figure}).", **values)
    label, theirs = max(given, key=lambda bar: bar[1])
    return text(
        "This run is best with {best} ({figure}), the article with {other} ({theirs}). Compare the order of "
        "the bars with the order of the diamonds.",
        **values,
        other=label,
        theirs=percent(theirs, 1),
    )


def grid_of(table: Mapping[str, Any], number: int) -> Grid:
    """A table's JSON as rows and columns, in its order."""
    return _grid_of_representations(table) if number == 3 else _grid_of_layers(table, number)


def _grid_of_layers(table: Mapping[str, Any], number: int) -> Grid:
    """Tables 1 and 2: a row for each layer of a model."""
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in table["rows"]:
        named = [NAMES.get(str(row[key]), str(row[key])) for key in ("layer", "model") if key in row]
        rows.setdefault(", ".join(named), {})[row["label"]] = row
    headings: dict[str, str] = {}
    for row in sorted(table["rows"], key=lambda row: (place_of(row["label"]), -(row["dim"] or 0))):
        headings.setdefault(row["label"], _heading(row["label"], row["dim"]))
    cells = [
        (name, [(row["map"], row["article"]) if row else (None, None) for row in map(of.get, headings)])
        for name, of in rows.items()
    ]
    return Grid(number, list(headings.values()), cells)


def _heading(label: str, dim: int | None) -> str:
    """A column of Tables 1 and 2: what was asked for, and what came of it in the widest row."""
    return dimension(label != "none", dim or label)


def dimension(pca: bool, dim: int | str) -> str:
    """How many dimensions, and by PCA or as they are."""
    return f"PCA to {dim}" if pca else f"{dim}, no PCA"


def _grid_of_representations(table: Mapping[str, Any]) -> Grid:
    """Table 3: a row for each representation, a column for each dimension, plain and expanded."""
    columns: dict[tuple[str, bool], str] = {}
    for row in table["rows"]:
        for figure in row["figures"]:
            expanded = figure["query_expansion"] != "none"
            heading = "no PCA" if figure["label"] == "none" else f"PCA to {figure['label']}"
            columns[figure["label"], expanded] = heading + (", QE" if expanded else "")
    rows = []
    for row in table["rows"]:
        ours = {(one["label"], one["query_expansion"] != "none"): one for one in row["figures"]}
        cells: list[Figures] = [(ours[key]["map"] if key in ours else None, None) for key in columns]
        label = " ".join(filter(None, (row["layer"], row["pooling"])))
        rows.append((f"{label}, {row['pictures']}" if row["pictures"] else label, cells))
    return Grid(3, list(columns.values()), rows)
