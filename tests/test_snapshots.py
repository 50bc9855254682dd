"""Which snapshots tools.snapshots takes for whole, on what a real training has left; which it removes."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from google.protobuf.message import Message
from test_check_training import NET, SOLVER, datum, write_lmdb, write_mean

import tools.snapshots
from tools.files.prototxt import Solver, read_solver
from tools.files.solverstate import read_state
from tools.snapshots import final_model, newest_whole, pictures_seen, prune, snapshots

PICTURES = 10
"""The training's batch is 4."""
FINAL, BEFORE = 60, 50


def train(folder: Path, extra: str) -> Path:
    """Train for 60 iterations with a snapshot every 10."""
    for name in ("train", "val"):
        write_lmdb(folder / name, [datum(i % 3) for i in range(PICTURES)])
    write_mean(folder / "mean", 1, 3, 8, 8)
    (folder / "net").write_text(NET)
    (folder / "solver").write_text(f"{SOLVER} snapshot: 10 solver_mode: CPU {extra}")
    (folder / "snapshots").mkdir()
    subprocess.run(["caffe", "train", "-solver", "solver"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("binary"), "")


@pytest.fixture(scope="module")
def hdf5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("hdf5"), "snapshot_format: HDF5")


@pytest.fixture
def solver(binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Solver:
    """The solver of a finished training, in a copy of its folder that is the working directory."""
    shutil.copytree(binary, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    return read_solver(Path("solver"))


def changed(message: Message, change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    """A change of a message as one of its file's bytes."""

    def of_bytes(data: bytes) -> bytes:
        message.ParseFromString(data)
        change(message)
        return message.SerializeToString()

    return of_bytes


def model(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    return changed(caffe_pb2.NetParameter(), change)


def state(change: Callable[[Any], Any]) -> Callable[[bytes], bytes]:
    return changed(caffe_pb2.SolverState(), change)


def keep_layers(count: int) -> Callable[[Any], None]:
    def change(net: Any) -> None:
        del net.layer[count:]

    return change


def shorten_history(of: Any) -> None:
    del of.history[-1]


def turn_weights(net: Any) -> None:
    blob = next(layer for layer in net.layer if layer.name == "fc8").blobs[0]
    blob.shape.dim[:] = reversed(blob.shape.dim)


def lose_a_weight(net: Any) -> None:
    del next(layer for layer in net.layer if layer.name == "fc8").blobs[0].data[-1:]


@pytest.mark.parametrize(
    ("ending", "change"),
    [
        ("caffemodel", lambda data: data[: len(data) // 2]),
        ("caffemodel", lambda data: b""),
        ("caffemodel", model(keep_layers(1))),
        ("caffemodel", model(keep_layers(2))),
        ("caffemodel", model(turn_weights)),
        ("caffemodel", model(lose_a_weight)),
        ("solverstate", lambda data: data[: len(data) // 2]),
        ("solverstate", lambda data: b""),
        ("solverstate", state(shorten_history)),
        ("solverstate", state(lambda of: of.ClearField("history"))),
        ("solverstate", state(lambda of: of.ClearField("current_step"))),
        ("solverstate", state(lambda of: setattr(of, "iter", 12))),
    ],
)
def test_one_that_is_not_whole_is_passed_over(
    solver: Solver, capsys: pytest.CaptureFixture[str], ending: str, change: Callable[[bytes], bytes]
) -> None:
    """Cut anywhere, also exactly behind a layer or a blob, where protobuf sees a whole message."""
    path = Path(f"snapshots/s_iter_{FINAL}.{ending}")
    path.write_bytes(change(path.read_bytes()))
    newest = newest_whole(solver)
    assert newest is not None and newest.iteration == BEFORE
    said = capsys.readouterr().err
    assert said.startswith(f"snapshots: passing over snapshots/s_iter_{FINAL}.solverstate: ")
    assert said.count("\n") == 1


def test_one_of_another_network_is_passed_over(solver: Solver, capsys: pytest.CaptureFixture[str]) -> None:
    Path("net").write_text(NET.replace("num_output: 3", "num_output: 4"))
    assert newest_whole(solver) is None
    assert capsys.readouterr().err.count("has another shape in it than in the network") == 6


def test_one_behind_the_last_iteration_is_passed_over(
    solver: Solver, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a longer training: Caffe would go on from it, do nothing, and write no final model."""
    solver.max_iter = 25
    newest = newest_whole(solver)
    assert newest is not None and newest.iteration == 20
    assert capsys.readouterr().err.count("training ends before it, at iteration 25") == 4
    assert [snapshot.iteration for snapshot in prune(solver, 1)] == [10]


@pytest.mark.parametrize("kind", ['type: "Adam"', "solver_type: ADADELTA"])
def test_one_of_another_solver_is_passed_over(
    solver: Solver, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """Which Caffe would stop at: its histories are as many again."""
    text_format.Merge(kind, solver)
    assert newest_whole(solver) is None
    assert "its state has 2 blobs for 2 of the model" in capsys.readouterr().err


def test_one_of_adam_is_whole(binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(binary, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    shutil.rmtree("snapshots")
    Path("snapshots").mkdir()
    Path("solver").write_text(
        Path("solver").read_text().replace("momentum", "momentum2: 0.9 momentum") + ' type: "Adam"'
    )
    subprocess.run(["caffe", "train", "-solver", "solver"], check=True, capture_output=True)
    newest = newest_whole(read_solver(Path("solver")))
    assert newest is not None and newest.iteration == FINAL


def test_names_that_are_none(solver: Solver) -> None:
    whole = Path(f"snapshots/s_iter_{FINAL}.solverstate")
    for name in ("s_iter_99 (copy).solverstate", "s_iter_.solverstate", "s_iter_98.solverstate.part"):
        shutil.copy(whole, whole.with_name(name))
    shutil.copy(whole, "snapshots/slast_iter_97.solverstate")
    newest = newest_whole(solver)
    assert newest is not None and newest.iteration == FINAL
    assert [snapshot.iteration for snapshot in snapshots(solver)] == [60, 50, 40, 30, 20, 10]


def test_no_snapshots(solver: Solver) -> None:
    shutil.rmtree("snapshots")
    assert newest_whole(solver) is None


def test_a_moved_state_finds_the_model_beside_it(solver: Solver, tmp_path: Path) -> None:
    elsewhere = tmp_path / "run" / "elsewhere"
    Path("snapshots").rename(elsewhere)
    solver.snapshot_prefix = str(elsewhere / "s")
    newest = newest_whole(solver)
    assert newest is not None and newest.iteration == FINAL
    assert read_state(newest.state).model == elsewhere / f"s_iter_{FINAL}.caffemodel"
    Path("snapshots").mkdir()
    command = ["caffe", "train", "-solver", "solver", "-snapshot", str(newest.state)]
    subprocess.run(command, check=True, capture_output=True)


def test_hdf5(hdf5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(hdf5, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    solver = read_solver(Path("solver"))
    assert final_model(solver) == Path("snapshots/s_iter_60.caffemodel.h5")
    with h5py.File("snapshots/s_iter_60.caffemodel.h5", "r+") as file:
        del file["data/loss"]
    newest = newest_whole(solver)
    assert newest is not None and newest.state == Path("snapshots/s_iter_50.solverstate.h5")
    os.truncate("snapshots/s_iter_50.solverstate.h5", 3000)
    newest = newest_whole(solver)
    assert newest is not None and newest.iteration == 40


@pytest.mark.parametrize("keep", [1, 3, 9])
def test_the_newest_whole_ones_stay(solver: Solver, keep: int) -> None:
    removed = [snapshot.iteration for snapshot in prune(solver, keep)]
    assert removed == [50, 40, 30, 20, 10][keep - 1 :]
    assert [snapshot.iteration for snapshot in snapshots(solver)] == [60, 50, 40, 30, 20, 10][:keep]
    assert len(list(Path("snapshots").iterdir())) == 2 * min(keep, 6)


def test_those_that_stay_are_on_the_disk_before_others_go(
    solver: Solver, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, int]] = []

    def to_disk(path: Path) -> None:
        done.append((path.name, len(list(Path("snapshots").iterdir()))))

    monkeypatch.setattr(tools.snapshots, "to_disk", to_disk)
    prune(solver, 2)
    kept = [f"s_iter_{i}.{ending}" for i in (FINAL, BEFORE) for ending in ("caffemodel", "solverstate")]
    assert done == [(name, 12) for name in (*kept, "snapshots")]


def test_one_that_is_not_whole_counts_for_none(solver: Solver) -> None:
    for i in (50, 60):
        os.truncate(f"snapshots/s_iter_{i}.caffemodel", 100)
    assert [snapshot.iteration for snapshot in prune(solver, 2)] == [20, 10]


def test_pictures_seen(solver: Solver) -> None:
    assert pictures_seen(solver, 6, gpus=1) == 6 * 4 % PICTURES
    solver.iter_size = 3
    assert pictures_seen(solver, 6, gpus=2) == 6 * 4 * 3 * 2 % PICTURES
