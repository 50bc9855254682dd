"""The report's sections: what the template shows of what the run has left, and the words for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.files.ground_truth import GroundTruth, read_lines
from eval.files.scores import shown_rows
from eval.report import figures, layers, provenance, training_data
from eval.report.measures import chosen, landmark, places, precision_at_recall, verdict
from eval.report.pages import Pictures, Shown
from eval.report.run_folder import Run, read_rows
from eval.results.article import place_of

SHOWN = 8
NAMES = figures.NAMES
VERDICTS = {
    "good": "good: the building is clearly seen",
    "ok": "ok: more than a quarter of it is seen",
    "junk": "junk: hardly seen, counts neither way",
    "wrong": "wrong: another place",
}
MOST_BARS = 24
Section = dict[str, Any]
Bar = tuple[str, float, float | None]
"""Label, this run's mAP, the article's."""


@dataclass(frozen=True)
class Illustration:
    """A figure with the words below it that say what to see."""

    picture: Shown
    caption: str


@dataclass(frozen=True)
class Answer:
    """A picture that came back, and what it is."""

    name: str
    verdict: str
    picture: Shown | None


@dataclass(frozen=True)
class Answers:
    """A model's first answers to a query."""

    model: str
    ap: float
    first: list[Answer]
    words: str


@dataclass(frozen=True)
class QueryShown:
    """A query with each model's first answers."""

    name: str
    why: str
    picture: Shown | None
    words: str
    answers: list[Answers]


@dataclass(frozen=True)
class Grid:
    """A table of mAP figures: columns' headings, and a row of (ours, the article's) for each label."""

    number: int
    headings: list[str]
    rows: list[tuple[str, list[tuple[float | None, float | None]]]]


def data_section(run: Run, pictures: Pictures) -> Section:
    """Broken pictures, class sizes, an original with its copies, lists, the mean, entries of the LMDB."""
    section: Section = {
        "findings": run.findings,
        "broken": training_data.broken(run, pictures),
        "lists": run.lists,
    }
    if run.class_sizes:
        section["sizes"] = run.class_sizes
        section["sizes_figure"] = _class_sizes(run, pictures)
    section["copies"] = training_data.copies(run, pictures)
    mean = training_data.mean_image(run.work / "lmdb" / "mean.binaryproto")
    if mean is not None:
        image = training_data.enlarged(np.clip(np.rint(mean), 0, 255).astype(np.uint8))
        section["mean"] = pictures.png("mean", image, "the mean of all training pictures, a soft blur")
        section["mean_values"] = mean.mean(axis=(0, 1)).tolist()
        section["mean_size"] = mean.shape[:2]
    section["entries"] = training_data.entries(run, pictures, mean)
    return section


def _class_sizes(run: Run, pictures: Pictures) -> Illustration:
    sizes = run.class_sizes
    before = [size.originals for size in sizes]
    after = [size.augmented for size in sizes]
    caption = (
        f"{len(sizes)} classes. Before augmentation the smallest has {min(before)} pictures, the largest "
        f"{max(before)}; after it {min(after)} and {max(after)}. A network trained on the dark part alone "
        "would lean to the large classes; the light part evens that out."
    )
    alt = f"Bars of pictures in {len(sizes)} classes, originals and copies; the table below has the figures"
    return Illustration(pictures.figure("class_sizes", figures.class_sizes(sizes), alt), caption)


def network_section(run: Run, pictures: Pictures) -> Section:
    """The layers with their blobs before and after renaming."""
    after = run.work / "prototxt" / "deploy.prototxt"
    before = run.network / "train_val.prototxt" if run.network else None
    if before is None or not before.is_file() or not after.is_file():
        return {}
    wired = layers.wirings(layers.layers(before), layers.layers(after))
    around = [one for one in wired if one.name in layers.AROUND]
    section: Section = {"layers": wired, "before": before, "after": after}
    if around:
        drawing = figures.blobs(
            [(one.name, one.before, one.new) for one in around],
            [(one.name, one.after, one.new) for one in around],
        )
        count = sum(one.new for one in wired)
        section["figure"] = Illustration(
            pictures.figure("blobs", drawing, "Layers around fc6 and fc7 with the blobs they write"),
            "On the left relu7 and drop7 write over fc7, so after a forward pass the blob called fc7 holds "
            "the value after ReLU and the one before it is lost. On the right each layer hands a blob of its "
            f"own to the next: the same network, with {count} more layers that can be read.",
        )
    return section


def training_section(run: Run, pictures: Pictures) -> Section:
    """The curves of Caffe's log, the solver, the last figures."""
    drawing, values = (run.work / "results" / f"training.{ending}" for ending in ("svg", "csv"))
    if not drawing.is_file():
        return {}
    section: Section = {
        "figure": Illustration(
            pictures.svg("training", drawing.read_text(encoding="utf-8"), "Loss and accuracy by iteration"),
            "Caffe's own log. The loss should fall and flatten; where validation turns up while training "
            "still falls, the network learns its pictures by heart. Dotted lines mark where the learning "
            "rate drops: a step down in the loss often follows.",
        )
    }
    rows = read_rows(values) or []
    section["ends"] = [_phase_end(log, rows) for log in dict.fromkeys(row["log"] for row in rows)]
    solver = run.work / "prototxt" / "train" / "solver.prototxt"
    section["solver"] = solver.read_text(encoding="utf-8") if solver.is_file() else ""
    return section


def _phase_end(log: str, rows: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Last values of one log: {log, iterations, training loss, validation ...}."""
    own = [row for row in rows if row["log"] == log]
    last = {
        (row["what"], row["name"]): row for row in sorted(own, key=lambda row: int(row["iteration"]))
    }  # the last one stays
    named = {"loss": "training loss", "test": "validation "}
    values = {
        named[what] + (name if what == "test" else ""): float(row["value"])
        for (what, name), row in last.items()
        if what in named
    }
    iterations = max(int(row["iteration"]) for row in own)
    return {"log": Path(log).stem, "iterations": iterations, "values": values}


def retrieval_section(run: Run, pictures: Pictures) -> Section:
    """Tables, average precision by query, precision against recall, answers to look at."""
    section: Section = {
        "tables": [_table(run, pictures, number) for number in sorted(run.tables)],
        "claims": run.claims,
    }
    setting = shown_rows(run.scores)
    if not setting or not run.truths:
        return section
    ranks = {model: run.ranks(model) / row.ranks for model, row in setting.items()}
    ap = {model: row.ap for model, row in setting.items()}
    first = next(iter(setting.values()))
    section |= {
        "setting": f"{first.layer}, {_dimension(first.pca, first.dim)}",
        "ap": Illustration(
            pictures.figure("ap_by_query", figures.ap_by_query(ap), "Average precision of each query"),
            _ap_caption(ap),
        ),
        "precision_recall": _precision_recall(run, pictures, ranks),
        "choice": chosen(ap),
        "queries": _queries(run, pictures, ranks, ap),
        "verdicts": VERDICTS,
    }
    return section


def _dimension(pca: bool, dim: int) -> str:
    return f"PCA to {dim}" if pca else f"{dim}, no PCA"


def _ap_caption(ap: Mapping[str, Mapping[str, float]]) -> str:
    models = list(ap)
    last = ap[models[-1]]
    if len(models) == 1:
        best, worst = max(last, key=last.__getitem__), min(last, key=last.__getitem__)
        return (
            f"{len(last)} queries, from {worst} at {100 * last[worst]:.1f}\u00a0% to {best} at "
            f"{100 * last[best]:.1f}\u00a0%. The mean of these dots is the mAP of the table."
        )
    changes = {query: last[query] - ap[models[0]][query] for query in last}
    up, down = sum(c > 0 for c in changes.values()), sum(c < 0 for c in changes.values())
    most, least = max(changes, key=changes.__getitem__), min(changes, key=changes.__getitem__)
    return (
        f"Fine-tuning made {up} of {len(changes)} queries better and {down} worse. The largest gain is "
        f"{most}'s ({100 * changes[most]:+.1f}), the largest loss {least}'s ({100 * changes[least]:+.1f}). "
        "Green lines are gains, red ones losses; the mean of the dots of one colour is that model's mAP."
    )


def _table(run: Run, pictures: Pictures, number: int) -> dict[str, Any]:
    grid = grid_of(run.tables[number], number)
    bars = bars_of(grid)
    note = run.work / "results" / f"table{number}.md"
    text = note.read_text(encoding="utf-8").partition("\n## ")[0] if note.is_file() else ""
    remarks = text.strip().split("\n\n")[2:]
    figure = pictures.figure(
        f"table{number}", figures.against_article(bars), f"The figures of Table {number}"
    )
    return {
        "grid": grid,
        "figure": Illustration(figure, _table_caption(grid, bars)),
        "remarks": [" ".join(remark.split()) for remark in remarks],
        "compared": any(theirs is not None for _, _, theirs in bars),
        "published": run.tables[number].get("published", []),
        "sources": run.tables[number].get("sources", {}),
    }


def bars_of(grid: Grid) -> list[Bar]:
    """A bar for every figure of a table; in one with many figures, for the best of each row."""
    every = [
        [
            (f"{label}, {heading}" if len(grid.headings) > 1 else label, ours, theirs)
            for heading, (ours, theirs) in zip(grid.headings, cells, strict=True)
            if ours is not None
        ]
        for label, cells in grid.rows
    ]
    if sum(map(len, every)) > MOST_BARS:
        return [max(bars, key=lambda bar: bar[1]) for bars in every if bars]
    return [bar for bars in every for bar in bars]


def _table_caption(grid: Grid, bars: Sequence[Bar]) -> str:
    best = max(bars, key=lambda bar: bar[1])
    one_a_row = len(bars) == len(grid.rows) and len(grid.headings) > 1
    words = "Each bar is the best figure of its row. " if one_a_row else ""
    words += f"This run is best with {best[0]} ({100 * best[1]:.1f}\u00a0%)"
    given = [bar for bar in bars if bar[2] is not None]
    if given:
        theirs = max(given, key=lambda bar: bar[2] or 0)
        words += f", the article with {theirs[0]} ({100 * theirs[2]:.1f}\u00a0%)"
        words += ". Compare the order of the bars with the order of the diamonds"
    return f"{words}."


def grid_of(table: Mapping[str, Any], number: int) -> Grid:
    """A table's JSON as rows and columns, in its order."""
    return _grid_of_representations(table) if number == 3 else _grid_of_layers(table, number)


def _grid_of_layers(table: Mapping[str, Any], number: int) -> Grid:
    """Tables 1 and 2: a row for each layer of a model."""
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in table["rows"]:
        named = [NAMES.get(str(row[key]), str(row[key])) for key in ("layer", "model") if key in row]
        rows.setdefault(", ".join(named), {})[row["label"]] = row
    headings = {}
    for row in sorted(table["rows"], key=lambda row: (place_of(row["label"]), -(row["dim"] or 0))):
        headings.setdefault(row["label"], _heading(row["label"], row["dim"]))
    cells = [
        (name, [(row["map"], row["article"]) if row else (None, None) for row in map(of.get, headings)])
        for name, of in rows.items()
    ]
    return Grid(number, list(headings.values()), cells)


def _heading(label: str, dim: int | None) -> str:
    """A column of Tables 1 and 2: what was asked for, and what came of it in the widest row."""
    shown = dim or label
    return f"{shown}, no PCA" if label == "none" else f"PCA to {shown}"


def _grid_of_representations(table: Mapping[str, Any]) -> Grid:
    """Table 3: a row for each representation, a column for each dimension, plain and expanded."""
    columns: dict[tuple[str, bool], str] = {}
    for row in table["rows"]:
        for figure in row["figures"]:
            expanded = figure["query_expansion"] != "none"
            heading = "no PCA" if figure["label"] == "none" else f"PCA to {figure['label']}"
            columns[figure["label"], expanded] = heading + (", QE" if expanded else "")
    rows = []
    for row in table["rows"]:
        ours = {(one["label"], one["query_expansion"] != "none"): one for one in row["figures"]}
        cells = [(ours[key]["map"] if key in ours else None, None) for key in columns]
        label = " ".join(filter(None, (row["layer"], row["pooling"])))
        rows.append((f"{label}, {row['pictures']}" if row["pictures"] else label, cells))
    return Grid(3, list(columns.values()), rows)


def _precision_recall(run: Run, pictures: Pictures, ranks: Mapping[str, Path]) -> Illustration:
    curves: dict[str, dict[str, Any]] = {}
    by_landmark: dict[str, list[GroundTruth]] = {}
    for query, truth in run.truths.items():
        by_landmark.setdefault(landmark(query), []).append(truth)
    for name, truths in by_landmark.items():
        for model, folder in ranks.items():
            of_queries = [
                precision_at_recall(read_lines(folder / f"{truth.query.name}.txt"), truth) for truth in truths
            ]
            curves.setdefault(name, {})[model] = np.mean(of_queries, axis=0)
    figure = pictures.figure(
        "precision_recall",
        figures.precision_recall(curves),
        f"Precision against recall of {len(curves)} landmarks",
    )
    return Illustration(
        figure,
        "The mean over each landmark's queries; precision is the best at that recall or a higher one. A "
        "curve that stays high and then falls finds most of its pictures first; one that falls at once has a "
        "few easy ones and loses the rest among other buildings.",
    )


def _queries(
    run: Run, pictures: Pictures, ranks: Mapping[str, Path], ap: Mapping[str, Mapping[str, float]]
) -> list[QueryShown]:
    reasons = {choice.query: choice.why for choice in chosen(ap)}
    return [
        _query(run, pictures, ranks, ap, truth, reasons.get(name, "")) for name, truth in run.truths.items()
    ]


def _query(
    run: Run,
    pictures: Pictures,
    ranks: Mapping[str, Path],
    ap: Mapping[str, Mapping[str, float]],
    truth: GroundTruth,
    why: str,
) -> QueryShown:
    query = truth.query
    asked = run.database.get(query.image)
    image = training_data.boxed(Path(asked.path), query.box) if asked else None
    alt = f"{query.image} with the box that is searched for"
    picture = None if image is None else pictures.jpeg(f"queries/{query.name}", image, alt)
    answers = []
    for model, folder in ranks.items():
        ranking = read_lines(folder / f"{query.name}.txt")
        first = [_answer(run, pictures, name, truth) for name in ranking[:SHOWN]]
        found = places(ranking, truth)
        early = sum(rank <= 10 for rank in found)
        last = f"the last right one is at rank {found[-1]}" if found else "no right one is in the list"
        words = f"{early} of the first 10 are right, {last}"
        answers.append(Answers(model, ap[model][query.name], first, words))
    words = f"{len(truth.positives)} pictures show it ({len(truth.good)} good, {len(truth.ok)} ok)"
    return QueryShown(query.name, why, picture, words, answers)


def _answer(run: Run, pictures: Pictures, name: str, truth: GroundTruth) -> Answer:
    file = run.database.get(name)
    picture = pictures.thumbnail(Path(file.path), f"thumbs/{name}", name, 96) if file else None
    return Answer(name, verdict(name, truth), picture)


def provenance_section(run: Run) -> Section:
    """Versions, hashes, settings, machine, times."""
    profile = run.profile.read_text(encoding="utf-8") if run.profile and run.profile.is_file() else ""
    return {
        "versions": provenance.versions(),
        "hashes": provenance.hashes(run),
        "preprocessing": provenance.preprocessing(run),
        "machine": provenance.machine(),
        "profile": profile,
        "times": [
            (stage, sum(step.seconds for step in steps), len(steps)) for stage, steps in run.steps.items()
        ],
    }


def headline(run: Run) -> list[tuple[str, float, float | None]]:
    """The figures that the page opens with: (label, ours, the article's)."""
    if 2 in run.tables:
        rows = [(str(row["model"]), row) for row in run.tables[2]["rows"]]
    elif 1 in run.tables:
        rows = [("pretrained", max(run.tables[1]["rows"], key=lambda row: row["map"] or 0))]
    else:
        return []
    return [
        (
            f"{row['layer']}, {_dimension(row['pca'], row['dim'])}, {NAMES.get(model, model)}",
            row["map"],
            row.get("article"),
        )
        for model, row in rows
        if row["map"] is not None
    ]
