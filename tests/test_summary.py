"""eval.tables --summary: a run's end in some lines, of whatever there is."""

import json
from pathlib import Path

import pytest

from eval.tables import main


def row(
    layer: str, label: str, figure: float | None, article: float | None, **more: str
) -> dict[str, object]:
    return more | {"layer": layer, "label": label, "dim": 128, "pca": True, "map": figure, "article": article}


def run(folder: Path) -> Path:
    results = folder / "results"
    results.mkdir()
    compared = {"words": "Not like {network}.", "network": "VGG16"}
    rows = [
        row("fc7", "128", 0.2312, 0.4503),
        row("fc7", "none", 0.3, 0.4118),
        row("pool5", "128", None, None),
    ]
    (results / "table1.json").write_text(json.dumps({"compared": compared, "rows": rows}))
    rows = [
        row("fc6", "128", 0.24, 0.459, model="pretrained"),
        row("fc6", "128", 0.396, 0.602, model="finetuned"),
    ]
    (results / "table2.json").write_text(json.dumps({"compared": compared, "rows": rows}))
    claims = [{"verdict": verdict} for verdict in ("holds", "does not hold", "holds")]
    (results / "claims.json").write_text(json.dumps({"claims": claims}))
    (folder / "report").mkdir()
    (folder / "report" / "index.html").write_text("")
    return folder


def test_a_whole_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--summary", str(run(tmp_path)), "--next", "Search: ./search.sh DIR"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "Table 1, mAP in % (the article's)    PCA to 128        no PCA",
        "  fc7                               23.1 (45.0)   30.0 (41.2)",
        "  pool5",
        "Table 2, mAP in % (the article's)    PCA to 128",
        "  fc6, pre-trained                  24.0 (45.9)",
        "  fc6, fine-tuned                   39.6 (60.2)",
        "Not like VGG16.",
        f"3 claims of the article: holds 2, does not hold 1 ({tmp_path}/results/claims.md)",
        f"Report: {(tmp_path / 'report/index.html').as_uri()}",
        "Search: ./search.sh DIR",
    ]


def test_a_run_that_was_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(tmp_path)
    for name in ("results/table2.json", "results/claims.json", "report/index.html"):
        (folder / name).unlink()
    assert main(["--summary", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Not like VGG16."


def test_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--summary", str(tmp_path / "none")]) == 1
    assert main(["--summary", str(run(tmp_path))]) == 0
    (tmp_path / "results" / "table1.json").write_text('{"rows": [{')
    assert main(["--summary", str(tmp_path)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"eval.tables: {tmp_path}/none has no results",
        f"eval.tables: {tmp_path}/results/table1.json is not a table of eval.tables",
    ]
