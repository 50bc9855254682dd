"""Tables 1 and 2: the article's figures for layers and dimensions, and ours beside them.

A table takes what there is: a figure that this run has not scored is blank, and layers and dimensions that
the article doesn't have stand behind its own; both are said below the table.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from eval.files.scores import Key, Row, Scores, shown_rows
from eval.results.article import MODELS, Article, place_of
from eval.results.comparable import Comparability, told
from eval.results.markdown import aligned, wrapped
from eval.results.words import Text, Words, english, text

TITLES = {1: "which layer, and how many dimensions", 2: "what fine-tuning gains"}


@dataclass(frozen=True)
class Cell:
    """One figure of a table: the article's, and the row of our scores that answers it."""

    model: str
    layer: str
    label: str
    article: float | None
    ours: Row | None
    elsewhere: Row | None = None
    """Ours with the PCA fitted on other pictures than the searched ones."""


FIGURES: dict[str, Callable[[Cell], str]] = {
    "article": lambda cell: "" if cell.article is None else f"{100 * cell.article:.2f} %",
    "ours": lambda cell: "" if cell.ours is None else f"{100 * cell.ours.map:.2f} %",
    "difference": lambda cell: (
        f"{100 * (cell.ours.map - cell.article):+.2f}  "
        if cell.ours is not None and cell.article is not None
        else ""
    ),
    "whitened elsewhere": lambda cell: "" if cell.elsewhere is None else f"{100 * cell.elsewhere.map:.2f} %",
}


def cells_of(article: Article, table: int, scores: Mapping[str, Scores]) -> list[Cell]:
    """The table's figures in reading order. Raises ValueError where a file has no plain ranking at all.

    Table 1 is all that the article gives for the pre-trained network, and what else of it was scored. Table 2
    is what the article gives for the fine-tuned one, after the same of the pre-trained; where that was not
    scored of both, the setting that stands for it comes after.
    """
    models = MODELS[:table]
    for model in models:
        if not scores[model].plain:
            raise ValueError(f"{scores[model].path} holds no ranking without expansion and re-ranking")
    given = [(layer, label) for layer, of in article.map[models[-1]].items() for label in of]
    wanted = dict.fromkeys([*given, *_more(table, given, scores)])
    order = list(dict.fromkeys([*article.map["pretrained"], *(layer for layer, _ in wanted)]))
    keys = sorted(wanted, key=lambda key: (order.index(key[0]), place_of(key[1])))
    return [
        Cell(
            model,
            layer,
            label,
            article.map[model][layer][label] if (layer, label) in given else None,
            scores[model].plain.get((layer, label)),
        )
        for model in models
        for layer, label in keys
    ]


def with_elsewhere(cells: Sequence[Cell], scores: Mapping[str, Scores]) -> list[Cell]:
    """The cells with what `scores` by model have of them, whose PCA is fitted on other pictures."""
    return [
        replace(cell, elsewhere=scores[cell.model].plain.get((cell.layer, cell.label)))
        if cell.model in scores
        else cell
        for cell in cells
    ]


def remark_on_whitening(scores: Mapping[str, Scores]) -> list[Text]:
    """Which pictures the PCA of `whitened elsewhere` is fitted on."""
    return [
        text(
            "Whitened elsewhere: the PCA is fitted on other pictures, as papers do ({pictures}); in the "
            "lines above it on the searched pictures themselves, as the article does.",
            pictures=[pictures],
        )
        for pictures in dict.fromkeys(one.pca_set for one in scores.values() if one.pca_set)
    ]


def _more(table: int, given: Sequence[Key], scores: Mapping[str, Scores]) -> Iterable[Key]:
    """The settings of a table that are not the article's."""
    if table == 1:
        return scores["pretrained"].plain
    if any(key in of_model.plain for key in given for of_model in scores.values()):
        return ()
    return [row.key for row in shown_rows(scores).values()]


def as_json(
    table: int,
    cells: Sequence[Cell],
    comparable: Comparability,
    remarks: Sequence[Words],
    as_published: Sequence[Mapping[str, object]] = (),
) -> str:
    """The table for programs; mAP from 0 to 1. `comparable` is null where that can't be told."""
    said = told(comparable, remarks)
    block = {"as_published": list(as_published)} if as_published else {}
    return json.dumps({"table": table} | said | {"rows": rows_of(table, cells)} | block, indent=1) + "\n"


def rows_of(table: int, cells: Sequence[Cell]) -> list[dict[str, object]]:
    """The cells as rows of values, None where there is none."""
    elsewhere = any(cell.elsewhere for cell in cells)

    def more(cell: Cell) -> dict[str, object]:
        return {"whitened_elsewhere": cell.elsewhere.map if cell.elsewhere else None} if elsewhere else {}

    return [
        ({"model": cell.model} if table == 2 else {})
        | {"layer": cell.layer}
        | {
            "label": cell.label,
            "dim": cell.ours.dim if cell.ours else None,
            "pca": cell.label != "none",
            "map": cell.ours.map if cell.ours else None,
            "article": cell.article,
        }
        | more(cell)
        for cell in cells
    ]


def as_markdown(
    article: Article, table: int, cells: Sequence[Cell], comparable: Comparability, remarks: Sequence[Words]
) -> str:
    """The table for people: title, whether it can be compared, table, and what one must know to read it."""
    labels = sorted({cell.label for cell in cells}, key=place_of)
    lines = [["mAP", "", *map(article.heading, labels)]]
    for model, layer in dict.fromkeys((cell.model, cell.layer) for cell in cells):
        row = {cell.label: cell for cell in cells if (cell.model, cell.layer) == (model, layer)}
        names = iter([layer if table == 1 else f"{layer}, {model}"])
        for kind, show in FIGURES.items():
            figures = [show(row[label]) if label in row else "" for label in labels]
            if any(figures):
                lines.append([next(names, ""), kind, *figures])
    parts = [f"# Table {table}: {TITLES[table]}", wrapped(english(comparable.sentence)), aligned(lines, 2)]
    return "\n\n".join([*parts, *(wrapped(english(remark)) for remark in remarks)]) + "\n"


def remarks_on(
    article: Article, table: int, cells: Sequence[Cell], scores: Mapping[str, Scores]
) -> list[Words]:
    """What one must know to read the table."""
    evened_out = [cell for cell in cells if cell.ours and scores[cell.model].evened_out(cell.ours)]
    return [
        *blanks(article, table, cells),
        *additions(article, cells),
        *dimensions(article, cells),
        *noise(cells),
        *without_ranking(article, evened_out),
        *trained_on(article, table, cells, bool(evened_out)),
    ]


def trained_on(article: Article, table: int, cells: Sequence[Cell], evened_out: bool) -> list[Text]:
    """For Table 2: whether fine-tuning has changed anything, and what the article's was trained on.

    Where whitening has evened everything out the figures are alike for that.
    """
    if table != 2:
        return []
    by_model = [[cell.ours for cell in cells if cell.model == model and cell.ours] for model in MODELS]
    remarks = []
    if not evened_out and by_model[0] and [row.ap for row in by_model[0]] == [row.ap for row in by_model[1]]:
        layers = ", ".join(dict.fromkeys(row.layer for row in by_model[0]))
        remarks.append(
            text(
                "Both networks answer every query alike. Where only the last layer was trained "
                "(FINETUNE_MODE=last) {layers} comes before it and can't change; where all were, the steps "
                "were too few to change an order (MAX_ITER).",
                layers=layers,
            )
        )
    remarks.append(
        text(
            "The article fine-tuned on {pictures}: its second figure compares with a run that did so too.",
            pictures=[article.trained_on],
        )
    )
    return remarks


def without_ranking(article: Article, evened_out: Sequence[Cell]) -> list[Text]:
    """Which figures tell nothing, as there are too few pictures to whiten to so many dimensions."""
    if not evened_out:
        return []
    return [
        text(
            "Nothing is ranked by these, whatever the network: {what}. Whitening fitted on so few searched "
            "pictures makes every one equally far from every other. Ask for a fifth of their number or fewer "
            "dimensions, or none (DIMS).",
            what=[
                text("{row}, {column}", row=layer, column=article.heading(label))
                for layer, label in dict.fromkeys((one.layer, one.label) for one in evened_out)
            ],
        )
    ]


def blanks(article: Article, table: int, cells: Sequence[Cell]) -> list[Text]:
    """Which of the article's figures this run has not scored."""
    missing = [cell for cell in cells if cell.ours is None]
    if not missing:
        return []
    lacking = {}
    for model, layer in dict.fromkeys((cell.model, cell.layer) for cell in missing):
        name = layer if table == 1 else f"{layer}, {model}"
        of_layer = [cell for cell in cells if (cell.model, cell.layer) == (model, layer)]
        labels = [cell.label for cell in missing if (cell.model, cell.layer) == (model, layer)]
        lacking[name] = [] if len(labels) == len(of_layer) else labels
    words = [
        name + (f" ({', '.join(map(article.heading, labels))})" if labels else "")
        for name, labels in lacking.items()
    ]
    return [text("Blank, as this run has not scored it: {what}.", what="; ".join(words))]


def additions(article: Article, cells: Sequence[Cell]) -> list[Text]:
    """What stands in the table that the article doesn't have."""
    theirs = [cell for cell in cells if cell.article is not None]
    more = [cell for cell in cells if cell.article is None]
    known = {cell.layer for cell in theirs}, {cell.label for cell in theirs}
    layers = [layer for layer in dict.fromkeys(cell.layer for cell in more) if layer not in known[0]]
    labels = [label for label in dict.fromkeys(cell.label for cell in more) if label not in known[1]]
    words = [*layers, *map(article.heading, sorted(labels, key=place_of))]
    if not words:
        return []
    return [text("Of this run alone, the article has no figure for it: {what}.", what=", ".join(words))]


def dimensions(article: Article, cells: Sequence[Cell]) -> list[Text]:
    """How many dimensions our columns have, where not as many as the article's."""
    remarks = []
    for column in article.columns:
        ours = sorted({cell.ours.dim for cell in cells if cell.ours and cell.label == column.label})
        if ours and ours != [column.dim]:
            here = " or ".join(map(str, ours))
            remarks.append(
                text(
                    "Dimensions, {column}: {here} here, {article} in the article.",
                    column=column.heading,
                    here=here,
                    article=column.dim,
                )
            )
    return remarks


def noise(cells: Sequence[Cell]) -> list[Text]:
    """Which of our figures rest on directions that hold nothing but rounding."""
    noisy = [
        f"{cell.layer} {cell.ours.noise_directions} of {cell.ours.dim}"
        for cell in cells
        if cell.ours and cell.ours.noise_directions
    ]
    if not noisy:
        return []
    return [
        text(
            "PCA directions without variance beyond float32's rounding: {what}. Whitening makes that "
            "rounding as large as everything else, and the figure says what it does to the ranking.",
            what=", ".join(noisy),
        )
    ]
