"""make_gt: class folders become queries, database and ground truth; no photograph on both sides."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_prep.make_gt import Class, Photograph, grouped, hold_out, main, named, safe
from eval.files.ground_truth import read_ground_truth
from eval.forward.photographs import list_pictures, query_pictures, read_part
from tools.files.csv_rows import read_csv

ROOT = Path(__file__).parent.parent


def draw(path: Path, seed: int, size: tuple[int, int] = (24, 16)) -> Path:
    """A picture of its own, (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    encoded = cv2.imencode(path.suffix or ".jpg", pixels)[1]
    path.write_bytes(encoded.tobytes())
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "by place"
    for number, (name, count) in enumerate(
        {"Rome": 12, "Köln Dom": 7, "oslo": 4, "two": 2, "one": 1}.items()
    ):
        for i in range(count):
            draw(folder / name / f"IMG {i}.JPG", 100 * number + i, (24 + i, 16 + number))
    return folder


def made(photos: Path, *options: object, status: int = 0) -> Path:
    out = photos.parent / "out"
    assert main([str(photos), "--out", str(out), "--jobs", "1", *map(str, options)]) == status
    return out


def hashes(folder: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()]


def test_each_photograph_is_on_one_side(photos) -> None:
    out = made(photos)
    searched, trained = hashes(out / "jpg"), hashes(out / "train")
    assert sorted(searched + trained) == sorted(hashes(photos))
    assert not set(searched) & set(trained)
    held = {path.name: len(list(path.iterdir())) for path in (out / "jpg").iterdir()}
    assert held == {"Rome": 4, "Köln Dom": 2, "oslo": 2}  # 0.3 of them, 2 or more
    left = {path.name: len(list(path.iterdir())) for path in (out / "train").iterdir()}
    assert left == {"Rome": 8, "Köln Dom": 5, "oslo": 2, "two": 2, "one": 1}


def test_the_ground_truth_is_oxford_s(photos) -> None:
    """As eval reads it: every query is a whole picture of the database, its class is what is to be found."""
    out = made(photos, "--share", "0.5", "--queries", "3")
    truths = read_ground_truth(out / "gt")
    pictures = list_pictures(out / "jpg")
    names = {name for name in pictures if name.startswith("Rome/")}
    assert [truth.query.name for truth in truths] == [
        "Köln Dom_1", "Köln Dom_2", "Köln Dom_3", "Rome_1", "Rome_2", "Rome_3", "oslo_1", "oslo_2"
    ]  # fmt: skip
    for truth in truths:
        assert truth.query.image in truth.good and not truth.ok | truth.junk
        assert truth.good == {
            name for name in pictures if name.split("/")[0] == truth.query.image.split("/")[0]
        }
    assert len(names) == 6 and truths[3].good == names
    parts = query_pictures([truth.query for truth in truths], pictures, out / "jpg", False)
    for truth in truths:
        part = read_part(parts[truth.query.name])
        assert part.pixels.shape[:2] == part.whole
        assert truth.query.box == (0, 0, part.whole[1], part.whole[0])


def test_the_seed_decides_and_nothing_else(photos) -> None:
    chosen = []
    for seed in (1, 1, 2):
        out = made(photos, "--seed", seed)
        chosen.append({str(path.relative_to(out)) for path in out.rglob("*")})
    assert chosen[0] == chosen[1] != chosen[2]


def test_photographs_stay_as_they_are_and_take_no_room(photos) -> None:
    before = {path: path.stat().st_mtime_ns for path in photos.rglob("*") if path.is_file()}
    out = made(photos)
    assert {path: path.stat().st_mtime_ns for path in photos.rglob("*") if path.is_file()} == before
    assert all(path.stat().st_nlink == 2 for path in (out / "jpg").rglob("*.jpg"))


def test_which_file_became_what_and_which_class_is_only_trained_on(photos, capsys) -> None:
    out = made(photos)
    said = capsys.readouterr().out
    assert f"8 photographs of 3 classes held out, 8 of them queries: {out}\n" in said
    assert "2 classes are only trained on, as they lack 4 good photographs of their own: one, two\n" in said
    rows = read_csv(out / "pictures.csv")
    assert rows[0] == ["picture", "file", "why"]
    pictures = list_pictures(out / "jpg")
    for picture, file, why in rows[1:]:
        if picture:
            assert Path(pictures[picture].path).samefile(file) and not why
    assert [Path(file).name for picture, file, _ in rows[1:] if not picture] == ["one", "two"]


def test_copies_and_files_of_the_same_bytes_stay_together(photos) -> None:
    for i in range(12):
        for copy in range(2):
            draw(photos / "Rome" / f"aug_IMG {i}.JPG_{copy}.jpg", 9000 + 2 * i + copy)
    os.link(photos / "oslo" / "IMG 0.JPG", photos / "oslo" / "again.jpg")
    (photos / "Rome" / "not mine.jpg").write_bytes((photos / "Köln Dom" / "IMG 3.JPG").read_bytes())
    out = made(photos)
    assert not set(hashes(out / "jpg")) & set(hashes(out / "train"))
    held = [path.name for path in (out / "jpg" / "Rome").iterdir()]
    assert len(held) == 12  # 4 photographs with their copies, of 37
    originals = {name.removeprefix("aug_").split(".")[0] for name in held}
    assert len(originals) == 4
    left = {path.name for path in (out / "train" / "Rome").iterdir()}
    assert not any(name.removeprefix("aug_").split(".")[0] in originals for name in left)


def test_what_the_check_would_find_is_left_for_it(photos) -> None:
    whole = (photos / "oslo" / "IMG 0.JPG").read_bytes()
    (photos / "oslo" / "IMG 0.JPG").write_bytes(whole[: len(whole) // 2])
    Image.new("L", (20, 20), 7).save(photos / "oslo" / "grey.png")
    draw(photos / "oslo" / "fifth.png", 77)
    (photos / "oslo" / "notes.txt").write_text("mine")
    out = made(photos)
    left = {path.name for path in (out / "train" / "oslo").iterdir()}
    assert {"IMG 0.JPG", "grey.png", "notes.txt"} <= left and len(left) == 5


def test_a_photograph_that_lies_on_its_side_is_asked_for_upright(photos) -> None:
    """Its file says that it is turned by a quarter; OpenCV turns it, and its box is the turned one's."""
    for path in (photos / "oslo").iterdir():
        turned = Image.open(path)
        exif = turned.getexif()
        exif[0x0112] = 6
        turned.save(path, exif=exif)
    out = made(photos)
    truths = [truth for truth in read_ground_truth(out / "gt") if truth.query.name.startswith("oslo")]
    pictures = list_pictures(out / "jpg")
    for truth in truths:
        height, width = read_part(pictures[truth.query.image]).whole
        assert truth.query.box == (0, 0, width, height) and height > width


def test_names_that_cannot_be_in_a_ground_truth_are_changed_and_no_others(photos) -> None:
    odd = photos / "  a\nclass "
    for number, name in enumerate(
        (b"x.jpg", b"x.png", b"line\nbreak.jpg", b"\xff.jpg", b" blank .jpg", b"oxc1_y.jpg")
    ):
        draw(odd / os.fsdecode(name), 500 + number)
    out = made(photos, "--share", "0.6", "--queries", "9")
    pictures = list_pictures(out / "jpg")  # refuses names that can't be
    truths = {truth.query.name: truth for truth in read_ground_truth(out / "gt")}
    assert "a_class_1" in truths
    may = {"x", "x_2", "line_break", "_", "blank", "oxc1_y"}
    found = {name.split("/")[1] for name in pictures if name.startswith("a_class/")}
    assert found == truths["a_class_1"].good.__class__(
        name.split("/")[1] for name in truths["a_class_1"].good
    )
    assert found <= may and len(found) == 4
    for truth in truths.values():
        assert truth.query.image in pictures and truth.good <= pictures.keys()
        done = compute_ap(out / "gt" / truth.query.name, sorted(truth.good), photos.parent / "ranked.txt")
        assert float(done) == 1


def compute_ap(truth: Path, ranked: Sequence[str], place: Path) -> str:
    place.write_text("".join(f"{name}\n" for name in ranked), encoding="utf-8")
    return subprocess.run(["compute_ap", truth, place], capture_output=True, text=True, check=True).stdout


def test_a_folder_of_something_else_is_not_written_over(photos, capsys) -> None:
    out = photos.parent / "out"
    (out / "holiday").mkdir(parents=True)
    assert made(photos, status=1) == out
    assert capsys.readouterr().err == (
        f"make_gt: {out} is there already, and this program has not written it: name another place\n"
    )
    assert [path.name for path in out.iterdir()] == ["holiday"]


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ({}, "has no class folders"),
        ({"a": 3, "b": 3}, "has 0 classes of 4 good photographs or more: two are needed"),
        ({"a": 9, "b": 1}, "has 1 classes of 4 good photographs or more: two are needed"),
    ],
)
def test_folders_of_which_nothing_can_be_asked(tmp_path, capsys, classes, said) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, (name, count) in enumerate(classes.items()):
        for i in range(count):
            draw(photos / name / f"{i}.jpg", 10 * number + i)
    made(photos, status=1)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_within_the_folders_themselves_it_would_be_a_class(photos, capsys) -> None:
    assert main([str(photos), "--out", str(photos / "out"), "--jobs", "1"]) == 1
    assert "where it would be taken for a class" in capsys.readouterr().err


def test_as_a_program_from_the_folder_itself(photos) -> None:
    """Its processes find its functions, and '.' names the photographs as any path does."""
    done = subprocess.run(
        [sys.executable, "-m", "data_prep.make_gt", ".", "--out", "../out", "--jobs", "2"],
        cwd=photos, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    out = photos.parent / "out"
    assert sorted(hashes(out / "jpg") + hashes(out / "train")) == sorted(hashes(photos))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_groups_are_what_hangs_together(pairs: list[tuple[int, int]]) -> None:
    """By the definition: the finest parting that never parts an original's copies, nor the same bytes."""
    photographs = [
        Photograph(Path(f"aug_{original}.jpg_{number}.jpg"), (1, 1), str(sha))
        for number, (original, sha) in enumerate(pairs)
    ]
    groups = grouped(photographs)
    assert sorted(str(one.path) for group in groups for one in group) == sorted(
        str(p.path) for p in photographs
    )

    def linked(one: int, other: int) -> bool:
        return pairs[one][0] == pairs[other][0] or pairs[one][1] == pairs[other][1]

    reach = [{j for j in range(len(pairs)) if linked(i, j)} for i in range(len(pairs))]
    for _ in pairs:
        reach = [set().union(*(reach[j] for j in seen)) for seen in reach]
    expected = {frozenset(str(photographs[j].path) for j in seen) for seen in reach}
    assert {frozenset(str(one.path) for one in group) for group in groups} == expected


@given(
    sizes=st.lists(st.integers(1, 6), max_size=20),
    twice=st.integers(0, 5),
    part=st.floats(0.01, 0.99),
    seed=st.integers(0, 9),
)
def test_both_sides_have_two_or_nothing_is_held_out(sizes, twice, part, seed) -> None:
    groups = [
        [Photograph(Path(f"{i}_{j}.jpg"), (1, 1), f"{i} {j}") for j in range(size)]
        for i, size in enumerate(sizes)
    ]
    elsewhere = frozenset(group[0].sha256 for group in groups[:twice])
    one = Class("a", groups)
    hold_out(one, elsewhere, part, seed)
    held = {photograph.sha256 for photograph in one.held_out}
    sides = [held.issuperset(member.sha256 for member in group) for group in groups]
    assert held == {
        member.sha256 for group, side in zip(groups, sides, strict=True) if side for member in group
    }
    assert not held & elsewhere
    if len(groups) >= 4 and len(groups) - len(elsewhere) >= 2:
        assert sides.count(True) >= 2 and sides.count(False) >= 2 and not one.why_not
    else:
        assert not held and one.why_not


@given(st.lists(st.text(min_size=1, max_size=20), max_size=8))
def test_safe_names_are_safe_and_no_two_the_same(names: list[str]) -> None:
    usable = [name for name in names if "\0" not in name and "/" not in name]
    try:
        given_names = [os.fsdecode(os.fsencode(name)) for name in usable]
    except UnicodeEncodeError:  # half a pair: no file is called so
        return
    result = list(named(given_names))
    assert len(set(result)) == len(result)
    for before, after in zip(given_names, result, strict=True):
        assert after == after.strip() != "" and len(after.encode()) <= 200
        assert len(f"x{after}x".splitlines()) == 1
        assert (
            before == after or safe(before) != before or given_names.count(before) > 1 or after[-1].isdigit()
        )
