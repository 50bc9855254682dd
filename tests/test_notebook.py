"""The lesson, cell by cell, on a small run of the demo's network; what its exercises say is so."""

import json
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from small_run import NETWORK, ROOT, SmallRun

import tools.fill_prototxt

pytest_plugins = ("small_run",)
NOTEBOOK = ROOT / "notebooks" / "fine_tuning.ipynb"
OUTCOMES = """
import json
print(json.dumps({
    "moved": moved, "last loss": [last_losses[0], last_losses[-1]],
    "stock fc7": float(held["stock"]["fc7"].min()), "renamed fc7": float(held["renamed"]["fc7"].min()),
    "stock is relu7": bool(same), "few": len(few), "directions": directions,
    "old name": [ended.returncode, said], "fast rate": fast_rate, "before": mean_ap(before["fc6"]),
    "tuned moved": float(abs(tuned.net.params["fc6"][0].data - net.params["fc6"][0].data).max()),
}))
"""


def as_demo(run: SmallRun, folder: Path) -> Path:
    """The small run's files where the demo has them, and a training to begin."""
    shutil.copytree(run.work, folder)
    (folder / "data" / "pre.caffemodel").rename(folder / "data" / "pretrained.caffemodel")
    shutil.copytree(run.images.parent, folder / "data" / "retrieval")
    lmdb = folder / "lmdb"
    convert = ["convert_imageset", "--resize_height=72", "--resize_width=72", "/"]
    subprocess.run([*convert, folder / "lists" / "val.txt", lmdb / "val_lmdb"], check=True)
    (folder / "pretraining" / "lmdb").mkdir(parents=True)
    shutil.copy(lmdb / "mean.binaryproto", folder / "pretraining" / "lmdb")
    filled = [f"--train-lmdb={lmdb / 'train_lmdb'}", f"--val-lmdb={lmdb / 'val_lmdb'}", "--test-batch=1"]
    filled += [f"--mean={lmdb / 'mean.binaryproto'}", "--classes=3", "--solver-mode=CPU", "--train-batch=4"]
    filled += ["--base-lr=1e-7"]  # the small run's weights are noise, which a larger rate blows up
    out = folder / "prototxt" / "train"
    assert tools.fill_prototxt.main([f"--net={NETWORK}", f"--out={out}", *filled]) == 0
    return folder


@pytest.fixture(scope="module")
def outcomes(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> dict:
    work = as_demo(small_run, tmp_path_factory.mktemp("notebook") / "demo")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RUN", str(work))
        environment.setenv("STEPS", "3")
        notebook = nbformat.read(NOTEBOOK, 4)
        notebook.cells.append(nbformat.v4.new_code_cell(OUTCOMES))
        place = {"metadata": {"path": str(NOTEBOOK.parent)}}
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    scores = json.loads((work / "ranks" / "pretrained" / "scores.json").read_text())["rows"]
    table = next(100 * row["map"] for row in scores if (row["layer"], row["label"]) == ("fc6", "none"))
    return json.loads(notebook.cells[-1].outputs[0].text) | {"table": table}


def test_frozen_layers_stay_to_the_last_bit(outcomes: dict) -> None:
    assert set(outcomes["moved"]) > {"conv1_1", "fc6", "fc7"}
    assert set(outcomes["moved"].values()) == {0}
    assert outcomes["tuned moved"] > 0


def test_the_stock_wiring_holds_the_value_after_relu(outcomes: dict) -> None:
    assert outcomes["stock fc7"] >= 0 > outcomes["renamed fc7"]
    assert outcomes["stock is relu7"]


def test_few_pictures_span_one_direction_less(outcomes: dict) -> None:
    assert outcomes["directions"] == outcomes["few"] - 1


def test_the_old_name_ends_caffe(outcomes: dict) -> None:
    status, said = outcomes["old name"]
    assert status != 0 and said.startswith("Cannot copy param 0 weights from layer 'fc8'; shape mismatch")


def test_the_rate_is_ten_times_the_runs(outcomes: dict) -> None:
    assert outcomes["fast rate"] == pytest.approx(1e-6)


def test_the_notebooks_own_search_is_the_runs(outcomes: dict) -> None:
    assert outcomes["before"] == pytest.approx(outcomes["table"], abs=0.2)


def test_it_is_kept_with_what_its_cells_said() -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell.source for cell in code if any(one.output_type == "error" for one in cell.outputs)]
    titles = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    assert sum("**Outcome.**" in title for title in titles) == 6
    assert sum(bool(cell.outputs) for cell in code) >= 10
