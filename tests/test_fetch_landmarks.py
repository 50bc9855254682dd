"""data_prep.fetch landmarks: a list of pictures, most of them gone in one way or another."""

import csv
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shaky_server import Site, jpg, serving

from data_prep import fetch
from data_prep.download import picture_list, servers


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(servers, "FIRST_PAUSE", 0.01)
    with serving() as made:
        yield made


def landmarks(tmp_path: Path, *options: object) -> int:
    words = [
        "landmarks",
        "--urls",
        tmp_path / "urls.txt",
        "--out",
        tmp_path / "out",
        "--timeout",
        5,
        *options,
    ]
    return fetch.main([str(word) for word in words])


def report(tmp_path: Path) -> dict[str, dict[str, str]]:
    with (tmp_path / "out_fetch.csv").open(newline="") as stream:
        return {row["url"].rpartition("/")[2]: row for row in csv.DictReader(stream)}


def pictures(tmp_path: Path) -> dict[str, list[bytes]]:
    return {
        folder.name: [path.read_bytes() for path in sorted(folder.iterdir())]
        for folder in (tmp_path / "out").iterdir()
    }


def test_addresses_of_every_script(site: Site, tmp_path: Path) -> None:
    site.files |= {"/caf%C3%A9.jpg": jpg(1), "/latin%E9.jpg": jpg(2), "/host.jpg": jpg(3)}
    wide = site.root.replace("127.0.0.1", "\uff4cocalhost")  # a browser asks localhost
    addresses = [f"{site.root}/caf\xe9.jpg", f"{site.root}/latin\udce9.jpg", f"{wide}/host.jpg"]
    (tmp_path / "urls.txt").write_bytes(os.fsencode("".join(f"{one} c\n" for one in addresses)))
    assert landmarks(tmp_path) == 0
    assert sorted(pictures(tmp_path)["c"]) == sorted(site.files.values())
    assert sorted(site.paths()) == sorted(site.files)


@pytest.fixture
def web(site: Site, tmp_path: Path) -> Site:
    """A list as one finds it: some good, most of it gone in one way or another."""
    site.files |= {
        "/a.jpg": jpg(1),
        "/b?size=large": jpg(2, kind="PNG"),
        "/shaky.jpg": jpg(3),
        "/cut.jpg": jpg(4),
        "/page.jpg": b"\n<!DOCTYPE html><title>404</title>",
        "/typed.jpg": jpg(5),
        "/tiny.jpg": jpg(6, side=1),
        "/huge.jpg": jpg(7, side=800, kind="PNG"),
        "/odd.gif": jpg(8, kind="GIF"),
        "/photo_unavailable.png": jpg(9, kind="PNG"),
        "/nothing": b"",
        "/gone1": jpg(10),
        "/gone2": jpg(10),
        "/twice1": jpg(11),
        "/twice2": jpg(11),
    }
    site.types["/typed.jpg"] = "text/html"
    site.redirects["/flickr"] = f"{site.root}/photo_unavailable.png"
    site.statuses["/shaky.jpg"] = [503]
    site.cuts["/cut.jpg"] = [100] * 9
    classes = {"/b?size=large": "two words", "/gone1": "c1", "/gone2": "c2"}
    paths = [*(path for path in site.files if "unavailable" not in path), "/flickr", "/dead", "/b?size=large"]
    lines = [f"{site.root}{path} {classes.get(path, 'one')}" for path in paths]
    lines += ["# a remark", "", "file:///etc/passwd one", "http://[oops one"]
    (tmp_path / "urls.txt").write_text("\n".join(lines))
    return site


def test_landmarks_takes_what_is_a_picture(web: Site, tmp_path: Path, capsys) -> None:
    assert landmarks(tmp_path, "--max-mb", 1) == 0
    had = pictures(tmp_path)
    assert set(had) == {"one", "two words"}
    assert sorted(had["one"]) == sorted(web.files[path] for path in ("/a.jpg", "/shaky.jpg", "/twice1"))
    assert had["two words"] == [web.files["/b?size=large"]]
    rows = report(tmp_path)
    assert [row["url"] for row in rows.values()] == [
        link.url for link in picture_list.read_links(tmp_path / "urls.txt")
    ]
    for name, reason in {
        "cut.jpg": "connection cut at 100 of",
        "page.jpg": "a web page instead of a picture",
        "typed.jpg": "a web page instead of a picture",
        "tiny.jpg": "only 1x1 pixels",
        "huge.jpg": "larger than 1,000,000 bytes",
        "odd.gif": "a GIF picture, which Caffe does not read",
        "flickr": "Flickr's stand-in",
        "nothing": "no picture",
        "dead": "HTTP 404 Not Found",
        "passwd": "not an http or https address",
        "[oops": "no usable address",
    }.items():
        assert rows[name]["result"] == "failed"
        assert reason in rows[name]["reason"]
    assert {rows["gone1"]["result"], rows["gone2"]["result"]} == {"placeholder"}
    assert {rows["twice1"]["result"], rows["twice2"]["result"]} == {"kept", "copy"}
    said = capsys.readouterr().out
    assert "has 4 pictures of 18 addresses, 4 of them new" in said
    assert "not got: 11 (" in said
    assert "2 classes have no picture: c1, c2" in said


def test_landmarks_largest_size_holds_where_none_is_told(web: Site, tmp_path: Path) -> None:
    web.told_size = False
    assert landmarks(tmp_path, "--max-mb", 1) == 0
    assert "larger than 1,000,000 bytes" in report(tmp_path)["huge.jpg"]["reason"]


def test_landmarks_asks_only_for_what_is_missing(web: Site, tmp_path: Path, capsys) -> None:
    assert landmarks(tmp_path, "--max-mb", 1, "--tries", 1) == 0
    before = pictures(tmp_path)
    web.asked.clear()
    assert landmarks(tmp_path, "--max-mb", 1) == 0
    assert not {"/a.jpg", "/b?size=large"} & set(web.paths())
    assert {"/shaky.jpg", "/dead"} <= set(web.paths())
    assert pictures(tmp_path).keys() == before.keys()
    assert len(pictures(tmp_path)["one"]) == len(before["one"]) + 1
    assert report(tmp_path)["a.jpg"]["result"] == "there"
    assert {report(tmp_path)[name]["result"] for name in ("gone1", "gone2")} == {"placeholder"}


def test_landmarks_all_there_asks_nothing(site: Site, tmp_path: Path) -> None:
    site.files["/a.jpg"] = jpg(1)
    (tmp_path / "urls.txt").write_text(f"{site.root}/a.jpg one\n")
    assert landmarks(tmp_path) == 0
    assert landmarks(tmp_path) == 0
    assert site.paths() == ["/a.jpg"]


def test_landmarks_knows_a_placeholder_from_the_run_before(site: Site, tmp_path: Path) -> None:
    site.files |= {"/a": jpg(1), "/b": jpg(1), "/c": jpg(2)}
    (tmp_path / "urls.txt").write_text(f"{site.root}/a one\n{site.root}/c one")
    assert landmarks(tmp_path) == 0
    (tmp_path / "urls.txt").write_text(f"{site.root}/a one\n{site.root}/c one\n{site.root}/b two")
    assert landmarks(tmp_path) == 0
    assert pictures(tmp_path) == {"one": [site.files["/c"]]}


def test_landmarks_nothing_got_is_an_error(site: Site, tmp_path: Path, capsys) -> None:
    (tmp_path / "urls.txt").write_text("".join(f"{site.root}/{number} one\n" for number in range(5)))
    assert landmarks(tmp_path) == 1
    said = capsys.readouterr().err
    assert "none of 5 addresses gave a picture (5 HTTP 404 Not Found)" in said
    assert len(report(tmp_path)) == 5


def test_landmarks_leaves_silent_hosts_alone(site: Site, tmp_path: Path) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    host = f"127.0.0.1:{silent.getsockname()[1]}"
    silent.close()
    site.files["/a.jpg"] = jpg(1)
    lines = [f"http://{host}/{number} one" for number in range(9)] + [f"{site.root}/a.jpg one"]
    (tmp_path / "urls.txt").write_text("\n".join(lines))
    assert landmarks(tmp_path, "--threads", 1, "--tries", 1) == 0
    reasons = [row["reason"] for row in report(tmp_path).values() if row["result"] == "failed"]
    assert reasons == ["Connection refused"] * 3 + [f"{host} did not answer 3 times"] * 6


def test_landmarks_class_folders_of_ones_own(tmp_path: Path, capsys) -> None:
    (tmp_path / "out" / "a_class").mkdir(parents=True)
    assert landmarks(tmp_path) == 0
    assert "is there already, 1 class folders" in capsys.readouterr().out


def test_landmarks_without_anything_says_what_to_bring(tmp_path: Path, capsys) -> None:
    assert landmarks(tmp_path) == 1
    assert capsys.readouterr().err == (
        f"fetch: Landmarks has no complete public copy: bring class folders to {tmp_path}/out, or a list of"
        f" `url class` lines to {tmp_path}/urls.txt; Table 1 works without (--table 1)\n"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("http://x/1 a\nhttp://x/2\n", "line 2: an address and a class are expected"),
        ("http://x/1 ../up\n", "line 1: '../up' can't be a class folder's name"),
        ("http://x/1 a/b\n", "can't be a class folder's name"),
        ("# nothing\n", "has no `url class` lines"),
    ],
)
def test_landmarks_bad_lists(tmp_path: Path, capsys, text: str, sentence: str) -> None:
    (tmp_path / "urls.txt").write_text(text)
    assert landmarks(tmp_path) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_landmarks_write_error_stops_the_run(site: Site, tmp_path: Path, capsys) -> None:
    site.files["/a.jpg"] = jpg(1)
    (tmp_path / "urls.txt").write_text(f"{site.root}/a.jpg one\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "one").write_text("a file where the class folder should be")
    assert landmarks(tmp_path) == 1
    assert "File exists: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "link"),
    [
        ("http://x/1 a class", ("http://x/1", "a class")),
        ("\thttp://x/1\t a\u3000class \r", ("http://x/1", "a\u3000class")),
        ("http://x/1 a\u2028b\x0cc\x85d", ("http://x/1", "a\u2028b\x0cc\x85d")),
        ("\ufeffhttp://x/1 a", ("http://x/1", "a")),
    ],
)
def test_a_lines_words_are_parted_by_blanks_alone(tmp_path: Path, line: str, link: tuple[str, str]) -> None:
    (tmp_path / "urls.txt").write_text(line + "\n", encoding="utf-8", newline="")
    assert picture_list.read_links(tmp_path / "urls.txt") == [link]


@pytest.mark.fuzz
@given(content=st.binary() | st.lists(st.binary(max_size=9)).map(b" a\nhttp://x/".join))
def test_any_list_is_read_or_gets_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "urls.txt"
    path.write_bytes(content)
    try:
        links = picture_list.read_links(path)
    except ValueError as error:
        assert str(path) in str(error)
        return
    for link in links:
        folder = tmp_path / "classes" / link.category
        folder.mkdir(parents=True, exist_ok=True)
        assert folder.resolve().parent == (tmp_path / "classes").resolve()


def test_a_report_that_was_edited_reaches_nothing_outside(site: Site, tmp_path: Path) -> None:
    """A placeholder's first picture goes; where a report says it is somewhere else, that file stays."""
    mine = tmp_path / "mine.jpg"
    mine.write_bytes(jpg(1))
    (tmp_path / "out").mkdir()
    digest = hashlib.sha256(jpg(1)).hexdigest()
    (tmp_path / "out_fetch.csv").write_text(
        f"url,class,result,reason,file,sha256\nu,one,kept,,../mine.jpg,{digest}\n"
    )
    site.files["/a"] = jpg(1)
    (tmp_path / "urls.txt").write_text(f"{site.root}/a two")
    assert landmarks(tmp_path) == 0
    assert mine.exists()


def test_a_report_that_is_none(site: Site, tmp_path: Path, capsys) -> None:
    (tmp_path / "out_fetch.csv").write_text("x" * 200_000)
    (tmp_path / "urls.txt").write_text(f"{site.root}/a two")
    assert landmarks(tmp_path) == 1
    assert "can't be read as a CSV file" in capsys.readouterr().err
