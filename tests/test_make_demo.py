"""make_demo: geometry against its definition, the sets against Oxford's layout and check_images."""

import csv
import hashlib
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.demo import scenes
from data_prep.demo.broken import BROKEN
from data_prep.demo.buildings.archetypes import ARCHETYPES, draw_building
from data_prep.demo.generic.classes import GENERIC
from data_prep.demo.photo import Camera
from data_prep.demo.scenes import Framing, Photo, photograph
from data_prep.make_demo import (
    SNAPSHOT,
    STREAMS,
    class_sizes,
    label_of,
    landmark_names,
    main,
    make_whole,
    photograph_clearly,
)

ROOT = Path(__file__).resolve().parent.parent
OXFORD = ROOT / "../shared/oxford5k_gt"
JOBS = 2
DRAWS = "95e2fcb8db8d0b2514ce02f2909bac1781109a15e837224bb1465b601093aac8"

numbers = st.floats(-3, 3)
points = st.tuples(numbers, numbers, numbers).map(np.array)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three sets, small, from one seed."""
    folder = tmp_path_factory.mktemp("demo")
    small = {
        "generic": ["--pictures", "1"],
        "landmarks": ["--classes", "5", "--largest", "12", "--broken", "1"],
        "retrieval": ["--distractors", "12"],
    }
    for name, options in small.items():
        assert main([name, "--out", str(folder / name), "--seed", "5", "--jobs", str(JOBS), *options]) == 0
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def run(*arguments: str, program: str = "make_demo") -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", f"data_prep.{program}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def a_camera() -> Camera:
    return Camera(np.array([2.0, 3.0, 20.0]), np.array([0.0, 1.0, 0.0]), 300.0, (320, 240), 0.1)


@settings(max_examples=50)
@given(points, points, points, st.floats(0, 1), st.floats(0, 1))
def test_a_face_lands_where_its_points_do(
    origin: np.ndarray, u: np.ndarray, v: np.ndarray, s: float, t: float
) -> None:
    camera, normal = a_camera(), np.cross(v, u)
    if abs(normal @ (camera.position - origin)) < 0.1:
        return
    point = origin + s * u + t * v
    pixels, depths = camera.project(point[None])
    mapped = camera.plane_homography(origin, u, v) @ [s, t, 1]
    np.testing.assert_allclose(mapped[:2] / mapped[2], pixels[0], rtol=1e-6, atol=1e-6)
    nearness = camera.inverse_depth_plane(origin, normal) @ [*pixels[0], 1]
    assert nearness == pytest.approx(1 / depths[0], rel=1e-6)


def test_the_camera_looks_at_its_target_with_the_sky_above() -> None:
    camera = Camera(np.array([0, 2.0, 10]), np.array([0, 2.0, 0]), 100.0, (200, 100), 0.0)
    pixels, depths = camera.project(np.array([[0, 2, 0], [1, 2, 0], [0, 3, 0], [0, 2, 20]]))
    np.testing.assert_allclose(pixels[:3], [[100, 50], [110, 50], [100, 40]])
    np.testing.assert_allclose(depths, [10, 10, 10, -10])


@pytest.mark.parametrize("archetype", ARCHETYPES)
def test_a_building_with_nothing_in_the_way_is_seen_whole(archetype: str) -> None:
    building = draw_building(np.random.default_rng(3), archetype)
    alone = Framing(span=(0.5, 0.5), aside=0.0, turn=0.1, clutter=0.0, blocked=(0, 0))
    photo = photograph(np.random.default_rng(4), building, alone)
    assert photo.visible > 0.85
    x0, y0, x1, y1 = photo.box
    height, width = photo.picture.shape[:2]
    assert 0 < x0 < x1 < width and 0 < y0 < y1 < height
    assert max((x1 - x0) / width, (y1 - y0) / height) == pytest.approx(0.5, abs=0.2)


def test_a_wall_whose_horizon_is_in_the_picture_leaves_the_rest_as_it_is() -> None:
    """One pixel of it came from nowhere, and a mean over the picture made all others as undefined."""
    seed = (1, STREAMS["landmarks"], 57, 71)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        building = draw_building(np.random.default_rng(seed[:3]), "keep")
        photo = photograph(np.random.default_rng(seed), building, SNAPSHOT)
    assert photo.picture.std() > 20


def test_the_order_of_draws_is_kept() -> None:
    """What each building and each generic picture leaves its generator with: demo figures hang on it."""
    left: list[tuple[object, ...]] = []
    for archetype in ARCHETYPES:
        rng = np.random.default_rng(3)
        building = draw_building(rng, archetype)
        size = (round(building.width, 3), round(building.height, 3))
        left.append((archetype, *size, int(rng.integers(10**9))))
    for name, paint in GENERIC.items():
        rng = np.random.default_rng(4)
        left.append((name, *paint(rng).shape, int(rng.integers(10**9))))
    assert hashlib.sha256(repr(left).encode()).hexdigest() == DRAWS


@pytest.mark.parametrize(
    ("visible", "label"),
    [
        (1.0, "good"),
        (0.7, "good"),
        (0.69, "ok"),
        (0.25, "ok"),
        (0.24, "junk"),
        (0.03, "junk"),
        (0.02, "absent"),
    ],
)
def test_labels_say_how_much_is_seen(visible: float, label: str) -> None:
    assert label_of(Photo(np.zeros((4, 4, 3), np.uint8), (0, 0, 4, 4), visible)) == label


def test_what_is_asked_for_is_clearly_visible() -> None:
    building = draw_building(np.random.default_rng(8), "hall")
    framing = Framing(span=(0.4, 2.5), across=0.9, pixels=1.83)
    for seed in range(5):
        photo = photograph_clearly(np.random.default_rng(seed), building, framing)
        x0, y0, x1, y1 = photo.box
        assert label_of(photo) == "good" and min(x1 - x0, y1 - y0) >= 48


def test_a_place_keeps_its_ground_and_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two photographs of one place, another light and other passers-by, and the same town around it."""
    building = draw_building(np.random.default_rng(8), "church")
    stood: list[object] = []
    monkeypatch.setattr(scenes, "draw_on", lambda canvas, what, where, *_: stood.append((id(what), where)))

    def town(place: int, seed: int) -> list[object]:
        stood.clear()
        photograph(np.random.default_rng(seed), building, Framing(town=2.0, place=(place,)))
        return [(what, where.x, where.z, where.turn) for what, where in stood]

    assert town(1, 1) == town(1, 2) != town(2, 1)
    assert len(town(1, 1)) > 1


def test_same_pictures_whatever_the_jobs(sets: Path, tmp_path: Path) -> None:
    options = ["--seed", "5", "--jobs", "1", "--classes", "5", "--largest", "12", "--broken", "1"]
    assert main(["landmarks", "--out", str(tmp_path / "again"), *options]) == 0
    assert contents(tmp_path / "again") == contents(sets / "landmarks")


def test_another_seed_another_picture(sets: Path, tmp_path: Path) -> None:
    assert main(["generic", "--out", str(tmp_path / "g"), "--seed", "6", "--pictures", "1"]) == 0
    first, second = contents(sets / "generic"), contents(tmp_path / "g")
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())


@pytest.mark.parametrize("file", ["deploy", "as_printed/deploy"])
def test_the_deploy_files_last_layer_has_the_generic_classes(file: str) -> None:
    """What stands for ImageNet's 1000 there; a network opened whole, as for the wirings, needs it."""
    text = (ROOT / "prototxt" / "demo" / f"{file}.prototxt").read_text()
    assert (
        f"num_output: {len(GENERIC)}" in text[text.rindex("InnerProduct" if file == "deploy" else "INNER_") :]
    )


def test_generic_has_every_class(sets: Path) -> None:
    assert sorted(path.name for path in (sets / "generic").iterdir()) == sorted(GENERIC)
    for path in (sets / "generic").rglob("*.jpg"):
        picture = cv2.imread(str(path))
        assert picture.ndim == 3 and picture.std() > 4, path


@settings(max_examples=30)
@given(st.integers(2, 90), st.integers(9, 300), st.integers(0, 5))
def test_class_sizes_are_uneven_from_nine_to_the_largest(classes: int, largest: int, seed: int) -> None:
    sizes = class_sizes(np.random.default_rng(seed), classes, largest)
    assert len(sizes) == classes
    assert (min(sizes), max(sizes)) == (9, largest)


def test_names_are_words_and_differ() -> None:
    kinds = list(ARCHETYPES) * 5
    names = landmark_names(np.random.default_rng(0), kinds, ["alder", "amber", "ashen"])
    assert len(set(names)) == len(names) == len(kinds)
    assert all(name.replace("_", "").isalpha() for name in names)


def test_check_images_finds_what_was_broken_and_nothing_else(sets: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.csv"
    done = run("--report", str(report), str(sets / "landmarks"), program="check_images")
    assert done.returncode == 1, done.stderr
    with report.open(newline="") as lines:
        problems = Counter(row["problem"] for row in csv.DictReader(lines))
    assert problems == {"truncated": 2, "empty": 1, "not-image": 1, "channels": 4, "extension": 1}
    assert problems.total() == len(BROKEN)


def members(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_retrieval_has_oxfords_layout(sets: Path) -> None:
    ground_truth, pictures = (
        sets / "retrieval" / "gt",
        {p.stem: p for p in (sets / "retrieval/jpg").iterdir()},
    )
    queries = sorted(ground_truth.glob("*_query.txt"))
    assert len(queries) == 55
    assert len(list(ground_truth.iterdir())) == 220
    assert len({path.name[: -len("_1_query.txt")] for path in queries}) == 11
    seen: set[str] = set()
    for query in queries:
        name, *box = query.read_text().split()
        stem = query.name[: -len("_query.txt")]
        good, ok, junk = (members(ground_truth / f"{stem}_{label}.txt") for label in ("good", "ok", "junk"))
        assert name.startswith("oxc1_") and name[5:] in good
        assert len(good) >= 5 and ok and junk
        assert len({*good, *ok, *junk}) == len(good) + len(ok) + len(junk)
        assert {*good, *ok, *junk} <= pictures.keys()
        seen |= {*good, *ok, *junk}
        height, width = cv2.imread(str(pictures[name[5:]])).shape[:2]
        x0, y0, x1, y1 = map(float, box)
        assert 0 <= x0 < x1 - 20 < x1 <= width and 0 <= y0 < y1 - 20 < y1 <= height
    assert {f"city_{i:06d}" for i in range(1, 13)} <= pictures.keys() - seen


def shares_of_boxes(ground_truth: Path, size_of: Callable[[str], tuple[int, int]]) -> np.ndarray:
    """Each query's box as a share of its picture's area."""
    shares = []
    for query in sorted(ground_truth.glob("*_query.txt")):
        name, *box = query.read_text().split()
        x0, y0, x1, y1 = map(float, box)
        height, width = size_of(name.removeprefix("oxc1_"))
        shares.append((x1 - x0) * (y1 - y0) / (height * width))
    return np.array(shares)


def shares_of_labels(ground_truth: Path) -> dict[str, float]:
    """How many of the labelled pictures are good, ok and junk, each landmark counted once."""
    counts = {
        label: sum(len(members(path)) for path in ground_truth.glob(f"*_1_{label}.txt"))
        for label in ("good", "ok", "junk")
    }
    return {label: count / sum(counts.values()) for label, count in counts.items()}


@pytest.mark.skipif(not OXFORD.is_dir(), reason="Oxford5k's ground truth is not here")
def test_landmarks_are_as_large_and_as_hidden_as_oxfords(sets: Path) -> None:
    ours, jpg = sets / "retrieval" / "gt", sets / "retrieval" / "jpg"
    boxes = shares_of_boxes(ours, lambda name: cv2.imread(str(jpg / f"{name}.jpg")).shape[:2])
    theirs = shares_of_boxes(OXFORD, lambda _: (768, 1024))  # most of its photographs
    levels = (10, 25, 50, 75, 90)
    np.testing.assert_allclose(np.percentile(boxes, levels), np.percentile(theirs, levels), atol=0.2)
    labels, oxfords = shares_of_labels(ours), shares_of_labels(OXFORD)
    assert labels == pytest.approx(oxfords, abs=0.15)


def test_retrieval_photographs_are_to_the_networks_input_as_oxfords(sets: Path) -> None:
    """The article shrinks 1024 pixels to 224."""
    longest = [max(cv2.imread(str(path)).shape[:2]) for path in (sets / "retrieval/jpg").glob("*_*.jpg")]
    assert np.max(longest) / 64 == pytest.approx(1024 / 224, rel=0.05)


def test_no_landmark_is_in_both_sets(sets: Path) -> None:
    trained = {path.name for path in (sets / "landmarks").iterdir()}
    queried = {path.name.rsplit("_", 2)[0] for path in (sets / "retrieval/gt").glob("*_query.txt")}
    assert not trained & queried
    assert not {name.split("_")[0] for name in trained} & {name.split("_")[0] for name in queried}


def test_colour_alone_does_not_tell_landmarks_apart(sets: Path) -> None:
    """Nearest neighbour by mean colour of the box's middle, among good pictures: not much over chance."""
    jpg, colours, owners = sets / "retrieval" / "jpg", [], []
    for query in sorted((sets / "retrieval/gt").glob("*_query.txt")):
        name, *box = query.read_text().split()
        x0, y0, x1, y1 = map(float, box)
        middle = np.s_[
            int(y0 * 0.7 + y1 * 0.3) : int(y1), int(x0 * 0.7 + x1 * 0.3) : int(x0 * 0.3 + x1 * 0.7)
        ]
        colours.append(cv2.imread(str(jpg / f"{name[5:]}.jpg"))[middle].mean((0, 1)))
        owners.append(query.name.rsplit("_", 2)[0])
    distance = np.linalg.norm(np.array(colours)[:, None] - np.array(colours)[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    hits = [owners[i] == owners[j] for i, j in enumerate(distance.argmin(1))]
    assert np.mean(hits) < 0.4


def test_an_existing_folder_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "kept").write_text("mine")
    assert main(["generic", "--out", str(tmp_path), "--seed", "1", "--pictures", "1"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_force_replaces_only_by_something_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_whole(out, lambda part: (part / "old").touch() or None, force=False)

    def interrupted(part: Path) -> None:
        (part / "new").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_whole(out, interrupted, force=True)
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["out", "out/old"]
    make_whole(out, lambda part: (part / "new").touch() or None, force=True)
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["out", "out/new"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["landmarks", "--classes", "1200"], "1200 classes are too many"),
        (["landmarks", "--classes", "2", "--largest", "5"], "at least 9"),
        (["landmarks", "--broken", "-1"], "negative"),
        (["retrieval", "--distractors", "-1"], "negative"),
        (["generic", "--pictures", "0"], "a whole number from 1 up"),
        (["generic", "--seed", "-1"], "negative"),
    ],
)
def test_bad_options_get_a_sentence(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    done = run(*arguments[:1], "--out", str(tmp_path / "out"), "--seed", "1", *arguments[1:])
    assert done.returncode in (1, 2)
    assert sentence in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("generic", "--out", str(tmp_path / "file" / "out"), "--seed", "1")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "Not a directory" in done.stderr
