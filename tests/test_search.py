"""One's own photographs: the index that grows with a folder, and ./search.sh from a shell to the page."""

import fcntl
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from playwright.sync_api import Browser, expect
from search_page import PATIENCE, ROOT, Server, names_shown, serve
from small_run import SmallRun, draw
from test_serve import as_file

import eval.index
from eval.search import making
from eval.search.album import ALSO_READ, look_through
from eval.search.index_file import read_contents
from eval.search.journal import Journal
from eval.search.making import Making, take_in
from eval.search.networks import RECIPES
from tools.files.picture_names import FORMAT_OF_SUFFIX
from tools.program import StopError

pytest_plugins = ("small_run",)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five photographs, some in a folder of their own, two of one stem, one HEIC, one with odd blanks."""
    mine = tmp_path / "my photographs"
    (mine / "2024").mkdir(parents=True)
    names = {"a.jpg": "JPEG", "a.png": "PNG", "2024/b.heic": "HEIF", "2024/c.JPG": "JPEG"}
    names[" 9\u202f41 Uhr.jpg"] = "JPEG"
    for seed, (name, kind) in enumerate(names.items()):
        (mine / name).write_bytes(as_file(draw(seed % 3, seed), kind))
    return mine


NAMES = ["./ 9\u202f41 Uhr.jpg", "2024/b.heic", "2024/c.JPG", "a.jpg", "a.png"]


def weights_of(run: SmallRun) -> Path:
    return run.work / "data" / "pre.caffemodel"


def making_of(run: SmallRun, folder: Path, **changes: object) -> Making:
    network = RECIPES["demo"].network(weights_of(run))
    settings = {"out": folder.with_name("index.h5"), "network": network, "model": "demo", "jobs": 1}
    return Making(folder, **(settings | changes))


def rows(path: Path) -> dict[str, np.ndarray]:
    """The R-MAC of each photograph in an index."""
    with h5py.File(path) as file:
        names = file["database/names"].asstr()[:]
        return dict(zip(names, file["database/pool5_rmac"][:], strict=True))


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are computed, as they are written down."""
    found: list[str] = []
    add = Journal.add

    def spy(self: Journal, file: str, stamp: str, done: np.ndarray | str) -> None:
        add(self, file, stamp, done)
        found.append(file)

    monkeypatch.setattr(Journal, "add", spy)
    return found


def test_only_what_is_new_or_changed_is_computed(small_run: SmallRun, folder: Path, added: list[str]) -> None:
    asked = making_of(small_run, folder)
    first = take_in(asked)
    assert (first.photographs, first.computed, first.removed, first.left_out) == (5, 5, 0, [])
    before = rows(asked.out)
    assert list(before) == NAMES and sorted(added) == NAMES
    assert np.linalg.norm(before["a.jpg"]) > 0

    added.clear()
    written = asked.out.stat().st_ino
    again = take_in(asked)
    assert (again.computed, added, asked.out.stat().st_ino) == (0, [], written)

    (folder / "a.png").unlink()
    (folder / "d.jpg").write_bytes(as_file(draw(1, 40), "JPEG"))
    (folder / "2024/c.JPG").write_bytes(as_file(draw(2, 41), "JPEG"))
    third = take_in(asked)
    assert (third.photographs, third.computed, third.removed) == (5, 2, 1)
    assert sorted(added) == ["2024/c.JPG", "d.jpg"]
    after = rows(asked.out)
    assert list(after) == ["./ 9\u202f41 Uhr.jpg", "2024/b.heic", "2024/c.JPG", "a.jpg", "d.jpg"]
    fresh = making_of(small_run, folder, out=folder.with_name("fresh.h5"))
    take_in(fresh)
    for name, row in rows(fresh.out).items():
        assert (after[name] == row).all(), name
    assert not list(folder.parent.glob("*.part"))


def test_stopped_it_goes_on_where_it_was(
    small_run: SmallRun, folder: Path, added: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = making_of(small_run, folder)

    def check() -> None:
        if added:  # one or more: how many come in between two checks is up to the machine
            raise StopError

    with monkeypatch.context() as patched, pytest.raises(StopError):
        patched.setattr(StopError, "number", None)
        patched.setattr(StopError, "check", check)
        take_in(asked)
    assert not asked.out.exists() and added
    (folder / "new.jpg").write_bytes(as_file(draw(1, 50), "JPEG"))  # what was done is done all the same
    take_in(asked)
    assert sorted(added) == sorted([*NAMES, "new.jpg"])
    assert len(rows(asked.out)) == 6
    assert read_contents(asked.out).stamps.keys() == rows(asked.out).keys()


def test_killed_it_goes_on_where_it_was(small_run: SmallRun, folder: Path) -> None:
    for seed in range(60):
        (folder / f"more {seed}.jpg").write_bytes(as_file(draw(seed % 3, 100 + seed), "JPEG"))
    out = folder.with_name("index.h5")
    words = ["python", "-m", "eval.index", folder, "--network", "demo", "--weights", weights_of(small_run)]
    command = [*map(str, words), "--out", str(out), "--jobs", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    journal = out.with_name("index.h5.part")
    deadline = time.monotonic() + 120
    while not journal.exists() and not out.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "65 photographs, 65 of them new" in done.stdout
    assert len(rows(out)) == 65 and not journal.exists()


def test_what_can_t_be_searched_is_left_out_and_named(
    small_run: SmallRun, folder: Path, added: list[str], capsys: pytest.CaptureFixture
) -> None:
    whole = as_file(draw(0, 1), "JPEG")
    odd = {
        "empty.jpg": b"",
        "text.png": b"<html>",
        "broken.heic": as_file(draw(0, 1), "HEIF")[:200],
        "IMG_1.CR2": whole,
        "x.jxl": b"\xff\x0a",
        "line\nbreak.jpg": whole,
    }
    for name, content in odd.items():
        (folder / name).write_bytes(content)
    cv2.imwrite(str(folder / "narrow.png"), np.zeros((2, 9000, 3), np.uint8))
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")).write_bytes(whole)
    (folder / "nowhere.jpg").symlink_to(folder / "not there.jpg")
    (folder / "folder.jpg").mkdir()
    for hidden in (".hidden.jpg", "@eaDir/a.jpg", ".thumbs/a.jpg"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / hidden).write_bytes(whole)
    for other in ("film.mp4", "notes.txt", "Thumbs.db"):
        (folder / other).write_bytes(b"x")
    out = folder.with_name("index.h5")
    command = [str(folder), "--network", "demo", "--weights", str(weights_of(small_run)), "--out", str(out)]
    assert eval.index.main([*command, "--jobs", "2"]) == 0
    assert list(rows(out)) == NAMES
    said = capsys.readouterr()
    assert "9 left out" in said.out and "toy network" in said.err
    for name, why in {
        "empty.jpg": "is empty",
        "text.png": "is not a picture",
        "broken.heic": "broken HEIC",
        "IMG_1.CR2": "raw file",
        "x.jxl": "JPEG XL",
        "line\\nbreak.jpg": "line break",
        "narrow.png": "too narrow",
        "caf\\udce9.jpg": "not UTF-8",
        "nowhere.jpg": "leads nowhere",
    }.items():
        assert any(name in line and why in line for line in said.out.splitlines()), (name, why, said.out)
    assert str(folder) not in said.out.split("left out")[1]
    added.clear()
    assert eval.index.main(command) == 0
    assert added == [] and "9 left out" in capsys.readouterr().out  # remembered, not tried again


def test_a_folder_that_links_to_itself_is_gone_through_once(folder: Path) -> None:
    (folder / "2024" / "round").symlink_to(folder)
    assert list(look_through(folder).stamps) == NAMES


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_left_out(folder: Path) -> None:
    (folder / "a.jpg").chmod(0)
    (folder / "2024").chmod(0)
    (folder / "link.jpg").symlink_to("2024/b.jpg")
    try:
        left_out = look_through(folder).left_out
    finally:
        (folder / "2024").chmod(0o700)
    assert {one.file for one in left_out} == {"a.jpg", "2024/", "link.jpg"}


def deadly(batch: making.Batch) -> dict[str, np.ndarray] | str:
    """making.attempt, where one photograph ends the process."""
    if batch.pictures[0].name == "a.png":
        os._exit(9)
    return real_attempt(batch)


real_attempt = making.attempt


def test_a_photograph_that_ends_the_process_is_left_out(
    small_run: SmallRun, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "attempt", deadly)
    outcome = take_in(making_of(small_run, folder, jobs=2))
    assert [one.file for one in outcome.left_out] == ["a.png"]
    assert "ended the process" in outcome.left_out[0].reason
    assert outcome.photographs == 4


def test_weights_that_don_t_fit_end_it_at_once(small_run: SmallRun, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.caffemodel").write_text("no")
    for recipe, weights in (("vgg16", weights_of(small_run)), ("demo", tmp_path / "text.caffemodel")):
        asked = making_of(small_run, folder, network=RECIPES[recipe].network(weights))
        with pytest.raises((ValueError, OSError), match=r"can't be used|Caffe stopped"):
            take_in(asked)
    assert not asked.out.exists() and not list(tmp_path.glob("*.part"))


def test_two_at_once_wait_for_each_other(small_run: SmallRun, folder: Path, added: list[str]) -> None:
    asked = making_of(small_run, folder)
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    thread = threading.Thread(target=take_in, args=[asked])
    thread.start()
    try:
        time.sleep(0.5)
        assert thread.is_alive() and added == []
    finally:
        os.close(descriptor)
    thread.join(PATIENCE / 1000)
    assert len(added) == 5 and asked.out.exists()


def test_bad_input_is_one_sentence_and_replaces_nothing(
    small_run: SmallRun, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    take_in(making_of(small_run, folder))
    index, other = tmp_path / "index.h5", tmp_path / "other"
    (other / "x").mkdir(parents=True)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "only.jpg").write_bytes(b"no")
    shutil.copytree(folder, tmp_path / "copy")
    features = shutil.copy(small_run.work / "features" / "pretrained.h5", tmp_path)
    kept = {file: file.read_bytes() for file in (index, Path(features))}
    own = ["--network", "demo", "--weights", weights_of(small_run), "--jobs", "1"]
    foreign = ["--network", "demo", "--weights", small_run.work / "models" / "finetuned.caffemodel"]
    cases = [
        ([tmp_path / "nowhere", *own], "no folder"),
        ([folder, "--network", "demo", "--weights", tmp_path / "none"], "no weights"),
        ([folder, "--network", "demo"], "name the network's weights"),
        ([other, *own], "holds no photographs"),
        ([tmp_path / "broken", *own], "no photograph that can be searched (only.jpg: is not a picture"),
        ([folder, *foreign, "--out", index], "made with other weights"),
        ([tmp_path / "copy", *own, "--out", index], f"is an index of {folder}"),
        ([folder, *own, "--out", features], "no index of photographs"),
        ([folder, *own, "--out", "/proc/1/x.h5"], "name another file for the index"),
        ([folder, *own, "--out", weights_of(small_run)], "can't be read as HDF5"),
    ]
    for words, sentence in cases:
        assert eval.index.main([str(word) for word in words]) == 1
        said = capsys.readouterr().err.splitlines()
        assert sentence in said[-1] and said[-1].startswith("index: "), said
        assert [line for line in said if "toy network" not in line and "indexing:" not in line] == said[-1:]
    assert kept == {file: file.read_bytes() for file in kept}


def test_without_the_weights_an_index_stays_as_it_is(
    small_run: SmallRun, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    weights = shutil.copy(weights_of(small_run), tmp_path / "mine.caffemodel")
    index = tmp_path / "index.h5"
    words = [str(folder), "--network", "demo", "--out", str(index), "--jobs", "1"]
    assert eval.index.main([*words, "--weights", str(weights)]) == 0
    before = index.read_bytes()
    Path(weights).unlink()
    (folder / "new.jpg").write_bytes(as_file(draw(1, 60), "JPEG"))
    capsys.readouterr()
    assert eval.index.main(words) == 0
    assert "is gone: new photographs can't be taken in" in capsys.readouterr().err
    assert index.read_bytes() == before
    assert eval.index.main([*words, "--weights", str(weights_of(small_run))]) == 0  # the same elsewhere
    assert read_contents(index).attributes["weights"] == str(weights_of(small_run))
    assert len(rows(index)) == 6


def test_every_name_is_shown_and_searched(small_run: SmallRun, folder: Path, browser: Browser) -> None:
    odd = [
        "100% #1?.jpg",
        "a&b=c+d;e.jpg",
        "quote'\".jpg",
        "back\\slash.jpg",
        "<b>.jpg",
        "照片 \u3000.jpg",
        "%2e%2e.jpg",
    ]
    for seed, name in enumerate(odd):
        (folder / name).write_bytes(as_file(draw(seed % 3, 200 + seed), "JPEG"))
    asked = making_of(small_run, folder)
    assert take_in(asked).photographs == len(odd) + len(NAMES)
    server = serve("--features", asked.out)
    try:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        page.goto(server.url)
        shown = page.locator("#pictures button")
        expect(shown).to_have_count(len(odd) + len(NAMES))
        for place, name in enumerate(rows(asked.out)):
            expect(shown.nth(place).locator("img")).to_have_js_property("naturalWidth", 96)
            shown.nth(place).click()
            expect(page.locator("#what")).to_have_text(name)
            expect(page.locator("#results .score").first).to_have_text("1. 1.000")
            expect(page.locator("#results span").nth(1)).to_have_text(name)
            expect(page.locator("#x1")).to_have_value("")
            expect(page.locator("#error")).to_be_hidden()
            page.go_back()
        page.close()
    finally:
        server.stop()


# From a shell to the page


def shell(folder: Path) -> dict[str, str]:
    """The environment of somebody's shell: no `python`, no Caffe in reach; set-up is done."""
    kept = {name: os.environ[name] for name in ("HOME", "CAFFE_PREFIX", "CAFFE_VENV") if name in os.environ}
    return kept | {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


@pytest.fixture(scope="session")
def set_up() -> None:
    """Tests that ask for it skip where ./search.sh would install or build something first."""
    stamp = Path(os.environ.get("CAFFE_VENV", ROOT / ".venv")) / "requirements.txt"
    built = subprocess.run([ROOT / "tools" / "caffe" / "build.sh", "--check"], capture_output=True)
    if built.returncode or stamp.read_bytes() != (ROOT / "tools" / "requirements.txt").read_bytes():
        pytest.skip("tools/setup.sh --tests has something to do")


@pytest.fixture
def photographs(oxford_sample: Path, tmp_path: Path) -> Iterator[Path]:
    """Two photographs each of three buildings of Oxford, small, and two files that are none."""
    mine = tmp_path / "my photographs"
    mine.mkdir()
    for place in ("all_souls", "magdalen", "radcliffe_camera"):
        for file in sorted((oxford_sample / "jpg").glob(f"{place}_*"))[:2]:
            pixels = cv2.imread(str(file))
            cv2.imwrite(str(mine / file.name), cv2.resize(pixels, None, fx=0.3, fy=0.3))
    (mine / "cut.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (mine / "raw.nef").write_bytes(b"x")
    yield mine


@pytest.mark.usefixtures("set_up")
def test_the_users_way(photographs: Path, vgg16_maps: Path, browser: Browser) -> None:
    """From a shell in another folder: index, page, click, upload, box; then again, with changes."""
    weights = vgg16_maps / "vgg16.caffemodel"
    options = {"cwd": photographs.parent, "env": shell(photographs)}
    command = [ROOT / "search.sh", photographs.name, "--no-browser"]
    server = Server([*command, "--weights", weights], **options)
    try:
        said = "".join(server.said)
        assert said.startswith("search: ") and "6 photographs, 6 of them new" in said and "2 left out" in said
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        page.goto(server.url)
        expect(page.locator("#pictures li")).to_have_count(6)
        expect(page.locator("#left-out li")).to_have_count(2)
        page.set_input_files("#file", sorted(photographs.glob("*.jpg"))[-1])
        assert len(names_shown(page)) == 6
        expect(page.locator("#results img").first).to_be_in_viewport(ratio=1)
        expect(page.locator("#results .score").first).to_have_text("1. 1.000")
        canvas = page.locator("#canvas")
        expect(page.locator("#whole")).to_be_disabled()
        area = canvas.bounding_box()
        page.mouse.move(area["x"] + 5, area["y"] + 5)
        page.mouse.down()
        page.mouse.move(area["x"] + 100, area["y"] + 90)
        page.mouse.up()
        expect(page.locator("#results .score").first).not_to_have_text("1. 1.000")
        assert len(names_shown(page)) == 6
        page.close()
    finally:
        assert server.stop() is not None
    assert {file.name for file in photographs.parent.iterdir()} >= {"my photographs", "my photographs.h5"}

    first = sorted(photographs.glob("*.jpg"))[0]
    first.rename(photographs / "renamed.jpg")
    again = Server(command, **options)  # the index knows its weights
    try:
        assert "6 photographs, 1 of them new or changed, 1 removed" in "".join(again.said)
        status, answer = again.search(
            model="vgg16", representation="pool5_rmac", name="renamed.jpg", box=[5, 5, 90, 90]
        )
        assert status == 200 and len(answer["results"]) == 6
    finally:
        again.stop()


@pytest.mark.usefixtures("set_up")
@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        ([], 2, "name the folder"),
        (["--help"], 0, "Usage: ./search.sh DIR"),
        (["nowhere"], 1, "there is no folder nowhere"),
        ([".", "--weights", "no/ne.caffemodel"], 1, "there are no weights no/ne.caffemodel"),
        ([".", "--network", "vgg19"], 2, "vgg16 or demo, not vgg19"),
        ([".", "--port"], 2, "--port needs a value"),
        ([".", "--colour"], 2, "unknown option --colour (see --help)"),
        ([".", "--weigths", "x"], 2, "unknown option --weigths (did you mean --weights?)"),
        ([".", "--port", "65536"], 2, "--port takes a number from 0 to 65535, not 65536"),
        ([".", "--jobs", "0"], 2, "--jobs takes a number from 1 up, not 0"),
        ([".", "--gpu", "x"], 2, "--gpu takes numbers such as 0,1, not x"),
        ([".", "--index", "."], 1, "--index takes a file"),
        ([".", ".."], 2, "one folder"),
        ([".", "--network", "demo"], 1, "trained by ./run_all.sh"),
        (["."], 1, "holds no photographs"),
    ],
)
def test_what_is_wrong_is_said_first(tmp_path: Path, words: list[str], status: int, sentence: str) -> None:
    environment = shell(tmp_path) | {"WORK_DIR": str(tmp_path)}
    done = subprocess.run(
        [ROOT / "search.sh", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == status and sentence in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def said_before_set_up(folder: Path, *words: object, **more: str) -> list[str]:
    """What a search that can't be ends with, on a machine where set-up would fail."""
    environment = shell(folder) | {"CAFFE_VENV": "/dev/null/venv"} | more
    command = [ROOT / "search.sh", *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_all_that_is_wrong_is_said_at_once_and_before_set_up(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        said = said_before_set_up(tmp_path, "a", "--index", "file/b.h5", "--port", port, "--weights", "file")
    assert said == [
        f"search: {tmp_path}/a holds no photographs (JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP, PPM, GIF)",
        f"search: the index can't be written to {tmp_path}/file/b.h5: "
        "name another place, such as --index ~/b.h5",
        f"search: {tmp_path}/file is empty or can't be read",
        f"search: port {port} is in use: name another one with --port, or none",
    ]


def test_a_place_that_can_t_be_written_is_said_before_set_up(tmp_path: Path) -> None:
    """/proc takes no files, whoever asks: as the folder beside a card's, or for a download."""
    (tmp_path / "a.jpg").write_text("x")
    said = said_before_set_up(tmp_path, ".", "--index", "/proc/new/a.h5", DATA_DIR="/proc/new")
    assert [line.partition(":")[2].split("/proc")[0] for line in said] == [
        " the index can't be written to ",
        " VGG16's weights can't be downloaded to ",
    ]


@pytest.mark.parametrize("suffix", [*sorted({*FORMAT_OF_SUFFIX} | ALSO_READ), ".JPG", ".txt", ".nef", ""])
def test_the_shell_knows_what_the_index_takes(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    (tmp_path / "in" / "deeper" / f"a.b{suffix}").write_text("x")
    (tmp_path / "in" / ".thumbnails").mkdir()
    (tmp_path / "in" / ".thumbnails" / "a.jpg").write_text("x")
    said = said_before_set_up(tmp_path, "in", "--weights", "none")
    taken = suffix.lower() in {*FORMAT_OF_SUFFIX} | ALSO_READ
    assert len(said) == (1 if taken else 2)


@pytest.mark.usefixtures("set_up")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--host", "192.0.2.1"], "192.0.2.1:8000"),  # nobody's address (RFC 5737)
        (["--gpu", "0"], "-gpu"),
    ],
)
def test_what_only_programs_can_tell_is_said_before_the_index(
    photographs: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has GPUs")
    (tmp_path / "weights").write_text("x")
    done = subprocess.run(
        [ROOT / "search.sh", photographs, "--weights", tmp_path / "weights", *words],
        env=shell(tmp_path), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert sentence in done.stderr.splitlines()[-1] and "index:" not in done.stdout


@pytest.mark.usefixtures("set_up")
def test_without_weights_and_network_it_says_what_to_put_where(photographs: Path, tmp_path: Path) -> None:
    """Nothing listens where the proxy is said to be."""
    environment = shell(tmp_path) | {"DATA_DIR": str(tmp_path / "data"), "http_proxy": "http://127.0.0.1:9"}
    environment["https_proxy"] = environment["http_proxy"]
    done = subprocess.run(
        [ROOT / "search.sh", photographs], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"search: put VGG_ILSVRC_16_layers.caffemodel to {tmp_path}/data/")
    assert "553" in done.stderr and "http://www.robots.ox.ac.uk" in done.stderr
