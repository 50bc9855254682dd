"""Real photographs through VGG16's real convolutions: pooling, ranking and scoring find the buildings."""

import json
from pathlib import Path

import h5py
import pytest

from eval import score
from eval.extract import main

MEAN = "104.00698793,116.66876762,122.67891434"
POOLINGS = ("sum", "average", "max", "gem", "crow", "rmac", "rmac_sum", "rmac_concat")


@pytest.fixture(scope="module")
def features(vgg16_maps: Path, oxford_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every pooling of pool5, longer side 224, of all the photographs."""
    out = tmp_path_factory.mktemp("oxford") / "pool5.h5"
    given = {
        "deploy": vgg16_maps / "deploy.prototxt",
        "weights": vgg16_maps / "vgg16.caffemodel",
        "images": oxford_sample / "jpg",
        "gt": oxford_sample / "gt",
        "mean": MEAN,
        "max-side": 224,
        "min-side": 64,
        "pool": ",".join(POOLINGS),
        "layers": "pool5",
        "out": out,
        "jobs": 2,
    }
    assert main([f"--{name}={value}" for name, value in given.items()]) == 0
    return out


def test_pooled_vectors_are_those_of_real_photographs(features: Path) -> None:
    with h5py.File(features) as file:
        vectors = {name: file[f"database/pool5_{name}"][:] for name in POOLINGS}
    assert all(rows.shape == (180, 1024 if name == "rmac_concat" else 512) for name, rows in vectors.items())
    assert all((rows >= 0).all() and (rows.max(axis=1) > 0).all() for rows in vectors.values())
    assert (vectors["average"] <= vectors["gem"] + 1e-4).all()
    assert (vectors["gem"] <= vectors["max"] + 1e-4).all()


def test_the_buildings_are_found(features: Path, oxford_sample: Path, tmp_path: Path) -> None:
    """Chance would give about 0.1: 21, 5 and 5 positives among 180."""
    options = ["--dims", "none", "32", "--query-expansion", "none", "linear", "--qe-top", "5"]
    folders = ["--gt", str(oxford_sample / "gt"), "--out", str(tmp_path)]
    assert score.main([str(features), *folders, *options]) == 0
    rows = json.loads((tmp_path / "scores.json").read_text())["rows"]
    assert len(rows) == 4 * len(POOLINGS)
    assert all(0 < row["map"] <= 1 for row in rows)
    plain = [row for row in rows if row["label"] == row["query_expansion"] == "none"]
    found = {row["layer"]: row["map"] for row in plain}
    assert min(found.values()) > 0.4
    assert found["pool5_sum"] == pytest.approx(found["pool5_average"])
