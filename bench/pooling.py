"""How long the poolings of one map take, on one core: python -m bench.pooling --help."""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

# Read by NumPy's BLAS when NumPy is first imported, so before it.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from eval.pooling import POOLINGS

GOAL_SHAPE = (512, 24, 32)
GOAL_MS = 25.0


def median_ms(action: Callable[[], object], runs: int) -> float:
    """The median over runs of action's duration in milliseconds, after one run that does not count."""
    action()
    durations = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        durations.append(1000 * (time.perf_counter() - start))
    return statistics.median(durations)


def rectified_map(channels: int, height: int, width: int) -> np.ndarray:
    """A (C, H, W) float32 map like one after ReLU: normal noise, the negative half of it set to zero."""
    noise = np.random.default_rng(0).standard_normal((channels, height, width), dtype=np.float32)
    return np.maximum(noise, 0)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.pooling",
        description="Times every pooling of eval/pooling.py, and all together, on one map and one core.",
        epilog="example: python -m bench.pooling --shape 512 24 32 --runs 50",
    )
    parser.add_argument(
        "--shape", type=int, nargs=3, default=GOAL_SHAPE, metavar=("C", "H", "W"), help="the map's shape"
    )
    parser.add_argument("--runs", type=int, default=50, help="the median is over so many (default 50)")
    arguments = parser.parse_args()
    if min(arguments.shape) < 1 or arguments.runs < 1:
        parser.error("--shape and --runs take numbers from 1 up")
    return arguments


def main() -> None:
    """Print a table of milliseconds, a line a pooling, and the total against the goal."""
    arguments = parse_arguments()
    feature_map = rectified_map(*arguments.shape)
    for name, pool in POOLINGS.items():
        print(f"{name:<12} {median_ms(lambda pool=pool: pool(feature_map), arguments.runs):7.2f} ms")
    together = median_ms(lambda: [pool(feature_map) for pool in POOLINGS.values()], arguments.runs)
    goal = f" (goal: {GOAL_MS:g} ms)" if tuple(arguments.shape) == GOAL_SHAPE else ""
    print(f"{'together':<12} {together:7.2f} ms{goal}")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"bench.pooling: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
