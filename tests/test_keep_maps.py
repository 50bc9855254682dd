"""eval.keep_maps: the queries that the report shows, and what is wrong on its command line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser
from small_run import MEAN, SmallRun

import eval.keep_maps
import eval.report.__main__
from eval.files.ground_truth import read_queries
from eval.represent.pooling import crow

pytest_plugins = ("small_run",)


def options(run: SmallRun, out: Path) -> list[str]:
    deploy, weights = run.work / "prototxt" / "deploy.prototxt", run.work / "data" / "pre.caffemodel"
    words = ["--deploy", deploy, "--weights", f"pretrained={weights}", "--images", run.images, "--gt", run.gt]
    return [str(word) for word in (*words, "--mean", MEAN, "--out", out)]


def test_they_are_the_queries_that_the_report_shows(
    small_run: SmallRun, browser: Browser, tmp_path: Path
) -> None:
    kept = json.loads((small_run.work / "looks" / "look.json").read_text())
    out = tmp_path / "report"
    assert eval.report.__main__.main(small_run.report_arguments(out)) == 0
    page = browser.new_page()
    page.goto((out / "index.html").as_uri())
    chosen = page.locator("#test > .query").evaluate_all("all => all.map(one => one.dataset.query)")
    shown = page.locator("#map h4").all_inner_texts()
    assert list(kept["queries"]) == shown and shown[: len(chosen)] == chosen
    boxes = {query.name: query.box for query in read_queries(small_run.gt)}
    area = {name: (x2 - x1) * (y2 - y1) for name, (x1, y1, x2, y2) in boxes.items()}
    assert min(area.values()) == area[min(shown, key=area.__getitem__)]


def test_named_queries_in_their_order(small_run: SmallRun, tmp_path: Path) -> None:
    wanted = ["green_gate_1", "blue_tower_2"]
    assert eval.keep_maps.main([*options(small_run, tmp_path), "--queries", *wanted]) == 0
    kept = json.loads((tmp_path / "look.json").read_text())
    assert list(kept["queries"]) == wanted and kept["models"] == ["pretrained"]
    for name in wanted:
        maps = np.load(tmp_path / "pretrained" / kept["layer"] / f"{name}.npy")
        assert maps.ndim == 3 and maps.min() == 0 < maps.max() and np.isfinite(crow(maps)).all()
    assert not list(tmp_path.rglob("*.part"))


def test_what_is_wrong_is_one_sentence(
    small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = options(small_run, tmp_path / "out")
    shutil.copytree(small_run.work / "ranks" / "pretrained", tmp_path / "ranks")
    (tmp_path / "ranks" / "scores.json").write_text('{"rows": []}')
    cases = {
        "has no query nobody_1": ["--queries", "nobody_1"],
        "no layer is scored at one dimension in all of": ["--ranks", str(tmp_path / "ranks")],
        "No such file or directory": ["--ranks", str(tmp_path / "none")],
    }
    for sentence, which in cases.items():
        capsys.readouterr()
        assert eval.keep_maps.main([*given, *which]) == 1
        said = capsys.readouterr().err
        assert said.startswith("eval.keep_maps: ") and sentence in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()
