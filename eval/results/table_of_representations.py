"""Table 3: every representation at every dimension, plain and expanded, beside published figures."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from eval.files.scores import Scores
from eval.represent.pooling import POOLINGS
from eval.results.article import Article, place_of
from eval.results.comparable import Comparability, told
from eval.results.markdown import aligned, wrapped
from eval.results.words import Text, Words, english, text

TITLE = "every representation, plain and with query expansion (QE)"
LEARNT = ("rmac_whitened",)


class Column(NamedTuple):
    """One column: the dimension as eval.score labels it, and with query expansion or without."""

    label: str
    expanded: bool
    elsewhere: bool = False
    """Whether the PCA is fitted on other pictures than the searched ones."""

    @property
    def heading(self) -> str:
        """As the table has it."""
        label = "no PCA" if self.label == "none" else self.label
        return label + (", QE" if self.expanded else "") + (", elsewhere" if self.elsewhere else "")


class Row(NamedTuple):
    """One representation: the model, the layer with its pooling, the input, and its figures."""

    model: str
    layer: str
    pooling: str
    pictures: str
    figures: dict[Column, dict[str, Any]]
    learnt: str
    """Which pictures it was itself learnt from; "" where there is nothing to learn."""

    @property
    def name_of_row(self) -> tuple[str, str, str, str]:
        """What figures of one row have in common, whatever their PCA is fitted on."""
        return self.model, self.layer, self.pooling, self.pictures

    @property
    def name(self) -> str:
        """As a sentence has it."""
        return f"{self.layer} {self.pooling}".strip()


def rows_and_columns(files: Sequence[Scores]) -> tuple[list[Row], list[Column]]:
    """The table's rows in the order of the files, and its columns; rows without re-ranking.

    Raises ValueError where two kinds of query expansion stand in one file, or nothing in all.
    """
    rows: list[Row] = []
    for scores in files:
        try:
            found = _rows(scores)
        except ValueError as error:
            raise ValueError(f"{scores.path}: {error}") from None
        for row in found:
            same = next((one for one in rows if one.name_of_row == row.name_of_row), None)
            if same is None or not scores.pca_features or same.figures.keys() & row.figures.keys():
                rows.append(row)
            else:
                same.figures.update(row.figures)
    if not rows:
        raise ValueError("Table 3 needs scores, and the files hold none")
    return rows, sorted(
        {column for row in rows for column in row.figures},
        key=lambda column: (place_of(column.label), column.expanded, column.elsewhere),
    )


def _rows(scores: Scores) -> list[Row]:
    found: dict[str, dict[Column, dict[str, Any]]] = {}
    for row in scores.rows:
        if row.rerank == "none":
            elsewhere = scores.pca_features is not None and row.pca
            column = Column(row.label, row.query_expansion != "none", elsewhere)
            kept = found.setdefault(row.layer, {})
            if column in kept:
                raise ValueError(f"{row.layer} has two figures for {column.heading}")
            kept[column] = {"dim": row.dim, "map": row.map, "query_expansion": row.query_expansion}
            kept[column] |= {"pca": scores.pca_set if row.pca else None}
    size = _size(scores.preprocessing)
    order = [*POOLINGS, *LEARNT]
    rows = [
        Row(scores.model, *split(layer), size, figures, scores.learnt.get(layer, ""))
        for layer, figures in found.items()
    ]
    return sorted(rows, key=lambda row: (row.layer, order.index(row.pooling) if row.pooling in order else -1))


def split(name: str) -> tuple[str, str]:
    """A dataset's name as layer and pooling: pool5_rmac -> pool5, rmac; fc6_relu6 -> fc6_relu6 and none."""
    for pooling in sorted((*POOLINGS, *LEARNT), key=len, reverse=True):
        if name.endswith(f"_{pooling}"):
            return name.removesuffix(f"_{pooling}"), pooling
    return name, ""


def _size(preprocessing: Mapping[str, Any]) -> str:
    resize = preprocessing.get("resize")
    if isinstance(resize, dict):
        return f"up to {resize['max_side']}"
    return f"{resize[0]} x {resize[1]}" if resize else ""


def published(article: Article, rows: Sequence[Row]) -> list[Mapping[str, Any]]:
    """Figures for Oxford5k of the rows' poolings; only of pool5, which they were measured on."""
    here = {row.pooling for row in rows if row.layer == "pool5"}
    return [figure for figure in article.representations if figure["pooling"] in here]


def as_json(
    article: Article, rows: Sequence[Row], comparable: Comparability, remarks: Sequence[Words]
) -> str:
    """The table for programs; mAP from 0 to 1. `published` has others' figures, `sources` where from."""
    made = [
        {name: getattr(row, name) for name in ("model", "layer", "pooling", "pictures", "learnt")}
        | {"figures": [{"label": column.label} | figure for column, figure in row.figures.items()]}
        for row in rows
    ]
    given = published(article, rows)
    sources = {figure["source"]: article.sources[figure["source"]] for figure in given}
    table = {"table": 3} | told(comparable, remarks) | {"rows": made, "published": given, "sources": sources}
    return json.dumps(table, indent=1) + "\n"


def figures_of(rows: Sequence[Row]) -> list[dict[str, object]]:
    """The rows' figures, one by one, as CSV has them."""
    return [
        {name: getattr(row, name) for name in ("model", "layer", "pooling", "pictures")}
        | {"label": column.label}
        | figure
        | {"learnt": row.learnt}
        for row in rows
        for column, figure in row.figures.items()
    ]


def as_markdown(
    article: Article,
    rows: Sequence[Row],
    columns: Sequence[Column],
    comparable: Comparability,
    remarks: Sequence[Words],
) -> str:
    """The table for people: title, table, what one must know to read it, and what others have published."""
    lines = [["mAP", "", "input", *(column.heading for column in columns)]]
    lines += [
        [row.layer, row.pooling, row.pictures, *(_percent(row.figures.get(column)) for column in columns)]
        for row in rows
    ]
    if len({row.model for row in rows}) > 1:
        models = ["model", *(row.model for row in rows)]
        lines = [[model, *line] for model, line in zip(models, lines, strict=True)]
    parts = [f"# Table 3: {TITLE}", wrapped(english(comparable.sentence))]
    parts += [aligned(lines, len(lines[0]) - len(columns)), *(wrapped(english(remark)) for remark in remarks)]
    return "\n\n".join([*parts, *_published(article, rows)]) + "\n"


def _published(article: Article, rows: Sequence[Row]) -> list[str]:
    """What others have reached with the rows' representations: a table, how to read it, and its sources."""
    given = published(article, rows)
    if not given:
        return []
    sources = list(dict.fromkeys(figure["source"] for figure in given))
    lines = [["pool5", "dimensions", "network", "whitening fitted on", "", "mAP"]]
    for figure in given:
        dimensions = f"{figure['dim']}{', QE' if figure['query_expansion'] else ''}"
        number = f"[{sources.index(figure['source']) + 1}]"
        setting = (figure["pooling"], dimensions, figure["network"], figure["whitening"], number)
        lines.append([*setting, f"{100 * figure['map']:.4g} %"])
    text = (
        f"Queries are cut to their boxes throughout. {article.network} is the network as trained on "
        "ImageNet; what any other network reached is not comparable with the rows above. "
        "`eval.score --pca-features` fits the whitening on other pictures, `eval.extract --rmac-whitening` "
        "R-MAC's own. MOP-CNN's paper has no figure for Oxford5k."
    )
    notes = [
        f"[{number}] {source['is']}. Measured: {source['measured']}. Checked: {source['checked']}."
        for number, source in enumerate((article.sources[name] for name in sources), start=1)
    ]
    return [f"## Published for {article.dataset}", aligned(lines, 5), *map(wrapped, [text, *notes])]


def _percent(figure: dict[str, Any] | None) -> str:
    return f"{100 * figure['map']:.2f} %" if figure else ""


def remarks_on(rows: Sequence[Row]) -> list[Words]:
    """What the columns hold, and which pictures what was learnt comes from."""
    fewer = {
        row.name: figure["dim"]
        for row in rows
        for column, figure in row.figures.items()
        if column.label.isdecimal() and figure["dim"] < int(column.label)
    }
    remarks: list[Words] = [
        "Columns: whitening PCA to so many dimensions, or the representation as it is. Input: height and "
        "width that every picture is brought to, or the longest side with the aspect kept."
    ]
    if fewer:
        less = ", ".join(f"{name} {dim}" for name, dim in fewer.items())
        remarks.append(text("With fewer dimensions than a column says: {what}.", what=less))
    remarks += _fitted(rows)
    sets = {row.name: row.learnt for row in rows if row.learnt}
    return [
        *remarks,
        *(
            text("{name} was learnt from {pictures}.", name=name, pictures=[what])
            for name, what in sets.items()
        ),
    ]


def _fitted(rows: Sequence[Row]) -> list[Text]:
    """Which pictures the columns' PCA is fitted on."""
    columns = [(column, figure) for row in rows for column, figure in row.figures.items()]
    elsewhere = dict.fromkeys(figure["pca"] for column, figure in columns if column.elsewhere)
    others = text("the pictures of {sets}", sets=[", ".join(map(str, elsewhere))])
    if all(column.elsewhere for column, _ in columns if column.label != "none") and elsewhere:
        return [text("The PCA is fitted on {pictures}.", pictures=others)]
    itself = text("the searched pictures themselves")
    said = [text("The PCA is fitted on {pictures}.", pictures=itself)]
    if elsewhere:
        said.append(
            text("Where a column says elsewhere it is fitted on {pictures}, as papers do.", pictures=others)
        )
    return said
