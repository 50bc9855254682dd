"""Find the pictures that would spoil a training set, in a folder of pictures or of (nested) class folders.

Every file is read and decoded once. Reported, one line a file with the reason, are:

  unreadable  the system can't read it, or its decoder gives up on it
  empty       a file of zero bytes, or a class folder without a single good picture
  not-image   no picture format known
  truncated   the end of the data is missing
  channels    not three 8-bit channels: grey, palette, CMYK, alpha, 16 bits
  extension   the name promises another format than the data has, or none that Caffe's convert_imageset reads

How truncation is found: most decoders report that the data ended before the picture did. A JPEG that was cut
and then closed with an end marker, or that was decoded half and saved anew, passes every decoder; where its
data ran out it shows flat grey of 128. So a picture whose last 8 rows or more are 128 (give or take 1) in all
channels from edge to edge counts as truncated too. What this may miss: a cut that costs less than 8 rows, a
progressive JPEG cut after its first pass and closed (it is blurred, not grey), fill colours other than grey,
and damage in the middle of a JPEG, which shifts colours but ends well. A picture with an honest border of
just this grey at its lower edge is reported wrongly.

--fix saves what can be saved by encoding it anew: three channels (alpha over white), the format of its
extension (.jpg is appended to a name without a picture's extension). --quarantine moves what is still bad
into a folder aside, below its class folder's name. No file is ever written to, only replaced or moved, so
hard links elsewhere keep their data. Names that begin with a dot are passed over.

Most JPEGs are found good by a decode at an eighth of their size, which reads all of the data but computes few
pixels. Where that leaves any doubt the whole picture is decoded: the findings are the same.

The exit status is 0 only if nothing bad is left in place.
"""

import argparse
import errno
import io
import os
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import tee
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from data_prep.classes.folders import add_from_option, begin_from
from tools.files.csv_rows import csv_row
from tools.files.picture_names import FORMAT_OF_SUFFIX, files_below
from tools.processes import add_jobs_option, add_scheduler_option, lent_executor, map_ordered
from tools.program import run_program, written_beside

GREY_ROWS = 8
GREY_IS_128_IN = ("RGB", "L", "CMYK")
JPEG_BLOCK = 8  # pixels on each side, of which a decode at an eighth gives the mean
SAVED_QUALITY = 95
REPORT_HEADER = ("file", "problem", "reason", "done")

CHANNELS = {
    "1": "black and white",
    "L": "grey, one channel",
    "LA": "grey with alpha",
    "P": "palette",
    "PA": "palette with alpha",
    "CMYK": "CMYK, four channels",
    "RGBA": "alpha, four channels",
    "RGBa": "alpha, four channels",
    "I;16": "grey of 16 bits",
    "I;16B": "grey of 16 bits",
    "I": "grey of 32 bits",
    "F": "grey of floating point numbers",
}


@dataclass(frozen=True)
class Finding:
    """What is the matter with one file: problems and their reasons (none: a good file), and what was done."""

    path: Path
    problems: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    done: str = "left"


def check_file(path: Path) -> Finding:
    """Decode one file and say what is wrong with it. Never raises for what is in the file."""
    return _check(path)[0]


def fix_file(path: Path) -> Finding:
    """check_file, and where a whole picture is bad only in its channels or name, put a good one in its place.

    Raises OSError when the good one can't be written.
    """
    return put_right(*remedy_for(path))


def remedy_for(path: Path) -> tuple[Finding, bytes]:
    """check_file's finding, and the bytes of a good file where a bad one can be saved, else none."""
    finding, picture, data = _check(path)
    if picture is None or not finding.problems:
        return finding, b""
    wanted = FORMAT_OF_SUFFIX[_right_name(path).suffix.lower()]
    if finding.problems == ("extension",) and _format(picture) == wanted:
        return finding, data
    buffer = io.BytesIO()
    three_channels(picture).save(
        buffer, wanted, **({"quality": SAVED_QUALITY} if wanted in ("JPEG", "WEBP") else {})
    )
    return finding, buffer.getvalue()


def put_right(finding: Finding, good: bytes) -> Finding:
    """Put a good file in a bad one's place; without the bytes of one the finding is given back as it is."""
    if not good:
        return finding
    target = _right_name(finding.path)
    if target != finding.path and target.exists():
        return replace(finding, reasons=(*finding.reasons, f"can't be fixed: {target.name} is there already"))
    with written_beside(target) as part:
        part.write_bytes(good)
    if target != finding.path:
        finding.path.unlink()
    return replace(finding, done="fixed")


def _right_name(path: Path) -> Path:
    return path if path.suffix.lower() in FORMAT_OF_SUFFIX else path.with_name(f"{path.name}.jpg")


def three_channels(picture: Image.Image) -> Image.Image:
    """The picture in RGB, upright: alpha over white, 16-bit grey by its upper 8 bits, else as Pillow does."""
    picture = ImageOps.exif_transpose(picture)
    # A colour profile would be saved along, and a CMYK one says nothing true of RGB.
    picture.info.pop("icc_profile", None)
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def grey_rows(picture: Image.Image) -> int:
    """How many rows at the lower edge are flat grey of 128, give or take 1, in all channels."""
    width, height = picture.size
    if not _is_grey(picture.crop((0, height - 1, width, height))).all():
        return 0
    flat_rows = _is_grey(picture).reshape(height, -1).all(axis=1)
    return height if flat_rows.all() else int(np.argmin(flat_rows[::-1]))


def _is_grey(picture: Image.Image) -> np.ndarray:
    return np.abs(np.asarray(picture).astype(np.int16) - 128) <= 1


def _check(path: Path) -> tuple[Finding, Image.Image | None, bytes]:
    """The finding, the decoded picture where it can be saved, the file's bytes."""
    try:
        data = path.read_bytes()
    except IsADirectoryError:
        return Finding(path, ("empty",), ("a folder without pictures",)), None, b""
    except OSError as error:
        return Finding(path, ("unreadable",), (error.strerror or str(error),)), None, b""
    if not data:
        return Finding(path, ("empty",), ("zero bytes",)), None, b""
    with warnings.catch_warnings():
        # A decoder's warnings concern metadata and size; errors are what counts.
        warnings.simplefilter("ignore")
        if FORMAT_OF_SUFFIX.get(path.suffix.lower()) == "JPEG" and is_plainly_good_jpeg(data):
            return Finding(path), None, data
        return *_check_data(path, data), data


def is_plainly_good_jpeg(data: bytes) -> bool:
    """True where a decode at an eighth of the size proves a JPEG good; False proves nothing.

    As at full size all of the data is taken apart, so what lacks there is missed here too.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=("JPEG",))
        if picture.format != "JPEG" or picture.mode != "RGB":
            return False
        height = picture.height
        picture.draft(None, (max(1, picture.width // JPEG_BLOCK), max(1, height // JPEG_BLOCK)))
        picture.load()
    except Exception:  # _check_data says what it is
        return False
    return picture.height == -(-height // JPEG_BLOCK) and not _may_end_in_grey(picture, height)


def _may_end_in_grey(eighth: Image.Image, height: int) -> bool:
    """False where the means of 8 x 8 pixels rule out GREY_ROWS of grey at the lower edge.

    Looks at the row of blocks that shares the most rows with the last 8. Its `others` are not among them but
    above, or below the picture, and may be anything: each moves the mean by up to 128 / 8. 8 more are for the
    rounding of colours.
    """
    row = max(0, (height - JPEG_BLOCK // 2) // JPEG_BLOCK)
    others = abs(row * JPEG_BLOCK - (height - JPEG_BLOCK))
    allowed = 8 + others * 128 // JPEG_BLOCK
    extrema = eighth.crop((0, row, eighth.width, row + 1)).getextrema()
    return all(low >= 128 - allowed and high <= 128 + allowed for low, high in extrema)


def _check_data(path: Path, data: bytes) -> tuple[Finding, Image.Image | None]:
    try:
        picture = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        return Finding(path, ("not-image",), ("not an image, or not even its header is whole",)), None
    except Exception as error:  # decoders raise errors of every type when the data is garbage
        return Finding(path, ("unreadable",), (f"header can't be read: {error}",)), None
    try:
        picture.load()
    except Exception as error:
        problem = "truncated" if "truncated" in str(error).lower() else "unreadable"
        return Finding(path, (problem,), (f"{_format(picture)} can't be decoded: {error}",)), None
    rows = grey_rows(picture) if picture.mode in GREY_IS_128_IN else 0
    if rows >= GREY_ROWS:
        reason = f"flat grey from row {picture.height - rows} of {picture.height} on"
        return Finding(path, ("truncated",), (reason,)), None
    found = dict(_wrong_channels(picture) + _wrong_extension(path, picture))
    savable = picture.mode not in ("I", "F")  # no telling which of their values is white
    return Finding(path, tuple(found), tuple(found.values())), picture if savable else None


def _wrong_channels(picture: Image.Image) -> list[tuple[str, str]]:
    if picture.mode == "RGB":
        return []
    return [("channels", CHANNELS.get(picture.mode, f"colour mode {picture.mode}") + " instead of three")]


def _wrong_extension(path: Path, picture: Image.Image) -> list[tuple[str, str]]:
    suffix, actual = path.suffix.lower(), _format(picture)
    if suffix not in FORMAT_OF_SUFFIX:
        name = f"the extension {path.suffix}" if suffix else "no extension"
        return [("extension", f"{actual} data under {name}, which convert_imageset is not given")]
    if FORMAT_OF_SUFFIX[suffix] != actual:
        return [("extension", f"{actual} data under the extension {path.suffix}")]
    return []


def _format(picture: Image.Image) -> str:
    """The format's name; MPO is what Pillow calls a JPEG with a second picture behind it, as phones write."""
    return "JPEG" if picture.format == "MPO" else str(picture.format)


def set_aside(path: Path, folder: Path, quarantine: Path) -> None:
    """Move a file from below folder to its place below quarantine, beside what may have its name there."""
    target = quarantine / path.relative_to(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while target.exists():
        number += 1
        target = target.with_name(f"{path.stem} ({number}){path.suffix}")
    try:
        path.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with written_beside(target) as part:
            shutil.copy2(path, part)
        path.unlink()


def check_folder(
    folder: Path, quarantine: Path | None, fix: bool, jobs: int, executor: Executor | None = None
) -> Iterator[Finding | None]:
    """For every file below folder in order, None where it is good, else its finding; bad ones are dealt with.

    Then come the folders without a good one. `executor` stands for a pool of `jobs` processes. Raises
    ValueError when quarantine lies within folder, OSError when something can't be listed or written.
    """
    if quarantine is not None and quarantine.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"quarantine {quarantine} lies within {folder}, where it would be taken for a class")
    good_in: Counter[str] = Counter()
    look = partial(_unless_good, fix=fix)
    names, same_names = tee(files_below(folder))
    with closing(map_ordered(look, names, jobs=jobs, what="checking", executor=executor)) as findings:
        for bad, name in zip(findings, same_names, strict=False):
            finding = put_right(*bad) if bad else None
            good = finding is None or finding.done == "fixed"
            is_file = finding is None or not finding.path.is_dir()
            if quarantine is not None and is_file and not good:
                set_aside(finding.path, folder, quarantine)
                finding = replace(finding, done="quarantined")
            if is_file:
                good_in[name.rpartition(os.sep)[0]] += good
            yield finding
    for name, good in good_in.items():
        if not good:
            yield Finding(Path(name), ("empty",), ("not one picture in this folder is good",))


def _unless_good(name: str, fix: bool) -> tuple[Finding, bytes] | None:
    """The finding on a file and its remedy, None for a good one: half a million are not worth passing on.

    Only looks; what is written is written by the process that asked, once, however often a cluster does this.
    """
    finding, good = remedy_for(Path(name)) if fix else (check_file(Path(name)), b"")
    return (finding, good) if finding.problems else None


def report(findings: Iterator[Finding | None], folder: Path, report_csv: Path) -> Counter[str]:
    """Print a line for each bad file and write report_csv; how many are good, fixed, quarantined and left."""
    outcomes: Counter[str] = Counter()
    report_csv.parent.mkdir(parents=True, exist_ok=True)
    with (
        written_beside(report_csv) as part,
        part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        file.write(csv_row(REPORT_HEADER))
        for finding in findings:
            if finding is None:
                outcomes["good"] += 1
                continue
            outcomes[finding.done] += 1
            name, reason = finding.path.relative_to(folder), "; ".join(finding.reasons)
            file.write(csv_row((name, " ".join(finding.problems), reason, finding.done)))
            tqdm.write(f"{name}: {' '.join(finding.problems)}: {reason} [{finding.done}]")
    return outcomes


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.check_images",
        description=__doc__,
        epilog="example: python -m data_prep.check_images photos --quarantine photos_bad --fix",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of pictures or of class folders")
    add_from_option(parser)
    parser.add_argument(
        "--report",
        type=Path,
        metavar="CSV",
        help="a row for each bad file (default: DIR_check.csv beside DIR)",
    )
    parser.add_argument("--quarantine", type=Path, metavar="DIR", help="move what is bad there")
    parser.add_argument("--fix", action="store_true", help="encode anew what can be saved")
    add_jobs_option(parser)
    add_scheduler_option(parser)
    return parser


def main() -> int:
    """Run the program; the exit status."""
    arguments = build_parser().parse_args()

    def run() -> int:
        folder = arguments.folder.resolve()
        begin_from(arguments.source, folder)
        report_csv = arguments.report or folder.with_name(f"{folder.name}_check.csv")
        with lent_executor(arguments.scheduler, [folder]) as executor:
            jobs = executor.workers if executor else arguments.jobs
            findings = check_folder(folder, arguments.quarantine, arguments.fix, jobs, executor)
            outcomes = report(findings, folder, report_csv)
        counts = ", ".join(f"{outcomes[outcome]} {outcome}" for outcome in ("good", "fixed", "quarantined"))
        print(f"{counts}, {outcomes['left']} bad left in place; report: {report_csv}")
        return 1 if outcomes["left"] else 0

    return run_program("check_images", run)


if __name__ == "__main__":
    # the module by its own name, as a cluster's workers look for its functions there
    from data_prep import check_images

    sys.exit(check_images.main())
