"""What the author's published code does and the article doesn't tell, as a second block of Tables 1 and 2.

eval.score's folders of it are called as_published_MODEL_HABIT: tools/run/recipes/as_published.sh makes them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.files.scores import Row, read_scores
from eval.results.article import Article, place_of
from eval.results.markdown import aligned, wrapped
from eval.results.table_of_layers import Cell

HABITS = {
    "relu6": "ReLU 6 bypassed",
    "boxes": "box as x, y, width, height",
    "reranked": "re-ranked in place",
    "all": "all three",
}
AS_TOLD = "as the text says"
TITLE = "As the author's published code runs it"
WORDS = (
    "His code does three things that the article doesn't tell: fc7 takes fc6 past ReLU 6, the query's box "
    "is cut as if its second corner were width and height, and the first ten answers are ranked again by "
    "mean subtraction, which changes the database with every query. Which of them were in force for his "
    "figures nobody can know."
)


@dataclass(frozen=True)
class Habit:
    """A cell of the table as one of his habits has it."""

    cell: Cell
    name: str
    ours: Row


def habits_of(ranks: Path, cells: Sequence[Cell]) -> list[Habit]:
    """The cells' figures by each habit that was scored below the folder `ranks`; others are left out.

    Raises OSError, or ValueError for a scores.json that is none.
    """
    models = dict.fromkeys(cell.model for cell in cells)
    scored = {
        (model, habit): {row.key: row for row in read_scores(path).rows if row.query_expansion == "none"}
        for model in models
        for habit in HABITS
        if (path := ranks / f"as_published_{model}_{habit}" / "scores.json").is_file()
    }
    return [
        Habit(cell, habit, scored[cell.model, habit][cell.layer, cell.label])
        for cell in cells
        for habit in HABITS
        if (cell.layer, cell.label) in scored.get((cell.model, habit), {})
    ]


def as_markdown(article: Article, cells: Sequence[Cell], habits: Sequence[Habit], of_models: bool) -> str:
    """The block for people; "" where there is nothing in it."""
    if not habits:
        return ""
    labels = sorted({habit.cell.label for habit in habits}, key=place_of)
    lines = [["mAP", "", *map(article.heading, labels)], *_lines(cells, habits, labels, of_models)]
    return "\n\n".join([f"## {TITLE}", wrapped(WORDS), aligned(lines, 2)]) + "\n"


def _lines(
    cells: Sequence[Cell], habits: Sequence[Habit], labels: Sequence[str], of_models: bool
) -> Iterator[list[str]]:
    """A line for the article, for us, and for each habit, of every layer of every model."""
    for model, layer in dict.fromkeys((habit.cell.model, habit.cell.layer) for habit in habits):
        own = [cell for cell in cells if (cell.model, cell.layer) == (model, layer)]
        figures: dict[str, Mapping[str, float]] = {
            "article": {cell.label: cell.article for cell in own if cell.article is not None},
            AS_TOLD: {cell.label: cell.ours.map for cell in own if cell.ours},
        }
        for name, words in HABITS.items():
            figures[words] = {
                habit.cell.label: habit.ours.map
                for habit in habits
                if habit.name == name and (habit.cell.model, habit.cell.layer) == (model, layer)
            }
        names = iter([f"{layer}, {model}" if of_models else layer])
        for words, by_label in figures.items():
            if by_label:
                shown = [f"{100 * by_label[label]:.2f} %" if label in by_label else "" for label in labels]
                yield [next(names, ""), words, *shown]


def rows_of(habits: Sequence[Habit], of_models: bool) -> list[dict[str, object]]:
    """The figures as rows of values, as JSON and CSV have them; mAP from 0 to 1."""
    return [
        ({"model": habit.cell.model} if of_models else {})
        | {"layer": habit.cell.layer, "label": habit.cell.label, "dim": habit.ours.dim}
        | {"pca": habit.cell.label != "none", "map": habit.ours.map, "article": habit.cell.article}
        | {"habit": habit.name}
        for habit in habits
    ]
