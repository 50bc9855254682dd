"""Average precision by the program compute_ap (eval/compute_ap.cpp): the figures that the article reports."""

import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MOST_AT_ONCE = 500
"""Lists for one process: a command line has its length."""


def find_compute_ap() -> str:
    """The program's path. Raises ValueError where it isn't on PATH."""
    program = shutil.which("compute_ap")
    if program is None:
        raise ValueError(
            "compute_ap is not on PATH: source .caffe/env.sh, or build it with "
            "g++ -O2 -std=c++17 eval/compute_ap.cpp -o compute_ap"
        )
    return program


def average_precisions(
    program: str, ground_truth: Path, queries: Sequence[str], lists: Sequence[Path], jobs: int
) -> dict[str, float]:
    """Let the program judge every query's ranked list, in `jobs` processes; the figures by query.

    Raises ValueError with what it complains about.
    """
    pairs = list(zip(queries, lists, strict=True))
    size = min(MOST_AT_ONCE, -(-len(pairs) // jobs))
    parts = [pairs[start : start + size] for start in range(0, len(pairs), size)] if pairs else []

    def judge(part: Sequence[tuple[str, Path]]) -> list[float]:
        words = [word for query, ranked in part for word in (ground_truth / query, ranked)]
        done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ValueError(done.stderr.strip() or f"compute_ap ended with status {done.returncode}")
        return [float(figure) for figure in done.stdout.split()]

    with ThreadPoolExecutor(jobs) as pool:
        figures = [figure for part in pool.map(judge, parts) for figure in part]
    return dict(zip(queries, figures, strict=True))
