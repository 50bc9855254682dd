"""The end of a run in some 15 lines: Tables 1 and 2, the claims' verdicts, the report, what to do next."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from eval.results.grid import Figures, Grid, grid_of, reading
from eval.results.markdown import wrapped
from eval.results.words import english, from_json

INDENT = "  "


def summary(work: Path, more: Sequence[str] = ()) -> str:
    """The run in a work folder, and the lines `more` at the end, which say what to do next.

    What isn't there is left out. Raises OSError, or ValueError for a file of results that is none.
    """
    if not (work / "results").is_dir():
        raise ValueError(f"{work} has no results")
    made = {}
    for number in (1, 2):
        path = work / "results" / f"table{number}.json"
        if path.is_file():
            with reading("a table of eval.tables", path):
                found = json.loads(path.read_text(encoding="utf-8"))
                made[number] = grid_of(found, number), english(from_json(found.get("compared", "")))
    lines = [line for grid, _ in made.values() for line in _table(grid)]
    lines += dict.fromkeys(wrapped(sentence) for _, sentence in made.values() if sentence)
    report = work / "report" / "index.html"
    lines += _claims(work / "results" / "claims.json")
    if report.is_file():
        lines.append(f"Report: {report.resolve().as_uri()}")
    return "\n".join([*lines, *more])


def _table(grid: Grid) -> Iterator[str]:
    """A heading, and a line a row: figures in %, the article's in parentheses."""
    rows = [(english(label), [_cell(cell) for cell in cells]) for label, cells in grid.rows]
    headings = [english(heading) for heading in grid.headings]
    width = max(len(label) for label, _ in rows)
    heading = f"Table {grid.number}, mAP in % (the article's)"
    width = max(width + len(INDENT), len(heading))
    columns = [
        max(len(heading), *(len(cells[place]) for _, cells in rows)) for place, heading in enumerate(headings)
    ]
    for label, cells in [(heading, headings), *((INDENT + label, cells) for label, cells in rows)]:
        shown = (cell.rjust(size) for cell, size in zip(cells, columns, strict=True))
        yield "   ".join([label.ljust(width), *shown]).rstrip()


def _cell(figures: Figures) -> str:
    ours, theirs = ("" if figure is None else f"{100 * figure:.1f}" for figure in figures)
    return f"{ours or '-'} ({theirs})" if theirs else ours


def _claims(path: Path) -> list[str]:
    """How many claims there are, and how many have which verdict."""
    if not path.is_file():
        return []
    with reading("one of eval.claims", path):
        claims = json.loads(path.read_text(encoding="utf-8"))["claims"]
        return [f"{verdicts(claims)} ({path.with_suffix('.md')})"]


def verdicts(claims: Sequence[Mapping[str, object]]) -> str:
    """How many claims are the article's, how many ours, and how many have which verdict."""
    ours = sum(claim.get("whose") == "ours" for claim in claims)
    counts = Counter(str(claim["verdict"]) for claim in claims)
    said = ", ".join(f"{verdict} {count}" for verdict, count in counts.most_common())
    whose = f"{len(claims) - ours} claims of the article" + (f" and {ours} of ours" if ours else "")
    return f"{whose}: {said}"
