"""Class folders are enough: run_all.sh makes both tables of them, as somebody with such a folder would."""

import os
import subprocess
from pathlib import Path

import caffe
import cv2
import numpy as np
import pytest

from eval.files.scores import read_scores
from tests.small_run import draw

ROOT = Path(__file__).parent.parent
CLASSES = ("red hall", "blue tower", "Grünes Tor")
EACH = 9


@pytest.fixture(scope="module")
def hers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with class folders, some weights for the demo's network, and a profile that names both."""
    folder = tmp_path_factory.mktemp("hers")
    for number, name in enumerate(CLASSES):
        (folder / "by place" / name).mkdir(parents=True)
        for i in range(EACH):
            cv2.imwrite(str(folder / "by place" / name / f"IMG_{i}.JPG.jpg"), draw(number, i))
    (folder / "by place" / "once").mkdir()
    for i in (0, 1):
        cv2.imwrite(str(folder / "by place" / "once" / f"{i}.png"), draw(2, 70 + i))
    net = caffe.Net(str(ROOT / "prototxt" / "demo" / "deploy.prototxt"), caffe.TEST)
    random = np.random.default_rng(1)
    for blobs in net.params.values():
        blobs[0].data[...] = random.normal(0, np.sqrt(2 / blobs[0].data[0].size), blobs[0].data.shape)
    net.params["conv1_1"][0].data[...] /= 64  # as what comes in are grey levels
    net.save(str(folder / "demo.caffemodel"))
    (folder / "mine").write_text(
        'NETWORK=demo\nTRAIN_PICTURES="~/by place"\nWEIGHTS=~/demo.caffemodel\nMEAN=120,121,122\n'
        "RESIZE=72\nNUM_WANTED=12\nMAX_ITER=20\nBASE_LR=0.001\nEFFECTIVE_BATCH=8\nTEST_BATCH=4\n"
    )
    return folder


def run_all(hers: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [ROOT / "run_all.sh", "--profile", "mine", "--work", "run", "--gpu", "none", *options]
    return subprocess.run(
        command, cwd=hers, env=os.environ | {"HOME": str(hers)}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def done(hers: Path) -> subprocess.CompletedProcess[str]:
    return run_all(hers, "--table", "2", "--from", "data", "--to", "tables")


def test_the_run_ends_well(done, hers) -> None:
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "1 classes are only trained on" in done.stdout
    assert not (hers / "run" / "aside").exists()


def test_both_rows_of_table_2_are_there(done, hers) -> None:
    table = (hers / "run" / "results" / "table2.md").read_text()
    assert "fc6" in table
    for model in ("pretrained", "finetuned"):
        scores = read_scores(hers / "run" / "ranks" / model / "scores.json")
        assert len(scores.rows) == 4 * 3 and all(0 < row.map <= 1 for row in scores.rows)


def test_no_photograph_is_trained_on_and_searched(done, hers) -> None:
    trained = {
        path.stat().st_ino for path in (hers / "run" / "data" / "own" / "train").rglob("*") if path.is_file()
    }
    searched = {path.stat().st_ino for path in (hers / "run" / "data" / "own" / "jpg").rglob("*.jpg")}
    hers_own = {path.stat().st_ino for path in (hers / "by place").rglob("*") if path.is_file()}
    assert len(searched) == 3 * 3 and not trained & searched and trained | searched == hers_own


def test_it_goes_on_where_it_is_told_to(done, hers) -> None:
    """What is searched has its place when the stage that makes it is left out, too."""
    again = run_all(hers, "--table", "2", "--from", "extract", "--to", "tables")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("nothing changed since it was done") == 3


def test_the_mean_of_other_weights_is_asked_for_before_anything_runs(hers) -> None:
    text = (hers / "mine").read_text()
    (hers / "no mean").write_text(text.replace("MEAN=120,121,122\n", ""))
    done = run_all(hers, "--profile", "no mean", "--dry-run")
    assert done.returncode == 1
    assert done.stderr.startswith("run_all: MEAN is not set: the mean file of what the weights of demo")


def test_the_small_profile_needs_the_folder_and_the_weights_alone(hers, tmp_path) -> None:
    """At the places that it names, which are not there at first."""
    command = [ROOT / "run_all.sh", "--profile", "small", "--table", "2", "--gpu", "none", "--dry-run"]
    environment = os.environ | {"DATA_DIR": str(tmp_path), "WORK_DIR": "work"}
    before = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert before.returncode == 1
    assert f"TRAIN_PICTURES: there is no folder {tmp_path}/photos" in before.stderr
    assert f"WEIGHTS: there is no file {tmp_path}/VGG_ILSVRC_16_layers.caffemodel" in before.stderr
    (tmp_path / "photos").symlink_to(hers / "by place")
    (tmp_path / "VGG_ILSVRC_16_layers.caffemodel").touch()
    after = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert after.returncode == 0, after.stderr
    assert f"python -m data_prep.make_gt {tmp_path}/photos --out work/small/data/own" in after.stdout
    assert "--images work/small/data/own/jpg --gt work/small/data/own/gt" in after.stdout
