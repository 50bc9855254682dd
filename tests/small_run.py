"""A run of every program that the report and the search page read from, on drawn pictures; and a browser."""

import csv
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import caffe
import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright

import eval.claims
import eval.extract
import eval.keep_maps
import eval.score
import eval.tables
import tools.plot_log

ROOT = Path(__file__).parent.parent
NETWORK = ROOT / "prototxt" / "demo"
BUILDINGS = ("red_hall", "blue_tower", "green_gate")
EACH = 5
MEAN = "120,121,122"
LAYERS = ("fc7_relu7", "fc7", "fc6_relu6", "fc6")


@dataclass(frozen=True)
class SmallRun:
    """Where things lie."""

    work: Path
    images: Path
    gt: Path

    def report_arguments(self, out: Path) -> list[str]:
        """The command line of eval.report for this run."""
        return [
            str(self.work), "--images", str(self.images), "--gt", str(self.gt),
            "--network", str(NETWORK), "--profile", str(ROOT / "profiles" / "demo"), "--out", str(out),
        ]  # fmt: skip


def draw(building: int, seed: int) -> np.ndarray:
    """A picture (72, 96, 3) uint8 BGR: a coloured block with windows before noise."""
    random = np.random.default_rng((building, seed))
    picture = random.integers(150, 220, (72, 96, 3), dtype=np.uint8)
    colour = [40, 40, 40]
    colour[(2, 0, 1)[building]] = 220
    left, top = (int(value) for value in random.integers(8, 20, 2))
    cv2.rectangle(picture, (left, top), (left + 50, 71), colour, -1)
    for x in range(left + 6, left + 46, 10 + 3 * building):
        cv2.rectangle(picture, (x, top + 8), (x + 4, top + 16 + 6 * building), (250, 250, 250), -1)
    return picture


def write_retrieval(folder: Path) -> None:
    """Pictures and ground truth in Oxford's layout, two queries a building; one name has blanks."""
    (folder / "jpg" / "far away").mkdir(parents=True)
    (folder / "gt").mkdir()
    names = {building: [f"{building}_{i}" for i in range(EACH)] for building in BUILDINGS}
    names["green_gate"][-1] = "far away/green gate 4"
    for number, building in enumerate(BUILDINGS):
        for i, name in enumerate(names[building]):
            cv2.imwrite(str(folder / "jpg" / f"{name}.jpg"), draw(number, i))
        for query in (1, 2):
            prefix = folder / "gt" / f"{building}_{query}"
            Path(f"{prefix}_query.txt").write_text(f"oxc1_{names[building][query]} 8 8 70.5 70\n")
            lists = {"good": names[building][:3], "ok": names[building][3:4], "junk": names[building][4:]}
            for kind, listed in lists.items():
                Path(f"{prefix}_{kind}.txt").write_text("".join(f"{name}\n" for name in listed))


def write_training_data(work: Path) -> None:
    """Class folders before and after augmentation, the check's report, lists, LMDB and mean."""
    listed: dict[str, list[str]] = {"train": [], "val": []}
    for number, building in enumerate(BUILDINGS):
        for stage, copies in (("checked", 0), ("augmented", 2)):
            folder = work / stage / building
            folder.mkdir(parents=True)
            for i in range(2 + number):
                cv2.imwrite(str(folder / f"{i}.png"), draw(number, 50 + i))
                for copy in range(copies):
                    cv2.imwrite(str(folder / f"aug_{i}.png_{copy}.jpg"), draw(number, 90 + 3 * i + copy))
        pictures = sorted((work / "augmented" / building).iterdir())
        for i, picture in enumerate(pictures):
            listed["val" if i % 3 == 0 else "train"].append(f"{picture} {number}\n")
    (work / "checked" / "a single view").mkdir()
    cv2.imwrite(str(work / "checked" / "a single view" / "0.png"), draw(0, 9))
    (work / "lists").mkdir()
    for name, lines in listed.items():
        (work / "lists" / f"{name}.txt").write_text("".join(lines))
    write_csv(work / "classes.csv", [("number", "name"), *enumerate(BUILDINGS)])
    (work / "quarantine" / "red_hall").mkdir(parents=True)
    whole = cv2.imencode(".jpg", draw(0, 1))[1].tobytes()
    (work / "quarantine" / "red_hall" / "half.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    (work / "quarantine" / "red_hall" / "page.jpg").write_text("<html>")
    findings = [("red_hall/half.jpg", "truncated", "cut short", "quarantined")]
    findings.append(("red_hall/page.jpg", "not-image", "not an image", "quarantined"))
    write_csv(work / "check.csv", [("file", "problem", "reason", "done"), *findings])
    (work / "lmdb").mkdir()
    convert = [
        "convert_imageset",
        "--resize_height=72",
        "--resize_width=72",
        "/",
        work / "lists" / "train.txt",
    ]
    subprocess.run([*convert, work / "lmdb" / "train_lmdb"], check=True, capture_output=True)
    mean = ["compute_image_mean", work / "lmdb" / "train_lmdb", work / "lmdb" / "mean.binaryproto"]
    subprocess.run(mean, check=True, capture_output=True)


def write_csv(path: Path, rows: list[tuple]) -> None:
    """Write rows of values."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def write_weights(path: Path, seed: int, last_seed: int | None = None) -> None:
    """A caffemodel of the demo's network with random weights; the last layer's of another seed, if given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    net = caffe.Net(str(NETWORK / "deploy.prototxt"), caffe.TEST)
    random = np.random.default_rng(seed)
    for layer, blobs in net.params.items():
        if last_seed is not None and layer == list(net.params)[-1]:
            random = np.random.default_rng(last_seed)
        fan_in = blobs[0].data[0].size
        blobs[0].data[...] = random.normal(0, np.sqrt(2 / fan_in), blobs[0].data.shape)
    net.save(str(path))


def write_representations(work: Path) -> None:
    """Table 3 of the fully connected layers and two maps' poolings, and the claims."""
    pooled = [
        {"layer": f"pool5_{pooling}", "label": label, "dim": 128, "map": 0.5, "query_expansion": "none"}
        | {"rerank": "none", "pca": label != "none", "noise_directions": 0}
        | {"ranks": f"pool5_{pooling}/{label}", "ap": {"red_hall_1": 0.5}}
        for pooling in ("rmac", "gem")
        for label in ("128", "none")
    ]
    scores = {"model": "pretrained", "preprocessing": {"resize": {"max_side": 96}}, "rows": pooled}
    maps = work / "ranks" / "pretrained_maps" / "scores.json"
    maps.parent.mkdir()
    maps.write_text(json.dumps(scores))
    both = [str(work / "ranks" / "pretrained" / "scores.json"), str(maps)]
    results = str(work / "results")
    assert eval.tables.main(["--table", "3", "--scores", *both, "--out", results]) == 0
    folders = [f"--{name}={work / name}" for name in ("features", "ranks")]
    assert eval.claims.main([*folders, "--out", results]) == 0


def write_features_and_ranks(
    run: SmallRun, model: str, weights: Path, layers: Sequence[str], dims: Sequence[str]
) -> None:
    """Features of a model's layers and their ranked lists, as the stages extract and score make them."""
    features = run.work / "features" / f"{model}.h5"
    run_program(
        eval.extract.main,
        ["--deploy", run.work / "prototxt" / "deploy.prototxt", "--weights", weights, "--model", model],
        ["--images", run.images, "--gt", run.gt, "--mean", MEAN, "--jobs", 1, "--out", features],
        ["--layers", *layers],
    )
    ranks = ["--gt", run.gt, "--out", run.work / "ranks" / model, "--jobs", 2]
    run_program(eval.score.main, [features, *ranks, "--dims", *dims])


def write_tables(run: SmallRun, models: Iterable[str]) -> None:
    """Tables 1 and 2, as the stage tables makes them."""
    scores = [part for model in models for part in (f"--{model}", run.work / "ranks" / model / "scores.json")]
    rest = [
        "--out",
        run.work / "results",
        "--data-note",
        "Drawn blocks.",
        "--as-published",
        run.work / "ranks",
    ]
    run_program(eval.tables.main, ["--table", 1, *scores[:2], *rest])
    if len(scores) > 2:
        run_program(eval.tables.main, ["--table", 2, *scores, *rest])


def keep_maps(run: SmallRun, weights: Mapping[str, Path]) -> None:
    """Maps of the queries that the report shows."""
    run_program(
        eval.keep_maps.main,
        ["--deploy", run.work / "prototxt" / "deploy.prototxt", "--images", run.images, "--gt", run.gt],
        ["--mean", MEAN, "--out", run.work / "looks", "--ranks", *(run.work / "ranks" / m for m in weights)],
        ["--weights", *(f"{model}={path}" for model, path in weights.items())],
    )


def write_training_curve(work: Path, phases: Sequence[str] = ("log",)) -> None:
    """Caffe's log of each phase, named as tools/finetune.sh names it, and the curve drawn of them."""
    logs = [work / "prototxt" / "train" / f"{phase}.txt" for phase in phases]
    logs[0].parent.mkdir(exist_ok=True)
    lines = [
        f"Iteration {i}, loss = {3 / (1 + i)}\nIteration {i}, lr = {0.1 ** (1 + i // 3):g}\n"
        for i in range(6)
    ]
    tests = "Iteration {}, Testing net (#0)\n    Test net output #0: accuracy = {}\n"
    for name in ("train_val.prototxt", "solver.prototxt"):
        shutil.copy(NETWORK / name, logs[0].parent)
    for log in logs:
        log.write_text(tests.format(0, 0.1) + "".join(lines) + tests.format(6, 0.5))
    outs = ["--out", work / "results" / "training.svg", "--csv", work / "results" / "training.csv"]
    nothing = work / "prototxt" / "train_scratch" / "log.txt"
    nothing.parent.mkdir(exist_ok=True)
    nothing.write_text("".join(lines))
    run_program(tools.plot_log.main, [*logs, "--beside", nothing, *outs])


def run_program(main: Callable[[Sequence[str]], int], *words: Sequence[object]) -> None:
    """Run a program with these words, which must go well."""
    assert main([str(word) for part in words for word in part]) == 0


def write_results(
    run: SmallRun,
    layers: Sequence[str] = LAYERS,
    dims: Sequence[str] = ("128", "full", "none"),
    last_layer_only: bool = False,
) -> None:
    """Features, ranks, tables, training curves and maps, by the programs that make them."""
    work = run.work
    weights = {
        "pretrained": work / "data" / "pre.caffemodel",
        "finetuned": work / "models" / "finetuned.caffemodel",
    }
    write_weights(weights["pretrained"], 0)
    write_weights(weights["finetuned"], 0 if last_layer_only else 1, last_seed=1)
    for model, path in weights.items():
        write_features_and_ranks(run, model, path, layers, dims)
    published = work / "ranks" / "as_published_pretrained_reranked"
    run_program(
        eval.score.main,
        [work / "features" / "pretrained.h5", "--gt", run.gt, "--out", published, "--dims", *dims],
        ["--rerank", "mean-subtraction-in-place"],
    )
    write_tables(run, weights)
    write_representations(work)
    keep_maps(run, weights)
    write_training_curve(work, ["log_last" if last_layer_only else "log"])


def make(folder: Path, **settings: Any) -> SmallRun:
    """Make the run in a folder, with the settings of write_results."""
    write_retrieval(folder / "data")
    run = SmallRun(folder / "work", folder / "data" / "jpg", folder / "data" / "gt")
    (run.work / "prototxt").mkdir(parents=True)
    shutil.copy(NETWORK / "deploy.prototxt", run.work / "prototxt")
    write_training_data(run.work)
    write_results(run, **settings)
    (run.work / ".steps").mkdir()
    command = "python -m eval.score 'a folder/f.h5' --dims 128 & <b>"
    (run.work / ".steps" / "ranks.ran").write_text(f"score\t75\t{command}\n")
    return run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """The run, made once; tests don't change it."""
    return make(tmp_path_factory.mktemp("small run"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("chromium is not installed: tools/setup.sh --tests does it")
    with sync_playwright() as playwright:
        # Chromium's sandbox needs a user other than root
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=path, args=options)
        yield opened
        opened.close()
