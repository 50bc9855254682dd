"""How long the poolings of one map take, on one core: python -m bench.pooling --help."""

import os
from collections.abc import Callable
from functools import partial

# Read by NumPy's BLAS when NumPy is first imported, so before it.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from bench.measure import Row, alternate, compare, finish, options, run_bench
from eval.represent.pooling import POOLINGS

GOAL_SHAPE = (512, 24, 32)
GOAL = "<= 25"
TOGETHER = "together"


def rectified_map(channels: int, height: int, width: int) -> np.ndarray:
    """A (C, H, W) float32 map like one after ReLU: normal noise, the negative half of it set to zero."""
    noise = np.random.default_rng(0).standard_normal((channels, height, width), dtype=np.float32)
    return np.maximum(noise, 0)


def timed(shape: tuple[int, int, int], runs: int) -> list[Row]:
    """A row a pooling, and one for all of them, in milliseconds."""
    feature_map = rectified_map(*shape)
    actions: dict[str, Callable[[], object]] = {}
    for name, pool in POOLINGS.items():
        actions[name] = partial(pool, feature_map)
    actions[TOGETHER] = lambda: [pool(feature_map) for pool in POOLINGS.values()]
    rows = []
    for name, durations in zip(actions, alternate(*actions.values(), runs=runs), strict=True):
        goal = GOAL if name == TOGETHER and shape == GOAL_SHAPE else ""
        what = f"pooling a map of {'x'.join(map(str, shape))}, 1 thread"
        rows.append(compare(what, name, "", "ms", [1000 * duration for duration in durations], goal=goal))
    return rows


def main() -> int:
    """Time every pooling on one map."""
    parser = options(
        "pooling",
        "Times every pooling of eval/represent/pooling.py, and all together, on one map and one core.",
        "--shape 512 24 32 --runs 50",
    )
    parser.add_argument(
        "--shape", type=int, nargs=3, default=GOAL_SHAPE, metavar=("C", "H", "W"), help="the map's shape"
    )
    parser.add_argument("--runs", type=int, help="of each pooling (default 50, 10 for a quick look)")
    arguments = parser.parse_args()
    runs = arguments.runs or (10 if arguments.quick else 50)
    if min(*arguments.shape, runs) < 1:
        parser.error("--shape and --runs take numbers from 1 up")
    return finish(timed(tuple(arguments.shape), runs), arguments)


if __name__ == "__main__":
    run_bench("pooling", main)
