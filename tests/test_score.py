"""eval.score and eval.rank.recipe, against the steps written out in loops and against cases by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_compute_ap import build_compute_ap, definition

from eval.files.ground_truth import fingerprint, read_ground_truth
from eval.rank.recipe import (
    Whitening,
    describe,
    expand_queries,
    expansion_weights,
    l2_normalise,
    rank,
    rerank_by_mean_subtraction,
    rerank_in_place,
    similarities,
)
from eval.score import main

ROOT = Path(__file__).resolve().parent.parent
DIM = 12
LANDMARKS = ("bridge", "gate", "tower")


@pytest.fixture(scope="module")
def compute_ap_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_compute_ap(tmp_path_factory.mktemp("bin")).parent


@pytest.fixture(autouse=True)
def on_path(compute_ap_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{compute_ap_folder}{os.pathsep}{os.environ['PATH']}")


class Scene:
    """A small world: three landmarks, one query each, five positives, two junk pictures, thirty others."""

    def __init__(self, folder: Path) -> None:
        self.gt, self.out, self.features = folder / "gt", folder / "ranks", folder / "features.h5"
        self.gt.mkdir()
        random = np.random.default_rng(7)
        names, vectors, asked = [], [], []
        for landmark in LANDMARKS:
            centre = random.normal(size=DIM)
            mine = [f"old town/{landmark}_{i:03d}" for i in range(7)]
            names += mine
            vectors += [centre + random.normal(size=DIM) for _ in mine]
            asked.append(vectors[-7] + 0.3 * random.normal(size=DIM))
            self._judge(landmark, mine)
        names += [f"other_{i:03d}" for i in range(30)]
        vectors += [random.normal(size=DIM) for _ in range(30)]
        order = random.permutation(len(names))
        self.names = [names[i] for i in order]
        self.queries = [f"{landmark}_1" for landmark in LANDMARKS]
        self.database = {"fc6": np.float32(vectors)[order]}
        self.asked = {"fc6": np.float32(asked)}
        self.database["fc6_relu6"] = np.maximum(self.database["fc6"], 0)
        self.asked["fc6_relu6"] = np.maximum(self.asked["fc6"], 0)
        self.attributes: dict[str, Any] = {"model": "pretrained", "complete": True}

    def _judge(self, landmark: str, names: list[str]) -> None:
        lists = {"good": names[:3], "ok": names[3:5], "junk": names[5:]}
        for kind, listed in lists.items():
            (self.gt / f"{landmark}_1_{kind}.txt").write_text("".join(f"{name}\n" for name in listed))
        (self.gt / f"{landmark}_1_query.txt").write_text(f"oxc1_{names[0]} 0 0 9 9\n")

    def judged(self, query: str) -> tuple[set[str], set[str]]:
        """Positives and junk of a query."""
        read = {
            kind: (self.gt / f"{query}_{kind}.txt").read_text().splitlines()
            for kind in ("good", "ok", "junk")
        }
        return {*read["good"], *read["ok"]}, set(read["junk"])

    def save(self, path: Path | None = None) -> Path:
        path = path or self.features
        with h5py.File(path, "w") as file:
            file.attrs.update(self.attributes)
            for group, names, layers in (
                ("database", self.names, self.database),
                ("queries", self.queries, self.asked),
            ):
                file[f"{group}/names"] = names
                for layer, values in layers.items():
                    file[f"{group}/{layer}"] = values
        return path

    def score(self, *options: object) -> int:
        self.save()
        return main([str(self.features), "--gt", str(self.gt), "--out", str(self.out), *map(str, options)])

    def rows(self, *options: object) -> list[dict[str, Any]]:
        assert self.score(*options) == 0
        return json.loads((self.out / "scores.json").read_text())["rows"]

    def ranking(self, row: dict[str, Any], query: str) -> list[str]:
        return (self.out / row["ranks"] / f"{query}.txt").read_text().splitlines()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def complaint(scene: Scene, capsys: pytest.CaptureFixture[str], *options: object) -> str:
    """The sentence of a run that must fail, and leave nothing behind."""
    assert scene.score(*options) == 1
    error = capsys.readouterr().err
    assert error.startswith("eval.score: ") and error.count("\n") == 1
    assert not (scene.out / "scores.json").exists()
    assert not scene.out.exists() or not list(scene.out.iterdir())
    return error


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.sqrt(np.sum(vector**2))


def by_the_article(
    database: np.ndarray, queries: np.ndarray, dim: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """L2, whitening by the eigenvectors of the covariance, L2, one row after the other."""
    X = np.array([unit(row) for row in database.astype(np.float64)])
    Q = np.array([unit(row) for row in queries.astype(np.float64)])
    if dim is None:
        return X, Q
    mean = X.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov(X, rowvar=False))
    best = np.argsort(values)[::-1][:dim]
    project = axes[:, best] / np.sqrt(values[best])
    return tuple(np.array([unit((row - mean) @ project) for row in rows]) for rows in (X, Q))


def test_figures_and_lists_by_the_article(scene: Scene) -> None:
    rows = scene.rows("--dims", 4, "full", "none")
    settings_ = [(row["layer"], row["label"], row["dim"], row["pca"]) for row in rows]
    labels = [("4", 4, True), ("full", DIM, True), ("none", DIM, False)]
    assert settings_ == [(layer, *label) for layer in ("fc6", "fc6_relu6") for label in labels]
    for row in rows:
        X, Q = by_the_article(
            scene.database[row["layer"]], scene.asked[row["layer"]], row["dim"] if row["pca"] else None
        )
        figures = []
        for query, vector in zip(scene.queries, Q, strict=True):
            # Cut by ReLU, pictures may have nothing in common with a query: those tie at 0.
            cosines = dict(zip(scene.names, np.round(X @ vector, 9), strict=True))
            expected = sorted(scene.names, key=lambda name: (-cosines[name], name))
            assert scene.ranking(row, query) == expected
            figures.append(float(definition(*scene.judged(query), expected)))
            assert row["ap"][query] == pytest.approx(figures[-1], rel=1e-5)
        assert row["map"] == pytest.approx(np.mean(figures), rel=1e-5)
        assert 0.2 < row["map"] < 1


def test_scores_say_how_they_were_made(scene: Scene) -> None:
    scene.rows("--layers", "fc6_relu6", "--dims", "4")
    scores = json.loads((scene.out / "scores.json").read_text())
    (row,) = scores.pop("rows")
    assert scores == {
        "model": "pretrained",
        "features": str(scene.features),
        "preprocessing": None,
        "learnt": {},
        "pca_features": None,
        "pca_set": None,
        "qe_top": 10,
        "rerank_top": 10,
        "made_of": {
            "weights_sha256": None,
            "pictures": len(scene.names),
            "ground_truth_sha256": fingerprint(read_ground_truth(scene.gt)),
        },
    }
    assert (row["layer"], row["query_expansion"], row["rerank"], row["noise_directions"]) == (
        "fc6_relu6",
        "none",
        "none",
        0,
    )


def test_order_in_the_file_changes_nothing_and_runs_repeat(scene: Scene) -> None:
    first = scene.rows()
    order = np.random.default_rng(1).permutation(len(scene.names))
    scene.names = [scene.names[i] for i in order]
    scene.database = {layer: values[order] for layer, values in scene.database.items()}
    assert scene.rows("--jobs", 1) == first


def test_ties_are_broken_by_name(scene: Scene) -> None:
    for values in scene.database.values():
        values[:] = values[0]
    (row,) = scene.rows("--layers", "fc6", "--dims", "none")
    assert scene.ranking(row, "gate_1") == sorted(scene.names)


def test_the_same_vector_twice_ties_whatever_its_place() -> None:
    random = np.random.default_rng(0)
    X = l2_normalise(np.repeat(random.normal(size=(1, 4096)), 1001, axis=0))
    Q = l2_normalise(random.normal(size=(55, 4096)))
    assert (rank(similarities(Q, X)) == np.arange(1001)).all()


def test_expansion_and_reranking_by_hand(scene: Scene) -> None:
    rows = scene.rows(
        *("--layers", "fc6", "--dims", "none"),
        *("--query-expansion", "none", "average", "linear", "--qe-top", 3),
        *("--rerank", "none", "mean-subtraction", "--rerank-top", 5),
    )
    assert len(rows) == 6
    X, Q = by_the_article(scene.database["fc6"], scene.asked["fc6"], None)
    weights = {"none": [], "average": [1, 1, 1], "linear": [1, 2 / 3, 1 / 3]}
    changed = set()
    for row in rows:
        for query, vector in zip(scene.queries, Q, strict=True):
            best = np.argsort(-(X @ vector))
            vector = unit(
                vector + sum(w * X[i] for w, i in zip(weights[row["query_expansion"]], best, strict=False))
            )
            order = list(np.argsort(-(X @ vector)))
            if row["rerank"] != "none":
                mean = sum(X[i] for i in order[:5]) / 5
                order[:5] = sorted(order[:5], key=lambda i: -(unit(X[i] - mean) @ unit(vector - mean)))
            assert scene.ranking(row, query) == [scene.names[i] for i in order]
        changed.add(tuple(tuple(scene.ranking(row, query)) for query in scene.queries))
    assert len(changed) == 6, "an option that changes nothing"


def test_pca_fitted_on_another_file(scene: Scene, tmp_path: Path) -> None:
    other = Scene.__new__(Scene)
    other.names, other.queries = [f"paris_{i}" for i in range(40)], []
    other.database = {
        "fc6": np.random.default_rng(5).normal(size=(40, DIM)).astype(np.float32) * np.arange(1, 13)
    }
    other.asked, other.attributes = {}, {}
    other.save(tmp_path / "paris.h5")
    (row,) = scene.rows("--layers", "fc6", "--dims", 4, "--pca-features", tmp_path / "paris.h5")
    P = l2_normalise(other.database["fc6"])
    values, axes = np.linalg.eigh(np.cov(P, rowvar=False))
    project = axes[:, ::-1][:, :4] / np.sqrt(values[::-1][:4])
    X = l2_normalise((l2_normalise(scene.database["fc6"]) - P.mean(axis=0)) @ project)
    Q = l2_normalise((l2_normalise(scene.asked["fc6"]) - P.mean(axis=0)) @ project)
    for query, vector in zip(scene.queries, Q, strict=True):
        assert scene.ranking(row, query) == [scene.names[i] for i in np.argsort(-(X @ vector))]


def test_no_more_dimensions_than_the_vectors_allow(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    wide = np.random.default_rng(2).normal(size=(len(scene.names) + 3, 100)).astype(np.float32)
    scene.database["fc6"], scene.asked["fc6"] = wide[:-3], wide[-3:]
    rows = scene.rows("--layers", "fc6", "--dims", 64, "full", "none")
    assert [row["dim"] for row in rows] == [len(scene.names) - 1, len(scene.names) - 1, 100]
    assert [row["noise_directions"] for row in rows] == [0, 0, 0]
    said = capsys.readouterr().err
    assert "fc6: PCA to 64 asked, to 50 done" in said
    assert "fc6: PCA to 100 asked, to 50 done" in said


def test_directions_of_dead_units_are_told_and_can_be_dropped(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.database["fc6_relu6"][:, 3] = 0
    scene.database["fc6_relu6"][:, 8] = 0
    options = ("--layers", "fc6_relu6", "--dims", 4, "full")
    few, full = scene.rows(*options)
    assert (few["dim"], few["noise_directions"]) == (4, 0)
    assert (full["dim"], full["noise_directions"]) == (DIM, 2)
    assert "2 of 12 PCA directions hold only float32's rounding" in capsys.readouterr().err
    _, full = scene.rows(*options, "--drop-noise")
    assert (full["dim"], full["noise_directions"]) == (DIM - 2, 0)


def test_missing_pictures_are_an_error_or_never_found(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = {"old town/gate_001", "old town/tower_006"}  # a positive and a junk picture
    keep = [i for i, name in enumerate(scene.names) if name not in gone]
    scene.names = [scene.names[i] for i in keep]
    scene.database = {layer: values[keep] for layer, values in scene.database.items()}
    error = complaint(scene, capsys)
    assert "names 2 pictures that the database of" in error
    assert "old town/gate_001, old town/tower_006" in error
    row, *_ = scene.rows("--missing-ok", "--dims", "none")
    positives, junk = scene.judged("gate_1")
    assert len(positives) == 5
    expected = definition(positives, junk, scene.ranking(row, "gate_1"))
    assert row["ap"]["gate_1"] == pytest.approx(float(expected), rel=1e-5)


def test_bad_features(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    good = scene.database["fc6"]
    scene.database["fc6"] = good.copy()
    scene.database["fc6"][5, 3] = np.nan
    assert f"database/fc6 holds a value that is not finite, for {scene.names[5]}" in complaint(scene, capsys)
    scene.database["fc6"] = good[:-1]
    assert "has shape (50, 12), where 51 names need (51, D)" in complaint(scene, capsys)
    scene.database["fc6"] = good[:, :7]
    assert "fc6 has 7 dimensions in the database and 12 in the queries" in complaint(scene, capsys)
    scene.database["fc6"] = np.repeat(good[:1], len(good), axis=0)
    assert "fc6: PCA can't be fitted on 51 vectors that don't differ" in complaint(scene, capsys)
    scene.database["fc6"] = good
    assert "no layer fc9 in database; there are: fc6, fc6_relu6" in complaint(
        scene, capsys, "--layers", "fc9"
    )
    del scene.asked["fc6"]
    assert "no layer fc6 in queries; there are: fc6_relu6" in complaint(scene, capsys)
    scene.attributes["complete"] = False
    assert "is incomplete: run eval.extract again" in complaint(scene, capsys)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("other_001", "has other_001 twice in database"),
        (" a", "' a' can't stand"),
        ("a\nb", r"'a\nb' can't stand"),
    ],
)
def test_bad_names(scene: Scene, capsys: pytest.CaptureFixture[str], name: str, words: str) -> None:
    scene.names[scene.names.index("other_000")] = name
    assert words in complaint(scene, capsys)


def test_queries_and_ground_truth_must_be_the_same(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.queries[0] = "church_1"
    assert "has no ground truth for" in complaint(scene, capsys)
    scene.queries, scene.asked = scene.queries[1:], {layer: Q[1:] for layer, Q in scene.asked.items()}
    assert "lacks queries that" in complaint(scene, capsys)


def test_files_that_are_not_there_or_something_else(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.save()
    arguments = ["--gt", str(scene.gt), "--out", str(scene.out)]
    cut = scene.features.with_name("cut.h5")
    cut.write_bytes(scene.features.read_bytes()[:3000])
    for features, words in (
        (scene.features.with_name("none.h5"), "there is no features file"),
        (scene.gt / "gate_1_ok.txt", "can't be read as HDF5"),
        (cut, "can't be read as HDF5"),
    ):
        assert main([str(features), *arguments]) == 1
        assert words in capsys.readouterr().err
    (scene.gt / "gate_1_junk.txt").unlink()
    assert "No such file or directory" in (error := complaint(scene, capsys)) and "gate_1_junk.txt" in error


def test_out_that_is_a_file(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.out.write_text("mine")
    assert scene.score() == 1
    assert str(scene.out) in capsys.readouterr().err
    assert scene.out.read_text() == "mine"


def test_without_compute_ap(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "compute_ap is not on PATH" in complaint(scene, capsys)


def test_failure_leaves_the_last_results_alone(scene: Scene) -> None:
    scene.rows()
    before = {path: path.read_bytes() for path in scene.out.rglob("*") if path.is_file()}
    scene.asked["fc6"] = -scene.asked["fc6"]
    scene.asked["fc6_relu6"][0, 0] = np.inf  # found after fc6 has been ranked anew
    assert scene.score() == 1
    assert {path: path.read_bytes() for path in scene.out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "options",
    [["--dims", "0"], ["--dims", "much"], ["--qe-top", "-1"], ["--query-expansion", "best"], ["--jobs", "x"]],
)
def test_wrong_command_line(scene: Scene, options: Sequence[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        scene.score(*options)
    assert caught.value.code == 2


def test_more_answers_than_pictures(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    error = complaint(scene, capsys, "--query-expansion", "average", "--qe-top", 52)
    assert "--qe-top 52 is more than the database's 51 pictures" in error
    assert scene.score("--qe-top", 52) == 0, "not used, so not wrong"


def test_as_a_program(scene: Scene) -> None:
    scene.save()
    command = [sys.executable, "-m", "eval.score", scene.features, "--gt", scene.gt, "--out", scene.out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.count("mAP") == 6


matrices = hnp.arrays(
    np.float32,
    st.tuples(st.integers(2, 20), st.integers(1, 8)),
    elements=st.floats(-1e3, 1e3, width=32).filter(lambda value: value == 0 or abs(value) > 1e-3),
)


@settings(deadline=None)
@given(matrices)
def test_normalised_rows_have_length_one_or_were_zero(X: np.ndarray) -> None:
    lengths = np.linalg.norm(l2_normalise(X), axis=1)
    assert np.allclose(lengths, X.any(axis=1))


@settings(deadline=None)
@given(matrices, st.integers(1, 8))
def test_whitened_directions_are_uncorrelated_with_variance_one(X: np.ndarray, components: int) -> None:
    X = l2_normalise(X)
    try:
        whitening = Whitening(components).fit(X)
    except ValueError:
        assert np.std(X, axis=0).max() < 1e-7
        return
    held = len(whitening.standard_deviations) - whitening.noise_directions
    assert 1 <= held <= len(whitening.standard_deviations) == min(components, len(X) - 1, X.shape[1])
    whitened = whitening.transform(X)[:, :held]
    assert np.allclose(whitened.mean(axis=0), 0, atol=1e-6)
    assert np.allclose(np.cov(whitened, rowvar=False), np.eye(held), atol=1e-6)


def test_smallest_directions_are_resolved() -> None:
    """Standard deviations over ten orders of magnitude come out as they were put in, and whiten to 1."""
    random = np.random.default_rng(3)
    scales = 10.0 ** -np.arange(11)
    U = random.normal(size=(200, 11))
    U, _ = np.linalg.qr(U - U.mean(axis=0))
    axes, _ = np.linalg.qr(random.normal(size=(11, 11)))
    X = (U * scales * np.sqrt(199)) @ axes.T
    whitening = Whitening(11).fit(X)
    assert np.allclose(whitening.standard_deviations, scales, rtol=1e-4)
    assert np.allclose(whitening.transform(X).std(axis=0, ddof=1), 1, rtol=1e-4)


def test_fewer_components_are_the_first_of_more() -> None:
    X = l2_normalise(np.random.default_rng(4).normal(size=(60, 20)))
    assert np.allclose(Whitening(5).fit(X).transform(X), Whitening(20).fit(X).transform(X)[:, :5])


def test_expansion_weights() -> None:
    assert expansion_weights("average", 3).tolist() == [1, 1, 1]
    assert expansion_weights("linear", 4).tolist() == [1, 0.75, 0.5, 0.25]
    with pytest.raises(ValueError, match="'both' is none of"):
        expansion_weights("both", 3)


def test_expanding_by_the_best_answer_moves_half_way() -> None:
    X = np.eye(3)
    expanded = expand_queries(X[:1], X, np.array([[1, 0, 2]]), np.ones(1))
    assert np.allclose(expanded, [[np.sqrt(0.5), np.sqrt(0.5), 0]])


def test_reranking_keeps_the_rest_in_place() -> None:
    random = np.random.default_rng(6)
    X, Q = l2_normalise(random.normal(size=(30, 8))), l2_normalise(random.normal(size=(4, 8)))
    before = rank(similarities(Q, X))
    after = rerank_by_mean_subtraction(Q, X, before, 10)
    assert (after[:, 10:] == before[:, 10:]).all()
    assert (np.sort(after[:, :10]) == np.sort(before[:, :10])).all()
    assert (after[:, :10] != before[:, :10]).any()


def test_the_recipe_is_its_three_steps() -> None:
    X = np.random.default_rng(5).normal(size=(50, 9)).astype(np.float32)
    unit = X.astype(np.float64) / np.linalg.norm(X.astype(np.float64), axis=1, keepdims=True)
    whitening = Whitening(6).fit(unit)
    axes, variance = np.linalg.eigh(np.cov(unit.T))[::-1]
    whitened = (unit - unit.mean(axis=0)) @ axes[:, ::-1][:, :4] / np.sqrt(variance[::-1][:4])
    expected = whitened / np.linalg.norm(whitened, axis=1, keepdims=True)
    assert np.allclose(np.abs(describe(X, whitening, 4)), np.abs(expected), atol=1e-5)
    assert np.allclose(describe(X), unit)


def published_reranking(query: list[float], database: list[list[float]], top: int) -> list[int]:
    """fc_retrieval/src/brute.py's steps, row by row; changes `database`."""

    def unit(row: list[float]) -> list[float]:
        length = sum(value * value for value in row) ** 0.5
        return [value / length for value in row] if length else row

    def by_cosine(row: list[float], others: list[list[float]]) -> list[int]:
        scores = [round(sum(a * b for a, b in zip(row, other, strict=True)), 12) for other in others]
        return sorted(range(len(others)), key=lambda i: (-scores[i], i))

    answers = by_cosine(query, database)
    for place in range(1, top):
        other = list(database[answers[place]])
        for d, value in enumerate(other):
            database[0][d] += value
    mean = [value / top for value in database[0]]
    for i in range(top):
        database[i][:] = unit([value - m for value, m in zip(database[i], mean, strict=True)])
    moved = unit([value - m for value, m in zip(query, mean, strict=True)])
    order = by_cosine(moved, database[:top])
    return [answers[i] for i in order] + answers[top:]


@given(
    vectors=hnp.arrays(np.float64, st.tuples(st.integers(8, 20), st.just(4)), elements=st.integers(-9, 9)),
    top=st.integers(1, 5),
)
def test_reranking_as_published_against_its_steps(vectors: np.ndarray, top: int) -> None:
    rows = l2_normalise(vectors + np.arange(len(vectors))[:, None] / 7)
    queries, database = rows[:3], rows[3:]
    before = database.copy()
    held = database.tolist()
    expected = [published_reranking(query, held, top) for query in queries.tolist()]
    assert rerank_in_place(queries, database, top).tolist() == expected
    assert (database == before).all()


def test_reranking_as_published_by_the_program(scene: Scene) -> None:
    row = scene.rows("--layers", "fc6", "--dims", "none", "--rerank", "mean-subtraction-in-place")[0]
    assert row["ranks"] == "fc6/none+mean-subtraction-in-place-10"
    order = sorted(range(len(scene.names)), key=scene.names.__getitem__)
    database = l2_normalise(scene.database["fc6"][order])
    rankings = rerank_in_place(l2_normalise(scene.asked["fc6"]), database, 10)
    for query, ranking in zip(scene.queries, rankings, strict=True):
        assert scene.ranking(row, query) == [scene.names[order[i]] for i in ranking]
