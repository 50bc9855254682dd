"""tools.check_lmdb on databases that Caffe's own convert_imageset makes."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from tools.check_lmdb import main

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 30 photographs of noise and shapes, list.txt and the database `db` made from it."""
    folder = tmp_path_factory.mktemp("lmdb with a space")
    random = np.random.default_rng(0)
    lines = []
    for i in range(30):
        height, width = random.integers(40, 400, 2)
        rough = random.integers(0, 256, (5, 4, 3), dtype=np.uint8)
        name = f"picture {i}.{'png' if i % 5 == 0 else 'jpg'}"
        cv2.imwrite(str(folder / name), cv2.resize(rough, (int(width), int(height))))
        lines.append(f"{folder / name} {i % 3}\n")
    (folder / "list.txt").write_text("".join(lines))
    convert(folder, "list.txt", "db")
    return folder


def convert(folder: Path, listed: str, database: str, *options: str, root: str = "") -> None:
    sizes = ["--resize_height=64", "--resize_width=48"]
    command = ["convert_imageset", *sizes, *options, root, folder / listed, folder / database]
    subprocess.run(command, check=True, capture_output=True)


def run(capsys: pytest.CaptureFixture, *arguments: object, size: str = "64x48") -> tuple[int, str]:
    status = main([*map(str, arguments), "--size", size])
    said = capsys.readouterr()
    return status, said.out + said.err


def test_every_entry_of_a_right_database(made, capsys) -> None:
    assert run(capsys, made / "db", made / "list.txt", "--sample", "1000") == (
        0,
        f"{made}/db: 30 entries as listed, 30 decoded and right\n",
    )


def test_encoded_entries(made, capsys) -> None:
    convert(made, "list.txt", "encoded", "--encoded", "--encode_type=png")
    assert run(capsys, made / "encoded", made / "list.txt")[0] == 0


def test_entries_that_lost_something_to_jpeg(made, tmp_path, capsys) -> None:
    random = np.random.default_rng(1)
    noise = random.normal(128, 8, (4, 64, 48, 3)).clip(0, 255).astype(np.uint8)
    for number, picture in enumerate(noise):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    (tmp_path / "list.txt").write_text("".join(f"{tmp_path}/{number}.png 0\n" for number in range(4)))
    convert(tmp_path, "list.txt", "db", "--encoded", "--encode_type=jpg")
    assert run(capsys, tmp_path / "db", tmp_path / "list.txt")[0] == 0
    cv2.imwrite(str(tmp_path / "2.png"), cv2.imread(str(made / "picture 3.jpg")))
    assert "2.png: it is not that picture" in run(capsys, tmp_path / "db", tmp_path / "list.txt")[1]


def test_names_below_a_root(made, capsys) -> None:
    text = (made / "list.txt").read_text().replace(f"{made}/", "")
    (made / "relative.txt").write_text(text)
    convert(made, "relative.txt", "relative", root=f"{made}/")
    assert run(capsys, made / "relative", made / "relative.txt", "--root", f"{made}/")[0] == 0
    assert "No such file" in run(capsys, made / "relative", made / "relative.txt")[1]


def test_a_picture_that_convert_imageset_left_out_is_named(made, capsys) -> None:
    lines = (made / "list.txt").read_text().splitlines(keepends=True)
    (made / "no picture.jpg").write_text("not a picture")
    (made / "holes.txt").write_text("".join([*lines[:7], f"{made}/no picture.jpg 0\n", *lines[7:]]))
    convert(made, "holes.txt", "holes")
    status, said = run(capsys, made / "holes", made / "holes.txt")
    assert status == 1
    assert said == (
        f"check_lmdb: {made}/holes has 30 entries where the list has 31; not there: {made}/no picture.jpg\n"
    )


def change(made: Path, name: str, number: int, **fields: object) -> Path:
    """A copy of the database with other values in one entry."""
    changed = made / name
    changed.mkdir()
    with lmdb.open(str(made / "db"), readonly=True) as source:
        source.copy(str(changed))
    with lmdb.open(str(changed)) as database, database.begin(write=True) as transaction:
        key = [key for key, _ in transaction.cursor()][number]
        datum = caffe_pb2.Datum.FromString(transaction.get(key))
        for field, value in fields.items():
            setattr(datum, field, value)
        transaction.put(key, datum.SerializeToString())
    return changed


def test_a_wrong_label(made, capsys) -> None:
    status, said = run(capsys, change(made, "label", 4, label=7), made / "list.txt")
    assert status == 1
    assert "picture 4.jpg: its label is 7, the list says 1" in said


def test_another_picture_under_the_name(made, capsys) -> None:
    with lmdb.open(str(made / "db"), readonly=True) as database, database.begin() as transaction:
        third = caffe_pb2.Datum.FromString([value for _, value in transaction.cursor()][3])
    status, said = run(capsys, change(made, "picture", 4, data=third.data), made / "list.txt")
    assert status == 1
    assert "picture 4.jpg: it is not that picture (mean difference" in said


def test_data_of_another_length(made, capsys) -> None:
    status, said = run(capsys, change(made, "short", 0, data=b"123"), made / "list.txt")
    assert status == 1
    assert "picture 0.png: 3 values for 3 x 64 x 48 (channels, height, width)" in said


def test_another_size(made, capsys) -> None:
    status, said = run(capsys, made / "db", made / "list.txt", size="48x64")
    assert status == 1
    assert "its shape is (64, 48, 3), not (48, 64, 3)" in said


def test_a_database_from_another_list(made, capsys) -> None:
    lines = (made / "list.txt").read_text().splitlines(keepends=True)
    (made / "other.txt").write_text("".join(reversed(lines)))
    status, said = run(capsys, made / "db", made / "other.txt")
    assert status == 1
    assert "made from another list" in said


@pytest.mark.parametrize("missing", ["db", "list.txt"])
def test_missing_files(made, capsys, missing) -> None:
    paths = {"db": made / "db", "list.txt": made / "list.txt", missing: made / "none"}
    status, said = run(capsys, paths["db"], paths["list.txt"])
    assert status == 1
    assert "none" in said and "No such file or directory" in said


def test_a_folder_that_is_no_database(made, tmp_path, capsys) -> None:
    status, said = run(capsys, tmp_path, made / "list.txt")
    assert status == 1
    assert f"{tmp_path} can't be read as an LMDB" in said
    assert list(tmp_path.iterdir()) == []


def datum(**fields: object) -> bytes:
    pixels = b"x" * 192
    return caffe_pb2.Datum(
        **{"channels": 3, "height": 8, "width": 8, "data": pixels} | fields
    ).SerializeToString()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "is empty"),
        ([datum(), datum(width=4, data=b"x" * 96)], "several sizes, such as 3 x 8 x 4 and 3 x 8 x 8"),
        ([datum(), datum(data=b"x")], "entry 1: 1 values for 3 x 8 x 8"),
        ([datum(channels=0, data=b"")], "entry 0: 0 values for 0 x 8 x 8"),
        ([b"\xff\xff\xff"], "entry 0: not a Datum of Caffe's"),
    ],
)
def test_no_mean_is_made_of_a_database_that_has_none(tmp_path: Path, values: list[bytes], words: str) -> None:
    """compute_image_mean ends by a failed check or an exception there, or writes nonsense."""
    with lmdb.open(str(tmp_path / "db"), map_size=1 << 20) as database, database.begin(write=True) as writing:
        for number, value in enumerate(values):
            writing.put(str(number).encode(), value)
    command = [ROOT / "tools/make_mean.sh", tmp_path / "db", tmp_path / "mean"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("mean*"))


def test_a_failed_check_of_compute_image_mean_is_one_sentence(tmp_path: Path) -> None:
    """At one picture of many, which the look at some of them has missed."""
    with lmdb.open(str(tmp_path / "db"), map_size=1 << 22) as database, database.begin(write=True) as writing:
        for number in range(200):
            writing.put(b"%03d" % number, datum(data=b"x") if number == 101 else datum())
    command = [ROOT / "tools/make_mean.sh", tmp_path / "db", tmp_path / "mean"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    said = [line for line in done.stderr.splitlines() if not line.startswith("I")]
    assert done.returncode == 134 and len(said) == 1
    assert said[0].startswith("make_mean: compute_image_mean has stopped: Check failed: size_in_datum")


def test_as_a_program(made) -> None:
    command = [sys.executable, "-m", "tools.check_lmdb", made / "db", made / "list.txt", "--size=64x48"]
    assert subprocess.run(command, capture_output=True, cwd=ROOT, check=False).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_caffe_reads_a_database_in_somebody_elses_folder(made: Path) -> None:
    """Where LMDB can't put its lock."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name) / "db"
        shutil.copytree(made / "db", folder)
        (folder / "lock.mdb").unlink(missing_ok=True)
        folder.chmod(0o555)
        folder.parent.chmod(0o755)
        somebody_else = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        subprocess.run([*somebody_else, "compute_image_mean", folder], check=True, capture_output=True)
        assert not (folder / "lock.mdb").exists()
