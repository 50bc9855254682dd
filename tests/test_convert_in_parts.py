"""tools.convert_in_parts and tools/make_lmdb.sh against one run of Caffe's own convert_imageset."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest

from tools import convert_in_parts
from tools.convert_in_parts import convert

ROOT = Path(__file__).resolve().parent.parent
COMMAND = ["convert_imageset", "--resize_height=32", "--resize_width=24", "/"]
LINES = 57
BROKEN = 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, list.txt of them with one that is no picture, and `one`, made by one run."""
    folder = tmp_path_factory.mktemp("parts with a space")
    random = np.random.default_rng(0)
    lines = []
    for i in range(LINES):
        name = folder / f"picture {i % 40}.jpg"
        cv2.imwrite(str(name), random.integers(0, 256, (50, 60, 3), dtype=np.uint8))
        lines.append(f"{name} {i % 3}\n")
    (folder / "broken.jpg").write_text("not a picture")
    lines[BROKEN] = f"{folder}/broken.jpg 0\n"
    (folder / "list.txt").write_text("".join(lines).rstrip("\n"))
    subprocess.run([*COMMAND, folder / "list.txt", folder / "one"], check=True, capture_output=True)
    return folder


def entries(path: Path) -> list[tuple[bytes, bytes]]:
    with lmdb.open(str(path), readonly=True, lock=False) as database, database.begin() as reading:
        return list(reading.cursor())


def program(listed: Path, out: Path, *options: str, command: list[str] = COMMAND) -> list[str]:
    start = [sys.executable, "-m", "tools.convert_in_parts", *options, str(listed), str(out)]
    return [*start, "--", *command]


@pytest.mark.parametrize(
    ("jobs", "least", "most"), [(1, 100, 1000), (2, 100, 1000), (2, 1, 1000), (2, 1, 10), (3, BROKEN, BROKEN)]
)
def test_the_same_entries_as_one_run_writes(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, least: int, most: int
) -> None:
    monkeypatch.setattr(convert_in_parts, "LEAST_LINES", least)
    monkeypatch.setattr(convert_in_parts, "MOST_LINES", most)
    convert(made / "list.txt", tmp_path / "out", COMMAND, jobs)
    expected = entries(made / "one")
    assert len(expected) == LINES - 1
    assert entries(tmp_path / "out") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_its_folder_is_not_for_root_alone(made: Path, tmp_path: Path) -> None:
    """Root enters any folder; others one that they may execute."""
    convert(made / "list.txt", tmp_path / "out", COMMAND, 2)
    assert (tmp_path / "out").stat().st_mode & 0o700 == 0o700


def test_caffe_reads_it(made: Path, tmp_path: Path) -> None:
    convert(made / "list.txt", tmp_path / "out", COMMAND, 2)
    for database in (made / "one", tmp_path / "out"):
        command = ["compute_image_mean", database, tmp_path / f"{database.name}.mean"]
        subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "one.mean").read_bytes() == (tmp_path / "out.mean").read_bytes()


def test_pictures_left_out_are_told(made: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        program(made / "list.txt", tmp_path / "out", "--jobs=2"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    told = [line for line in done.stderr.splitlines() if "broken.jpg" in line]
    assert len(told) == 1 and told[0].startswith("E")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout.splitlines()[-1] == f"{LINES} of {LINES} pictures"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["false"], "false ended with status 1"),
        (["convert_nothing"], "No such file or directory: convert_nothing"),
    ],
)
def test_a_command_that_fails(made: Path, tmp_path: Path, command: list[str], sentence: str) -> None:
    done = subprocess.run(
        program(made / "list.txt", tmp_path / "out", command=command),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"convert_in_parts: {sentence}\n"
    assert not (tmp_path / "out.parts").exists()


def test_a_full_disk(made: Path, tmp_path: Path) -> None:
    """A part still fits, the database doesn't."""
    lines = (made / "list.txt").read_text().splitlines(keepends=True)[:BROKEN]
    (tmp_path / "list.txt").write_text("".join(lines * 20))
    done = subprocess.run(
        program(tmp_path / "list.txt", tmp_path / "out", "--jobs=4"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000)),
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("convert_in_parts: ") and "can't be written" in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.parts").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_leaves_no_parts_and_no_processes(made: Path, tmp_path: Path, number: int) -> None:
    slow = ["bash", "-c", 'touch "$1.begun"; exec sleep 60', "slow"]
    with subprocess.Popen(
        program(made / "list.txt", tmp_path / "out", "--jobs=2", command=slow), cwd=ROOT
    ) as process:
        deadline = time.monotonic() + 20
        while not list(tmp_path.glob("out.parts/*.begun")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(timeout=20) == 128 + number
    assert not (tmp_path / "out.parts").exists()
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False)
    assert left.stdout == ""


@pytest.mark.parametrize("options", [["--jobs", "0"], ["--jobs", "x"], ["--jobs"], []])
def test_make_lmdb_wrong_command_line(options: list[str]) -> None:
    done = subprocess.run(
        ["tools/make_lmdb.sh", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: ")


def test_make_lmdb_makes_the_same_with_any_number_of_jobs(made: Path, tmp_path: Path) -> None:
    lines = (made / "list.txt").read_text().splitlines(keepends=True)[:BROKEN]
    (tmp_path / "train.txt").write_text("".join(lines * 11))  # more than fit into two parts
    (tmp_path / "val.txt").write_text("".join(lines))
    for jobs in ("1", "3"):
        command = ["tools/make_lmdb.sh", "--jobs", jobs, tmp_path, tmp_path / jobs, "32"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=os.environ)
    for name in ("train_lmdb", "val_lmdb"):
        assert entries(tmp_path / "1" / name) == entries(tmp_path / "3" / name)
    assert sorted(path.name for path in (tmp_path / "3").iterdir()) == ["train_lmdb", "val_lmdb"]
