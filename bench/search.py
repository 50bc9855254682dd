"""How long the search page takes to find the nearest among a million: python -m bench.search --help."""

from functools import partial

import numpy as np

from bench.measure import Row, alternate, compare, finish, options, run_bench
from eval.rank.recipe import describe
from eval.search.nearest import Nearest
from eval.search.site import RESULTS
from tools.program import positive_int

PICTURES, DIMENSIONS = 1_000_000, (128, 512)
GOAL = "<= 0.3"


def timed(pictures: int, dimensions: int, runs: int) -> list[Row]:
    """Seconds of one search, alone and beside the product in float32."""
    random = np.random.default_rng(0)
    vectors = np.abs(random.standard_normal((pictures, dimensions), dtype=np.float32))
    nearest = Nearest(vectors, lambda rows: describe(vectors[rows]))
    query = describe(np.abs(random.standard_normal((1, dimensions))))[0]
    ours, product = alternate(
        partial(nearest, query, RESULTS), partial(np.matmul, vectors, query.astype(np.float32)), runs=runs
    )
    what = f"the {RESULTS} nearest of {pictures:,} x {dimensions}"
    return [
        compare(what, "exact search", "", "s", ours, goal=GOAL if pictures == PICTURES else ""),
        compare(what, "exact search", "the product alone", "s", ours, product),
    ]


def main() -> int:
    """Time searches among vectors of two lengths."""
    parser = options(
        "search", "Times what the search page does with a picture's vector, in memory.", "--pictures 100000"
    )
    parser.add_argument("--pictures", type=positive_int, help=f"default {PICTURES:,}; with --quick a tenth")
    arguments = parser.parse_args()
    pictures = arguments.pictures or (PICTURES // 10 if arguments.quick else PICTURES)
    runs = 5 if arguments.quick else 15
    rows = [row for dimensions in DIMENSIONS for row in timed(pictures, dimensions, runs)]
    return finish(rows, arguments)


if __name__ == "__main__":
    run_bench("search", main)
