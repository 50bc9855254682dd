"""data_prep.fetch against a server that cuts, lies and misdirects: files, archives, the table, Ctrl-C."""

import errno
import fcntl
import hashlib
import io
import json
import pickle
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shaky_server import Site, jpg, serving

from data_prep import fetch
from data_prep.download import servers
from data_prep.download.lock import held
from data_prep.download.things import read_thing

ROOT = Path(__file__).parent.parent
BODY = np.random.default_rng(0).bytes(300_000)
PUBLISHED = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(servers, "FIRST_PAUSE", 0.01)
    with serving() as made:
        yield made


def tgz(members: dict[str, bytes], *special: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in special:
            archive.addfile(info)
    return stream.getvalue()


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A table with small stand-ins; each address must be given by --url."""
    path = tmp_path / "sources.toml"
    path.write_text(
        f"""
        [oxford5k-images]
        what = "stand-in"
        page = ""
        keep = ".jpg"
        at_least = 3
        files = [{{name = "images.tgz", urls = []}}]
        [oxford5k-gt]
        what = "stand-in"
        page = ""
        keep = ".txt"
        at_least = 4
        files = [{{name = "gt.tgz", urls = []}}]
        [paris6k-images]
        what = "stand-in in two archives"
        page = ""
        keep = ".jpg"
        at_least = 3
        files = [{{name = "p1.tgz", urls = []}}, {{name = "p2.tgz", urls = []}}]
        [vgg16]
        what = "stand-in"
        page = ""
        files = [{{name = "v.caffemodel", urls = [], bytes = {len(BODY)}, sha256 = "{PUBLISHED}"}}]
        """
    )
    return path


@pytest.fixture
def run(sources: Path):
    """Run the program on the stand-ins' table; returns the exit status."""

    def run_it(thing: str, out: Path, *options: object) -> int:
        words = [thing, "--out", out, "--sources", sources, "--tries", 3, "--timeout", 5, *options]
        return fetch.main([str(word) for word in words])

    return run_it


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# One file


def test_goes_on_where_the_connection_was_cut(site: Site, run, tmp_path: Path) -> None:
    site.files["/v"] = BODY
    site.cuts["/v"] = [100_000, 250_000]
    assert run("vgg16", tmp_path / "out" / "v", "--url", f"{site.root}/v") == 0
    assert (tmp_path / "out" / "v").read_bytes() == BODY
    assert names(tmp_path / "out") == {"v"}
    assert site.asked == [
        ("/v", None, None),
        ("/v", "bytes=100000-", '"one"'),
        ("/v", "bytes=250000-", '"one"'),
    ]


def test_goes_on_in_a_later_run(site: Site, run, tmp_path: Path) -> None:
    site.files["/v"] = BODY
    site.cuts["/v"] = [200_000] + [0] * 3
    options = (tmp_path / "v", "--url", f"{site.root}/v", "--tries", 1)
    site.cuts["/v"] = [200_000]
    assert run("vgg16", *options) == 1
    assert not (tmp_path / "v").exists()
    assert (tmp_path / "v.part").stat().st_size == 200_000
    assert run("vgg16", *options) == 0
    assert (tmp_path / "v").read_bytes() == BODY
    assert site.asked[-1][1] == "bytes=200000-"


def test_server_without_ranges_starts_over(site: Site, run, tmp_path: Path) -> None:
    site.files["/v"] = BODY
    site.ranges = False
    site.cuts["/v"] = [100_000, 50_000]
    assert run("vgg16", tmp_path / "v", "--url", f"{site.root}/v") == 0
    assert (tmp_path / "v").read_bytes() == BODY


def test_server_that_always_cuts_is_given_up(site: Site, run, tmp_path: Path, capsys) -> None:
    site.files["/v"] = BODY
    site.ranges = False
    site.cuts["/v"] = [100_000] * 99
    assert run("vgg16", tmp_path / "v", "--url", f"{site.root}/v") == 1
    assert len(site.asked) == 3
    assert "connection cut at 100,000 of 300,000 bytes" in capsys.readouterr().err


def test_file_that_changed_meanwhile_is_started_over(site: Site, run, tmp_path: Path) -> None:
    new = BODY[::-1]
    site.files["/gt"] = tgz({f"{i}.txt": BODY[i * 9999 :][:9999] for i in range(4)})
    site.cuts["/gt"] = [20_000]
    assert run("oxford5k-gt", tmp_path / "gt", "--url", f"{site.root}/gt", "--tries", 1) == 1
    site.files["/gt"] = tgz({f"{i}.txt": new[i * 9999 :][:9999] for i in range(4)})
    site.etag = '"two"'
    assert run("oxford5k-gt", tmp_path / "gt", "--url", f"{site.root}/gt") == 0
    assert site.asked[-1] == ("/gt", "bytes=20000-", '"one"')
    assert (tmp_path / "gt" / "1.txt").read_bytes() == new[9999 : 2 * 9999]


def test_unsure_start_is_not_gone_on_with(site: Site, run, tmp_path: Path) -> None:
    """Without a checksum or a validator nothing tells whether start and rest belong together."""
    site.files["/gt"] = tgz({f"{i}.txt": BODY[i * 9999 :][:9999] for i in range(4)})
    site.etag = None
    site.cuts["/gt"] = [20_000]
    assert run("oxford5k-gt", tmp_path / "gt", "--url", f"{site.root}/gt") == 0
    assert [wanted for _, wanted, _ in site.asked] == [None, None]


def test_wrong_hash_is_refused_and_nothing_left(site: Site, run, tmp_path: Path, capsys) -> None:
    site.files["/v"] = BODY[:-1] + b"!"
    assert run("vgg16", tmp_path / "out" / "v", "--url", f"{site.root}/v") == 1
    assert names(tmp_path / "out") == set()
    assert f"not the published {PUBLISHED}: refused" in capsys.readouterr().err


def test_wrong_size_is_refused_before_downloading(site: Site, run, tmp_path: Path, capsys) -> None:
    site.files["/v"] = BODY[:-1]
    assert run("vgg16", tmp_path / "out" / "v", "--url", f"{site.root}/v") == 1
    assert names(tmp_path / "out") == set()
    assert "299,999 bytes there, where the published file has 300,000" in capsys.readouterr().err


def test_part_of_something_else_is_found_out_by_the_hash(site: Site, run, tmp_path: Path) -> None:
    site.files["/v"] = BODY
    (tmp_path / "v.part").write_bytes(b"x" * 1000)
    assert run("vgg16", tmp_path / "v", "--url", f"{site.root}/v", "--url", f"{site.root}/v") == 0
    assert (tmp_path / "v").read_bytes() == BODY


def test_mirrors_in_order(site: Site, run, tmp_path: Path, capsys) -> None:
    site.files |= {"/page": b"<html>log in", "/bad": BODY[::-1], "/good": BODY, "/never": BODY}
    site.types["/page"] = "text/html; charset=utf-8"
    site.statuses["/down"] = [503] * 99
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    urls = [f"{site.root}/{name}" for name in ("gone", "page", "down", "bad", "good", "never")]
    urls.insert(0, f"http://127.0.0.1:{port}/v")
    options = [word for url in ["file:///etc/passwd", *urls] for word in ("--url", url)]
    assert run("vgg16", tmp_path / "v", *options) == 0
    assert (tmp_path / "v").read_bytes() == BODY
    assert site.paths() == ["/gone", "/page", "/down", "/down", "/down", "/bad", "/good"]
    said = capsys.readouterr().err
    for reason in (
        "not an http or https address",
        "Connection refused",
        "HTTP 404 Not Found",
        "a web page came instead of the file",
        "HTTP 503 Service Unavailable",
        "refused",
    ):
        assert reason in said


def test_another_mirror_goes_on_where_the_hash_will_tell(site: Site, run, tmp_path: Path) -> None:
    site.files |= {"/a": BODY, "/b": BODY}
    site.cuts["/a"] = [150_000]
    options = ("--url", f"{site.root}/a", "--url", f"{site.root}/b", "--tries", 1)
    assert run("vgg16", tmp_path / "v", *options) == 0
    assert site.asked[-1] == ("/b", "bytes=150000-", None)
    assert (tmp_path / "v").read_bytes() == BODY


def test_no_address_is_one_sentence(site: Site, run, tmp_path: Path, capsys) -> None:
    assert run("vgg16", tmp_path / "v", "--url", f"{site.root}/none") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        f"fetch: v.caffemodel could not be had ({site.root}/none: HTTP 404 Not Found);"
        " python -m data_prep.fetch takes another by --url"
    )


def test_whole_part_needs_no_request(site: Site, run, tmp_path: Path) -> None:
    """Killed between the last byte and the move."""
    (tmp_path / "v.part").write_bytes(BODY)
    (tmp_path / "v.part.json").write_text(json.dumps({"url": "x", "validator": None, "total": len(BODY)}))
    assert run("vgg16", tmp_path / "v", "--url", f"{site.root}/v") == 0
    assert site.asked == []
    assert names(tmp_path) == {"v", "sources.toml"}


@pytest.mark.parametrize("size", [len(BODY), 1000])
def test_server_that_does_not_tell_the_size(site: Site, run, tmp_path: Path, size: int) -> None:
    site.files["/v"] = BODY[:size]
    site.told_size = False
    assert run("vgg16", tmp_path / "out" / "v", "--url", f"{site.root}/v") == (size != len(BODY))
    assert names(tmp_path / "out") == ({"v"} if size == len(BODY) else set())


def test_redirects_keep_the_range(site: Site, run, tmp_path: Path) -> None:
    site.files["/v"] = BODY
    site.redirects["/old"] = f"{site.root}/v"
    site.cuts["/v"] = [100_000]
    assert run("vgg16", tmp_path / "v", "--url", f"{site.root}/old") == 0
    assert site.asked[-1] == ("/v", "bytes=100000-", '"one"')


def test_full_disk_is_told_before_the_download(site: Site, run, tmp_path: Path, monkeypatch, capsys) -> None:
    """Room for the archive (5.1 MB) alone is not enough."""
    site.files["/i.tgz"] = BODY * 17
    usage = shutil.disk_usage(tmp_path)._replace(free=8_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert run("oxford5k-images", tmp_path / "jpg", "--url", f"{site.root}/i.tgz") == 1
    told, said = capsys.readouterr().err.splitlines()
    assert told == f"fetch: images.tgz from {site.root}/i.tgz"
    assert said == f"fetch: {tmp_path} has 8 MB free, and images.tgz wants 10 MB more"
    assert names(tmp_path) == {"sources.toml"}


def test_full_disk_keeps_the_archive(site: Site, run, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "images.tgz").write_bytes(BODY * 17)
    usage = shutil.disk_usage(tmp_path)._replace(free=2_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert run("oxford5k-images", tmp_path / "jpg") == 1
    said = capsys.readouterr().err
    assert said == f"fetch: {tmp_path} has 2 MB free, and what is unpacked wants 5 MB more\n"
    assert names(tmp_path) == {"sources.toml", "images.tgz"}


# What is there already


def test_nothing_is_asked_for_what_is_there(site: Site, run, tmp_path: Path, capsys) -> None:
    (tmp_path / "v").write_bytes(BODY)
    (tmp_path / "jpg" / "deeper").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "jpg" / "deeper" / f"{number}.JPG").write_bytes(b"own copy")
    assert run("vgg16", tmp_path / "v", "--url", f"{site.root}/v") == 0
    assert run("oxford5k-images", tmp_path / "jpg", "--url", f"{site.root}/i") == 0
    assert site.asked == []
    assert capsys.readouterr().out.splitlines() == [
        f"fetch: {tmp_path}/v is there already, its sha256 as published",
        f"fetch: {tmp_path}/jpg is there already, 3 .jpg",
    ]


def test_own_copies_are_taken_with_a_word(site: Site, run, tmp_path: Path, capsys) -> None:
    (tmp_path / "v").write_bytes(BODY[::-1])
    (tmp_path / "jpg").mkdir()
    (tmp_path / "jpg" / "a.jpg").write_bytes(b"own copy")
    assert run("vgg16", tmp_path / "v") == 0
    assert run("oxford5k-images", tmp_path / "jpg") == 0
    said = capsys.readouterr().out
    assert "is not the published v.caffemodel: taken as it is" in said
    assert "1 .jpg of 3: taken as it is" in said


@pytest.mark.parametrize("content", [b"", BODY[: len(BODY) // 2]])
def test_cut_weights_are_refused(run, tmp_path: Path, capsys, content: bytes) -> None:
    (tmp_path / "v").write_bytes(content)
    assert run("vgg16", tmp_path / "v") == 1
    assert "is not a whole v.caffemodel" in capsys.readouterr().err
    assert (tmp_path / "v").read_bytes() == content


def test_folder_of_something_else_is_refused(run, tmp_path: Path, capsys) -> None:
    (tmp_path / "jpg").mkdir()
    (tmp_path / "jpg" / "thesis.tex").write_text("mine")
    assert run("oxford5k-images", tmp_path / "jpg") == 1
    assert "has no .jpg in it" in capsys.readouterr().err
    assert names(tmp_path / "jpg") == {"thesis.tex"}


# Archives


def test_oxford_images_and_ground_truth(site: Site, run, tmp_path: Path, capsys) -> None:
    pictures = {f"all_souls_{number:06}.jpg": jpg(number) for number in range(3)}
    truth = {f"./all_souls_1_{kind}.txt": b"x\n" for kind in ("query", "good", "ok", "junk")}
    site.files["/i.tgz"] = tgz(pictures | {"README": b"r", "._all_souls_000000.jpg": b"a Mac's"})
    site.files["/g.tgz"] = tgz(truth)
    (tmp_path / "jpg").mkdir()  # empty is as good as absent
    site.cuts["/i.tgz"] = [5000]
    assert run("oxford5k-images", tmp_path / "jpg", "--url", f"{site.root}/i.tgz") == 0
    assert run("oxford5k-gt", tmp_path / "gt", "--url", f"{site.root}/g.tgz", "--keep-archive") == 0
    assert {p.name: p.read_bytes() for p in (tmp_path / "jpg").iterdir()} == pictures
    assert names(tmp_path / "gt") == {Path(name).name for name in truth}
    assert names(tmp_path) == {"jpg", "gt", "gt.tgz", "sources.toml"}
    assert "no published checksum; size only" in capsys.readouterr().err


def test_archives_with_folders_become_one_folder(site: Site, run, tmp_path: Path) -> None:
    one = {"paris/louvre/a.jpg": b"a", "paris/louvre/b.jpg": b"b"}
    site.files["/p1.tgz"] = tgz(one)
    site.files["/p2.tgz"] = tgz({"paris/eiffel/c.jpg": b"c", "paris/general/b.jpg": b"b"})
    assert run("paris6k-images", tmp_path / "jpg", "--url", f"{site.root}/") == 0
    assert {p.name: p.read_bytes() for p in (tmp_path / "jpg").iterdir()} == {
        "a.jpg": b"a",
        "b.jpg": b"b",
        "c.jpg": b"c",
    }


def test_two_archives_need_a_folder_of_them(site: Site, run, tmp_path: Path, capsys) -> None:
    assert run("paris6k-images", tmp_path / "jpg", "--url", f"{site.root}/p1.tgz") == 1
    assert "p1.tgz and p2.tgz: --url must be the folder" in capsys.readouterr().err


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


THREE = {f"{number}.jpg": b"%d" % number for number in range(3)}
STRANGE = {
    "out of the folder": (tgz(THREE | {"../evil.jpg": b"e"}), "a path out of its folder (../evil.jpg)"),
    "out, deeper": (tgz(THREE | {"a/../../evil.jpg": b"e"}), "a path out of its folder"),
    "absolute": (tgz(THREE | {"/tmp/evil.jpg": b"e"}), "an absolute path (/tmp/evil.jpg)"),
    "symbolic link": (tgz(THREE, special("l.jpg", tarfile.SYMTYPE, "/etc/passwd")), "a link (l.jpg)"),
    "hard link": (tgz(THREE, special("l.jpg", tarfile.LNKTYPE, "../x")), "a link (l.jpg)"),
    "device": (tgz(THREE, special("d.jpg", tarfile.CHRTYPE)), "a device (d.jpg)"),
    "two of one name": (tgz(THREE | {"a/0.jpg": b"other"}), "another file called 0.jpg"),
    "too few": (tgz({"0.jpg": b"0"}), "1 .jpg inside, 3 expected"),
    "cut": (tgz({"0.jpg": BODY})[:50_000], "is damaged or no .tgz archive"),
    "one bit": (bytes(b ^ (i == 5000) for i, b in enumerate(tgz({"0.jpg": BODY}))), "is damaged"),
    "checksum": (tgz(THREE)[:-8] + struct.pack("<I", 1) + tgz(THREE)[-4:], "is damaged"),
    "no archive": (b"GIF89a", "what came is no .tgz archive"),
}


@pytest.mark.parametrize(("archive", "sentence"), STRANGE.values(), ids=STRANGE)
def test_strange_archives_leave_nothing(
    site: Site, run, tmp_path: Path, capsys, archive: bytes, sentence: str
) -> None:
    site.files["/i.tgz"] = archive
    out = tmp_path / "data" / "jpg"
    assert run("oxford5k-images", out, "--url", f"{site.root}/i.tgz") == 1
    assert sentence in capsys.readouterr().err.splitlines()[-1]
    assert names(tmp_path / "data") == set()
    assert names(tmp_path) == {"data", "sources.toml"}
    assert not Path("/tmp/evil.jpg").exists()


def test_archive_brought_along_is_used_and_not_thrown_away(site: Site, run, tmp_path: Path, capsys) -> None:
    (tmp_path / "images.tgz").write_bytes(tgz(THREE)[:50])
    assert run("oxford5k-images", tmp_path / "jpg", "--url", f"{site.root}/i.tgz") == 1
    assert "remove it to have it fetched anew" in capsys.readouterr().err
    assert (tmp_path / "images.tgz").exists()
    (tmp_path / "images.tgz").write_bytes(tgz(THREE))
    assert run("oxford5k-images", tmp_path / "jpg", "--url", f"{site.root}/i.tgz") == 0
    assert names(tmp_path / "jpg") == set(THREE)
    assert site.asked == []


def test_folder_behind_a_link(site: Site, run, tmp_path: Path) -> None:
    (tmp_path / "big disk").mkdir()
    (tmp_path / "jpg").symlink_to(tmp_path / "big disk")
    site.files["/i.tgz"] = tgz(THREE)
    assert run("oxford5k-images", tmp_path / "jpg", "--url", f"{site.root}/i.tgz") == 0
    assert (tmp_path / "jpg").is_symlink()
    assert names(tmp_path / "big disk") == set(THREE)


# The table


def test_the_table_that_ships() -> None:
    for name in fetch.THINGS:
        thing = fetch.read_thing(fetch.SOURCES, name)
        for file in thing.files:
            assert file.urls and all(url.startswith(("http://", "https://")) for url in file.urls)
            assert bool(thing.keep) == file.name.endswith(".tgz")
            assert not thing.keep or thing.unpacked_bytes > 3 * file.about_bytes
    weights = fetch.read_thing(fetch.SOURCES, "vgg16").files[0]
    assert weights.bytes == 553432081
    assert len(weights.sha256) == 64


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[vgg16", "is no TOML"),
        ("[other]", "lacks 'vgg16'"),
        ("vgg16 = 3", "not like the ones in sources.toml"),
        ("[vgg16]\nwhat = ''\npage = ''\nfiles = [{name = 'v'}]", "lacks 'urls'"),
        ("[vgg16]\nwhat = ''\npage = ''\nfiles = [{name = 'v', urls = [], typo = 1}]", "not like the ones"),
    ],
)
def test_bad_tables(run, sources: Path, tmp_path: Path, capsys, text: str, sentence: str) -> None:
    sources.write_text(text)
    assert run("vgg16", tmp_path / "v") == 1
    assert sentence in capsys.readouterr().err


def test_read_only_target(site: Site, run, capsys) -> None:
    site.files["/v"] = BODY
    assert run("vgg16", Path("/proc/self/v"), "--url", f"{site.root}/v") == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.fuzz
@given(data=st.data())
def test_any_table_is_read_or_gets_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    """The table that ships, with a value of another kind in it, or with bytes changed."""
    text = fetch.SOURCES.read_text()
    values = (
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)
    )
    if data.draw(st.booleans()):
        key = data.draw(st.sampled_from(["name", "urls", "bytes", "sha256", "keep", "at_least", "page"]))
        text = re.sub(
            rf"(?m)^{key} = (\[[^]]*\]|.*)$", lambda _: f"{key} = {json.dumps(data.draw(values))}", text
        )
        content = text.encode(errors="surrogatepass")
    else:
        content = bytearray(text.encode())
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(content)))
            content[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=4))
    path = tmp_path / "table.toml"
    path.write_bytes(content)
    for name in ("oxford5k-gt", "vgg16"):
        try:
            thing = read_thing(path, name)
        except ValueError as error:
            assert str(path) in str(error)
            continue
        for file in thing.files:
            assert Path(file.name).name == file.name and isinstance(file.bytes, int | None)
            assert all(isinstance(url, str) for url in file.urls)


def test_a_table_nested_too_deep(tmp_path: Path) -> None:
    path = tmp_path / "table.toml"
    path.write_text("a = " + "[" * 100_000)
    with pytest.raises(ValueError, match="is no TOML"):
        read_thing(path, "vgg16")


# A mirror of one's own, for a whole run


@pytest.mark.parametrize("end", ["", "/"])
def test_a_mirror_is_asked_before_the_published_address(
    site: Site, run, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """It has the weights; of the pictures only the published address has the archive."""
    archive = tgz({f"{i}.jpg": jpg(i) for i in range(3)})
    site.files |= {"/near/v.caffemodel": BODY, "/far/images.tgz": archive, "/far/v": b"not asked for"}
    text = sources.read_text().replace(
        'name = "images.tgz", urls = []', f'name = "images.tgz", urls = ["{site.root}/far/images.tgz"]'
    )
    sources.write_text(
        text.replace(
            'name = "v.caffemodel", urls = []', f'name = "v.caffemodel", urls = ["{site.root}/far/v"]'
        )
    )
    monkeypatch.setenv("DATA_URL", f"{site.root}/near{end}")
    assert run("vgg16", tmp_path / "v") == 0
    assert (tmp_path / "v").read_bytes() == BODY
    assert run("oxford5k-images", tmp_path / "jpg") == 0
    assert names(tmp_path / "jpg") == {"0.jpg", "1.jpg", "2.jpg"}


def test_what_a_mirror_has_in_part_comes_from_the_published_address(
    site: Site, run, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """An archive without the pictures that it should hold; else the mirror would be asked for it for ever."""
    whole = tgz({f"{i}.jpg": jpg(i) for i in range(3)})
    site.files |= {"/near/images.tgz": tgz({"readme": b"x"}), "/far/images.tgz": whole}
    text = sources.read_text()
    sources.write_text(
        text.replace(
            'name = "images.tgz", urls = []', f'name = "images.tgz", urls = ["{site.root}/far/images.tgz"]'
        )
    )
    monkeypatch.setenv("DATA_URL", f"{site.root}/near")
    assert run("oxford5k-images", tmp_path / "jpg") == 0
    assert names(tmp_path / "jpg") == {"0.jpg", "1.jpg", "2.jpg"}
    assert "0 .jpg inside" in (said := capsys.readouterr().out) and "again, without DATA_URL" in said
    assert run("oxford5k-images", tmp_path / "other", "--url", f"{site.root}/near/images.tgz") == 1


# Two at once, and interrupted


def test_two_downloads_of_one_file_cannot_mix(site: Site, run, tmp_path: Path, capsys) -> None:
    """The second one is told who holds the file; one that was killed holds nothing."""
    site.files["/v"] = BODY
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v"
        words = ["vgg16", "--out", tmp_path / "v", "--sources", tmp_path / "sources.toml", "--url", url]
        first = subprocess.Popen([sys.executable, "-m", "data_prep.fetch", *words], cwd=ROOT, stderr=-1)
        connection, _ = listening.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY[:1000])
            assert run("vgg16", tmp_path / "v", "--url", f"{site.root}/v") == 1
            said = capsys.readouterr().err
            assert said == (
                f"fetch: {tmp_path}/v is being fetched by process {first.pid} on {socket.gethostname()} just"
                " now: wait for that one\n"
            )
            first.kill()
            first.communicate()
    assert run("vgg16", tmp_path / "v", "--url", f"{site.root}/v") == 0
    assert (tmp_path / "v").read_bytes() == BODY
    assert names(tmp_path) == {"v", "sources.toml"}


def test_a_lock_is_let_go_of(tmp_path: Path) -> None:
    refused = pytest.raises(OSError, match="is being fetched by process")
    for _ in range(2):
        with held(tmp_path / "a", tmp_path / "b"), refused, held(tmp_path / "b"):
            raise AssertionError
    assert names(tmp_path) == set()


def test_a_file_system_without_locks(
    site: Site, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(errno.ENOLCK, "No locks available")))
    site.files["/v"] = BODY
    assert run("vgg16", tmp_path / "v", "--url", f"{site.root}/v") == 0
    assert names(tmp_path) == {"v", "sources.toml"}


def test_a_body_without_an_end_is_cut_off(site: Site, run, tmp_path: Path, capsys) -> None:
    site.files["/v"] = BODY + b"more"
    site.told_size = False
    assert run("vgg16", tmp_path / "v", "--url", f"{site.root}/v") == 1
    assert "more than 300,000 bytes came, without an end" in capsys.readouterr().err


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><title>Log in</title>", pickle.dumps(Path("x")), b""])
def test_ground_truth_that_is_no_plain_pickle(site: Site, tmp_path: Path, capsys, body: bytes) -> None:
    site.files["/gnd_roxford5k.pkl"] = body
    words = ["roxford5k-gt", "--out", str(tmp_path / "gnd.pkl"), "--url", f"{site.root}/"]
    assert fetch.main(words) == 1
    said = capsys.readouterr().err
    assert "what came is no pickle" in said or "what came is refused: the name pathlib" in said
    assert names(tmp_path) == set()


def test_revisited_ground_truth(site: Site, tmp_path: Path) -> None:
    site.files["/gnd_rparis6k.pkl"] = pickle.dumps(
        {"imlist": ["a"], "qimlist": ["b"], "gnd": [{"bbx": [1.0]}]}
    )
    words = ["rparis6k-gt", "--out", str(tmp_path / "gnd.pkl"), "--url", f"{site.root}/"]
    assert fetch.main(words) == 0
    assert (tmp_path / "gnd.pkl").read_bytes() == site.files["/gnd_rparis6k.pkl"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("thing", ["vgg16", "landmarks"])
def test_interruption_leaves_nothing_half_made(tmp_path: Path, thing: str, number: int, status: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/x"
        (tmp_path / "urls.txt").write_text(f"{url} one")
        options = ["--url", url] if thing == "vgg16" else ["--urls", str(tmp_path / "urls.txt")]
        command = [sys.executable, "-m", "data_prep.fetch", thing, "--out", str(tmp_path / "out"), *options]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        connection, _ = listening.accept()
        with connection:
            connection.recv(1000)
            size = 553432081 if thing == "vgg16" else 1000
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nstart" % size)
            time.sleep(0.2)
            process.send_signal(number)
            said = process.communicate(timeout=120)[1]
    assert process.returncode == status
    assert "Traceback" not in said
    assert not (tmp_path / "out").is_file()
    assert [path for path in (tmp_path / "out").glob("**/*") if path.is_file()] == []
    if thing == "vgg16":
        assert (tmp_path / "out.part").read_bytes() == b"start"
