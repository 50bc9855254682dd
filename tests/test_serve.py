"""The search page over a run's features, in a real browser and over HTTP, against rankings by definition."""

import io
import json
import os
import shutil
import signal
import socket
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import h5py
import numpy as np
import pillow_heif
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from search_page import PATIENCE, ROOT, Server, names_shown, serve
from small_run import BUILDINGS, SmallRun, draw

from eval.search.index import PCA_DIM, PICTURES_A_DIM, Index, Representation
from eval.search.uploads import KEPT_UPLOADS, UPLOAD_MB, check_picture
from eval.serve import main

pytest_plugins = ("small_run",)
FAR = "far away/green gate 4"


@pytest.fixture(scope="module")
def server(small_run: SmallRun) -> Iterator[Server]:
    features = [small_run.work / "features" / f"{model}.h5" for model in ("pretrained", "finetuned")]
    running = serve("--features", *features, "--images", small_run.images, "--gt", small_run.gt)
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
    own = (server.url, "data:", "blob:")
    opened.on("request", lambda r: None if r.url.startswith(own) else wrong.append(r.url))
    opened.goto(server.url)
    yield opened
    assert wrong == []
    context.close()


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
    assert page.locator("#results li span.score").first.inner_text() == "1. 1.000"

    canvas = page.locator("#canvas").bounding_box()
    page.mouse.move(canvas["x"] + 30, canvas["y"] + 30)
    page.mouse.down()
    page.mouse.move(canvas["x"] + canvas["width"] * 0.75, canvas["y"] + canvas["height"] + 50)
    page.mouse.up()
    corners = [float(page.input_value(f"#{corner}")) for corner in ("x1", "y1", "x2", "y2")]
    assert corners[2:] == [72, 72] and 0 < corners[0] < 20 and 0 < corners[1] < 20
    expect(page.locator("#results li span.score").first).not_to_have_text("1. 1.000")

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
    page.click("#of-queries")
    expect(page.locator("#pictures li")).to_have_count(6)
    page.get_by_role("button", name="blue_tower_2").click()
    expect(page.locator("#what")).to_have_text("blue_tower_2")
    ranked = small_run.work / "ranks" / "finetuned" / "fc6_relu6" / "none" / "blue_tower_2.txt"
    assert names_shown(page) == ranked.read_text().splitlines()[:24]
    assert [float(page.input_value(f"#{corner}")) for corner in ("x1", "x2")] == [8, 70.5]
    page.click("#all")  # back among the queries
    expect(page.locator("#pictures li")).to_have_count(6)
    page.click("#of-pictures")
    expect(page.locator("#pictures li")).to_have_count(15)


def test_a_query_is_chosen_by_what_it_asks_for(server: Server, small_run: SmallRun) -> None:
    names = json.loads(server.ask("GET", "/queries")[2])["names"]
    assert names == [f"{place}_{i}" for place in sorted(BUILDINGS) for i in (1, 2)]
    status, _, jpeg = server.ask("GET", "/queries/red_hall_1")
    shown = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    cut = cv2.imread(str(small_run.images / "red_hall_1.jpg"))[8:70, 8:71]
    assert status == 200 and shown.shape == cut.shape
    assert np.abs(shown.astype(int) - cut).mean() < 6
    assert server.ask("GET", "/queries/nobody")[0] == 404


def test_thousands_of_pictures_come_as_they_are_scrolled_to(browser: Browser, tmp_path: Path) -> None:
    """And any place among them is reached at once."""
    count = 5000
    (tmp_path / "jpg").mkdir()
    drawn = tmp_path / "drawn.jpg"
    cv2.imwrite(str(drawn), draw(0, 1))
    for i in range(count):
        (tmp_path / "jpg" / f"{i:05}.jpg").hardlink_to(drawn)
    many = serve("--features", features_of(tmp_path / "many.h5", count), "--images", tmp_path / "jpg")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    try:
        page.goto(many.url)
        shown = page.locator("#pictures li")
        expect(shown.nth(47)).to_be_attached()
        page.wait_for_load_state("networkidle")
        assert shown.count() < 400 and sum("/thumbnails/" in url for url in asked) < 400
        before = shown.count()
        page.mouse.wheel(0, 1_000_000)
        expect(shown.nth(before)).to_be_attached()
        page.locator("#from").fill("4032")  # as a slider that is let go of there
        expect(shown.first).to_have_text("04032")
        expect(page.locator("#from-words")).to_have_text("number 4,033")
        page.get_by_role("button", name="04033").click()
        assert names_shown(page)[0] == "04033"
        page.go_back()
        expect(shown.first).to_have_text("04032")
    finally:
        page.close()
        many.stop()


def test_it_opens_with_pictures_to_click(page: Page, server: Server) -> None:
    shown = page.locator("#pictures li")
    expect(shown).to_have_count(15)
    expect(shown.first.locator("img")).to_have_js_property("complete", True)
    assert shown.first.locator("img").evaluate("image => image.naturalWidth") > 0
    page.click("#shuffle")
    expect(shown).to_have_count(15)
    names = [json.loads(server.ask("GET", f"/pictures{query}")[2])["names"] for query in ("", "?seed=3")]
    assert names[0] == sorted(names[1]) != names[1]
    page.get_by_role("button", name=FAR).click()
    expect(page.locator("#what")).to_have_text(FAR)
    assert names_shown(page)[0] == FAR
    expect(page.locator("#pictures")).to_be_hidden()


def test_each_search_has_an_address(page: Page, server: Server) -> None:
    page.get_by_role("button", name="red_hall_1").click()
    names_shown(page)
    page.select_option("#representation", "fc7")
    expect(page).to_have_url(f"{server.url}/?picture=red_hall_1&by=fc7")
    seven = names_shown(page)
    second = page.locator("#results button").nth(1)
    name = second.locator("span").last.inner_text()
    second.click()
    expect(page.locator("#what")).to_have_text(name)
    names_shown(page)
    page.go_back()
    expect(page.locator("#what")).to_have_text("red_hall_1")
    assert names_shown(page) == seven
    page.reload()
    expect(page.locator("#what")).to_have_text("red_hall_1")
    assert names_shown(page) == seven and page.input_value("#representation") == "fc7"
    page.click("#all")
    expect(page.locator("#pictures li")).to_have_count(15)
    expect(page.locator("#results")).to_be_hidden()


def test_an_upload_and_its_box_come_back_too(page: Page, small_run: SmallRun) -> None:
    page.set_input_files("#file", small_run.images / "blue_tower_0.jpg")
    whole = names_shown(page)
    page.evaluate("go({ box: '10,10,50,60' })")
    expect(page.locator("#x2")).to_have_value("50")
    boxed = names_shown(page)
    page.reload()
    assert names_shown(page) == boxed
    page.locator("summary", has_text="Box").click()
    page.click("#whole")
    expect(page.locator("#x2")).to_have_value("")
    assert names_shown(page) == whole
    page.go_back()
    expect(page.locator("#x2")).to_have_value("50")


def test_results_are_in_view_after_an_upload_on_a_phone(page: Page, small_run: SmallRun) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("button", name="red_hall_4").scroll_into_view_if_needed()
    page.set_input_files("#file", small_run.images / "red_hall_1.jpg")
    names_shown(page)
    expect(page.locator("#results img").first).to_be_in_viewport(ratio=1)


def as_file(pixels: np.ndarray, kind: str, turned: int | None = None) -> bytes:
    """A picture file (H, W, 3) uint8 BGR of Pillow's format `kind`, perhaps with an EXIF orientation."""
    if kind == "HEIF":
        pillow_heif.register_heif_opener()
    picture, file = Image.fromarray(pixels[:, :, ::-1]), io.BytesIO()
    exif = Image.Exif()
    if turned:
        exif[0x0112] = turned
    more = {"save_all": True, "append_images": [picture.rotate(90)]} if kind == "MPO" else {}
    picture.save(file, kind, exif=exif, quality=95, **more)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF", "TIFF"])
def test_whatever_phones_write_can_be_searched_with(server: Server, small_run: SmallRun, kind: str) -> None:
    name = "red_hall_1"
    pixels = cv2.imread(str(small_run.images / f"{name}.jpg"))
    status, answer = server.upload(as_file(pixels, kind))
    assert (status, answer["width"], answer["height"]) == (201, 96, 72)
    best = server.search(upload=answer["upload"])[1]["results"][0]
    assert best["name"] == name and best["score"] > 0.99
    status, headers, body = server.ask("GET", f"/uploads/{answer['upload']}")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    assert cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR).shape == (72, 96, 3)


def test_a_phones_large_picture_is_shrunk_before_it_is_sent_and_lies_upright(
    page: Page, server: Server, tmp_path: Path
) -> None:
    """Stored lying on its side, with the orientation that says so: 61 megapixels, 20 MB and more."""
    upright = cv2.resize(draw(0, 3), (6400, 9600), interpolation=cv2.INTER_NEAREST)
    noise = np.random.default_rng(0).integers(0, 40, (9600, 6400, 1), dtype=np.uint8)
    stored = np.ascontiguousarray(np.rot90(upright - np.minimum(upright, noise)))
    content = as_file(stored, "JPEG", turned=6)
    assert len(content) > UPLOAD_MB * 1024 * 1024 / 2
    (tmp_path / "IMG_0001.jpg").write_bytes(content)
    sent = []
    page.on("request", lambda r: sent.append(len(r.post_data_buffer or b"")) if "/uploads" in r.url else None)
    page.set_input_files("#file", tmp_path / "IMG_0001.jpg")
    names_shown(page)
    expect(page.locator("#what")).to_have_text("IMG_0001.jpg")
    key = page.url.split("upload=")[1].split("&")[0]
    view = cv2.imdecode(np.frombuffer(server.ask("GET", f"/uploads/{key}")[2], np.uint8), cv2.IMREAD_COLOR)
    assert sent[0] < 2_000_000 and view.shape[0] > view.shape[1]
    small = cv2.resize(upright, view.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(view.astype(int) - small).mean() < 35


def test_a_broken_file_gives_a_message_and_the_page_goes_on(page: Page, tmp_path: Path) -> None:
    whole = cv2.imencode(".jpg", draw(0, 3))[1].tobytes()
    for name, content, words in (
        ("page.jpg", b"<html>not a picture", "not a JPEG, PNG, WebP, HEIC"),
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
    """The page refuses only what it can't shrink, as it can't show it."""
    large = tmp_path / "large.heic"
    large.write_bytes(as_file(draw(0, 3), "HEIF") + bytes(UPLOAD_MB * 1024 * 1024))
    page.set_input_files("#file", large)
    expect(page.locator("#error")).to_have_text(f"The file is too large: at most {UPLOAD_MB} MB go.")
    status, body = server.upload(large.read_bytes())
    assert status == 413 and body["error"] == f"The file is too large: at most {UPLOAD_MB} MB go."


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_is_accessible(page: Page, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    expect(page.locator("#pictures li")).to_have_count(15)
    check_it_fits(page, width)
    page.click("#of-queries")
    expect(page.locator("#pictures li")).to_have_count(6)
    check_it_fits(page, width)
    page.get_by_role("button", name="red_hall_1").click()
    names_shown(page)
    check_it_fits(page, width)


def check_it_fits(page: Page, width: int) -> None:
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
    _, stored = server.search(query="red_hall_1")
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
        ({"name": "red_hall_1", "box": [False, False, True, True]}, "four numbers"),
        ({"name": "red_hall_1", "box": [500, 500, 600, 600]}, "leaves nothing"),
        ({"upload": "0" * 32}, "drop it again"),
        ({"upload": {"0": 1}}, "drop it again"),
        ({"query": "red_hall_9"}, "no such query"),
        ({"name": "red_hall_1", "box": [0, 0, 10**400, 9]}, "no area"),
        ({"name": "red_hall_1", "box": [-(10**400), 0, 9, 9]}, "no area"),
        ({"name": ["red_hall_1"]}, "no such picture"),
        ({"name": "\ud800"}, "no such picture"),
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


@pytest.mark.parametrize(
    "question",
    [
        b"[" * 100_000,
        b'{"name":' * 1900 + b"1" + b"}" * 1900,
        b'{"box": [' + b"9" * 4999 + b", 1, 2, 3]}",
        b'{"box": [1e999, 0, 1, 1], "name": "red_hall_1", "model": "pretrained", "representation": "fc6"}',
        b'{"name": "' + b"x" * 1_000_000 + b'"}',
        b"\xff\xfe{}",
        b"",
    ],
)
def test_a_question_that_is_none_is_answered_in_a_sentence(server: Server, question: bytes) -> None:
    status, answer = server.question(question)
    assert status in (400, 413) and answer["error"] and "file" not in answer["error"]


@pytest.mark.parametrize("start", ["-1", "1e3", "9" * 400, "x"])
def test_a_place_in_the_list_is_a_number(server: Server, start: str) -> None:
    status, _, body = server.ask("GET", f"/pictures?start={start}")
    assert status == 400 and "whole number" in json.loads(body)["error"]


def test_fifty_searches_and_fifty_uploads_of_one_picture_at_once(server: Server, small_run: SmallRun) -> None:
    name = "green_gate_2"
    content = (small_run.images / f"{name}.jpg").read_bytes()
    expected = by_definition(small_run, row_of(small_run, "database", name))

    def ask(_: int) -> bool:
        status, uploaded = server.upload(content)
        answered, answer = server.search(upload=uploaded["upload"])
        found = [hit["name"] for hit in answer["results"]]
        return (status, answered, found) == (201, 200, expected)

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(ask, range(50))) == [True] * 50


def test_slow_and_idle_connections_shut_nobody_out(server: Server) -> None:
    lazy = [socket.create_connection(("127.0.0.1", server.port), timeout=120) for _ in range(150)]
    try:
        for one in lazy[::2]:
            one.sendall(b"POST /uploads HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nx")
        assert server.search(name="red_hall_1")[0] == 200
        assert server.ask("GET", "/")[0] == 200
    finally:
        for one in lazy:
            one.close()


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    own = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in own - {"127.0.0.1"}:
        with pytest.raises(OSError), socket.create_connection((address, server.port), timeout=120):
            pass


def test_old_uploads_go(server: Server) -> None:
    def upload(seed: int) -> str:
        status, answer = server.upload(cv2.imencode(".png", draw(0, 1000 + seed))[1].tobytes())
        assert status == 201
        return answer["upload"]

    first = upload(0)
    assert server.ask("GET", f"/uploads/{first}")[0] == 200
    for seed in range(KEPT_UPLOADS):
        upload(1 + seed)
    assert server.ask("GET", f"/uploads/{first}")[0] == 404
    status, answer = server.search(upload=first)
    assert status == 400 and "drop it again" in answer["error"]


@pytest.mark.parametrize("side", [13000, 60000])
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(side: int) -> None:
    png = bytearray(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    png[16:24] = side.to_bytes(4) * 2
    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4)
    with pytest.raises(ValueError, match="at most 150 million"):
        check_picture(bytes(png))


@pytest.mark.parametrize("loss", ["gone", "other"])
def test_without_its_network_only_its_own_pictures_are_searched_and_the_start_says_why(
    small_run: SmallRun, tmp_path: Path, browser: Browser, loss: str
) -> None:
    features, weights = tmp_path / "alone.h5", tmp_path / "some.caffemodel"
    shutil.copy(small_run.work / "features" / "pretrained.h5", features)
    if loss == "other":
        weights.write_text("something else")
    with h5py.File(features, "r+") as file:
        file.attrs["weights"] = str(weights)
    server = serve("--features", features, "--images", small_run.images)
    try:
        assert server.search(name="red_hall_1")[1]["results"][0]["name"] == "red_hall_1"
        status, answer = server.search(name="red_hall_1", box=[0, 0, 40, 40])
        assert status == 400 and "Only whole pictures of the index" in answer["error"]
        page = browser.new_page()
        page.goto(server.url)
        expect(page.locator("#own")).to_contain_text("can't be searched now")
        expect(page.locator("#file")).to_have_count(0)
        page.get_by_role("button", name="red_hall_1").click()
        assert names_shown(page)[0] == "red_hall_1"
        page.close()
    finally:
        said = server.stop()
    why = {
        "gone": f"{weights}, which it was made with, is gone",
        "other": f"{weights} is not what it was made",
    }
    assert said.count("\n") == 1 and why[loss] in said


def alive(process: str) -> bool:
    """Whether it runs; one that has ended may stay as a zombie where the first process reaps none."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_its_processes_and_uploads(small_run: SmallRun, number: int, tmp_path: Path) -> None:
    os.environ["TMPDIR"], before = str(tmp_path), os.environ.get("TMPDIR")
    try:
        server = serve(
            "--features", small_run.work / "features" / "pretrained.h5", "--images", small_run.images
        )
    finally:
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
    assert server.search(name="red_hall_1", box=[0, 0, 40, 40])[0] == 200
    tasks = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    children = [child for task in tasks for child in task.read_text().split()]
    server.process.send_signal(number)
    _, said = server.process.communicate(timeout=120)
    assert server.process.returncode == 128 + number and "Traceback" not in said
    deadline = time.monotonic() + 120
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert children and not any(map(alive, children))
    assert list(tmp_path.iterdir()) == []


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


def test_without_a_port_the_next_free_one_is_taken(small_run: SmallRun) -> None:
    words = ["--features", small_run.work / "features" / "pretrained.h5", "--images", small_run.images]
    started = [Server([sys.executable, "-m", "eval.serve", *words], cwd=ROOT) for _ in range(2)]
    try:
        assert started[0].port != started[1].port
        assert [one.ask("GET", "/")[0] for one in started] == [200, 200]
    finally:
        said = [one.stop() for one in started]
    assert "is in use, the next one is tried" in said[1]


@pytest.mark.parametrize("display", ["DISPLAY", "WAYLAND_DISPLAY", None])
def test_a_browser_is_opened_where_there_is_a_display(
    small_run: SmallRun, tmp_path: Path, display: str | None
) -> None:
    opener, opened = tmp_path / "xdg-open", tmp_path / "opened"
    opener.write_text(f'#!/bin/sh\necho "$1" >{opened}.part && mv {opened}.part {opened}\n')
    opener.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    environment |= {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | ({display: "1"} if display else {})
    words = ["--features", small_run.work / "features" / "pretrained.h5", "--images", small_run.images]
    command = [sys.executable, "-m", "eval.serve", *words, "--port", "0", "--browser"]
    server = Server(command, cwd=ROOT, env=environment)
    try:
        assert server.ask("GET", "/")[0] == 200
        deadline = time.monotonic() + (60 if display else 0.5)
        while not opened.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (opened.read_text() if opened.exists() else None) == (f"{server.url}/\n" if display else None)
    finally:
        server.stop()


def features_of(path: Path, count: int) -> Path:
    """A features file of `count` drawn vectors in 200 dimensions, all but 5 of them noise."""
    random = np.random.default_rng(1)
    rows = random.normal(size=(count, 200)) * ([8] * 5 + [1] * 195)
    with h5py.File(path, "w") as file:
        file["database/names"] = [f"{i:05}" for i in range(count)]
        file["database/pool5_rmac"] = rows.astype(np.float32)
    return path


def test_whitening_is_offered_and_chosen_where_it_can_be_fitted(tmp_path: Path) -> None:
    few = Index(features_of(tmp_path / "few.h5", PICTURES_A_DIM * PCA_DIM - 1))
    many = Index(features_of(tmp_path / "many.h5", PICTURES_A_DIM * PCA_DIM))
    plain, whitened = Representation("pool5_rmac"), Representation("pool5_rmac", PCA_DIM)
    assert few.representations == [plain]
    assert many.representations == [whitened, plain]
    assert plain.words == "things in it, wherever they are (R-MAC of pool5)"
    for one in (plain, whitened):
        hits = many.search(many.of_picture("00007", one), one, 3)
        assert hits[0].name == "00007" and hits[0].score == pytest.approx(1) and hits[1].score < 0.9
