"""eval.files.scores: what eval.score wrote is read back, and no other file ends in more than one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from eval.files.scores import Scores, read_scores, shown_rows
from eval.results.article import article


def row(layer: str, label: str, figure: float = 0.5, **changed: Any) -> dict[str, Any]:
    """A row as eval.score writes it."""
    made = {"layer": layer, "label": label, "dim": 128, "pca": label != "none", "query_expansion": "none"}
    made |= {"rerank": "none", "noise_directions": 0, "ranks": f"{layer}/{label}", "map": figure}
    return made | {"ap": {"a_1": figure}} | changed


def written(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"model": "pretrained", "rows": rows}))
    return path


def read(path: Path, *rows: dict[str, Any]) -> Scores:
    return read_scores(written(path, *rows))


def test_plain_rows_are_those_that_nothing_was_done_to(tmp_path: Path) -> None:
    expanded = row("fc6", "128", 0.9, query_expansion="linear")
    reranked = row("fc6", "128", 0.8, rerank="mean-subtraction")
    scores = read(tmp_path / "s.json", expanded, row("fc7", "none", 0.1), reranked, row("fc6", "128", 0.3))
    assert {key: one.map for key, one in scores.plain.items()} == {("fc7", "none"): 0.1, ("fc6", "128"): 0.3}
    assert [one.map for one in scores.rows] == [0.9, 0.1, 0.8, 0.3]


@pytest.mark.parametrize(
    ("first", "second", "chosen"),
    [
        ([("fc7", "128"), ("fc6", "none"), ("fc6", "128")], [("fc6", "128")], ("fc6", "128")),
        # fc6 at the dimension nearest to the article's 128, rather than without PCA or in another layer
        ([("fc7", "128"), ("fc6", "none"), ("fc6", "512"), ("fc6", "64")], None, ("fc6", "64")),
        ([("fc7", "128"), ("fc6", "none")], None, ("fc6", "none")),
        ([("pool5_max", "none"), ("fc7", "128"), ("fc7", "64")], None, ("fc7", "128")),
        # what only one model has can't be shown of both
        ([("fc6", "128"), ("fc7", "64")], [("fc7", "64")], ("fc7", "64")),
        ([("fc6", "128")], [("fc7", "128")], None),
    ],
)
def test_the_setting_that_is_shown(
    tmp_path: Path,
    first: list[tuple[str, str]],
    second: list[tuple[str, str]] | None,
    chosen: tuple[str, str] | None,
) -> None:
    scores = {
        str(i): read(tmp_path / f"{i}.json", *(row(*key) for key in keys))
        for i, keys in enumerate((first, second or first))
    }
    rows = shown_rows(scores)
    assert [one.key for one in rows.values()] == ([] if chosen is None else [chosen, chosen])


def test_what_is_shown_first_is_the_articles_table_2(tmp_path: Path) -> None:
    ((layer, labels),) = article().map["finetuned"].items()
    (label,) = labels
    scores = read(
        tmp_path / "s.json", row("fc7", "64"), row(layer, "none"), row(layer, label), row("fc6", "256")
    )
    assert shown_rows({"pretrained": scores})["pretrained"].key == (layer, label)


def test_nothing_is_shown_of_nothing(tmp_path: Path) -> None:
    assert shown_rows({}) == {}
    assert shown_rows({"pretrained": read(tmp_path / "s.json")}) == {}


WRONG = {
    "": "Expecting value",
    '{"rows": [': "Expecting value",
    "[1]": "the file is not an object",
    "{}": "it lacks 'rows'",
    '{"rows": {}}': "rows is not a list",
    '{"rows": [{"layer": "fc6"}]}': "it lacks 'label'",
    json.dumps({"rows": [row("fc6", "128", float("nan"))]}): "NaN is no figure",
    json.dumps({"rows": [row("fc6", "128", float("inf"))]}): "Infinity is no figure",
    json.dumps({"rows": [row("fc6", "128", 1.5)]}): "map is not a figure from 0 to 1",
    json.dumps({"rows": [row("fc6", "128", ap={"a_1": "0.5"})]}): "ap is not a figure from 0 to 1",
    json.dumps({"rows": [row("fc6", "some", dim=3)]}): "label is 'some'",
    json.dumps({"rows": [row("fc6", "128", dim=True)]}): "dim is not a whole number",
    '{"rows": ' + "[" * 100_000: "nested too deeply",
}


@pytest.mark.parametrize(("text", "reason"), WRONG.items(), ids=WRONG.values())
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "scores.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"is not a scores\.json of eval\.score") as caught:
        read_scores(path)
    assert reason in str(caught.value) and "\n" not in str(caught.value) and str(path) in str(caught.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(row("fc6", "128"))), inner)
    ),
    max_leaves=6,
)
GOOD = json.dumps({"model": "pretrained", "rows": [row("fc6", "128"), row("fc7", "none")]}).encode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=60)
    | st.integers(0, len(GOOD)).map(lambda end: GOOD[:end])
    | st.builds(
        lambda name, value: json.dumps({"rows": [row("fc6", "128") | {name: value}]}).encode(),
        st.sampled_from(list(row("fc6", "128"))),
        VALUES,
    )
    | VALUES.map(lambda value: json.dumps({"rows": value}).encode())
)
@example(json.dumps({"rows": [row("fc6", "1" + "0" * 5000)]}).encode())
def test_any_file_is_read_or_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scores.json"
    path.write_bytes(content)
    try:
        scores = read_scores(path)
    except ValueError as error:
        assert "is not a scores.json of eval.score" in str(error) and "\n" not in str(error)
    else:
        assert all(0 <= one.map <= 1 for one in scores.rows)
        shown_rows({"a": scores, "b": scores})
