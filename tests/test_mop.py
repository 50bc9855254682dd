"""eval.represent.mop against its definitions in plain loops, cases by hand, and what learning must hold."""

import math
from dataclasses import fields, replace

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eval.represent import mop

SMALL = mop.Settings(window_dims=4, centres=6, output_dims=10)


def activations(images=30, windows=5, size=8, seed=0):
    """(N, P, D) activations after ReLU, windows of an image being alike."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((images, 1, size)) + 0.5 * rng.standard_normal((images, windows, size))
    return np.maximum(noise, 0).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    data = {128: activations(windows=5), 64: activations(windows=9, seed=1)}
    return mop.train(data, "thirty images", SMALL)


def vlad_by_loops(points, centres, bandwidth):
    pooled = [[0.0] * len(centres[0]) for _ in centres]
    for point in points:
        squares = [math.fsum((p - c) ** 2 for p, c in zip(point, centre, strict=True)) for centre in centres]
        nearest = sorted(range(len(centres)), key=squares.__getitem__)[:5]
        similarity = {k: math.exp((squares[nearest[0]] - squares[k]) / bandwidth) for k in nearest}
        for k in nearest:
            weight = similarity[k] / math.fsum(similarity.values())
            for i, (p, c) in enumerate(zip(point, centres[k], strict=True)):
                pooled[k][i] += weight * (p - c)
    signed = [math.copysign(math.sqrt(abs(value)), value) for centre in pooled for value in centre]
    norm = math.sqrt(math.fsum(value**2 for value in signed))
    return [value / norm if norm else 0.0 for value in signed]


def test_the_papers_windows():
    assert mop.window_starts(128) == [0, 32, 64, 96, 128]
    assert mop.window_starts(64) == [0, 32, 64, 96, 128, 160, 192]
    assert [len(mop.windows(np.zeros((256, 256, 3), np.uint8), side)) for side in mop.WINDOW_SIDES] == [
        25,
        49,
    ]
    assert mop.window_starts(256) == [0]
    assert mop.window_starts(4, 3, 12) == [0, 3, 6]


def test_windows_hold_their_pixels():
    # Each pixel's colour is its place, so that a window says where it was cut.
    rows, columns = np.mgrid[0:256, 0:256]
    image = np.stack([rows, columns, rows ^ columns], axis=2).astype(np.uint8)
    cut = mop.windows(image, 128)
    assert cut.shape == (25, 128, 128, 3)
    for number, window in enumerate(cut):
        top, left = 32 * (number // 5), 32 * (number % 5)
        for y, x in ((0, 0), (0, 127), (127, 0), (127, 127), (5, 77)):
            assert window[y, x].tolist() == [top + y, left + x, (top + y) ^ (left + x)]
    cut[:] = 0
    assert image[3, 4].tolist() == [3, 4, 7]


@pytest.mark.parametrize("shape", [(1, 1), (100, 300), (300, 100), (512, 512)])
def test_windows_of_any_image(shape):
    image = np.full((*shape, 3), (10, 20, 30), np.uint8)
    image[:, shape[1] // 2 :] = (200, 100, 50)
    cut = mop.windows(image, 64)
    assert cut.shape == (49, 64, 64, 3)
    if shape[1] > 1:
        assert cut[0, 0, 0].tolist() == [10, 20, 30]
        assert cut[6, 0, -1].tolist() == [200, 100, 50]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((9, 9), np.uint8),
        np.zeros((9, 9, 4), np.uint8),
        np.zeros((0, 9, 3), np.uint8),
        np.zeros((9, 9, 3), np.float32),
    ],
)
def test_what_is_no_image(image):
    with pytest.raises(ValueError, match=r"an image is \(rows, columns, 3\) uint8, not"):
        mop.windows(image, 64)


@pytest.mark.parametrize("numbers", [(300, 32, 256), (0, 32, 256), (64, 0, 256), (2, 1, 1)])
def test_windows_that_do_not_fit(numbers):
    with pytest.raises(ValueError, match="do not fit"):
        mop.window_starts(*numbers)


def test_vlad_by_hand():
    # Centres 0 and 10, points 1 and 9. At this bandwidth exp(-80 / b) = 1/3, so each point weighs 3/4 and
    # 1/4: 3/4 * 1 + 1/4 * 9 = 3 from centre 0, 1/4 * -9 + 3/4 * -1 = -3 from centre 10; roots; length 1.
    pooled = mop.vlad(np.array([[1], [9]]), np.array([[0], [10]]), 80 / math.log(3))
    np.testing.assert_allclose(pooled, [math.sqrt(0.5), -math.sqrt(0.5)], rtol=1e-6)
    assert pooled.dtype == np.float32


def test_vlad_takes_the_five_nearest():
    centres = np.arange(1.0, 8.0)[:, None]
    pooled = mop.vlad(np.zeros((1, 1)), centres, 1e9)
    np.testing.assert_allclose(pooled**2, np.array([1, 2, 3, 4, 5, 0, 0]) / 15, rtol=1e-6, atol=1e-12)


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 7), st.just(3)), elements=st.floats(-4, 4)),
    st.integers(1, 8),
    st.sampled_from([0.05, 1, 30]),
)
def test_vlad_against_loops(points, count, bandwidth):
    # Drawn centres are nowhere as far from a rounded point as another: the five nearest are certain.
    centres = np.random.default_rng(count).standard_normal((count, 3))
    points = np.round(points, 3).astype(np.float32)
    expected = vlad_by_loops(points.tolist(), centres.astype(np.float32).tolist(), bandwidth)
    np.testing.assert_allclose(mop.vlad(points, centres, bandwidth), expected, rtol=1e-3, atol=1e-5)


@given(st.permutations(range(6)))
def test_vlad_is_orderless(order):
    data = activations(images=1, windows=6)[0]
    centres = activations(images=1, windows=7, seed=3)[0]
    np.testing.assert_allclose(mop.vlad(data[order], centres, 1.0), mop.vlad(data, centres, 1.0), atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_vlad_of_centres_and_of_far_points():
    centres = np.array([[1.1, 2.3], [30.7, 4.9]])
    assert not mop.vlad(np.repeat(centres, 7, axis=0), centres, 1e-3).any()
    far = mop.vlad(np.full((3, 2), 1e6), centres, 1e-3)
    np.testing.assert_allclose(far[:2], 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(far), 1, rtol=1e-6)


def test_a_level_is_its_definition(model):
    """The two PCAs by a plain SVD, the centres as a fixed point of k-means, and the encoding step by step."""
    data = activations(windows=5)
    level = model.levels[128]
    rows = data.reshape(-1, 8).astype(np.float64)
    axes = principal_axes(rows, 4)
    np.testing.assert_allclose(level.window_mean, rows.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(np.abs(level.window_axes @ axes.T), np.eye(4), atol=1e-3)

    reduced = (rows - level.window_mean) @ level.window_axes.T
    squares = ((reduced[:, None] - level.centres) ** 2).sum(axis=2)
    nearest = squares.argmin(axis=1)
    for k, centre in enumerate(level.centres):
        np.testing.assert_allclose(centre, reduced[nearest == k].mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(level.bandwidth, squares.min(axis=1).mean(), rtol=1e-4)

    pooled = np.array(
        [
            vlad_by_loops(image.tolist(), level.centres.tolist(), float(level.bandwidth))
            for image in reduced.reshape(30, 5, 4)
        ]
    )
    np.testing.assert_allclose(level.output_mean, pooled.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(
        np.abs(level.output_axes @ principal_axes(pooled, 10).T), np.eye(10), atol=1e-2
    )
    expected = (pooled - level.output_mean) @ level.output_axes.T
    encoded = np.array([mop.encode_level(image, level) for image in data])
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded, expected, atol=1e-4)


def principal_axes(rows, count):
    return np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][:count]


def test_encode_joins_parts_of_length_one(model):
    whole = np.arange(8.0)
    windows = {64: activations(1, 9, seed=5)[0], 128: activations(1, 5, seed=6)[0]}
    vector = mop.encode(whole, windows, model)
    assert vector.shape == (8 + 10 + 10,)
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector[:8], whole / np.linalg.norm(whole), rtol=1e-6)
    for part, side in ((vector[8:18], 128), (vector[18:], 64)):
        own = mop.encode_level(windows[side], model.levels[side])
        np.testing.assert_allclose(part, own / np.linalg.norm(own), rtol=1e-5)
    assert not mop.encode(np.zeros(8), windows, model)[:8].any()


def same(one, other):
    return one.provenance == other.provenance and all(
        getattr(one.levels[side], field.name).tobytes() == getattr(other.levels[side], field.name).tobytes()
        and getattr(one.levels[side], field.name).dtype == np.float32
        for side in one.levels | other.levels
        for field in fields(mop.Level)
    )


def test_training_follows_its_seed(model, tmp_path):
    data = {64: activations(windows=9, seed=1), 128: activations(windows=5)}
    again = mop.train(data, "thirty images", SMALL)
    assert same(model, again)
    assert not same(model, mop.train(data, "thirty images", replace(SMALL, seed=1)))
    mop.save(model, tmp_path / "one.npz")
    mop.save(again, tmp_path / "other.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "other.npz").read_bytes()


def test_training_reads_a_dataset_and_takes_what_it_may(tmp_path):
    data = activations(images=40)
    few = replace(SMALL, codebook_images=12, output_images=20)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        stored = file.create_dataset("fc7_relu7", data=data)
        read = mop.train({128: stored}, "forty", few)
    assert same(read, mop.train({128: data}, "forty", few))
    means = [mop.train({128: data}, "forty", s).levels[128].window_mean for s in (few, SMALL)]
    np.testing.assert_allclose(means[1], data.reshape(-1, 8).mean(axis=0), atol=1e-5)
    assert not np.allclose(*means, atol=1e-4)


def test_a_given_bandwidth_is_kept():
    model = mop.train({64: activations()}, "thirty", replace(SMALL, bandwidth=10))
    assert model.levels[64].bandwidth == 10


def test_provenance_says_what_was_too_little(model):
    assert model.provenance["training_set"] == "thirty images"
    assert model.provenance["images"] == {"128": 30, "64": 30}
    assert model.provenance["settings"]["centres"] == 6
    assert model.provenance["reductions"] == []
    data = {128: activations(images=30, windows=5, size=8)}
    small = mop.train(data, "thirty", replace(SMALL, window_dims=500, output_dims=4096))
    assert small.provenance["reductions"] == [
        "windows of 128: PCA of the activations to 8 dimensions, not 500, "
        "as it was learnt from 150 windows of 8 values",
        "windows of 128: PCA of the pooled vectors to 29 dimensions, not 4096, "
        "as it was learnt from 30 images of 48 values",
    ]
    assert mop.encode_level(data[128][0], small.levels[128]).shape == (29,)


@pytest.mark.filterwarnings("error")
def test_as_many_centres_as_different_windows():
    data = np.repeat(np.eye(6, dtype=np.float32)[None], 3, axis=0)
    model = mop.train({64: data}, "three alike", SMALL)
    assert np.isfinite(mop.encode(np.ones(3), {64: data[0]}, model)).all()


def test_training_that_cannot_be():
    with pytest.raises(ValueError, match="name of its training set"):
        mop.train({64: activations()}, " ", SMALL)
    with pytest.raises(ValueError, match="one window size at least"):
        mop.train({}, "none", SMALL)
    with pytest.raises(ValueError, match="windows of 64: 1 training images are too few"):
        mop.train({64: activations(images=1)}, "one", SMALL)
    with pytest.raises(ValueError, match="windows of 64: 10 different training windows are too few for 100"):
        mop.train({64: activations(images=2, windows=5)}, "two", mop.PAPER)
    with pytest.raises(ValueError, match=r"windows of 64: .* not finite"):
        mop.train({64: activations() * np.nan}, "broken", SMALL)
    with pytest.raises(ValueError, match=r"windows of 64: .* matrix"):
        mop.train({64: activations()[:, 0]}, "flat", SMALL)


@pytest.mark.parametrize(
    "bad",
    [{"centres": 0}, {"window_dims": 0}, {"output_dims": -1}, {"codebook_images": 1}, {"bandwidth": 0}],
)
def test_settings_that_make_no_sense(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        mop.Settings(**bad)


def test_encoding_that_cannot_be(model):
    windows = {128: activations(1)[0], 64: activations(1)[0]}
    with pytest.raises(ValueError, match="windows of 64 are missing"):
        mop.encode(np.ones(8), {128: windows[128]}, model)
    with pytest.raises(ValueError, match="have 7 activations where the model learnt 8"):
        mop.encode(np.ones(8), windows | {64: np.ones((3, 7))}, model)
    with pytest.raises(ValueError, match="not finite"):
        mop.encode(np.ones(8), windows | {64: np.full((3, 8), np.nan)}, model)
    for whole in (np.ones((1, 8)), np.ones(0), np.full(8, np.inf)):
        with pytest.raises(ValueError, match="whole image"):
            mop.encode(whole, windows, model)
    with pytest.raises(ValueError, match="3 dimensions do not fit centres of 2"):
        mop.vlad(np.ones((1, 3)), np.ones((1, 2)), 1.0)


def test_save_and_load(model, tmp_path):
    path = tmp_path / "a model.npz"
    path.write_text("an older one")
    mop.save(model, path)
    assert [file.name for file in tmp_path.iterdir()] == ["a model.npz"]
    read = mop.load(path)
    assert same(read, model)
    assert list(read.levels) == [128, 64]
    windows = {128: activations(1)[0], 64: activations(1)[0]}
    np.testing.assert_array_equal(
        mop.encode(np.ones(8), windows, read), mop.encode(np.ones(8), windows, model)
    )


def test_saving_that_cannot_be(model, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        mop.save(model, tmp_path / "folder")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def write_text(path, model):
    path.write_text("no zip")


def write_nothing(path, model):
    path.write_bytes(b"")


def write_half(path, model):
    mop.save(model, path)
    path.write_bytes(path.read_bytes()[:2000])


def write_a_flipped_byte(path, model):
    mop.save(model, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def write_an_array(path, model):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def write_other_arrays(path, model):
    np.savez(path, names=np.ones(3))


def write_pickles(path, model):
    np.savez(path, format=np.array([{}], dtype=object))


def write_another_format(path, model):
    np.savez(path, format="mop-cnn 99")


def write_shapes_that_differ(path, model):
    level = replace(model.levels[64], centres=model.levels[64].centres[:-1])
    mop.save(replace(model, levels={64: level}), path)


@pytest.mark.parametrize(
    "write",
    [
        write_text,
        write_nothing,
        write_half,
        write_a_flipped_byte,
        write_an_array,
        write_other_arrays,
        write_pickles,
        write_another_format,
        write_shapes_that_differ,
    ],
)
def test_loading_what_is_no_model(write, model, tmp_path):
    path = tmp_path / "m.npz"
    write(path, model)
    with pytest.raises(ValueError, match=r"m\.npz(:| is no| holds no| doesn't)") as caught:
        mop.load(path)
    assert "\n" not in str(caught.value)


def test_loading_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        mop.load(tmp_path / "m.npz")
