"""The most similar of very many vectors, exactly: float32 says which may be among them, float64 decides.

A product in float32 reads half of the bytes that one in float64 does, and has an error with a bound. So what
lies further behind the last place than that is surely no answer, and only the few others are compared as
eval.rank.recipe compares them: the answers and their order are its own.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from eval.rank.recipe import Floats, l2_normalise, rank, similarities

BLOCK = 8192
LENGTHS = (1e-15, 1e15)
"""Between these float32 holds vectors and their products with a vector of length 1."""
Vectors = NDArray[np.float32]


class Nearest:
    """Answers for one set of vectors (N, d); any thread may use it."""

    def __init__(self, vectors: Vectors, described: Callable[[NDArray[np.intp]], Floats]) -> None:
        """`vectors` (N, d) float32 have any length and stay as they are; `described` gives some rows of them
        as they are compared, (n, d) of length 1 in float64."""
        self._described = described
        lengths = np.concatenate(
            [np.linalg.norm(block.astype(np.float64), axis=1) for block in _blocks(vectors)]
        )
        held = lengths[lengths > 0]
        if len(held) and not (LENGTHS[0] < held.min() and held.max() < LENGTHS[1]):
            vectors = np.concatenate([l2_normalise(block).astype(np.float32) for block in _blocks(vectors)])
            lengths = np.where(lengths > 0, 1.0, 0.0)
        self._vectors = vectors
        self._scale = np.divide(1.0, lengths, out=np.zeros(len(lengths)), where=lengths > 0).astype(
            np.float32
        )
        self._error = float32_error(vectors.shape[1])

    def __call__(self, vector: Floats, count: int) -> tuple[NDArray[np.intp], Floats]:
        """The `count` rows most similar to a vector (d,) of length 1, best first, equal ones by their number;
        and their cosines."""
        near = self._vectors @ vector.astype(np.float32)
        near *= self._scale
        count = min(count, len(near))
        last = np.partition(near, len(near) - count)[len(near) - count]
        least = np.nextafter(np.float32(float(last) - 2 * self._error), np.float32(-np.inf))
        rows = np.flatnonzero(near >= least)
        scores = np.concatenate(
            [
                similarities(vector[np.newaxis], self._described(rows[start:stop]))[0]
                for start, stop in pairwise([*range(0, len(rows), BLOCK), len(rows)])
            ]
        )
        order = rank(scores[np.newaxis])[0, :count]
        return rows[order], scores[order]


def float32_error(dimensions: int) -> float:
    """How far a cosine computed here in float32 may be off at most.

    A sum of n products is off by n units of rounding at most, relative to the sum of their sizes (Higham,
    Accuracy and Stability of Numerical Algorithms, 3.1), which for vectors of length 1 is at most 1. 8 are
    for what is rounded once: query, vector, its length, the product with that.
    """
    return (dimensions + 8) * 2.0**-24


def _blocks(vectors: Vectors) -> list[Vectors]:
    return [vectors[start : start + BLOCK] for start in range(0, len(vectors), BLOCK)]
