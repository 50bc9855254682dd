"""The article's tables with our figures beside its own."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.files.scores import Row, Scores, read_scores
from eval.results import table3
from eval.results.markdown import aligned, wrapped
from tools.program import write_text

PROGRAM = "eval.tables"
ARTICLE = Path(__file__).parent / "results" / "article.json"
MODELS = ("pretrained", "finetuned")
TITLES = {1: "which layer, and how many dimensions", 2: "what fine-tuning gains"}


@dataclass(frozen=True)
class Cell:
    """One figure of a table: the article's, and the row of our scores that answers it."""

    model: str
    layer: str
    label: str
    article: float
    ours: Row


FIGURES: dict[str, Callable[[Cell], str]] = {
    "article": lambda cell: f"{100 * cell.article:.2f} %",
    "ours": lambda cell: f"{100 * cell.ours.map:.2f} %",
    "difference": lambda cell: f"{100 * (cell.ours.map - cell.article):+.2f}  ",
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_options(arguments)
    try:
        run(options)
    except ValueError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
    except OSError as error:
        print(f"{PROGRAM}: {error.strerror or error}: {error.filename or options.out}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    else:
        return 0
    return 1


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m {PROGRAM}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Put our mAP beside the article's. Table 1: four layers of the pre-trained network\n"
        "at three dimensions each; Table 2: what fine-tuning gains; Table 3: every representation that was\n"
        "scored. Prints the table, and writes it to OUT as Markdown and as JSON.",
        epilog="example:\n  python -m eval.tables --table 2 --out work/demo/results \\\n"
        "      --pretrained work/demo/ranks/pretrained/scores.json \\\n"
        "      --finetuned work/demo/ranks/finetuned/scores.json",
    )
    add = parser.add_argument
    add("--table", type=int, choices=(1, 2, 3), required=True, help="which of the tables")
    add("--pretrained", type=Path, metavar="JSON", help="scores.json of the pre-trained network, for 1 and 2")
    add("--finetuned", type=Path, metavar="JSON", help="scores.json of the fine-tuned network, for Table 2")
    add(
        "--scores",
        type=Path,
        nargs="+",
        metavar="JSON",
        help="scores.json of every set of representations, for Table 3",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="where the table goes")
    add(
        "--data-note",
        metavar="TEXT",
        help="what our figures were measured on, where that is not the article's network and data set",
    )
    options = parser.parse_args(arguments)
    for name, tables in (("pretrained", (1, 2)), ("finetuned", (2,)), ("scores", (3,))):
        if (options.table in tables) != (getattr(options, name) is not None):
            wanted = " and ".join(f"Table {table}" for table in tables)
            parser.error(f"--{name} belongs to {wanted}, and is needed there")
    return options


def run(options: argparse.Namespace) -> None:
    """Read the scores, write both forms of the table, and print the readable one."""
    article = json.loads(ARTICLE.read_text(encoding="utf-8"))
    if options.table == 3:
        rows, columns = table3.read(options.scores)
        remarks = measured_on(article, options.data_note)
        markdown = table3.as_markdown(article, rows, columns, remarks)
        write(options.out, 3, table3.as_json(article, rows), markdown)
        return
    scores = {"pretrained": read_scores(options.pretrained)}
    if options.finetuned:
        scores["finetuned"] = read_scores(options.finetuned)
    cells = cells_of(article, options.table, scores)
    markdown = as_markdown(article, options.table, cells, options.data_note)
    write(options.out, options.table, as_json(options.table, cells), markdown)


def write(out: Path, table: int, as_json: str, markdown: str) -> None:
    """Write both forms of a table, and print the readable one."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / f"table{table}.json", as_json)
    write_text(out / f"table{table}.md", markdown)
    print(markdown, end="")


def cells_of(article: dict[str, Any], table: int, scores: dict[str, Scores]) -> list[Cell]:
    """The table's figures in reading order. Raises ValueError where our scores lack some.

    Table 1 is all that the article gives for the pre-trained network; Table 2 what it gives for the
    fine-tuned one, after the same of the pre-trained.
    """
    figures = article["map"]
    models = MODELS[:table]
    cells, lacking = [], []
    for model in models:
        for layer, given in figures[models[-1]].items():
            for label in given:
                if ours := scores[model].plain.get((layer, label)):
                    cells.append(Cell(model, layer, label, figures[model][layer][label], ours))
                else:
                    lacking.append(f"{layer} at {label} ({model})")
    if lacking:
        raise ValueError(f"Table {table} needs scores that eval.score has not made: {', '.join(lacking)}")
    return cells


def as_json(table: int, cells: Sequence[Cell]) -> str:
    """The table for programs; mAP from 0 to 1."""
    rows = [
        ({"model": cell.model} if table == 2 else {})
        | {"layer": cell.layer}
        | {"dim": cell.ours.dim, "pca": cell.ours.pca, "map": cell.ours.map}
        | {"article": cell.article}
        for cell in cells
    ]
    return json.dumps({"table": table, "rows": rows}, indent=1) + "\n"


def as_markdown(article: dict[str, Any], table: int, cells: Sequence[Cell], data_note: str | None) -> str:
    """The table for people: title, table, and what one must know to read it."""
    used = {cell.label for cell in cells}
    columns = [column for column in article["columns"] if column["label"] in used]
    lines = [["mAP", "", *(column["heading"] for column in columns)]]
    for model, layer in dict.fromkeys((cell.model, cell.layer) for cell in cells):
        row = {cell.label: cell for cell in cells if (cell.model, cell.layer) == (model, layer)}
        names = iter([layer if table == 1 else f"{layer}, {model}"])
        for kind, show in FIGURES.items():
            lines.append([next(names, ""), kind, *(show(row[column["label"]]) for column in columns)])
    remarks = [*measured_on(article, data_note), *dimensions(columns, cells), *noise(cells)]
    title = f"# Table {table}: {TITLES[table]}"
    return "\n\n".join([title, aligned(lines, to_left=2), *map(wrapped, remarks)]) + "\n"


def measured_on(article: dict[str, Any], data_note: str | None) -> list[str]:
    """Where the figures come from, and whether they can be compared at all."""
    source = article["source"]
    theirs = f"{article['network']} on {article['dataset']}"
    remarks = [
        f"Article: {source['author']}, {source['title']}, {source['date']}, {source['url']} ({theirs})."
    ]
    if data_note:
        remarks.append(
            f"Ours: {data_note.rstrip('.')}. This is not what the article measured ({theirs}), so the "
            "figures are not comparable one by one: compare which rise and which fall."
        )
    return remarks


def dimensions(columns: Sequence[dict[str, Any]], cells: Sequence[Cell]) -> list[str]:
    """How many dimensions our columns have, where not as many as the article's."""
    remarks = []
    for column in columns:
        ours = sorted({cell.ours.dim for cell in cells if cell.label == column["label"]})
        if ours != [column["dim"]]:
            remarks.append(
                f"{column['heading']}: {' or '.join(map(str, ours))} here, {column['dim']} in the article"
            )
    return [f"Dimensions: {'; '.join(remarks)}."] if remarks else []


def noise(cells: Sequence[Cell]) -> list[str]:
    """Which of our figures rest on directions that hold nothing but rounding."""
    noisy = [
        f"{cell.layer} {cell.ours.noise_directions} of {cell.ours.dim}"
        for cell in cells
        if cell.ours.noise_directions
    ]
    if not noisy:
        return []
    return [
        f"PCA directions without variance beyond float32's rounding: {', '.join(noisy)}. Whitening makes "
        "that rounding as large as everything else, and the figure says what it does to the ranking."
    ]


if __name__ == "__main__":
    sys.exit(main())
