"""Find the pictures that would spoil a training set, in a folder of pictures or of (nested) class folders.

Every file is read and decoded once. Reported, one line a file with the reason, are:

  unreadable  the system can't read it, or a decoder gives up on it: Pillow, our OpenCV, or the older one that
              Caffe's convert_imageset reads with
  empty       a file of zero bytes, or a class folder without a single good picture
  not-image   no picture format known
  truncated   the end of the data is missing
  damaged     a JPEG whose decoder loses its place in the data: something in its middle is wrong or missing
  orientation the decoders show it one this way up and one that way
  channels    not three 8-bit channels: grey, palette, CMYK, alpha, 16 bits
  extension   the name promises another format than the data has, or none that Caffe's convert_imageset reads
  name        a line break in it, or too long for its copies' names

How truncation is found: most decoders report that the data ended before the picture did. A JPEG that was cut
and then closed with an end marker, or that was decoded half and saved anew, passes every decoder; where its
data ran out it shows flat grey of 128. So a picture whose last 8 rows or more are 128 (give or take 1) in all
channels from edge to edge counts as truncated too. What this may miss: a cut that costs less than 8 rows, a
progressive JPEG cut between two of its passes and closed (it is blurred, not grey), and fill colours other
than grey. A picture with an honest border of just this grey at its lower edge is reported wrongly.

Damage is told by libjpeg's warnings. Bytes left over before the end are the commonest; one or two of them, or
any number that are all the same, are passed over, as cameras fill up their files so. What changes colours
alone, as two of three single bits do, ends without a warning.

--fix saves what can be saved by encoding it anew: three channels (alpha over white, unless nothing would be
seen then), upright, the format of its extension (.jpg is appended to a name without a picture's extension).
What can't be saved stays bad, with the reason. --quarantine moves what is still bad into a folder aside,
below its class folder's name; what lies there already with the same content is not kept twice. No file is
ever written to, only replaced or moved, so hard links elsewhere keep their data. Names that begin with a dot
and folders that machines keep (@eaDir, __MACOSX) are passed over.

What was fixed or set aside is remembered in DIR/.check_images.csv, so that a check that was stopped and goes
on reports all of it in the end.

Most JPEGs are found good by a decode at an eighth of their size, which reads all of the data but computes few
pixels. Where that or their headers leave any doubt, and for every other format, all decoders take the whole
picture: the findings are the same. Caffe's is asked where Caffe is on the PATH (source .caffe/env.sh).

The exit status is 0 only if nothing bad is left in place. Class folders that --quarantine leaves without a
picture are noted, and no more: data_prep.augment leaves small classes out.
"""

import argparse
import errno
import filecmp
import os
import shutil
import sys
from collections import Counter
from collections.abc import Generator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import tee
from pathlib import Path

from data_prep.check.finding import NO_PICTURE, Finding
from data_prep.check.mend import cannot, crashed, looked_at, right_name
from data_prep.check.readers import CAFFE, caffe_program
from data_prep.check.report import Memory, remembered, write_report
from data_prep.classes.folders import add_from_option, begin_from
from tools.files.picture_names import files_below, shortened
from tools.processes import add_jobs_option, add_scheduler_option, lent_executor, map_ordered
from tools.program import LONGEST_NAME, run_program, written_beside


def check_folder(
    folder: Path,
    quarantine: Path | None,
    fix: bool,
    jobs: int,
    executor: Executor | None = None,
    caffe: str | None = None,
) -> Generator[Finding | None, None, None]:
    """For every file below folder in order, None where it is good, else its finding; bad ones are dealt with.

    Then come the folders without a good one. `executor` stands for a pool of `jobs` processes, `caffe` is
    Caffe's reader, if it is there. What is dealt with is remembered before it is done. Raises ValueError when
    quarantine lies within folder, OSError when something can't be listed or written.
    """
    if quarantine is not None and quarantine.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"quarantine {quarantine} lies within {folder}, where it would be taken for a class")
    good_in = Counter({str((folder / file).parent): 0 for file in remembered(folder)})
    look = partial(looked_at, fix=fix, caffe=caffe)
    names, same_names = tee(files_below(folder))
    with (
        Memory(folder) as memory,
        closing(
            map_ordered(look, names, jobs=jobs, what="checking", executor=executor, died=crashed)
        ) as looks,
    ):
        for bad, name in zip(looks, same_names, strict=False):
            if bad is not None and os.path.isdir(name):  # noqa: PTH112 - no link is an error
                good_in[name] += 0
                continue
            finding = None if bad is None else deal_with(*bad, folder, quarantine, memory)
            good_in[name.rpartition(os.sep)[0]] += finding is None or finding.done == "fixed"
            yield finding
    for name in sorted(name for name, good in good_in.items() if not good and Path(name).is_dir()):
        done = "left" if quarantine is None or Path(name) == folder else "noted"
        yield Finding(Path(name), ("empty",), (NO_PICTURE,), done)


def deal_with(
    finding: Finding, good: bytes, folder: Path, quarantine: Path | None, memory: Memory
) -> Finding:
    """Put a good file in a bad one's place, or move the bad one to quarantine, as far as that is wanted."""
    path = finding.path
    target = right_name(path)
    if good and target != path and target.exists():
        finding, good = cannot(finding, f"{target.name} is there already"), b""
    if good:
        finding = replace(finding, done="fixed")
        memory.remember(finding)
        with written_beside(path) as part:
            part.write_bytes(good)
        path.rename(target)
    elif quarantine is not None:
        finding = replace(finding, done="quarantined")
        memory.remember(finding)
        set_aside(path, folder, quarantine)
    return finding


def set_aside(path: Path, folder: Path, quarantine: Path) -> None:
    """Move a file from below folder to its place below quarantine, beside what may have its name there.

    A file of this content that is there already stands for both.
    """
    target = quarantine / path.relative_to(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while os.path.lexists(target):
        if path.is_file() and target.is_file() and filecmp.cmp(path, target, shallow=False):
            path.unlink()
            return
        number += 1
        target = target.with_name(shortened(path.stem, f" ({number}){path.suffix}", LONGEST_NAME))
    try:
        path.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with written_beside(target) as part:
            shutil.copy2(path, part)
        path.unlink()


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit status."""
    arguments = build_parser().parse_args(argv)

    def run() -> int:
        folder = arguments.folder.resolve()
        begin_from(arguments.source, folder)
        report_csv = arguments.report or folder.with_name(f"{folder.name}_check.csv")
        caffe = caffe_program()
        if caffe is None:
            words = f"check_images: {CAFFE} is not on the PATH (source .caffe/env.sh): Caffe is not asked"
            print(words, file=sys.stderr)
        with lent_executor(arguments.scheduler, [folder]) as executor:
            jobs = executor.workers if executor else arguments.jobs
            findings = check_folder(folder, arguments.quarantine, arguments.fix, jobs, executor, caffe)
            with closing(findings):
                outcomes = write_report(findings, folder, report_csv)
        counts = ", ".join(f"{outcomes[outcome]} {outcome}" for outcome in ("good", "fixed", "quarantined"))
        without = f", {outcomes['noted']} folders without a picture" if outcomes["noted"] else ""
        print(f"{counts}, {outcomes['left']} bad left in place{without}; report: {report_csv}")
        return 1 if outcomes["left"] else 0

    return run_program("check_images", run)


if __name__ == "__main__":
    sys.exit(main())
