"""What the benches share. A bench is a module bench/NAME.py that bench/run.sh finds by itself.

- `python -m bench.NAME` runs alone, from the checkout's root, on what it makes from a seed, in a temporary
  folder that it removes. It prints its rows and exits 0, whether a goal is met or not; where it
  can't run (a package or a program is missing, no room on the disk) it says so in one sentence, and exits 1.
- `--quick`: fewer runs or a smaller size, half a minute at most. A row has a goal only at the goal's size.
- `--json FILE`: the rows as a list of objects: what, ours, peer, unit, ours_median, ours_min, ours_max,
  peer_median, peer_min, peer_max, ratio (ours_median / peer_median), goal. Without a peer, peer is "" and
  peer_* and ratio are null.
- A goal is "<= 0.65" or ">= 0.9": of the ratio where there is a peer, else of ours_median. "" is none.
- Ours and the peer run in alternation, in one process or in processes that both live all the while; what is
  read and computed is the same, and `what` says its size, the batch and the threads.
- A peer's script and its dependencies stay in here: bench/peers/NAME.py, bench/requirements.txt. Benches
  import a peer's package inside a function, so that --help works without it.

    arguments = options("pooling", "Times every pooling.", "--runs 50").parse_args()
    rows = [compare("sort, 1e6 numbers", "ours", "peer", "s", *alternate(ours, peer, runs=9), goal="<= 0.8")]
    return finish(rows, arguments)
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from tools.program import run_program, write_text

Result = TypeVar("Result")


@dataclass(frozen=True)
class Row:
    """One line of the results; the fields are those of the JSON file."""

    what: str
    ours: str
    peer: str
    unit: str
    ours_median: float
    ours_min: float
    ours_max: float
    peer_median: float | None
    peer_min: float | None
    peer_max: float | None
    ratio: float | None
    goal: str

    @property
    def verdict(self) -> str:
        """'met' or 'missed'; nothing without a goal."""
        if not self.goal:
            return ""
        sign, bound = self.goal.split()
        figure = self.ours_median if self.ratio is None else self.ratio
        return "met" if (figure <= float(bound) if sign == "<=" else figure >= float(bound)) else "missed"


def compare(
    what: str,
    ours: str,
    peer: str,
    unit: str,
    ours_values: Sequence[float],
    peer_values: Sequence[float] = (),
    *,
    goal: str = "",
) -> Row:
    """A row from what was measured of ours and of the peer (""  and no values where there is none)."""
    median, least, most = _spread(ours_values)
    if not peer_values:
        return Row(what, ours, peer, unit, median, least, most, None, None, None, None, goal)
    theirs = _spread(peer_values)
    ratio = median / theirs[0] if theirs[0] else None
    return Row(what, ours, peer, unit, median, least, most, *theirs, ratio, goal)


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def seconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def alternate(*actions: Callable[[], object], runs: int, warm_up: int = 1) -> list[list[float]]:
    """Seconds of every action, `runs` of each in turn, after `warm_up` rounds that do not count.

    Every second round goes backwards, so that what a run leaves behind (caches, heat) helps none always.
    """
    durations: list[list[float]] = [[] for _ in actions]
    for run in range(-warm_up, runs):
        order = range(len(actions)) if run % 2 == 0 else reversed(range(len(actions)))
        for i in order:
            duration = seconds(actions[i])
            if run >= 0:
                durations[i].append(duration)
    return durations


def peak_mib() -> float:
    """The most memory (RSS) this process has held, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def in_fresh_process(
    function: Callable[..., Result], *arguments: object, environment: dict[str, str] | None = None
) -> Result:
    """function(*arguments) in a process of its own, as its memory and the threads of its BLAS are then.

    `function` is importable by name; `environment` is added to this process's while the other starts.
    """
    before = os.environ.copy()
    os.environ.update(environment or {})
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(function, *arguments).result()
    finally:
        os.environ.clear()
        os.environ.update(before)


def options(name: str, description: str, example: str) -> argparse.ArgumentParser:
    """The command line every bench has; a bench adds its own options to it."""
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.{name}",
        description=description,
        epilog=f"example: python -m bench.{name} {example}",
    )
    parser.add_argument("--quick", action="store_true", help="a quick look: fewer runs or a smaller size")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    return parser


def finish(rows: Sequence[Row], arguments: argparse.Namespace) -> int:
    """Print the rows, write them where --json says, and return the exit status."""
    for row in rows:
        print(line(row), flush=True)
    if arguments.json:
        write_text(arguments.json, json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0


def line(row: Row) -> str:
    """A row as a reader of the terminal wants it."""
    ours = f"{row.what}: {row.ours} {_figures(row.ours_median, row.ours_min, row.ours_max)} {row.unit}"
    peer = f", {row.peer} {_figures(row.peer_median, row.peer_min, row.peer_max)}" if row.peer else ""
    ratio = f", ratio {row.ratio:.3f}" if row.ratio is not None else ""
    return f"{ours}{peer}{ratio}{f' (goal {row.goal}: {row.verdict})' if row.goal else ''}"


def _figures(median: float | None, least: float | None, most: float | None) -> str:
    if median is None:
        return "nothing"
    return f"{median:.4g} [{least:.4g} to {most:.4g}]" if least != most else f"{median:.4g}"


def run_bench(name: str, main: Callable[[], int]) -> NoReturn:
    """End the program with main's status; what went wrong becomes one sentence."""

    def run() -> int:
        try:
            return main()
        except (ImportError, subprocess.SubprocessError) as error:
            raise ValueError(str(error)) from error

    sys.exit(run_program(f"bench.{name}", run))
