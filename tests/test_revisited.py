"""Revisited Oxford and Paris: the file, the three protocols against their definition, and Table 4."""

import json
import pickle
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_compute_ap import definition
from test_distractors import crowd, save, together
from test_score import Scene, compute_ap_folder, on_path, scene  # noqa: F401 (fixtures)

from data_prep.make_demo import main as make_demo
from eval.files.ground_truth import read_ground_truth, read_queries, searched_pictures
from eval.rank.protocols import PROTOCOLS, judged_places, precision_at
from eval.tables import main as tables

ROOT = Path(__file__).resolve().parent.parent


def gnd(**more: Any) -> dict[str, Any]:
    """A file's content: five pictures, two queries of which one has nothing easy."""
    return {
        "imlist": ["a", "b", "c", "d", "e"],
        "qimlist": ["q2", "q1"],
        "gnd": [
            {"bbx": np.array([1.0, 2, 30, 40]), "easy": [], "hard": [4], "junk": np.array([0])},
            {"bbx": [0, 0, 9.5, 9], "easy": [2, 0], "hard": [1], "junk": []},
        ],
    } | more


def write(path: Path, content: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_file_is_a_ground_truth(tmp_path: Path, protocol: int) -> None:
    path = write(tmp_path / "gnd.pkl", gnd(), protocol)
    first, second = read_ground_truth(path)
    assert (first.query.name, first.query.image, first.query.box) == ("q1", "q1", (0, 0, 9.5, 9))
    assert (first.good, first.ok, first.junk) == ({"a", "c"}, {"b"}, set())
    assert (second.good, second.ok, second.junk) == (set(), {"e"}, {"a"})
    assert [query.name for query in read_queries(path)] == ["q1", "q2"]
    assert searched_pictures(path, ["a", "b", "c", "d", "e", "q1", "q2"]) == ["a", "b", "c", "d", "e"]


def entry(**more: Any) -> dict[str, Any]:
    return {"bbx": [0, 0, 9, 9], "easy": [0], "hard": [1], "junk": [2]} | more


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1, 2], "it is no dict"),
        ({"imlist": [], "gnd": []}, "it lacks qimlist"),
        (gnd(gnd=[entry()]), "one entry for each of the 2"),
        (gnd(qimlist=[], gnd=[]), "one entry"),
        (gnd(imlist=["a", "b", "c", "d", "a"]), "has a twice"),
        (gnd(imlist=["a", "b", "c", "d", 5]), "imlist is not a list of names"),
        (gnd(qimlist=["q1", "x/../y"]), "no picture can have"),
        (gnd(qimlist=["q1", "x\ny"]), "no picture can have"),
        (gnd(qimlist=["q1", "e"]), "e is a query's picture and searched too"),
        (gnd(gnd=[entry(), {"bbx": [0, 0, 1, 1], "easy": []}]), "q1 lacks hard, junk"),
        (gnd(gnd=[entry(), entry(easy=[5])]), "place 5 of imlist, which has 5"),
        (gnd(gnd=[entry(), entry(easy=[-1])]), "place -1"),
        (gnd(gnd=[entry(), entry(hard=[0.5])]), "hard of q1 is not a list of places"),
        (gnd(gnd=[entry(), entry(hard="12")]), "hard of q1 is not a list of places"),
        (gnd(gnd=[entry(), entry(junk=[[1]])]), "junk of q1 is not a list of places"),
        (gnd(gnd=[entry(), entry(junk=[True])]), "junk of q1 is not a list of places"),
        (gnd(gnd=[entry(), entry(hard=[0])]), "a is easy and hard"),
        (gnd(gnd=[entry(), entry(bbx=[9, 0, 1, 9])]), "has no area"),
        (gnd(gnd=[entry(), entry(bbx=[float("nan"), 0, 1, 9])]), "has no area"),
        (gnd(gnd=[entry(), entry(bbx=[1, 2, 3])]), "is not x1, y1, x2, y2"),
        (gnd(gnd=[entry(easy=[], hard=[])] * 2), "no query with something to be found"),
    ],
)
def test_what_is_no_such_file(tmp_path: Path, content: object, says: str) -> None:
    with pytest.raises(ValueError, match="gnd") as refused:
        read_ground_truth(write(tmp_path / "gnd.pkl", content))
    assert says in str(refused.value) and str(tmp_path / "gnd.pkl") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_pickle_with_code_in_it_runs_nothing(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "sprung",)

    with pytest.raises(ValueError, match="gnd"):
        read_ground_truth(write(tmp_path / "gnd.pkl", gnd(imlist=Trap())))
    assert not (tmp_path / "sprung").exists()


def test_another_sets_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "gnd.pkl", gnd())
    with pytest.raises(ValueError, match="searches 2 pictures that are not there: d, e"):
        searched_pictures(path, ["a", "b", "c", "q1", "q2"])
    with pytest.raises(ValueError, match="another set's: z"):
        searched_pictures(path, ["a", "b", "c", "d", "e", "q1", "q2", "z"])


def by_the_paper(ranking: Sequence[str], positives: set[str], ignored: set[str]) -> tuple[list[int], Any]:
    """The positives' 0-based ranks once what is ignored is out of the list; AP by trapezoids over ranks.

    Each positive at rank r, the j-th of n (from 0), adds (j / r + (j + 1) / (r + 1)) / 2n, and j / r is 1
    where r is 0.
    """
    kept = [name for name in ranking if name not in ignored]
    ranks = [place for place, name in enumerate(kept) if name in positives]
    ap = 0.0
    for j, r in enumerate(ranks):
        before = 1.0 if r == 0 else j / r
        ap += (before + (j + 1) / (r + 1)) / (2 * len(positives))
    return ranks, ap


@given(st.lists(st.sampled_from("ehjn"), min_size=1, max_size=40), st.integers(0, 99))
def test_protocols_on_drawn_rankings(kinds: list[str], seed: int) -> None:
    """Easy, hard, junk and other pictures in any order; compute_ap's definition is the paper's."""
    ranking = [f"{kind}{number}" for number, kind in enumerate(kinds)]
    random.Random(seed).shuffle(ranking)
    of = {kind: {name for name in ranking if name[0] == kind} for kind in "ehj"}
    wanted = {
        "easy": (of["e"], of["h"] | of["j"]),
        "medium": (of["e"] | of["h"], of["j"]),
        "hard": (of["h"], of["e"] | of["j"]),
    }
    places = {name: place for place, name in enumerate(ranking, 1)}
    for positives, ignored in wanted.values():
        ranks, ap = by_the_paper(ranking, positives, ignored)
        assert judged_places(places, positives, ignored) == [rank + 1 for rank in ranks]
        if positives:
            assert float(definition(positives, ignored, ranking)) == pytest.approx(ap, abs=1e-12)
            for k in (1, 5, 10):
                last = min(max(ranks) + 1, k)
                expected = sum(rank + 1 <= last for rank in ranks) / last
                assert precision_at([rank + 1 for rank in ranks], k) == pytest.approx(expected)


def test_nothing_found_is_no_precision() -> None:
    assert precision_at([], 5) == 0
    assert precision_at([11], 10) == 0
    assert precision_at([1, 2], 10) == 1  # all there are, at the top


def as_revisited(scene: Scene, path: Path) -> Path:  # noqa: F811
    """The scene's ground truth as a revisited one: good is easy, ok hard; one query has nothing easy."""
    names = sorted(name.replace("/", "-") for name in scene.names)
    scene.names = [name.replace("/", "-") for name in scene.names]
    entries = []
    for query in scene.queries:
        lists = {
            kind: [names.index(name.replace("/", "-")) for name in
                   (scene.gt / f"{query}_{old}.txt").read_text().splitlines()]
            for kind, old in (("easy", "good"), ("hard", "ok"), ("junk", "junk"))
        }  # fmt: skip
        if query == scene.queries[1]:
            lists["junk"] += lists["easy"]
            lists["easy"] = []
        entries.append({"bbx": [0, 0, 9, 9]} | lists)
    scene.gt = write(path, {"imlist": names, "qimlist": scene.queries, "gnd": entries})
    return path


def test_scored_by_every_protocol(scene: Scene, tmp_path: Path) -> None:  # noqa: F811
    as_revisited(scene, tmp_path / "gnd.pkl")
    truths = {truth.query.name: truth for truth in read_ground_truth(scene.gt)}
    rows = scene.rows("--dims", "4", "none")
    assert len(rows) == 4
    for row in rows:
        assert [len(found["ap"]) for found in row["protocols"].values()] == [2, 3, 3]
        for name, found in row["protocols"].items():
            aps, mps = [], []
            for query in found["ap"]:
                truth = truths[query]
                positives = {"easy": truth.good, "medium": truth.good | truth.ok, "hard": truth.ok}[name]
                ignored = (truth.good | truth.ok | truth.junk) - positives
                ranks, ap = by_the_paper(scene.ranking(row, query), set(positives), set(ignored))
                assert found["ap"][query] == pytest.approx(ap, rel=1e-5)
                aps.append(ap)
                mps.append(np.mean([rank in ranks for rank in range(min(5, max(ranks) + 1))]))
            assert found["map"] == pytest.approx(np.mean(aps), rel=1e-5)
            assert found["mp"]["5"] == pytest.approx(np.mean(mps))
        assert (row["map"], row["ap"]) == (
            row["protocols"]["medium"]["map"],
            row["protocols"]["medium"]["ap"],
        )
    judged = scene.out / "judged"
    lists = f"{scene.out}/{rows[0]['ranks']}/{scene.queries[0]}.txt"
    said = subprocess.run(
        ["compute_ap", judged / "hard" / scene.queries[0], lists], capture_output=True, text=True, check=True
    )
    assert float(said.stdout) == rows[0]["protocols"]["hard"]["ap"][scene.queries[0]]


def test_a_blank_of_another_script_is_part_of_a_name(scene: Scene, tmp_path: Path) -> None:  # noqa: F811
    """U+2028 ends a line for some readers, U+3000 is a blank for some: in a name they are letters."""
    as_revisited(scene, tmp_path / "gnd.pkl")
    plain = scene.rows("--dims", "none", "--layers", "fc6")[0]["protocols"]
    content = pickle.loads((tmp_path / "gnd.pkl").read_bytes())
    content["imlist"] = [name.replace("_", "\u2028", 1).replace("-", "\u3000") for name in content["imlist"]]
    write(tmp_path / "gnd.pkl", content)
    scene.names = [name.replace("_", "\u2028", 1).replace("-", "\u3000") for name in scene.names]
    assert any("\u2028" in name for name in scene.names)
    assert scene.rows("--dims", "none", "--layers", "fc6")[0]["protocols"] == plain


def test_among_distractors_as_in_one_ranking(scene: Scene, tmp_path: Path) -> None:  # noqa: F811
    as_revisited(scene, tmp_path / "gnd.pkl")
    names, layers = crowd(scene, 300)
    crowded = save(tmp_path / "crowd.h5", names, layers)
    options = ("--dims", "4", "none", "--pca-features", scene.save())
    rows = scene.rows(*options, "--distractors", crowded)
    whole = together(scene, names, layers, tmp_path)
    for row, all_ranked in zip(rows, whole.rows(*options), strict=True):
        assert row["distractors"]["protocols"] == all_ranked["protocols"]
        assert row["distractors"]["map"] == all_ranked["map"]


def test_table_4(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    as_revisited(scene, tmp_path / "gnd.pkl")
    rows = scene.rows("--dims", "4", "none", "--query-expansion", "none", "average", "--qe-top", "3")
    capsys.readouterr()
    given = ["--scores", str(scene.out / "scores.json"), "--out", str(tmp_path)]
    assert tables(["--table", "4", *given]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'table4.md'}: 24 figures")
    said = (tmp_path / "table4.md").read_text()
    lines = [line for line in said.splitlines() if line.startswith("| pretrained")]
    assert len(lines) == len(rows) == 8
    assert "| ROxford5k | gem     | MatConvNet | 61.9 | 33.7 |" in said and "not comparable" in " ".join(
        said.split()
    )
    best = next(row for row in rows if row["layer"] == "fc6" and row["label"] == "none")
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    easy, medium, hard = (best["protocols"][name] for name in ("easy", "medium", "hard"))
    figures = [easy["map"], medium["map"], *medium["mp"].values(), hard["map"], *hard["mp"].values()]
    assert cells == ["pretrained", "fc6", "", "no PCA", *(f"{100 * figure:.1f}" for figure in figures)]
    made = json.loads((tmp_path / "table4.json").read_text())
    assert len(made["rows"]) == 3 * len(rows)
    assert (tmp_path / "table4.csv").read_text().count("\n") == 3 * len(rows) + 1


def test_table_4_needs_such_a_ground_truth(scene: Scene, tmp_path: Path) -> None:  # noqa: F811
    scene.rows("--dims", "4")
    done = subprocess.run(
        [sys.executable, "-m", "eval.tables", "--table", "4", "--out", tmp_path,
         "--scores", scene.out / "scores.json"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert (
        done.stderr
        == "eval.tables: Table 4 needs scores by a revisited ground truth, and the files hold none\n"
    )


def test_the_demos_own_says_what_its_other_ground_truth_says(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    assert make_demo(["retrieval", "--out", str(out), "--seed", "3", "--distractors", "4"]) == 0
    asked = {truth.query.image: truth for truth in read_ground_truth(out / "gt")}
    revisited = read_ground_truth(out / "gnd_demo.pkl")
    pictures = [path.stem for path in (out / "jpg").iterdir()]
    searched = set(searched_pictures(out / "gnd_demo.pkl", sorted(pictures)))
    assert searched == set(pictures) - set(asked) and len(revisited) == len(asked) == 55
    for truth in revisited:
        other = asked[truth.query.image]
        assert truth.query.box == other.query.box
        assert (truth.good, truth.ok, truth.junk) == (other.good & searched, other.ok, other.junk)


def test_every_protocol_judges_each_picture_once() -> None:
    for protocol in PROTOCOLS.values():
        assert sorted([*protocol.positive, *protocol.ignored]) == ["good", "junk", "ok"]


def test_the_profile_is_the_demos_but_for_the_ground_truth() -> None:
    demo, revisited = (
        (ROOT / "profiles" / name).read_text().splitlines()[1:] for name in ("demo", "revisited")
    )
    (other,) = [pair for pair in zip(demo, revisited, strict=True) if pair[0] != pair[1]]
    assert [line.partition("=")[0] for line in other] == ["GROUND_TRUTH"] * 2
