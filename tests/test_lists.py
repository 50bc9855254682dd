"""Lists of pictures and of classes: each has one reader, which reads what Caffe does."""

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.files.class_names import read_class_names, write_class_names
from tools.files.csv_rows import csv_row, read_csv
from tools.files.image_list import Entry, raw_lines, read_image_list, write_image_list

ENDS_OF_LINES_ELSEWHERE = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
pictures = st.text(
    st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]), min_size=1, max_size=60
)


def as_convert_imageset_reads(data: bytes) -> list[tuple[bytes, int]]:
    """getline, find_last_of(' '), atoi: the loop in convert_imageset.cpp, for labels that are numbers."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [(line[: line.rindex(b" ")], int(line[line.rindex(b" ") + 1 :])) for line in lines]


@pytest.mark.parametrize("mark", ";\t")
def test_classes_as_spreadsheets_of_many_countries_save_them(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "classes.csv"
    rows = [["number", "name"], ["0", "a, b"], ["1", f"c{mark}d"]]
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=mark).writerows(rows)
    assert read_class_names(path) == ["a, b", f"c{mark}d"]


def test_a_refusal_shows_some_names_and_counts_the_rest(tmp_path: Path) -> None:
    broken = [Entry(f"/a\n{number}", 0) for number in range(5000)]
    with pytest.raises(ValueError, match=r"and 4980 more$"):
        write_image_list(tmp_path / "train.txt", broken)


@settings(deadline=None)
@given(st.lists(st.tuples(pictures, st.integers(0, 2**31 - 1)), min_size=1, max_size=10))
def test_what_is_written_is_read_by_us_and_by_caffe(listed: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "train.txt"
        written = [Entry(f"/{picture}", label) for picture, label in listed]
        write_image_list(path, written)
        assert read_image_list(path) == written
        by_caffe = as_convert_imageset_reads(path.read_bytes())
        assert by_caffe == [(f"/{picture}".encode(), label) for picture, label in listed]
        assert len(raw_lines(path)) == len(listed) and b"".join(raw_lines(path)) == path.read_bytes()


def test_lists_of_other_makes(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"a b/c d.jpg 12\r\n/\xff.jpg 0")
    assert read_image_list(path) == [("a b/c d.jpg", 12), ("/\udcff.jpg", 0)]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "lists no pictures"),
        (b"a.jpg 1\nb.jpg\n", "line 2 is not a picture and a number: 'b.jpg'"),
        (b"a.jpg -1\n", "line 1"),
        (b"a.jpg 1\n\nb.jpg 2\n", "line 2"),
        (b"a.jpg 1\n" + b"b.jpg 2" + b"0" * 5000, "line 2"),
        (b"a.jpg 2147483648\n", "line 1"),
        (b"a.jpg \xd9\xa3\n", "line 1"),
        (b"\xef\xbb\xbfa.jpg 1\n", "byte-order mark"),
        (b"x" * 503 + b" 1\n" + b"y" * 502 + b" 1\n", "502 bytes .* and 1 are longer: xx"),
    ],
)
def test_lists_that_caffe_would_misread(tmp_path: Path, data: bytes, sentence: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=sentence):
        read_image_list(path)


def test_names_that_no_list_can_hold_are_all_named(tmp_path: Path) -> None:
    entries = [Entry("/a\nb.jpg", 0), Entry("/c.jpg", 1), Entry("/d\n.jpg", 1)]
    with pytest.raises(ValueError, match=r"'/a\\nb.jpg', '/d\\n.jpg'"):
        write_image_list(tmp_path / "list.txt", entries)
    with pytest.raises(ValueError, match="2 are longer"):
        write_image_list(
            tmp_path / "list.txt", [Entry("ä" * 252, 0), Entry("b" * 503, 0), Entry("c" * 502, 1)]
        )
    assert not (tmp_path / "list.txt").exists()


@settings(deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=[])), min_size=1, max_size=6)
)
def test_class_names_there_and_back(names: list[str]) -> None:
    names = [name.encode(errors="ignore").decode() for name in names]
    with tempfile.TemporaryDirectory() as place:
        write_class_names(Path(place) / "classes.csv", names)
        assert read_class_names(Path(place) / "classes.csv") == names


@settings(deadline=None)
@given(
    st.lists(st.text(alphabet=f'a,"\n{ENDS_OF_LINES_ELSEWHERE}\udc80', max_size=5), min_size=1, max_size=4)
)
def test_rows_of_any_text(fields: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "rows.csv"
        path.write_bytes((csv_row(fields) + csv_row(["behind"])).encode(errors="surrogateescape"))
        assert read_csv(path) == [fields, ["behind"]]


def test_rows_look_as_they_always_did() -> None:
    assert csv_row(["a b", 1, 'say "x"', "c,d", "e\nf"]) == 'a b,1,"say ""x""","c,d","e\nf"\n'


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"number,name\n0," + b"a" * 200_000 + b"\n1,b\n", "can't be read as a CSV file"),
        (b"0,a\n0,b\n", "is no list of classes"),
        (b"0,a\nNaN,b\n", "is no list of classes"),
        (b"0,a\n1\n", "is no list of classes"),
        (b"number,name\n", "is no list of classes"),
        (b"\x00\xff\xfe", "is no list of classes"),
    ],
)
def test_classes_that_are_none(tmp_path: Path, data: bytes, sentence: str) -> None:
    (tmp_path / "classes.csv").write_bytes(data)
    with pytest.raises(ValueError, match=sentence):
        read_class_names(tmp_path / "classes.csv")


def test_classes_that_excel_has_saved(tmp_path: Path) -> None:
    (tmp_path / "classes.csv").write_bytes(b"\xef\xbb\xbfnumber,name\r\n0,a b\r\n1,caf\xc3\xa9\r\n")
    assert read_class_names(tmp_path / "classes.csv") == ["a b", "café"]


garbage = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.sampled_from([b"a.jpg 1", b"0,a", b"1,b", b'"', b",", b"\n", b"\r", b" ", b"\xef\xbb\xbf", b"\0"])
    ).map(b"".join),
)


@settings(max_examples=300, deadline=None)
@given(garbage)
def test_any_bytes_give_a_list_or_a_sentence(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "given"
        path.write_bytes(data)
        for read in (read_image_list, read_class_names, read_csv):
            try:
                assert isinstance(read(path), list)
            except ValueError as error:
                assert str(path) in str(error)
