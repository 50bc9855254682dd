"""The benches' convention (bench/measure.py): rows, goals, alternation, the table, the command lines."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.measure import alternate, compare, finish, in_fresh_process, options, peak_mib
from bench.table import markdown, read_rows

ROOT = Path(__file__).resolve().parent.parent
BENCHES = sorted(path.stem for path in (ROOT / "bench").glob("*.py") if path.stem not in ("measure", "table"))


def test_a_row_compares_medians() -> None:
    row = compare("sort", "ours", "theirs", "s", [1.0, 3.0, 2.0], [4.0, 9.0, 1.0], goal="<= 0.5")
    assert (row.ours_median, row.ours_min, row.ours_max) == (2, 1, 3)
    assert (row.peer_median, row.peer_min, row.peer_max) == (4, 1, 9)
    assert (row.ratio, row.verdict) == (0.5, "met")


@pytest.mark.parametrize(
    ("goal", "peer", "verdict"),
    [
        ("<= 1.9", [1.0], "missed"),
        (">= 2.1", [1.0], "missed"),
        (">= 2", [1.0], "met"),
        ("", [1.0], ""),
        ("<= 2", [], "met"),
        ("<= 1.9", [], "missed"),
    ],
)
def test_a_goal_is_the_ratios_or_without_a_peer_the_medians(
    goal: str, peer: list[float], verdict: str
) -> None:
    row = compare("sort", "ours", "theirs" if peer else "", "s", [2.0], peer, goal=goal)
    assert row.verdict == verdict
    assert (row.ratio is None) == (not peer)


def test_alternation_swaps_who_is_first_and_drops_the_warm_up() -> None:
    calls: list[str] = []
    durations = alternate(lambda: calls.append("a"), lambda: calls.append("b"), runs=3)
    assert "".join(calls) == "ba" + "ab" + "ba" + "ab"
    assert [len(values) for values in durations] == [3, 3]


def test_memory_is_the_processes_own() -> None:
    held = bytearray(b"x" * (300 << 20))
    assert peak_mib() > 300
    assert in_fresh_process(peak_mib) < 300
    assert len(held) == 300 << 20


def test_rows_go_through_the_file_into_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        compare("sort", "ours", "theirs", "s", [1.0, 3.0, 2.0], [4.0, 9.0, 1.0], goal="<= 0.4"),
        compare("hold", "ours", "", "MiB", [123.0]),
    ]
    arguments = options("x", "", "").parse_args(["--json", str(tmp_path / "rows.json")])
    assert finish(rows, arguments) == 0
    assert "sort: ours 2 [1 to 3] s, theirs 4 [1 to 9], ratio 0.500 (goal <= 0.4: missed)" in (
        capsys.readouterr().out
    )
    assert read_rows(tmp_path / "rows.json") == rows
    page = markdown(rows, ["bench.y: no room"])
    assert "| sort | ours | 2 (1 to 3) | theirs | 4 (1 to 9) | s | 0.50 | ≤ 0.4, missed |" in page
    assert "| hold | ours | 123 |  |  | MiB |  |  |" in page
    assert "\n- CPU: " in page and page.endswith("- bench.y: no room\n")


def test_a_file_that_holds_no_rows(tmp_path: Path) -> None:
    for text in ("{", json.dumps([{"what": "sort"}])):
        (tmp_path / "rows.json").write_text(text)
        with pytest.raises(ValueError, match=r"rows\.json does not hold a bench's rows"):
            read_rows(tmp_path / "rows.json")


@pytest.mark.parametrize("bench", BENCHES)
def test_every_bench_has_the_common_options(bench: str) -> None:
    command = [sys.executable, "-m", f"bench.{bench}", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--quick" in done.stdout and "--json" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"), [(["--fast"], "unknown option --fast"), (["measure"], "no bench measure")]
)
def test_run_sh_knows_its_benches(words: list[str], said: str) -> None:
    done = subprocess.run(["bench/run.sh", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr and done.stderr.count("\n") == 1
