"""split: 60 % of each class, copies with their originals, lists that convert_imageset reads."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.classes.folders import copy_name, original_of
from data_prep.split import Dealt, deal, grouped, move_to_train, sizes_that_sum_to
from tools.files.image_list import read_image_list

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


def split_class(
    names: list[str], share: float, seed: str, copies_anywhere: bool
) -> tuple[list[str], list[str]]:
    """One class's names as they are dealt out."""
    train, val = deal(grouped(names, copies_anywhere), share, seed)
    return [name for group in train for name in group], [name for group in val for name in group]


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
    train, val = read_image_list(out / "train.txt"), read_image_list(out / "val.txt")
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
        ({"0": two, "1": ["a.jpg"]}, "one photograph only, which can't be in both train.txt and val.txt: 1"),
        (
            {"0": two, "1": ["a.jpg", copy_name("a.jpg", 0)]},
            "one photograph only, which can't be in both train.txt and val.txt: 1",
        ),
        ({"0": two, "1": []}, "has no pictures"),
        ({"0": two, "1": ["notes.txt"]}, "has no pictures"),
        ({"0": two, "1": ["a.jpg", "line\nbreak.jpg"]}, "a line break in a name"),
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


@given(
    st.dictionaries(st.integers(1, 30), st.integers(0, 6), max_size=4),
    st.integers(0, 120),
)
def test_sizes_that_sum_to(counts: dict[int, int], total: int) -> None:
    reachable = {0}
    for size, count in counts.items():
        reachable = {reached + size * number for reached in reachable for number in range(count + 1)}
    chosen = sizes_that_sum_to(total, counts)
    assert (chosen is not None) == (total in reachable)
    if chosen is not None:
        assert sum(size * number for size, number in chosen.items()) == total
        assert all(0 < number <= counts[size] for size, number in chosen.items())


@given(
    st.lists(st.lists(st.integers(1, 12), min_size=2, max_size=30), min_size=2, max_size=4),
    st.integers(1, 60),
    st.integers(0, 3),
)
def test_the_test_batch_divides_what_is_left(classes: list[list[int]], batch: int, seed: int) -> None:
    train, val = [], []
    for label, sizes in enumerate(classes):
        groups = [[f"{number}_{i}.jpg" for i in range(size)] for number, size in enumerate(sizes)]
        for chosen, part in zip((train, val), deal(groups, 0.6, "s"), strict=True):
            chosen.append(Dealt(Path(str(label)), part))
    before = [sorted(map(tuple, (*a.groups, *b.groups))) for a, b in zip(train, val, strict=True)]
    count = sum(dealt.pictures for dealt in val)
    free = sum(dealt.pictures - len(dealt.groups[0]) for dealt in val)
    ones = sum(len(group) == 1 for dealt in val for group in dealt.groups[1:])
    moved = move_to_train(train, val, batch, seed)
    assert before == [sorted(map(tuple, (*a.groups, *b.groups))) for a, b in zip(train, val, strict=True)]
    assert all(dealt.groups for dealt in (*train, *val))
    left = sum(dealt.pictures for dealt in val)
    assert left == count - (moved or 0)
    if moved is not None:
        assert left % batch == 0 and left > 0
        if ones >= count % batch and count % batch <= free:
            assert moved == count % batch
    else:
        assert ones < count % batch or count < batch


def test_test_batch_as_a_program(tmp_path: Path) -> None:
    """The article's numbers: 52 pictures a test batch, copies with their originals, 80 a class."""
    pictures = {}
    for label, originals in enumerate((80, 7, 13)):
        names = [f"{number}.jpg" for number in range(originals)]
        each, more = divmod(80 - originals, originals)
        names += [copy_name(name, k) for i, name in enumerate(names) for k in range(each + (i < more))]
        pictures[str(label)] = names
    folder = make_classes(tmp_path / "classes", pictures)
    done = run_split(folder, "--out", tmp_path / "plain")
    done = run_split(folder, "--out", tmp_path / "exact", "--test-batch", 52)
    assert done.returncode == 0, done.stderr
    plain, exact = (read_image_list(tmp_path / name / "val.txt") for name in ("plain", "exact"))
    assert len(plain) % 52 and len(exact) % 52 == 0 and 0 < len(plain) - len(exact) < 52
    assert set(exact) < set(plain)
    train = read_image_list(tmp_path / "exact" / "train.txt")
    originals = [
        {(entry.label, original_of(Path(entry.picture).name)) for entry in part} for part in (train, exact)
    ]
    assert not originals[0] & originals[1]
    again = run_split(folder, "--out", tmp_path / "again", "--test-batch", 52)
    assert again.stdout == done.stdout
    assert (tmp_path / "again" / "val.txt").read_bytes() == (tmp_path / "exact" / "val.txt").read_bytes()


def test_a_handful_of_pictures_stays(tmp_path: Path) -> None:
    folder = make_classes(tmp_path / "classes", {"0": ["a.jpg", "b.jpg"], "1": ["a.jpg", "b.jpg"]})
    done = run_split(folder, "--out", tmp_path / "lists", "--test-batch", 52)
    assert done.returncode == 0 and "2 validation pictures are fewer than the test batch of 52" in done.stdout


def test_a_test_batch_that_cannot_be_is_said_before_the_conversion(tmp_path: Path) -> None:
    """Two photographs a class, one for each list: none can move, and the training would refuse 14 by 4."""
    names = [f"{name}.jpg" for name in "ab"]
    names += [copy_name(name, number) for name in names for number in range(6)]
    folder = make_classes(tmp_path / "classes", {"0": names, "1": names})
    done = run_split(folder, "--out", tmp_path / "lists", "--test-batch", 4)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "14 validation pictures can't be made a multiple of the test batch, 4" in done.stderr
    assert "take 2 (TEST_BATCH)" in done.stderr
    assert not (tmp_path / "lists").exists() or not list((tmp_path / "lists").iterdir())
    done = run_split(folder, "--out", tmp_path / "lists", "--test-batch", 2)
    assert done.returncode == 0, done.stderr
