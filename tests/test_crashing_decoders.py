"""Pictures whose decoding ends the process, as a memory error in a decoder does: each program names them.

The programs run as people run them, with decoders that die at some bytes (crashing.py).
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from crashing import FATAL, crashing_environment
from search_page import ROOT, Server
from small_run import SmallRun, draw

pytest_plugins = ("small_run",)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return crashing_environment(tmp_path_factory.mktemp("decoders") / "python")


def jpeg(number: int) -> bytes:
    return cv2.imencode(".jpg", draw(0, number))[1].tobytes()


def run(environment: dict[str, str], *words: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *map(str, words)]
    env = environment | {"PYTHONPATH": os.pathsep.join([environment["PYTHONPATH"], str(ROOT)])}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Two classes of twelve photographs; decoding a/03.jpg and b/07.jpg ends the process."""
    for name, fatal in (("a", 3), ("b", 7)):
        (tmp_path / "classes" / name).mkdir(parents=True)
        for number in range(12):
            content = jpeg(number + 12 * (name == "b")) + FATAL * (number == fatal)
            (tmp_path / "classes" / name / f"{number:02}.jpg").write_bytes(content)
    return tmp_path / "classes"


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_check_takes_them_for_bad(classes: Path, environment: dict[str, str], jobs: int) -> None:
    aside = classes.parent / "aside"
    words = ("data_prep.check_images", classes, "--jobs", jobs, "--fix", "--quarantine", aside)
    done = run(environment, *words)
    assert done.returncode == 0 and "22 good, 0 fixed, 2 quarantined" in done.stdout, done.stderr
    assert {path.relative_to(aside).as_posix() for path in aside.rglob("*.jpg")} == {"a/03.jpg", "b/07.jpg"}
    assert done.stdout.count("a decoder crashes on it") == 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_augment_names_it_and_keeps_what_it_made(
    classes: Path, environment: dict[str, str], jobs: int
) -> None:
    words = ("data_prep.augment", classes, "--num-wanted", 40, "--engine", "opencv", "--jobs", jobs)
    done = run(environment, *words)
    said = f"augment: {classes / 'a' / '03.jpg'} crashes its decoder or takes all memory: run data_prep.check"
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith(said)
    assert len([*(classes / "a").iterdir()]) > 12, "copies that were made before stay"


def test_none_is_held_out(classes: Path, environment: dict[str, str]) -> None:
    out = classes.parent / "out"
    done = run(environment, "data_prep.make_gt", classes, "--out", out, "--jobs", 2)
    assert done.returncode == 0, done.stderr
    taken = list((out / "jpg").rglob("*.jpg"))
    assert taken and not any(FATAL in path.read_bytes() for path in taken)


@pytest.mark.parametrize("jobs", [1, 2])
def test_extraction_names_it_and_goes_on_without_it(
    small_run: SmallRun, classes: Path, environment: dict[str, str], jobs: int
) -> None:
    network = small_run.work / "prototxt" / "deploy.prototxt"
    weights = small_run.work / "models" / "finetuned.caffemodel"
    words = ("eval.extract", "--deploy", network, "--weights", weights, "--mean", "100,110,120", "--layers")
    words = (
        *words,
        "fc6",
        "--images",
        classes,
        "--out",
        classes.parent / "f.h5",
        "--batch",
        4,
        "--jobs",
        jobs,
    )
    for bad in (classes / "a" / "03.jpg", classes / "b" / "07.jpg"):
        done = run(environment, *words)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == (
            f"extract: {bad} crashes its decoder: take it out (data_prep.check_images finds such)"
        )
        bad.unlink()
    assert run(environment, *words).returncode == 0


@pytest.fixture
def server(small_run: SmallRun, environment: dict[str, str]) -> Iterator[Server]:
    features = small_run.work / "features" / "pretrained.h5"
    words = ("--features", features, "--images", small_run.images, "--port", "0")
    running = Server([sys.executable, "-m", "eval.serve", *words], cwd=ROOT, env=environment)
    yield running
    running.stop()


def test_the_search_page_refuses_it_and_goes_on(server: Server) -> None:
    for number in range(3):
        status, answer = server.upload(jpeg(number) + FATAL)
        assert (status, answer["error"]) == (400, "The picture crashes its decoder.")
        status, answer = server.upload(jpeg(number))
        assert status == 201
        assert server.search(upload=answer["upload"])[0] == 200


def test_a_picture_of_the_index_that_became_one_costs_its_thumbnail(
    small_run: SmallRun, server: Server, tmp_path: Path
) -> None:
    name = sorted(path for path in small_run.images.rglob("*") if path.is_file())[0]
    whole = name.read_bytes()
    address = f"/thumbnails/{name.relative_to(small_run.images).with_suffix('').as_posix()}".replace(
        " ", "%20"
    )
    try:
        name.write_bytes(whole + FATAL)
        assert server.ask("GET", address)[0] == 400
    finally:
        name.write_bytes(whole)
    status, _, body = server.ask("GET", address)
    assert status == 200 and cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR) is not None
