"""Counting similarities above thresholds: in float32 where that decides it, in float64 where it doesn't.

A block of vectors is multiplied by the queries in float32, in half the time of float64. The error of that has
a bound, so most similarities are surely above or below a threshold. The others are computed again as
eval.rank.recipe computes them, in float64 and rounded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from eval.rank.recipe import SIMILARITY_DECIMALS, Floats, l2_normalise

Integers = NDArray[np.int64]
Vectors = NDArray[np.floating]

# A row's number and its similarity share 32 bits: sorted similarities still know whose they are.
ROW_BITS = 13
MOST_ROWS = 1 << ROW_BITS
STEPS = 2.0 ** (30 - ROW_BITS)
# So many products are summed in float32 at a time, which bounds the error whatever the dimension is.
PANEL = 256
# OpenBLAS multiplies by 56 queries in 4/5 of the time that 55 take.
QUERIES_TOGETHER = 8
# Between these, float32 holds a vector's squared length well.
SQUARES = (1e-30, 1e30)
# So few pairs of a row and a query at a time stay in the core's cache while they are computed again.
EXACT_PAIRS = 128
# A slice is halved where more than so many pairs would have to be kept.
MOST_PAIRS = 1 << 20


@dataclass(frozen=True)
class Compared:
    """What comparing n vectors gave. Thresholds are numbered through, one query's after the other's."""

    above: Integers
    """For each threshold how many vectors are surely above; and of those that may be above or equal:"""
    threshold: Integers
    row: Integers
    score: Floats
    """Similarity, as eval.rank.recipe.similarities gives it."""


class Comparison:
    """Compares vectors with thresholds. The last of each query is open: what may reach it is listed."""

    def __init__(self, queries: Floats, thresholds: Sequence[Floats]) -> None:
        """`queries` (Q, d) have rows of length 1; `thresholds` are one similarity or more for each query."""
        count, dimensions = queries.shape
        together = -(-count // QUERIES_TOGETHER) * QUERIES_TOGETHER
        self._queries = queries
        self._near_queries = np.zeros((together, dimensions), np.float32)
        self._near_queries[:count] = queries
        self._error = float32_error(dimensions)
        sizes = [len(of_query) for of_query in thresholds]
        ends = np.cumsum(sizes)
        self._parts = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        self.query = np.repeat(np.arange(count), sizes)
        """(T,): whose threshold it is."""
        self.is_open = np.zeros(len(self.query), bool)
        """(T,): whether it is an open one."""
        self.is_open[ends - 1] = True
        scores = np.concatenate(thresholds)
        self._low = _key(scores - self._error)
        self._high = _key(scores + self._error, one_more=True)
        self._high[self.is_open] = np.iinfo(np.int32).max

    def raise_open(self, scores: Floats) -> None:
        """Set the open thresholds anew, (Q,)."""
        self._low[self.is_open] = _key(scores - self._error)

    def __call__(self, vectors: Vectors) -> Compared:
        """Compare vectors (n, d) of any length, n at most MOST_ROWS.

        Raises NotFiniteError where one holds a value that is not finite.
        """
        keys = self._sorted_keys(vectors)
        low, high = (
            np.concatenate(
                [row.searchsorted(edges[part]) for row, part in zip(keys, self._parts, strict=True)]
            )
            for edges in (self._low, self._high)
        )
        lengths = high - low
        if lengths.sum() > MOST_PAIRS and len(vectors) > 1:
            return self._in_halves(vectors)
        threshold = np.repeat(np.arange(len(lengths)), lengths)
        column = np.arange(len(threshold)) + np.repeat(low + lengths - np.cumsum(lengths), lengths)
        query = self.query[threshold]
        row = keys[query, column].astype(np.int64) & (MOST_ROWS - 1)
        return Compared(len(vectors) - high, threshold, row, self._exact(vectors, row, query))

    def _in_halves(self, vectors: Vectors) -> Compared:
        half = len(vectors) // 2
        first, second = self(vectors[:half]), self(vectors[half:])
        return Compared(
            first.above + second.above,
            np.concatenate([first.threshold, second.threshold]),
            np.concatenate([first.row, second.row + half]),
            np.concatenate([first.score, second.score]),
        )

    def _sorted_keys(self, vectors: Vectors) -> NDArray[np.int32]:
        """(Q, n): each query's similarities in ascending order, in steps, above the number of the row."""
        near, squares = _in_float32(vectors)
        parts = [slice(at, at + PANEL) for at in range(0, near.shape[1], PANEL)]
        products = reduce(np.add, (near[:, part] @ self._near_queries[:, part].T for part in parts))
        scale = np.float32(STEPS) / np.sqrt(squares)
        keys = np.empty((len(self._queries), len(near)), np.int32)
        np.multiply(products.T[: len(keys)], scale, out=keys, casting="unsafe")
        keys <<= ROW_BITS
        keys |= np.arange(len(near), dtype=np.int32)
        keys.sort(axis=1)
        return keys

    def _exact(self, vectors: Vectors, row: Integers, query: Integers) -> Floats:
        """Similarities of pairs of a vector and a query, as eval.rank.recipe.similarities gives them."""
        scores = np.empty(len(row))
        for at in range(0, len(row), EXACT_PAIRS):
            some = slice(at, at + EXACT_PAIRS)
            scores[some] = np.vecdot(l2_normalise(vectors[row[some]]), self._queries[query[some]])
        return np.round(scores, SIMILARITY_DECIMALS)


class NotFiniteError(ValueError):
    """A vector holds a value that is not finite."""

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row} holds a value that is not finite")
        self.row = row


def float32_error(dimensions: int) -> float:
    """How far a cosine of vectors with so many dimensions, computed here in float32, may be off at most.

    A sum of n products of float32 is off by n units of rounding at most, relative to the sum of their sizes
    (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), which for vectors of length 1 is at most 1.
    The product is one such sum, the squared length another of which half counts, both in panels. 16 are for
    what is rounded once: query, vector, root, quotient.
    """
    rounded = min(dimensions, PANEL) + -(-dimensions // PANEL)
    return (1.5 * rounded + 16) * 2.0**-24


def _in_float32(vectors: Vectors) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The vectors (n, d), those scaled that are too long or short for float32, and the squared lengths."""
    with np.errstate(over="ignore", invalid="ignore"):
        near = vectors.astype(np.float32, copy=False)
        parts = (near[:, at : at + PANEL] for at in range(0, near.shape[1], PANEL))
        squares = reduce(np.add, (np.vecdot(part, part) for part in parts))
    odd = ~((squares > SQUARES[0]) & (squares < SQUARES[1]))
    if odd.any():
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            raise NotFiniteError(int(np.argmin(finite)))
        near = near.copy()
        near[odd] = l2_normalise(vectors[odd])
        squares[odd] = 1
    return near, squares


def _key(scores: Floats, *, one_more: bool = False) -> NDArray[np.int32]:
    """The least key of a similarity in the same step, or in the next one."""
    within = np.trunc(np.clip(scores, -1.5, 1.5) * STEPS).astype(np.int32) + np.int32(one_more)
    return within << ROW_BITS
