"""rename_classes: to numbers and back, and on from every point at which it can be killed."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.rename_classes import rename_classes, undo
from tools.files.class_names import read_class_names

ROOT = Path(__file__).resolve().parent.parent
AWKWARD = ["10", "2", "1", "0", "a10", "a2", "b, c", 'qu"ote', "西湖"]


def make_classes(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / f"from {name}.jpg").touch()
    return folder


def contents(folder: Path) -> dict[str, list[str]]:
    return {path.name: sorted(file.name for file in path.iterdir()) for path in folder.iterdir()}


def as_made(names: list[str]) -> dict[str, list[str]]:
    return {name: [f"from {name}.jpg"] for name in names}


def as_renamed(names: list[str]) -> dict[str, list[str]]:
    return {str(number): [f"from {name}.jpg"] for number, name in enumerate(names)}


def test_natural_order(tmp_path: Path) -> None:
    folder = make_classes(tmp_path / "c", ["b", "a10", "a2", "10", "9"])
    names = rename_classes(folder, tmp_path / "c.csv")
    assert names == ["9", "10", "a2", "a10", "b"]
    assert contents(folder) == as_renamed(names)
    assert (tmp_path / "c.csv").read_text() == "number,name\n0,9\n1,10\n2,a2\n3,a10\n4,b\n"


class_names = st.one_of(
    st.integers(0, 12).map(str), st.sampled_from(AWKWARD), st.text('ab1 ,\n\r\x85\u2028\udcff"', min_size=1)
)


@settings(max_examples=40)
@given(
    st.lists(class_names.filter(lambda name: name not in (".", "..")), min_size=1, max_size=8, unique=True)
)
def test_any_names_there_and_back(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder, classes_csv = make_classes(Path(temporary) / "c", names), Path(temporary) / "c.csv"
        ordered = rename_classes(folder, classes_csv)
        assert sorted(ordered) == sorted(names)
        assert contents(folder) == as_renamed(ordered)
        assert read_class_names(classes_csv) == ordered
        assert rename_classes(folder, classes_csv) == ordered
        assert contents(folder) == as_renamed(ordered)
        undo(folder, classes_csv)
        assert contents(folder) == as_made(names)
        assert not classes_csv.exists()


def stop_at(monkeypatch: pytest.MonkeyPatch, call: int, error: BaseException) -> None:
    """Let the call-th rename of a folder raise, as if the process had been killed just before it."""
    rename, calls = Path.rename, iter(range(1000))

    def counted(self: Path, target: Path) -> Path:
        if next(calls) == call:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", counted)


@pytest.mark.parametrize("call", range(2 * len(AWKWARD) + 2))
@pytest.mark.parametrize("going_back", [False, True])
def test_killed_at_any_rename(tmp_path: Path, call: int, going_back: bool) -> None:
    folder, classes_csv = make_classes(tmp_path / "c", AWKWARD), tmp_path / "c.csv"
    ordered = ["0", "1", "2", "10", "a2", "a10", "b, c", 'qu"ote', "西湖"]
    if going_back:
        rename_classes(folder, classes_csv)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, call, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            (undo if going_back else rename_classes)(folder, classes_csv)
    complete = {str(number) for number in range(len(AWKWARD))} <= contents(folder).keys()
    assert complete == (going_back and call <= 1), "what is half renamed must not look like 0..N-1"
    if call % 2:
        assert rename_classes(folder, classes_csv) == ordered
        assert contents(folder) == as_renamed(ordered)
    undo(folder, classes_csv)
    assert contents(folder) == as_made(AWKWARD)


@pytest.mark.parametrize("call", range(1, len(AWKWARD) + 1))
def test_a_folder_that_cannot_be_renamed_puts_all_back(tmp_path: Path, call: int) -> None:
    folder = make_classes(tmp_path / "c", AWKWARD)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, call, OSError(16, "Device or resource busy", "class"))
        with pytest.raises(OSError, match="busy"):
            rename_classes(folder, tmp_path / "c.csv")
    assert contents(folder) == as_made(AWKWARD)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "data_prep.rename_classes", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_program(tmp_path: Path) -> None:
    folder = make_classes(tmp_path / "my classes", ["b", "a"])
    done = run(folder)
    assert (done.returncode, done.stdout) == (0, "a -> 0\nb -> 1\n")
    assert read_class_names(tmp_path / "my classes.csv") == ["a", "b"]
    assert run(folder, "--undo").returncode == 0
    assert contents(folder) == as_made(["a", "b"])


@pytest.mark.parametrize(
    ("names", "other", "options", "sentence"),
    [
        ([], None, [], "No such file or directory"),
        (["a", "b"], "c", [], "class folder"),
        (["a", "b"], None, ["--undo"], "nothing to undo"),
        (["a", "b"], None, ["--classes", "other.csv"], "lists other classes"),
        (["a", "b"], None, ["--classes", "broken.csv"], "is no list of classes"),
        (["0", "b"], None, ["--undo", "--classes", "other.csv"], "has no class folder 1"),
        (["0", "1", "x"], None, ["--undo", "--classes", "other.csv"], "already has a folder 'x'"),
    ],
)
def test_bad_input_changes_nothing(
    tmp_path: Path, names: list[str], other: str | None, options: list[str], sentence: str
) -> None:
    (tmp_path / "other.csv").write_text("number,name\n0,x\n1,y\n")
    (tmp_path / "broken.csv").write_text("one,two\n0,x\n")
    folder = make_classes(tmp_path / "c", names)
    if other:
        (folder / other).mkdir()
    before = contents(folder) if folder.exists() else None
    done = run(folder, *(tmp_path / option if option.endswith(".csv") else option for option in options))
    assert done.returncode == 1
    assert sentence in done.stderr and done.stderr.count("\n") == 1
    assert (contents(folder) if folder.exists() else None) == before
