"""pycaffe's own modules, which Caffe's tutorials use: with the NumPy and scikit-image of today."""

import os
import re
import subprocess
import sys
from pathlib import Path

import caffe
import cv2
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

PREFIX = Path(os.environ.get("CAFFE_PREFIX", Path(__file__).parent.parent / ".caffe"))
INPUT = 'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }'
AVERAGE = 'pooling_param { pool: AVE global_pooling: true } type: "Pooling" bottom: "data" top: "mean"'
FLAT = 'type: "Flatten" bottom: "mean" top: "y"'
WHOLE = f'{INPUT} layer {{ name: "mean" {AVERAGE} }} layer {{ name: "flat" {FLAT} }}'


def drawn_pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_picture_is_loaded_as_rgb_from_0_to_1(tmp_path, channels) -> None:
    pixels = drawn_pixels(20, 30, channels)
    Image.fromarray(pixels.squeeze()).save(tmp_path / "picture.png")
    loaded = caffe.io.load_image(str(tmp_path / "picture.png"))
    expected = np.repeat(pixels, 3, axis=2) if channels == 1 else pixels[:, :, :3]
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, expected / 255, atol=1e-7)


def test_a_picture_is_loaded_as_intensity(tmp_path) -> None:
    gray, colours = drawn_pixels(20, 30), drawn_pixels(20, 30, 3)
    for pixels, expected in ((gray, gray), (colours, colours @ (0.2125, 0.7154, 0.0721))):
        Image.fromarray(pixels).save(tmp_path / "picture.png")
        loaded = caffe.io.load_image(str(tmp_path / "picture.png"), color=False)
        assert loaded.shape == (20, 30, 1)
        np.testing.assert_allclose(loaded[:, :, 0], expected / 255, atol=1e-6)


shapes = arrays.array_shapes(min_dims=3, max_dims=3, max_side=6)
floats = arrays.arrays(np.float32, shapes, elements=st.floats(-1e6, 1e6, width=32))


@settings(deadline=None)
@given(array=arrays.arrays(np.uint8, shapes) | floats, label=st.integers(-(2**31), 2**31 - 1))
def test_a_datum_is_the_array_again(array, label) -> None:
    datum = caffe_pb2.Datum.FromString(caffe.io.array_to_datum(array, label).SerializeToString())
    assert datum.label == label
    again = caffe.io.datum_to_array(datum)
    np.testing.assert_array_equal(again, array)
    again += 1  # it is the caller's


def test_datums_of_convert_imageset_are_read(tmp_path) -> None:
    pixels = drawn_pixels(9, 7, 3)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    (tmp_path / "list.txt").write_text("a.png 5\n")
    command = ["convert_imageset", f"{tmp_path}/", tmp_path / "list.txt", tmp_path / "db"]
    subprocess.run(command, check=True, capture_output=True)
    with lmdb.open(str(tmp_path / "db"), readonly=True) as database, database.begin() as transaction:
        ((_, value),) = transaction.cursor()
    datum = caffe_pb2.Datum.FromString(value)
    assert datum.label == 5
    np.testing.assert_array_equal(caffe.io.datum_to_array(datum), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("1", "png"), ("P", "png"), ("LA", "png"), ("CMYK", "jpg"), ("P", "gif"), ("I;16", "png"), ("F", "tif")],
)
@pytest.mark.parametrize("color", [True, False])
def test_a_picture_of_any_mode_is_loaded(tmp_path, mode, suffix, color) -> None:
    if mode in ("I;16", "F"):
        values = drawn_pixels(20, 30).astype({"I;16": np.uint16, "F": np.float32}[mode])
        picture, expected = Image.fromarray(values), values / (65535 if mode == "I;16" else 1)
    else:
        picture = Image.fromarray(drawn_pixels(20, 30, 3)).convert(mode)
        expected = None
    others = [picture.transpose(Image.Transpose.ROTATE_180)] if suffix == "gif" else []
    picture.save(
        tmp_path / f"picture.{suffix}", **({"save_all": True, "append_images": others} if others else {})
    )
    if expected is None:
        with Image.open(tmp_path / f"picture.{suffix}") as first:
            expected = np.asarray(first.convert("RGB")) / 255
        if not color:
            expected = expected @ (0.2125, 0.7154, 0.0721)
    loaded = caffe.io.load_image(str(tmp_path / f"picture.{suffix}"), color)
    assert loaded.dtype == np.float32 and loaded.shape == (20, 30, 3 if color else 1)
    np.testing.assert_allclose(loaded, np.broadcast_to(np.atleast_3d(expected), loaded.shape), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_half_the_size_is_the_mean_of_two_by_two(channels) -> None:
    """Bilinear between the four nearest and nothing more: not smoothed, its borders not darkened."""
    pixels = np.random.default_rng(1).random((20, 30, channels)).astype(np.float32)
    small = caffe.io.resize_image(pixels, (10, 15))
    np.testing.assert_allclose(small, pixels.reshape(10, 2, 15, 2, channels).mean(axis=(1, 3)), atol=1e-5)


def test_a_shrunk_pictures_border_is_as_bright_as_its_middle() -> None:
    pixels = np.full((100, 100, 3), 200, np.float32)
    pixels[50, 50] = 0
    assert (np.delete(caffe.io.resize_image(pixels, (23, 23)), 11, axis=0) == 200).all()


@pytest.mark.parametrize("channels", [3, 7])
def test_an_enlarged_ramp_is_a_ramp(channels) -> None:
    ramp = np.repeat(np.arange(8, dtype=np.float32)[:, None, None], channels, axis=2).repeat(8, axis=1)
    rows = caffe.io.resize_image(ramp, (16, 16))[:, 8, 0]
    assert rows.shape == (16,) and (np.diff(rows[2:-2]) > 0.3).all()
    np.testing.assert_allclose(rows[7] + rows[8], 7, atol=1e-4)


@pytest.fixture
def network(tmp_path: Path) -> tuple[str, str]:
    """Prototxt and caffemodel of a network whose y are the means of its input's channels."""
    (tmp_path / "net.prototxt").write_text(WHOLE)
    caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).save(str(tmp_path / "net.caffemodel"))
    return str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel")


def test_a_classifier_averages_its_ten_crops(network) -> None:
    picture = np.random.default_rng(0).random((12, 14, 3)).astype(np.float32)
    predicted = caffe.Classifier(*network, image_dims=(12, 14)).predict([picture])
    crops = [picture[y : y + 8, x : x + 8] for y, x in ((0, 0), (0, 6), (4, 0), (4, 6), (2, 3))]
    np.testing.assert_allclose(predicted, [np.mean(crops, axis=(0, 1, 2))], rtol=1e-5)
    predicted = caffe.Classifier(*network, image_dims=(12, 14)).predict([picture], oversample=False)
    np.testing.assert_allclose(predicted, [crops[-1].mean(axis=(0, 1))], rtol=1e-5)


def test_a_detector_cuts_windows_with_what_surrounds_them(network, tmp_path) -> None:
    """Two pixels of context in eight: a window of 4 x 4 is seen amid 8 x 8, outside the picture the mean."""
    picture = drawn_pixels(30, 40, 3)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    mean = np.full((3, 8, 8), 0.25, np.float32)
    detector = caffe.Detector(*network, mean=mean, context_pad=2)
    windows = np.array([[10, 20, 13, 23], [0, 0, 3, 3]])
    amid, corner = picture[8:16, 18:26] / 255, np.full((8, 8, 3), 0.25)
    corner[2:, 2:] = caffe.io.resize_image(picture[:6, :6] / 255, (6, 6))
    for window, expected in zip(windows, (amid, corner), strict=True):
        np.testing.assert_allclose(detector.crop(picture / 255, window), expected, atol=1e-5)
    found = detector.detect_windows([(str(tmp_path / "picture.png"), windows.astype(float))])
    for one, expected in zip(found, (amid, corner), strict=True):
        np.testing.assert_allclose(one["prediction"], expected.mean(axis=(0, 1)) - 0.25, atol=1e-5)


def test_importing_it_does_not_wait_for_scikit_image() -> None:
    code = (
        "import sys, caffe\n"
        "print(sorted({'skimage', 'scipy'} & set(sys.modules)))\n"
        "print(caffe.io.resize.__module__, caffe.io.zoom.__name__, caffe.io.skimage.io.imread.__name__)\n"
        "caffe.io.nothing\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    nothing, lent = done.stdout.splitlines()
    assert nothing == "[]"
    assert re.fullmatch(r"skimage\.transform\.\w+ zoom imread", lent)
    assert done.stderr.endswith("AttributeError: module 'caffe.io' has no attribute 'nothing'\n")


def test_the_mean_of_imagenet_is_where_tutorials_look_for_it() -> None:
    mean = np.load(Path(caffe.__file__).parent / "imagenet/ilsvrc_2012_mean.npy")
    assert mean.shape == (3, 256, 256)
    np.testing.assert_allclose(mean.mean(axis=(1, 2)), [104.0, 116.7, 122.7], atol=0.1)


def test_its_own_tests_pass() -> None:
    """But those of caffe.draw, which needs pydot and Graphviz."""
    tests = PREFIX / "build/source/python/caffe/test"
    if not tests.is_dir():
        pytest.skip(f"no {tests}: this Caffe was not built here")
    modules = sorted(path.stem for path in tests.glob("test_*.py") if path.stem != "test_draw")
    assert len(modules) >= 9
    command = [sys.executable, "-m", "unittest", *modules]
    done = subprocess.run(command, cwd=tests, capture_output=True, text=True, check=False)
    counted = re.search(r"^Ran (\d+) tests", done.stderr, re.MULTILINE)
    assert done.returncode == 0, done.stderr
    assert counted and int(counted[1]) >= 50
