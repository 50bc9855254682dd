"""eval.check_inputs says all that is wrong with what a search needs, and nothing where all is right."""

import json
from pathlib import Path

import pytest
from small_run import MEAN, SmallRun, small_run  # noqa: F401

from eval import check_inputs

ROOT = Path(__file__).resolve().parent.parent


def words(run: SmallRun, out: Path, **more: object) -> list[str]:
    given: dict[str, object] = {
        "deploy": run.work / "prototxt" / "deploy.prototxt",
        "layers": "fc6",
        "images": run.images,
        "gt": run.gt,
        "mean": MEAN,
        "weights": run.work / "data" / "pre.caffemodel",
        "out": out,
    }
    return [str(word) for name, value in (given | more).items() for word in (f"--{name}", value)]


def test_what_is_right_is_counted(small_run: SmallRun, tmp_path: Path) -> None:  # noqa: F811
    assert check_inputs.main([*words(small_run, tmp_path / "o.json"), "--maps", "pool5"]) == 0
    pictures = sum(1 for path in small_run.images.rglob("*.jpg"))
    queries = len(list(small_run.gt.glob("*_query.txt")))
    positives = sum(
        len(path.read_text().split("\n")) - 1
        for kind in ("good", "ok")
        for path in small_run.gt.glob(f"*_{kind}.txt")
    )
    counts = json.loads((tmp_path / "o.json").read_text())
    assert counts == {"pictures": pictures, "queries": queries, "positives": positives}


def test_everything_wrong_is_said_at_once(
    small_run: SmallRun,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "gt").mkdir()
    for kind, text in (("query", "oxc1_gone 1 1 9 9\n"), ("good", "lost\n"), ("ok", ""), ("junk", "")):
        (tmp_path / "gt" / f"a_1_{kind}.txt").write_text(text)
    given = words(small_run, tmp_path / "o.json", mean="1,2", gt=tmp_path / "gt")
    assert check_inputs.main([*given, "--maps", "fc6"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert not (tmp_path / "o.json").exists()
    assert [line for line in said if not line.startswith("check_inputs: ")] == []
    for part in ("fc6 takes pictures of the network's own size only", "1,2", "lacks: gone", "lacks: lost"):
        assert any(part in line for line in said), part
    assert len(said) == 4


def test_a_name_as_macos_writes_it(
    small_run: SmallRun,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for folder, name in (("jpg", "cafe\u0301.jpg"), ("gt", "a_1_good.txt")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("caf\xe9\n", encoding="utf-8")
    (tmp_path / "gt" / "a_1_query.txt").write_text("oxc1_caf\xe9 1 1 9 9\n", encoding="utf-8")
    for kind in ("ok", "junk"):
        (tmp_path / "gt" / f"a_1_{kind}.txt").touch()
    given = words(small_run, tmp_path / "o.json", images=tmp_path / "jpg", gt=tmp_path / "gt")
    assert check_inputs.main(given) == 1
    assert f"{tmp_path}/jpg has caf\xe9 under the same letters in other characters" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (
            "vgg16",
            "is not this network's: it lacks conv1_2, conv2_2, conv3_2 and 5 more; other sizes at conv1_1",
        ),
        ("demo", ""),
    ],
)
def test_weights_of_another_network(
    small_run: SmallRun,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    network: str,
    sentence: str,
) -> None:
    deploy = ROOT / "prototxt" / network / "deploy.prototxt"
    status = check_inputs.main(words(small_run, tmp_path / "o.json", deploy=deploy))
    said = capsys.readouterr().err
    assert (status, bool(said)) == ((1, True) if sentence else (0, False))
    assert sentence in said
