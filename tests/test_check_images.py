"""check_images: every kind of bad file is found, what can be saved is, and nobody's original changes."""

import csv
import io
import os
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.check.finding import Finding
from data_prep.check.jpeg import is_plainly_good_jpeg
from data_prep.check.look import grey_rows, look_at
from data_prep.check.readers import caffe_program
from data_prep.check.report import MEMORY, Memory, write_report
from data_prep.check_images import check_folder
from tools.files.picture_names import files_below, folders_in, pictures_in

ROOT = Path(__file__).resolve().parent.parent
OXFORD_SAMPLE = Path(os.environ.get("OXFORD_SAMPLE", ROOT / "../shared/oxford_sample"))
END_OF_IMAGE = b"\xff\xd9"


def photograph(width: int = 120, height: int = 96, seed: int = 0) -> Image.Image:
    """Something with the grain of a photograph: coarse noise, enlarged, under fine noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 10, 3), np.uint8)).resize(
        (width, height), Image.BICUBIC
    )
    fine = rng.normal(0, 12, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + fine, 0, 255).astype(np.uint8))


def encoded(picture: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def half_grey_saved_again() -> bytes:
    cut = encoded(photograph(), quality=90)
    cut = cut[: len(cut) * 6 // 10] + END_OF_IMAGE
    return encoded(Image.open(io.BytesIO(cut)).resize((90, 72)), quality=80)


def palette_with_transparency() -> bytes:
    return encoded(photograph().quantize(16), "PNG", transparency=3)


def half_of_its_data() -> bytes:
    """A PNG whose chunks are whole, but whose compressed data ends half-way: Pillow shows black there."""
    header, width, height = b"IHDR", 120, 96
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(photograph(width, height)))
    chunks = [
        header + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),
        b"IDAT" + zlib.compress(rows[: len(rows) // 2]),
        b"IEND",
    ]
    packed = (struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def zeros_for_the_rest() -> bytes:
    """A download that was stopped, in a file that had its full size from the beginning."""
    return WHOLE[: len(WHOLE) * 2 // 3] + bytes(len(WHOLE))


WHOLE = encoded(photograph())
PNG = encoded(photograph(), "PNG")
GREY16 = Image.fromarray((np.asarray(photograph().convert("L")).astype(np.uint16) << 8) | 7)

BAD: dict[str, tuple[Callable[[], bytes], str, bool]] = {
    "zero.jpg": (lambda: b"", "empty", False),
    "text.jpg": (lambda: b"<html>not found</html>", "not-image", False),
    "zeros.jpg": (lambda: bytes(5000), "not-image", False),
    "magic only.jpg": (lambda: WHOLE[:3], "not-image", False),
    "in header.jpg": (lambda: WHOLE[:300], "unreadable truncated not-image", False),
    "cut.jpg": (lambda: WHOLE[:-400], "truncated", False),
    "no end.jpg": (lambda: WHOLE[:-2], "truncated", False),
    "half grey.jpg": (lambda: WHOLE[: len(WHOLE) // 2] + END_OF_IMAGE, "truncated", False),
    "half grey again.jpg": (half_grey_saved_again, "truncated", False),
    "half grey as.png": (
        lambda: encoded(Image.open(io.BytesIO(half_grey_saved_again())), "PNG"),
        "truncated",
        False,
    ),
    "zeros for the rest.jpg": (zeros_for_the_rest, "truncated", False),
    "half of its data.png": (half_of_its_data, "truncated", False),
    "cut.png": (lambda: PNG[: len(PNG) // 2], "truncated", False),
    "cut.bmp": (lambda: encoded(photograph(), "BMP")[:-3000], "truncated", False),
    "flipped byte.png": (lambda: PNG[:5000] + bytes([PNG[5000] ^ 255]) + PNG[5001:], "unreadable", False),
    "grey.jpg": (lambda: encoded(photograph().convert("L")), "channels", True),
    "cmyk.jpg": (lambda: encoded(photograph().convert("CMYK")), "channels", True),
    "palette.png": (lambda: encoded(photograph().quantize(16), "PNG"), "channels", True),
    "palette alpha.png": (palette_with_transparency, "channels", True),
    "alpha.png": (lambda: encoded(photograph().convert("RGBA"), "PNG"), "channels", True),
    "grey alpha.png": (lambda: encoded(photograph().convert("LA"), "PNG"), "channels", True),
    "bits.png": (lambda: encoded(photograph().convert("1"), "PNG"), "channels", True),
    "grey16.png": (lambda: encoded(GREY16, "PNG"), "channels", True),
    "float.tif": (lambda: encoded(photograph().convert("F"), "TIFF"), "channels", False),
    "png.jpg": (lambda: PNG, "extension", True),
    "jpeg.png": (lambda: WHOLE, "extension", True),
    "gif.gif": (lambda: encoded(photograph(), "GIF"), "channels extension", True),
    "no extension": (lambda: WHOLE, "extension", True),
    "grey png.jpeg": (lambda: encoded(photograph().convert("L"), "PNG"), "channels extension", True),
}
GOOD: dict[str, bytes] = {
    "photo.jpg": WHOLE,
    "PHOTO.JPG": WHOLE,
    "progressive.jpeg": encoded(photograph(), progressive=True),
    "fine.png": PNG,
    "fine.bmp": encoded(photograph(), "BMP"),
    "fine.tif": encoded(photograph(), "TIFF"),
    "fine.webp": encoded(photograph(), "WEBP"),
    "fine.ppm": encoded(photograph(), "PPM"),
    "two in one.jpg": encoded(photograph(), "MPO", save_all=True, append_images=[photograph(seed=1)]),
    "behind the end.jpg": WHOLE + b"trailing bytes of some camera",
    "tiny.png": encoded(photograph(1, 1), "PNG"),
}


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "data_prep.check_images", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **options)


def check_file(path: Path) -> Finding:
    """What the check says of one file."""
    return look_at(path, caffe_program()).finding


def fix(folder: Path) -> list[Finding]:
    """What check_images --fix does to the bad files of a folder."""
    findings = check_folder(folder, None, True, 1, None, caffe_program())
    return [finding for finding in findings if finding is not None]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def fill(folder: Path) -> Path:
    for index, (name, data) in enumerate(GOOD.items()):
        path = folder / f"class {index % 2}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for index, (name, (data, _, _)) in enumerate(BAD.items()):
        (folder / f"class {index % 2}" / name).write_bytes(data())
    return folder


@pytest.mark.parametrize("name", BAD)
def test_bad(tmp_path: Path, name: str) -> None:
    data, problems, _ = BAD[name]
    (tmp_path / name).write_bytes(data())
    finding = check_file(tmp_path / name)
    assert finding.problems and (set(finding.problems) <= set(problems.split())), finding
    assert all(finding.reasons)


@pytest.mark.parametrize("name", GOOD)
def test_good(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(GOOD[name])
    assert not check_file(tmp_path / name).problems


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5), st.floats(0, 0.999), st.sampled_from(["4:4:4", "4:2:0"]), st.integers(40, 95))
def test_a_cut_jpeg_is_found(
    tmp_path_factory, seed: int, kept: float, subsampling: str, quality: int
) -> None:
    picture = photograph(104, 83, seed)
    data = encoded(picture, quality=quality, subsampling=subsampling)
    start = data.index(b"\xff\xda")
    path = tmp_path_factory.getbasetemp() / "cut.jpg"
    cut = data[: start + 14 + int((len(data) - start - 16) * kept)]
    path.write_bytes(cut)
    assert "truncated" in check_file(path).problems
    path.write_bytes(cut + END_OF_IMAGE)
    finding = check_file(path)
    shown = np.asarray(Image.open(path)).astype(int)
    whole = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    if (shown != whole).any():
        assert finding.problems == ("truncated",)


@settings(max_examples=300, deadline=None)
@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    above=st.sampled_from([None, None, 0, 255]),
    grey=st.tuples(st.sampled_from([0, 7, 8, 9, 10, 11, 20]), st.integers(126, 130)),
    quality=st.sampled_from([60, 95, 100]),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    progressive=st.booleans(),
    kept=st.sampled_from([1, 1, 0.95, 0.7]),
    closed=st.booleans(),
)
def test_the_quick_look_lets_nothing_pass_that_a_full_decode_finds(
    size, above, grey, quality, subsampling, progressive, kept, closed
) -> None:
    pixels = np.asarray(photograph(*size)).copy()
    if above is not None:
        pixels[:] = above
    rows, value = grey
    pixels[max(0, size[1] - rows) :] = value
    data = encoded(Image.fromarray(pixels), quality=quality, subsampling=subsampling, progressive=progressive)
    if kept < 1:
        data = data[: int(kept * len(data))] + (END_OF_IMAGE if closed else b"")
    if is_plainly_good_jpeg(data):
        picture = Image.open(io.BytesIO(data))
        picture.load()  # raises where the data ends before the picture
        assert grey_rows(picture) < 8


def test_the_quick_look_suffices_for_photographs() -> None:
    """It is there for speed: without it nothing would be wrong but the rate."""
    for height in (96, 100, 101):
        assert is_plainly_good_jpeg(encoded(photograph(120, height)))
    assert not is_plainly_good_jpeg(encoded(photograph().convert("L")))


def test_grey_rows() -> None:
    picture = np.asarray(photograph()).copy()
    assert grey_rows(Image.fromarray(picture)) == 0
    picture[-10:] = 128
    picture[-11, 1:] = 128
    assert grey_rows(Image.fromarray(picture)) == 10
    picture[-1, 50, 1] = 131
    assert grey_rows(Image.fromarray(picture)) == 0
    picture[:] = 128
    assert grey_rows(Image.fromarray(picture)) == 96


@pytest.mark.parametrize("name", [name for name, (_, _, savable) in BAD.items() if savable])
def test_fixed_is_good_and_shows_the_same(photos: Path, name: str) -> None:
    path, original = photos / name, photos.with_name("original")
    path.write_bytes(BAD[name][0]())
    before = path.read_bytes()
    with Image.open(path) as picture:
        shown = np.asarray(picture.convert("RGB")).astype(int)
    os.link(path, original)
    assert [finding.done for finding in fix(photos)] == ["fixed"]
    assert original.read_bytes() == before, "a hard link's data must not change"
    (fixed,) = files(photos)
    assert not check_file(fixed).problems
    if name not in ("palette alpha.png", "grey16.png"):
        assert np.abs(np.asarray(Image.open(fixed)).astype(int) - shown).mean() < 12


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]


def test_alpha_goes_over_white_and_16_bits_keep_their_tone(photos: Path) -> None:
    clear = np.zeros((20, 20, 4), np.uint8)
    clear[:, 10:] = (200, 30, 40, 255)
    Image.fromarray(clear).save(photos / "a.png")
    GREY16.save(photos / "g.png")
    fix(photos)
    fixed = np.asarray(Image.open(photos / "a.png"))
    assert (fixed[:, :10] == 255).all() and (fixed[:, 10:] == (200, 30, 40)).all()
    grey = np.asarray(photograph().convert("L"))
    assert (np.asarray(Image.open(photos / "g.png")) == grey[:, :, None]).all()


def test_fix_loses_nothing_where_only_the_name_is_wrong(photos: Path) -> None:
    (photos / "no extension").write_bytes(WHOLE)
    fix(photos)
    assert (photos / "no extension.jpg").read_bytes() == WHOLE
    (photos / "no extension").write_bytes(PNG)
    (finding,) = fix(photos)
    assert finding.done == "left" and "is there already" in finding.reasons[-1]
    assert (photos / "no extension.jpg").read_bytes() == WHOLE
    assert (photos / "no extension").read_bytes() == PNG


def test_report_and_status_for_any_number_of_jobs(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos")
    one = run(folder, "--report", tmp_path / "one.csv", "--jobs", 1)
    two = run(folder, "--report", tmp_path / "two.csv", "--jobs", 2)
    assert one.returncode == two.returncode == 1
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert one.stdout.replace("one.csv", "two.csv") == two.stdout
    with (tmp_path / "one.csv").open(newline="") as file:
        rows = {Path(row["file"]).name: row for row in csv.DictReader(file)}
    assert rows.keys() == BAD.keys()
    assert {row["done"] for row in rows.values()} == {"left"}
    assert len(one.stdout.splitlines()) == len(BAD) + 1
    assert f"{len(GOOD)} good, 0 fixed, 0 quarantined, {len(BAD)} bad left" in one.stdout


def test_fix_and_quarantine_leave_nothing_bad(tmp_path: Path) -> None:
    folder, aside = fill(tmp_path / "photos"), tmp_path / "aside"
    done = run(folder, "--fix", "--quarantine", aside, "--jobs", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    moved = {str(path.relative_to(aside)) for path in aside.rglob("*") if path.is_file()}
    assert moved == {
        f"class {i % 2}/{name}" for i, (name, (_, _, savable)) in enumerate(BAD.items()) if not savable
    }
    assert (tmp_path / "photos_check.csv").exists()
    assert not list(tmp_path.rglob("*.part"))
    again = run(folder, "--jobs", 2)
    assert again.returncode == 0 and " 0 bad left" in again.stdout


def test_quarantine_overwrites_nothing(tmp_path: Path) -> None:
    folder, aside = tmp_path / "photos", tmp_path / "aside"
    for data in (b"first", b"second"):
        folder.mkdir(exist_ok=True)
        (folder / "a.jpg").write_bytes(data)
        (folder / "b.jpg").write_bytes(WHOLE)
        assert run(folder, "--quarantine", aside).returncode == 0
    assert sorted(path.read_bytes() for path in aside.iterdir()) == [b"first", b"second"]


@pytest.mark.parametrize(
    ("options", "status", "done"), [([], 1, "left"), (["--quarantine", "aside"], 0, "noted")]
)
def test_a_class_without_a_good_picture_is_found(
    tmp_path: Path, options: list[str], status: int, done: str
) -> None:
    for name in ("full", "spoilt", "none"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    (tmp_path / "photos" / "full" / "a.jpg").write_bytes(WHOLE)
    (tmp_path / "photos" / "spoilt" / "a.jpg").write_bytes(b"")
    ran = run(tmp_path / "photos", *(option if option[0] == "-" else tmp_path / option for option in options))
    assert ran.returncode == status
    for name in ("none", "spoilt"):
        assert f"{name}: empty: not one picture in this folder is good [{done}]\n" in ran.stdout
    assert "full" not in ran.stdout


def test_files_below_nested_and_linked(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "b/1.jpg", "a/deep/er/x.jpg", "top.jpg", ".hidden.jpg", ".git/y.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "to_pipe.jpg").symlink_to("pipe.jpg")
    (tmp_path / "endless.jpg").symlink_to("/dev/zero")
    names = [os.path.relpath(name, tmp_path) for name in files_below(tmp_path)]
    assert names == ["circle.jpg", "gone.jpg", "top.jpg", "a/deep/er/x.jpg", "b/1.jpg", "b/2.jpg"]
    assert check_file(tmp_path / "gone.jpg").problems == ("unreadable",)
    assert check_file(tmp_path / "circle.jpg").problems == ("unreadable",)
    assert pictures_in(tmp_path) == ["top.jpg"]
    assert folders_in(tmp_path) == ["a", "b"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every folder")
def test_a_link_into_a_locked_folder_is_found(tmp_path: Path) -> None:
    for name in ("photos", "locked"):
        (tmp_path / name).mkdir()
    (tmp_path / "photos" / "link.jpg").symlink_to(tmp_path / "locked" / "1.jpg")
    (tmp_path / "locked").chmod(0)
    try:
        done = run(tmp_path / "photos")
    finally:
        (tmp_path / "locked").chmod(0o700)
    assert "link.jpg: unreadable: Permission denied [left]" in done.stdout


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["nowhere"], "No such file or directory"),
        (["photos/a.jpg"], "Not a directory"),
        (["photos", "--quarantine", "photos/aside"], "would be taken for a class"),
        (["photos", "--report", "photos/a.jpg/report.csv"], "photos/a.jpg"),
        (["photos", "--quarantine", "photos.jpg/aside"], "photos.jpg"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, options: list[str], sentence: str) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    (tmp_path / "photos.jpg").touch()
    done = run(*(option if option.startswith("--") else tmp_path / option for option in options))
    assert done.returncode == 1
    assert sentence in done.stderr and done.stderr.splitlines()[-1].startswith("check_images: ")
    assert "Traceback" not in done.stderr
    assert (tmp_path / "photos" / "a.jpg").exists()


def test_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    path = tmp_path / "photos" / "a.png"
    path.write_bytes(BAD["alpha.png"][0]())
    before = path.read_bytes()
    done = run(
        tmp_path / "photos",
        "--fix",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    assert done.returncode == 1
    assert f"check_images: File too large: {path}\n" in done.stderr
    assert path.read_bytes() == before
    assert [other.name for other in tmp_path.rglob("*") if other.is_file()] == ["a.png"]


@pytest.mark.skipif(not OXFORD_SAMPLE.is_dir(), reason="no sample of real photographs here")
def test_real_photographs(tmp_path: Path) -> None:
    done = run(OXFORD_SAMPLE / "jpg", "--report", tmp_path / "report.csv", "--jobs", 2)
    assert done.returncode == 0, done.stdout
    path = sorted((OXFORD_SAMPLE / "jpg").iterdir())[7]
    (tmp_path / "half.jpg").write_bytes(path.read_bytes()[: path.stat().st_size // 2] + END_OF_IMAGE)
    assert check_file(tmp_path / "half.jpg").problems == ("truncated",)


def all_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def checked(place: Path) -> tuple[Counter[str], dict[str, bytes], dict[str, bytes], bytes]:
    """A check of place/photos that fixes and sets aside: outcomes, the files of both folders, the report."""
    findings = check_folder(place / "photos", place / "aside", True, 1, None, caffe_program())
    outcomes = write_report(findings, place / "photos", place / "report.csv")
    photos = all_files(place / "photos")
    photos.pop(MEMORY)
    return outcomes, photos, all_files(place / "aside"), (place / "report.csv").read_bytes()


def some_bad(place: Path) -> None:
    for name in ("cut.jpg", "grey.jpg", "no extension", "zero.jpg", "cut.png"):
        for folder in ("x", "x/deeper", "y"):
            (place / "photos" / folder).mkdir(parents=True, exist_ok=True)
            (place / "photos" / folder / name).write_bytes(BAD[name][0]())
    (place / "photos" / "x" / "good.jpg").write_bytes(WHOLE)
    (place / "photos" / "z").mkdir()
    (place / "photos" / "z" / "zero.jpg").touch()


@contextmanager
def counting(stop_at: int | None) -> Iterator[list[str]]:
    """What is done to files, one name a deed; the one of this number raises instead, as if by a kill."""
    deeds: list[str] = []

    def counted(name: str, deed: Callable[..., object]) -> Callable[..., object]:
        def do(*arguments: object, **options: object) -> object:
            if len(deeds) == stop_at:
                raise KeyboardInterrupt
            deeds.append(name)
            return deed(*arguments, **options)

        return do

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((Path, "rename"), (Path, "replace"), (Path, "unlink"), (Memory, "remember")):
            patch.setattr(owner, name, counted(name, getattr(owner, name)))
        yield deeds


@pytest.mark.parametrize("twelfths", range(12))
def test_killed_at_any_step_the_next_check_reports_all_of_it(tmp_path: Path, twelfths: int) -> None:
    for name in ("undisturbed", "killed"):
        some_bad(tmp_path / name)
    with counting(stop_at=None) as deeds:
        wanted = checked(tmp_path / "undisturbed")
    assert wanted[0] == {"good": 1, "fixed": 6, "quarantined": 10, "noted": 1}
    with counting(stop_at=len(deeds) * twelfths // 12), pytest.raises(KeyboardInterrupt):
        checked(tmp_path / "killed")
    assert not (tmp_path / "killed" / "report.csv").exists()
    assert checked(tmp_path / "killed") == wanted
    assert checked(tmp_path / "killed") == wanted, "and so does every later one"


def test_a_second_beginning_sets_nothing_aside_twice(tmp_path: Path) -> None:
    some_bad(tmp_path)
    (tmp_path / "photos").rename(tmp_path / "source")
    words = [tmp_path / "photos", "--from", tmp_path / "source", "--fix", "--quarantine", tmp_path / "aside"]
    first = run(*words)
    aside, report = all_files(tmp_path / "aside"), (tmp_path / "photos_check.csv").read_bytes()
    shutil.rmtree(tmp_path / "photos")
    again = run(*words)
    assert (first.returncode, first.stdout) == (again.returncode, again.stdout)
    assert all_files(tmp_path / "aside") == aside and (tmp_path / "photos_check.csv").read_bytes() == report
