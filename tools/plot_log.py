"""Plot what a Caffe training log says: loss, accuracy and learning rate against iterations.

Several logs are phases of one training, drawn side by side in the order given. Where a training was stopped
and went on from a snapshot, its lines appended to the log, what was trained again replaces what it repeats.
"""

import argparse
import codecs
import csv
import math
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("MPLBACKEND", "Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tools.program import run_program, written_beside

Series = dict[int, float]
"""A value by the iteration it was logged at."""

NUMBER = r"([-+]?(?:\d\.#[a-z]+|\d+\.?\d*(?:e[-+]?\d+)?|nan|inf))"
"""Caffe on Windows may say 1.#QNAN, -1.#IND or 1.#INF."""
PREFIX = re.compile(r"^[IWEF]\d+ [\d:.]+ +\d+ [^ ]+:\d+\] ?")
ITERATION = re.compile(
    r"^Iteration (\d{1,15})(?: \([^)]*\))?, "
    rf"(?:loss = {NUMBER}|lr = {NUMBER}|Testing net(?: \(#(\d{{1,9}})\))?)",
    re.I,
)
OUTPUT = re.compile(rf"^ *(Train|Test) net output #\d+: (.+?) = {NUMBER}", re.I)
STEPS_MARKED = 8  # a rate that changes more often than this falls smoothly and gets a panel of its own


@dataclass
class Log:
    """One training's values, by name."""

    name: str
    loss: Series = field(default_factory=dict)
    """The training loss of Caffe's Iteration lines, averaged over average_loss iterations."""
    train: dict[str, Series] = field(default_factory=dict)
    test: dict[str, Series] = field(default_factory=dict)
    rate: Series = field(default_factory=dict)

    def all_series(self) -> Iterable[tuple[str, str, Series]]:
        """Every series as (what, name, values); what is loss, train, test or rate."""
        yield "loss", "loss", self.loss
        for what, outputs in (("train", self.train), ("test", self.test)):
            for name, series in outputs.items():
                yield what, name, series
        yield "rate", "lr", self.rate

    def rate_steps(self) -> list[tuple[int, float]]:
        """Where the learning rate changed, (iteration, the new rate), at the first line that shows it."""
        points = pairwise(sorted(self.rate.items()))
        return [(i, rate) for (_, before), (i, rate) in points if rate != before]

    def last_iteration(self) -> int:
        """The highest iteration that has a value."""
        return max(max(series, default=0) for _, _, series in self.all_series())

    def _forget_from(self, iteration: int) -> None:
        for _, _, series in self.all_series():
            for later in [i for i in series if i >= iteration]:
                del series[later]
        for outputs in (self.train, self.test):
            for name in [name for name, series in outputs.items() if not series]:
                del outputs[name]


def parse(lines: Iterable[str], name: str) -> Log:
    """Read the lines of a `caffe train` log. Raises ValueError where no iteration is among them."""
    log = Log(name)
    iteration, newest, net = None, -1, 0
    for line in lines:
        text = PREFIX.sub("", line.rstrip("\n"))
        if found := ITERATION.match(text):
            iteration, net = int(found[1]), int(found[4] or 0)
            if iteration < newest:  # Caffe went on from a snapshot
                log._forget_from(iteration)
            newest = iteration
            if found[2]:
                log.loss[iteration] = _value(found[2])
            elif found[3]:
                log.rate[iteration] = _value(found[3])
        elif iteration is not None and (found := OUTPUT.match(text)):
            of_test = found[1].lower() == "test"
            output = f"{found[2]} (test net {net})" if of_test and net else found[2]
            (log.test if of_test else log.train).setdefault(output, {})[iteration] = _value(found[3])
    if not log.loss and not log.test:
        raise ValueError(f"{name} has no line of a Caffe training (Iteration N, loss = ...)")
    return log


def _value(text: str) -> float:
    """The number that NUMBER has matched."""
    number, _, none = text.partition(".#")
    return float(f"{number[:-1]}{'inf' if none.upper().startswith('INF') else 'nan'}" if none else text)


def read_log(path: Path) -> Log:
    """Read a log, UTF-16 too, as PowerShell writes. Raises OSError, and ValueError for what is none."""
    with path.open("rb") as file:
        utf16 = file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        with TextIOWrapper(file, "utf-16" if utf16 else "utf-8", errors="replace") as text:
            return parse(text, str(path))


def summary(log: Log) -> str:
    """What a person wants to know of a log, in a line."""
    parts = [f"{log.name}: {log.last_iteration()} iterations"]
    if log.loss:
        parts.append(f"training loss {log.loss[max(log.loss)]:.4g} at the end")
    for name, series in log.test.items():
        end = series[max(series)]
        if _is_loss(name):
            parts.append(f"validation {name} {end:.4g}")
        else:
            best = max(series, key=lambda i: (-math.inf if math.isnan(series[i]) else series[i], -i))
            parts.append(f"validation {name} {end:.4g} (best {series[best]:.4g} at {best})")
    if broken := sorted(i for i, loss in log.loss.items() if not math.isfinite(loss)):
        parts.append(f"the loss is no number from iteration {broken[0]} on: try a smaller learning rate")
    return ", ".join(parts)


def plot(logs: Sequence[Log], beside: Log | None = None) -> Figure:
    """Loss above accuracy against iterations, a column a log; learning-rate steps as dotted lines.

    `beside` is another training's, from nothing, drawn dashed into the last column.
    """
    smooth = any(len(log.rate_steps()) > STEPS_MARKED for log in logs)
    scores = any(not _is_loss(name) for log in logs for name in (*log.test, *log.train))
    panels = ["loss", *["accuracy"] * scores, *["rate"] * smooth]
    widths = [max(log.last_iteration(), 1) for log in logs]
    figure, grid = plt.subplots(
        len(panels),
        len(logs),
        sharex="col",
        sharey="row",
        squeeze=False,
        layout="constrained",
        figsize=(5.6, 0.4 + 2.1 * len(panels)),
        width_ratios=[max(width, max(widths) / 2) for width in widths],
    )
    for column, log in enumerate(logs):
        for panel, axes in zip(panels, grid[:, column], strict=True):
            _draw_panel(axes, log, panel)
            if beside and panel != "rate" and column == len(logs) - 1:
                _draw_panel(axes, beside, panel, "from nothing, ", linestyle="--")
            if panel != "rate" and not smooth:
                _mark_steps(axes, log, label=panel == "loss")
            if column == 0:
                axes.set_ylabel({"loss": "loss", "accuracy": "accuracy", "rate": "learning rate"}[panel])
                if panel != "rate":
                    axes.legend(frameon=False, fontsize="small")
        grid[-1, column].set_xlabel("iteration")
        if len(logs) > 1:
            grid[0, column].set_title(Path(log.name).stem, fontsize="medium")
    return figure


def _draw_panel(axes: Axes, log: Log, panel: str, prefix: str = "", linestyle: str = "-") -> None:
    axes.grid(alpha=0.3)
    axes.margins(x=0.02)
    if panel == "rate":
        axes.step(*_points(log.rate), where="post", color="C4")
        axes.set_yscale("log")
        return
    wanted = panel == "loss"
    if wanted and log.loss:
        style: dict[str, Any] = {"color": "C0", "linewidth": 1.3, "linestyle": linestyle}
        axes.plot(*_points(log.loss), **style, label=f"{prefix}training")
    elif not wanted:
        for name, series in log.train.items():
            if not _is_loss(name):
                label = f"{prefix}training {name}"
                axes.plot(*_points(series), linewidth=1.3, linestyle=linestyle, label=label)
    shown = [name for name in log.test if _is_loss(name) == wanted]
    for number, name in enumerate(shown):
        label = prefix + ("validation" if len(shown) == 1 else f"validation {name}")
        style = {"color": f"C{number + 1}", "marker": "o", "markersize": 3.5, "linestyle": linestyle}
        axes.plot(*_points(log.test[name]), **style, label=label)


def _mark_steps(axes: Axes, log: Log, label: bool) -> None:
    for iteration, rate in log.rate_steps():
        axes.axvline(iteration, color="C7", linestyle=":", linewidth=1.2)
        if label:
            axes.annotate(
                f"rate {rate:g}",
                (iteration, 1),
                xycoords=("data", "axes fraction"),
                xytext=(-3, -4),
                textcoords="offset points",
                rotation=90,
                ha="right",
                va="top",
                fontsize="x-small",
                color="C7",
            )


def _points(series: Series) -> tuple[list[int], list[float]]:
    iterations = sorted(series)
    return iterations, [series[i] for i in iterations]


def _is_loss(name: str) -> bool:
    return "loss" in name.lower()


def write_csv(path: Path, logs: Sequence[Log]) -> None:
    """Write every value in a row: log, what (loss, train, test, rate), name, iteration, value."""
    with written_beside(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("log", "what", "name", "iteration", "value"))
        for log in logs:
            for what, name, series in log.all_series():
                rows.writerows((log.name, what, name, i, series[i]) for i in sorted(series))


def write_figure(path: Path, figure: Figure) -> None:
    """Save in the format of the name's ending, whole or not at all. ValueError: an unknown ending."""
    kind = path.suffix.lower().lstrip(".")
    if kind not in figure.canvas.get_supported_filetypes():
        raise ValueError(f"{path} must end in .png, .svg or .pdf")
    metadata = {"Date": None} if kind == "svg" else None  # the same log gives the same bytes
    with written_beside(path) as part, plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "plot_log"}):
        figure.savefig(part, format=kind, metadata=metadata, dpi=150)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.plot_log",
        description=__doc__,
        epilog="example: python -m tools.plot_log work/demo/prototxt/train/log.txt --out training.png",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("logs", nargs="+", type=Path, metavar="LOG", help="what caffe train wrote to its log")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=".png, .svg or .pdf (default: the first LOG with .png)"
    )
    parser.add_argument(
        "--beside", type=Path, metavar="LOG", help="a training from nothing, drawn dashed beside the last LOG"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the values too")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; its exit status."""
    options = build_parser().parse_args(argv)
    out = options.out or options.logs[0].with_suffix(".png")

    def run() -> None:
        logs = [read_log(path) for path in options.logs]
        beside = read_log(options.beside) if options.beside else None
        write_figure(out, plot(logs, beside))
        every = [*logs, *([beside] if beside else [])]
        if options.csv:
            write_csv(options.csv, every)
        print(*map(summary, every), f"figure: {out}", sep="\n")

    return run_program("plot_log", run)


if __name__ == "__main__":
    sys.exit(main())
