"""eval/compute_ap.cpp, compiled here, against the definition written out in Python."""

from __future__ import annotations

import operator
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval.files.ground_truth import read_lines

ROOT = Path(__file__).resolve().parent.parent
OXFORD = ROOT / "../shared/oxford5k_gt"
NAMES = [f"picture_{i:02d}" for i in range(30)]


def build_compute_ap(folder: Path) -> Path:
    """Compile the program as the set-up does, warnings being errors."""
    program = folder / "compute_ap"
    flags = ["-O2", "-std=c++17", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["g++", *flags, str(ROOT / "eval/compute_ap.cpp"), "-o", str(program)], check=True)
    return program


def definition(positives: set[str], junk: set[str], ranking: Sequence[str]) -> Fraction:
    """Area under the precision-recall curve by trapezoids, without rounding.

    The ranking without junk is r_1 .. r_n, of whose first j names h_j are positives. Precision is h_j / j,
    and 1 at j = 0; recall is h_j / |positives|. Each hit adds a trapezoid of width 1 / |positives|.
    """
    judged = [name for name in ranking if name not in junk]
    hits = [sum(name in positives for name in judged[:j]) for j in range(len(judged) + 1)]
    precisions = [Fraction(1)] + [Fraction(hits[j], j) for j in range(1, len(hits))]
    widths = [Fraction(hits[j] - hits[j - 1], len(positives)) for j in range(1, len(hits))]
    heights = [(precisions[j - 1] + precisions[j]) / 2 for j in range(1, len(hits))]
    return sum(map(operator.mul, widths, heights), start=Fraction(0))


def printed(positives: set[str], junk: set[str], ranking: Sequence[str]) -> str:
    """What VGG's program prints: the same, in its own mixture of float and double."""
    single, half = np.float32, np.float64(2)
    ap, old_recall, old_precision = single(0), single(0), single(1)
    hits = judged = 0
    for name in ranking:
        if name in junk:
            continue
        hits += name in positives
        judged += 1
        recall = single(hits) / single(len(positives))
        precision = single(hits / judged)
        height = np.float64(old_precision + precision) / half
        ap = single(np.float64(ap) + np.float64(recall - old_recall) * height)
        old_recall, old_precision = recall, precision
    return f"{ap:.6g}"


@pytest.fixture(scope="module")
def compute_ap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_compute_ap(tmp_path_factory.mktemp("compute_ap"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lists")


def write(folder: Path, good: str, ok: str, junk: str, ranking: str) -> list[str]:
    """Write a ground truth and a ranking, and return the program's two arguments."""
    for kind, text in {"good": good, "ok": ok, "junk": junk}.items():
        (folder / f"query_1_{kind}.txt").write_bytes(text.encode())
    (folder / "ranking.txt").write_bytes(ranking.encode())
    return [str(folder / "query_1"), str(folder / "ranking.txt")]


def lines(names: Sequence[str]) -> str:
    return "".join(f"{name}\n" for name in names)


def run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False)


def failure(program: Path, *arguments: str) -> str:
    """The sentence of a run that must fail, with nothing on standard output."""
    done = run(program, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("compute_ap: ") and done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize(
    ("ranking", "expected"),
    [
        ("ab", "1"),
        ("xab", "0.416667"),  # (0 + 1/2) / 2 / 2 + (1/2 + 2/3) / 2 / 2
        ("axb", "0.791667"),  # (1 + 1) / 2 / 2 + (1/2 + 2/3) / 2 / 2
        ("jab", "1"),  # junk is as good as absent
        ("ajxkb", "0.791667"),
        ("a", "0.5"),  # b is never found
        ("xy", "0"),
        ("", "0"),
    ],
)
def test_by_hand(compute_ap: Path, folder: Path, ranking: str, expected: str) -> None:
    done = run(compute_ap, *write(folder, "a\n", "b\n", "j\nk\n", lines(ranking)))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{expected}\n", "")


def test_several_at_once_are_the_same_each(compute_ap: Path, folder: Path) -> None:
    """A line for each pair, in order; where one can't be judged nothing is printed."""
    pairs = []
    for place, ranking in enumerate(("ab", "xab", "axb", "", "jab")):
        (folder / f"part{place}").mkdir()
        pairs.append(write(folder / f"part{place}", "a\n", "b\n", "j\nk\n", lines(ranking)))
    alone = "".join(run(compute_ap, *pair).stdout for pair in pairs)
    assert run(compute_ap, *(word for pair in pairs for word in pair)).stdout == alone
    assert alone == "1\n0.416667\n0.791667\n0\n1\n"
    assert "missing" in failure(compute_ap, *pairs[0], str(folder / "missing"), *pairs[1][1:])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    good=st.sets(st.sampled_from(NAMES)),
    ok=st.sets(st.sampled_from(NAMES), min_size=1),
    junk=st.sets(st.sampled_from(NAMES)),
    ranking=st.lists(st.sampled_from(NAMES), unique=True),
)
def test_any_ranking(
    compute_ap: Path, folder: Path, good: set[str], ok: set[str], junk: set[str], ranking: list[str]
) -> None:
    arguments = write(folder, *(lines(sorted(names)) for names in (good, ok, junk)), lines(ranking))
    done = run(compute_ap, *arguments)
    assert done.stdout == printed(good | ok, junk, ranking) + "\n"
    assert float(done.stdout) == pytest.approx(float(definition(good | ok, junk, ranking)), rel=1e-5)


@pytest.mark.skipif(not OXFORD.is_dir(), reason="Oxford's ground truth is not here")
def test_oxford(compute_ap: Path, folder: Path) -> None:
    queries = sorted(path.name.removesuffix("_query.txt") for path in OXFORD.glob("*_query.txt"))
    truth = {
        (query, kind): (OXFORD / f"{query}_{kind}.txt").read_text().split()
        for query in queries
        for kind in ("good", "ok", "junk")
    }
    database = sorted(set().union(*truth.values()))
    for seed, query in enumerate(queries):
        positives = {*truth[query, "good"], *truth[query, "ok"]}
        # A noisy ranking with its positives rather in front: figures spread over the whole range.
        noise = np.random.default_rng(seed).random(len(database))
        score = [(name in positives) * seed / 55 + noise[i] for i, name in enumerate(database)]
        ranking = [database[i] for i in np.argsort(score)[::-1]]
        (folder / "oxford.txt").write_text(lines(ranking))
        done = run(compute_ap, str(OXFORD / query), str(folder / "oxford.txt"))
        junk = set(truth[query, "junk"])
        assert done.stdout == printed(positives, junk, ranking) + "\n", query
        assert float(done.stdout) == pytest.approx(float(definition(positives, junk, ranking)), rel=1e-4)


def test_line_ends_blanks_and_byte_order_mark_are_not_names(compute_ap: Path, folder: Path) -> None:
    plain = run(compute_ap, *write(folder, "a\nb\n", "", "j\n", "a\nx\nj\nb\n"))
    windows = write(folder, "\ufeffa \r\nb\t\r\n\r\n", " \r\n", "j\r\n", "\ufeffa\r\n\r\nx \r\nj\r\n\r\nb")
    assert run(compute_ap, *windows).stdout == plain.stdout == "0.791667\n"
    old_mac = write(folder, "a\rb", "", "j\r", "a\rx\r\rj\rb\r")
    assert run(compute_ap, *old_mac).stdout == plain.stdout


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.sampled_from("ab \t\r\n\v\f\x00\x85\xa0\u2028\u3000\ufeff"), max_size=12),
    mark=st.booleans(),
)
def test_a_list_holds_the_same_names_for_both_readers(
    compute_ap: Path, folder: Path, text: str, mark: bool
) -> None:
    """Ranked in the order in which the Python reader finds them, all names are found at once: 1."""
    arguments = write(folder, ("\ufeff" if mark else "") + text, "", "", "")
    names = list(dict.fromkeys(read_lines(folder / "query_1_good.txt")))
    (folder / "ranking.txt").write_bytes(("\n" + lines(names)).encode())  # no mark at its start
    if names:
        assert run(compute_ap, *arguments).stdout == "1\n"
    else:
        assert "name no picture" in failure(compute_ap, *arguments)


@pytest.mark.parametrize("mark", ["utf-16-le", "utf-16-be"])
def test_both_readers_name_utf_16(compute_ap: Path, folder: Path, mark: str) -> None:
    arguments = write(folder, "", "a\n", "", "a\n")
    (folder / "query_1_good.txt").write_bytes("\ufeffa\n".encode(mark))
    assert "query_1_good.txt is text in UTF-16: save it as UTF-8" in failure(compute_ap, *arguments)
    with pytest.raises(ValueError, match=r"query_1_good\.txt is text in UTF-16: save it as UTF-8"):
        read_lines(folder / "query_1_good.txt")


def test_a_name_may_hold_spaces(compute_ap: Path, folder: Path) -> None:
    assert run(compute_ap, *write(folder, "my house\n", "", "", "my garden\nmy house\n")).stdout == "0.25\n"


@pytest.mark.parametrize("missing", ["query_1_good.txt", "query_1_ok.txt", "query_1_junk.txt", "ranking.txt"])
def test_missing_file_is_named(compute_ap: Path, tmp_path: Path, missing: str) -> None:
    arguments = write(tmp_path, "a\n", "b\n", "", "a\n")
    (tmp_path / missing).unlink()
    assert f"{missing} does not exist" in failure(compute_ap, *arguments)


def test_folder_in_place_of_a_list(compute_ap: Path, tmp_path: Path) -> None:
    prefix, _ = write(tmp_path, "a\n", "", "", "")
    assert f"{tmp_path} is a folder" in failure(compute_ap, prefix, str(tmp_path))


def test_no_positive(compute_ap: Path, folder: Path) -> None:
    assert "query_1_ok.txt name no picture" in failure(compute_ap, *write(folder, "\r\n", "", "j\n", "a\n"))


def test_duplicate_in_ranking(compute_ap: Path, folder: Path) -> None:
    assert "ranking.txt ranks x twice" in failure(compute_ap, *write(folder, "a\n", "", "", "x\na\nx \r\n"))


def test_result_that_cannot_be_written(compute_ap: Path, folder: Path) -> None:
    arguments = write(folder, "a\n", "", "", "a\n")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [compute_ap, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


def test_help_and_wrong_command_line(compute_ap: Path) -> None:
    assert run(compute_ap, "--help").stdout.startswith("Usage: compute_ap GT_PREFIX RANKED_LIST [")
    wrong = run(compute_ap, "only_one")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "Usage:" in wrong.stderr
