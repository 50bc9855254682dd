"""eval.tables: the article's figures, ours, and what is said about them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.files.ground_truth import fingerprint, read_ground_truth
from eval.rank.recipe import Whitening, describe, l2_normalise
from eval.results.words import english, from_json
from eval.tables import main

OXFORD_GT = Path(__file__).resolve().parent.parent / "../shared/oxford5k_gt"

LAYERS = ("fc6", "fc6_relu6", "fc7", "fc7_relu7")
# Typed from the article's page, in its order, not read from eval/results/article.json.
TABLE_1 = """
fc7_relu7	44.72%	1.11%	41.08%
fc7	45.03%	19.67%	41.18%
fc6_relu6	43.62%	23.0%	43.34%
fc6	45.9%	19.47%	44.78%
"""


def scores(path: Path, lift: float = 0.0, full: int = 4096, noise: int = 0) -> Path:
    """A scores.json with every figure that the tables need, and rows that they must pass over."""
    rows = []
    for i, layer in enumerate(LAYERS):
        for j, (label, dim) in enumerate({"128": 128, "full": full, "none": 4096}.items()):
            row: dict[str, Any] = {"layer": layer, "label": label, "dim": dim, "pca": label != "none"}
            row |= {"query_expansion": "none", "rerank": "none", "noise_directions": noise if j == 1 else 0}
            row |= {"ranks": f"{layer}/{label}", "ap": {"a_1": 0.5}}
            rows.append(row | {"map": 0.1 * i + 0.01 * j + lift})
            rows.append(row | {"map": 0.99, "query_expansion": "average"})
            rows.append(row | {"map": 0.98, "rerank": "mean-subtraction"})
    path.write_text(json.dumps({"model": path.stem, "rows": rows}))
    return path


def tables(tmp_path: Path, *options: str) -> int:
    return main(["--out", str(tmp_path / "results"), *options])


def cells(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1, "columns that don't stand under each other"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_whitening_fitted_elsewhere_is_a_line(tmp_path: Path) -> None:
    """Ours on other pictures' PCA below ours on the searched ones', as far as it was scored."""
    p = scores(tmp_path / "p.json")
    (tmp_path / "ranks/pretrained_elsewhere").mkdir(parents=True)
    other = json.loads(scores(tmp_path / "ranks/pretrained_elsewhere/scores.json", lift=0.2).read_text())
    other |= {"pca_features": "learnt/p.h5", "pca_set": "Paris6k"}
    other["rows"] = [row for row in other["rows"] if row["label"] != "none"]
    (tmp_path / "ranks/pretrained_elsewhere/scores.json").write_text(json.dumps(other))
    options = ["--table", "1", "--pretrained", str(p), "--elsewhere", str(tmp_path / "ranks")]
    assert tables(tmp_path, *options) == 0
    markdown = (tmp_path / "results/table1.md").read_text()
    lines = [line for line in cells(markdown) if line[1] == "whitened elsewhere"]
    assert [line[2:] for line in lines] == [
        [f"{20 + 10 * LAYERS.index(layer):.2f} %", f"{21 + 10 * LAYERS.index(layer):.2f} %", ""]
        for layer in ("fc7_relu7", "fc7", "fc6_relu6", "fc6")
    ]
    assert "as papers do (Paris6k)" in " ".join(markdown.split())
    rows = json.loads((tmp_path / "results/table1.json").read_text())["rows"]
    assert [row["whitened_elsewhere"] is None for row in rows] == [row["label"] == "none" for row in rows]


def test_table_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tables(tmp_path, "--table", "1", "--pretrained", str(scores(tmp_path / "p.json"))) == 0
    given = [line.split("\t") for line in TABLE_1.strip().splitlines()]
    percent = {line[0]: [float(figure.rstrip("%")) for figure in line[1:]] for line in given}
    expected = []
    for layer, figures in percent.items():
        for j, (dim, pca) in enumerate([(128, True), (4096, True), (4096, False)]):
            ours = 0.1 * LAYERS.index(layer) + 0.01 * j
            row = {"layer": layer, "label": ("128", "full", "none")[j], "dim": dim, "pca": pca, "map": ours}
            expected.append(row | {"article": round(figures[j] / 100, 4)})
    made = json.loads((tmp_path / "results/table1.json").read_text())
    assert (made["table"], made["rows"]) == (1, expected)
    assert [list(row) for row in made["rows"]] == [["layer", "label", "dim", "pca", "map", "article"]] * 12

    markdown = (tmp_path / "results/table1.md").read_text()
    said = f"{tmp_path}/results/table1.md: 12 figures; beside it .json and .csv\n"
    assert capsys.readouterr().out == said
    header, _, *body = cells(markdown)
    assert header == ["mAP", "", "PCA to 128", "PCA to full", "full, no PCA"]
    assert [line[0] for line in body] == [
        "fc7_relu7",
        "",
        "",
        "fc7",
        "",
        "",
        "fc6_relu6",
        "",
        "",
        "fc6",
        "",
        "",
    ]
    assert body[0] == ["fc7_relu7", "article", "44.72 %", "1.11 %", "41.08 %"]
    assert body[1] == ["", "ours", "30.00 %", "31.00 %", "32.00 %"]
    assert body[2] == ["", "difference", "-14.72", "+29.89", "-9.08"]
    assert "VGG16 on Oxford5k" in markdown
    assert "Dimensions" not in markdown and "rounding" not in markdown


def test_table_2(tmp_path: Path) -> None:
    pretrained, finetuned = scores(tmp_path / "p.json"), scores(tmp_path / "f.json", lift=0.25)
    assert (
        tables(tmp_path, "--table", "2", "--pretrained", str(pretrained), "--finetuned", str(finetuned)) == 0
    )
    made = json.loads((tmp_path / "results/table2.json").read_text())
    common = {"layer": "fc6", "label": "128", "dim": 128, "pca": True}
    assert made["rows"] == [
        {"model": "pretrained", **common, "map": 0.0, "article": 0.459},
        {"model": "finetuned", **common, "map": 0.25, "article": 0.602},
    ]
    header, _, *body = cells((tmp_path / "results/table2.md").read_text())
    assert header == ["mAP", "", "PCA to 128"]
    assert body[0] == ["fc6, pretrained", "article", "45.90 %"]
    assert body[3:] == [
        ["fc6, finetuned", "article", "60.20 %"],
        ["", "ours", "25.00 %"],
        ["", "difference", "-35.20"],
    ]


def test_what_must_be_known_is_said(tmp_path: Path) -> None:
    pretrained = scores(tmp_path / "p.json", full=511, noise=3)
    note = ["--data-note", "made-up buildings, a small network."]
    assert tables(tmp_path, "--table", "1", "--pretrained", str(pretrained), *note) == 0
    said = " ".join((tmp_path / "results/table1.md").read_text().split())
    assert "Ours: made-up buildings, a small network." in said
    assert "are not comparable with the article's (VGG16 on Oxford5k) one by one. Compare" in said
    assert "Dimensions, PCA to full: 511 here, 4096 in the article." in said
    assert "fc6 3 of 511" in said


def only(path: Path, *keys: tuple[str, str]) -> Path:
    """A scores.json with these layers at these dimensions, and no others."""
    rows = [
        {"layer": layer, "label": label, "dim": int(label) if label.isdecimal() else 4096}
        | {"pca": label != "none", "query_expansion": "none", "rerank": "none", "noise_directions": 0}
        | {"ranks": f"{layer}/{label}", "map": 0.25, "ap": {"a_1": 0.25}}
        for layer, label in keys
    ]
    path.write_text(json.dumps({"model": path.stem, "rows": rows}))
    return path


def test_what_was_not_scored_is_blank_and_what_else_was_is_added(tmp_path: Path) -> None:
    keys = [("fc6", "64"), ("fc6", "128"), ("fc6", "none"), ("pool5", "64"), ("pool5", "none")]
    assert tables(tmp_path, "--table", "1", "--pretrained", str(only(tmp_path / "p.json", *keys))) == 0
    markdown = (tmp_path / "results/table1.md").read_text()
    header, _, *body = cells(markdown)
    assert header == ["mAP", "", "PCA to 64", "PCA to 128", "PCA to full", "full, no PCA"]
    assert body == [
        ["fc7_relu7", "article", "", "44.72 %", "1.11 %", "41.08 %"],
        ["fc7", "article", "", "45.03 %", "19.67 %", "41.18 %"],
        ["fc6_relu6", "article", "", "43.62 %", "23.00 %", "43.34 %"],
        ["fc6", "article", "", "45.90 %", "19.47 %", "44.78 %"],
        ["", "ours", "25.00 %", "25.00 %", "", "25.00 %"],
        ["", "difference", "", "-20.90", "", "-19.78"],
        ["pool5", "ours", "25.00 %", "", "", "25.00 %"],
    ]
    said = " ".join(markdown.split())
    assert "not scored it: fc7_relu7; fc7; fc6_relu6; fc6 (PCA to full)." in said
    assert "the article has no figure for it: pool5, PCA to 64." in said
    made = json.loads((tmp_path / "results/table1.json").read_text())["rows"]
    assert {(r["layer"], r["label"]) for r in made if r["map"] is not None} == set(keys)
    assert {r["map"] for r in made} == {0.25, None}
    frame = list(csv.DictReader((tmp_path / "results/table1.csv").open(newline="")))
    assert [{name: value or None for name, value in row.items()} for row in frame] == [
        {name: None if value is None else str(value) for name, value in row.items()} | {"habit": None}
        for row in made
    ]


OXFORD = {
    "weights_sha256": "a6196bc498e45ea4cb2637114ae8db9410cf1556fd60a55ae93272371beba197",
    "pictures": 5063,
    "ground_truth_sha256": fingerprint(read_ground_truth(OXFORD_GT)) if OXFORD_GT.is_dir() else "",
}


@pytest.mark.parametrize(
    ("made_of", "verdict", "words"),
    [
        ({}, True, "the figures can be compared"),
        ({"pictures": 5062}, True, "the figures can be compared"),
        ({"pictures": 410}, False, "they come from another number of pictures. Compare which rise"),
        (
            {"weights_sha256": "ab" * 32, "ground_truth_sha256": "cd" * 32},
            False,
            "another network's weights and other queries or another ground truth",
        ),
        ({"weights_sha256": None}, None, "don't say which weights they come from"),
        ({"weights_sha256": None, "pictures": 3}, False, "another number of pictures"),
    ],
)
def test_what_can_be_compared_with_the_article(
    tmp_path: Path, made_of: dict[str, Any], verdict: bool | None, words: str
) -> None:
    if not OXFORD_GT.is_dir():
        pytest.skip("Oxford's ground truth is not there")
    path = scores(tmp_path / "pretrained.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"made_of": OXFORD | made_of}))
    assert tables(tmp_path, "--table", "1", "--pretrained", str(path)) == 0
    made = json.loads((tmp_path / "results/table1.json").read_text())
    assert made["comparable"] is verdict
    markdown = (tmp_path / "results/table1.md").read_text()
    # said before the figures, not after them
    before = " ".join(markdown.partition("\n| ")[0].split())
    assert words in before and english(from_json(made["compared"])) in before


def test_a_smaller_networks_dimension_stands_beside_the_articles_128(tmp_path: Path) -> None:
    """8 of 256 are as 128 of 4096: one column, and how many dimensions either has is said."""
    found = json.loads(scores(tmp_path / "p.json", full=256).read_text())
    for row in found["rows"]:
        if row["label"] == "128":
            row |= {"label": "8", "dim": 8}
    (tmp_path / "p.json").write_text(json.dumps(found))
    assert tables(tmp_path, "--table", "1", "--pretrained", str(tmp_path / "p.json"), "--dim", "8") == 0
    markdown = (tmp_path / "results/table1.md").read_text()
    header, _, *body = cells(markdown)
    assert header == ["mAP", "", "PCA to 8", "PCA to full", "full, no PCA"]
    assert body[0] == ["fc7_relu7", "article", "44.72 %", "1.11 %", "41.08 %"]
    assert body[1][2] == "30.00 %" and body[2][2] == "-14.72"
    assert "Dimensions, PCA to 8: 8 here, 128 in the article." in " ".join(markdown.split())
    rows = json.loads((tmp_path / "results/table1.json").read_text())["rows"]
    assert {row["article"] for row in rows if row["label"] == "8"} == {0.4472, 0.4503, 0.4362, 0.459}


def test_why_nothing_has_changed_is_said(tmp_path: Path) -> None:
    pretrained, finetuned = scores(tmp_path / "p.json"), scores(tmp_path / "f.json")
    files = ["--pretrained", str(pretrained), "--finetuned", str(finetuned)]
    assert tables(tmp_path, "--table", "2", *files) == 0
    said = " ".join((tmp_path / "results/table2.md").read_text().split())
    assert "Both networks answer every query alike." in said
    assert "(FINETUNE_MODE=last) fc6 comes before it" in said and "too few to change an order" in said
    finetuned.write_text(finetuned.read_text().replace('"ap": {"a_1": 0.5}', '"ap": {"a_1": 0.6}'))
    assert tables(tmp_path, "--table", "2", *files) == 0
    assert "alike" not in (tmp_path / "results/table2.md").read_text()


@pytest.mark.parametrize(("pictures", "said"), [(129, True), (130, False), (None, False)])
def test_a_whitening_that_leaves_nothing_to_rank_is_said(
    tmp_path: Path, pictures: int | None, said: bool
) -> None:
    files = []
    for name in ("p", "f"):
        file = scores(tmp_path / f"{name}.json", full=100)
        made = json.loads(file.read_text()) | {"pca_features": None, "made_of": {"pictures": pictures}}
        file.write_text(json.dumps(made))
        files.append(str(file))
    assert tables(tmp_path, "--table", "2", "--pretrained", files[0], "--finetuned", files[1]) == 0
    words = " ".join((tmp_path / "results/table2.md").read_text().split())
    assert ("Nothing is ranked by these, whatever the network: fc6, PCA to 128." in words) == said
    assert ("Both networks answer every query alike" in words) == (not said)


@pytest.mark.parametrize("dim", [18, 19])
def test_what_whitening_to_all_that_pictures_span_does(dim: int) -> None:
    """To n - 1 dimensions of n pictures: no two of them are nearer to each other than any other two."""
    X = l2_normalise(np.random.default_rng(1).normal(size=(20, 60)))
    vectors = describe(X, Whitening(dim).fit(X))
    cosines = (vectors @ vectors.T)[~np.eye(20, dtype=bool)]
    assert (np.ptp(cosines) < 1e-6) == (dim == 19)
    if dim == 19:
        assert cosines == pytest.approx(-1 / 19)


def test_the_published_codes_habits_are_a_second_block(tmp_path: Path) -> None:
    pretrained, finetuned = scores(tmp_path / "p.json"), scores(tmp_path / "f.json", lift=0.25)
    lifts = {("pretrained", "boxes"): 0.01, ("pretrained", "all"): 0.02, ("finetuned", "all"): 0.27}
    for (model, habit), lift in lifts.items():
        folder = tmp_path / "ranks" / f"as_published_{model}_{habit}"
        folder.mkdir(parents=True)
        path = scores(folder / "scores.json", lift=lift)
        kept = [row for row in json.loads(path.read_text())["rows"] if row["map"] < 0.9]
        reranked = "mean-subtraction-in-place" if habit == "all" else "none"
        path.write_text(json.dumps({"rows": [row | {"rerank": reranked} for row in kept]}))
    options = ["--as-published", str(tmp_path / "ranks"), "--pretrained", str(pretrained)]
    assert tables(tmp_path, "--table", "2", *options, "--finetuned", str(finetuned)) == 0
    block = (
        (tmp_path / "results/table2.md").read_text().partition("## As the author's published code runs it")[2]
    )
    assert cells(block)[2:] == [
        ["fc6, pretrained", "article", "45.90 %"],
        ["", "as the text says", "0.00 %"],
        ["", "box as x, y, width, height", "1.00 %"],
        ["", "all three", "2.00 %"],
        ["fc6, finetuned", "article", "60.20 %"],
        ["", "as the text says", "25.00 %"],
        ["", "all three", "27.00 %"],
    ]
    made = json.loads((tmp_path / "results/table2.json").read_text())["as_published"]
    assert [(row["model"], row["habit"], row["map"]) for row in made] == [
        ("pretrained", "boxes", 0.01),
        ("pretrained", "all", 0.02),
        ("finetuned", "all", 0.27),
    ]
    assert tables(tmp_path, "--table", "1", *options) == 0
    block = (tmp_path / "results/table1.md").read_text().partition("## As the author's")[2]
    assert [line[0] for line in cells(block)[2:] if line[0]] == ["fc7_relu7", "fc7", "fc6_relu6", "fc6"]
    frame = list(csv.DictReader((tmp_path / "results/table1.csv").open(newline="")))
    assert {row["habit"] for row in frame} == {"", "boxes", "all"} and len(frame) == 36


def test_no_block_where_nothing_of_it_was_scored(tmp_path: Path) -> None:
    (tmp_path / "ranks").mkdir()
    options = ["--as-published", str(tmp_path / "ranks"), "--pretrained", str(scores(tmp_path / "p.json"))]
    assert tables(tmp_path, "--table", "1", *options) == 0
    assert "published code" not in (tmp_path / "results/table1.md").read_text()
    assert "as_published" not in json.loads((tmp_path / "results/table1.json").read_text())


def test_another_setting_stands_for_table_2s(tmp_path: Path) -> None:
    keys = [("pool5", "none"), ("pool5", "64")]
    files = [str(only(tmp_path / f"{model}.json", *keys)) for model in ("p", "f")]
    assert tables(tmp_path, "--table", "2", "--pretrained", files[0], "--finetuned", files[1]) == 0
    header, _, *body = cells((tmp_path / "results/table2.md").read_text())
    assert header == ["mAP", "", "PCA to 64", "PCA to 128"]
    assert body == [
        ["fc6, pretrained", "article", "", "45.90 %"],
        ["pool5, pretrained", "ours", "25.00 %", ""],
        ["fc6, finetuned", "article", "", "60.20 %"],
        ["pool5, finetuned", "ours", "25.00 %", ""],
    ]


def test_scores_without_a_plain_ranking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = only(tmp_path / "p.json", ("fc6", "128"))
    path.write_text(path.read_text().replace('"query_expansion": "none"', '"query_expansion": "linear"'))
    assert tables(tmp_path, "--table", "1", "--pretrained", str(path)) == 1
    said = "holds no ranking without expansion and re-ranking"
    assert capsys.readouterr().err == f"eval.tables: {path} {said}\n"
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("text", ["", "[1, 2]", "{}", '{"rows": [{"layer": "fc6"}]}', '{"rows": 3}'])
def test_something_that_is_no_scores_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    assert tables(tmp_path, "--table", "1", "--pretrained", str(path)) == 1
    error = capsys.readouterr().err
    assert f"{path} is not a scores.json of eval.score" in error
    assert error.count("\n") == 1


def test_missing_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tables(tmp_path, "--table", "1", "--pretrained", str(tmp_path / "none.json")) == 1
    assert capsys.readouterr().err == f"eval.tables: No such file or directory: {tmp_path / 'none.json'}\n"


def test_out_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results").write_text("mine")
    assert tables(tmp_path, "--table", "1", "--pretrained", str(scores(tmp_path / "p.json"))) == 1
    assert "File exists" in capsys.readouterr().err
    assert (tmp_path / "results").read_text() == "mine"


@pytest.mark.parametrize(
    "options", [["--table", "2"], ["--table", "3"], ["--table", "1", "--finetuned", "f.json"]]
)
def test_wrong_command_line(tmp_path: Path, options: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        tables(tmp_path, "--pretrained", "p.json", *options)
    assert caught.value.code == 2
