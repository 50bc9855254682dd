"""Features files and models with bytes changed: read, or refused in one sentence; no traceback, signal, wait.

`FUZZ_CASES=100000 pytest tests/test_fuzz_files.py` tries for longer.
"""

import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval.files.features import json_attribute, layers_of, names_of, open_features, read_vectors
from eval.files.npz import read_npy
from eval.represent import mop
from eval.represent.region_whitening import RegionWhitening

CASES = int(os.environ.get("FUZZ_CASES", "60"))
fuzzed = settings(
    max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
changes = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=20)


def changed(data: bytes, at: list[tuple[int, int]], end: int | None) -> bytes:
    spoilt = bytearray(data)
    for place, value in at:
        spoilt[place % len(spoilt)] = value
    return bytes(spoilt[: None if end is None else end % len(spoilt)])


def refused_or_read(read: Callable[[Path], object], data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr("tools.files.hdf5.PROBE_SECONDS", 5)  # some changes make HDF5 run for ever
        path = Path(folder) / "file"
        path.write_bytes(data)
        try:
            read(path)
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error)


def read_features(path: Path) -> None:
    """Everything that score, claims, train_mop and the search page ask of a features file."""
    with open_features(path) as features:
        json_attribute(features, "run")
        for group in ("database", "queries"):
            names_of(features, group)
            for layer in layers_of(features, group):
                read_vectors(features, group, layer)


def features_file(folder: Path, libver: str | tuple[str, str]) -> bytes:
    random = np.random.default_rng(1)
    with h5py.File(folder / "f.h5", "w", libver=libver) as file:
        file.attrs["run"] = '{"layers": ["fc6"]}'
        for group in ("database", "queries"):
            file[f"{group}/names"] = [f"p{i:03}" for i in range(30)]
            file[f"{group}/fc6"] = random.random((30, 12)).astype(np.float32)
            file[f"stamps/{group}"] = np.arange(1, 31, dtype=np.uint64)
    return (folder / "f.h5").read_bytes()


@pytest.fixture(scope="module", params=["earliest", ("v110", "v110")], ids=["old", "ours"])
def features(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return features_file(tmp_path_factory.mktemp("features"), request.param)


@fuzzed
@given(at=changes, end=st.none() | st.integers(0, 1 << 20))
def test_features(features: bytes, at: list[tuple[int, int]], end: int | None) -> None:
    refused_or_read(read_features, changed(features, at, end))


def test_the_file_unchanged_is_read(features: bytes, tmp_path: Path) -> None:
    (tmp_path / "f.h5").write_bytes(features)
    read_features(tmp_path / "f.h5")


@pytest.mark.parametrize(
    "make", ["a group for names", "numbers for names", "a link in a circle", "a mark of 0"]
)
def test_other_hdf5_is_one_sentence(make: str, tmp_path: Path) -> None:
    features_file(tmp_path, "earliest")
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        if make == "a mark of 0":
            file["stamps/database"][3] = 0
        else:
            del file["database/names"]
        if make == "a group for names":
            file.create_group("database/names/names")
        elif make == "numbers for names":
            file["database/names"] = np.ones(30)
        elif make == "a link in a circle":
            file["database/names"] = file["database"]
    with pytest.raises(ValueError, match=r"f\.h5 (has no database/names|is incomplete)"):
        read_features(tmp_path / "f.h5")


def model(folder: Path) -> bytes:
    random = np.random.default_rng(2)
    activations = {side: random.random((6, 9, 8)) for side in mop.WINDOW_SIDES}
    few = mop.Settings(window_dims=3, centres=4, output_dims=2)
    mop.save(mop.train(activations, "drawn", few, {"layer": "fc7", "step": 64}), folder / "m.npz")
    return (folder / "m.npz").read_bytes()


def whitening(folder: Path) -> bytes:
    vectors = np.random.default_rng(3).standard_normal((40, 5))
    RegionWhitening({"layer": "pool5", "training_set": "drawn"}).fit(vectors).save(folder / "r.npz")
    return (folder / "r.npz").read_bytes()


@pytest.fixture(scope="module", params=[(model, mop.load), (whitening, RegionWhitening.load)])
def learnt(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, Callable[[Path], object]]:
    make, read = request.param
    return make(tmp_path_factory.mktemp("learnt")), read


@fuzzed
@given(at=changes, end=st.none() | st.integers(0, 1 << 20))
def test_models(
    learnt: tuple[bytes, Callable[[Path], object]], at: list[tuple[int, int]], end: int | None
) -> None:
    data, read = learnt
    refused_or_read(read, changed(data, at, end))


def test_values_that_no_file_holds(tmp_path: Path) -> None:
    """A matrix of 4 TB in 20 KB, and one that lies in another file."""
    wide = 1 << 35
    makes: dict[str, dict[str, object]] = {
        "claims to hold more": {"shape": (30, wide)},
        "is kept in other files": {"shape": (30, 12), "external": [(str(tmp_path / "other"), 0, 1440)]},
    }
    for said, how in makes.items():
        features_file(tmp_path, "earliest")
        with h5py.File(tmp_path / "f.h5", "r+") as file:
            del file["database/fc6"]
            file.create_dataset("database/fc6", dtype="<f4", **how)
        with pytest.raises(ValueError, match=rf"f\.h5 can't be read as HDF5: .*{said}"):
            read_features(tmp_path / "f.h5")


@fuzzed
@given(at=changes, end=st.none() | st.integers(0, 1 << 20))
def test_maps(at: list[tuple[int, int]], end: int | None) -> None:
    text = io.BytesIO()
    np.save(text, np.ones((3, 4, 5), np.float32))
    refused_or_read(read_npy, changed(text.getvalue(), at, end))


def test_a_model_that_unpacks_to_more_than_it_weighs(tmp_path: Path) -> None:
    with (tmp_path / "m.npz").open("wb") as file:
        np.savez_compressed(file, format="mop-cnn 1", mean=np.zeros(1_000_000))
    with pytest.raises(ValueError, match=r"m\.npz is no MOP-CNN model, .* compressed"):
        mop.load(tmp_path / "m.npz")
