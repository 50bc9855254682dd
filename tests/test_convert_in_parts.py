"""tools.convert_in_parts and tools/make_lmdb.sh against one run of Caffe's own convert_imageset."""

import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import lmdb
import numpy as np
import pytest
from small_disk import on_small_disk

from tools import convert_in_parts
from tools.convert_in_parts import convert
from tools.program import one_sentence

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
    said = [line for line in done.stderr.splitlines() if not line.startswith("lmdb: ")]
    assert said == told
    assert f"lmdb: {LINES}/{LINES}, " in done.stderr


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
    assert not (tmp_path / "out").exists()


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
    assert not (tmp_path / "out").exists()
    convert(tmp_path / "list.txt", tmp_path / "out", COMMAND, 4)  # there is room now
    assert len(entries(tmp_path / "out")) == 20 * BROKEN


@pytest.mark.parametrize(
    ("free", "sentence"),
    [(10**9, "bash ended by signal Bus error"), (3_000_000, "3.0 MB are free; with more room")],
)
def test_a_full_disk_that_ends_the_command_by_a_signal(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, sentence: str
) -> None:
    """As LMDB's lock file does, which is written through a memory map."""
    monkeypatch.setattr(convert_in_parts.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises((ValueError, OSError)) as raised:
        convert(made / "list.txt", tmp_path / "out", ["bash", "-c", "kill -BUS $$"], 1)
    said = one_sentence(raised.value)
    assert sentence in said
    assert (str(tmp_path / "out.unfinished") in said) == (free < 10**9)


def test_a_disk_that_is_full_to_the_last_byte(made: Path, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    words = program(made / "list.txt", tmp_path / "small" / "out", "--jobs=1")
    done = on_small_disk(
        tmp_path / "small",
        f"head -c 1G /dev/zero >{shlex.quote(str(tmp_path))}/small/fill; exec {shlex.join(words)}",
        ROOT,
    )
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("convert_in_parts: No space left on device")
    assert last.endswith(f": {tmp_path}/small/out.unfinished")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_leaves_no_processes(made: Path, tmp_path: Path, number: int) -> None:
    slow = ["bash", "-c", 'touch "$1.begun"; exec sleep 60', "slow"]
    with subprocess.Popen(
        program(made / "list.txt", tmp_path / "out", "--jobs=2", command=slow), cwd=ROOT
    ) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("out.unfinished/*.begun")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(timeout=120) == 128 + number
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False)
    assert left.stdout == ""


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert_in_parts, "LEAST_LINES", 1)
    monkeypatch.setattr(convert_in_parts, "MOST_LINES", 10)


def stopped_at(made: Path, folder: Path, part: int, jobs: int = 1) -> list[str]:
    """Convert by a command that fails at a part, counted from 0; the command, which is whole from then on."""
    (folder / "fails").touch()
    (folder / "command").write_text(
        f"#!/usr/bin/env bash\n[[ ! -e '{folder}/fails' || $2 != */{part}.txt ]] || exit 7\n"
        f"echo ${{2##*/}} >>'{folder}/ran'\nexec {' '.join(COMMAND[:-1])} \"$@\"\n"
    )
    (folder / "command").chmod(0o755)
    command = [str(folder / "command"), "/"]
    with pytest.raises(ValueError, match="ended with status 7"):
        convert(made / "list.txt", folder / "out", command, jobs)
    (folder / "fails").unlink()
    (folder / "ran").unlink(missing_ok=True)
    return command


@pytest.mark.parametrize("part", range(6))
@pytest.mark.parametrize("jobs", [1, 3])
def test_it_goes_on_with_the_parts_that_are_whole(
    made: Path, tmp_path: Path, small_parts: None, part: int, jobs: int
) -> None:
    command = stopped_at(made, tmp_path, part, jobs)
    convert(made / "list.txt", tmp_path / "out", command, 2)
    assert entries(tmp_path / "out") == entries(made / "one")
    again = (tmp_path / "ran").read_text().split()
    assert f"{part}.txt" in again
    if jobs == 1:
        assert f"{part - 1}.txt" not in again
    assert not (tmp_path / "out.unfinished").exists()


def test_a_part_is_made_again_when_its_picture_or_the_command_is_another(
    made: Path, tmp_path: Path, small_parts: None
) -> None:
    lines = (made / "list.txt").read_text().splitlines(keepends=True)
    copy = tmp_path / "a copy.jpg"
    copy.write_bytes((made / "picture 0.jpg").read_bytes())
    (tmp_path / "list.txt").write_text("".join([f"{copy} 0\n", *lines[1:]]))
    command = stopped_at(tmp_path, tmp_path, 3)
    cv2.imwrite(str(copy), np.zeros((9, 9, 3), np.uint8))
    convert(tmp_path / "list.txt", tmp_path / "out", command, 1)
    assert (tmp_path / "ran").read_text().split()[0] == "0.txt"
    subprocess.run([*COMMAND, tmp_path / "list.txt", tmp_path / "one"], check=True, capture_output=True)
    assert entries(tmp_path / "out") == entries(tmp_path / "one")


def test_an_old_database_stays_until_the_new_one_is_whole(
    made: Path, tmp_path: Path, small_parts: None
) -> None:
    subprocess.run(["cp", "-r", made / "one", tmp_path / "out"], check=True)
    command = stopped_at(made, tmp_path, 4)
    assert entries(tmp_path / "out") == entries(made / "one")
    shorter = "".join((made / "list.txt").read_text().splitlines(keepends=True)[:15])
    (tmp_path / "list.txt").write_text(shorter)
    convert(tmp_path / "list.txt", tmp_path / "out", command, 1)
    assert len(entries(tmp_path / "out")) == 15
    assert sorted(path.name for path in tmp_path.iterdir()) == ["command", "list.txt", "out", "ran"]


def test_an_unfinished_database_that_is_damaged_is_begun_anew(
    made: Path, tmp_path: Path, small_parts: None
) -> None:
    command = stopped_at(made, tmp_path, 4)
    database = tmp_path / "out.unfinished" / "lmdb" / "data.mdb"
    os.truncate(database, database.stat().st_size // 2)
    convert(made / "list.txt", tmp_path / "out", command, 1)
    assert entries(tmp_path / "out") == entries(made / "one")


@pytest.mark.parametrize(
    ("train", "val", "sentence"),
    [
        ("{0}/picture 1.jpg 0\n{0}/not there.jpg 0\n", None, "that are not there: {0}/not there.jpg"),
        ("{0}/empty.jpg 0\n", None, "empty.jpg (empty)"),
        ("{0} 0\n", None, "lists 1 pictures that are not there"),
        ("{0}/picture 1.jpg 0\n", "{0}/picture 1.jpg 1\n", "train.txt has no picture of 1"),
        ("{0}/picture 1.jpg x\n", None, "train.txt, line 1 is not a picture and a number"),
    ],
)
def test_lists_are_checked_before_anything_is_converted(
    made: Path, tmp_path: Path, train: str, val: str | None, sentence: str
) -> None:
    (made / "empty.jpg").touch()
    (tmp_path / "train.txt").write_text(train.format(made))
    (tmp_path / "val.txt").write_text((val or "{0}/picture 1.jpg 0\n").format(made))
    command = ["tools/make_lmdb.sh", tmp_path, tmp_path / "lmdb", "32"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert sentence.format(made) in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "lmdb").exists()


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


def test_stopped_in_validation_make_lmdb_does_not_convert_training_again(made: Path, tmp_path: Path) -> None:
    """As a kill there: the folder of the unfinished one can't be made, and then it can."""
    line = (made / "list.txt").read_text().splitlines()[0]
    for name in ("train.txt", "val.txt"):
        (tmp_path / name).write_text(f"{line}\n" * 3)
    command = ["tools/make_lmdb.sh", "--jobs", "1", tmp_path, tmp_path / "lmdb", "32"]
    (tmp_path / "lmdb").mkdir()
    (tmp_path / "lmdb" / "val_lmdb.unfinished").touch()
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 1
    training = (tmp_path / "lmdb" / "train_lmdb" / "data.mdb").stat()
    (tmp_path / "lmdb" / "val_lmdb.unfinished").unlink()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"{tmp_path}/lmdb/train_lmdb is whole already" in done.stdout
    assert (tmp_path / "lmdb" / "train_lmdb" / "data.mdb").stat().st_ino == training.st_ino
    assert len(entries(tmp_path / "lmdb" / "val_lmdb")) == 3
    assert not list(tmp_path.glob("lmdb/*/.plan.json"))  # asked for again, by hand, both are made anew


def test_a_whole_database_of_another_list_is_made_again(made: Path, tmp_path: Path) -> None:
    lines = (made / "list.txt").read_text().splitlines(keepends=True)
    for count in (5, 4, 6):
        (tmp_path / "list.txt").write_text("".join(lines[:count]))
        convert(tmp_path / "list.txt", tmp_path / "out", COMMAND, 1, keep_plan=True)
        assert len(entries(tmp_path / "out")) == count
    database = tmp_path / "out" / "data.mdb"
    os.truncate(database, database.stat().st_size // 2)
    convert(tmp_path / "list.txt", tmp_path / "out", COMMAND, 1, keep_plan=True)
    assert len(entries(tmp_path / "out")) == 6
