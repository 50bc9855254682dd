"""From features to rankings, one pure function a step: normalise, whiten, compare, expand, rank again.

Everything is computed in float64. Features are float32, but the article's middle column (PCA to the full
dimension, whitened) divides by the smallest standard deviations there are, and computed in float32 those are
mostly rounding.
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

Floats = NDArray[np.float64]
Ranking = NDArray[np.intp]

# All that rounding to float32 can put along one direction of a vector of length 1.
FLOAT32_NOISE = 2.0**-24
# Two copies of a picture must tie, though BLAS may sum their products in another order: drop those digits.
SIMILARITY_DECIMALS = 12


def l2_normalise(X: NDArray[np.floating]) -> Floats:
    """Scale each row of X (N, D) to length 1. A row of zeros has no direction and stays as it is."""
    X = np.asarray(X, dtype=np.float64)
    lengths = np.linalg.norm(X, axis=1, keepdims=True)
    return np.asarray(X / np.where(lengths > 0, lengths, 1.0))


class Whitening:
    """Whitening PCA, by scikit-learn: rotate to the directions of largest variance, scale each to variance 1.

    One fit serves every smaller dimension too: `transform` takes the first so many.
    """

    # 'full' takes the singular values of the vectors themselves and resolves a direction down to 1e-16 of the
    # largest. 'covariance_eigh' works on their squares and sees no further than 1e-8: below that it invents
    # directions and lengths, where the article's middle column is about nothing but the smallest ones. 'auto'
    # would take a randomised solver for 128 of 4096. Fitting 5063 x 4096 on 2 cores takes 26 s by 'full', 8 s
    # by 'covariance_eigh'; 5063 x 512 takes 0.4 s.
    SOLVER = "full"

    def __init__(self, components: int) -> None:
        """`components` is how many directions to keep, or as many as there can be."""
        self.components = components

    def fit(self, X: Floats) -> Self:
        """Fit on X (N, D), rows of length 1.

        Raises ValueError where X has fewer than 2 rows, or all are the same.
        """
        if len(X) < 2:
            raise ValueError(f"PCA needs at least 2 vectors, not {len(X)}")
        # N vectors less their mean span N - 1 directions: a further one would have no variance at all.
        kept = min(self.components, len(X) - 1, X.shape[1])
        with np.errstate(invalid="ignore"):  # 0 / 0 where there is no variance at all: the case below
            self._pca = PCA(n_components=kept, whiten=True, svd_solver=self.SOLVER).fit(X)
        if self.noise_directions == kept:
            raise ValueError(f"PCA can't be fitted on {len(X)} vectors that don't differ")
        return self

    @property
    def standard_deviations(self) -> Floats:
        """Standard deviation along each direction kept, before scaling, falling."""
        return np.asarray(np.sqrt(self._pca.explained_variance_))

    @property
    def noise_directions(self) -> int:
        """How many directions, the last ones, hold nothing beyond what rounding to float32 puts there.

        Whitening divides noise by noise along them.
        """
        return int(np.count_nonzero(self.standard_deviations < FLOAT32_NOISE))

    def transform(self, X: Floats, dimensions: int | None = None) -> Floats:
        """Project X (N, D), rows of length 1: (N, components), over the fitted set of mean 0 and variance 1.

        `dimensions` takes only the first so many.
        """
        axes = self._pca.components_[:dimensions]
        scale = np.maximum(self.standard_deviations[:dimensions], np.finfo(float).eps)
        return np.asarray((X @ axes.T - self._pca.mean_ @ axes.T) / scale)


def describe(
    X: NDArray[np.floating], whitening: Whitening | None = None, dimensions: int | None = None
) -> Floats:
    """The article's recipe: L2-normalise, whiten to so many dimensions, L2-normalise: (N, D) -> (N, d).

    Without a whitening there is one normalisation and d = D; without `dimensions`, d is the whitening's own.
    """
    rows = l2_normalise(X)
    return rows if whitening is None else l2_normalise(whitening.transform(rows, dimensions))


def similarities(queries: Floats, database: Floats) -> Floats:
    """Dot products (Q, N) of queries (Q, D) with the database (N, D): cosines, as the rows have length 1."""
    return np.round(queries @ database.T, SIMILARITY_DECIMALS)


def rank(scores: Floats) -> Ranking:
    """Order the columns of scores (Q, N) for each row, largest first; equal ones in the database's order."""
    return np.argsort(-scores, axis=1, kind="stable")


def expansion_weights(kind: str, top: int) -> Floats:
    """Weights (top,) of the best answers in an expanded query, the query's own weight being 1.

    'average': all 1 (Chum et al., Total Recall, ICCV 2007). 'linear': 1 for the best, falling by 1/top at
    each rank (the evaluation code of the article's author; the one of his R-MAC adds a plain sum, 'average').
    """
    if kind == "average":
        return np.ones(top)
    if kind == "linear":
        return 1.0 - np.arange(top) / top
    raise ValueError(f"query expansion '{kind}' is none of: average, linear")


def expand_queries(queries: Floats, database: Floats, ranking: Ranking, weights: Floats) -> Floats:
    """Add to each query (Q, D) its best answers, weighted, and normalise: (Q, D).

    `ranking` (Q, N) is what the plain queries gave, `weights` (k,) are the first k answers', k at most N.
    """
    best = database[ranking[:, : len(weights)]]
    return l2_normalise(queries + np.einsum("k,qkd->qd", weights, best))


def rerank_by_mean_subtraction(queries: Floats, database: Floats, ranking: Ranking, top: int) -> Ranking:
    """Rank the first `top` answers again by what tells them apart; the rest keep their places.

    The mean of a query's first answers is subtracted from them and from the query, all are normalised, and
    the answers are ordered by dot product with the query, equal ones as before (an option in the evaluation
    code of the article's author).
    """
    reranked = ranking.copy()
    for query, order in zip(queries, reranked, strict=True):
        best = database[order[:top]]
        mean = best.mean(axis=0)
        scores = similarities(l2_normalise((query - mean)[np.newaxis]), l2_normalise(best - mean))
        order[:top] = order[:top][rank(scores)[0]]
    return reranked


def rerank_in_place(queries: Floats, database: Floats, top: int) -> Ranking:
    """Rank everything, then the first `top` again, as the code of the article's author does: (Q, N).

    It means what rerank_by_mean_subtraction does, and does something else (fc_retrieval/src/brute.py, where
    it is switched on). The mean is that of the database's row 0 and the answers 2 to top. It is subtracted
    from the database's rows 0 to top - 1, not from the answers, and the k-th answer's new place is given by
    the similarity of row k. The sum is taken in row 0 itself and the rows are overwritten, each scaled to
    length 1, so that every query changes the database for the next.
    """
    database = database.copy()
    rankings = []
    for query in queries:
        order = rank(similarities(query[np.newaxis], database))[0]
        for row in order[1:top]:
            database[0] += database[row]
        mean = database[0] / top
        database[:top] = l2_normalise(database[:top] - mean)
        scores = similarities(l2_normalise((query - mean)[np.newaxis]), database[:top])
        order[:top] = order[:top][rank(scores)[0]]
        rankings.append(order)
    return np.stack(rankings)
