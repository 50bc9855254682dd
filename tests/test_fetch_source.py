"""fetch_source.sh, fetch_onednn.sh: the first place that has the file gives it, and it is that or none."""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PREFIX = Path(os.environ.get("CAFFE_PREFIX", ROOT / ".caffe"))
TARBALL = "caffe_1.0.0+git20180821.99bd997.orig.tar.gz"
FILES = {
    "src/caffe/proto/caffe.proto": "message",
    "include/caffe/caffe.hpp": "#pragma once",
    "python/caffe/a b.py": "pass",
    "tools/caffe.cpp": "int main() {}",
    "examples/images/cat.jpg": "a cat",
    "docs/index.md": "not compiled",
}
COMPILED = ("include/", "python/", "src/", "tools/", "examples/images/")


def write_tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def read_tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def packed(tarball: Path, tree: Path, top: str = ".") -> Path:
    with tarfile.open(tarball, "w:gz") as file:
        file.add(tree, top)
    return tarball


def content_of(files: dict[str, str]) -> str:
    """The definition: sha256 of what sha256sum prints of the compiled files in the order of their bytes."""
    lines = [
        f"{hashlib.sha256(files[name].encode()).hexdigest()}  {name}\n"
        for name in sorted(files, key=os.fsencode)
        if name.startswith(COMPILED)
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """The first part of the path says how to answer."""

    good: Path
    packed_otherwise: Path
    more: dict[str, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        """Answer as asked."""
        how = self.path.split("/")[1]
        self.asked.append(how)
        if how in ("404", "403"):
            self.send_error(int(how))
        elif how == "onwards":
            self.send_response(301)
            self.send_header("Location", f"/onwards/{len(self.asked)}{self.path}"[:200])
            self.end_headers()
        elif how in ("good", "otherwise", "wrong", "cut"):
            body = (
                self.more.get(Path(self.path).name)
                or (self.packed_otherwise if how == "otherwise" else self.good).read_bytes()
            )
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"<html>maintenance</html>".ljust(len(body)) if how == "wrong" else
                             body[: len(body) // (2 if how == "cut" else 1)])  # fmt: skip
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Places:
    """The scripts with the test's own files pinned, and their places on a loopback server."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tree = folder, write_tree(folder / "upstream", FILES)
        Handler.good = packed(folder / "debian.tar.gz", self.tree)
        Handler.packed_otherwise = packed(folder / "bvlc.tar.gz", self.tree, "caffe-99bd997")
        Handler.asked, Handler.more = [], {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.prefix, self.out = folder / "prefix", folder / "out"
        self.downloads = self.prefix / "downloads"

    def run(self, mirror: str, *archives: str, bvlc: str = "404", **environment: str):
        """Run the script; ways of answering for the mirror, Debian's two archives, and BVLC."""
        script = self.script("fetch_source.sh", {
            r"^sha256=\w+": f"sha256={hashlib.sha256(Handler.good.read_bytes()).hexdigest()}",
            r"^content=\w+": f"content={content_of(FILES)}",
            r"^bvlc=.*": f"bvlc={self.address}/{bvlc}",
        })  # fmt: skip
        return self.run_script(script, mirror, *archives, **environment)

    def script(self, name: str, values: dict[str, str]) -> Path:
        """A copy of a script with what these patterns match replaced."""
        text = (ROOT / "tools" / "caffe" / name).read_text()
        for pattern, value in values.items():
            text, count = re.subn(pattern, value, text, flags=re.MULTILINE)
            assert count
        copy = self.folder / "tools/caffe" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text)
        return copy

    def run_script(
        self, script: Path, mirror: str, archive: str = "404", snapshots: str = "404", **environment: str
    ):
        """Run it with these ways of answering."""
        self.script("sources.sh", {})
        self.script("places.sh", {
            r"^debian_archive=.*": f"debian_archive={self.address}/{archive}",
            r"^debian_snapshots=.*": f"debian_snapshots={self.address}/{snapshots}",
            r"Timeout=20": "Timeout=1",
            r"--foreground 600": "--foreground 10",
        })  # fmt: skip
        clean = {
            name: value
            for name, value in os.environ.items()
            if name.lower() not in ("http_proxy", "https_proxy", "all_proxy", "caffe_source")
        }
        return subprocess.run(
            ["bash", script, self.out, mirror if ":" in mirror else f"{self.address}/{mirror}"],
            env=clean | {"CAFFE_PREFIX": str(self.prefix)} | environment,
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    if not Path("/usr/lib/apt/apt-helper").exists():
        pytest.skip("no apt here")
    made = Places(tmp_path)
    thread = threading.Thread(target=made.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/debian"


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/debian"


@pytest.mark.parametrize(
    ("mirror", "reason"),
    [
        ("404", "404 +Not Found"),
        ("403", "403 +Forbidden"),
        ("wrong", "a file of another sha256 than the pinned one"),
        ("cut", "."),
        ("empty", "."),
        ("closed", "Could not connect|Unable to connect"),  # Debian 12's apt, and 13's
        ("silent", "Connection failed|timed out"),
        ("onwards", "not there after 10 minutes"),
    ],
)
def test_a_place_that_has_it_not_is_said_in_a_line_and_the_next_one_asked(places, mirror, reason) -> None:
    with silent_server() as silent:
        address = {"silent": silent, "closed": closed_port()}.get(mirror, mirror)
        done = places.run(address, "good", "good")
    assert done.returncode == 0, done.stderr
    assert read_tree(places.out) == FILES
    shown = address if ":" in address else f"{places.address}/{mirror}"
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert re.fullmatch(
        rf"fetch_source: {re.escape(shown)}/pool/main/c/caffe/{re.escape(TARBALL)}: .*({reason}).*", lines[0]
    )
    assert Handler.asked.count("good") == 1
    assert (places.downloads / TARBALL).read_bytes() == Handler.good.read_bytes()


def test_bvlc_s_own_tarball_counts_by_its_contents(places) -> None:
    done = places.run("404", "404", "403", bvlc="otherwise")
    assert done.returncode == 0, done.stderr
    assert read_tree(places.out) == FILES
    assert len(done.stderr.splitlines()) == 3
    assert [path.name for path in places.downloads.iterdir()] == ["caffe-99bd997.tar.gz"]


@pytest.mark.parametrize("changed", ["src/caffe/proto/caffe.proto", "python/caffe/new.py"])
def test_a_source_with_a_file_changed_or_more_is_refused(places, changed) -> None:
    write_tree(places.tree, {changed: "otherwise"})
    packed(Handler.packed_otherwise, places.tree, "caffe-99bd997")
    done = places.run("404", bvlc="otherwise")
    assert done.returncode == 1
    assert f"{places.address}/otherwise: not the source of Caffe 99bd997\n" in done.stderr
    assert not list(places.out.iterdir()) and not list(places.downloads.iterdir())


def test_a_link_in_the_place_of_a_file_is_refused(places) -> None:
    """What is compiled is looked at through links, and no link adds a file."""
    (places.tree / "docs" / "more.cpp").write_text("int more;")
    (places.tree / "src" / "caffe" / "more.cpp").symlink_to("../../docs/more.cpp")
    packed(Handler.packed_otherwise, places.tree, "caffe-99bd997")
    assert places.run("404", bvlc="otherwise").returncode == 1


def test_where_nothing_has_it_the_last_line_says_what_to_do(places) -> None:
    done = places.run("404", "wrong", "403", bvlc="404")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 5
    assert f"put {TARBALL} from a machine that can fetch it into {places.downloads}" in lines[-1]
    assert "CAFFE_SOURCE" in lines[-1] and "--mirror" in lines[-1]
    assert not list(places.out.iterdir()) and not list(places.folder.glob("out.*"))


def test_what_was_fetched_is_kept_and_one_put_there_by_hand_will_do(places) -> None:
    assert places.run("good").returncode == 0
    shutil.rmtree(places.out)
    again = places.run("404")
    assert (again.returncode, again.stderr) == (0, "")
    assert Handler.asked == ["good"]
    shutil.rmtree(places.downloads)
    places.downloads.mkdir()
    shutil.rmtree(places.out)
    packed(places.downloads / "from my other machine.tgz", places.tree, "some folder")
    by_hand = places.run("404")
    assert (by_hand.returncode, by_hand.stderr) == (0, "")
    assert read_tree(places.out) == FILES


def test_a_wrong_file_put_there_by_hand_is_named_and_stays(places) -> None:
    places.downloads.mkdir(parents=True)
    cut = places.downloads / "caffe.tar.gz"
    cut.write_bytes(Handler.good.read_bytes()[:100])
    done = places.run("good")
    assert done.returncode == 0
    assert done.stderr == f"fetch_source: {cut}: not the source of Caffe 99bd997, or cut off\n"
    assert cut.stat().st_size == 100 and (places.downloads / TARBALL).exists()


def test_a_source_of_ones_own_is_taken_as_it_is(places) -> None:
    write_tree(places.tree, {"src/caffe/mine.cpp": "mine"})
    tarball = packed(places.folder / "mine.tar.gz", places.tree, "caffe-mine")
    for own in (places.tree, tarball):
        done = places.run("404", CAFFE_SOURCE=str(own))
        assert (done.returncode, done.stderr) == (0, "")
        assert read_tree(places.out) == FILES | {"src/caffe/mine.cpp": "mine"}
        shutil.rmtree(places.out)
    assert Handler.asked == []


@pytest.mark.parametrize(
    ("own", "said"),
    [("gone", "does not exist"), ("a.txt", "is no tarball of Caffe"), ("empty", "holds no Caffe")],
)
def test_a_source_of_ones_own_that_is_none(places, own, said) -> None:
    (places.folder / "a.txt").write_text("hello")
    (places.folder / "empty").mkdir()
    done = places.run("404", CAFFE_SOURCE=str(places.folder / own))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and said in done.stderr


def test_a_folder_that_is_not_empty_is_left_alone(places) -> None:
    write_tree(places.out, {"mine": "x"})
    done = places.run("good")
    assert (done.returncode, done.stderr) == (1, f"fetch_source: {places.out} is not empty\n")
    assert read_tree(places.out) == {"mine": "x"}


def stand_in(places: Places, name: str, script: str) -> str:
    """PATH with a program of that name before all others."""
    program = places.folder / "path" / name
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize("own", [True, False])
def test_stopped_at_its_last_step_it_has_made_nothing_and_goes_on(places, own) -> None:
    path = stand_in(
        places, "mv", f'case "$*" in *{places.out}) kill -9 $PPID; exit 1;; esac\nexec /bin/mv "$@"'
    )
    environment = {"CAFFE_SOURCE": str(places.tree)} if own else {}
    stopped = places.run("good", PATH=path, **environment)
    assert stopped.returncode == -signal.SIGKILL
    assert not places.out.exists() or not list(places.out.iterdir())
    again = places.run("good", **environment)
    assert (again.returncode, again.stderr, read_tree(places.out)) == (0, "", FILES)


def test_a_full_disk_is_not_called_a_wrong_source(places) -> None:
    places.downloads.mkdir(parents=True)
    shutil.copy(Handler.good, places.downloads / TARBALL)
    path = stand_in(places, "tar", "echo tar: x: Cannot write: No space left on device >&2; exit 2")
    done = places.run("good", PATH=path)
    assert done.returncode == 1 and Handler.asked == []
    kept = places.downloads / TARBALL
    assert done.stderr == f"fetch_source: no room to unpack {kept} beside {places.out}: its disk is full\n"
    assert kept.read_bytes() == Handler.good.read_bytes()


def test_the_edits_apply_to_bvlc_s_own_tree(tmp_path: Path) -> None:
    """As its tarball unpacks it: under a folder, without Debian's patches."""
    kept = next(iter((PREFIX / "downloads").glob("*.tar.*")), None)
    if kept is None:
        pytest.skip(f"no tarball in {PREFIX}/downloads: this Caffe was not built here")
    tree = tmp_path / "tree"
    tree.mkdir()
    subprocess.run(["tar", "-xf", kept, "-C", tree], check=True)
    top = next(tree.rglob("src/caffe/proto/caffe.proto")).parents[3]
    (tmp_path / "prefix" / "downloads").mkdir(parents=True)
    packed(tmp_path / "prefix/downloads/caffe-99bd997.tar.gz", top, "caffe-99bd997")
    done = subprocess.run(
        [ROOT / "tools/caffe/fetch_source.sh", tmp_path / "out", closed_port()],
        env=os.environ | {"CAFFE_PREFIX": str(tmp_path / "prefix"), "CAFFE_SOURCE": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    subprocess.run([ROOT / "tools/caffe/apply_edits.sh", tmp_path / "out"], check=True)


PACKAGES = ("libdnnl2_2.6.3-1_amd64.deb", "libdnnl-dev_2.6.3-1_amd64.deb")


@pytest.fixture
def onednn(places: Places) -> tuple[Places, Path]:
    """Two packages as Debian's are, and the script with their sums pinned."""
    sums = {}
    for name in PACKAGES:
        package, tree = name.partition("_")[0], places.folder / "packages" / name
        control = f"Package: {package}\nVersion: 2\nArchitecture: all\nMaintainer: me\nDescription: one\n"
        write_tree(tree, {"DEBIAN/control": control, f"usr/{package}": package})
        subprocess.run(["dpkg-deb", "--build", tree, places.folder / name], check=True, capture_output=True)
        Handler.more[name] = (places.folder / name).read_bytes()
        sums[rf"^ *\[{re.escape(name)}\]=\w+"] = (
            f"    [{name}]={hashlib.sha256(Handler.more[name]).hexdigest()}"
        )
    return places, places.script("fetch_onednn.sh", sums)


def test_onednn_comes_from_the_first_place_that_has_it_and_stays(onednn) -> None:
    places, script = onednn
    done = places.run_script(script, "404", "wrong", "good")
    assert done.returncode == 0, done.stderr
    assert read_tree(places.out) == {"usr/libdnnl2": "libdnnl2", "usr/libdnnl-dev": "libdnnl-dev"}
    said = done.stderr.splitlines()
    assert len(said) == 4  # of each package, the mirror and the archive
    assert sum("a file of another sha256 than the pinned one" in line for line in said) == 2
    assert {path.name for path in places.downloads.iterdir()} == set(PACKAGES)
    shutil.rmtree(places.out)
    Handler.asked.clear()
    again = places.run_script(script, "404")
    assert (again.returncode, again.stderr, Handler.asked) == (0, "", [])


def test_without_onednn_the_last_line_says_what_to_do_and_nothing_is_half_made(onednn) -> None:
    places, script = onednn
    done = places.run_script(script, "cut", "403", "empty")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("fetch_onednn: none of these has Debian 12's oneDNN: put ")
    assert all(name in last for name in PACKAGES) and str(places.downloads) in last
    assert not list(places.out.iterdir()) and not list(places.folder.glob("out.*"))
    assert not list(places.downloads.iterdir())


def test_a_package_put_there_that_is_cut_off_is_named_and_fetched(onednn) -> None:
    places, script = onednn
    cut = places.downloads / PACKAGES[0]
    write_tree(places.downloads, {PACKAGES[0]: "!<arch>"})
    done = places.run_script(script, "good")
    assert done.returncode == 0
    assert done.stderr == (f"fetch_onednn: {cut}: a file of another sha256 than the pinned one, or cut off\n")
    assert read_tree(places.out).keys() == {"usr/libdnnl2", "usr/libdnnl-dev"}


def test_caffe_s_source_is_not_looked_for_in_those_packages(places) -> None:
    write_tree(places.downloads, {PACKAGES[0]: "!<arch>"})
    assert places.run("good").stderr == ""
