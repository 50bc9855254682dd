"""Table 4: every representation by the easy, medium and hard protocol of Revisited Oxford and Paris."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.files.scores import ProtocolFigures, Scores
from eval.results.article import article, place_of
from eval.results.markdown import aligned, wrapped
from eval.results.table_of_representations import split
from eval.results.words import Words, as_json, english

TITLE = "Revisited Oxford and Paris: easy, medium and hard"
HEADINGS = ("model", "", "pooling", "dimensions", "E", "M", "M mP@1", "@5", "@10", "H", "H mP@1", "@5", "@10")
TO_READ: Words = (
    "E, M, H: mAP of the easy, medium and hard protocol, each over the queries with something to find in it; "
    "mP@k: mean precision among the first k answers. Tables 1 to 3 have the medium protocol's mAP."
)


@dataclass(frozen=True)
class Row:
    """A representation at one dimension, plain or expanded."""

    model: str
    layer: str
    pooling: str
    label: str
    query_expansion: str
    protocols: Mapping[str, ProtocolFigures]


def rows_of(files: Sequence[Scores]) -> list[Row]:
    """Every ranking that was judged by the protocols, without re-ranking. Raises ValueError for none."""
    rows = [
        Row(scores.model, *split(row.layer), row.label, row.query_expansion, row.protocols)
        for scores in files
        for row in sorted(scores.rows, key=lambda row: (row.layer, place_of(row.label)))
        if row.protocols and row.rerank == "none"
    ]
    if not rows:
        raise ValueError("Table 4 needs scores by a revisited ground truth, and the files hold none")
    return rows


def figures_of(rows: Sequence[Row]) -> list[dict[str, object]]:
    """The figures one by one, from 0 to 1, as CSV has them."""
    return [
        {"model": row.model, "layer": row.layer, "pooling": row.pooling, "label": row.label}
        | {"query_expansion": row.query_expansion, "protocol": name, "queries": len(found.ap)}
        | {"map": found.map}
        | {f"mp{first}": figure for first, figure in found.mp.items()}
        for row in rows
        for name, found in row.protocols.items()
    ]


def as_text(rows: Sequence[Row], remarks: Sequence[Words]) -> str:
    """The table for programs."""
    table: dict[str, Any] = {"table": 4, "remarks": [as_json(remark) for remark in [TO_READ, *remarks]]}
    return json.dumps(table | {"rows": figures_of(rows)}, indent=1) + "\n"


def as_markdown(rows: Sequence[Row], remarks: Sequence[Words]) -> str:
    """The table for people, in per cent."""
    lines = [list(HEADINGS), *map(_line, rows)]
    text = [wrapped(english(remark)) for remark in [TO_READ, *remarks]]
    return "\n\n".join([f"# Table 4: {TITLE}", aligned(lines, 4), *text, *_published()]) + "\n"


def _published() -> list[str]:
    """What others have published, and that it is another network's."""
    lines = [["", "pooling", "by", "M", "H"]]
    lines += [
        [
            figure["dataset"],
            figure["pooling"],
            figure["by"],
            *(f"{100 * figure[of]:.1f}" for of in ("medium", "hard")),
        ]
        for figure in article().revisited
    ]
    said = f"{article().revisited_source} Another network than those above: not comparable one by one."
    return ["## Published", aligned(lines, 3), wrapped(said)]


def _line(row: Row) -> list[str]:
    expanded = "" if row.query_expansion == "none" else ", QE"
    cells = [row.model, row.layer, row.pooling, ("no PCA" if row.label == "none" else row.label) + expanded]
    for name in ("easy", "medium", "hard"):
        found = row.protocols.get(name)
        cells.append(f"{100 * found.map:.1f}" if found else "")
        if name != "easy":
            cells += [f"{100 * figure:.1f}" for figure in found.mp.values()] if found else ["", "", ""]
    return cells
