"""Beginning a folder from another: hard links, nothing copied, the originals as they were."""

from pathlib import Path

import pytest

from data_prep.classes import folders
from data_prep.classes.folders import begin_from
from tools.program import written_beside


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ("a/1.jpg", "a/2.jpg", "b b/1.jpg"):
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "source/a/.half.part").write_text("nobody's")
    return tmp_path / "source"


def listing(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_holds_what_the_source_holds_without_copying_it(source: Path, tmp_path: Path) -> None:
    begin_from(source, tmp_path / "deep/folder")
    assert listing(tmp_path / "deep/folder") == {
        "a/1.jpg": "a/1.jpg",
        "a/2.jpg": "a/2.jpg",
        "b b/1.jpg": "b b/1.jpg",
    }
    assert (tmp_path / "deep/folder/a/1.jpg").samefile(source / "a/1.jpg")


def test_rewriting_a_picture_leaves_the_original_alone(source: Path, tmp_path: Path) -> None:
    begin_from(source, tmp_path / "folder")
    with written_beside(tmp_path / "folder/a/1.jpg") as part:
        part.write_text("new")
    assert (tmp_path / "folder/a/1.jpg").read_text() == "new"
    assert (source / "a/1.jpg").read_text() == "a/1.jpg"


def test_a_folder_that_is_there_is_left_as_it_is(source: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    begin_from(source, tmp_path / "folder")
    begin_from(None, tmp_path / "other")
    assert listing(tmp_path / "folder") == {}
    assert not (tmp_path / "other").exists()


def test_a_half_made_beginning_is_made_anew(source: Path, tmp_path: Path) -> None:
    (tmp_path / ".folder.part/a").mkdir(parents=True)
    (tmp_path / ".folder.part/a/old.jpg").write_text("of an interrupted run")
    begin_from(source, tmp_path / "folder")
    assert "a/old.jpg" not in listing(tmp_path / "folder")


def test_what_is_copied_is_on_the_disk_before_the_folder_is_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut may not leave a folder that counts as begun, of files with nothing in them."""
    seen: list[tuple[set[str], bool]] = []

    def note(part: Path) -> None:
        seen.append((set(listing(part).values()), (tmp_path / "folder").exists()))

    monkeypatch.setattr(folders, "all_to_disk", note)
    begin_from(source, tmp_path / "folder")
    assert seen == [({"a/1.jpg", "a/2.jpg", "b b/1.jpg"}, False)]


def test_a_missing_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        begin_from(tmp_path / "nowhere", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
