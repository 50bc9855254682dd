"""tools.check_lists: what would spoil a conversion is said in one sentence before it."""

from pathlib import Path

import pytest

from tools.check_lists import main

GOOD = {"train.txt": ["a.jpg 0", "b b.jpg 1"], "val.txt": ["c.jpg 1", "d.jpg 0"]}


def check(folder: Path, lists: dict[str, list[str]]) -> int:
    for name in ("a.jpg", "b b.jpg", "c.jpg", "d.jpg"):
        (folder / name).write_bytes(b"a picture")
    for name, lines in lists.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return main([str(folder), "--root", f"{folder}/"])


def test_good_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, GOOD) == 0
    assert "2 classes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lists", "sentence"),
    [
        (
            GOOD | {"val.txt": ["c.jpg 1", "e.jpg 0", "f.jpg 0"]},
            "val.txt lists 2 pictures that are not there: e.jpg, f.jpg",
        ),
        (GOOD | {"val.txt": ["c.jpg 1", "d.jpg 1"]}, "val.txt has no picture of 0"),
        (GOOD | {"val.txt": ["c.jpg 1", "d.jpg 2"]}, "train.txt has no picture of 2"),
        (
            {"train.txt": ["a.jpg 1", "b b.jpg 2"], "val.txt": ["c.jpg 1", "d.jpg 2"]},
            "go up to 2, but no picture is of 0",
        ),
        (GOOD | {"val.txt": []}, "val.txt lists no pictures"),
        (GOOD | {"train.txt": ["a.jpg"]}, "train.txt, line 1 is not a picture and a number"),
        ({"train.txt": ["a.jpg 0"]}, "No such file or directory: "),
        (GOOD | {"val.txt": ["c.jpg 2000000000"]}, "labels go up to 2000000000"),
    ],
)
def test_bad_lists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lists: dict[str, list[str]], sentence: str
) -> None:
    assert check(tmp_path, lists) == 1
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1 and said.startswith("check_lists: ")
