"""Average precision by the program compute_ap (eval/compute_ap.cpp): the figures that the article reports."""

import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


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
    """Let the program judge every query's ranked list, `jobs` at a time; the figures by query.

    Raises ValueError with what it complains about.
    """

    def judge(query: str, ranked: Path) -> float:
        command = [program, str(ground_truth / query), str(ranked)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ValueError(
                done.stderr.strip() or f"compute_ap ended with status {done.returncode} for {query}"
            )
        return float(done.stdout)

    with ThreadPoolExecutor(jobs) as pool:
        return dict(zip(queries, pool.map(judge, queries, lists), strict=True))
