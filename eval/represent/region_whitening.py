"""R-MAC's per-region whitening: learnt from many pictures' regions, and the file that holds it.

Tolias, Sicre and Jégou, arXiv 1511.05879, section 3.2: every region's vector is L2-normalised, PCA-whitened
and L2-normalised again before the regions are summed (eval.represent.pooling.rmac).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from eval.files.npz import read_npz, write_npz

FILE_FORMAT = "rmac region whitening 1"


class RegionWhitening:
    """Whitening of region vectors as scikit-learn has it; `transform` is what rmac takes."""

    mean: np.ndarray
    """(C,) float32"""
    projection: np.ndarray
    """(K, C) float32, the principal axes, each divided by its standard deviation"""

    def __init__(self, provenance: Mapping[str, Any]) -> None:
        """`provenance` says what it is learnt from: the layer, training_set, and what else JSON holds."""
        self.provenance = dict(provenance)

    def fit(self, X: np.ndarray) -> Self:
        """Learn from region vectors (N, C), rows of length 1.

        Directions that hold nothing beyond float32's rounding are left out: whitening would make rounding as
        large as all the rest. Raises ValueError where no direction is left.
        """
        from sklearn.decomposition import PCA  # a second that loading need not wait for

        from eval.rank.recipe import FLOAT32_NOISE

        # 'full': resolves the smallest directions, which count most in a whitening (see eval.rank.recipe)
        most = min(len(X) - 1, X.shape[1])
        with np.errstate(invalid="ignore"):  # vectors that are all alike: their share of no variance
            pca = PCA(most, svd_solver="full").fit(X.astype(np.float64))
        deviations = np.sqrt(pca.explained_variance_)
        kept = deviations >= FLOAT32_NOISE
        if not kept.any():
            raise ValueError(f"{len(X)} region vectors that don't differ teach no whitening")
        self.mean = pca.mean_.astype(np.float32)
        self.projection = (pca.components_[kept] / deviations[kept, np.newaxis]).astype(np.float32)
        self.provenance |= {"regions": len(X), "dimensions": int(kept.sum())}
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Whiten region vectors: (R, C) -> (R, K). Raises ValueError for another number of channels."""
        if X.shape[1] != len(self.mean):
            raise ValueError(
                f"R-MAC's whitening was learnt for {len(self.mean)} channels, not for {X.shape[1]}"
            )
        return np.asarray((X - self.mean) @ self.projection.T)

    def save(self, path: Path) -> None:
        """Write one .npz file, whole or not at all. Raises OSError."""
        arrays = {"mean": self.mean, "projection": self.projection}
        write_npz(path, FILE_FORMAT, self.provenance, arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what save wrote. Raises OSError, and ValueError for any other or a damaged file."""
        arrays, provenance = read_npz(path, FILE_FORMAT, "whitening of R-MAC's regions")
        whitening = cls(provenance)
        try:
            mean, projection = arrays["mean"], arrays["projection"]
        except KeyError as lacking:
            raise ValueError(f"{path} holds no {lacking.args[0]}") from None
        if not isinstance(provenance.get("layer"), str):
            raise ValueError(f"{path} doesn't say of which layer's regions it was learnt")
        if projection.ndim != 2 or mean.shape != projection.shape[1:]:
            raise ValueError(f"{path}: a mean {mean.shape} doesn't fit a projection {projection.shape}")
        whitening.mean, whitening.projection = mean, projection
        return whitening
