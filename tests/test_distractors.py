"""eval.distractors.ranking and eval.score with them, against one ranking of everything and compute_ap."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_compute_ap import build_compute_ap, definition
from test_score import DIM, Scene, complaint

from eval.distractors import counting as comparison
from eval.distractors import ranking as distractors
from eval.distractors.counting import Comparison, float32_error
from eval.distractors.ranking import Searched, average_precision, open_distractors, rank_among
from eval.files import features
from eval.rank.recipe import SIMILARITY_DECIMALS, l2_normalise, rank, similarities


@pytest.fixture(scope="module")
def compute_ap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_compute_ap(tmp_path_factory.mktemp("bin"))


@pytest.fixture(autouse=True)
def on_path(compute_ap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{compute_ap.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def save(path: Path, names: Sequence[str], layers: dict[str, np.ndarray], **how: object) -> Path:
    with h5py.File(path, "w") as file:
        file["database/names"] = np.array(names, dtype=h5py.string_dtype())
        for layer, values in layers.items():
            file.create_dataset(f"database/{layer}", data=values, **how)
    return path


def crowd(scene: Scene, count: int, seed: int = 1) -> tuple[list[str], dict[str, np.ndarray]]:
    """Distractors: noise, near and exact copies of the scene's pictures and queries, names in no order."""
    random = np.random.default_rng(seed)
    source = np.concatenate([scene.database["fc6"], scene.asked["fc6"]])
    values = source[random.integers(len(source), size=count)]
    values = values * random.choice([1, 2, 0.5], size=(count, 1))
    values += random.choice([0, 0, 1e-7, 1e-3, 1, 2], size=(count, 1)) * random.normal(size=values.shape)
    values[::17] = 0
    names = [f"{'aemoz'[i % 5]}/{i:05d} away" for i in random.permutation(count)]
    fc6 = values.astype(np.float32)
    return names, {"fc6": fc6, "fc6_relu6": np.maximum(fc6, 0)}


def together(scene: Scene, names: Sequence[str], layers: dict[str, np.ndarray], folder: Path) -> Scene:
    """The scene with the distractors in its own database: the small path ranks them all."""
    whole = Scene.__new__(Scene)
    whole.__dict__ |= scene.__dict__
    whole.out, whole.features = folder / "whole", folder / "whole.h5"
    whole.names = [*scene.names, *names]
    whole.database = {
        layer: np.concatenate([values, layers[layer]]) for layer, values in scene.database.items()
    }
    return whole


@pytest.mark.parametrize(
    ("block_values", "most_rows", "how"),
    [
        (1 << 21, 8192, {}),
        (40 * DIM, 8192, {}),
        (1000 * DIM, 64, {"chunks": (7, 5), "compression": "gzip"}),
        (1, 1, {"chunks": (300, DIM)}),
    ],
)
def test_same_places_and_figures_as_one_ranking_of_all(
    scene: Scene,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    block_values: int,
    most_rows: int,
    how: dict[str, object],
) -> None:
    monkeypatch.setattr(distractors, "BLOCK_VALUES", block_values)
    monkeypatch.setattr(distractors, "MOST_ROWS", most_rows)
    monkeypatch.setattr(features, "NAMES_AT_ONCE", 90)
    names, layers = crowd(scene, 700)
    one = save(tmp_path / "one.h5", names[:300], {key: rows[:300] for key, rows in layers.items()}, **how)
    two = save(tmp_path / "two.h5", names[300:], {key: rows[300:] for key, rows in layers.items()}, **how)
    options = ("--dims", "4", "full", "none", "--pca-features", scene.save())
    rows = scene.rows(*options, "--distractors", one, two, "--first", 60)
    whole = together(scene, names, layers, tmp_path)
    expected = whole.rows(*options)
    assert len(rows) == 6
    for row, all_ranked in zip(rows, expected, strict=True):
        assert row["distractors"]["count"] == 700
        assert row["distractors"]["ap"] == all_ranked["ap"]
        assert row["distractors"]["map"] == all_ranked["map"]
        for query in scene.queries:
            ranking = whole.ranking(all_ranked, query)
            prefix = f"{scene.out / row['ranks'] / query}"
            assert Path(f"{prefix}.first.txt").read_text().splitlines() == ranking[:60]
            places = [line.split(" ", 1) for line in Path(f"{prefix}.places.txt").read_text().splitlines()]
            positives, _ = scene.judged(query)
            assert [[str(i), name] for i, name in enumerate(ranking, 1) if name in positives] == places


def test_the_ordinary_results_stay(scene: Scene, tmp_path: Path) -> None:
    before = scene.rows()
    lists = {path: path.read_text() for path in scene.out.rglob("*.txt")}
    names, layers = crowd(scene, 100)
    rows = scene.rows("--distractors", save(tmp_path / "d.h5", names, layers))
    assert [{key: row[key] for key in row if key != "distractors"} for row in rows] == before
    assert all(path.read_text() == text for path, text in lists.items())
    assert json.loads((scene.out / "scores.json").read_text())["distractors"] == [str(tmp_path / "d.h5")]
    assert any(row["distractors"]["map"] < row["map"] for row in rows)


small = st.integers(-2, 2).map(float)
nearly = st.tuples(small, st.sampled_from([0, 0, 1e-8, -1e-7, 3e-6, 1e-20])).map(sum)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str], list[str]]:
    """Queries, searched vectors, distractors: few numbers, so that much ties; and both's names."""
    dimensions = draw(st.integers(1, 5))

    def vectors(least: int, most: int) -> np.ndarray:
        rows = draw(
            st.lists(
                st.lists(nearly, min_size=dimensions, max_size=dimensions), min_size=least, max_size=most
            )
        )
        scale = draw(st.sampled_from([1.0, 1e-25, 1e-21, 1e25]))
        return np.array(rows).reshape(-1, dimensions).astype(np.float32) * np.float32(scale)

    queries, searched, further = vectors(1, 3), vectors(2, 12), vectors(1, 40)
    beginning = st.sampled_from(
        ["", "", "Z", "a", "é", "\uffee", "\U0001f3db", "long enough to be held elsewhere "]
    )
    numbers = range(len(searched) + len(further))
    names = draw(st.permutations([f"{draw(beginning)}{i:02}" for i in numbers]))
    return queries, searched, further, sorted(names[: len(searched)]), names[len(searched) :]


@settings(deadline=None, max_examples=300)
@given(world=worlds(), data=st.data())
def test_drawn_worlds(tmp_path_factory: pytest.TempPathFactory, world: tuple, data: st.DataObject) -> None:
    queries, searched, further, names, far = world
    count = len(queries)
    chosen = st.lists(st.sampled_from(names), unique=True, max_size=6)
    positives = [set(data.draw(chosen)) for _ in range(count)]
    junk = [set(data.draw(chosen)) - mine for mine in positives]
    first = data.draw(st.integers(1, len(names) + len(far) + 2))
    unit, database = l2_normalise(queries), l2_normalise(searched)
    scores = similarities(unit, database)
    place = tmp_path_factory.mktemp("world")
    save(place / "d.h5", far, {"x": further}, chunks=(data.draw(st.integers(1, len(far))), 1))
    with open_distractors([place / "d.h5"], names) as among, pytest.MonkeyPatch.context() as patch:
        patch.setattr(distractors, "MOST_ROWS", data.draw(st.integers(1, 9)))
        patch.setattr(comparison, "MOST_PAIRS", data.draw(st.sampled_from([1, 4, 1 << 20])))
        patch.setattr(comparison, "EXACT_PAIRS", data.draw(st.integers(1, 9)))
        asked = Searched(names, unit, scores, rank(scores), positives, junk)
        standings = rank_among(among, "x", lambda rows: rows, asked, first=first, jobs=2)

    everything = [*names, *far]
    order = sorted(range(len(everything)), key=everything.__getitem__)
    ranking = rank(similarities(unit, np.concatenate([database, l2_normalise(further)])[order]))
    for q, standing in enumerate(standings):
        listed = [everything[order[i]] for i in ranking[q]]
        without_junk = [name for name in listed if name not in junk[q]]
        assert standing.first == listed[:first]
        assert standing.places == {name: i for i, name in enumerate(listed, 1) if name in positives[q]}
        assert sorted(standing.judged) == [
            i for i, name in enumerate(without_junk, 1) if name in positives[q]
        ]


@settings(deadline=None, max_examples=60)
@given(
    places=st.sets(st.integers(1, 60), min_size=1, max_size=20),
    lacking=st.integers(0, 3),
)
def test_average_precision_is_what_compute_ap_prints(
    compute_ap: Path, tmp_path_factory: pytest.TempPathFactory, places: set[int], lacking: int
) -> None:
    folder = tmp_path_factory.mktemp("ap")
    positives = {f"p{place}" for place in places} | {f"gone{i}" for i in range(lacking)}
    ranking = [f"p{place}" if place in places else f"n{place}" for place in range(1, 62)]
    (folder / "q_good.txt").write_text("\n".join(positives))
    for kind in ("ok", "junk"):
        (folder / f"q_{kind}.txt").write_text("")
    (folder / "list").write_text("\n".join(ranking))
    done = subprocess.run(
        [compute_ap, folder / "q", folder / "list"], capture_output=True, text=True, check=True
    )
    figure = average_precision(places, len(positives))
    assert figure == float(done.stdout)
    assert figure == pytest.approx(float(definition(positives, set(), ranking)), rel=1e-5)


def test_places_of_a_million_keep_their_precision() -> None:
    places = [1, 3, 999_999, 1_000_000]
    figure, recall, precision = Fraction(0), Fraction(0), Fraction(1)
    for found, place in enumerate(places, 1):
        before = Fraction(found - 1, place - 1) if place > 1 else Fraction(1)
        figure += (Fraction(found, 5) - recall) * (before + Fraction(found, place)) / 2
        recall, precision = Fraction(found, 5), Fraction(found, place)
    assert precision < recall
    assert average_precision(places, 5) == pytest.approx(float(figure), rel=1e-5)


@pytest.mark.parametrize("dimensions", [3, 256, 300, 4096])
def test_float32_stays_within_its_bound(dimensions: int) -> None:
    """Worst for sums are vectors of one sign that all point alike: every product adds."""
    random = np.random.default_rng(dimensions)
    vectors = np.abs(random.normal(size=(500, dimensions)) + 3).astype(np.float32)
    queries = l2_normalise(vectors[:5] + random.normal(size=(5, dimensions)) / 10)
    exact = similarities(queries, l2_normalise(vectors))
    compare = Comparison(queries, [np.array([2.0, -2.0])] * 5)
    compared = compare(vectors)
    assert (compared.above.reshape(5, 2) == 0).all()
    found = np.take_along_axis(exact, compared.row.reshape(5, -1), 1)
    assert np.abs(compared.score.reshape(5, -1) - found).max() < 1.1 * 10.0**-SIMILARITY_DECIMALS
    keys = compare._sorted_keys(vectors)
    rows, found = keys & 8191, (keys >> 13) / 2.0**17
    error = np.abs(found - np.take_along_axis(exact, rows, 1)).max()
    assert error < float32_error(dimensions) + 2.0**-17


def test_bad_distractors(
    scene: Scene, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distractors, "NAMES_AT_ONCE", 3)
    names, layers = crowd(scene, 50)
    path = tmp_path / "far.h5"
    options = ("--distractors", path)

    def said(names: Sequence[str] = names, **changed: np.ndarray | None) -> str:
        there = {key: rows for key, rows in (layers | changed).items() if rows is not None}
        save(path, names, there)
        return complaint(scene, capsys, *options, "--dims", "none")

    assert "there is no features file" in complaint(scene, capsys, *options)
    assert f"{path} has no layer fc6_relu6 in database; there are: fc6" in said(fc6_relu6=None)
    assert f"{path} has fc6 in 7 dimensions, not 12" in said(fc6=layers["fc6"][:, :7])
    for bad in (np.nan, np.inf):
        spoilt = layers["fc6"].copy()
        spoilt[31, 2] = bad
        sentence = f"{path}: database/fc6 holds a value that is not finite, for {names[31]}"
        assert sentence in said(fc6=spoilt)
        assert sentence in complaint(scene, capsys, *options, "--dims", "4")
    assert "has shape (49, 12), where 50 names need (50, D)" in said(fc6=layers["fc6"][:49])
    assert f"{path} has {names[3]} twice in database" in said([*names[:7], names[3], *names[8:]])
    assert "other_003 is a distractor and a picture to be searched" in said(["other_003", *names[1:]])
    save(path, names, layers)
    again = save(path.with_name("again.h5"), names[5:6], {key: rows[:1] for key, rows in layers.items()})
    assert f"{names[5]} is there twice among the distractors" in complaint(scene, capsys, *options, again)


def test_what_is_to_be_found_is_no_distractor(
    scene: Scene, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Not even where the searched database lacks it: it would count as never found while it is there."""
    names, layers = crowd(scene, 50)
    scene.names[scene.names.index("old town/gate_001")] = "renamed"
    far = save(tmp_path / "far.h5", ["old town/gate_001", *names[1:]], layers)
    assert scene.score("--missing-ok", "--distractors", far) == 1
    assert "old town/gate_001 is a distractor and a picture" in capsys.readouterr().err


def test_no_expansion_among_distractors(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        scene.score("--distractors", "far.h5", "--query-expansion", "none", "average")
    assert caught.value.code == 2
    assert "--distractors goes without --query-expansion and --rerank" in capsys.readouterr().err
