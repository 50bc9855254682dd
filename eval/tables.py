"""The article's tables with our figures beside its own."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from eval.files.scores import read_scores
from eval.results import (
    as_published,
    pooled,
    table_of_layers,
    table_of_protocols,
    table_of_representations,
)
from eval.results.article import Article, article
from eval.results.comparable import comparability
from eval.results.summary import summary
from eval.results.tidy_csv import as_csv
from eval.results.words import Words, text
from tools.program import dimension, run_program, whole_number, write_text

PROGRAM = "eval.tables"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; its exit status."""
    options = parse_options(argv)

    def run() -> None:
        if options.summary:
            print(summary(options.summary, options.next))
        elif options.pool:
            write_pooled(options.pool, options.out)
        elif options.table == 3:
            write_representations(options.scores, options.out, options.data_note)
        elif options.table == 4:
            write_protocols(options.scores, options.out, options.data_note)
        else:
            files = {"pretrained": options.pretrained, "finetuned": options.finetuned}
            given = {model: path for model, path in files.items() if path}
            write_layers(
                options.table,
                given,
                options.out,
                options.data_note,
                options.as_published,
                options.elsewhere,
                options.dim,
            )

    return run_program(PROGRAM, run)


def write_layers(
    table: int,
    files: Mapping[str, Path],
    out: Path,
    data_note: str | None,
    ranks: Path | None,
    elsewhere: Path | None,
    label: str,
) -> None:
    """Write Table 1 or 2 of these models' scores.json, and say where. Raises ValueError or OSError.

    With `ranks`, a second block has what is scored there as the author's published code does it; with
    `elsewhere`, a line has what is scored there with the PCA fitted on other pictures. `label` is the
    dimension that the article's 128 stand beside.
    """
    theirs = article().with_dimension(label)
    scores = {model: read_scores(path) for model, path in files.items()}
    other = {
        model: read_scores(path)
        for model in scores
        if elsewhere and (path := elsewhere / f"{model}_elsewhere" / "scores.json").is_file()
    }
    cells = table_of_layers.with_elsewhere(table_of_layers.cells_of(theirs, table, scores), other)
    comparable = comparability(theirs, scores.values(), data_note)
    remarks = [
        *measured_on(theirs, data_note),
        *table_of_layers.remarks_on(theirs, table, cells, scores),
        *table_of_layers.remark_on_whitening(other),
    ]
    habits = as_published.habits_of(ranks, cells) if ranks else []
    block = as_published.rows_of(habits, of_models=table == 2)
    made = table_of_layers.as_json(table, cells, comparable, remarks, block)
    markdown = table_of_layers.as_markdown(theirs, table, cells, comparable, remarks)
    if habits:
        markdown += "\n" + as_published.as_markdown(theirs, cells, habits, of_models=table == 2)
    own = [row | {"habit": None} for row in table_of_layers.rows_of(table, cells)]
    write(out, table, made, [*own, *block], markdown)


def write_pooled(runs: Sequence[Path], out: Path) -> None:
    """Write Tables 1 and 2 of several runs together, as far as all have them, and print them.

    Raises ValueError or OSError.
    """
    for table in (1, 2):
        if all((run / "results" / f"table{table}.json").is_file() for run in runs):
            figures = pooled.read_figures(runs, table)
            rows = pooled.rows_of(figures, runs)
            gained = [row | {"model": "gain"} for row in pooled.rows_of(pooled.gains(figures), runs)]
            write_text(out / f"pooled_table{table}.csv", as_csv([*rows, *gained]))
            markdown = pooled.as_markdown(table, [*rows, *gained], runs)
            write_text(out / f"pooled_table{table}.md", markdown)
            print(markdown)


def write_representations(files: Sequence[Path], out: Path, data_note: str | None) -> None:
    """Write Table 3 of every row of these scores.json, and say where. Raises ValueError or OSError."""
    scores = [read_scores(path) for path in files]
    rows, columns = table_of_representations.rows_and_columns(scores)
    comparable = comparability(article(), scores, data_note)
    remarks = [*table_of_representations.remarks_on(rows), *measured_on(article(), data_note)]
    made = table_of_representations.as_json(article(), rows, comparable, remarks)
    markdown = table_of_representations.as_markdown(article(), rows, columns, comparable, remarks)
    write(out, 3, made, table_of_representations.figures_of(rows), markdown)


def write_protocols(files: Sequence[Path], out: Path, data_note: str | None) -> None:
    """Write Table 4 of every row of these scores.json, and print it. Raises ValueError or OSError."""
    rows = table_of_protocols.rows_of([read_scores(path) for path in files])
    remarks: list[Words] = [text("Ours: {note}.", note=[data_note.rstrip(".")])] if data_note else []
    made, markdown = (
        table_of_protocols.as_text(rows, remarks),
        table_of_protocols.as_markdown(rows, remarks),
    )
    write(out, 4, made, table_of_protocols.figures_of(rows), markdown)


def write(
    out: Path, table: int, as_json: str, figures: Sequence[Mapping[str, object]], markdown: str
) -> None:
    """Write all forms of a table, and say where: a run's end prints the tables (--summary)."""
    write_text(out / f"table{table}.json", as_json)
    write_text(out / f"table{table}.csv", as_csv(figures))
    write_text(out / f"table{table}.md", markdown)
    scored = sum(figure["map"] is not None for figure in figures)
    print(f"{out / f'table{table}.md'}: {scored} figures; beside it .json and .csv")


def measured_on(article: Article, data_note: str | None) -> list[Words]:
    """Where the article's figures come from, and what ours were measured on."""
    theirs = {name: article.source[name] for name in ("author", "title", "date", "url")}
    remarks: list[Words] = [
        text(
            "Article: {author}, {title}, {date}, {url} ({network} on {dataset}).",
            **theirs,
            network=article.network,
            dataset=article.dataset,
        )
    ]
    if data_note:
        remarks.append(text("Ours: {note}.", note=[data_note.rstrip(".")]))
    return remarks


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {PROGRAM}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Put our mAP beside the article's. Table 1: four layers of the pre-trained network\n"
        "at three dimensions each; Table 2: what fine-tuning gains; Table 3: every representation that was\n"
        "scored; Table 4: the same by the protocols of Revisited Oxford and Paris. What was not scored is\n"
        "left blank, what the article doesn't have is added. Writes the table to OUT as Markdown, JSON and\n"
        "CSV. With --summary: prints what a run has made.",
        epilog="example:\n  python -m eval.tables --table 2 --out work/demo/results \\\n"
        "      --pretrained work/demo/ranks/pretrained/scores.json \\\n"
        "      --finetuned work/demo/ranks/finetuned/scores.json\n"
        "  python -m eval.tables --summary work/demo",
    )
    add = parser.add_argument
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--table", type=whole_number, choices=(1, 2, 3, 4), help="which of the tables")
    which.add_argument("--pool", type=Path, nargs="+", metavar="WORK", help="Tables 1 and 2 of runs together")
    which.add_argument("--summary", type=Path, metavar="WORK", help="print the end of this run in some lines")
    add("--pretrained", type=Path, metavar="JSON", help="scores.json of the pre-trained network, for 1 and 2")
    add("--finetuned", type=Path, metavar="JSON", help="scores.json of the fine-tuned network, for Table 2")
    add(
        "--scores",
        type=Path,
        nargs="+",
        metavar="JSON",
        help="scores.json of every set of representations, for Tables 3 and 4",
    )
    add(
        "--as-published",
        type=Path,
        metavar="DIR",
        help="in Tables 1 and 2 a second block, of DIR/as_published_*: what the author's published code does",
    )
    add(
        "--elsewhere",
        type=Path,
        metavar="DIR",
        help="in Tables 1 and 2 a line of DIR/MODEL_elsewhere: whitened on other pictures than the searched",
    )
    add(
        "--dim",
        type=dimension,
        default="128",
        help="the dimension that plays the part of the article's 128 in Tables 1 and 2 (default: 128)",
    )
    add("--out", type=Path, metavar="DIR", help="where the table goes")
    add("--next", action="append", default=[], metavar="LINE", help="a line for --summary's end")
    add(
        "--data-note",
        metavar="TEXT",
        help="what our figures were measured on, where that is not the article's network and data set",
    )
    options = parser.parse_args(argv)
    for name, tables in (
        ("pretrained", (1, 2)),
        ("finetuned", (2,)),
        ("scores", (3, 4)),
        ("out", (1, 2, 3, 4)),
    ):
        given = getattr(options, name) is not None
        if given != (options.table in tables) and not (name == "out" and options.pool and given):
            wanted = " and ".join(f"Table {table}" for table in tables)
            parser.error(f"--{name} belongs to {wanted}, and is needed there")
    if options.pool and (len(options.pool) < 2 or options.out is None):
        parser.error("--pool takes two runs or more, and --out")
    return options


if __name__ == "__main__":
    sys.exit(main())
