"""eval.extract's pooled maps and MOP-CNN, against pycaffe's forward pass picture by picture."""

import json
import re
import shutil
from pathlib import Path

import caffe
import cv2
import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval import train_mop, train_rmac
from eval.extract import main
from eval.forward.network import scaled_size
from eval.forward.photographs import Part
from eval.represent import mop
from eval.represent.pooling import POOLINGS, rmac, rmac_vectors
from eval.represent.region_whitening import RegionWhitening

MEAN = (100.5, 110.25, 120.0)
DEPLOY = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 32 dim: 32 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 stride: 2
    weight_filler { type: "gaussian" std: 0.1 } bias_filler { type: "constant" value: 0.5 } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1_relu1" }
layer { name: "pool5" type: "Pooling" bottom: "conv1_relu1" top: "pool5"
  pooling_param { pool: MAX kernel_size: 4 stride: 4 } }
layer { name: "fc7" type: "InnerProduct" bottom: "pool5" top: "fc7"
  inner_product_param { num_output: 24 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "relu7" type: "ReLU" bottom: "fc7" top: "fc7_relu7" }
"""
LAYERS = ("conv1_relu1", "pool5")
QUERIES = {"a_1": ("p03", (10.5, 20.49, 60.5, 70)), "b_1": ("p00", (0, 0, 50, 44))}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with deploy.prototxt, weights.caffemodel, jpg (9 pictures, three sizes) and gt (2 queries)."""
    folder = tmp_path_factory.mktemp("poolings")
    (folder / "deploy.prototxt").write_text(DEPLOY)
    caffe.set_random_seed(4)
    caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST).save(str(folder / "weights.caffemodel"))
    (folder / "jpg").mkdir()
    random = np.random.default_rng(6)
    for i in range(9):
        height, width = [(96, 128), (128, 96), (75, 100)][i // 3]
        picture = cv2.resize(random.integers(0, 256, (8, 8, 3), dtype=np.uint8), (width, height))
        cv2.imwrite(str(folder / "jpg" / f"p{i:02}.png"), picture)
    (folder / "gt").mkdir()
    for query, (picture, box) in QUERIES.items():
        (folder / "gt" / f"{query}_query.txt").write_text(f"oxc1_{picture} {' '.join(map(str, box))}\n")
    return folder


def arguments(folder: Path, out: Path, *more: str) -> list[str]:
    given = {"deploy": "deploy.prototxt", "weights": "weights.caffemodel", "images": "jpg"}
    named = [f"--{name}={folder / value}" for name, value in given.items()]
    return [*named, f"--mean={','.join(map(str, MEAN))}", f"--out={out}", "--jobs=1", *more]


def extracted(folder: Path, out: Path, *more: str) -> dict[str, np.ndarray]:
    assert main(arguments(folder, out, *more)) == 0
    found: dict[str, np.ndarray] = {}
    with h5py.File(out) as file:
        file.visititems(
            lambda name, node: found.update({name: node[:]} if isinstance(node, h5py.Dataset) else {})
        )
    return found


def forward(folder: Path, pixels: np.ndarray, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The definition: one picture, resized to (height, width), through a network of that input size."""
    net = caffe_pool5(folder, size) if size != (32, 32) else caffe_whole(folder)
    resized = cv2.resize(pixels, (size[1], size[0]))
    for channel in range(3):
        net.blobs["data"].data[0, channel] = resized[:, :, channel].astype(np.float32) - MEAN[channel]
    net.forward()
    return {name: blob.data[0].copy() for name, blob in net.blobs.items()}


def caffe_whole(folder: Path) -> caffe.Net:
    return caffe.Net(str(folder / "deploy.prototxt"), str(folder / "weights.caffemodel"), caffe.TEST)


def caffe_pool5(folder: Path, size: tuple[int, int]) -> caffe.Net:
    text = DEPLOY[: DEPLOY.index('layer { name: "fc7"')]
    text = text.replace("dim: 32 dim: 32", f"dim: {size[0]} dim: {size[1]}")
    (folder / "cut.prototxt").write_text(text)
    return caffe.Net(str(folder / "cut.prototxt"), str(folder / "weights.caffemodel"), caffe.TEST)


def pictures(folder: Path) -> dict[str, np.ndarray]:
    return {file.stem: cv2.imread(str(file)) for file in sorted((folder / "jpg").iterdir())}


def close(found: np.ndarray, wanted: list[np.ndarray]) -> None:
    np.testing.assert_allclose(found, np.stack(wanted), rtol=2e-4, atol=2e-4)


@pytest.fixture(scope="module")
def pooled(made: Path) -> dict[str, np.ndarray]:
    options = ["--pool", ",".join(POOLINGS), "--max-side=100", "--min-side=24", f"--gt={made / 'gt'}"]
    maps = f"--keep-maps={made / 'maps'}"
    return extracted(made, made / "pooled.h5", "--layers", *LAYERS, *options, maps)


def test_every_pooling_of_every_layer_in_one_pass(made, pooled) -> None:
    """Longer side to 100, aspect kept; the third size is there already and is not enlarged."""
    sizes = {(96, 128): (75, 100), (128, 96): (100, 75), (75, 100): (75, 100)}
    blobs = [forward(made, image, sizes[image.shape[:2]]) for image in pictures(made).values()]
    for layer in LAYERS:
        for name, pool in POOLINGS.items():
            close(pooled[f"database/{layer}_{name}"], [pool(blob[layer]) for blob in blobs])
    assert not [name for name in pooled if name in ("database/pool5", "database/conv1_relu1")]


def test_a_query_is_scaled_as_its_picture_is(made, pooled) -> None:
    images = pictures(made)
    first, second = images["p03"][20:70, 11:61], images["p00"][0:44, 0:50]
    scale = 100 / 128
    sizes = [(round(50 * scale), round(50 * scale)), (round(44 * scale), round(50 * scale))]
    for layer in LAYERS:
        maps = [forward(made, cut, size)[layer] for cut, size in zip((first, second), sizes, strict=True)]
        close(pooled[f"queries/{layer}_max"], [POOLINGS["max"](blob) for blob in maps])


def test_maps_are_kept_only_when_asked(made, pooled) -> None:
    image = pictures(made)["p07"]
    kept = np.load(made / "maps" / "database" / "pool5" / "p07.npy")
    np.testing.assert_allclose(kept, forward(made, image, (75, 100))["pool5"], rtol=2e-4, atol=2e-4)
    assert len(list((made / "maps").rglob("*.npy"))) == 2 * (9 + 2)
    assert not list((made / "maps").rglob("*.part"))


def test_the_same_bytes_from_two_processes_and_batches(made, pooled) -> None:
    options = ["--pool", "max,rmac", "--max-side=100", "--layers", *LAYERS]
    two = extracted(made, made / "two.h5", *options, "--jobs=2")
    batches = extracted(made, made / "batches.h5", *options, "--batch=4")
    for layer in LAYERS:
        for name in ("max", "rmac"):
            key = f"database/{layer}_{name}"
            assert two[key].tobytes() == batches[key].tobytes() == pooled[key].tobytes()


def test_the_networks_own_size_twice_that_and_fc_beside(made) -> None:
    options = ["--pool", "sum", "--layers", "pool5"]
    square = extracted(made, made / "square.h5", *options, "fc7_relu7")
    double = extracted(made, made / "double.h5", *options, "--side=64")
    for found, side in ((square, 32), (double, 64)):
        blobs = [forward(made, image, (side, side)) for image in pictures(made).values()]
        close(found["database/pool5_sum"], [blob["pool5"].sum(axis=(1, 2)) for blob in blobs])
    blobs = [forward(made, image, (32, 32)) for image in pictures(made).values()]
    close(square["database/fc7_relu7"], [blob["fc7_relu7"] for blob in blobs])


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3)])
def test_a_picture_smaller_than_any_window_or_cell(made, tmp_path, size) -> None:
    """MOP-CNN's windows are cut of 256 x 256 whatever the picture; --min-side gives R-MAC its cells."""
    folder = shutil.copytree(made, tmp_path / "copy", ignore=shutil.ignore_patterns("*.h5", "maps", "jpg"))
    (folder / "jpg").mkdir()
    cv2.imwrite(str(folder / "jpg" / "a.png"), np.full((*size, 3), 200, np.uint8))
    windows = ["--layers", "fc7", "--windows"]
    pooled = ["--layers", "pool5", "--pool", "rmac,crow,gem", "--max-side=64", "--min-side=48"]
    for options in (windows, pooled):
        found = extracted(folder, tmp_path / "f.h5", *options)
        assert found.pop("database/names").tolist() == [b"a"]
        assert all(np.isfinite(rows).all() and rows.any() for rows in found.values())


def test_whole_queries_and_a_sample(made, pooled) -> None:
    options = ["--pool", "max", "--max-side=100", "--layers", "pool5", f"--gt={made / 'gt'}"]
    found = extracted(made, made / "whole.h5", *options, "--queries=whole", "--sample=4", "--seed=2")
    all_names = list(pooled["database/names"])
    assert len(found["database/names"]) == 4
    places = [all_names.index(name) for name in found["database/names"]]
    assert places == sorted(places)
    np.testing.assert_array_equal(found["database/pool5_max"], pooled["database/pool5_max"][places])
    np.testing.assert_array_equal(found["queries/pool5_max"], pooled["database/pool5_max"][[3, 0]])
    other = extracted(made, made / "other.h5", *options, "--sample=4", "--seed=3")
    assert list(other["database/names"]) != list(found["database/names"])


def test_r_macs_whitening_from_kept_maps(made, pooled, capsys) -> None:
    folder = made / "maps" / "database" / "pool5"
    learnt = made / "rmac.npz"
    assert train_rmac.main([str(folder), "--training-set", "nine pictures", "--out", str(learnt)]) == 0
    said = capsys.readouterr().out
    assert "nine pictures" in said
    whitening = RegionWhitening.load(learnt)
    files = sorted(folder.iterdir())
    vectors = np.concatenate([rmac_vectors(np.load(file)) for file in files]).astype(np.float64)
    white = whitening.transform(vectors)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(white.T), np.eye(white.shape[1]), atol=1e-2)

    options = ["--layers", *LAYERS, "--pool", "rmac", "--max-side=100", f"--rmac-whitening={learnt}"]
    found = extracted(made, made / "whitened.h5", *options)
    wanted = [rmac(np.load(file), whiten=whitening.transform) for file in files]
    close(found["database/pool5_rmac_whitened"], wanted)
    assert "database/conv1_relu1_rmac_whitened" not in found
    with h5py.File(made / "whitened.h5") as file:
        assert json.loads(file.attrs["learnt"]) == {"pool5_rmac_whitened": "nine pictures"}


def test_mop_learnt_from_windows_and_used(made, capsys) -> None:
    found = extracted(made, made / "w.h5", "--layers", "fc7_relu7", "--windows=64")
    options = ["--training-set=nine pictures", "--centres=6", "--window-dims=5", "--output-dims=7"]
    assert train_mop.main([str(made / "w.h5"), *options, "--out", str(made / "mop.npz")]) == 0
    assert "learnt from nine pictures" in capsys.readouterr().out
    model = mop.load(made / "mop.npz")
    assert model.provenance["training_set"] == "nine pictures" and model.provenance["step"] == 64

    vectors = extracted(made, made / "mop.h5", "--layers", "fc7_relu7", f"--mop={made / 'mop.npz'}")
    with h5py.File(made / "mop.h5") as file:
        assert json.loads(file.attrs["learnt"]) == {"mop": "nine pictures"}
    for i, image in enumerate(pictures(made).values()):
        activations = {}
        for side in mop.WINDOW_SIDES:
            cuts = mop.windows(image, side, 64)
            activations[side] = np.stack([forward(made, cut, (32, 32))["fc7_relu7"] for cut in cuts])
            row = found[f"database/fc7_relu7_windows{side}"][i].reshape(len(cuts), -1)
            np.testing.assert_allclose(row, activations[side], rtol=1e-3, atol=1e-3)
        whole = forward(made, image, (32, 32))["fc7_relu7"]
        wanted = mop.encode(whole, activations, model)
        np.testing.assert_allclose(vectors["database/mop"][i], wanted, atol=5e-3)


@given(
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)),
    st.integers(1, 1200),
    st.integers(1, 200),
)
def test_sizes(whole, share, max_side, min_side) -> None:
    """The picture's longer side is at most max_side, unless a part would be below min_side; aspect kept."""
    part = tuple(max(1, int(side * cut)) for side, cut in zip(whole, share, strict=True))
    scale = min(1, max_side / max(whole))
    scale = max(scale, min_side / min(part))
    given = Part(np.empty((*part, 3), np.uint8), whole)
    if part[0] * part[1] * scale**2 > 4_000_000:  # more than memory holds; max_side is below 2000 here
        with pytest.raises(ValueError, match="too narrow"):
            scaled_size(given, max_side, min_side)
        return
    size = scaled_size(given, max_side, min_side)
    for side, was in zip(size, part, strict=True):
        assert abs(side - max(1, was * scale)) <= 0.5 + 1e-6
    assert min(size) >= min_side


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            "fc7 --pool sum --max-side=100",
            "fc7 takes pictures of the .* own size only.*has data, conv1, conv1_relu1, pool5$",
        ),
        ("pool6 --pool sum", "no blob pool6; there are: data, conv1, conv1_relu1, pool5, fc7, fc7_relu7$"),
        (
            "pool5 --pool rmac --max-side=8",
            "p00.png, layer pool5: a map of 1 x 1 cells is too small for 3.*; --min-side enlarges",
        ),
        (
            "pool5 --pool rmac --side=8",
            "p00.png, layer pool5: a map of 1 x 1 cells is too small.* 1 at most$",
        ),
        ("conv1 --pool crow", "p00.png, layer conv1: CroW needs a map after ReLU"),
        ("pool5 --pool rmac --rmac-whitening=none.npz", "No such file or directory: none.npz"),
        (f"fc7_relu7 --mop={__file__}", "is no MOP-CNN model"),
        ("pool5 --pool sum --keep-maps=/proc/maps", "No such file or directory: /proc/maps"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(made, capsys, options, said) -> None:
    assert main(arguments(made, made / "none.h5", "--layers", *options.split())) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(said, error.strip()), error
    assert not (made / "none.h5").exists()
    (made / "none.h5.part").unlink(missing_ok=True)


@pytest.mark.parametrize(
    "options",
    [
        ["--pool", "sum,medium"],
        ["--max-side=100"],
        ["--pool", "sum", "--max-side=100", "--side=64"],
        ["--pool", "sum", "--min-side=64"],
        ["--keep-maps=x"],
        ["--pool", "sum", "--max-side=100", "--windows"],
    ],
)
def test_options_that_do_not_go_together(made, options) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments(made, made / "none.h5", "--layers", "pool5", *options))
    assert caught.value.code == 2


def test_a_blob_that_layers_overwrite_can_be_had_by_name(made, tmp_path) -> None:
    folder = shutil.copytree(made, tmp_path / "copy", ignore=shutil.ignore_patterns("*.h5", "maps"))
    own = extracted(folder, tmp_path / "own.h5", "--layers", "fc7", "fc7_relu7")
    (folder / "deploy.prototxt").write_text(DEPLOY.replace('top: "fc7_relu7"', 'top: "fc7"'))
    stock = extracted(folder, tmp_path / "stock.h5", "--layers", "fc7", "--overwritten")
    np.testing.assert_array_equal(stock["database/fc7"], own["database/fc7_relu7"])
    assert (own["database/fc7"] < 0).any()


def test_bad_input_to_the_learning_programs_is_one_sentence(made, tmp_path, capsys) -> None:
    (tmp_path / "maps").mkdir()
    assert train_rmac.main([str(tmp_path / "maps"), "--training-set", "x", "--out", "r.npz"]) == 1
    np.save(tmp_path / "maps" / "small.npy", np.ones((8, 1, 1), np.float32))
    assert train_rmac.main([str(tmp_path / "maps"), "--training-set", "x", "--out", "r.npz"]) == 1
    np.save(tmp_path / "maps" / "small.npy", np.full((8, 4, 4), np.nan, np.float32))
    assert train_rmac.main([str(tmp_path / "maps"), "--training-set", "x", "--out", "r.npz"]) == 1
    np.save(tmp_path / "maps" / "small.npy", np.zeros((8, 4, 4), np.float32))
    assert train_rmac.main([str(tmp_path / "maps"), "--training-set", "x", "--out", "r.npz"]) == 1
    (tmp_path / "maps" / "small.npy").write_text("x")
    assert train_rmac.main([str(tmp_path / "maps"), "--training-set", "x", "--out", "r.npz"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 5
    assert "holds no maps" in said[0]
    assert "a map of 1 x 1 cells is too small for 3 levels" in said[1]
    assert "not finite" in said[2]
    assert said[3] == "eval.train_rmac: 15 region vectors that don't differ teach no whitening"
    assert (
        said[4]
        == f"eval.train_rmac: {tmp_path}/maps/small.npy is no map as eval.extract --keep-maps writes it"
    )
    features = tmp_path / "f.h5"
    extracted(made, features, "--layers", "fc7_relu7")
    capsys.readouterr()
    assert train_mop.main([str(features), "--training-set", "x", "--out", str(tmp_path / "m.npz")]) == 1
    assert train_mop.main([str(tmp_path / "none"), "--training-set", "x", "--out", "m.npz"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert "has no layer fc7_relu7_windows128 in database; there are: fc7_relu7" in said[0]
    assert said[1] == f"eval.train_mop: there is no features file {tmp_path}/none"
