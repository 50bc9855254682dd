"""One table of names through every program that lists pictures: each takes them, or lists what it can't."""

import os
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.check_images import main as check_images
from data_prep.classes.folders import begin_from, copy_name, is_copy, original_of
from data_prep.split import main as split
from eval.forward.photographs import list_pictures
from tools.files.class_names import read_class_names
from tools.files.image_lmdb import entries, open_lmdb
from tools.files.picture_names import LONGEST_NAME, ROOM, is_hidden, is_picture, shortened, trouble_with

ROOT = Path(__file__).resolve().parent.parent

ORDINARY = {
    "plain": "photo.jpg",
    "blanks": "my photo of it.JPG",
    "a blank before the dot": "sunset .jpg",
    "a blank in front": " first.jpg",
    "dots": "a.b..c.jpeg",
    "narrow no-break space, as macOS has it in screenshots": "at 4.05.17\u202fPM.png",
    "no-break space": "a\u00a0b.jpg",
    "ideographic space": "西湖\u3000日落.jpg",
    "ideographic space at the end": "西湖\u3000.jpg",
    "joiners": "\U0001f469\u200d\U0001f4bb क\u094d\u200dष.jpg",
    "right to left": "\u200fصورة.jpg",
    "line separator": "a\u2028b.jpg",
    "paragraph separator": "a\u2029b.jpg",
    "next line": "a\x85b.jpg",
    "form feed": "a\x0cb.jpg",
    "vertical tab": "a\x0bb.jpg",
    "separators of files": "a\x1c\x1d\x1eb.jpg",
    "tab": "a\tb.jpg",
    "escape": "a\x1b[31mb.jpg",
    "quotes": "a'b\"c`d.jpg",
    "of the shell": "$HOME & *;|<>?!.jpg",
    "of addresses": "100% a?b#c&d=e+f.jpg",
    "backslash": "a\\nb.jpg",
    "a comma": "a,b.jpg",
    "a dash in front": "-rf.jpg",
    "a number": "12.jpg",
    "composed": "caf\u00e9.jpg",
    "decomposed": "cafe\u0301.jpg",
    "an extension twice": "x.jpg.png",
    "looks like a copy": "aug_photo.jpg_x.jpg",
    "as long as may be": "l" * (LONGEST_NAME - ROOM - 4) + ".jpg",
    "as long as may be, in characters of three bytes": "\u6e56" * ((LONGEST_NAME - ROOM - 4) // 3) + ".jpg",
    "portable graymap's extension": "seldom.pgm",
    "another of JPEG's": "as seldom.jpe",
}
IN_TRAINING_ONLY = {
    "CR": "a\rb.jpg",
    "CR at the end": "a\r.jpg",
    "not UTF-8": "\udcce\udcf7\udcba\udcfe.jpg",
    "one stem, two extensions": "photo.png",
}
"""Names that lists of pictures can hold, but features, ranked lists and ground truth can't."""
RENAMED_BY_THE_CHECK = {"LF": "a\nb.jpg", "too long": "m" * (LONGEST_NAME - 4) + ".jpg"}
HIDDEN = [
    ".ipynb_checkpoints/photo-checkpoint.jpg",
    "@eaDir/photo.jpg/thumb.jpg",
    "._photo.jpg",
    "__MACOSX/a.jpg",
]


def picture(seed: int, extension: str = ".jpg") -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    encoding = {".pgm": ".ppm", ".jpe": ".jpg"}.get(extension.lower(), extension)
    return cv2.imencode(encoding, cv2.resize(coarse, (128, 96), interpolation=cv2.INTER_CUBIC))[1].tobytes()


def write(folder: Path, names: list[str]) -> None:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(seed, Path(name).suffix))


def run(*words: object) -> str:
    command = (
        [sys.executable, "-m", *map(str, words)] if not str(words[0]).endswith(".sh") else [*map(str, words)]
    )
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="replace")


def test_from_the_check_to_the_lmdb(tmp_path: Path) -> None:
    names = [*ORDINARY.values(), *IN_TRAINING_ONLY.values()]
    classes = ["a class", "西湖\u3000\u2028"]
    for name in classes:
        write(tmp_path / "photos" / name, [*names, *RENAMED_BY_THE_CHECK.values(), *HIDDEN])
    work = tmp_path / "work"
    options = [
        "--from",
        tmp_path / "photos",
        "--fix",
        "--quarantine",
        work / "aside",
        "--report",
        work / "c.csv",
    ]
    assert check_images([str(word) for word in (work / "checked", *options)]) == 0
    renamed = set(RENAMED_BY_THE_CHECK.values())
    there = {path.name for path in (work / "checked" / classes[0]).glob("[!.]*")}
    assert set(names) <= there and not renamed & there and len(there) == len(names) + len(renamed)
    assert not (work / "aside").exists() and not list((work / "checked").rglob("@eaDir"))

    wanted = len(there) + 4
    run("data_prep.augment", work / "augmented", "--from", work / "checked", "--num-wanted", wanted)
    run("data_prep.rename_classes", work / "classes", "--from", work / "augmented")
    assert sorted(read_class_names(work / "classes.csv")) == sorted(classes)
    assert split([str(work / "classes"), "--out", str(work / "lists")]) == 0
    run("tools/make_lmdb.sh", work / "lists", work / "lmdb", 16)
    stored = []
    for part in ("train", "val"):
        with open_lmdb(work / "lmdb" / f"{part}_lmdb") as database:
            stored += [os.fsdecode(key.partition(b"_")[2]) for key, _ in entries(database)]
    copies = [path for path in stored if is_copy(Path(path).name)]
    assert len(copies) == 2 * 4 and len(stored) == len(set(stored)) == 2 * wanted
    for label in ("0", "1"):
        assert there <= {Path(path).name for path in stored if Path(path).parent.name == label}


def test_from_extraction_to_the_search_page(tmp_path: Path) -> None:
    caffe = pytest.importorskip("caffe")
    from search_page import serve
    from test_extract import DEPLOY

    (tmp_path / "deploy.prototxt").write_text(DEPLOY)
    caffe.set_random_seed(3)
    caffe.Net(str(tmp_path / "deploy.prototxt"), caffe.TEST).save(str(tmp_path / "a.caffemodel"))
    images, gt = tmp_path / "pictures", tmp_path / "gt"
    write(images, [*ORDINARY.values(), *(f"deeper {i}/{name}" for i, name in enumerate(HIDDEN)), *HIDDEN])
    names = set(list_pictures(images))
    assert names == {Path(name).stem.strip(" ") for name in ORDINARY.values()}
    gt.mkdir()
    for number, name in enumerate(sorted(names)):
        (gt / f"q{number}_query.txt").write_text(f"{name} 2 2 30 30\n")
        (gt / f"q{number}_good.txt").write_text(f"{name}\n")
        for kind in ("ok", "junk"):
            (gt / f"q{number}_{kind}.txt").touch()
    features = tmp_path / "features.h5"
    net = ["--deploy", tmp_path / "deploy.prototxt", "--weights", tmp_path / "a.caffemodel"]
    source = ["--images", images, "--gt", gt, "--mean", "100,110,120", "--layers", "fc6", "--jobs", 1]
    run("eval.extract", *net, "--model", "pretrained", *source, "--out", features)
    run("eval.score", features, "--gt", gt, "--dims", "none", "--out", tmp_path / "ranks")
    ranked = tmp_path / "ranks" / "fc6" / "none"
    for path in ranked.glob("q*.txt"):
        listed = path.read_bytes().decode().split("\n")[:-1]
        assert sorted(listed) == sorted(names)
    server = serve("--features", features, "--images", images, "--gt", gt, *net)
    try:
        for name in names:
            for place in ("pictures", "thumbnails"):
                with urllib.request.urlopen(f"{server.url}/{place}/{urllib.parse.quote(name)}") as answer:
                    assert answer.status == 200
            status, answer = server.search(name=name)
            assert status == 200 and answer["results"][0]["name"] == name, answer
    finally:
        server.stop()


def test_an_index_of_photographs(tmp_path: Path) -> None:
    caffe = pytest.importorskip("caffe")
    from eval.search.index_file import read_contents

    weights, out = tmp_path / "a.caffemodel", tmp_path / "index.h5"
    caffe.Net(str(ROOT / "prototxt" / "demo" / "deploy.prototxt"), caffe.TEST).save(str(weights))
    write(tmp_path / "pictures", [*ORDINARY.values(), *HIDDEN, *IN_TRAINING_ONLY.values()])
    network = ["--network", "demo", "--weights", weights, "--jobs", 1]
    said = run("eval.index", tmp_path / "pictures", *network, "--out", out)
    contents = read_contents(out)
    blanks_kept = {f"./{name}" if name[0].isspace() else name for name in ORDINARY.values()}
    assert blanks_kept | {"photo.png"} == set(contents.stamps), said
    refused = {"a\rb.jpg", "a\r.jpg", "\udcce\udcf7\udcba\udcfe.jpg"}
    assert {file for file, _, _ in contents.left_out} == {repr(name)[1:-1] for name in refused}


def test_what_a_search_can_not_take_is_listed_whole(tmp_path: Path) -> None:
    write(tmp_path, ["photo.jpg", "fine.jpg", "a\nb.jpg", " .jpg", *IN_TRAINING_ONLY.values()])
    with pytest.raises(ValueError) as refused:
        list_pictures(tmp_path)
    for name in ["a\nb.jpg", *IN_TRAINING_ONLY.values(), " .jpg"]:
        assert repr(str(tmp_path / name)) in str(refused.value)
    assert "fine" not in str(refused.value)


def test_augment_lists_names_that_need_a_check(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, ["photo.jpg", *RENAMED_BY_THE_CHECK.values()])
    command = [sys.executable, "-m", "data_prep.augment", str(tmp_path), "--num-wanted", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for folder in ("one", "two"):
        for name in RENAMED_BY_THE_CHECK.values():
            assert repr(str(tmp_path / folder / name)) in done.stderr
    assert len(list(tmp_path.rglob("aug_*"))) == 0


def test_keys_of_lmdb_are_measured_before_the_conversion(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d" * 200] * 2)
    for label in ("0", "1"):
        write(deep / label, [f"{'p' * 100}{number}.jpg" for number in range(3)])
    words = [str(deep), "--out", str(tmp_path / "lists")]
    done = subprocess.run(
        [sys.executable, "-m", "data_prep.split", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "LMDB's keys leave 502 bytes" in done.stderr
    assert not list((tmp_path / "lists").glob("*"))


def test_the_rule() -> None:
    for name in (*ORDINARY.values(), *IN_TRAINING_ONLY.values()):
        assert is_picture(name) and trouble_with(name) is None, name
        assert original_of(copy_name(name, 12345)) == name
        assert len(os.fsencode(copy_name(name, 99999))) <= LONGEST_NAME
    assert all(trouble_with(name) for name in RENAMED_BY_THE_CHECK.values())
    assert all(any(map(is_hidden, Path(name).parts)) for name in HIDDEN)
    assert not is_hidden("@home") and not is_picture("photo.jpg ") and not is_picture("jpg")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0/")), st.integers(20, 80))
def test_a_shortened_name_is_as_long_as_it_may_be(stem: str, most: int) -> None:
    name = shortened(stem, "~1.jpg", most)
    size = len(os.fsencode(name))
    assert name.endswith("~1.jpg") and size <= most and stem.startswith(name.removesuffix("~1.jpg"))
    assert name == f"{stem}~1.jpg" or size > most - 4


def test_links_lead_to_the_same_pictures(tmp_path: Path) -> None:
    """A picture that is a link, a folder that is one, a link that leads round, a link to nothing."""
    write(tmp_path / "originals", ["a.jpg"])
    (tmp_path / "photos" / "x").mkdir(parents=True)
    (tmp_path / "photos" / "x" / "b.jpg").symlink_to("../../originals/a.jpg")
    (tmp_path / "photos" / "x" / "gone.jpg").symlink_to("../nowhere.jpg")
    (tmp_path / "photos" / "y").symlink_to(tmp_path / "originals")
    (tmp_path / "photos" / "x" / "round").symlink_to("..")
    begin_from(tmp_path / "photos", tmp_path / "deep" / "er" / "checked")
    checked = tmp_path / "deep" / "er" / "checked"
    original = (tmp_path / "originals" / "a.jpg").read_bytes()
    assert (checked / "x" / "b.jpg").read_bytes() == (checked / "y" / "a.jpg").read_bytes() == original
    assert not (checked / "x" / "b.jpg").is_symlink()
    assert sorted(path.name for path in (checked / "x").iterdir()) == ["b.jpg", "gone.jpg"]
    assert check_images([str(checked), "--quarantine", str(tmp_path / "aside"), "--jobs", "1"]) == 0
    assert os.path.lexists(tmp_path / "aside" / "x" / "gone.jpg")
