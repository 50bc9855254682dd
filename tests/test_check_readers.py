"""One truth about a picture: what the check calls good, Caffe, OpenCV and Pillow show alike, and upright."""

import io
import os
import stat
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from data_prep.augment import read_picture
from data_prep.check import mend, readers
from data_prep.check.finding import Finding
from data_prep.check.jpeg import READ_BY_OPENCV, is_plainly_good_jpeg
from data_prep.check.look import look_at
from data_prep.check.mend import looked_at
from data_prep.check.readers import CaffeReader, Seen, caffe_program
from data_prep.check_images import check_folder
from eval.forward.photographs import Picture, read_part
from tools.files import png
from tools.files.image_list import Entry, write_image_list
from tools.files.image_lmdb import entries, open_lmdb, picture_of
from tools.files.pixels import decoded, upright

ROOT = Path(__file__).resolve().parent.parent
CAFFE = caffe_program()
pytestmark = pytest.mark.skipif(CAFFE is None, reason="Caffe's reader is not on the PATH")

HEIGHT, WIDTH = 48, 80
COARSE = np.random.default_rng(3).integers(0, 256, (4, 5, 3), np.uint8)
PIXELS = cv2.resize(COARSE, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
"""Something of (48, 80, 3), RGB, that looks otherwise each way up."""
PICTURE = Image.fromarray(PIXELS)

# How rows and columns lie in the file for each value of the tag, by its definition: 1 top left, 2 top right
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.transpose(1, 0, 2),
    6: lambda shown: shown.transpose(1, 0, 2)[::-1],
    7: lambda shown: shown.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda shown: shown.transpose(1, 0, 2)[:, ::-1],
}
FORMATS: dict[str, tuple[str, dict[str, object]]] = {
    ".jpg": ("JPEG", {"quality": 95}),
    " progressive.jpg": ("JPEG", {"quality": 95, "progressive": True}),
    ".png": ("PNG", {}),
    ".webp": ("WEBP", {"quality": 95}),
    " lossless.webp": ("WEBP", {"lossless": True}),
    ".tif": ("TIFF", {}),
    " lzw.tif": ("TIFF", {"compression": "tiff_lzw"}),
    " jpeg.tif": ("TIFF", {"compression": "jpeg", "quality": 95}),
    " several.jpg": ("MPO", {"quality": 95, "save_all": True, "append_images": [PICTURE]}),
}


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def with_orientation(value: int, ending: str) -> bytes:
    """A file that shows PICTURE where its orientation is followed."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    kind, options = FORMATS[ending]
    stored = Image.fromarray(np.ascontiguousarray(STORED[value](PIXELS)))
    return encoded(stored, kind, exif=exif, **options)


def check(folder: Path, quarantine: Path | None = None) -> dict[str, Finding]:
    """check_images --fix, in this process."""
    with ThreadPoolExecutor(1) as pool:
        findings = check_folder(folder, quarantine, True, 1, pool, CAFFE)
        return {finding.path.name: finding for finding in findings if finding is not None}


def far_from(pixels: np.ndarray) -> float:
    """Mean difference of a picture (H, W, 3), BGR, from what it should show."""
    assert pixels.shape == PIXELS.shape
    return float(np.abs(pixels[:, :, ::-1].astype(int) - PIXELS).mean())


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture for each orientation and format, checked and fixed."""
    folder = tmp_path_factory.mktemp("turned")
    for ending in FORMATS:
        for value in STORED:
            (folder / f"{value}{ending}").write_bytes(with_orientation(value, ending))
    reader = CaffeReader(str(CAFFE))
    wrong = {
        path.name
        for path in folder.iterdir()
        if isinstance(by_caffe := reader.see(path), str) or not by_caffe.agrees_with(SHOWN)
    }
    found = check(folder)
    assert set(found) == wrong, "the check finds what Caffe shows another way up, and that alone"
    assert wrong == {f"{value}{ending}" for ending in (".webp", " lossless.webp") for value in range(2, 9)}
    for name, finding in found.items():
        assert finding.done == "fixed" and finding.problems == ("orientation",)
        assert f"orientation {name[0]}" in finding.reasons[0]
    return folder


SHOWN = readers.seen(np.ascontiguousarray(PIXELS[:, :, ::-1]))


def test_every_reader_of_ours_shows_it_upright(turned: Path) -> None:
    for path in sorted(turned.glob("[!.]*")):
        assert far_from(read_picture(path)) < 4, path  # augment
        assert far_from(read_part(Picture(str(path))).pixels) < 4, path  # extract, index, serve
        with Image.open(path) as picture:
            assert far_from(np.asarray(upright(picture).convert("RGB"))[:, :, ::-1]) < 4, path


def test_the_lmdb_holds_it_upright(turned: Path, tmp_path: Path) -> None:
    """By convert_imageset itself, and tools.check_lmdb finds it right, every entry of it."""
    listed = [Entry(str(path), int(path.name[0])) for path in sorted(turned.glob("[!.]*"))]
    write_image_list(tmp_path / "list.txt", listed)
    size = ["--resize_height", str(HEIGHT), "--resize_width", str(WIDTH)]
    command = ["convert_imageset", *size, "/", str(tmp_path / "list.txt"), str(tmp_path / "lmdb")]
    subprocess.run(command, check=True, capture_output=True)
    with open_lmdb(tmp_path / "lmdb") as database:
        stored = [picture_of(value) for _, value in entries(database)]
    assert [label for label, _ in stored] == [entry.label for entry in listed]
    assert all(far_from(pixels) < 4 for _, pixels in stored)
    checked = [sys.executable, "-m", "tools.check_lmdb", str(tmp_path / "lmdb"), str(tmp_path / "list.txt")]
    options = ["--size", f"{HEIGHT}x{WIDTH}", "--sample", str(len(listed))]
    subprocess.run([*checked, *options], check=True, capture_output=True, cwd=ROOT)


def tiff(compression: str, picture: Image.Image = PICTURE) -> bytes:
    return encoded(picture, "TIFF", compression=compression)


def with_alpha(alpha: np.ndarray, colours: np.ndarray = PIXELS) -> bytes:
    return encoded(Image.fromarray(np.dstack([colours, alpha.astype(np.uint8)])), "PNG")


def big_text() -> bytes:
    info = PngInfo()
    info.add_text("comment", "many words " * 300_000, zip=True)
    return encoded(PICTURE, "PNG", pnginfo=info)


def broken_exif_png(mode: str) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    data = encoded(PICTURE.convert(mode), "PNG", exif=exif)
    at = data.index(b"eXIf")
    end = at + 4 + int.from_bytes(data[at - 4 : at])
    broken = b"eXIf" + b"\0\x08" + data[at + 6 : end]
    return data[:at] + broken + zlib.crc32(broken).to_bytes(4) + data[end + 4 :]


def media(brand: bytes) -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1" + brand + bytes(400)


def heic() -> bytes:
    pillow_heif.register_heif_opener()
    return encoded(PICTURE, "HEIF")


def tiff_16_bits(values: np.ndarray, photometric: int) -> bytes:
    """Grey of 16 bits, by the definition of TIFF 6.0; photometric 0 says that white is 0."""
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, photometric), (273, 122), (277, 1)]
    tags += [(278, height), (279, values.size * 2)]
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag >= 273 else 3, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head + values.astype("<u2").tobytes()


def animated(*, still_too: bool) -> bytes:
    """An animated PNG; `still_too` has PICTURE in front for readers without animation, and not in it."""
    others = [PICTURE.rotate(180), PICTURE.rotate(90)]
    return encoded(PICTURE, "PNG", save_all=True, append_images=others, default_image=still_too)


def animated_grey() -> bytes:
    """Two frames of grey, the first cleared before the second: OpenCV 5.0 clears what isn't its own."""

    def chunk(kind: bytes, payload: bytes) -> bytes:
        whole = kind + payload
        return struct.pack(">I", len(payload)) + whole + struct.pack(">I", zlib.crc32(whole))

    def control(number: int) -> bytes:
        return chunk(b"fcTL", struct.pack(">5I2H2B", number, WIDTH, HEIGHT, 0, 0, 1, 10, 1, 0))

    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in PIXELS[:, :, 0]))
    head = chunk(b"IHDR", struct.pack(">2I5B", WIDTH, HEIGHT, 8, 0, 0, 0, 0)) + chunk(
        b"acTL", struct.pack(">2I", 2, 0)
    )
    frames = control(0) + chunk(b"IDAT", packed) + control(1) + chunk(b"fdAT", struct.pack(">I", 2) + packed)
    return png.SIGNATURE + head + frames + chunk(b"IEND", b"")


GREY = np.repeat(PIXELS[:, :, :1], 3, axis=2)
NOTHING, EVERYTHING = np.zeros((HEIGHT, WIDTH)), np.full((HEIGHT, WIDTH), 255)
DARK = (PIXELS[:, :, 0] // 2).astype(np.uint16)
GRAINY = Image.fromarray(
    np.clip(
        np.asarray(PICTURE.resize((320, 200))) + np.random.default_rng(4).normal(0, 12, (200, 320, 3)), 0, 255
    ).astype(np.uint8)
)
PHOTO = encoded(GRAINY, "JPEG", quality=90)
PROGRESSIVE = encoded(GRAINY, "JPEG", quality=90, progressive=True)
TALLER = struct.pack(">BHH", 8, 200, 320), struct.pack(">BHH", 8, 210, 320)
"""The frame's precision, height and width, and those of ten rows more than there are data for."""
KINDS: dict[str, tuple[Callable[[], bytes], str, str, str]] = {
    # name: bytes, problem ("" for a good one), words of the reason, outcome of --fix and --quarantine
    "animated.webp": (
        lambda: encoded(PICTURE, "WEBP", save_all=True, append_images=[PICTURE.rotate(180)]),
        "unreadable",
        "Caffe's reader can't decode it",
        "fixed",
    ),
    "zstd.tif": (lambda: tiff("zstd"), "unreadable", "compression zstd: our OpenCV can't", "fixed"),
    "lzma.tif": (lambda: tiff("lzma"), "unreadable", "compression lzma: our OpenCV can't", "fixed"),
    "lzw.tif": (lambda: tiff("tiff_lzw"), "", "", ""),
    "deflate.tif": (lambda: tiff("tiff_adobe_deflate"), "", "", ""),
    "packbits.tif": (lambda: tiff("packbits"), "", "", ""),
    "fax.tif": (lambda: tiff("group4", PICTURE.convert("1")), "channels", "black and white", "fixed"),
    "fax 3.tif": (lambda: tiff("group3", PICTURE.convert("1")), "channels", "black and white", "fixed"),
    "wide.png": (
        lambda: encoded(Image.new("RGB", (2**20 + 1, 1), (9, 200, 30)), "PNG"),
        "unreadable",
        "our OpenCV can't decode it and Caffe's reader can't decode it",
        "quarantined",
    ),
    "text.png": (big_text, "", "", ""),
    "wrong checksum.png": (
        lambda: encoded(PICTURE, "PNG", dpi=(72, 72)).replace(b"pHYs\0", b"pHYs\1"),
        "",
        "",
        "",
    ),
    "broken exif.png": (lambda: broken_exif_png("RGB"), "", "", ""),
    "broken exif alpha.png": (lambda: broken_exif_png("RGBA"), "channels", "alpha", "fixed"),
    "clear.png": (lambda: with_alpha(NOTHING), "channels", "alpha", "fixed"),
    "nearly clear.png": (lambda: with_alpha(NOTHING + 1), "channels", "alpha", "fixed"),
    "white on clear.png": (
        lambda: with_alpha(np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 200, PIXELS // 255 + 254),
        "channels",
        "alpha",
        "fixed",
    ),
    "clear palette.png": (
        lambda: encoded(PICTURE.quantize(16), "PNG", transparency=bytes(16)),
        "channels",
        "palette",
        "fixed",
    ),
    "dark 16.png": (
        lambda: encoded(Image.fromarray(DARK), "PNG"),
        "channels",
        "the upper 8 show nothing",
        "quarantined",
    ),
    "animated.png": (lambda: animated(still_too=False), "", "", ""),
    "animated beside a still.png": (lambda: animated(still_too=True), "", "", ""),
    "animated grey.png": (animated_grey, "channels", "grey", "fixed"),
    "of 100 levels.ppm": (
        lambda: b"P6 80 48 100\n" + (PIXELS.astype(int) * 100 // 255).astype(np.uint8).tobytes(),
        "orientation",
        "or otherwise",
        "fixed",
    ),
    "of 1023 levels.ppm": (
        lambda: b"P6 80 48 1023\n" + (PIXELS.astype(int) * 4).astype(">u2").tobytes(),
        "orientation",
        "or otherwise",
        "fixed",
    ),
    "of 4095 levels.pgm": (
        lambda: b"P5 80 48 4095\n" + (GREY[:, :, 0].astype(int) * 16).astype(">u2").tobytes(),
        "channels",
        "16 bits",
        "fixed",
    ),
    "black is 0.tif": (
        lambda: tiff_16_bits(GREY[:, :, 0].astype(int) * 257, 1),
        "channels",
        "16 bits",
        "fixed",
    ),
    "white is 0.tif": (
        lambda: tiff_16_bits((255 - GREY[:, :, 0].astype(int)) * 257, 0),
        "channels",
        "16 bits",
        "fixed",
    ),
    "lab.tif": (lambda: tiff("raw", PICTURE.convert("LAB")), "channels", "colour mode LAB", "fixed"),
    "whole.heic": (heic, "extension", "HEIC (as iPhones write) data under the extension .heic", "fixed"),
    "whole.jpg": (heic, "extension", "HEIC (as iPhones write) data under", "fixed"),
    "cut.heic": (lambda: heic()[:-300], "unreadable", "HEI", "quarantined"),
    "phone.heic": (lambda: media(b"heic"), "unreadable", "HEIC", "quarantined"),
    "phone.jpg": (lambda: media(b"heic"), "unreadable", "HEIC", "quarantined"),
    "new.jpg": (lambda: b"\xff\x0a" + bytes(300), "unreadable", "JPEG XL", "quarantined"),
    "boxed.jpg": (lambda: b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(300), "unreadable", "JPEG XL", "quarantined"),
    "film.jpg": (lambda: media(b"isom").replace(b"mif1", b"mp42"), "unreadable", "a film", "quarantined"),
    "one.avif": (lambda: encoded(PICTURE, "AVIF"), "extension", "AVIF data", "fixed"),
    "another.jpg": (lambda: encoded(PICTURE, "AVIF"), "extension", "AVIF data under", "fixed"),
    "several.jpg": (lambda: encoded(PICTURE, "MPO", save_all=True, append_images=[PICTURE]), "", "", ""),
    "several.png": (
        lambda: encoded(PICTURE, "MPO", save_all=True, append_images=[PICTURE]),
        "extension",
        "MPO (a JPEG with more pictures behind it) data",
        "fixed",
    ),
    "padded.jpg": (lambda: PHOTO[:-2] + bytes(300) + PHOTO[-2:], "", "", ""),
    "junk.jpg": (lambda: PHOTO[:-2] + b"\x7f" + PHOTO[-2:], "", "", ""),
    "zeros inside.jpg": (
        lambda: PHOTO[:9000] + bytes(400) + PHOTO[9400:],
        "damaged",
        "extraneous",
        "quarantined",
    ),
    "lacks a piece.jpg": (
        lambda: PHOTO[:9000] + PHOTO[10000:],
        "truncated",
        "premature end",
        "quarantined",
    ),
    "more rows.jpg": (lambda: PHOTO.replace(*TALLER), "truncated", "premature end", "quarantined"),
    "progressive.jpg": (
        lambda: PROGRESSIVE[:-3000] + PROGRESSIVE[-2:],
        "truncated",
        "premature end",
        "quarantined",
    ),
    "line\nbreak.jpg": (lambda: encoded(PICTURE, "JPEG"), "name", "a line break", "fixed"),
    "x" * 250 + ".png": (lambda: encoded(PICTURE, "PNG"), "name", "no room", "fixed"),
}


@pytest.mark.parametrize("name", KINDS)
def test_kinds(tmp_path: Path, name: str) -> None:
    make, problem, words, done = KINDS[name]
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / name).write_bytes(make())
    (folder / "good.jpg").write_bytes(encoded(PICTURE, "JPEG"))
    found = check(folder, tmp_path / "aside")
    if not problem:
        assert not found
        return
    assert found.keys() == {name}
    assert found[name].problems == (problem,) and words in "; ".join(found[name].reasons)
    assert found[name].done == done
    assert (tmp_path / "aside" / name).exists() == (done == "quarantined")
    assert not check(folder), "what is left or was saved is good"


@pytest.mark.parametrize("name", ["clear.png", "nearly clear.png"])
def test_colours_under_a_clear_alpha_are_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(KINDS[name][0]())
    check(tmp_path)
    assert far_from(cv2.imread(str(tmp_path / name))) == 0


@pytest.mark.parametrize(
    "error", [MemoryError(), KeyError("mode"), RecursionError("deep"), OSError(-9, "encoder")]
)
def test_whatever_an_encoder_raises_costs_one_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(picture: Image.Image, kind: str) -> bytes:
        if kind == "PNG":
            raise error
        return encode(picture, kind)

    encode = mend.encoded
    monkeypatch.setattr(mend, "encoded", refuse)
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.png", "c.jpg"):
        (tmp_path / "photos" / name).write_bytes(encoded(PICTURE.convert("L"), "PNG"))
    found = check(tmp_path / "photos", tmp_path / "aside")
    assert [finding.done for finding in found.values()] == ["fixed", "quarantined", "fixed"]
    assert "can't be fixed: " in found["b.png"].reasons[-1]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("animated.png", PIXELS),
        ("animated beside a still.png", PIXELS),
        ("animated grey.png", GREY),
        ("of 100 levels.ppm", PIXELS),
        ("of 1023 levels.ppm", PIXELS),
        ("of 4095 levels.pgm", GREY),
        ("black is 0.tif", GREY),
        ("white is 0.tif", GREY),
    ],
)
def test_what_is_left_shows_what_the_format_says(tmp_path: Path, name: str, shown: np.ndarray) -> None:
    """To all readers, where one or two of them take the file for another picture."""
    (tmp_path / name).write_bytes(KINDS[name][0]())
    check(tmp_path)
    seen = CaffeReader(str(CAFFE)).see(tmp_path / name)
    assert isinstance(seen, Seen) and seen.agrees_with(readers.seen(np.ascontiguousarray(shown[:, :, ::-1])))
    for pixels in (read_picture(tmp_path / name), read_part(Picture(str(tmp_path / name))).pixels):
        assert np.abs(pixels[:, :, ::-1].astype(int) - shown).mean() < 2


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
@pytest.mark.parametrize("value", STORED)
def test_what_phones_write_lies_upright(tmp_path: Path, kind: str, value: int) -> None:
    """Extraction, the index and the page read it as it is; the check saves it anew."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    stored = Image.fromarray(np.ascontiguousarray(STORED[value](PIXELS)))
    pillow_heif.register_heif_opener()
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(stored, kind, exif=exif.tobytes(), quality=95))
    assert far_from(read_part(Picture(str(path))).pixels) < 5
    assert check(tmp_path)["a.jpg"].done == "fixed"
    assert far_from(cv2.imread(str(path))) < 5


def test_clear_palette_keeps_its_colours(tmp_path: Path) -> None:
    (tmp_path / "clear palette.png").write_bytes(KINDS["clear palette.png"][0]())
    check(tmp_path)
    shown = np.asarray(PICTURE.quantize(16).convert("RGB"))
    assert (cv2.imread(str(tmp_path / "clear palette.png"))[:, :, ::-1] == shown).all()


PLAIN = encoded(PICTURE, "JPEG")


def with_exif(payload: bytes) -> bytes:
    segment = b"Exif\0\0" + payload
    return PLAIN[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + PLAIN[2:]


whole_exif = st.builds(
    lambda order, entries: (
        {"<": b"II*\0", ">": b"MM\0*"}[order]
        + struct.pack(f"{order}IH", 8, len(entries))
        + b"".join(struct.pack(f"{order}HHIHH", *entry) for entry in entries)
        + bytes(4)
    ),
    st.sampled_from("<>"),
    st.lists(
        st.tuples(
            st.sampled_from([0x0112] * 8 + [*READ_BY_OPENCV, 0x9999]),
            st.sampled_from([3, 3, 3, 1, 2, 4, 5, 7, 13]),
            st.sampled_from([1, 1, 1, 0, 2, 5, 2**31]),
            st.integers(0, 9),
            st.sampled_from([0, 0, 6, 0xFFFF]),
        ),
        max_size=4,
    ),
)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@settings(max_examples=150, deadline=None)
@given(
    whole_exif, st.lists(st.tuples(st.integers(0, 70), st.integers(0, 255)), max_size=2), st.integers(0, 40)
)
def test_a_plain_jpeg_is_shown_alike_whatever_its_exif_data(
    tmp_path_factory: pytest.TempPathFactory, exif: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    """The check doesn't ask Caffe about plain JPEGs: this asks it."""
    payload = bytearray(exif[: len(exif) - cut] if cut < 5 else exif)
    for at, value in changes:
        if at < len(payload):
            payload[at] = value
    data = with_exif(bytes(payload))
    path = tmp_path_factory.getbasetemp() / "exif.jpg"
    path.write_bytes(data)
    assert look_at(path, CAFFE).finding.problems in ((), ("orientation",))
    if is_plainly_good_jpeg(data):
        shown = decoded(data)
        by_caffe = readers.CaffeReader(str(CAFFE)) if not KEPT else KEPT[0]
        KEPT[:] = [by_caffe]
        caffe = by_caffe.see(path)
        with Image.open(path) as picture:
            ours = readers.seen(np.asarray(upright(picture))[:, :, ::-1])
        assert shown is not None and isinstance(caffe, Seen)
        assert caffe.agrees_with(ours) and readers.seen(shown).agrees_with(ours)


KEPT: list[CaffeReader] = []


def test_photographs_as_cameras_write_them_are_plain() -> None:
    exif = Image.Exif()
    for tag, value in ((ExifTags.Base.Make, "a maker of cameras"), (ExifTags.Base.Orientation, 6)):
        exif[tag] = value
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExposureTime] = 0.01
    assert is_plainly_good_jpeg(encoded(PICTURE, "JPEG", exif=exif))
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    assert is_plainly_good_jpeg(encoded(PICTURE, "JPEG", exif=exif, xmp=xmp))
    assert not is_plainly_good_jpeg(encoded(PICTURE, "JPEG", xmp=xmp)), "not every reader looks there"


SEEDS = [
    PLAIN,
    with_orientation(6, ".tif"),
    with_orientation(6, " lossless.webp"),
    tiff("tiff_lzw"),
    big_text(),
]
SEEDS += [
    encoded(PICTURE.quantize(8), "PNG"),
    encoded(PICTURE, "BMP"),
    encoded(PICTURE, "PPM"),
    media(b"heic"),
]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), max_size=6),
    st.integers(0, 20_000),
    st.sampled_from([".jpg", ".png", ".tif", ".webp", ".xyz"]),
)
def test_any_bytes_give_a_finding_and_what_is_saved_is_good(
    tmp_path_factory: pytest.TempPathFactory,
    seed: bytes,
    changes: list[tuple[int, int]],
    cut: int,
    suffix: str,
) -> None:
    data = bytearray(seed[: len(seed) - cut] if cut < len(seed) // 4 else seed)
    for at, value in changes:
        data[at % len(data)] = value
    path = tmp_path_factory.getbasetemp() / f"fuzzed{suffix}"
    path.write_bytes(data)
    looked = looked_at(str(path), True, CAFFE)
    if looked is not None:
        finding, good = looked
        assert finding.problems and all(finding.reasons)
        if good:
            place = path.with_name(f"saved{suffix if suffix != '.xyz' else '.jpg'}")
            place.write_bytes(good)
            assert not look_at(place, CAFFE).finding.problems


def script(path: Path, words: str) -> CaffeReader:
    path.write_text(f"#!/bin/sh\n{words}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return CaffeReader(str(path))


def test_a_reader_that_crashes_or_hangs_costs_one_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashing = script(tmp_path / "crashing", "kill -SEGV $$")
    assert crashing.see(tmp_path) == "crashes on it (signal 11)"
    assert crashing.see(tmp_path) == "crashes on it (signal 11)", "it is started anew"
    with pytest.raises(OSError, match="was stopped"):
        script(tmp_path / "stopped", "kill -TERM $$").see(tmp_path)
    monkeypatch.setattr(readers, "CAFFE_SECONDS", 0.2)
    assert "seconds over it" in str(script(tmp_path / "hanging", "exec sleep 60").see(tmp_path))


def test_caffes_reader_tells_of_every_warning(tmp_path: Path) -> None:
    """Of harmless ones before others, too, of which libjpeg prints the first alone."""
    assert CAFFE is not None
    reader = CaffeReader(CAFFE)
    at = PHOTO.index(b"\xff\xda") - 5
    junk = PHOTO[: at + 5] + b"\x7f" + PHOTO[at + 5 : -3000] + PHOTO[-2:]  # before the scan's marker
    (tmp_path / "a.jpg").write_bytes(junk)
    seen = reader.see(tmp_path / "a.jpg")
    assert isinstance(seen, Seen)
    assert [words.split(":")[0] for words in seen.warnings] == ["Corrupt JPEG data"] * 2
    assert any("1 extraneous" in words for words in seen.warnings)
    (tmp_path / "b.jpg").write_bytes(PHOTO)
    good = reader.see(tmp_path / "b.jpg")
    reader.close()
    assert isinstance(good, Seen) and good.warnings == ()


def test_without_caffe_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.webp").write_bytes(with_orientation(6, ".webp"))
    path = os.pathsep.join(
        p for p in os.environ["PATH"].split(os.pathsep) if not Path(p, readers.CAFFE).exists()
    )
    command = [sys.executable, "-m", "data_prep.check_images", str(tmp_path / "photos")]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "Caffe is not asked" in done.stderr


def test_a_picture_beyond_opencvs_limits_is_a_sentence_for_every_reader(tmp_path: Path) -> None:
    """Its message of a failed assertion is none."""
    path = tmp_path / "wide.tif"
    Image.new("RGB", (2**20 + 1, 1)).save(path)
    assert decoded(path.read_bytes()) is None
    for read in (lambda: read_part(Picture(str(path))), lambda: read_picture(path)):
        with pytest.raises(ValueError, match=str(path)):
            read()
    assert check(tmp_path)[path.name].done == "left"
