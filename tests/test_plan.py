"""The plan of disk and time, against what stages then take, and what it says where room is short."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tools.run import plan

ROOT = Path(__file__).resolve().parent.parent


def settings(work: Path, pictures: Path, **more: object) -> dict[str, str]:
    values: dict[str, object] = {
        "W": work,
        "DATA_DIR": work / "data",
        "GPUS": "none",
        "TABLE": 0,
        "PROFILE": "mine",
        "SOURCE": "own",
        "NETWORK": "demo",
        "TRAIN_PICTURES": pictures,
        "DATABASE": pictures,
        "TRAINING_SET": "own",
        "WEIGHTS": "",
        "NUM_WANTED": 20,
        "RESIZE": 64,
        "MIN_PICTURES": 2,
        "TRAIN_SHARE": 0.6,
        "AUGMENT_ENGINE": "keras",
        "KEEP_SNAPSHOTS": 3,
        "MAX_ITER": "",
        "EFFECTIVE_BATCH": "",
        "LAYERS": "fc6",
        "DIMS": "128 none",
        "MAX_SIDE": 160,
        "LEARN_SAMPLE": 10,
        "MOP_STEP": 32,
        "MOP_SAMPLE": "",
        "LEARN_FROM": "",
        "WHITEN_SAMPLE": 1000,
        "AS_PUBLISHED": "no",
        "POOLINGS": "max,rmac",
        "MAP_LAYERS": "pool5",
        "MAP_DIMS": "128 none",
        "MOP_CENTRES": 10,
        "MOP_WINDOW_DIMS": 50,
        "MOP_OUTPUT_DIMS": 40,
    }
    return {name: str(value) for name, value in (values | more).items()}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three classes of 4, 10 and 30 pictures of noise; a hidden folder and another file count for nothing."""
    random = np.random.default_rng(1)
    for name, count in (("a", 4), ("b", 10), ("c", 30), (".hidden", 3)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(count):
            noise = random.integers(0, 256, (80, 100, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "pictures" / name / f"{number}.jpg"), noise)
    (tmp_path / "pictures" / "a" / "notes.txt").write_text("x" * 10_000)
    return tmp_path / "pictures"


def need(stage: str, given: dict[str, str]) -> plan.Need:
    (found,) = [one for one in plan.needs(given, 2) if one.stage == stage]
    return found


def test_what_mop_cnn_learns_from_is_counted(pictures: Path, tmp_path: Path) -> None:
    """75 windows of a picture (25 of 128, 49 of 64, itself), 4096 numbers each; and PCA's columns, one more
    for each picture up to 40, of 10 x 50 values, at both sizes of window."""
    given = settings(tmp_path, pictures, TABLE="3", NETWORK="vgg16", GPUS="none")

    def size(sample: int) -> float:
        return need("representations", given | {"MOP_SAMPLE": str(sample)}).bytes

    assert size(20) - size(10) == 4 * 10 * (75 * 4096 + 2 * (10 * 50 + 44))
    assert size(90) - size(80) == 4 * 10 * 75 * 4096


def test_pictures_are_counted(pictures: Path) -> None:
    found = plan.counted(pictures)
    size = sum(path.stat().st_size for path in pictures.glob("[abc]/*.jpg"))
    assert (found.count, sorted(found.classes)) == (44, [4, 10, 30])
    assert found.bytes == pytest.approx(size, rel=0.1)
    assert found.megapixels == pytest.approx(0.008)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".jpg", []),
        (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        (".jpg", [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
        (".png", []),
        (".bmp", []),
    ],
)
def test_a_picture_s_size_is_in_its_header(tmp_path: Path, suffix: str, options: list[int]) -> None:
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), np.zeros((37, 1023, 3), np.uint8), options)
    assert plan.pixels_of(path) == (None if suffix == ".bmp" else 37 * 1023)
    cut = tmp_path / f"cut{suffix}"
    for length in (0, 1, 2, 3, 20, 100):
        cut.write_bytes(path.read_bytes()[:length])
        assert plan.pixels_of(cut) in ((37 * 1023, None) if length == 100 else (None,))


def test_larger_pictures_take_longer(pictures: Path, tmp_path: Path) -> None:
    before = {
        stage: need(stage, settings(tmp_path, pictures)).seconds for stage in ("check", "augment", "lmdb")
    }
    for path in pictures.rglob("*.jpg"):
        cv2.imwrite(str(path), np.zeros((800, 1000, 3), np.uint8))
    for stage, seconds in before.items():
        longer = need(stage, settings(tmp_path, pictures)).seconds
        assert seconds and longer and 10 * seconds < longer < 100 * seconds


@pytest.mark.parametrize(
    ("max_iter", "expected"),
    [("", (50_000, 11)), ("50000", (50_000, 11)), ("25000", (25_000, 11)), ("3", (3, 4))],
)
def test_steps_and_tests_are_the_article_s_solver_s(max_iter: str, expected: tuple[int, int]) -> None:
    assert plan.schedule_of("vgg16", max_iter) == expected  # tested before the first step, and every tenth


def test_an_lmdb_takes_what_was_planned(pictures: Path, tmp_path: Path) -> None:
    given = settings(tmp_path / "work", pictures, NUM_WANTED=1, RESIZE=256)
    planned = need("lmdb", given).bytes
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{path} 0\n" for path in sorted(pictures.glob("[abc]/*.jpg"))))
    convert = [
        "convert_imageset",
        "--resize_height=256",
        "--resize_width=256",
        "/",
        listed,
        tmp_path / "lmdb",
    ]
    subprocess.run(convert, check=True, capture_output=True)
    taken = (tmp_path / "lmdb" / "data.mdb").stat().st_blocks * 512
    assert planned / 1.5 < taken < planned * 1.5


def test_copies_fill_every_class(pictures: Path, tmp_path: Path) -> None:
    assert need("augment", settings(tmp_path, pictures)).why.startswith("26 copies")  # 4, 10 and 30 are there
    assert need("augment", settings(tmp_path, pictures, NUM_WANTED=5)).why.startswith("1 copies")
    given = settings(tmp_path, pictures, MIN_PICTURES=5)  # the smallest class is left out
    assert need("augment", given).why.startswith("10 copies")
    assert need("lmdb", given).why.startswith("50 pictures")


def test_training_on_a_gpu_is_not_guessed(pictures: Path, tmp_path: Path) -> None:
    on_cpu, on_gpu = (need("finetune", settings(tmp_path, pictures, GPUS=gpus)) for gpus in ("none", "0,1"))
    assert on_cpu.seconds and on_gpu.seconds is None
    assert on_cpu.bytes == on_gpu.bytes


def test_table_1_needs_no_training(pictures: Path, tmp_path: Path) -> None:
    assert [one.stage for one in plan.needs(settings(tmp_path, pictures, TABLE=1), 2)] == ["extract", "score"]


def test_what_is_done_needs_nothing(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / ".steps").mkdir()
    (tmp_path / ".steps" / "lmdb%val_lmdb.done").touch()
    assert "lmdb" not in {one.stage for one in plan.needs(settings(tmp_path, pictures), 2)}


def test_too_little_room_is_refused_with_the_figures(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000_000))
    words = [f"{name}={value}" for name, value in settings(tmp_path, pictures, RESIZE=1000).items()]
    assert plan.main(["--check", *words]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(
        f"run_all: too little room at {tmp_path}: this run needs 231 MB, and 2.0 MB are free"
    )
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**12))
    assert plan.main(["--check", *words]) == 0
    assert capsys.readouterr() == ("", "")
    assert plan.main(["--json", *words]) == 0
    assert "lmdb" in {one["stage"] for one in json.loads(capsys.readouterr().out)}


def test_whoever_reads_may_stop(tmp_path: Path) -> None:
    """`--plan | head -1` ends without a word; a caller of main keeps its own SIGPIPE."""
    words = [f"{name}={value}" for name, value in settings(tmp_path, tmp_path).items()]
    before = signal.getsignal(signal.SIGPIPE)
    assert plan.main(["--json", *words]) == 0
    assert signal.getsignal(signal.SIGPIPE) == before
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, ROOT / "tools" / "run" / "plan.py", *words]
    ran = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (-signal.SIGPIPE, b"")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 kB"),
        (999_400, "999 kB"),
        (999_600, "1.0 MB"),
        (3_440_000, "3.4 MB"),
        (99_960_000, "100 MB"),
        (999_400_000, "999 MB"),
        (999_600_000, "1.0 GB"),
        (40e9, "40.0 GB"),
        (1.234e12, "1,234 GB"),
    ],
)
def test_sizes_are_said_in_the_unit_that_shows_them(size: float, words: str) -> None:
    assert plan.size_in_words(size) == words


@pytest.mark.parametrize("source", ["made", "own"])
def test_what_is_left_out_is_said(pictures: Path, tmp_path: Path, source: str) -> None:
    values = settings(tmp_path, pictures, SOURCE=source)
    last = plan.as_text(plan.needs(values, 2), values, 2).splitlines()[-1]
    assert last.startswith("not counted: set-up") and ("the demo's pictures" in last) == (source == "made")


@pytest.mark.parametrize("profile", ["demo", "article"])
def test_run_all_prints_it(profile: str) -> None:
    command = [ROOT / "run_all.sh", "--profile", profile, "--table", "1", "--plan"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"Plan for {profile} on ")
    assert "GB free at" in done.stdout and "extract" in done.stdout


def test_what_is_whitened_on_is_counted(tmp_path: Path, pictures: Path) -> None:
    """Each model looks at those photographs too, up to WHITEN_SAMPLE of them."""
    plain = need("extract", settings(tmp_path, pictures)).seconds
    assert plain is not None
    other = tmp_path / "others"
    other.mkdir()
    for number in range(88):
        (other / f"{number}.jpg").write_bytes(b"x")
    for sample, more in ((1000, 88), (10, 10)):
        found = need("extract", settings(tmp_path, pictures, LEARN_FROM=other, WHITEN_SAMPLE=sample))
        assert found.seconds == pytest.approx(plain * (44 + more) / 44)
    assert need("extract", settings(tmp_path, pictures, LEARN_FROM=pictures)).seconds == plain


def test_what_the_published_code_does_is_ranked_too(tmp_path: Path, pictures: Path) -> None:
    """Its wiring before fine-tuning; boxes, re-ranking and all together before and after it."""
    plain = need("score", settings(tmp_path, pictures))
    published = need("score", settings(tmp_path, pictures, AS_PUBLISHED="yes"))
    assert plain.why.startswith("2 rankings") and published.why.startswith("9 rankings")
    assert plain.seconds and published.seconds and published.seconds > 4.5 * plain.seconds


def test_what_a_stopped_run_has_left_needs_no_room_again(pictures: Path, tmp_path: Path) -> None:
    """Else a disk that is just large enough for a run refuses the run that goes on."""
    work = tmp_path / "work"
    given = settings(work, pictures)
    whole = {one.stage: one.bytes for one in plan.needs(given, 2)}
    left = {
        "augment": work / "augmented" / "a" / "aug_1.jpg_0.jpg",
        "lmdb": work / "lmdb" / "train_lmdb.unfinished" / "lmdb" / "data.mdb",
        "finetune": work / "snapshots" / "vgg_iter_1.caffemodel",
        "extract": work / "features" / "pretrained.h5",
    }
    for path in left.values():
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 20_480)
    (work / "augmented" / "a" / "1.jpg").write_bytes(b"x" * 20_480)  # no copy: a hard link as a rule
    for stage, size in whole.items():
        assert need(stage, given).bytes == max(0, size - 20_480 * (stage in left))


def test_what_a_stopped_download_has_left_needs_no_room_again(pictures: Path, tmp_path: Path) -> None:
    given = settings(
        tmp_path / "work",
        tmp_path / "data" / "sfm120k",
        SOURCE="download",
        TRAINING_SET="sfm120k",
        DATABASE=pictures,
    )
    assert need("data", given).bytes == 60_000_000_000
    for path in ("ims.tar.gz.part", "sfm120k.part/train_0001/a.jpg"):
        (tmp_path / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / path).write_bytes(b"x" * 8192)
    assert need("data", given).bytes == 60_000_000_000 - 2 * 8192


def test_stages_that_are_not_asked_for_need_nothing(pictures: Path, tmp_path: Path) -> None:
    given = settings(tmp_path, pictures, STAGES="lmdb report")
    assert [one.stage for one in plan.needs(given, 2)] == ["lmdb"]


def test_odd_files_among_the_pictures_are_no_reason_to_stop(pictures: Path, tmp_path: Path) -> None:
    (pictures / "a" / "00.jpg").symlink_to("/nowhere")
    os.mkfifo(pictures / "a" / "000.jpg")
    (pictures / "b" / "again").symlink_to("..")
    (pictures / "d").mkdir()
    (pictures / "d" / "0.jpg").symlink_to("/nowhere")
    assert plan.counted(pictures).count == 44 + 3
    assert plan.counted(pictures).megapixels == pytest.approx(0.008, rel=0.1)


@pytest.mark.parametrize("engine", ["keras", "keras3", "opencv"])
def test_every_engine_has_a_time(pictures: Path, tmp_path: Path, engine: str) -> None:
    assert need("augment", settings(tmp_path, pictures, AUGMENT_ENGINE=engine)).seconds
