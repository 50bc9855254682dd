"""The report's figures, drawn by matplotlib in its own colours (page_pictures makes dark ones of them).

Narrow, so that their words can still be read on a telephone.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("MPLBACKEND", "Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from numpy.typing import NDArray

from eval.report.rankings import RECALLS
from eval.report.run_folder import ClassSize
from eval.results.grid import NAMES

WIDTH = 4.6  # inches: a telephone shows this at 4/5 of the size, words of 10 points as 8
COLOURS = {"pretrained": "C0", "finetuned": "C1"}
MOST_NAMED = 30
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#7f7f7f",
    "legend.frameon": False,
}


@contextmanager
def drawing(height: float, **options: Any) -> Iterator[tuple[Figure, Any]]:
    """A figure of the report's width and its axes, in the report's style."""
    plt.rcParams.update(STYLE)
    yield plt.subplots(figsize=(WIDTH, height), layout="constrained", **options)


def class_sizes(sizes: Sequence[ClassSize]) -> Figure:
    """Pictures a class, originals and copies: a bar a class, with its name where there are few."""
    named = len(sizes) <= MOST_NAMED
    ordered = sorted(sizes, key=lambda size: size.originals, reverse=not named)
    originals = [size.originals for size in ordered]
    copies = [max(size.augmented - size.originals, 0) for size in ordered]
    at = np.arange(len(sizes))
    with drawing(0.9 + 0.19 * len(sizes) if named else 3) as (figure, axes):
        if named:
            axes.barh(at, originals, color="C0", label="originals")
            axes.barh(at, copies, left=originals, color="C0", alpha=0.35, label="augmented copies")
            axes.set_yticks(at, [size.name for size in ordered], fontsize="small")
            axes.set_xlabel("pictures")
            axes.grid(axis="x", alpha=0.4)
        else:
            axes.bar(at, originals, width=1, color="C0", label="originals")
            axes.bar(at, copies, width=1, bottom=originals, color="C0", alpha=0.35, label="augmented copies")
            axes.set_xlabel("classes, the largest first")
            axes.set_ylabel("pictures")
            axes.grid(axis="y", alpha=0.4)
        axes.set_axisbelow(True)
        axes.margins(0.02)
        figure.legend(loc="outside upper center", ncols=2)
    return figure


def against_article(rows: Sequence[tuple[str, float, float | None]]) -> Figure:
    """Bars of our mAP (label, ours, the article's), with a diamond where the article's figure lies."""
    at = np.arange(len(rows))[::-1]
    with drawing(0.95 + 0.27 * len(rows)) as (figure, axes):
        axes.barh(at, [100 * ours for _, ours, _ in rows], color="C0", height=0.62, label="this run")
        given = [(y, 100 * theirs) for y, (_, _, theirs) in zip(at, rows, strict=True) if theirs is not None]
        if given:
            ys, values = zip(*given, strict=True)
            axes.plot(values, ys, "D", color="C1", markersize=6, label="the article")
        for y, (_, ours, _) in zip(at, rows, strict=True):
            axes.annotate(
                f"{100 * ours:.1f}",
                (100 * ours, y),
                xytext=(-3, 0) if ours > 0.12 else (3, 0),
                textcoords="offset points",
                ha="right" if ours > 0.12 else "left",
                va="center",
                fontsize="small",
                color="#ffffff" if ours > 0.12 else "#000000",
            )
        axes.set_yticks(at, [label for label, _, _ in rows], fontsize="small")
        axes.set_xlim(0, 100 * max(max(ours, theirs or 0) for _, ours, theirs in rows) * 1.06)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlabel("mAP, %")
        axes.grid(axis="x", alpha=0.4)
        axes.set_axisbelow(True)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside upper center", ncols=2)
    return figure


def ap_by_query(ap: Mapping[str, Mapping[str, float]]) -> Figure:
    """A row a query, by its change: the AP by each model as a dot, the change between them as a line."""
    models = list(ap)
    first, last = ap[models[0]], ap[models[-1]]
    queries = sorted(last, key=lambda query: (last[query] - first[query], last[query]))
    at = np.arange(len(queries))
    before, after = ([100 * of[query] for query in queries] for of in (first, last))
    with drawing(1 + 0.2 * len(queries)) as (figure, axes):
        if len(models) > 1:
            change = ["C2" if b > a else "C3" for a, b in zip(before, after, strict=True)]
            axes.hlines(at, before, after, color=change, linewidth=2.2, alpha=0.8)
        for model in models:
            values = [100 * ap[model][query] for query in queries]
            axes.plot(values, at, "o", color=COLOURS[model], markersize=4.5, label=NAMES[model])
        axes.set_yticks(at, queries, fontsize="small")
        axes.set_xlabel("average precision, %")
        axes.set_xlim(0, 1.06 * max(*before, *after, 1))
        axes.tick_params(axis="x", top=True, labeltop=True)
        axes.set_ylim(-0.8, len(queries) - 0.2)
        axes.grid(axis="x", alpha=0.4)
        figure.legend(loc="outside upper center", ncols=2)
    return figure


def precision_recall(curves: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> Figure:
    """A small panel a landmark with each model's precision against recall: curves[landmark][model] (51,)."""
    columns = 3
    rows = -(-len(curves) // columns)
    with drawing(0.7 + 1.45 * rows, nrows=rows, ncols=columns, sharex=True, sharey=True, squeeze=False) as (
        figure,
        grid,
    ):
        for axes in grid.flat[len(curves) :]:
            axes.set_visible(False)
        for axes, (name, of_models) in zip(grid.flat, curves.items(), strict=False):
            for model, precision in of_models.items():
                axes.plot(
                    100 * RECALLS, 100 * precision, color=COLOURS[model], linewidth=1.6, label=NAMES[model]
                )
            axes.set_title(name.replace("_", " "), fontsize="small")
            axes.set_xlim(0, 100)
            axes.set_ylim(0, 104)
            axes.set_xticks((0, 50, 100))
            axes.set_yticks((0, 50, 100))
            axes.grid(alpha=0.4)
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
        figure.supxlabel("recall, %", fontsize="medium")
        figure.supylabel("precision, %", fontsize="medium")
    return figure


def blobs(before: Sequence[tuple[str, str, bool]], after: Sequence[tuple[str, str, bool]]) -> Figure:
    """The same layers twice: before renaming those in place share a blob, after it each has its own.

    Entries are (layer, the blob it writes, whether it overwrites that blob in place or has a new one since).
    """
    with drawing(0.5 + 0.52 * len(after)) as (figure, axes):
        axes.set_xlim(0, 10)
        axes.set_ylim(-len(after) + 0.35, 1.0)
        axes.axis("off")
        for x, title in ((2.1, "before: blobs are shared"), (7.6, "after: one blob a layer")):
            axes.text(x, 0.85, title, ha="center", va="center", weight="bold", fontsize="small")
        _draw_shared(axes, before)
        _draw_chain(axes, after)
    return figure


def _draw_shared(axes: Axes, layers: Sequence[tuple[str, str, bool]]) -> None:
    for row, (layer, blob, in_place) in enumerate(layers):
        if not in_place:
            tenants = sum(1 for _, other, again in layers if again and other == blob)
            _box(axes, 0.3, -row - tenants, 1.9, 0.62 + tenants, blob, "C0")
            _arrow(axes, 1.25, -row + 0.35, down=row > 0)
        colour = "C3" if in_place else "#000000"
        note = f"{layer} overwrites {blob}" if in_place else layer
        axes.text(2.4, -row, note, ha="left", va="center", fontsize="small", color=colour)


def _draw_chain(axes: Axes, layers: Sequence[tuple[str, str, bool]]) -> None:
    for row, (_, blob, new) in enumerate(layers):
        _box(axes, 6.25, -row, 2.7, 0.62, blob, "C2" if new else "C0")
        _arrow(axes, 7.6, -row + 0.35, down=row > 0)
        if new:
            axes.text(9.1, -row, "new", ha="left", va="center", fontsize="small", color="C2")


def _box(axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str) -> None:
    style = FancyBboxPatch(
        (x, y - 0.31), width, height, boxstyle="round,pad=0,rounding_size=0.1", facecolor=colour, alpha=0.16
    )
    edge = FancyBboxPatch(
        (x, y - 0.31), width, height, boxstyle="round,pad=0,rounding_size=0.1", fill=False, edgecolor=colour
    )
    axes.add_patch(style)
    axes.add_patch(edge)
    axes.text(x + width / 2, y - 0.31 + height / 2, text, ha="center", va="center", fontsize="small")


def _arrow(axes: Axes, x: float, y: float, down: bool) -> None:
    if down:
        axes.annotate(
            "",
            (x, y - 0.02),
            (x, y + 0.32),
            arrowprops={"arrowstyle": "-|>", "color": "#7f7f7f", "shrinkA": 0, "shrinkB": 0},
        )
