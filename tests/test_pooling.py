"""eval.represent.pooling against its definitions in plain loops, cases worked out by hand, and properties."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.decomposition import PCA

from eval.represent import pooling
from eval.represent.region_whitening import RegionWhitening

RECTIFIED = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 11)),
    elements=st.one_of(st.just(0.0), st.floats(2.0**-10, 1024.0, width=32)),
)


@st.composite
def maps(draw, smallest_side=1):
    """Maps as they come after ReLU: odd sizes, tall and wide, some channels all zeros."""
    x = draw(RECTIFIED)
    short = max(smallest_side - min(x.shape[1:]), 0)
    x = np.pad(x, ((0, 0), (0, short), (0, short)), mode="edge")
    dead = draw(st.lists(st.booleans(), min_size=len(x), max_size=len(x)))
    return np.where(np.array(dead)[:, None, None], np.float32(0), x)


def cells(x):
    """Channels as lists of Python floats, so that the definitions below owe NumPy nothing."""
    return [[float(value) for row in channel for value in row] for channel in x]


def close(actual, expected):
    assert actual.dtype == np.float32
    assert actual.shape == (len(expected),)
    scale = max((abs(value) for value in expected), default=0)
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-6 * scale)


def crow_by_loops(x):
    channels = cells(x)
    area = len(channels[0])
    total = [math.fsum(channel[i] for channel in channels) for i in range(area)]
    norm = math.sqrt(math.fsum(value**2 for value in total))
    spatial = [math.sqrt(value / norm) if norm else 0.0 for value in total]
    share = [sum(value != 0 for value in channel) / area for channel in channels]
    vector = []
    for channel, own in zip(channels, share, strict=True):
        weight = math.log(math.fsum(share) / own) if own else 0.0
        vector.append(weight * math.fsum(s * value for s, value in zip(spatial, channel, strict=True)))
    return vector


def regions_by_definition(height, width, levels):
    """The grid said another way: the overlap measured between the squares, each corner searched for."""
    short, long = min(height, width), max(height, width)

    def distance(count):
        second = Fraction(long - short, count - 1)
        return abs((Fraction(short) - second) / short - Fraction(40, 100))

    counts = [1] if short == long else [2, 3, 4, 5, 6, 7]
    m = sorted(counts, key=lambda count: (distance(count) if count > 1 else 0, count))[0]

    def corners(length, side, count):
        exact = [Fraction(i * (length - side), max(count - 1, 1)) for i in range(count)]
        return [max(whole for whole in range(length) if whole <= corner) for corner in exact]

    grid = []
    for level in range(1, levels + 1):
        side = max(s for s in range(1, short + 1) if s * (level + 1) <= 2 * short)
        down = corners(height, side, level + (m - 1 if height > width else 0))
        across = corners(width, side, level + (m - 1 if height <= width else 0))
        grid.extend((top, left, side) for top in down for left in across)
    return grid


def region_maxima_by_loops(x, levels, add_global=True):
    grid = [(top, left, side, side) for top, left, side in regions_by_definition(*x.shape[1:], levels)]
    if add_global:
        grid.append((0, 0, x.shape[1], x.shape[2]))
    return [
        [
            max(float(channel[i][j]) for i in range(top, top + h) for j in range(left, left + w))
            for channel in x
        ]
        for top, left, h, w in grid
    ]


def unit(vector):
    norm = math.sqrt(math.fsum(value**2 for value in vector))
    return [value / norm for value in vector] if norm else vector


def added(vectors):
    return [math.fsum(column) for column in zip(*vectors, strict=True)]


@given(maps())
def test_sum_average_max_against_loops(x):
    close(pooling.sum_pool(x), [math.fsum(channel) for channel in cells(x)])
    close(pooling.average_pool(x), [math.fsum(channel) / len(channel) for channel in cells(x)])
    close(pooling.max_pool(x), [max(channel) for channel in cells(x)])


@given(maps(), st.sampled_from([1, 2, 3, 4.5]))
def test_gem_against_loops(x, p):
    close(pooling.gem(x, p), [(math.fsum(v**p for v in c) / len(c)) ** (1 / p) for c in cells(x)])


@given(maps())
def test_crow_against_loops(x):
    close(pooling.crow(x), crow_by_loops(x))


@settings(max_examples=50)
@given(maps(smallest_side=3), st.integers(1, 4), st.booleans())
def test_rmac_against_loops(x, levels, add_global):
    maxima = region_maxima_by_loops(x, levels, add_global)
    close(pooling.rmac(x, levels, add_global=add_global), added(unit(v) for v in maxima))


@settings(max_examples=50)
@given(maps(smallest_side=3), st.integers(1, 4))
def test_the_articles_rmac_variants_against_loops(x, levels):
    maxima = region_maxima_by_loops(x, levels)
    close(pooling.rmac_sum(x, levels), added(maxima))
    close(pooling.rmac_concat(x, levels), added(maxima[:-1]) + maxima[-1])


@settings(max_examples=50)
@given(maps(smallest_side=2), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_whitened_rmac_against_loops(x, size, seed):
    rng = np.random.default_rng(seed)
    mean = rng.standard_normal(len(x))
    projection = rng.standard_normal((size, len(x)))
    expected = []
    for vector in map(unit, region_maxima_by_loops(x, 3)):
        centred = [value - m for value, m in zip(vector, mean, strict=True)]
        expected.append(
            unit([math.fsum(p * c for p, c in zip(row, centred, strict=True)) for row in projection])
        )
    whitened = pooling.rmac(x, whiten=lambda vectors: (vectors - mean) @ projection.T)
    np.testing.assert_allclose(whitened, added(expected), rtol=1e-3, atol=1e-3)


def test_the_region_whitening_is_scikit_learns():
    rng = np.random.default_rng(1)
    images = [np.maximum(rng.standard_normal((6, 5, 7)), 0) for _ in range(20)]
    learnt_from = np.concatenate([pooling.rmac_vectors(x) for x in images])
    # in float64: in float32 scikit-learn's transform was seen to be off by its whole size on an emulated ARM
    pca = PCA(6, whiten=True).fit(learnt_from.astype(np.float64))
    whitening = RegionWhitening({}).fit(learnt_from)
    whitened = pooling.rmac(images[0], whiten=lambda rows: pca.transform(rows.astype(np.float64)))
    np.testing.assert_allclose(
        pooling.rmac(images[0], whiten=whitening.transform), whitened, rtol=1e-3, atol=1e-3
    )
    regions = pooling.rmac_vectors(images[0])
    np.testing.assert_allclose(np.linalg.norm(regions, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(regions.sum(axis=0), pooling.rmac(images[0]), rtol=1e-6)


# The article's 20 regions: a 4:3 photograph, 1024 x 768, gives pool5 a map of 24 rows and 32 columns.
# Level 1: side 24, over 32 columns; m = 2 squares at 0 and 8 overlap by 16/24 = 67 %, m = 3 at 0, 4 and 8 by
# 83 %: m = 2 is nearer to 40 %. Level 2: side 16, 2 x 3; level 3: side 12, 3 x 4, columns 20/3 = 6.67 apart.
ARTICLE_GRID = [
    *[(0, left, 24) for left in (0, 8)],
    *[(top, left, 16) for top in (0, 8) for left in (0, 8, 16)],
    *[(top, left, 12) for top in (0, 6, 12) for left in (0, 6, 13, 20)],
]


def test_the_articles_twenty_regions():
    assert len(ARTICLE_GRID) == 20
    assert pooling.rmac_regions(24, 32, 3) == ARTICLE_GRID
    assert sorted(pooling.rmac_regions(32, 24, 3)) == sorted((x, y, side) for y, x, side in ARTICLE_GRID)
    assert pooling.rmac_vectors(np.ones((1, 24, 32))).shape == (21, 1)


@pytest.mark.parametrize(
    ("height", "width", "levels", "expected"),
    [
        (1, 1, 1, [(0, 0, 1)]),
        # A square: m = 1, the whole map at level 1, then 2 x 2, side 14 // 3 = 4.
        (7, 7, 2, [(0, 0, 7), (0, 0, 4), (0, 3, 4), (3, 0, 4), (3, 3, 4)]),
        # 2 to 1: m = 2 gives no overlap, 3 gives 50 %, 4 gives 67 %.
        (10, 20, 1, [(0, 0, 10), (0, 5, 10), (0, 10, 10)]),
        (20, 10, 1, [(0, 0, 10), (5, 0, 10), (10, 0, 10)]),
        # 1.8 to 1: 20 % and 60 % are as far from 40 %, so the fewer.
        (5, 9, 1, [(0, 0, 5), (0, 4, 5)]),
        # Longer than 7 squares can cover: 9 / 6 = 1.5 cells apart, and cells 2, 5 and 8 in no square.
        (1, 10, 1, [(0, left, 1) for left in (0, 1, 3, 4, 6, 7, 9)]),
        # The smallest map for 3 levels: squares of one cell, some twice.
        (2, 2, 3, [(0, 0, 2)] + [(y, x, 1) for n in ((0, 1), (0, 0, 1)) for y in n for x in n]),
    ],
)
def test_grids_by_hand(height, width, levels, expected):
    assert pooling.rmac_regions(height, width, levels) == expected


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_grids_of_every_size(levels):
    for height in range(3, 26):
        for width in range(3, 50):
            grid = pooling.rmac_regions(height, width, levels)
            assert grid == regions_by_definition(height, width, levels)
            assert grid[0][:2] == (0, 0)
            top, left, side = grid[-1]
            assert (top + side, left + side) == (height, width)


def test_twenty_regions_up_to_nine_fifths():
    for short in range(2, 40):
        for long in range(short + 1, 3 * short):
            assert (len(pooling.rmac_regions(short, long)) == 20) == (5 * long <= 9 * short)


def test_crow_by_hand():
    # Channel sums 3 and 4 in opposite corners, norm 5: S there is sqrt(3/5) and sqrt(4/5). Each channel has
    # one cell of four: Q = 1/4 both, so both weigh log(2).
    x = np.array([[[3, 0], [0, 0]], [[0, 0], [0, 4]]])
    expected = [math.log(2) * 3 * math.sqrt(0.6), math.log(2) * 4 * math.sqrt(0.8)]
    np.testing.assert_allclose(pooling.crow(x), expected, rtol=1e-6)


def test_gem_by_hand():
    np.testing.assert_allclose(pooling.gem(np.array([[[0, 1], [2, 3]]])), [9 ** (1 / 3)], rtol=1e-6)


def test_rmac_by_hand():
    # 2 x 3 cells, one level: squares of side 2 at columns 0 and 1, maxima (3, 4) and (0, 1), globally (3, 4).
    x = np.array([[[3, 0, 0], [0, 0, 0]], [[4, 0, 1], [0, 0, 0]]])
    np.testing.assert_allclose(pooling.rmac(x, 1), [0.6 + 0 + 0.6, 0.8 + 1 + 0.8], rtol=1e-6)
    np.testing.assert_allclose(pooling.rmac(x, 1, add_global=False), [0.6, 1.8], rtol=1e-6)
    np.testing.assert_array_equal(pooling.rmac_sum(x, 1), [6, 9])
    np.testing.assert_array_equal(pooling.rmac_concat(x, 1), [3, 5, 3, 4])


def test_one_cell():
    x = np.array([2.0, 0, 5]).reshape(3, 1, 1)
    for name in ("sum", "average", "max", "gem"):
        np.testing.assert_allclose(pooling.POOLINGS[name](x), [2, 0, 5], rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(pooling.crow(x), [2 * math.log(2), 0, 5 * math.log(2)], rtol=1e-6)
    np.testing.assert_allclose(pooling.rmac(x, 1), np.array([4, 0, 10]) / math.sqrt(29), rtol=1e-6)


def outputs(x):
    return {name: pool(x) for name, pool in pooling.POOLINGS.items()}


@settings(max_examples=50)
@given(maps(smallest_side=3))
def test_shapes_and_finite(x):
    for name, vector in outputs(x).items():
        assert vector.shape == ((2 if name in ("rmac_concat", "rmac_published") else 1) * len(x),), name
        assert vector.dtype == np.float32, name
        assert np.isfinite(vector).all(), name


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(1, 3, 3), (4, 3, 17), (4, 17, 3)])
def test_zeros_give_zeros(shape):
    for name, vector in outputs(np.zeros(shape, dtype=np.float32)).items():
        assert not vector.any() and np.isfinite(vector).all(), name


@settings(max_examples=50)
@given(maps(smallest_side=3))
def test_a_channel_of_zeros_stays_zero(x):
    x[0] = 0
    for name, vector in outputs(x).items():
        assert vector[0] == 0, name


@settings(max_examples=50)
@given(maps(smallest_side=3), st.randoms(use_true_random=False))
def test_permuting_channels_permutes_the_vector(x, random):
    order = list(range(len(x)))
    random.shuffle(order)
    permuted = outputs(x[order])
    for name, vector in outputs(x).items():
        halves = vector.reshape(-1, len(x))
        np.testing.assert_allclose(
            permuted[name], halves[:, order].ravel(), rtol=1e-4, atol=1e-6, err_msg=name
        )


@settings(max_examples=50)
@given(maps(smallest_side=3), st.sampled_from([2.0**-90, 0.3, 7.0, 2.0**80]))
def test_scaling(x, factor):
    scaled = outputs(x * np.float32(factor))
    for name, vector in outputs(x).items():
        normalises = name == "rmac" or name.startswith("rmac_l")
        expected = vector * np.float32(1 if normalises else factor)
        np.testing.assert_allclose(scaled[name], expected, rtol=1e-4, err_msg=name)


@settings(max_examples=50)
@given(maps(smallest_side=3))
def test_rows_and_columns_are_alike(x):
    turned = outputs(x.transpose(0, 2, 1))
    for name, vector in outputs(x).items():
        np.testing.assert_allclose(turned[name], vector, rtol=1e-4, atol=1e-6, err_msg=name)


@given(maps())
def test_gem_lies_between_average_and_maximum(x):
    average, largest = pooling.average_pool(x), pooling.max_pool(x)
    np.testing.assert_allclose(pooling.gem(x, 1), average, rtol=1e-5)
    np.testing.assert_allclose(pooling.gem(x, 1000), largest, rtol=0.01)
    assert (average <= pooling.gem(x) * (1 + 1e-5)).all()
    assert (pooling.gem(x) <= largest * (1 + 1e-5)).all()


def test_the_map_is_left_as_it_was():
    x = np.maximum(np.random.default_rng(2).standard_normal((4, 6, 5), dtype=np.float32), 0)
    before = x.copy()
    outputs(x)
    np.testing.assert_array_equal(x, before)


BAD_MAPS = [
    (np.ones((3, 4)), "shape"),
    (np.ones((1, 2, 3, 4)), "shape"),
    (np.ones(()), "shape"),
    (np.ones((0, 3, 3)), "empty"),
    (np.ones((3, 0, 3)), "empty"),
    (np.full((1, 3, 3), np.nan), "not finite"),
    (np.full((1, 3, 3), np.inf), "not finite"),
    (np.full((1, 3, 3), 1e39), "not finite"),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("x", "said"), BAD_MAPS)
@pytest.mark.parametrize("name", pooling.POOLINGS)
def test_bad_maps_are_refused(name, x, said):
    with pytest.raises(ValueError, match=said):
        pooling.POOLINGS[name](x)


@pytest.mark.parametrize("name", ["gem", "crow"])
def test_maps_before_relu_are_refused(name):
    with pytest.raises(ValueError, match=r"after ReLU.*-0\.5"):
        pooling.POOLINGS[name](np.array([[[1, -0.5]]]))


@pytest.mark.parametrize(("shape", "levels"), [((1, 1), 2), ((1, 9), 2), ((9, 1), 3), ((2, 8), 4)])
def test_maps_smaller_than_a_region_are_refused(shape, levels):
    x = np.ones((2, *shape))
    for pool in (pooling.rmac, pooling.rmac_sum, pooling.rmac_concat):
        with pytest.raises(ValueError, match=f"too small for {levels} levels"):
            pool(x, levels)
    most = 2 * min(shape) - 1
    with pytest.raises(ValueError, match=f"room for {most} at most"):
        pooling.rmac_regions(*shape, levels)
    assert pooling.rmac(x, most).shape == (2,)


@pytest.mark.parametrize("arguments", [(0, 3, 1), (3, 0, 1), (3, 3, 0), (3, 3, -1)])
def test_grids_that_make_no_sense(arguments):
    with pytest.raises(ValueError, match=r"no regions|at least 1 level"):
        pooling.rmac_regions(*arguments)


@pytest.mark.parametrize("p", [0, -1, math.inf, math.nan])
def test_gem_refuses_a_power(p):
    with pytest.raises(ValueError, match="p must be"):
        pooling.gem(np.ones((1, 1, 1)), p)


@pytest.mark.parametrize(
    "whiten",
    [
        lambda vectors: vectors[:1],
        lambda vectors: vectors * np.nan,
    ],
)
def test_whitening_that_does_not_fit(whiten):
    with pytest.raises(ValueError, match="whitening"):
        pooling.rmac(np.ones((2, 4, 4)), whiten=whiten)


def test_choose():
    assert list(pooling.choose("crow, sum,crow")) == ["crow", "sum"]
    assert pooling.choose("max")["max"] is pooling.max_pool
    with pytest.raises(ValueError, match=r"no pooling is called mac; there are sum, .*rmac_concat"):
        pooling.choose("sum,mac")
    with pytest.raises(ValueError, match="no pooling is named"):
        pooling.choose(" ,")


def test_crow_weighted_is_each_cells_part_of_crow() -> None:
    random = np.random.default_rng(3)
    feature_map = np.maximum(random.standard_normal((5, 3, 4)), 0).astype(np.float32)
    feature_map[0] = 0
    summed = feature_map.sum(axis=0)
    spatial = np.sqrt(summed / np.linalg.norm(summed))
    shares = (feature_map > 0).mean(axis=(1, 2))
    channel = [np.log(shares.sum() / share) if share else 0.0 for share in shares]
    expected = np.zeros((3, 4))
    for c, i, j in np.ndindex(feature_map.shape):
        expected[i, j] += channel[c] * spatial[i, j] * feature_map[c, i, j]
    got = pooling.crow_weighted(feature_map)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert got.sum() == pytest.approx(pooling.crow(feature_map).sum(), rel=1e-5)


@settings(max_examples=50)
@given(maps(smallest_side=2))
def test_rmac_as_published_against_loops(x):
    """Regions from x to x + side - 1, where Python's slices end before the last."""
    channels, height, width = x.shape
    expected = [0.0] * channels
    for top, left, side in pooling.rmac_regions(height, width):
        for channel in range(channels):
            expected[channel] += max(
                float(x[channel, row, column])
                for row in range(top, top + max(side - 1, 1))
                for column in range(left, left + max(side - 1, 1))
            )
    expected += [float(channel.max()) for channel in x]
    close(pooling.rmac_published(x), expected)
