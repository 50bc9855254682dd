"""Tables 1 and 2 of several runs that differ in their seed: means, their spread, and what is gained."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from eval.results.markdown import aligned, wrapped
from tools.program import shown


class Figure(NamedTuple):
    """Which figure of a table it is."""

    model: str
    layer: str
    label: str


def read_figures(runs: Sequence[Path], table: int) -> dict[Figure, list[float]]:
    """mAP (0 to 1) of every figure that all runs have in this table, one value a run in their order.

    Raises ValueError where a file is none of eval.tables' or the runs share no figure.
    """
    found: list[dict[Figure, float]] = []
    for run in runs:
        path = run / "results" / f"table{table}.json"
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
            found.append(
                {
                    Figure(row.get("model", "pretrained"), row["layer"], row["label"]): float(row["map"])
                    for row in rows
                    if row.get("map") is not None
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
            why = shown(" ".join(str(error).split()), 200)
            raise ValueError(f"{path} is no table of eval.tables: {why}") from None
    shared = [figure for figure in found[0] if all(figure in one for one in found[1:])]
    if not shared:
        raise ValueError(f"the runs have no figure of Table {table} in common")
    return {figure: [one[figure] for one in found] for figure in shared}


def gains(figures: Mapping[Figure, Sequence[float]]) -> dict[Figure, list[float]]:
    """What fine-tuning gains in each run, for every figure that both networks have."""
    return {
        figure: [after - before for before, after in zip(figures[earlier], values, strict=True)]
        for figure, values in figures.items()
        if figure.model == "finetuned" and (earlier := figure._replace(model="pretrained")) in figures
    }


def rows_of(figures: Mapping[Figure, Sequence[float]], runs: Sequence[Path]) -> list[dict[str, object]]:
    """A row a figure: mean and standard deviation over the runs (of a sample, n - 1), and every value."""
    return [
        figure._asdict()
        | {"runs": len(values), "mean": statistics.fmean(values), "sd": statistics.stdev(values)}
        | {run.name: value for run, value in zip(runs, values, strict=True)}
        for figure, values in figures.items()
    ]


def as_markdown(table: int, rows: Sequence[Mapping[str, object]], runs: Sequence[Path]) -> str:
    """The rows for people, mAP in %."""
    lines = [["mAP in %", "", "mean", "sd", *(run.name for run in runs)]]
    for row in rows:
        figures = [row["mean"], row["sd"], *(row[run.name] for run in runs)]
        name = f"{row['layer']}, {row['model']}" if table == 2 else str(row["layer"])
        lines.append([name, str(row["label"]), *(f"{100 * float(str(figure)):.2f}" for figure in figures)])
    title = f"# Table {table} over {len(runs)} runs"
    said = wrapped("sd is the standard deviation over the runs: how far a figure depends on what was drawn.")
    return f"{title}\n\n{aligned(lines, to_left=2)}\n\n{said}\n"
