"""From a convolution layer's map to one vector: the poolings that the article surveys, and GeM.

Every function takes one image's map, a (C, H, W) array of real numbers (channels, rows, columns), and
returns a float32 vector; nothing here reads or writes files or knows a network. The vectors are the
aggregates as their formulas define them. The L2 normalisation that every paper puts after its aggregate,
before and after PCA whitening, belongs to the ranking and is not done here; where a formula normalises on
the way (R-MAC's regions), it is.

Every function raises ValueError, in one sentence, for a map that is not (C, H, W), is empty or has a value
that is not finite, and more where its own text says so. A map of zeros gives a vector of zeros.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial

import numpy as np

Pooling = Callable[[np.ndarray], np.ndarray]
Whiten = Callable[[np.ndarray], np.ndarray]

RMAC_LEVELS = 3
RMAC_OVERLAP = Fraction(2, 5)
RMAC_LONG_SIDE = range(2, 8)


class MapTooSmallError(ValueError):
    """A map has not the cells that a pooling needs."""


def sum_pool(feature_map: np.ndarray) -> np.ndarray:
    """SUM: v_c = sum over all cells of x_c, (C, H, W) -> (C,).

    SPoC without its centre prior: Babenko and Lempitsky, arXiv 1510.07493, the SPoC
    design, "Sum pooling"; the paper then applies L2, PCA whitening and L2.
    """
    return np.asarray(_cells(_checked(feature_map)).sum(axis=1))


def average_pool(feature_map: np.ndarray) -> np.ndarray:
    """AVE: v_c = mean over all cells of x_c, (C, H, W) -> (C,).

    SUM divided by H * W, so the two are one vector once it is L2-normalised. The field calls either SPoC.
    """
    return np.asarray(_cells(_checked(feature_map)).mean(axis=1))


def max_pool(feature_map: np.ndarray) -> np.ndarray:
    """MAX: v_c = largest value of x_c over all cells, (C, H, W) -> (C,).

    The field's MAC: Tolias, Sicre and Jégou, arXiv 1511.05879, section 3.1, which then applies L2, PCA
    whitening, L2.
    """
    return np.asarray(_cells(_checked(feature_map)).max(axis=1))


def gem(feature_map: np.ndarray, p: float = 3.0) -> np.ndarray:
    """GeM, the generalised mean: v_c = (mean over all cells of x_c ** p) ** (1 / p), (C, H, W) -> (C,).

    p = 1 is the average, p towards infinity the maximum. Radenović, Tolias and Chum, arXiv 1711.02512,
    "Generalized-mean pooling and image descriptor"; the paper then applies L2.

    Raises ValueError for a negative value (the map is to be taken after ReLU) and for a p not above 0.
    """
    if not 0 < p < np.inf:
        raise ValueError(f"GeM's p must be a finite number above 0, not {p}")
    cells = _cells(_after_relu(feature_map, "GeM"))
    # Each channel is divided by its maximum so that no power leaves float32's range.
    largest = cells.max(axis=1)
    scaled = cells / np.where(largest > 0, largest, 1)[:, None]
    # Two products take a tenth of the time that ** takes.
    powers = scaled * scaled * scaled if p == 3 else scaled**p
    return np.asarray(largest * powers.mean(axis=1) ** np.float32(1 / p))


def crow(feature_map: np.ndarray) -> np.ndarray:
    """CroW: v_c = I_c * (sum over all cells of S * x_c), (C, H, W) -> (C,).

    S is the spatial weight: the sum over the channels T, scaled to L2 norm 1 over all cells, then its
    square root (the paper's a = 2, b = 2). I is the channel weight: with Q_c the share of x_c's cells that
    are not zero, I_c = log(sum of all Q / Q_c), and 0 for a channel of zeros, whose sum is 0 whatever its
    weight. A channel that alone is not zero also has weight log(1) = 0.

    Kalantidis, Mellina and Osindero, arXiv 1512.04065, "Response aggregation for spatial weighting"
    and "Sparsity sensitive channel weighting"; the paper then applies L2, PCA whitening and L2.

    Raises ValueError for a negative value: both weights are defined for a map after ReLU.
    """
    cells = _cells(_after_relu(feature_map, "CroW"))
    return np.asarray((cells @ _spatial_weight(cells)) * _channel_weight(cells))


def crow_spatial_weight(feature_map: np.ndarray) -> np.ndarray:
    """CroW's S alone, to look at: (C, H, W) -> (H, W). Raises what crow raises."""
    return _spatial_weight(_cells(_after_relu(feature_map, "CroW"))).reshape(feature_map.shape[1:])


def crow_weighted(feature_map: np.ndarray) -> np.ndarray:
    """What each cell adds to CroW's vector, over all channels, to look at: (C, H, W) -> (H, W).

    S_ij * (sum over the channels of I_c * x_cij), spatial times channel weight: its sum is that of crow's
    vector. Raises what crow raises.
    """
    cells = _cells(_after_relu(feature_map, "CroW"))
    weighted: np.ndarray = (_channel_weight(cells) @ cells) * _spatial_weight(cells)
    return weighted.reshape(feature_map.shape[1:])


def rmac_regions(height: int, width: int, levels: int = RMAC_LEVELS) -> list[tuple[int, int, int]]:
    """R-MAC's grid on height x width cells: squares as (top, left, side), level by level, row by row.

    At level l the side is floor(2 * min(height, width) / (l + 1)); l squares stand along the short side and
    l + m - 1 along the long one, evenly from border to border (corners rounded down to a cell). m is the
    number from 2 to 7 for which neighbouring squares of level 1 overlap most nearly by 40 %, the smaller
    one if two are as near; a square map has m = 1. From 1 to 1.8 times as long as wide, a 4:3 photograph,
    say, m is 2, and three levels give 2 + 6 + 12 = 20 squares; a square map has 1 + 4 + 9 = 14. Past 7
    times as long as wide, squares of level 1 leave gaps, as m stays 7; on very small maps squares can
    coincide. Both are so in the authors' code as well.

    Tolias, Sicre and Jégou, arXiv 1511.05879, section 3.2; the bounds 2 to 7 are the authors' code's.

    Raises ValueError for a side or levels below 1, MapTooSmallError where a level's square would be smaller
    than one cell.
    """
    if height < 1 or width < 1:
        raise ValueError(f"a map of {height} x {width} cells has no regions")
    if levels < 1:
        raise ValueError(f"R-MAC needs at least 1 level, not {levels}")
    short = min(height, width)
    if 2 * short < levels + 1:
        raise MapTooSmallError(
            f"a map of {height} x {width} cells is too small for {levels} levels of R-MAC: "
            f"it has room for {2 * short - 1} at most"
        )
    extra = _long_side_count(short, max(height, width)) - 1
    rows_extra, columns_extra = (extra, 0) if height > width else (0, extra)
    regions = []
    for level in range(1, levels + 1):
        side = 2 * short // (level + 1)
        tops = _starts(height, side, level + rows_extra)
        lefts = _starts(width, side, level + columns_extra)
        regions += [(top, left, side) for top in tops for left in lefts]
    return regions


def rmac_vectors(feature_map: np.ndarray, levels: int = RMAC_LEVELS, add_global: bool = True) -> np.ndarray:
    """What R-MAC sums: each region's MAX, L2-normalised, the global one last, (C, H, W) -> (R, C).

    Per-region whitening is learnt from these, taken from many images. Raises what rmac_regions raises.
    """
    return _unit_rows(_region_maxima(feature_map, levels, add_global))


def rmac(
    feature_map: np.ndarray,
    levels: int = RMAC_LEVELS,
    whiten: Whiten | None = None,
    add_global: bool = True,
) -> np.ndarray:
    """R-MAC: the sum of the regions' vectors, each L2-normalised, whitened, L2-normalised: (C, H, W) -> (K,).

    whiten is a function from (R, C) to (R, K), such as the transform of a fitted RegionWhitening or of
    scikit-learn's PCA; without it K = C and one normalisation is made. add_global counts the whole map as one
    more region, the article's 20 + 1; without it the sum is the one of the paper and of its authors' code,
    the grid alone (where, on a square map, level 1 is the whole map already).

    Tolias, Sicre and Jégou, arXiv 1511.05879, section 3.2; the paper then applies L2.

    Raises ValueError where rmac_regions does, and for a whitening that does not fit C or gives no finite
    (R, K).
    """
    vectors = rmac_vectors(feature_map, levels, add_global)
    if whiten is not None:
        vectors = _unit_rows(_whitened(vectors, whiten))
    return np.asarray(vectors.sum(axis=0))


def rmac_sum(feature_map: np.ndarray, levels: int = RMAC_LEVELS) -> np.ndarray:
    """The article's plain sum: the regions' maxima and the global one added as they are, (C, H, W) -> (C,).

    The article's 20 + 1 = 21 local vectors. Unlike R-MAC's, they are not normalised first, so a region
    counts by how strongly it responds. L2 after the sum. Raises what rmac_regions raises.
    """
    return np.asarray(_region_maxima(feature_map, levels, add_global=True).sum(axis=0))


def rmac_concat(feature_map: np.ndarray, levels: int = RMAC_LEVELS) -> np.ndarray:
    """The article's longer variant: the sum of the regions' maxima, then the global ones, (C, H, W) -> (2C,).

    As in rmac_sum nothing is normalised before; the author's code normalises (L2) the concatenation as a
    whole. Raises what rmac_regions raises.
    """
    maxima = _region_maxima(feature_map, levels, add_global=True)
    return np.concatenate([maxima[:-1].sum(axis=0), maxima[-1]])


def rmac_published(feature_map: np.ndarray, levels: int = RMAC_LEVELS) -> np.ndarray:
    """R-MAC as the article's author published it: rmac_concat with smaller regions, (C, H, W) -> (2C,).

    His code writes a region's last row and column down and then takes them for the slice's end, which leaves
    both out (rmac_retrieval/src/rmac.py). A region of one cell, on which it stops, keeps that here. Raises
    what rmac_regions raises.
    """
    x = _checked(feature_map)
    _, height, width = x.shape
    regions = [(top, left, max(side - 1, 1)) for top, left, side in rmac_regions(height, width, levels)]
    return np.concatenate([_maxima(x, regions).sum(axis=0), x.max(axis=(1, 2))])


POOLINGS: dict[str, Pooling] = {
    "sum": sum_pool,
    "average": average_pool,
    "max": max_pool,
    "gem": gem,
    "crow": crow,
    "rmac": rmac,
    "rmac_l1": partial(rmac, levels=1),
    "rmac_l2": partial(rmac, levels=2),
    "rmac_l4": partial(rmac, levels=4),
    "rmac_sum": rmac_sum,
    "rmac_concat": rmac_concat,
    "rmac_published": rmac_published,
}
"""Every pooling by the name that programs and feature files use; rmac is at 3 levels, rmac_lN at N."""


def choose(names: str) -> dict[str, Pooling]:
    """The poolings of a comma-separated list such as "sum,max,crow", in its order, each once.

    Raises ValueError, listing the names there are, for one that is not among them and for an empty list.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in POOLINGS]
    if unknown or not wanted:
        problem = f"no pooling is called {unknown[0]}" if unknown else "no pooling is named"
        raise ValueError(f"{problem}; there are {', '.join(POOLINGS)}")
    return {name: POOLINGS[name] for name in wanted}


def _checked(feature_map: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        x = np.asarray(feature_map, dtype=np.float32)
    if x.ndim != 3:
        raise ValueError(f"a feature map has shape (channels, rows, columns), not {x.shape}")
    if x.size == 0:
        raise ValueError(f"a feature map of shape {x.shape} is empty")
    if not np.isfinite(x).all():
        raise ValueError("a feature map has a value that is not finite in float32 (NaN or infinity)")
    return x


def _after_relu(feature_map: np.ndarray, name: str) -> np.ndarray:
    x = _checked(feature_map)
    smallest = x.min()
    if smallest < 0:
        raise ValueError(f"{name} needs a map after ReLU, but its smallest value is {smallest:g}")
    return x


def _cells(x: np.ndarray) -> np.ndarray:
    return x.reshape(x.shape[0], -1)


def _spatial_weight(cells: np.ndarray) -> np.ndarray:
    total = np.asarray(cells.sum(axis=0))
    # Divided by the largest first: squares of small sums would vanish in float32.
    largest = total.max()
    if largest == 0:
        return total
    total /= largest
    return np.asarray(np.sqrt(total / np.linalg.norm(total)))


def _channel_weight(cells: np.ndarray) -> np.ndarray:
    share = np.count_nonzero(cells, axis=1) / cells.shape[1]
    weight = np.zeros(len(cells), dtype=np.float32)
    alive = share > 0
    weight[alive] = np.log(share.sum() / share[alive])
    return weight


def _long_side_count(short: int, long: int) -> int:
    if short == long:
        return 1

    def distance(count: int) -> Fraction:
        step = Fraction(long - short, count - 1)
        return abs((short - step) / short - RMAC_OVERLAP)

    return min(RMAC_LONG_SIDE, key=distance)


def _starts(length: int, side: int, count: int) -> list[int]:
    # Whole numbers throughout: in floating point the last square can end a cell before the border.
    return [i * (length - side) // max(count - 1, 1) for i in range(count)]


def _region_maxima(feature_map: np.ndarray, levels: int, add_global: bool) -> np.ndarray:
    x = _checked(feature_map)
    _, height, width = x.shape
    maxima = _maxima(x, rmac_regions(height, width, levels))
    return np.vstack([maxima, x.max(axis=(1, 2))]) if add_global else maxima


def _maxima(x: np.ndarray, regions: Sequence[tuple[int, int, int]]) -> np.ndarray:
    # With the channels last NumPy compares whole rows of channels at once, about ten times as fast.
    cells = np.ascontiguousarray(x.transpose(1, 2, 0))
    return np.stack(
        [cells[top : top + side, left : left + side].max(axis=(0, 1)) for top, left, side in regions]
    )


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    # Divided by the largest first: squares of small values would vanish in float32.
    largest = np.abs(rows).max(axis=1, keepdims=True)
    scaled = rows / np.where(largest > 0, largest, 1)
    norm = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.asarray(scaled / np.where(norm > 0, norm, 1))


def _whitened(vectors: np.ndarray, whiten: Whiten) -> np.ndarray:
    result = np.asarray(whiten(vectors), dtype=np.float32)
    if result.ndim != 2 or result.shape[0] != len(vectors) or not np.isfinite(result).all():
        raise ValueError(
            f"whitening {len(vectors)} region vectors gave {result.shape}, not {len(vectors)} finite rows"
        )
    return result
