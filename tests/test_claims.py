"""eval.claims: verdicts on figures made to be clear one way or the other, and what is missing."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from eval.claims import FC_LAYERS, better, in_words, main, spectrum, together
from eval.files.features import Vectors

POOLINGS = [
    "sum",
    "average",
    "max",
    "crow",
    "rmac",
    "rmac_l1",
    "rmac_l2",
    "rmac_l4",
    "rmac_sum",
    "rmac_concat",
]
QUERIES = [f"place_{i}" for i in range(20)]


def row(layer: str, label: str, mean: float) -> dict[str, Any]:
    """A row of scores.json whose queries scatter a little around `mean`, alike in every row."""
    ap = {query: mean + 0.001 * (-1) ** i for i, query in enumerate(QUERIES)}
    plain = {"layer": layer, "label": label, "query_expansion": "none", "rerank": "none"}
    plain |= {"dim": 32, "pca": label != "none", "noise_directions": 0, "ranks": f"{layer}/{label}"}
    return plain | {"map": mean, "ap": ap}


class Made:
    """A run's features and scores, in which every claim holds but the third."""

    def __init__(self, folder: Path) -> None:
        self.features, self.ranks, self.out = folder / "features", folder / "ranks", folder / "results"
        self.features.mkdir()
        random = np.random.default_rng(1)
        raw = random.standard_normal((30, 12)).astype(np.float32)
        relu = np.maximum(raw, 0)
        own = {f"fc{n}_{k}{n}": relu for n in (6, 7) for k in ("relu", "drop")} | {"fc7": raw, "prob": raw}
        self.file("wiring_own", own)
        printed = {"fc7": raw, "fc7_relu7": relu, "fc7_drop7": raw, "prob": raw[:, ::-1]}
        self.file("wiring_as_printed", printed)
        self.file("wiring_in_place", {"fc7": relu})
        sums = random.random((30, 8)).astype(np.float32)
        self.file("pretrained_square", {"pool5_sum": sums, "pool5_average": sums / 4})
        other = sums + random.random((30, 8)).astype(np.float32)
        self.file("pretrained_double", {"pool5_sum": 4 * other, "pool5_average": other / 4})
        self.file("pretrained", {"fc6": raw, "fc7_relu7": relu})
        pooled = {name: 0.5 + 0.01 * i for i, name in enumerate(POOLINGS)}
        pooled |= {"average": 0.5, "rmac": 0.58, "rmac_l4": 0.58, "rmac_l1": 0.55}
        self.pooled("pretrained_maps", pooled)
        self.pooled("pretrained_square", {name: mean - 0.1 for name, mean in pooled.items()})
        self.scores("pretrained_fc", {(layer, "32"): 0.3 for layer in FC_LAYERS})
        gains = {"pretrained": 0.0, "finetuned_last": 0.0, "finetuned_two-phase": 0.1, "finetuned": 0.15}
        for model, gain in gains.items():
            means = {"128": 0.45 + gain, "full": 0.1 + gain, "none": 0.44 + gain}
            self.scores(model, {(layer, label): mean for layer in FC_LAYERS for label, mean in means.items()})

    def file(self, name: str, layers: dict[str, np.ndarray]) -> None:
        with h5py.File(self.features / f"{name}.h5", "w") as file:
            count = len(next(iter(layers.values())))
            file["database/names"] = np.array([f"p{i:02}" for i in range(count)], dtype=h5py.string_dtype())
            for layer, rows in layers.items():
                file[f"database/{layer}"] = rows

    def scores(self, name: str, means: dict[tuple[str, str], float]) -> None:
        folder = self.ranks / name
        folder.mkdir(parents=True, exist_ok=True)
        rows = [row(layer, label, mean) for (layer, label), mean in means.items()]
        (folder / "scores.json").write_text(json.dumps({"rows": rows}))

    def pooled(self, name: str, means: dict[str, float]) -> None:
        self.scores(name, {(f"pool5_{pooling}", "32"): mean for pooling, mean in means.items()})

    def run(self) -> int:
        folders = {"features": self.features, "ranks": self.ranks, "out": self.out}
        return main([f"--{name}={folder}" for name, folder in folders.items()] + ["--dim", "32"])

    def verdicts(self) -> dict[int, str]:
        assert self.run() == 0
        made = json.loads((self.out / "claims.json").read_text())["claims"]
        return {claim["claim"]: claim["verdict"] for claim in made}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_every_claim_has_its_verdict(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    expected = dict.fromkeys(range(1, 12), "holds") | {3: "does not hold"}
    assert made.verdicts() == expected
    markdown = (made.out / "claims.md").read_text()
    assert capsys.readouterr().out == markdown
    said = " ".join(markdown.split())
    assert "a cosine doesn't see lengths" in said
    assert "pre-trained 45.00 %, last layer only 45.00 %, two phases 55.00 %, all layers 60.00 %" in said
    assert "fc6_drop6 to fc6_relu6 0, fc7_drop7 to fc7_relu7 0" in said


def test_sum_and_average_by_hand(made: Made) -> None:
    """Four times the cells, each as before: the sum is four times as long, the average is what it was."""
    small = np.float32([[3, 4], [8, 6]])
    made.file("pretrained_square", {"pool5_sum": small, "pool5_average": small / 4})
    made.file("pretrained_double", {"pool5_sum": 4 * small, "pool5_average": 4 * small / 16})
    assert made.verdicts()[3] == "does not hold"
    claim = json.loads((made.out / "claims.json").read_text())["claims"][2]
    assert claim["values"] == {
        "cosine": pytest.approx({"sum": 1, "average": 1}),
        "length_ratio": pytest.approx({"sum": 4, "average": 1}),
        # (20 - 5) / 12.5 and (40 - 10) / 25
        "distance": pytest.approx({"sum": 1.2, "average": 0}),
        "average_steadier": 1.0,
    }


def test_a_picture_without_activations_is_no_division_by_zero(made: Made) -> None:
    small = np.float32([[3, 4], [0, 0]])
    made.file("pretrained_square", {"pool5_sum": small, "pool5_average": small / 4})
    made.file("pretrained_double", {"pool5_sum": 4 * small, "pool5_average": small / 4})
    assert made.verdicts()[3] == "does not hold"
    values = json.loads((made.out / "claims.json").read_text())["claims"][2]["values"]
    assert values["distance"] == pytest.approx({"sum": 0.6, "average": 0})


def test_a_claim_that_fails_is_said_to(made: Made) -> None:
    made.pooled("pretrained_maps", {name: 0.5 - 0.01 * i for i, name in enumerate(POOLINGS)})
    made.scores("pretrained_fc", {(layer, "32"): 0.9 for layer in FC_LAYERS})
    made.scores("finetuned", {(layer, "128"): 0.4 if layer == "fc7" else 0.9 for layer in FC_LAYERS})
    failed = {number for number, verdict in made.verdicts().items() if verdict == "does not hold"}
    assert failed == {3, 4, 5, 7, 8, 10}


def test_what_queries_cannot_tell_is_neither(made: Made) -> None:
    rows = {name: row(f"pool5_{name}", "32", 0.5) for name in ("rmac_sum", "rmac_concat")}
    rows["rmac_concat"]["ap"] = {query: 0.5 + 0.3 * (-1) ** i for i, query in enumerate(QUERIES)}
    rows["rmac_concat"]["map"] = 0.5
    kept = json.loads((made.ranks / "pretrained_maps" / "scores.json").read_text())["rows"]
    kept = [one for one in kept if one["layer"] not in ("pool5_rmac_sum", "pool5_rmac_concat")]
    (made.ranks / "pretrained_maps" / "scores.json").write_text(json.dumps({"rows": [*kept, *rows.values()]}))
    assert made.verdicts()[5] == "too close to tell"


def test_what_was_not_run_is_named_with_its_command(made: Made) -> None:
    for name in ("finetuned", "finetuned_last"):
        (made.ranks / name / "scores.json").unlink()
    verdicts = made.verdicts()
    assert {number for number, verdict in verdicts.items() if verdict == "not measured here"} == {10, 11}
    markdown = " ".join((made.out / "claims.md").read_text().split())
    assert "`./run_all.sh --variants`" in markdown and "`./run_all.sh`" in markdown


def test_differences_by_hand() -> None:
    one, other = row("a", "32", 0.6), row("b", "32", 0.5)
    assert better(one, other) is True and better(other, one) is False and better(one, one) is None
    noisy = other | {"ap": {query: 0.6 + (0.5 if i % 2 else -0.49) for i, query in enumerate(QUERIES)}}
    assert better(one, noisy) is None
    assert together([True, True]) is True
    assert together([True, None]) is None
    assert together([None, False]) is False


def test_the_spectrum_is_numpy_s() -> None:
    random = np.random.default_rng(3)
    rows = (random.standard_normal((200, 20)) * np.geomspace(1, 1e-3, 20)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = spectrum(Vectors([str(i) for i in range(200)], rows))
    deviations = np.sqrt(np.sort(np.linalg.eigvalsh(np.cov(rows.astype(np.float64).T)))[::-1])
    assert found["deviations"] == pytest.approx({n: deviations[n - 1] for n in (1, 2, 10, 18, 20)}, rel=1e-4)
    share = (deviations[:2] ** 2).sum() / (deviations**2).sum()
    assert found["share_of_first_tenth"] == pytest.approx(share)
    assert (found["directions"], found["noise"]) == (20, 0)
    assert "along directions 1, 2, 10, 18, 20: " in in_words(found)


def test_bad_input_is_one_sentence(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    (made.ranks / "pretrained_maps" / "scores.json").write_text("{}")
    assert made.run() == 1
    assert "is not a scores.json of eval.score" in capsys.readouterr().err
    assert main(["--features", "none", "--ranks", "none", "--out", str(made.out)]) == 1
    assert capsys.readouterr().err == "eval.claims: there is no folder none\n"


def test_features_that_are_not_finite(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    made.file("wiring_in_place", {"fc7": np.full((30, 12), np.nan, np.float32)})
    assert made.run() == 1
    error = capsys.readouterr().err
    assert "database/fc7 holds a value that is not finite, for p00" in error and error.count("\n") == 1
