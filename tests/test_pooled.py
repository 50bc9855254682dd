"""Tables of several runs together, against sums written out."""

import json
import math
from pathlib import Path

import pytest

from eval import tables


def write_run(folder: Path, before: float, after: float) -> Path:
    (folder / "results").mkdir(parents=True)
    row = {"layer": "fc6", "label": "128", "dim": 128}
    for table, models in ((1, {"pretrained": before}), (2, {"pretrained": before, "finetuned": after})):
        rows = [
            row | {"map": value} | ({"model": model} if table == 2 else {}) for model, value in models.items()
        ]
        (folder / "results" / f"table{table}.json").write_text(json.dumps({"table": table, "rows": rows}))
    return folder


def test_means_spreads_and_gains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = [(0.30, 0.40), (0.20, 0.36), (0.25, 0.29)]
    runs = [write_run(tmp_path / f"seed_{i}", *pair) for i, pair in enumerate(values, 1)]
    assert tables.main(["--pool", *map(str, runs), "--out", str(tmp_path / "out")]) == 0
    lines = (tmp_path / "out" / "pooled_table2.csv").read_text().splitlines()
    assert lines[0] == "model,layer,label,runs,mean,sd,seed_1,seed_2,seed_3"
    rows = {line.split(",")[0]: [float(cell) for cell in line.split(",")[4:]] for line in lines[1:]}
    for name, series in (
        ("pretrained", [one for one, _ in values]),
        ("finetuned", [other for _, other in values]),
        ("gain", [other - one for one, other in values]),
    ):
        mean = sum(series) / 3
        spread = math.sqrt(sum((one - mean) ** 2 for one in series) / 2)
        assert rows[name] == pytest.approx([mean, spread, *series])
    said = capsys.readouterr().out
    assert "# Table 2 over 3 runs" in said and "| fc6, gain" in said and "10.00" in said


def test_bad_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(write_run(tmp_path / name, 0.3, 0.4)) for name in ("a", "b")]
    (tmp_path / "b" / "results" / "table1.json").write_text('{"rows": 3}')
    assert tables.main(["--pool", *runs, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert (
        said.startswith(f"eval.tables: {tmp_path}/b/results/table1.json is no table")
        and said.count("\n") == 1
    )
    with pytest.raises(SystemExit):
        tables.main(["--pool", runs[0], "--out", "x"])
