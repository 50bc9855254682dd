"""The report's tables: Tables 1 to 3 as grids with a figure each, and the claims with their verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.report import figures
from eval.report.page_pictures import Illustration, Pictures
from eval.report.run_folder import Run
from eval.report.words import percent
from eval.results.grid import (
    Grid,
    dimension,
    grid_of,
    grid_of_elsewhere,
    grid_of_habits,
    grid_of_protocols,
    reading,
)
from eval.results.words import Text, Words, english, from_json, text

MOST_BARS = 24
Bar = tuple[Words, float, float | None]
"""Label, this run's mAP, the article's."""


@dataclass(frozen=True)
class Table:
    """One of the article's tables with what is said of it."""

    grid: Grid
    habits: Grid | None
    """Tables 1 and 2 as the author's published code runs them, where that was scored."""
    elsewhere: Grid | None
    """Tables 1 and 2 with the whitening fitted on other pictures, where that was scored."""
    figure: Illustration | None
    remarks: list[Words]
    comparable: bool | None
    """Whether its figures can be compared with the article's; None where that can't be told."""
    compared: Words
    """The same in a sentence."""
    published: list[Mapping[str, Any]]
    sources: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Protocols:
    """Table 4: the protocols of Revisited Oxford and Paris."""

    first: Grid
    """Each representation at its fewest dimensions."""
    every: Grid
    remarks: list[Words]


def protocols(run: Run) -> Protocols | None:
    """Table 4, if the run has made it. Raises ValueError for a file that is no table."""
    made = run.tables.get(4)
    if made is None:
        return None
    with reading("a table of eval.tables", run.work / "results" / "table4.json"):
        first, every = (grid_of_protocols(made, every) for every in (False, True))
        return Protocols(first, every, from_json(made["remarks"]))


def table(run: Run, pictures: Pictures, number: int) -> Table | None:
    """A table that the run has made; None where it has not. Raises ValueError for a file that is no table."""
    made = run.tables.get(number)
    if made is None:
        return None
    with reading("a table of eval.tables", run.work / "results" / f"table{number}.json"):
        grid, habits = grid_of(made, number), grid_of_habits(made)
        elsewhere = grid_of_elsewhere(made) if number < 3 else None
        compared, remarks = from_json(made.get("compared", "")), from_json(made.get("remarks", []))
    bars = bars_of(grid)
    figure = None
    if bars:
        drawing = figures.against_article([(english(label), ours, theirs) for label, ours, theirs in bars])
        shown = pictures.figure(
            f"table{number}", drawing, text("The figures of Table {number}", number=number)
        )
        figure = Illustration(shown, _caption(grid, bars))
    return Table(
        grid,
        habits,
        elsewhere,
        figure,
        remarks,
        made.get("comparable"),
        compared,
        made.get("published", []),
        made.get("sources", {}),
    )


def answers(run: Run) -> list[Words]:
    """What Tables 1 and 2 say, in a sentence each; none of a table that is not there or blank."""
    said: list[Words] = []
    for number, made in run.tables.items():
        with reading("a table of eval.tables", run.work / "results" / f"table{number}.json"):
            if number == 1:
                said += _best(made["rows"])
            elif number == 2:
                said += _gain(made["rows"])
    return said


def _best(rows: Sequence[Mapping[str, Any]]) -> list[Words]:
    scored = [row for row in rows if row["map"] is not None]
    if not scored:
        return []
    best = max(scored, key=lambda row: row["map"])
    setting = text("{row}, {column}", row=best["layer"], column=dimension(best["label"]))
    return [
        text(
            "Before fine-tuning, {best} is best in this run: mAP {figure}.",
            best=setting,
            figure=percent(best["map"], 1),
        )
    ]


def _gain(rows: Sequence[Mapping[str, Any]]) -> list[Words]:
    """Of the first setting that both models have."""
    figures = {(row["layer"], row["label"], row["model"]): row["map"] for row in rows}
    for layer, label, _ in figures:
        before, after = (figures.get((layer, label, model)) for model in ("pretrained", "finetuned"))
        if before is not None and after is not None:
            return [
                text(
                    "Fine-tuning takes {setting} from {before} to {after}: {gain} points.",
                    setting=text("{row}, {column}", row=layer, column=dimension(label)),
                    before=percent(before, 1),
                    after=percent(after, 1),
                    gain=f"{100 * (after - before):+.1f}",
                )
            ]
    return []


def bars_of(grid: Grid) -> list[Bar]:
    """A bar for every figure of a table; in one with many figures, for the best of each row."""
    every = [
        [
            (
                text("{row}, {column}", row=label, column=heading) if len(grid.headings) > 1 else label,
                ours,
                theirs,
            )
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
