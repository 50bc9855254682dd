"""The report of a small run, in a real browser; its measures against definitions written out."""

import json
import re
import shutil
from pathlib import Path
from string import Formatter

import cv2
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page
from small_run import BUILDINGS, NETWORK, ROOT, SmallRun

from eval.evidence.claims import CLAIMS, UNTRIED
from eval.files.ground_truth import GroundTruth, Query
from eval.report.__main__ import main
from eval.report.page import make_sections
from eval.report.page import page as page_in
from eval.report.page_pictures import Pictures
from eval.report.rankings import RECALLS, places, precision_at_recall, verdict
from eval.report.run_folder import Run
from eval.report.tables_section import bars_of
from eval.report.words import CHINESE, Language
from eval.results.grid import Grid
from eval.results.shown_queries import chosen
from eval.results.words import english

pytest_plugins = ("small_run",)
PATIENCE = 120_000


@pytest.fixture(scope="module")
def report(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "report"
    assert main(small_run.report_arguments(out)) == 0
    return out


@pytest.fixture(scope="module")
def opened(browser: Browser, report: Path) -> tuple[Page, list[str]]:
    """The page as most people see it, for tests that share it; and what went wrong."""
    return open_page(browser, report, permissions=["clipboard-read", "clipboard-write"])


def open_page(browser: Browser, report: Path, **options: object) -> tuple[Page, list[str]]:
    """The page opened from disk, all its pictures asked for; and what went wrong on the way."""
    context = browser.new_context(offline=True, **options)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    wrong: list[str] = []
    page.on(
        "console",
        lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(request.url))
    page.on("request", lambda request: wrong.append(request.url) if not is_of_page(request.url) else None)
    page.goto((report / "index.html").as_uri())
    page.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    page.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => null)))")
    return page, wrong


def follow(page: Page, link: str) -> None:
    """Click on a link and wait until the page behind it is there as a whole, not its first part."""
    with page.expect_navigation(wait_until="load"):
        page.get_by_role("link", name=link).click()


def is_of_page(url: str) -> bool:
    return url.startswith(("file:", "data:"))


def test_it_opens_from_disk_with_nothing_missing(opened: tuple[Page, list[str]]) -> None:
    page, wrong = opened
    assert wrong == []
    images = page.evaluate("[...document.images].map(image => [image.src, image.naturalWidth, image.alt])")
    assert len(images) > 40
    assert [src for src, width, _ in images if width == 0] == []
    assert [src for src, _, alt in images if not alt] == []
    headings = page.locator("h2").all_inner_texts()
    assert headings == [
        "The answer",
        "1. Which layer",
        "2. From a map to a vector",
        "3. Features of any layer",
        "4. Data augmentation",
        "5. Fine-tuning",
        "6. The test",
        "The article's claims, one by one",
        "Provenance",
    ]
    assert page.locator(".none").count() == 0


def test_its_tables_say_what_the_json_says(opened: tuple[Page, list[str]], small_run: SmallRun) -> None:
    page, _ = opened
    for number in (1, 2):
        rows = json.loads((small_run.work / "results" / f"table{number}.json").read_text())["rows"]
        cells = page.locator(f"table[data-table='{number}'] td.n").all_inner_texts()
        shown = [re.findall(r"([\d.]+)\s%", cell) for cell in cells]
        assert shown == [[f"{100 * row['map']:.2f}", f"{100 * row['article']:.2f}"] for row in rows]


def test_what_his_code_does_is_a_table_of_its_own(
    opened: tuple[Page, list[str]], small_run: SmallRun
) -> None:
    page, _ = opened
    made = json.loads((small_run.work / "results" / "table1.json").read_text())
    rows = page.locator("table[data-table='1b'] tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == [
        f"{layer}, {way}"
        for layer in ("fc7_relu7", "fc7", "fc6_relu6", "fc6")
        for way in ("as the text says", "re-ranked in place")
    ]
    shown = re.findall(r"([\d.]+)\s%", "\n".join(row for row in rows if "re-ranked" in row))
    assert shown == [f"{100 * row['map']:.2f}" for row in made["as_published"]]


def test_representations_and_claims_are_there(opened: tuple[Page, list[str]], small_run: SmallRun) -> None:
    page, _ = opened
    results = small_run.work / "results"
    table = json.loads((results / "table3.json").read_text())
    shown = page.locator("table[data-table='3'] td.n").all_inner_texts()
    figures = [f"{100 * figure['map']:.2f}" for row in table["rows"] for figure in row["figures"]]
    assert sorted(re.findall(r"[\d.]+(?=\s%)", " ".join(shown))) == sorted(figures)
    published = page.locator("table[data-table='published'] tbody tr").all_inner_texts()
    assert len(published) == len(table["published"]) > 1
    assert any("VGG16 trained for retrieval" in row and "87.90" in row for row in published)
    claims = json.loads((results / "claims.json").read_text())["claims"]
    answers = page.locator("ul.claims li")
    assert answers.locator("a").all_inner_texts() == [claim["text"] for claim in claims]
    assert answers.locator(".verdict").all_inner_texts() == [claim["verdict"] for claim in claims]
    assert {claim["verdict"] for claim in claims} > {"not measured here"}
    assert page.locator("article.claim h3").count() == len(claims)
    ours = [claim["claim"] for claim in claims if claim["whose"] == "ours"]
    marked = answers.evaluate_all(
        "all => all.flatMap((one, i) => one.innerText.includes('(ours)') ? [i + 1] : [])"
    )
    assert marked == ours


def test_a_table_of_many_figures_has_a_bar_a_row() -> None:
    headings = ["PCA to 32", "no PCA"]
    few = Grid(3, headings, [("fc6", [(0.2, None), (0.3, None)]), ("fc7", [(None, None), (0.1, None)])])
    assert [(english(bar[0]), bar[1]) for bar in bars_of(few)] == [
        ("fc6, PCA to 32", 0.2),
        ("fc6, no PCA", 0.3),
        ("fc7, no PCA", 0.1),
    ]
    many = Grid(3, headings, few.rows * 10)
    best = [(english(label), *figures) for label, *figures in bars_of(many)]
    assert best == [("fc6, no PCA", 0.3, None), ("fc7, no PCA", 0.1, None)] * 10


def test_answers_and_frames_are_the_ranked_lists(opened: tuple[Page, list[str]], small_run: SmallRun) -> None:
    page, _ = opened
    for query in [f"{building}_{i}" for building in BUILDINGS for i in (1, 2)]:
        block = page.locator(f"#picked [data-query='{query}']")
        for place, model in enumerate(("pretrained", "finetuned")):
            ranked = (
                (small_run.work / "ranks" / model / "fc6" / "128" / f"{query}.txt").read_text().split("\n")
            )
            listed = {
                kind: (small_run.gt / f"{query}_{kind}.txt").read_text().split("\n")
                for kind in ("good", "ok", "junk")
            }
            kinds = [
                next((k for k, names in listed.items() if name in names), "wrong") for name in ranked[:8]
            ]
            items = block.locator("ol.answers").nth(place).locator("li")
            assert items.evaluate_all("list => list.map(item => item.className)") == kinds
            assert items.locator("img").evaluate_all("list => list.map(image => image.alt)") == ranked[:8]


def test_any_query_can_be_picked(opened: tuple[Page, list[str]]) -> None:
    page, wrong = opened
    assert page.locator("#picked > .query:visible").count() == 1
    page.select_option("#pick", "green_gate_2")
    shown = page.locator("#picked > .query:visible")
    assert shown.get_attribute("data-query") == "green_gate_2" and wrong == []


def test_a_command_is_copied_as_it_was(opened: tuple[Page, list[str]]) -> None:
    page, _ = opened
    box = page.locator(".command", has_text="eval.score")
    assert "1 min 15 s" in box.inner_text()
    box.get_by_role("button").click()
    box.get_by_text("Copied").wait_for()
    assert (
        page.evaluate("navigator.clipboard.readText()")
        == "python -m eval.score 'a folder/f.h5' --dims 128 & <b>"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_is_accessible(browser: Browser, report: Path, width: int, scheme: str) -> None:
    page, _ = open_page(browser, report, viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page).response["violations"]
    assert [
        (one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")
    ] == []


def test_figures_follow_the_colour_scheme(browser: Browser, report: Path) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        page, _ = open_page(browser, report, color_scheme=scheme)
        shot = page.locator("img[src$='precision_recall.svg']").screenshot()
        pixels = cv2.imdecode(np.frombuffer(shot, np.uint8), cv2.IMREAD_GRAYSCALE)
        # the paper's grey, and the ink's: the darkest or lightest there is
        brightness[scheme] = int(np.median(pixels)), int(pixels.min()), int(pixels.max())
    assert brightness["light"][0] == 255 and brightness["light"][1] < 80
    assert brightness["dark"][0] < 40 and brightness["dark"][2] > 200


def test_it_prints_every_section(browser: Browser, report: Path) -> None:
    page, _ = open_page(browser, report, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(29, 35, 48)"
    assert not page.locator("nav").is_visible() and page.locator("#provenance").is_visible()
    assert page.pdf()[:5] == b"%PDF-"


def test_the_chinese_page_is_the_same_in_chinese(browser: Browser, report: Path) -> None:
    page, wrong = open_page(browser, report)
    follow(page, "中文")
    assert page.locator("html").get_attribute("lang") == "zh" and wrong == []
    assert page.locator("#answer h2").inner_text() == "结论"
    images = page.evaluate("[...document.images].map(image => image.getAttribute('src'))")
    follow(page, "English")
    assert page.evaluate("[...document.images].map(image => image.getAttribute('src'))") == images


@pytest.mark.parametrize("begun", [False, True])
def test_everything_is_said_in_chinese(small_run: SmallRun, tmp_path: Path, begun: bool) -> None:
    run = Run(small_run.work, small_run.images, small_run.gt, NETWORK, ROOT / "profiles" / "demo")
    claims = run.claims["claims"]
    if begun:
        (tmp_path / "work").mkdir()
        run = Run(tmp_path / "work")
    chinese = Language("zh")
    page_in(make_sections(run, Pictures(tmp_path / "img")), chinese)
    data = {value for claim in claims for value in claim.values() if isinstance(value, str)}
    data |= {*run.database, "Drawn blocks", "pool5", "fc6", "fc6_relu6", "fc7", "fc7_relu7"}
    assert {
        words for words in chinese.unknown - data if not re.fullmatch(r"[\w ,]*\d+ x \d+|.*up to \d+", words)
    } == set()


def test_one_query_is_shown_by_a_layer_and_by_regions(
    browser: Browser, small_run: SmallRun, tmp_path: Path
) -> None:
    """The claims' picture of why: the first answers of fc6 and of R-MAC, where the run has ranked by both."""
    work = tmp_path / "work"
    shutil.copytree(small_run.work, work)
    shutil.copytree(work / "ranks/pretrained", work / "ranks/pretrained_fc")
    lists = work / "ranks/pretrained_maps/pool5_rmac/128"
    lists.mkdir(parents=True)
    backwards = (work / "ranks/pretrained/fc6/128/red_hall_1.txt").read_text().split()[::-1]
    (lists / "red_hall_1.txt").write_text("".join(f"{name}\n" for name in backwards))
    out = tmp_path / "report"
    assert main(SmallRun(work, small_run.images, small_run.gt).report_arguments(out)) == 0
    page, wrong = open_page(browser, out)
    assert wrong == []
    block = page.locator("#claims .query")
    assert block.get_attribute("data-query") == "red_hall_1"
    assert [words.split(":")[0] for words in block.locator("strong").all_inner_texts()] == [
        "fc6, PCA to 128",
        "pool5_rmac, PCA to 128",
    ]
    first = block.locator("ol.answers").nth(1).locator("img").first.get_attribute("alt")
    assert first == backwards[0]


def test_every_claim_is_said_in_chinese() -> None:
    words = {part for claim in CLAIMS for part in (claim.text, claim.sentence, claim.section, claim.margin)}
    words |= {part for other in UNTRIED for part in (other.text, other.section, other.needs)}
    assert {one.rstrip(".") for one in words if one} <= set(json.loads(CHINESE.read_text(encoding="utf-8")))


def test_translations_have_the_same_values() -> None:
    for words, translated in json.loads(CHINESE.read_text(encoding="utf-8")).items():
        named = [
            sorted(name for _, name, _, _ in Formatter().parse(one) if name) for one in (words, translated)
        ]
        assert set(named[0]) == set(named[1]), words


def test_what_is_left_of_a_picture_cut_short_is_shown(opened: tuple[Page, list[str]]) -> None:
    page, _ = opened
    rows = page.locator("table.broken tbody tr")
    assert rows.nth(0).locator("img").count() == 1 and "half.jpg" in rows.nth(0).inner_text()
    assert rows.nth(1).locator("td").first.inner_text() == "nothing"


def test_the_folder_is_small(report: Path) -> None:
    assert sum(file.stat().st_size for file in report.rglob("*")) < 2_000_000


def ranking_of_protocols(label: str, expansion: str, figure: float) -> list[dict[str, object]]:
    """Table 4's rows of one representation; every figure of it is another."""
    of = {"model": "finetuned", "layer": "pool5", "pooling": "rmac", "label": label}
    of |= {"query_expansion": expansion, "queries": 3}
    return [
        of
        | {"protocol": name, "map": figure + i / 10}
        | {f"mp{k}": figure + i / 10 + k / 1000 for k in (1, 5, 10)}
        for i, name in enumerate(("easy", "medium", "hard"))
    ]


def test_whitening_elsewhere_and_the_protocols_have_their_tables(
    browser: Browser, small_run: SmallRun, tmp_path: Path
) -> None:
    work = shutil.copytree(small_run.work, tmp_path / "work")
    table1 = json.loads((work / "results" / "table1.json").read_text())
    for row in table1["rows"]:
        row["whitened_elsewhere"] = None if row["label"] == "none" else row["map"] / 2
    (work / "results" / "table1.json").write_text(json.dumps(table1))
    rows = [
        *ranking_of_protocols("none", "none", 0.2),
        *ranking_of_protocols("8", "average", 0.3),
        *ranking_of_protocols("8", "none", 0.4),
    ]
    table4 = {"table": 4, "remarks": [], "rows": rows}
    (work / "results" / "table4.json").write_text(json.dumps(table4))
    out = tmp_path / "report"
    assert main(SmallRun(work, small_run.images, small_run.gt).report_arguments(out)) == 0
    page, wrong = open_page(browser, out)
    assert wrong == []
    for place, name in enumerate(("map", "whitened_elsewhere")):
        cells = page.locator(
            f"table[data-table='1c'] tbody tr:nth-child(2n + {place + 1}) td"
        ).all_inner_texts()
        told = [f"{100 * row[name]:.2f} %" for row in table1["rows"] if row["label"] != "none"]
        assert [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in cells] == told
    (row,) = page.locator("table[data-table='4'] tbody tr").all_inner_texts()
    assert row.startswith("pool5 rmac, fine-tuned, PCA to 8")
    figures = [40, 50, 50.1, 50.5, 51, 60, 60.1, 60.5, 61]
    assert [float(one) for one in re.findall(r"[\d.]+(?=\s%)", row)] == figures
    assert page.locator("table[data-table='4b'] tbody tr").count() == 3
    assert len(page.locator("table[data-table='published4'] tbody tr").all_inner_texts()) == 4
    chinese = Language("zh")
    run = Run(work, small_run.images, small_run.gt, NETWORK, ROOT / "profiles" / "demo")
    made = make_sections(run, Pictures(tmp_path / "img"))
    page_of_all = page_in(made, chinese)
    assert "表 4" in page_of_all and not {word for word in chinese.unknown if "hiten" in word or "mP" in word}


def test_a_run_of_table_1_says_what_is_missing(browser: Browser, small_run: SmallRun, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(
        small_run.work,
        work,
        ignore=shutil.ignore_patterns("finetuned*", "looks", "lmdb", "train", "training*"),
    )
    for name in (
        "checked",
        "augmented",
        "lists",
        "results/table2.json",
        "results/table2.md",
        "check.csv",
        "classes.csv",
    ):
        shutil.rmtree(work / name) if (work / name).is_dir() else (work / name).unlink()
    out = tmp_path / "report"
    assert main(SmallRun(work, small_run.images, small_run.gt).report_arguments(out)) == 0
    page, wrong = open_page(browser, out)
    assert wrong == []
    missing = " ".join(page.locator(".none").all_inner_texts())
    for words in ("no training data", "has not trained", "No maps were kept", "There is no Table 2"):
        assert words in missing
    assert (
        page.locator("table[data-table='1']").count() == 1
        and page.locator("table[data-table='2']").count() == 0
    )
    assert page.locator("#picked .answers").count() == 2 * len(BUILDINGS)


STOPPED_BEFORE = {
    "keep_maps and the claims": ("looks", "results/claims.json", "results/table3.json"),
    "tables, one network scored": ("results/table1.json", "results/table2.json", "ranks/finetuned"),
    "scoring and training": ("ranks", "models", "features", "results/training.svg", "prototxt/train"),
    "the lists": ("lmdb", "lists", "classes.csv", "augmented"),
}


def test_a_run_that_was_stopped_anywhere_has_a_report(small_run: SmallRun, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(small_run.work, work)
    missing = []
    for before, names in STOPPED_BEFORE.items():
        for name in names:
            shutil.rmtree(work / name) if (work / name).is_dir() else (work / name).unlink()
        out = tmp_path / before
        assert main(SmallRun(work, small_run.images, small_run.gt).report_arguments(out)) == 0, before
        missing.append((out / "index.html").read_text().count('class="none"'))
    assert missing == sorted(missing) and missing[0] == 3 and missing[-1] == 8


@pytest.mark.parametrize(
    ("log", "why"), [("log_last.txt", "Only the last layer was trained"), ("log.txt", "More steps would")]
)
def test_why_nothing_has_changed_is_said(small_run: SmallRun, tmp_path: Path, log: str, why: str) -> None:
    """Where only the last layer was trained, or all for too few steps."""
    work = tmp_path / "work"
    shutil.copytree(small_run.work, work)
    shutil.rmtree(work / "ranks" / "finetuned")
    shutil.copytree(work / "ranks" / "pretrained", work / "ranks" / "finetuned")
    for model in ("pretrained", "finetuned"):  # of so many pictures that whitening leaves something to rank
        scores = work / "ranks" / model / "scores.json"
        made = json.loads(scores.read_text()) | {"model": model, "made_of": {"pictures": 500}}
        scores.write_text(json.dumps(made))
    curve = work / "results" / "training.csv"
    rows = curve.read_text().splitlines()
    curve.write_text("\n".join([rows[0], *(re.sub(r"[^,]*\.txt", log, row) for row in rows[1:])]))
    assert main(SmallRun(work, small_run.images, small_run.gt).report_arguments(tmp_path / "report")) == 0
    said = (tmp_path / "report" / "index.html").read_text()
    found = {words for words in ("Only the last layer was trained", "More steps would") if words in said}
    assert found == {why}


def test_one_class_one_query_one_answer(small_run: SmallRun, tmp_path: Path) -> None:
    work, gt = tmp_path / "work", tmp_path / "gt"
    shutil.copytree(
        small_run.work, work, ignore=shutil.ignore_patterns("blue_tower*", "green_gate*", "looks")
    )
    shutil.copytree(small_run.gt, gt, ignore=shutil.ignore_patterns("blue*", "green*", "red_hall_2*"))
    for scores in (work / "ranks").glob("*/scores.json"):
        made = json.loads(scores.read_text())
        for row in made["rows"]:
            row["ap"] = {"red_hall_1": row["ap"]["red_hall_1"]}
        scores.write_text(json.dumps(made))
    assert main(SmallRun(work, small_run.images, gt).report_arguments(tmp_path / "report")) == 0
    said = (tmp_path / "report" / "index.html").read_text()
    assert "1 classes" not in said and "1 queries" not in said and said.count('data-query="red_hall_1"') == 2


def test_a_run_that_has_only_begun_has_a_report_too(browser: Browser, tmp_path: Path) -> None:
    steps = tmp_path / "work" / ".steps"
    steps.mkdir(parents=True)
    (steps / "checked.ran").write_text("check\t3\tpython -m data_prep.check_images x\n")
    assert main([str(tmp_path / "work")]) == 0
    page, wrong = open_page(browser, tmp_path / "work" / "report")
    assert wrong == []
    said = page.locator(".none").all_inner_texts()
    assert len(said) == len(set(said)) == 10


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (None, "Not a folder: "),
        ({}, "holds no run: ./run_all.sh makes one"),
        ({"results/table1.json": "{"}, "table1.json is not JSON"),
        (
            {"results/table1.json": '{"rows": [{}]}'},
            "table1.json is not a table of eval.tables: it lacks 'layer'",
        ),
        ({"results/table3.json": '{"rows": 3}'}, "table3.json is not a table of eval.tables"),
        (
            {"results/table1.json": '{"rows": []}', "results/claims.json": "[3]"},
            "claims.json is not one of eval.claims",
        ),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, files: dict[str, str] | None, sentence: str, capsys: pytest.CaptureFixture
) -> None:
    if files is not None:
        (tmp_path / "work" / "results").mkdir(parents=True)
        for name, content in files.items():
            (tmp_path / "work" / name).write_text(content)
    assert main([str(tmp_path / "work"), "--out", str(tmp_path / "report")]) == 1
    said = capsys.readouterr().err
    assert sentence in said and said.startswith("eval.report: ") and said.count("\n") == 1
    assert not (tmp_path / "report").exists() and not (tmp_path / "report.part").exists()


def test_files_of_somebody_else_are_not_replaced(
    small_run: SmallRun, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(small_run.report_arguments(tmp_path)) == 1
    assert "holds files that are not a report's" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def truth_of(good: set[str], ok: set[str], junk: set[str]) -> GroundTruth:
    return GroundTruth(Query("q_1", "x", (0, 0, 1, 1)), frozenset(good), frozenset(ok), frozenset(junk))


def test_precision_at_recall_by_hand() -> None:
    truth = truth_of({"a", "b"}, {"c"}, {"j"})
    ranking = ["j", "a", "x", "j2", "b", "y"]
    # without junk: a x j2 b y; a at 1, b at 4, c never
    assert places(ranking, truth) == [1, 4]
    got = dict(zip(RECALLS.round(4).tolist(), precision_at_recall(ranking, truth).tolist(), strict=True))
    assert got[0.0] == got[0.3] == 1.0
    assert got[0.34] == got[0.66] == 0.5
    assert got[0.68] == got[1.0] == 0.0


@given(st.permutations(range(12)), st.integers(1, 8))
def test_precision_at_recall_against_its_definition(order: list[int], positives: int) -> None:
    truth = truth_of({str(i) for i in range(positives)}, set(), {"11"})
    ranking = [str(i) for i in order]
    judged = [i for i in order if i != 11]
    points = []
    for cut in range(1, len(judged) + 1):
        hits = sum(i < positives for i in judged[:cut])
        points.append((hits / positives, hits / cut))
    for recall, precision in zip(RECALLS, precision_at_recall(ranking, truth), strict=True):
        reached = [p for r, p in points if r >= recall - 1e-9 and r > 0]
        assert precision == pytest.approx(max(reached))


def test_verdicts() -> None:
    truth = truth_of({"g"}, {"o"}, {"j"})
    assert [verdict(name, truth) for name in "gojx"] == ["good", "ok", "junk", "wrong"]


def test_the_choice_is_best_worst_and_most_changed_each_once() -> None:
    ap = {
        "pretrained": {"a": 0.5, "b": 0.2, "c": 0.9, "d": 0.3},
        "finetuned": {"a": 0.6, "b": 0.8, "c": 0.5, "d": 0.3},
    }
    assert [(one.query, one.why.split()[0]) for one in chosen(ap)] == [
        ("b", "answered"),
        ("c", "lost"),
        ("d", "answered"),
    ]
    assert len({one.query for one in chosen({"pretrained": {"a": 0.5}})}) == 1


def test_class_sizes_are_those_of_the_folders(opened: tuple[Page, list[str]]) -> None:
    page, _ = opened
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    rows = page.locator("[aria-label='Class sizes'] tbody tr").all_inner_texts()
    sizes = {row.split()[0]: tuple(map(int, row.split()[1:])) for row in rows}
    assert sizes == {"red_hall": (2, 6), "blue_tower": (3, 9), "green_gate": (4, 12)}
    assert "Classes left out for too few pictures (1): a single view." in page.content()
