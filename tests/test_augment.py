"""augment: exactly num-wanted, the same bytes whoever works. The pictures: test_augment_engines.py."""

import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.augment import augment, plan_class, read_picture
from data_prep.augmentation.engines import ENGINES, Look
from data_prep.classes.folders import copy_name, is_copy, original_of

ROOT = Path(__file__).resolve().parent.parent
KERAS, OPENCV = (ENGINES[name](Look()) for name in ("keras", "opencv"))


def photograph(width: int = 64, height: int = 48, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(
        rng.integers(0, 256, (6, 8, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(coarse + rng.normal(0, 10, coarse.shape), 0, 255).astype(np.uint8)


def make_classes(folder: Path, classes: dict[str, list[str]]) -> Path:
    for name, files in classes.items():
        (folder / name).mkdir(parents=True)
        for index, file in enumerate(files):
            cv2.imwrite(str(folder / name / file), photograph(seed=index))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "data_prep.augment", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **options)


@given(st.integers(1, 30), st.integers(1, 100))
def test_the_plan_is_exact_and_even(originals: int, wanted: int) -> None:
    names = [f"{number}.jpg" for number in range(originals)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data_prep.augment.picture_names", lambda folder: names)
        plan = plan_class(Path("c"), wanted)
    assert len(plan.to_make) == max(0, wanted - originals)
    assert len({copy_name(*task) for task in plan.to_make}) == len(plan.to_make)
    if originals < wanted:
        copies = Counter(original for original, _ in plan.to_make)
        assert max(copies.values()) - min(copies[name] for name in names) <= 1


@given(st.text(min_size=1).map(lambda stem: stem + ".jpg"), st.integers(0, 10**6))
def test_a_copy_says_its_original(original: str, number: int) -> None:
    assert original_of(copy_name(original, number)) == original
    assert is_copy(copy_name(original, number))


@pytest.mark.parametrize(
    "name", ["a.jpg", "aug_0_1234.jpg", "aug_a_1.jpg", "aug_.jpg_1.png", "x_aug_a.jpg_1.jpg"]
)
def test_names_that_are_no_copies(name: str) -> None:
    assert not is_copy(name)


def test_exactly_num_wanted_and_not_twice(tmp_path: Path) -> None:
    folder = make_classes(
        tmp_path / "c",
        {
            "few": ["a.jpg", "a.png", "b c.JPG"],
            "enough": [f"{i}.jpg" for i in range(12)],
            "more": [f"{i}.jpg" for i in range(14)],
            "one": ["1.jpg"],
        },
    )
    (folder / "few" / "notes.txt").write_text("no picture")
    (folder / "few" / ".a.jpg.part").write_text("half")
    before = contents(folder)
    done = run(folder, "--num-wanted", 12, "--seed", 3, "--jobs", 2)
    assert (done.returncode, done.stdout) == (0, "4 classes: 20 copies made\n")
    after = contents(folder)
    assert before.items() <= after.items()
    assert Counter(Path(name).parent.name for name in after.keys() - before.keys()) == {"few": 9, "one": 11}
    by_original = Counter(original_of(Path(name).name) for name in after if name.startswith("few/aug_"))
    assert by_original == {"a.jpg": 3, "a.png": 3, "b c.JPG": 3}
    pictures = [after[name] for name in after.keys() - before.keys()]
    assert len(set(pictures)) == len(pictures), "no two copies alike"
    assert all(cv2.imdecode(np.frombuffer(data, np.uint8), 1).shape == (48, 64, 3) for data in pictures)

    assert run(folder, "--num-wanted", 12, "--seed", 3).stdout == "4 classes: 0 copies made\n"
    assert contents(folder) == after


@pytest.mark.parametrize("engine", ["keras", "opencv"])
def test_same_bytes_for_any_number_of_jobs(tmp_path: Path, engine: str) -> None:
    classes = {"x": ["a.jpg", "b.jpg", "c.jpg"], "y": ["a.jpg"]}
    one = make_classes(tmp_path / "one", classes)
    two = make_classes(tmp_path / "two", classes)
    other = make_classes(tmp_path / "other", classes)
    for folder, seed, jobs in ((one, 5, 1), (two, 5, 2), (other, 6, 1)):
        augment(folder, 20, seed, ENGINES[engine](Look()), jobs)
    assert contents(one) == contents(two)
    assert contents(one).keys() == contents(other).keys() and contents(one) != contents(other)
    assert contents(one)["x/aug_a.jpg_0.jpg"] != contents(one)["y/aug_a.jpg_0.jpg"]


def test_interpolation_and_stretch_are_the_users(tmp_path: Path) -> None:
    """Each option changes the copies, and no copy of a dark picture is bright unless asked."""
    made = {}
    for interpolation in ("nearest", "bilinear"):
        for stretch in ("yes", "no"):
            folder = make_classes(tmp_path / interpolation / stretch, {"x": ["a.png"]})
            cv2.imwrite(str(folder / "x" / "a.png"), photograph() // 3)
            options = ("--interpolation", interpolation, "--stretch", stretch, "--num-wanted", 3, "--jobs", 1)
            assert run(folder, *options).returncode == 0
            copy = cv2.imread(str(folder / "x" / "aug_a.png_1.jpg"))
            assert (copy.max() > 240) == (stretch == "yes")
            made[interpolation, stretch] = copy.tobytes()
    assert len(set(made.values())) == 4


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_and_run_again_it_completes(tmp_path: Path, sent: int) -> None:
    whole = make_classes(tmp_path / "whole", {"x": ["a.jpg", "b.jpg"]})
    killed = make_classes(tmp_path / "killed", {"x": ["a.jpg", "b.jpg"]})
    augment(whole, 1500, 1, OPENCV, jobs=1)
    command = [sys.executable, "-m", "data_prep.augment", killed, "--num-wanted", "1500", "--seed", "1"]
    command += ["--engine", "opencv", "--jobs", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while len(list((killed / "x").iterdir())) < 20:
        time.sleep(0.005)
    process.send_signal(sent)
    process.wait(timeout=120)
    time.sleep(0.3 if sent == signal.SIGKILL else 0)
    there = contents(killed)
    assert len(there) < 1500, "it was to be killed half way"
    finished = {name: data for name, data in there.items() if not name.endswith(".part")}
    assert finished.items() <= contents(whole).items()
    if sent != signal.SIGKILL:
        assert finished == there
    augment(killed, 1500, 1, OPENCV, jobs=1)
    assert {k: v for k, v in contents(killed).items() if not k.endswith(".part")} == contents(whole)


def test_any_copies_missing_are_made_again(tmp_path: Path) -> None:
    folder = make_classes(tmp_path / "c", {"x": ["a.jpg", "b.jpg"]})
    augment(folder, 15, 1, KERAS, jobs=1)
    whole = contents(folder)
    for name in ("aug_a.jpg_0.jpg", "aug_b.jpg_3.jpg", "aug_b.jpg_5.jpg"):
        (folder / "x" / name).unlink()
    power_cut = {"aug_a.jpg_2.jpg": b"", "aug_b.jpg_1.jpg": bytes(900), "aug_b.jpg_2.jpg": b"\xff"}
    for name, left in power_cut.items():
        (folder / "x" / name).write_bytes(left)
    assert augment(folder, 15, 1, KERAS, jobs=1) == (6, 0)
    assert contents(folder) == whole


def test_still_exact_when_originals_come_and_go(tmp_path: Path) -> None:
    folder = make_classes(tmp_path / "c", {"x": ["a.jpg", "b.jpg", "c.jpg"]})
    augment(folder, 20, 1, OPENCV, jobs=1)
    (folder / "x" / "b.jpg").unlink()
    cv2.imwrite(str(folder / "x" / "d.jpg"), photograph(seed=9))
    cv2.imwrite(str(folder / "x" / "e.jpg"), photograph(seed=10))
    augment(folder, 20, 1, OPENCV, jobs=1)
    names = [Path(name).name for name in contents(folder)]
    assert len(names) == 20
    copies = Counter(original_of(name) for name in names if is_copy(name))
    assert copies == {"a.jpg": 4, "c.jpg": 4, "d.jpg": 4, "e.jpg": 4}


def test_a_picture_is_read_as_caffe_reads_it(tmp_path: Path) -> None:
    """Turned upright by its EXIF data and in three channels, so that copies stand as their original will."""
    from PIL import Image

    lying = Image.fromarray(photograph(64, 48))
    exif = Image.Exif()
    exif[0x0112] = 6
    lying.save(tmp_path / "a.jpg", exif=exif, quality=100)
    assert read_picture(tmp_path / "a.jpg").shape == (64, 48, 3)
    lying.convert("L").save(tmp_path / "g.png")
    assert read_picture(tmp_path / "g.png").shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("classes", "name", "data", "sentence", "jobs"),
    [
        ({"x": ["a.jpg"]}, "empty/notes.txt", b"", "class folder {folder}/empty has no pictures", 1),
        ({"x": ["a.jpg"]}, "y/aug_a.jpg_0.jpg", b"", "their originals are gone", 1),
        ({"x": ["a.jpg"]}, "x/b.jpg", b"no picture", "{folder}/x/b.jpg is no readable picture", 2),
        ({"x": ["a.jpg"]}, "x/b.jpg", b"", "{folder}/x/b.jpg is no readable picture", 1),
        ({}, "a.jpg", b"", "has no class folders", 1),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, classes: dict[str, list[str]], name: str, data: bytes, sentence: str, jobs: int
) -> None:
    folder = make_classes(tmp_path / "c", classes)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    done = run(folder, "--num-wanted", 4, "--jobs", jobs)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if not line.startswith("augmenting: ")]
    assert len(said) == 1 and said[0].startswith("augment: ") and sentence.format(folder=folder) in said[0]


def test_missing_folder(tmp_path: Path) -> None:
    done = run(tmp_path / "nowhere")
    assert (done.returncode, done.stderr) == (
        1,
        f"augment: No such file or directory: {tmp_path / 'nowhere'}\n",
    )


@pytest.mark.parametrize("jobs", [1, 2])
def test_full_disk_leaves_no_half_copy(tmp_path: Path, jobs: int) -> None:
    folder = make_classes(tmp_path / "c", {"x": ["a.jpg"]})
    before = contents(folder)
    limit = (500, 500)
    done = run(folder, "--jobs", jobs, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"augment: File too large: {folder}/x/aug_a.jpg_0.jpg"
    assert contents(folder) == before


def test_small_classes_are_left_out_and_named(tmp_path: Path) -> None:
    source = make_classes(
        tmp_path / "c", {"x": ["a.jpg", "b.jpg"], "y": ["a.jpg", "b.jpg"], "one": ["a.jpg"]}
    )
    (source / "none").mkdir()
    done = run(tmp_path / "grown", "--from", source, "--num-wanted", 3)
    assert done.returncode == 0, done.stderr
    assert "2 classes with fewer than 2 pictures left out: none (0), one (1)\n" in done.stdout
    assert sorted(path.name for path in (tmp_path / "grown").iterdir()) == ["x", "y"]
    again = run(tmp_path / "grown", "--from", source, "--num-wanted", 3)
    assert again.returncode == 0 and "none (0), one (1)" in again.stdout
    (source / "brought along").mkdir()
    for name in (
        "a.jpg",
        "aug_a.jpg_1.jpg",
        "aug_a.jpg_2.jpg",
    ):  # one photograph: a split finds nothing to part
        (source / "brought along" / name).write_bytes((source / "x" / "a.jpg").read_bytes())
    more = run(tmp_path / "more", "--from", source, "--num-wanted", 3)
    assert more.returncode == 0 and "brought along (1)" in more.stdout
    every = run(tmp_path / "every", "--from", source, "--num-wanted", 3, "--min-pictures", 3)
    assert every.returncode == 1 and "has 0 classes with 3 pictures or more" in every.stderr
    assert not (tmp_path / "every").exists()
