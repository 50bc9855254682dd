"""The search page in a real browser and over HTTP, and eval.index, against rankings by definition."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from small_run import ROOT, SmallRun, draw

import eval.index
from eval.search.index import Index
from eval.serve import UPLOAD_MB, check_picture, main

pytest_plugins = ("small_run",)
PATIENCE = 120_000
FAR = "far away/green gate 4"


class Server:
    """eval.serve in a process of its own."""

    def __init__(self, *words: object) -> None:
        command = [sys.executable, "-m", "eval.serve", *map(str, words), "--port", "0"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        said = self.process.stdout.readline()
        assert "http://127.0.0.1:" in said, self.process.stderr.read()
        self.url = said.split(" at ")[1].split("/ ")[0]
        self.port = int(self.url.rsplit(":", 1)[1])

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request, its path sent as it is; status, headers and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()

    def search(self, **asked: object) -> tuple[int, dict]:
        """Status and answer of a search."""
        words = {"model": "pretrained", "representation": "fc6"} | asked
        status, _, body = self.ask(
            "POST", "/search", json.dumps(words).encode(), Content_Type="application/json"
        )
        return status, json.loads(body)

    def stop(self) -> None:
        """End it, if it hasn't."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def server(small_run: SmallRun) -> Iterator[Server]:
    features = [small_run.work / "features" / f"{model}.h5" for model in ("pretrained", "finetuned")]
    running = Server("--features", *features, "--images", small_run.images, "--gt", small_run.gt)
    yield running
    running.stop()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda r: None if r.url.startswith((server.url, "data:")) else wrong.append(r.url))
    opened.goto(server.url)
    yield opened
    assert wrong == []
    context.close()


def names_shown(page: Page) -> list[str]:
    expect(page.locator("#status")).to_contain_text("most similar")
    return page.locator("#results li span:last-child").all_inner_texts()


def by_definition(run: SmallRun, vector: np.ndarray) -> list[str]:
    """Names by cosine with a vector of fc6 of the pre-trained network."""
    with h5py.File(run.work / "features" / "pretrained.h5") as file:
        names, rows = file["database/names"].asstr()[:], file["database/fc6"][:].astype(float)
    cosines = rows @ vector / np.linalg.norm(rows, axis=1) / np.linalg.norm(vector)
    return [names[i] for i in np.lexsort((names, -cosines.round(9)))]


def row_of(run: SmallRun, group: str, name: str) -> np.ndarray:
    with h5py.File(run.work / "features" / "pretrained.h5") as file:
        return file[group]["fc6"][list(file[group]["names"].asstr()[:]).index(name)].astype(float)


def test_upload_box_results_click_through(page: Page, small_run: SmallRun, tmp_path: Path) -> None:
    photograph = tmp_path / "my photograph.png"
    cv2.imwrite(str(photograph), cv2.imread(str(small_run.images / "red_hall_1.jpg")))
    page.set_input_files("#file", photograph)
    page.select_option("#representation", "fc6")
    expect(page.locator("#what")).to_have_text("my photograph.png")
    assert names_shown(page) == by_definition(small_run, row_of(small_run, "database", "red_hall_1"))
    assert page.locator("#results li span.score").first.inner_text() == "1. 1.0000"

    canvas = page.locator("#canvas").bounding_box()
    page.mouse.move(canvas["x"] + 30, canvas["y"] + 30)
    page.mouse.down()
    page.mouse.move(canvas["x"] + canvas["width"] * 0.75, canvas["y"] + canvas["height"] + 50)
    page.mouse.up()
    corners = [float(page.input_value(f"#{corner}")) for corner in ("x1", "y1", "x2", "y2")]
    assert corners[2:] == [72, 72] and 0 < corners[0] < 20 and 0 < corners[1] < 20
    expect(page.locator("#results li span.score").first).not_to_have_text("1. 1.0000")

    second = page.locator("#results button").nth(1)
    name = second.locator("span").last.inner_text()
    second.click()
    expect(page.locator("#what")).to_have_text(name)
    expect(page.locator("#results li span").nth(1)).to_have_text(name)
    assert names_shown(page) == by_definition(small_run, row_of(small_run, "database", name))


def test_a_query_of_the_ground_truth_is_ranked_as_eval_score_ranks_it(
    page: Page, small_run: SmallRun
) -> None:
    page.select_option("#model", "finetuned")
    page.select_option("#representation", "fc6_relu6")
    page.select_option("#query", "blue_tower_2")
    ranked = small_run.work / "ranks" / "finetuned" / "fc6_relu6" / "none" / "blue_tower_2.txt"
    assert names_shown(page) == ranked.read_text().splitlines()[:24]
    assert [float(page.input_value(f"#{corner}")) for corner in ("x1", "x2")] == [8, 70.5]


def test_a_name_with_blanks_and_a_folder(page: Page) -> None:
    page.fill("#name", FAR)
    page.press("#name", "Tab")
    expect(page.locator("#what")).to_have_text(FAR)
    assert names_shown(page)[0] == FAR


def test_a_broken_file_gives_a_message_and_the_page_goes_on(page: Page, tmp_path: Path) -> None:
    whole = cv2.imencode(".jpg", draw(0, 3))[1].tobytes()
    for name, content, words in (
        ("page.jpg", b"<html>not a picture", "not a JPEG, PNG, WebP or BMP picture"),
        ("half.jpg", whole[: len(whole) // 2], "The picture is broken"),
        ("none.jpg", b"", "The file is empty"),
    ):
        (tmp_path / name).write_bytes(content)
        page.set_input_files("#file", tmp_path / name)
        expect(page.locator("#error")).to_contain_text(words)
    (tmp_path / "whole.jpg").write_bytes(whole)
    page.set_input_files("#file", tmp_path / "whole.jpg")
    names_shown(page)
    expect(page.locator("#error")).to_be_hidden()


def test_a_file_too_large_is_refused_by_the_page_and_by_the_server(
    page: Page, server: Server, tmp_path: Path
) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(cv2.imencode(".jpg", draw(0, 3))[1].tobytes() + bytes(UPLOAD_MB * 1024 * 1024))
    page.set_input_files("#file", large)
    expect(page.locator("#error")).to_have_text(f"The file is too large: at most {UPLOAD_MB} MB go.")
    status, body = upload(server, large.read_bytes())
    assert status == 413 and body["error"] == f"The file is too large: at most {UPLOAD_MB} MB go."


def upload(server: Server, content: bytes) -> tuple[int, dict]:
    head = b'--x\r\nContent-Disposition: form-data; name="photograph"; filename="a"\r\n\r\n'
    status, _, body = server.ask(
        "POST", "/uploads", head + content + b"\r\n--x--\r\n", Content_Type="multipart/form-data; boundary=x"
    )
    return status, json.loads(body)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_is_accessible(page: Page, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    page.select_option("#query", "red_hall_1")
    names_shown(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page).response["violations"]
    assert [
        (one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")
    ] == []


@pytest.mark.parametrize(
    "path",
    [
        "/pictures/../../etc/passwd",
        "/pictures/%2e%2e/gt/red_hall_1_query.txt",
        "/pictures/..%2fgt%2fred_hall_1_query.txt",
        "/pictures//etc/passwd",
        "/pictures/%2Fetc%2Fpasswd",
        "/pictures/red_hall_1.jpg",
        "/thumbnails/../notes",
        "/static/../search.html",
        "/static/%2e%2e/search.html",
        "/uploads/../../etc/passwd",
        "/uploads/none",
    ],
)
def test_a_path_outside_the_index_is_refused(server: Server, path: str) -> None:
    status, _, body = server.ask("GET", path)
    assert status == 404 and b"root:" not in body and b"oxc1" not in body and b"<!doctype" not in body


def test_pictures_of_the_index_are_served_as_they_are(server: Server, small_run: SmallRun) -> None:
    status, headers, body = server.ask("GET", "/pictures/far%20away/green%20gate%204")
    assert status == 200 and body == (small_run.images / f"{FAR}.jpg").read_bytes()
    assert (
        headers["X-Content-Type-Options"] == "nosniff"
        and "default-src 'self'" in headers["Content-Security-Policy"]
    )


def test_a_box_on_a_picture_is_the_query_cut_from_it(server: Server, small_run: SmallRun) -> None:
    _, stored = server.search(name="red_hall_1", query=True, box=[8, 8, 70.5, 70])
    _, computed = server.search(name="red_hall_1", box=[8, 8, 70.5, 70])
    assert stored["results"] == computed["results"]
    expected = by_definition(small_run, row_of(small_run, "queries", "red_hall_1"))
    assert [hit["name"] for hit in computed["results"]] == expected


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"name": "../../etc/passwd"}, "no such picture"),
        ({"name": None}, "no such picture"),
        ({"name": "red_hall_1", "model": "x"}, "no such model"),
        ({"name": "red_hall_1", "representation": "fc9"}, "no representation fc9"),
        ({"name": "red_hall_1", "box": [5, 5, 5, 9]}, "no area"),
        ({"name": "red_hall_1", "box": [0, 0, float("nan"), 9]}, "no area"),
        ({"name": "red_hall_1", "box": ["a", 0, 1, 1]}, "four numbers"),
        ({"name": "red_hall_1", "box": {"x": 1}}, "four numbers"),
        ({"name": "red_hall_1", "box": [500, 500, 600, 600]}, "leaves nothing"),
        ({"upload": "0" * 32}, "drop it again"),
    ],
)
def test_a_question_that_makes_no_sense_is_answered_in_a_sentence(
    server: Server, asked: dict, words: str
) -> None:
    status, answer = server.search(**asked)
    assert status == 400 and words in answer["error"]
    assert str(ROOT) not in answer["error"]


def test_other_sites_and_other_names_are_refused(server: Server) -> None:
    body = json.dumps({"model": "pretrained", "representation": "fc6", "name": "red_hall_1"}).encode()
    json_type = {"Content_Type": "application/json"}
    assert server.ask("POST", "/search", body, **json_type, Origin="http://evil.example")[0] == 403
    assert server.ask("POST", "/search", body, **json_type, Origin=server.url)[0] == 200
    assert server.ask("GET", "/", Host="evil.example")[0] == 400
    assert server.ask("POST", "/search", b"{", **json_type)[0] == 400
    assert server.ask("POST", "/search", b"[1]", **json_type)[0] == 400
    assert server.ask("DELETE", "/search")[0] == 405


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    own = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in own - {"127.0.0.1"}:
        with pytest.raises(OSError), socket.create_connection((address, server.port), timeout=5):
            pass


def test_old_uploads_go(server: Server) -> None:
    first = upload(server, cv2.imencode(".png", draw(0, 70))[1].tobytes())[1]["upload"]
    assert server.ask("GET", f"/uploads/{first}")[0] == 200
    for seed in range(71, 87):
        assert upload(server, cv2.imencode(".png", draw(0, seed))[1].tobytes())[0] == 201
    assert server.ask("GET", f"/uploads/{first}")[0] == 404


@pytest.mark.parametrize("side", [8000, 30000])
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(side: int) -> None:
    png = bytearray(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    png[16:24] = side.to_bytes(4) * 2
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4)
    with pytest.raises(ValueError, match="at most 60 million"):
        check_picture(bytes(png))


def test_without_its_network_an_index_is_searched_by_its_own_pictures(
    small_run: SmallRun, tmp_path: Path
) -> None:
    shutil.copy(small_run.work / "features" / "pretrained.h5", tmp_path / "alone.h5")
    server = Server("--features", tmp_path / "alone.h5", "--images", small_run.images)
    try:
        assert server.search(name="red_hall_1")[1]["results"][0]["name"] == "red_hall_1"
        status, answer = server.search(name="red_hall_1", box=[0, 0, 40, 40])
        assert status == 400 and "own pictures only" in answer["error"]
    finally:
        server.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_its_processes_and_uploads(small_run: SmallRun, number: int, tmp_path: Path) -> None:
    os.environ["TMPDIR"], before = str(tmp_path), os.environ.get("TMPDIR")
    try:
        server = Server(
            "--features", small_run.work / "features" / "pretrained.h5", "--images", small_run.images
        )
    finally:
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
    assert server.search(name="red_hall_1", box=[0, 0, 40, 40])[0] == 200
    tasks = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    children = [child for task in tasks for child in task.read_text().split()]
    server.process.send_signal(number)
    _, said = server.process.communicate(timeout=60)
    assert server.process.returncode == 128 + number and "Traceback" not in said
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert children and not any(Path(f"/proc/{child}").exists() for child in children)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_photographs_is_indexed_like_the_run(
    small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    mine = tmp_path / "mine"
    (mine / "2024").mkdir(parents=True)
    for i, place in enumerate(("a.png", "2024/b c.jpg", "2024/d.png")):
        cv2.imwrite(str(mine / place), draw(i, 7))
    shutil.copy(small_run.images / "red_hall_0.jpg", mine)
    like = small_run.work / "features" / "pretrained.h5"
    assert eval.index.main([str(mine), "--like", str(like), "--jobs", "1"]) == 0
    assert f"--features {tmp_path}/mine.h5 --images {mine}" in capsys.readouterr().out
    index = Index(tmp_path / "mine.h5", *eval_network(small_run))
    assert index.names == ["2024/b c", "2024/d", "a", "red_hall_0"]
    with h5py.File(tmp_path / "mine.h5") as file:
        assert (file["database/fc6"][3] == row_of(small_run, "database", "red_hall_0")).all()


def eval_network(run: SmallRun) -> tuple[Path, Path]:
    return run.work / "prototxt" / "deploy.prototxt", run.work / "data" / "pre.caffemodel"


def test_bad_input_is_one_sentence(
    small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    like = small_run.work / "features" / "pretrained.h5"
    (tmp_path / "empty").mkdir()
    (tmp_path / "some").mkdir()
    shutil.copy(small_run.images / "red_hall_0.jpg", tmp_path / "some")
    (tmp_path / "text.h5").write_text("no")
    foreign = str(small_run.work / "models" / "finetuned.caffemodel")
    cases = [
        (main, ["--features", tmp_path / "none.h5", "--images", tmp_path], "no features file"),
        (main, ["--features", tmp_path / "text.h5", "--images", tmp_path], "can't be read as HDF5"),
        (main, ["--features", like, "--images", tmp_path / "nowhere"], "Not a folder"),
        (main, ["--features", like, "--images", tmp_path / "some"], "lacks 14 pictures"),
        (
            main,
            ["--features", like, "--images", small_run.images, "--weights", foreign],
            "its hash is another",
        ),
        (main, ["--features", like, like, "--images", small_run.images], "of one model"),
        (main, ["--features", like, "--images", small_run.images, "--gt", tmp_path], "holds no query"),
        (eval.index.main, [tmp_path / "empty", "--like", like, "--jobs", 1], "holds no pictures"),
        (eval.index.main, [tmp_path / "some", "--like", tmp_path / "none.h5"], "no features file"),
        (eval.index.main, [tmp_path / "some", "--like", like, "--weights", foreign], "its hash is another"),
    ]
    for program, words, sentence in cases:
        assert program([str(word) for word in words]) == 1
        said = capsys.readouterr().err
        assert sentence in said and said.count("\n") == 1, said


def test_a_port_in_use_is_one_sentence(
    server: Server, small_run: SmallRun, capsys: pytest.CaptureFixture
) -> None:
    like = small_run.work / "features" / "pretrained.h5"
    assert main(["--features", str(like), "--images", str(small_run.images), "--port", str(server.port)]) == 1
    assert capsys.readouterr().err == f"serve: Address already in use: 127.0.0.1:{server.port}\n"
