"""The pictures that augment makes, beside those of the Keras of the article, run from its own source."""

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data_prep.augment import copy_seed, make_copy, read_picture
from data_prep.augmentation.engines import KERAS3_DIFFERS, Keras3, Keras2017, Look, OpenCV, as_saved
from data_prep.augmentation.transform import draw
from data_prep.classes.folders import copy_name

pytest_plugins = ["tests.keras_2017"]

ROOT = Path(__file__).resolve().parent.parent
LOOKS = [Look(bilinear, stretch) for bilinear in (False, True) for stretch in (True, False)]
ARTICLE = {
    "rotation_range": 10,
    "width_shift_range": 0.2,
    "height_shift_range": 0.2,
    "shear_range": 0.2,
    "zoom_range": 0.2,
    "horizontal_flip": True,
    "fill_mode": "nearest",
}
SHARED_SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SIZES = st.tuples(st.integers(1, 60), st.integers(1, 60), st.just(3))


def drawn_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    coarse = random.integers(20, 230, (height // 8 + 2, width // 8 + 2, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(smooth + random.normal(0, 10, smooth.shape), 0, 255).astype(np.uint8)


@SHARED_SETTINGS
@given(arrays(np.uint8, SIZES), st.integers(0, 2**32 - 1))
def test_it_is_the_picture_of_keras_2017(keras_2017: ModuleType, picture: np.ndarray, seed: int) -> None:
    np.random.seed(seed)
    changed = keras_2017.ImageDataGenerator(**ARTICLE).random_transform(picture.astype(np.float32))
    ours = Keras2017(Look())
    height, width = picture.shape[:2]
    np.testing.assert_array_equal(ours.warp(picture, draw(height, width, seed)), changed)
    for stretch in (True, False):
        saved = np.asarray(keras_2017.array_to_img(changed, scale=stretch))
        np.testing.assert_array_equal(Keras2017(Look(stretch=stretch)).copy(picture, seed), saved)


def test_the_file_is_the_one_that_keras_2017_saves(
    keras_2017: ModuleType, oxford_sample: Path, tmp_path: Path
) -> None:
    """The article's own loop: load_img, img_to_array, flow(save_to_dir); to the byte, JPEG included."""
    for place in ("class", "saved"):
        (tmp_path / place).mkdir()
    for path in sorted((oxford_sample / "jpg").iterdir())[::30]:
        (tmp_path / "class" / path.name).write_bytes(path.read_bytes())
        make_copy((tmp_path / "class", path.name, 5), seed=7, engine=Keras2017(Look()))
        ours = (tmp_path / "class" / copy_name(path.name, 5)).read_bytes()
        x = keras_2017.img_to_array(keras_2017.load_img(path))
        flow = keras_2017.ImageDataGenerator(**ARTICLE).flow(
            x.reshape((1, *x.shape)), batch_size=1, save_to_dir=tmp_path / "saved", save_prefix=path.stem,
            save_format="jpg", seed=copy_seed(7, "class", path.name, 5),
        )  # fmt: skip
        next(flow)
        (saved,) = (tmp_path / "saved").glob(f"{path.stem}_0_*.jpg")
        assert ours == saved.read_bytes()


def test_what_keras_2017_gave_when_it_was_run() -> None:
    """Where its source can't be had: the hash of its own pictures, recorded."""
    digest = hashlib.sha256()
    for seed in range(20):
        picture = np.random.RandomState(seed).randint(0, 200, (31, 47, 3)).astype(np.uint8)
        digest.update(Keras2017(Look()).copy(picture, seed).tobytes())
    assert digest.hexdigest() == RECORDED


RECORDED = "e72b263114426ca5fd462691e674dd1ed8690da7c3fae310d4860c7a22d2cdb3"


def test_the_hash_is_recorded_from_keras_2017(keras_2017: ModuleType) -> None:
    digest = hashlib.sha256()
    for seed in range(20):
        picture = np.random.RandomState(seed).randint(0, 200, (31, 47, 3)).astype(np.uint8)
        np.random.seed(seed)
        changed = keras_2017.ImageDataGenerator(**ARTICLE).random_transform(picture.astype(np.float32))
        digest.update(np.asarray(keras_2017.array_to_img(changed, scale=True)).tobytes())
    assert digest.hexdigest() == RECORDED


def test_the_draws_by_their_definition() -> None:
    """Ranges and chance of the article's settings, and that the shear is in radians."""
    drawn = [draw(200, 100, seed) for seed in range(2000)]
    limits = {
        "rotation": np.deg2rad(10),
        "row_shift": 0.2 * 200,
        "column_shift": 0.2 * 100,
        "shear": 0.2,
    }
    for name, limit in limits.items():
        values = np.array([getattr(transform, name) for transform in drawn])
        assert 0.99 * limit < values.max() <= limit and -limit <= values.min() < -0.99 * limit, name
    for name in ("row_zoom", "column_zoom"):
        values = np.array([getattr(transform, name) for transform in drawn])
        assert 0.8 <= values.min() < 0.804 and 1.196 < values.max() <= 1.2, name
    assert 0.45 < np.mean([transform.mirrored for transform in drawn]) < 0.55


def test_a_copys_number_is_a_contract() -> None:
    """sha256 over seed, class, original and number: every published figure of the demo hangs on it."""
    key = b"1\x00town_hall\x00a.jpg\x003"
    assert copy_seed(1, "town_hall", "a.jpg", 3) == int(hashlib.sha256(key).hexdigest()[:8], 16)


@pytest.mark.parametrize("look", LOOKS)
@SHARED_SETTINGS
@given(SIZES, st.integers(0, 1000), st.integers(0, 2**32 - 1))
def test_opencv_makes_the_same_picture(look: Look, size: tuple[int, ...], content: int, seed: int) -> None:
    picture = drawn_picture(size[0], size[1], content)
    keras, opencv = (engine(look).copy(picture, seed) for engine in (Keras2017, OpenCV))
    assert opencv.dtype == np.uint8 and opencv.shape == picture.shape
    different = (keras != opencv).any(axis=2)
    if look.bilinear:  # one level, where a fraction was cut off on the other side of a whole number
        assert np.abs(keras.astype(int) - opencv).max() <= 1
    else:
        assert different.sum() <= 1 + picture.shape[0] * picture.shape[1] / 1000


@pytest.mark.parametrize("look", LOOKS)
def test_opencv_makes_the_same_picture_of_photographs(look: Look, oxford_sample: Path) -> None:
    differences = []
    for number, path in enumerate(sorted((oxford_sample / "jpg").iterdir())[::20]):
        picture = read_picture(path)
        keras, opencv = (engine(look).copy(picture, number) for engine in (Keras2017, OpenCV))
        differences.append(np.abs(keras.astype(int) - opencv).mean())
    assert max(differences) <= 0.1


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_the_stretch_is_the_same_on_whole_numbers_and_on_fractions(picture: np.ndarray) -> None:
    np.testing.assert_array_equal(as_saved(picture, True), as_saved(picture.astype(np.float32), True))
    assert as_saved(picture, True).max() == (255 if picture.any() else 0)
    np.testing.assert_array_equal(as_saved(picture, False), picture)


def test_the_stretch_by_hand() -> None:
    hazy = np.array([[[50, 100, 200]]], np.uint8)
    np.testing.assert_array_equal(as_saved(hazy, True), [[[63, 127, 255]]])  # 63.75 and 127.5, cut off


def test_keras3_gets_the_articles_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the package: what it is asked for, and that its own picture is what comes out."""
    asked: dict[str, object] = {}

    class Generator:
        def __init__(self, **given: object) -> None:
            asked.update(given)

        def random_transform(self, x: np.ndarray, seed: int) -> np.ndarray:
            asked["seed"] = seed
            return x + 1

    def array_to_img(x: np.ndarray, scale: bool) -> np.ndarray:
        return x.astype(np.uint8) + 10 * scale

    package = SimpleNamespace(ImageDataGenerator=Generator, array_to_img=array_to_img)
    monkeypatch.setattr("data_prep.augmentation.engines._keras3", lambda: package)
    made = Keras3(Look(bilinear=True, stretch=True)).copy(np.zeros((4, 5, 3), np.uint8), 9)
    assert (made == 11).all() and made.shape == (4, 5, 3)
    zoom = asked.pop("zoom_range")
    assert zoom == (0.8, 1.2) and asked.pop("interpolation_order") == 1 and asked.pop("seed") == 9
    assert asked == {name: value for name, value in ARTICLE.items() if name != "zoom_range"}


@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="today's Keras is not installed")
def test_todays_keras_makes_another_picture() -> None:
    picture = drawn_picture(64, 64)
    made = Keras3(Look()).copy(picture, 3)
    assert made.dtype == np.uint8 and made.shape == picture.shape
    assert (made.min(), made.max()) == (0, 255), "its stretch takes the darkest value to 0"
    np.testing.assert_array_equal(made, Keras3(Look()).copy(picture, 3))
    assert np.abs(made.astype(int) - Keras2017(Look()).copy(picture, 3)).mean() > 5


def test_keras3_as_a_program(tmp_path: Path) -> None:
    """Without the package one sentence that names the command; with it the program says what differs."""
    (tmp_path / "c" / "x").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "c" / "x" / "a.jpg"), drawn_picture(20, 30))
    command = [sys.executable, "-m", "data_prep.augment", str(tmp_path / "c"), "--num-wanted", "2"]
    done = subprocess.run(
        [*command, "--engine", "keras3"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if importlib.util.find_spec("keras") is None:
        said = "engine keras3 needs the package keras: .venv/bin/pip install -r tools/requirements-keras3.txt"
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"augment: {said}\n")
        assert (ROOT / "tools" / "requirements-keras3.txt").is_file()
    else:
        assert done.stdout.splitlines()[0] == KERAS3_DIFFERS and done.returncode == 0
