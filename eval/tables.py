"""The article's tables with our figures beside its own."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from eval.files.scores import read_scores
from eval.results import table_of_layers, table_of_representations
from eval.results.article import Article, article
from eval.results.comparable import comparability
from eval.results.tidy_csv import as_csv
from tools.program import run_program, write_text

PROGRAM = "eval.tables"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; its exit status."""
    options = parse_options(argv)

    def run() -> None:
        if options.table == 3:
            write_representations(options.scores, options.out, options.data_note)
        else:
            files = {"pretrained": options.pretrained, "finetuned": options.finetuned}
            given = {model: path for model, path in files.items() if path}
            write_layers(options.table, given, options.out, options.data_note)

    return run_program(PROGRAM, run)


def write_layers(table: int, files: Mapping[str, Path], out: Path, data_note: str | None) -> None:
    """Write Table 1 or 2 of these models' scores.json, and print it. Raises ValueError or OSError."""
    scores = {model: read_scores(path) for model, path in files.items()}
    cells = table_of_layers.cells_of(article(), table, scores)
    comparable = comparability(article(), scores.values(), data_note)
    remarks = [*measured_on(article(), data_note), *table_of_layers.remarks_on(article(), table, cells)]
    made = table_of_layers.as_json(table, cells, comparable, remarks)
    markdown = table_of_layers.as_markdown(article(), table, cells, comparable, remarks)
    write(out, table, made, table_of_layers.rows_of(table, cells), markdown)


def write_representations(files: Sequence[Path], out: Path, data_note: str | None) -> None:
    """Write Table 3 of every row of these scores.json, and print it. Raises ValueError or OSError."""
    scores = [read_scores(path) for path in files]
    rows, columns = table_of_representations.rows_and_columns(scores)
    comparable = comparability(article(), scores, data_note)
    remarks = [*table_of_representations.remarks_on(rows), *measured_on(article(), data_note)]
    made = table_of_representations.as_json(article(), rows, comparable, remarks)
    markdown = table_of_representations.as_markdown(article(), rows, columns, comparable, remarks)
    write(out, 3, made, table_of_representations.figures_of(rows), markdown)


def write(
    out: Path, table: int, as_json: str, figures: Sequence[Mapping[str, object]], markdown: str
) -> None:
    """Write all forms of a table, and print the readable one."""
    write_text(out / f"table{table}.json", as_json)
    write_text(out / f"table{table}.csv", as_csv(figures))
    write_text(out / f"table{table}.md", markdown)
    print(markdown, end="")


def measured_on(article: Article, data_note: str | None) -> list[str]:
    """Where the article's figures come from, and what ours were measured on."""
    source = article.source
    remarks = [
        f"Article: {source['author']}, {source['title']}, {source['date']}, {source['url']} "
        f"({article.network} on {article.dataset})."
    ]
    return [*remarks, f"Ours: {data_note.rstrip('.')}."] if data_note else remarks


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {PROGRAM}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Put our mAP beside the article's. Table 1: four layers of the pre-trained network\n"
        "at three dimensions each; Table 2: what fine-tuning gains; Table 3: every representation that was\n"
        "scored. What was not scored is left blank, what the article doesn't have is added. Prints the\n"
        "table, and writes it to OUT as Markdown, JSON and CSV.",
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
    options = parser.parse_args(argv)
    for name, tables in (("pretrained", (1, 2)), ("finetuned", (2,)), ("scores", (3,))):
        if (options.table in tables) != (getattr(options, name) is not None):
            wanted = " and ".join(f"Table {table}" for table in tables)
            parser.error(f"--{name} belongs to {wanted}, and is needed there")
    return options


if __name__ == "__main__":
    sys.exit(main())
