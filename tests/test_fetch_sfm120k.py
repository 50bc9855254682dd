"""data_prep.fetch sfm120k on a small stand-in in the real layout, from a server that cuts and lies."""

import errno
import hashlib
import io
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from shaky_server import Site, jpg, serving

from data_prep import fetch
from data_prep.download import servers
from data_prep.download.sfm120k import read_table

ROOT = Path(__file__).parent.parent
Table = dict[str, dict[str, object]]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(servers, "FIRST_PAUSE", 0.01)
    with serving() as made:
        yield made


def cid(number: int) -> str:
    return hashlib.md5(b"%d" % number).hexdigest()


def place(name: str) -> str:
    return f"ims/{name[-2:]}/{name[-4:-2]}/{name[-6:-4]}/{name}"


PICTURES = {cid(number): jpg(number, kind="PNG" if number == 3 else "JPEG") for number in range(9)}
OTHERS = {cid(100): jpg(100), cid(101): b"nobody's"}
TABLE: Table = {
    "train": {
        "cids": [cid(n) for n in range(6)],
        "cluster": [7, 7, 7, 12, 12, 0],
        "qidxs": [0],
        "pidxs": [1],
    },
    "val": {
        "cids": [cid(n) for n in range(6, 9)],
        "cluster": np.array([7, 7, 900]),
        "qidxs": [],
        "pidxs": [],
    },
}
CLASSES = {
    "train_0000": {f"{cid(5)}.jpg"},
    "train_0007": {f"{cid(n)}.jpg" for n in (0, 1, 2)},
    "train_0012": {f"{cid(3)}.png", f"{cid(4)}.jpg"},
    "val_0007": {f"{cid(n)}.jpg" for n in (6, 7)},
    "val_0900": {f"{cid(8)}.jpg"},
}


def archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(place(name))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def stand_in(site: Site) -> Site:
    site.files = {
        "/retrieval-SfM-120k.pkl": pickle.dumps(TABLE, 2),
        "/ims.tar.gz": archive(PICTURES | OTHERS),
    }
    return site


def run(site: Site, out: Path, *options: object) -> int:
    words = ["sfm120k", "--out", out, "--url", f"{site.root}/", "--tries", 2, "--timeout", 5, *options]
    return fetch.main([str(word) for word in words])


def classes(out: Path) -> dict[str, set[str]]:
    return {folder.name: {path.name for path in folder.iterdir()} for folder in out.iterdir()}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_clusters_become_class_folders(stand_in: Site, tmp_path: Path, capsys) -> None:
    stand_in.cuts["/ims.tar.gz"] = [5000]
    out = tmp_path / "sfm"
    assert run(stand_in, out) == 0
    assert classes(out) == CLASSES
    for path in out.glob("*/*"):
        assert path.read_bytes() == PICTURES[path.stem]
    assert names(tmp_path) == {"sfm"}
    assert capsys.readouterr().out.splitlines() == [
        f"fetch: {out} has 9 pictures in 5 classes",
        "fetch: 1 cluster numbers stand in train and in val: kept apart as train_... and val_...",
    ]
    stand_in.asked.clear()
    assert run(stand_in, out) == 0
    assert stand_in.asked == []
    assert "is there already, 5 class folders" in capsys.readouterr().out


def test_an_unpacked_archive_is_linked(stand_in: Site, tmp_path: Path) -> None:
    for name, content in PICTURES.items():
        path = tmp_path / place(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert run(stand_in, tmp_path / "sfm", "--images", tmp_path / "ims") == 0
    assert classes(tmp_path / "sfm") == CLASSES
    for path in (tmp_path / "sfm").glob("*/*"):
        assert path.samefile(tmp_path / place(path.stem))
    assert stand_in.paths() == ["/retrieval-SfM-120k.pkl"]


def test_an_unpacked_archive_on_another_disk_is_copied(
    stand_in: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in PICTURES.items():
        path = tmp_path / place(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    monkeypatch.setattr(os, "link", Mock(side_effect=OSError(errno.EXDEV, "Invalid cross-device link")))
    assert run(stand_in, tmp_path / "sfm", "--images", tmp_path / "ims") == 0
    assert classes(tmp_path / "sfm") == CLASSES
    for path in (tmp_path / "sfm").glob("*/*"):
        assert path.read_bytes() == PICTURES[path.stem] and path.stat().st_nlink == 1


def test_own_copies_and_keep_archive(stand_in: Site, tmp_path: Path) -> None:
    for path, content in stand_in.files.items():
        (tmp_path / path[1:]).write_bytes(content)
    assert run(stand_in, tmp_path / "sfm", "--keep-archive") == 0
    assert classes(tmp_path / "sfm") == CLASSES
    assert stand_in.asked == []
    assert names(tmp_path) == {"sfm", "ims.tar.gz", "retrieval-SfM-120k.pkl"}


def test_what_is_no_picture_is_left_for_the_check(stand_in: Site, tmp_path: Path) -> None:
    stand_in.files["/ims.tar.gz"] = archive(PICTURES | {cid(0): b"<html>"})
    assert run(stand_in, tmp_path / "sfm") == 0
    assert (tmp_path / "sfm/train_0007" / f"{cid(0)}.jpg").read_bytes() == b"<html>"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_goes_on_with_what_it_has(tmp_path: Path, number: int) -> None:
    """Stopped between two pictures: those that are there stay, and are not written again."""
    many = {cid(n): jpg(n % 7) for n in range(1000)}
    table = {
        part: {"cids": list(many)[part == "val" :: 2], "cluster": [1] * 500} for part in ("train", "val")
    }
    (tmp_path / "retrieval-SfM-120k.pkl").write_bytes(pickle.dumps(table))
    (tmp_path / "ims.tar.gz").write_bytes(archive(many))
    command = [sys.executable, "-m", "data_prep.fetch", "sfm120k", "--out", str(tmp_path / "sfm")]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    part = tmp_path / "sfm.part"
    while process.poll() is None and len(list(part.glob("*/*.jpg"))) < 50:
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate()
    before = {path.name: path.stat().st_mtime_ns for path in part.glob("*/*.jpg")}
    assert 50 <= len(before) < 1000 and (tmp_path / "ims.tar.gz").exists()
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    after = {path.name: path for path in (tmp_path / "sfm").glob("*/*")}
    assert after.keys() == {f"{name}.jpg" for name in many}
    assert all(after[name].stat().st_mtime_ns == moment for name, moment in before.items())
    assert names(tmp_path) == {"sfm"}


def test_a_picture_that_lost_its_bytes_is_written_again(stand_in: Site, tmp_path: Path) -> None:
    """As a power cut leaves it: a name without what it names."""
    folder = tmp_path / "sfm.part" / "train_0012"
    folder.mkdir(parents=True)
    (folder / f"{cid(3)}.jpg").touch()
    assert run(stand_in, tmp_path / "sfm") == 0
    assert classes(tmp_path / "sfm") == CLASSES
    assert (tmp_path / "sfm/train_0012" / f"{cid(3)}.png").read_bytes() == PICTURES[cid(3)]


# What is not as it should be: one sentence, and nothing lost


def changed(part: str, **columns: object) -> bytes:
    return pickle.dumps({**TABLE, part: {**TABLE[part], **columns}})


BAD_TABLES = {
    "web page": (b"<!DOCTYPE html>", "what came is no pickle"),
    "code": (pickle.dumps(Path("x")), "what came is refused: the name pathlib"),
    "another pickle": (pickle.dumps([1]), "has no part 'train' with 'cids' and 'cluster'"),
    "no val": (pickle.dumps({"train": TABLE["train"]}), "has no part 'val' with 'cids' and 'cluster'"),
    "no cids": (pickle.dumps({"train": {"cluster": []}, "val": {}}), "has no part 'train' with"),
    "shorter": (changed("val", cluster=[1]), "'val' has 3 pictures and 1 clusters"),
    "empty": (changed("val", cids=[], cluster=[]), "'val' has 0 pictures"),
    "no numbers": (changed("train", cluster=["a"] * 6), "are no lists of names and numbers"),
    "no list": (changed("train", cids=5), "are no lists of names and numbers"),
    "not a number": (changed("train", cluster=[float("nan")] * 6), "are no lists of names and numbers"),
    "below zero": (changed("val", cluster=[-1, 0, 0]), f"'{cid(6)}' in a cluster of no sensible number"),
    "a path": (changed("val", cids=["../../x", "b", "c"]), "'../../x' in cluster 7"),
    "no string": (changed("val", cids=[None, "b", "c"]), "has a NoneType among its 'cids'"),
}


@pytest.mark.parametrize(("table", "sentence"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_bad_tables(stand_in: Site, tmp_path: Path, capsys, table: bytes, sentence: str) -> None:
    stand_in.files["/retrieval-SfM-120k.pkl"] = table
    assert run(stand_in, tmp_path / "sfm") == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert sentence in said
    assert "/ims.tar.gz" not in stand_in.paths()
    assert names(tmp_path) == set()


def test_one_picture_in_two_clusters(stand_in: Site, tmp_path: Path, capsys) -> None:
    stand_in.files["/retrieval-SfM-120k.pkl"] = changed("val", cids=[cid(0), cid(7), cid(8)])
    assert run(stand_in, tmp_path / "sfm") == 0
    assert (
        f"1 pictures stand in two clusters ({cid(0)}): each is in its first alone" in capsys.readouterr().out
    )
    assert (tmp_path / "sfm/train_0007" / f"{cid(0)}.jpg").exists()
    assert not list((tmp_path / "sfm/val_0007").glob(f"{cid(0)}*"))


def test_pictures_that_the_archive_lacks(stand_in: Site, tmp_path: Path, capsys) -> None:
    """Another archive's table: refused, with the archive and what came out of it kept."""
    stand_in.files["/ims.tar.gz"] = archive({name: PICTURES[name] for name in list(PICTURES)[:7]})
    assert run(stand_in, tmp_path / "sfm") == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        f"fetch: {tmp_path}/ims.tar.gz lacks 2 of the table's 9 pictures ({cid(7)}, {cid(8)}): not taken"
    )
    assert names(tmp_path) == {"ims.tar.gz", "retrieval-SfM-120k.pkl", "sfm.part"}
    (tmp_path / "ims.tar.gz").write_bytes(archive(PICTURES))
    assert run(stand_in, tmp_path / "sfm") == 0
    assert classes(tmp_path / "sfm") == CLASSES


def test_a_few_missing_pictures_are_told(stand_in: Site, tmp_path: Path, capsys) -> None:
    many = [cid(n) for n in range(200)]
    stand_in.files["/retrieval-SfM-120k.pkl"] = changed("train", cids=many, cluster=[1] * 200)
    stand_in.files["/ims.tar.gz"] = archive(dict.fromkeys(many[1:], b"x"))
    assert run(stand_in, tmp_path / "sfm") == 0
    assert f"lacks 1 of the table's 200 pictures ({many[0]})" in capsys.readouterr().out


BAD_ARCHIVES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda whole: whole[: len(whole) // 2], "is damaged or no .tgz archive"),
    "one bit": (lambda whole: whole[:9000] + bytes([whole[9000] ^ 1]) + whole[9001:], "is damaged"),
    "web page": (lambda _: b"<html>", "what came is no .tar.gz archive"),
    "empty": (lambda _: archive({}), "lacks 9 of the table's 9 pictures"),
}


@pytest.mark.parametrize(("spoil", "sentence"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_bad_archives(
    stand_in: Site, tmp_path: Path, capsys, spoil: Callable[[bytes], bytes], sentence: str
) -> None:
    whole = stand_in.files["/ims.tar.gz"]
    stand_in.files["/ims.tar.gz"] = spoil(whole)
    assert run(stand_in, tmp_path / "sfm") == 1
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "sfm").exists()
    (tmp_path / "ims.tar.gz").unlink(missing_ok=True)
    stand_in.files["/ims.tar.gz"], stand_in.etag = whole, '"two"'
    assert run(stand_in, tmp_path / "sfm") == 0
    assert classes(tmp_path / "sfm") == CLASSES


def test_a_server_that_forbids(stand_in: Site, tmp_path: Path, capsys) -> None:
    stand_in.statuses["/ims.tar.gz"] = [403]
    assert run(stand_in, tmp_path / "sfm") == 1
    assert "ims.tar.gz could not be had" in (said := capsys.readouterr().err.splitlines()[-1])
    assert "HTTP 403 Forbidden" in said
    assert run(stand_in, tmp_path / "sfm") == 0
    assert stand_in.paths().count("/retrieval-SfM-120k.pkl") == 1


def test_a_folder_of_something_else_is_left_alone(stand_in: Site, tmp_path: Path, capsys) -> None:
    (tmp_path / "sfm").mkdir()
    (tmp_path / "sfm/thesis.tex").write_text("mine")
    assert run(stand_in, tmp_path / "sfm") == 1
    assert "has no class folders" in capsys.readouterr().err
    assert names(tmp_path / "sfm") == {"thesis.tex"}


def endless() -> list:
    """A list that is small, and takes for ever to be written into a sentence."""
    made: list = []
    for _ in range(40):
        made = [made, made]
    return made


@pytest.mark.parametrize(
    ("cids", "clusters", "sentence"),
    [
        ([endless()], [1], "a list among its 'cids', which is no picture's name"),
        (["a"], [7.9], "no lists of names and numbers"),  # it was 7's
        (["a"], [10**5000], "'a' in a cluster of no sensible number"),
        (["a"], [-1], "'a' in a cluster of no sensible number"),
    ],
)
def test_a_table_s_odd_values_are_a_sentence(
    tmp_path: Path, cids: list, clusters: list, sentence: str
) -> None:
    (tmp_path / "t.pkl").write_bytes(pickle.dumps({"train": {"cids": cids, "cluster": clusters}}, 2))
    with pytest.raises(ValueError, match=sentence):
        read_table(tmp_path / "t.pkl")
