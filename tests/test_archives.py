"""data_prep.download.tar and .archive against Python's tarfile, and against archives that mean harm."""

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from data_prep.download.archive import unpack
from data_prep.download.tar import FILE, members

MOST = 1_000_000

letters = st.characters(exclude_characters="/\0", exclude_categories=["Cs"]) | st.sampled_from("\udc80\udcff")
words = st.text(letters, min_size=1, max_size=60).filter(lambda word: word.strip(".") != "")
paths = st.lists(words, min_size=1, max_size=6).map("/".join)
contents = st.binary(max_size=20) | st.sampled_from([b"", bytes(511), bytes(512), bytes(513), b"x" * 5000])


def gzipped(tar: bytes) -> bytes:
    return gzip.compress(tar, 1)


def tar_of(files: dict[str, bytes], kind: int = tarfile.GNU_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=kind) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def with_sum(block: bytes) -> bytes:
    """The header with the checksum that belongs to it."""
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    return block[:148] + b"%06o\0 " % total + block[156:]


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def pax(record: bytes, claimed: int | None = None) -> bytes:
    """A pax header of one record KEY=VALUE."""
    length = next(n for n in range(len(record) + 3, len(record) + 30) if len(b"%d %s\n" % (n, record)) == n)
    text = b"%d %s\n" % (length, record)
    return header("pax", claimed or len(text), tarfile.XHDTYPE) + padded(text)


@given(
    files=st.dictionaries(paths, contents, max_size=5),
    kind=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_members_are_tarfiles_members(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], kind: int
) -> None:
    try:
        tar = tar_of(files, kind)
    except (ValueError, UnicodeEncodeError):  # a name that the oldest format can't hold
        assume(False)
    path = tmp_path_factory.getbasetemp() / "drawn.tgz"
    path.write_bytes(gzipped(tar))
    with tarfile.open(path) as archive:
        expected = [(member.name, archive.extractfile(member).read()) for member in archive]
    found = [(member.name, b"".join(member.pieces())) for member in members(path, MOST)]
    assert found == expected


def test_members_that_nobody_reads_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.tgz"
    path.write_bytes(gzipped(tar_of({"a": b"x" * 3000, "d/b": b"y", "c": b""})))
    assert [(member.name, member.kind, member.size) for member in members(path, MOST)] == [
        ("a", FILE, 3000),
        ("d/b", FILE, 1),
        ("c", FILE, 0),
    ]


def test_names_that_are_not_utf8_stay_what_they_are(tmp_path: Path) -> None:
    path, name = tmp_path / "a.tgz", os.fsdecode(b"caf\xe9 \xff.jpg")
    path.write_bytes(gzipped(tar_of({f"d/{name}": b"picture"})))
    (tmp_path / "out").mkdir()
    unpack(path, tmp_path / "out", ".jpg", MOST, 10)
    assert [os.fsencode(file.name) for file in (tmp_path / "out").iterdir()] == [b"caf\xe9 \xff.jpg"]


HUGE = with_sum(header("a.jpg")[:124] + b"\x80" + (2**70).to_bytes(11, "big") + header("a.jpg")[136:])
HARM = {
    "2^70 bytes": (lambda: HUGE + b"x" * 512, "(a.jpg alone claims 1,180,591,620,717,411,303,424): refused"),
    "2^70 bytes of another kind": (lambda: with_sum(HUGE.replace(b"a.jpg", b"a.txt")), "(a.txt alone claims"),
    "2^70 bytes by pax": (lambda: pax(b"size=%d" % 2**70) + header("a.jpg"), "(a.jpg alone claims"),
    "below zero": (lambda: with_sum(HUGE[:124] + b"\xff" * 12 + HUGE[136:]), "a size below zero"),
    "sparse": (lambda: header("a.jpg", 0, tarfile.GNUTYPE_SPARSE), "holds a sparse file (a.jpg)"),
    "sparse by pax": (
        lambda: pax(b"GNU.sparse.realsize=1099511627776") + header("a.jpg"),
        "holds a sparse file (a.jpg)",
    ),
    "a long pax header": (lambda: pax(b"a=b", 2**33), "(a name or header of 8,589,934,592 bytes): refused"),
    "a long name": (
        lambda: header("././@LongLink", 2**31, b"L"),
        "(a name or header of 2,147,483,648 bytes)",
    ),
    "nothing but headers": (lambda: pax(b"a=b") * 5000, "what gzip holds has no end"),
    "zeros without an end": (lambda: bytes(50_000_000), "what gzip holds has no end"),
    "thousands of tiny files": (
        lambda: b"".join(header(f"{number}.jpg") for number in range(1000)),
        "holds more than 30 .jpg files: refused",
    ),
    "a name no disk takes": (lambda: tar_of({"a" * 252 + ".jpg": b""}), "a name of more than 255 bytes"),
    "a pax header that is none": (
        lambda: header("p", 9, b"x") + padded(b"9 a=b\n###"),
        "a pax header is none",
    ),
    "a name with a zero byte": (lambda: pax(b"path=a\0.jpg") + header("a.jpg"), "a name is none"),
    "a size in letters": (lambda: pax(b"size=many") + header("a.jpg"), "a size is no number"),
    "a name that is a folder's": (lambda: header("..", 0, tarfile.REGTYPE), "a path out of its folder"),
    "letters in a number": (lambda: with_sum(HUGE[:124] + b"zzzzzzzzzzz\0" + HUGE[136:]), "a number is none"),
    "an empty archive": (lambda: b"", None),
}


@pytest.mark.parametrize(("make", "sentence"), HARM.values(), ids=HARM)
def test_harm_is_refused_before_it_is_done(
    tmp_path: Path, make: Callable[[], bytes], sentence: str | None
) -> None:
    path, out = tmp_path / "a.tgz", tmp_path / "out"
    path.write_bytes(gzipped(make()))
    out.mkdir()
    if sentence is None:
        unpack(path, out, ".jpg", MOST, 30)
    else:
        with pytest.raises(ValueError, match=r"a\.tgz ") as caught:
            unpack(path, out, ".jpg", MOST, 30)
        assert sentence in str(caught.value) and "\n" not in str(caught.value)
    assert sum(file.stat().st_size for file in out.iterdir()) == 0


def test_a_disk_without_room_for_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tgz"
    path.write_bytes(gzipped(header("a.jpg", 2**50)))
    with pytest.raises(OSError, match=r"MB free, and a\.jpg wants 1,125,899,907"):
        unpack(path, tmp_path, ".jpg", 2**60, 30)
    assert not (tmp_path / "a.jpg").exists()


@pytest.mark.fuzz
@given(data=st.data())
def test_any_archive_is_unpacked_or_gets_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whole archives with bytes changed, before gzip or behind; no file is larger than the bound."""
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    folder.mkdir(exist_ok=True)
    files = {"d/a.jpg": b"1" * 700, "b.jpg": b"2", "long" * 40 + ".jpg": b"3"}
    content = tar_of(files, data.draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])))
    content = bytearray(content[: data.draw(st.sampled_from([4096, 10240]))])
    zipped = data.draw(st.booleans())
    if zipped:
        content = bytearray(gzipped(bytes(content)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    if not zipped:
        for at in range(0, len(content) - 511, 512):
            if content[at + 257 : at + 262] == b"ustar" and data.draw(st.booleans()):
                content[at : at + 512] = with_sum(bytes(content[at : at + 512]))
        content = bytearray(gzipped(bytes(content)))
    path = folder / "a.tgz"
    path.write_bytes(content)
    try:
        unpack(path, folder, ".jpg", 50_000, 30)
    except (ValueError, OSError) as error:
        assert str(folder) in str(error)
    for file in folder.glob("**/*"):
        assert file.stat().st_size <= 50_000
        file.unlink()
