"""eval.files.ground_truth: Oxford's files, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.files.ground_truth import Query, fingerprint, read_ground_truth, read_queries, read_query

OXFORD = Path(__file__).resolve().parent.parent / "../shared/oxford5k_gt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two queries, the second one with Windows line ends and a byte order mark."""
    files = {
        "tower_1_query.txt": "oxc1_tower_000 10.5 20 110 220.25\n",
        "tower_1_good.txt": "tower_000\ntower_001\ntower_001\n",
        "tower_1_ok.txt": "tower_002\n",
        "tower_1_junk.txt": "tower_003\n",
        "gate_1_query.txt": "\ufeffold town/the gate 0 0 5 5\r\n",
        "gate_1_good.txt": "",
        "gate_1_ok.txt": "\ufeffold town/the gate \r\n\r\n",
        "gate_1_junk.txt": "\r\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode())
    return tmp_path


def test_reads_everything_in_the_order_of_names(folder: Path) -> None:
    gate, tower = read_ground_truth(folder)
    assert gate.query == Query("gate_1", "old town/the gate", (0, 0, 5, 5))
    assert (gate.good, gate.ok, gate.junk) == (frozenset(), {"old town/the gate"}, frozenset())
    assert tower.query == Query("tower_1", "tower_000", (10.5, 20, 110, 220.25))
    assert tower.positives == {"tower_000", "tower_001", "tower_002"}
    assert tower.junk == {"tower_003"}


def test_queries_need_no_judgements(folder: Path) -> None:
    for file in folder.glob("*_ok.txt"):
        file.unlink()
    assert [query.name for query in read_queries(folder)] == ["gate_1", "tower_1"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds 0 lines"),
        ("a 0 0 5 5\nb 0 0 5 5\n", "holds 2 lines"),
        ("a 0 0 5\n", "says 'a 0 0 5'"),
        ("a 0 0 5 wide\n", "says 'a 0 0 5 wide'"),
        ("a 5 0 5 5\n", "box of no area: x1 y1 x2 y2 = 5 0 5 5"),
        ("a 0 9 5 5\n", "box of no area"),
        ("a 0 0 nan 5\n", "box of no area"),
        ("a 0 0 inf 5\n", "box of no area"),
        ("a 0 0 5 1_0\n", "says 'a 0 0 5 1_0'"),
        ("a 0 0 5 \u0665\n", "says 'a 0 0 5 \u0665'"),
        ("a 0 0 5 5\rb 0 0 5 5\r", "holds 2 lines"),
    ],
)
def test_query_that_makes_no_sense(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "a_1_query.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match=complaint) as caught:
        read_query(file)
    assert str(file) in str(caught.value)


def test_a_line_of_many_digits_and_blanks_takes_no_time(tmp_path: Path) -> None:
    (tmp_path / "q_query.txt").write_text("9" * 5000 + " \t" * 3000 + "1" * 5000 + " 2 3 4 x\n")
    with pytest.raises(ValueError, match="says '999") as refused:
        read_queries(tmp_path)
    assert len(str(refused.value)) < 400


def test_folder_without_queries(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no query"):
        read_queries(tmp_path)
    with pytest.raises(ValueError, match="is not a folder"):
        read_queries(tmp_path / "missing")


def test_missing_list(folder: Path) -> None:
    (folder / "tower_1_junk.txt").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        read_ground_truth(folder)
    assert Path(caught.value.filename) == folder / "tower_1_junk.txt"


def test_no_positive(folder: Path) -> None:
    (folder / "gate_1_ok.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"gate_1_ok\.txt name no picture"):
        read_ground_truth(folder)


def test_positive_and_junk_at_once(folder: Path) -> None:
    (folder / "tower_1_junk.txt").write_text("tower_002\n")
    with pytest.raises(ValueError, match="tower_002 is listed as positive and as junk"):
        read_ground_truth(folder)


def test_not_text(folder: Path) -> None:
    (folder / "tower_1_good.txt").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ValueError, match=r"tower_1_good\.txt is not text"):
        read_ground_truth(folder)


@pytest.mark.skipif(not OXFORD.is_dir(), reason="Oxford's ground truth is not here")
def test_oxford() -> None:
    truths = read_ground_truth(OXFORD)
    assert len(truths) == 55
    assert truths[0].query == Query("all_souls_1", "all_souls_000013", (136.5, 34.1, 648.5, 955.7))
    assert all(truth.query.image in truth.positives for truth in truths)


def test_a_fingerprint_is_what_is_asked_and_judged(tmp_path: Path) -> None:
    def written(name: str, good: str, box: str = "1 2 3 4") -> str:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "a_1_query.txt").write_text(f"oxc1_x {box}\n")
        for kind, names in {"good": good, "ok": "", "junk": "j\n"}.items():
            (folder / f"a_1_{kind}.txt").write_text(names)
        return fingerprint(read_ground_truth(folder))

    same = {
        written("one", "x\ny\n"),
        written("two", "y\r\n\nx\ny"),
        written("three", "x\ny\n", "1.0 2 3 4.00"),
    }
    assert len(same) == 1
    assert len(same | {written("four", "x\n"), written("five", "x\ny\n", "1 2 3 5")}) == 3


@pytest.mark.parametrize("name", ["a 1", "a\u3000", "\u00a0a", "a\u2028b", "1 2 3 4", "a\x85"])
def test_a_name_keeps_what_is_no_plain_blank(tmp_path: Path, name: str) -> None:
    file = tmp_path / "a_1_query.txt"
    file.write_bytes(f"oxc1_{name}  0 .5\t5e0 7.\n".encode())
    assert read_query(file) == Query("a_1", name, (0, 0.5, 5, 7))


@given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_a_ground_truth_or_one_sentence(data: bytes) -> None:
    with TemporaryDirectory() as folder:
        for kind in ("query", "good", "ok", "junk"):
            (Path(folder) / f"a_1_{kind}.txt").write_bytes(data)
        (Path(folder) / "b_1_query.txt").write_bytes(b"p 0 0 " + data)
        try:
            read_ground_truth(Path(folder))
        except ValueError as error:
            assert str(error).startswith(folder)
