"""split: 60 % of each class, copies with their originals, lists that convert_imageset reads."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.classes.folders import copy_name, original_of
from data_prep.split import split_class

ROOT = Path(__file__).resolve().parent.parent


def run_split(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "data_prep.split", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def make_classes(folder: Path, pictures: dict[str, list[str]]) -> Path:
    for name, files in pictures.items():
        (folder / name).mkdir(parents=True)
        for file in files:
            (folder / name / file).touch()
    return folder


def read_list(path: Path) -> list[tuple[str, int]]:
    """As convert_imageset reads it: everything before the last space is the path."""
    lines = [line.rpartition(" ") for line in path.read_text().splitlines()]
    return [(name, int(label)) for name, _, label in lines]


names_of_originals = st.lists(
    st.integers(0, 10**6).map("{}.jpg".format), min_size=2, max_size=40, unique=True
)


@given(names_of_originals, st.floats(0.05, 0.95), st.text(max_size=3))
def test_without_copies_the_share_is_the_articles(names: list[str], share: float, seed: str) -> None:
    train, val = split_class(names, share, seed, copies_anywhere=False)
    assert sorted(train + val) == sorted(names)
    assert len(train) == min(max(int(len(names) * share), 1), len(names) - 1)


@given(names_of_originals, st.integers(0, 5), st.integers(0, 3), st.text(max_size=3))
def test_copies_go_with_their_original(originals: list[str], each: int, more: int, seed: str) -> None:
    copies = [copy_name(name, k) for i, name in enumerate(originals) for k in range(each + (i < more))]
    names = originals + copies
    train, val = split_class(names, 0.6, seed, copies_anywhere=False)
    assert sorted(train + val) == sorted(names)
    assert not {original_of(name) for name in train} & {original_of(name) for name in val}
    assert train and val
    group = each + 2
    if group <= int(len(names) * 0.6) <= len(names) - group:
        assert abs(len(train) - int(len(names) * 0.6)) <= group / 2


@pytest.mark.parametrize(("originals", "pictures"), [(40, 480), (100, 480), (300, 480), (500, 480), (9, 445)])
def test_groups_of_two_sizes_come_as_near_as_they_can(originals: int, pictures: int) -> None:
    """800 pictures, of which 480 to train; nine originals have 8 groups of 89 and one of 88."""
    names = [f"{number}.jpg" for number in range(originals)]
    each, one_more = divmod(800 - originals, originals)
    names += [copy_name(name, k) for i, name in enumerate(names) for k in range(each + (i < one_more))]
    for seed in "012":
        assert len(split_class(names, 0.6, seed, copies_anywhere=False)[0]) == pictures


def test_copies_anywhere_deals_out_each_picture() -> None:
    names = ["a.jpg", "b.jpg"] + [copy_name(name, k) for name in ("a.jpg", "b.jpg") for k in range(49)]
    train, val = split_class(names, 0.6, "0", copies_anywhere=True)
    assert (len(train), len(val)) == (60, 40)
    assert {original_of(name) for name in train} == {original_of(name) for name in val} == {"a.jpg", "b.jpg"}


def test_the_seed_decides_and_nothing_else() -> None:
    names = [f"{number}.jpg" for number in range(50)]
    first = split_class(names, 0.6, "1", False)
    assert first == split_class(names[::-1], 0.6, "1", False)
    assert first != split_class(names, 0.6, "2", False)


def test_lists(tmp_path: Path) -> None:
    files = [f"view {number}.jpg" for number in range(10)]
    folder = make_classes(tmp_path / "my photos", {"0": [*files, "notes.txt", ".hidden.jpg"], "1": files[:5]})
    out = tmp_path / "out" / "lists"
    assert run_split(folder, "--out", out).returncode == 0
    train, val = read_list(out / "train.txt"), read_list(out / "val.txt")
    assert Counter(label for _, label in train) == {0: 6, 1: 3}
    assert Counter(label for _, label in val) == {0: 4, 1: 2}
    everything = {(str(path), int(path.parent.name)) for path in folder.glob("*/view *.jpg")}
    assert set(train) | set(val) == everything and len(train) + len(val) == len(everything)
    labels = [label for _, label in train]
    assert labels != sorted(labels), "classes must be mixed: a solver must not see one after the other"

    before = (out / "train.txt").read_bytes(), (out / "val.txt").read_bytes()
    run_split(folder, "--out", out)
    assert ((out / "train.txt").read_bytes(), (out / "val.txt").read_bytes()) == before
    run_split(folder, "--out", out, "--seed", 7)
    assert (out / "train.txt").read_bytes() != before[0]
    assert sorted(path.name for path in out.iterdir()) == ["train.txt", "val.txt"]


two = ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("pictures", "sentence"),
    [
        ({"0": two, "castle": two}, "there is no 1: run python -m data_prep.rename_classes first"),
        ({"0": two, "2": two}, "there is no 1"),
        ({"0": two, "01": two}, "there is no 1"),
        ({"0": two}, "one class only"),
        ({"0": two, "1": ["a.jpg"]}, "has one photograph only"),
        ({"0": two, "1": ["a.jpg", copy_name("a.jpg", 0)]}, "has one photograph only"),
        ({"0": two, "1": []}, "has no pictures"),
        ({"0": two, "1": ["notes.txt"]}, "has no pictures"),
        ({"0": two, "1": ["a.jpg", "line\nbreak.jpg"]}, "line break in its name"),
        ({}, "No such file or directory"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, pictures: dict[str, list[str]], sentence: str) -> None:
    folder = make_classes(tmp_path / "classes", pictures)
    done = run_split(folder, "--out", tmp_path / "lists")
    assert done.returncode == 1
    assert sentence in done.stderr and done.stderr.count("\n") == 1 and done.stderr.startswith("split: ")
    assert not any((tmp_path / "lists").glob("*")) if (tmp_path / "lists").exists() else True


def test_share_must_be_a_share(tmp_path: Path) -> None:
    assert run_split(tmp_path, "--out", tmp_path, "--train-share", "60").returncode == 2
