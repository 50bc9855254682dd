"""eval.tables --table 3: every representation in its row, each figure in its column, published ones too."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from eval.results.article import FILE
from eval.results.table_of_representations import split
from eval.tables import main

RMAC = {("pool5_rmac", "256"): 0.61, ("pool5_rmac", "none"): 0.55}
FIGURES = RMAC | {("pool5_crow", "256"): 0.6, ("fc6", "256"): 0.4}


def scores(path: Path, resize: object, figures: dict[tuple[str, str], float]) -> Path:
    """A scores.json: each figure plain, 0.1 higher with query expansion, and re-ranked, to pass over."""
    rows: list[dict[str, Any]] = []
    for (layer, label), figure in figures.items():
        dim = 512 if label == "none" else int(label)
        row = {"layer": layer, "label": label, "dim": dim, "rerank": "none", "pca": label != "none"}
        row |= {"noise_directions": 0, "ranks": f"{layer}/{label}", "ap": {"a_1": 0.5}}
        rows.append(row | {"map": figure, "query_expansion": "none"})
        rows.append(row | {"map": figure + 0.1, "query_expansion": "linear"})
        rows.append(row | {"map": 0.01, "query_expansion": "none", "rerank": "mean-subtraction"})
    made = {"model": "pretrained", "preprocessing": {"resize": resize}, "rows": rows}
    path.write_text(json.dumps(made))
    return path


def table(tmp_path: Path, *files: Path) -> int:
    named = [str(file) for file in files]
    return main(["--table", "3", "--scores", *named, "--out", str(tmp_path / "results")])


def test_table_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = scores(tmp_path / "a.json", {"max_side": 1024, "min_side": 96}, FIGURES)
    square = scores(tmp_path / "b.json", [224, 224], {("pool5_rmac", "256"): 0.5})
    assert table(tmp_path, whole, square) == 0
    markdown = (tmp_path / "results/table3.md").read_text()
    said = f"{tmp_path}/results/table3.md: 10 figures; beside it .json and .csv\n"
    assert capsys.readouterr().out == said
    ours = markdown.partition("## Published")[0]
    lines = [line for line in ours.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    header, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert header == ["mAP", "", "input", "256", "256, QE", "no PCA", "no PCA, QE"]
    assert body == [
        ["fc6", "", "up to 1024", "40.00 %", "50.00 %", "", ""],
        ["pool5", "crow", "up to 1024", "60.00 %", "70.00 %", "", ""],
        ["pool5", "rmac", "up to 1024", "61.00 %", "71.00 %", "55.00 %", "65.00 %"],
        ["pool5", "rmac", "224 x 224", "50.00 %", "60.00 %", "", ""],
    ]


def published_of(markdown: str) -> list[list[str]]:
    """The table of published figures, its header left out."""
    theirs = markdown.partition("## Published for Oxford5k")[2]
    lines = [line for line in theirs.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_published_figures_of_the_poolings_that_are_there(tmp_path: Path) -> None:
    assert table(tmp_path, scores(tmp_path / "a.json", [224, 224], FIGURES)) == 0
    markdown = (tmp_path / "results/table3.md").read_text()
    body = published_of(markdown)
    assert {row[0] for row in body} == {"rmac", "crow"}
    # the figures of the benchmark that the article's author published later
    assert ["rmac", "256, QE", "VGG16", "not said", "[1]", "75.7 %"] in body
    assert ["crow", "256, QE", "VGG16", "not said", "[1]", "72.8 %"] in body
    notes = {line.partition(" ")[0] for line in markdown.splitlines() if line.startswith("[")}
    assert notes == {row[4] for row in body}, "a note for every source that is quoted, and for no other"


def test_what_another_network_reached_says_so(tmp_path: Path) -> None:
    assert table(tmp_path, scores(tmp_path / "a.json", [224, 224], {("pool5_gem", "256"): 0.5})) == 0
    markdown = (tmp_path / "results/table3.md").read_text()
    (gem,) = published_of(markdown)
    assert gem[2] == "VGG16 trained for retrieval"
    assert "what any other network reached is not comparable" in " ".join(markdown.split())


def test_what_was_learnt_from_which_pictures(tmp_path: Path) -> None:
    one = scores(tmp_path / "a.json", [224, 224], {("mop", "256"): 0.5, ("fc6", "256"): 0.4})
    one.write_text(json.dumps(json.loads(one.read_text()) | {"learnt": {"mop": "Paris6k"}}))
    assert table(tmp_path, one) == 0
    said = " ".join((tmp_path / "results/table3.md").read_text().split())
    assert "The PCA is fitted on the searched pictures themselves. mop was learnt from Paris6k." in said
    other = scores(tmp_path / "b.json", [224, 224], {("pool5_max", "256"): 0.5})
    other.write_text(json.dumps(json.loads(other.read_text()) | {"pca_features": "paris/maps.h5"}))
    assert table(tmp_path, one, other) == 0
    said = " ".join((tmp_path / "results/table3.md").read_text().split())
    assert "The PCA is fitted on the searched pictures themselves." in said
    assert "elsewhere it is fitted on the pictures of paris/maps.h5, as papers do." in said
    assert table(tmp_path, other) == 0
    said = " ".join((tmp_path / "results/table3.md").read_text().split())
    assert "The PCA is fitted on the pictures of paris/maps.h5." in said and "searched pictures" not in said


def test_both_whitenings_stand_in_one_row(tmp_path: Path) -> None:
    """The same representation whitened on the searched pictures, and on others."""
    own = {("pool5_max", "256"): 0.5, ("pool5_max", "none"): 0.4}
    one = scores(tmp_path / "a.json", [224, 224], own)
    other = scores(tmp_path / "b.json", [224, 224], {("pool5_max", "256"): 0.625})
    changed = {"pca_features": "paris/maps.h5", "pca_set": "Paris6k"}
    other.write_text(json.dumps(json.loads(other.read_text()) | changed))
    assert table(tmp_path, one, other) == 0
    markdown = (tmp_path / "results/table3.md").read_text()
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if "|" in line
    ]
    figures = dict(zip(lines[0], lines[2], strict=True))
    assert len(lines) == 3 or lines[3][1] != "max"
    assert (figures["256"], figures["256, elsewhere"], figures["no PCA"]) == ("50.00 %", "62.50 %", "40.00 %")
    assert "elsewhere it is fitted on the pictures of Paris6k" in " ".join(markdown.split())
    (row,) = json.loads((tmp_path / "results/table3.json").read_text())["rows"]
    assert {figure["map"]: figure["pca"] for figure in row["figures"]}[0.625] == "Paris6k"


def test_nothing_published_no_table(tmp_path: Path) -> None:
    assert table(tmp_path, scores(tmp_path / "a.json", [224, 224], {("conv5_3_gem", "256"): 0.5})) == 0
    assert "Published" not in (tmp_path / "results/table3.md").read_text()


def test_every_published_figure_says_where_it_is_from_and_how_it_was_checked() -> None:
    article = json.loads(FILE.read_text(encoding="utf-8"))
    assert {figure["source"] for figure in article["representations"]} == set(article["sources"])
    for source in article["sources"].values():
        assert set(source) == {"is", "measured", "checked"} and all(source.values())
    for figure in article["representations"]:
        assert 0 < figure["map"] < 1 and figure["dim"] in (128, 256, 512)
        assert figure["network"] and figure["whitening"]


def test_the_same_for_programs(tmp_path: Path) -> None:
    assert table(tmp_path, scores(tmp_path / "a.json", [64, 64], FIGURES)) == 0
    made = json.loads((tmp_path / "results/table3.json").read_text())
    frame = list(csv.DictReader((tmp_path / "results/table3.csv").open(newline="")))
    assert [
        (row["layer"], row["pooling"], row["label"], row["query_expansion"], float(row["map"]))
        for row in frame
    ] == [
        (row["layer"], row["pooling"], figure["label"], figure["query_expansion"], figure["map"])
        for row in made["rows"]
        for figure in row["figures"]
    ]
    rows = {(row["layer"], row["pooling"]): row for row in made["rows"]}
    rmac = rows["pool5", "rmac"]
    assert {(f["label"], f["query_expansion"]): f["map"] for f in rmac["figures"]} == {
        ("256", "none"): 0.61,
        ("256", "linear"): 0.71,
        ("none", "none"): 0.55,
        ("none", "linear"): 0.65,
    }
    assert {
        (f["dim"], f["query_expansion"], f["map"]) for f in made["published"] if f["pooling"] == "rmac"
    } == {
        (256, True, 0.757),
        (512, False, 0.669),
    }
    assert set(made["sources"]) == {figure["source"] for figure in made["published"]}


def test_names_with_one_pooling_inside_another() -> None:
    assert split("pool5_rmac_sum") == ("pool5", "rmac_sum")
    assert split("conv5_3_relu5_3_max") == ("conv5_3_relu5_3", "max")
    assert split("pool5_rmac_whitened") == ("pool5", "rmac_whitened")
    assert split("fc6_relu6") == ("fc6_relu6", "")


def test_fewer_dimensions_than_asked_are_said(tmp_path: Path) -> None:
    path = scores(tmp_path / "a.json", [64, 64], {("pool5_sum", "256"): 0.3})
    path.write_text(path.read_text().replace('"dim": 256', '"dim": 128'))
    assert table(tmp_path, path) == 0
    assert "pool5 sum 128" in (tmp_path / "results/table3.md").read_text()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{"layer": "fc6"}], "preprocessing": null}'])
def test_something_that_is_no_scores_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / "a.json").write_text(text)
    assert table(tmp_path, tmp_path / "a.json") == 1
    error = capsys.readouterr().err
    assert f"{tmp_path}/a.json is not a scores.json of eval.score" in error and error.count("\n") == 1


def test_nothing_scored_and_two_expansions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table(tmp_path, scores(tmp_path / "a.json", [64, 64], {})) == 1
    twice = scores(tmp_path / "b.json", [64, 64], {("fc6", "256"): 0.3})
    made = json.loads(twice.read_text())
    made["rows"].append(made["rows"][1] | {"query_expansion": "average"})
    twice.write_text(json.dumps(made))
    assert table(tmp_path, twice) == 1
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "eval.tables: Table 3 needs scores, and the files hold none",
        f"eval.tables: {twice}: fc6 has two figures for 256, QE",
    ]
