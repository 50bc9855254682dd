"""Run convert_imageset on parts of a list at a time, and join what they write to one LMDB.

The database holds what one convert_imageset would have written: the same keys, numbered through the whole
list, the same values, in the same order. It is made in OUT.unfinished and takes OUT's place when it is whole,
and not before. Stopped at any moment, the same command goes on with the parts that are whole: a part is the
same while its lines, the pictures' sizes and the command are.
"""

import argparse
import errno
import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import lmdb

from tools.check_lists import picture_sizes
from tools.check_lmdb import check, height_and_width
from tools.files.image_list import raw_lines, read_image_list
from tools.files.image_lmdb import KEY_DIGITS, check_pages, open_lmdb
from tools.files.prototxt import last_words
from tools.processes import add_jobs_option
from tools.program import Progress, run_program, write_text

# With fewer lines, starting convert_imageset would count; 1000 of the article's pictures take 200 MB of disk.
LEAST_LINES, MOST_LINES = 100, 1000
PARTS_A_JOB = 4
"""Of a short list: parts are joined while others are made, and the last ones end together."""
SPARE_BYTES = 1 << 20
LITTLE_ROOM = 16 << 20
PLAN_OF_WHOLE = ".plan.json"
"""In a database that is whole, with --keep-plan: what it was made from."""
SAMPLE = 50
TOLD = re.compile(r"[WEF]\d{4}")
"""Begins what Caffe complains of; what it informs of (I) would come once a part, and decoders print more."""


@dataclass(frozen=True)
class Plan:
    """What the parts of a database are made from: parts of two plans that are equal are the same."""

    command: list[str]
    lines_a_part: int
    parts: list[str]
    """A hash of each part's lines and of its pictures' sizes."""

    @classmethod
    def of(
        cls, lines: Sequence[bytes], sizes: Sequence[int], command: Sequence[str], lines_a_part: int
    ) -> Self:
        """The plan for a list's lines, each with the bytes that its picture has."""
        parts = []
        for at in range(0, len(lines), lines_a_part):
            part = slice(at, at + lines_a_part)
            parts.append(hashlib.sha256(b"".join(lines[part]) + str(sizes[part]).encode()).hexdigest())
        return cls(list(command), lines_a_part, parts)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """A plan that was written; None where there is none."""
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write the plan, whole or not at all."""
        write_text(path, json.dumps(asdict(self)))


class Workers:
    """Runs a command on each part, `jobs` at a time; parts that are there already are taken as they are."""

    def __init__(self, command: Sequence[str], place: Path, jobs: int) -> None:
        self._command, self._place = list(command), place
        self._running: set[subprocess.Popen[bytes]] = set()
        self._pool = ThreadPoolExecutor(jobs)
        self._jobs = jobs

    def run(self, parts: Iterator[tuple[int, Sequence[bytes]]]) -> Iterator[tuple[int, Path]]:
        """The numbered parts' databases in order; each may be removed before the next is asked for.

        Raises ValueError where the command fails.
        """
        ready: deque[tuple[int, Future[Path]]] = deque()
        try:
            for number, lines in parts:
                ready.append((number, self._pool.submit(self._convert, number, lines)))
                if len(ready) > 2 * self._jobs:
                    first, database = ready.popleft()
                    yield first, database.result()
            while ready:
                first, database = ready.popleft()
                yield first, database.result()
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in list(self._running):
                process.kill()
            self._pool.shutdown()

    def _convert(self, number: int, lines: Sequence[bytes]) -> Path:
        database, part = self._place / f"{number}", self._place / f"{number}.part"
        if database.is_dir():
            return database
        shutil.rmtree(part, ignore_errors=True)
        listed = self._place / f"{number}.txt"
        listed.write_bytes(b"".join(lines))
        with subprocess.Popen([*self._command, str(listed), str(part)], stderr=subprocess.PIPE) as process:
            self._running.add(process)
            log = process.communicate()[1].decode(errors="replace")
            self._running.discard(process)
        sys.stderr.write("".join(f"{line}\n" for line in log.splitlines() if TOLD.match(line)))
        if process.returncode != 0:
            why = last_words(log) or log.strip().rpartition("\n")[2]
            ended = f"{self._command[0]} ended {_how(process.returncode)}"
            raise ValueError(f"{ended}: {why}" if why else ended)
        part.rename(database)
        return database


def _how(status: int) -> str:
    """A process' end in words."""
    return f"by signal {signal.strsignal(-status)}" if status < 0 else f"with status {status}"


@contextmanager
def full_disk_in_words(place: Path) -> Iterator[None]:
    """Say that the disk of a folder is full where that is why something failed.

    LMDB's words for it depend on what didn't fit: SIGBUS, an input/output error, no space left.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        free = shutil.disk_usage(place.parent).free if place.parent.is_dir() else LITTLE_ROOM
        if free >= LITTLE_ROOM:
            raise
        words = (
            f"No space left on device, {free / 1e6:.1f} MB are free; with more room the same command goes on"
        )
        raise OSError(errno.ENOSPC, words, str(place)) from error


def convert(
    listed: Path,
    out: Path,
    command: Sequence[str],
    jobs: int,
    size: tuple[int, int] | None = None,
    *,
    keep_plan: bool = False,
) -> None:
    """Make the LMDB `out` of a list, or go on with it; what was `out` before is replaced when that is whole.

    With `size`, (height, width), a sample of it is compared with the pictures first. With `keep_plan` its
    plan is kept in it, and an `out` with the plan of today stays as it is. Raises ValueError and OSError; the
    next call goes on with what is whole.
    """
    lines, entries = raw_lines(listed), read_image_list(listed)
    root = command[-1] if command[-1].endswith("/") else ""
    sizes = picture_sizes(listed, entries, root)
    place = out.with_name(f"{out.name}.unfinished")
    if keep_plan and _is_of(out, lines, sizes, command):
        shutil.rmtree(place, ignore_errors=True)
        print(f"{out} is whole already")
        return
    with full_disk_in_words(place):
        plan, joined = begin(place, lines, sizes, command, jobs)
        join_parts(place, lines, plan, joined, jobs)
    if size:
        check(place / "lmdb", entries, root=root, size=size, sample=SAMPLE)
    if keep_plan:
        plan.write(place / "lmdb" / PLAN_OF_WHOLE)
    if out.is_dir():
        out.rename(place / "before")
    (place / "lmdb").rename(out)
    shutil.rmtree(place)


def _is_of(out: Path, lines: Sequence[bytes], sizes: Sequence[int], command: Sequence[str]) -> bool:
    """Whether a database is whole and of these lines, by the plan that was kept in it."""
    kept = Plan.read(out / PLAN_OF_WHOLE)
    return kept is not None and kept == Plan.of(lines, sizes, command, kept.lines_a_part) and _is_whole(out)


def join_parts(place: Path, lines: Sequence[bytes], plan: Plan, joined: int, jobs: int) -> None:
    """Make the parts behind the `joined` ones, and put each behind them. Raises ValueError and OSError."""
    size = plan.lines_a_part
    numbered = ((i, lines[i * size : (i + 1) * size]) for i in range(joined, len(plan.parts)))
    with (
        Progress("lmdb", len(lines), done=min(joined * size, len(lines))) as progress,
        growing(place / "lmdb") as database,
    ):
        for number, part in Workers(plan.command, place, jobs).run(numbered):
            append(database, part, number * size)
            shutil.rmtree(part)
            progress.advance(min(size, len(lines) - number * size))


def begin(
    place: Path, lines: Sequence[bytes], sizes: Sequence[int], command: Sequence[str], jobs: int
) -> tuple[Plan, int]:
    """Make the folder of an unfinished database, or find it; the plan, and how many parts are joined."""
    out = place.with_name(place.name.removesuffix(".unfinished"))
    if (place / "before").is_dir() and not out.exists():  # stopped between two renamings
        (place / "before").rename(out)
    before = Plan.read(place / "plan.json")
    size = min(max(-(-len(lines) // (PARTS_A_JOB * jobs)), LEAST_LINES), MOST_LINES)
    if before is not None and before.command == list(command):
        size = before.lines_a_part
    plan = Plan.of(lines, sizes, command, size)
    joined = parts_joined(place / "lmdb", size)
    if before is None or before.command != plan.command or before.parts[:joined] != plan.parts[:joined]:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        before, joined = None, 0
    for number, part in enumerate(before.parts if before else ()):
        if number >= len(plan.parts) or plan.parts[number] != part or not _is_whole(place / f"{number}"):
            shutil.rmtree(place / f"{number}", ignore_errors=True)
    plan.write(place / "plan.json")
    return plan, joined


def parts_joined(database: Path, lines_a_part: int) -> int:
    """How many parts an unfinished database holds: a part is joined in one transaction."""
    with suppress(ValueError), open_lmdb(database) as environment, environment.begin() as reading:
        cursor = reading.cursor()
        return int(cursor.key()[:KEY_DIGITS]) // lines_a_part + 1 if cursor.last() else 0
    shutil.rmtree(database, ignore_errors=True)
    return 0


def _is_whole(part: Path) -> bool:
    try:
        check_pages(part / "data.mdb")
    except (ValueError, OSError):
        return False
    return True


@contextmanager
def growing(path: Path) -> Iterator[lmdb.Environment]:
    """An LMDB to write to, each transaction of which is on the disk at its end. Raises ValueError."""
    path.mkdir(exist_ok=True)  # lmdb would give the folder the files' mode, which nobody but root can enter
    try:
        with lmdb.open(str(path), map_size=SPARE_BYTES, mode=0o664, lock=False) as database:
            yield database
    except lmdb.Error as error:
        raise ValueError(f"{path} can't be written: {error}") from error


def append(database: lmdb.Environment, part: Path, before: int) -> None:
    """Put a part's entries behind the others, their numbers raised by the `before` lines of earlier parts."""
    more = (part / "data.mdb").stat().st_size + SPARE_BYTES
    database.set_mapsize(database.info()["map_size"] + more)
    with (
        lmdb.open(str(part), readonly=True, lock=False) as source,
        source.begin(buffers=True) as reading,
        database.begin(write=True) as writing,
    ):
        entries = ((renumbered(bytes(key), before), value) for key, value in reading.cursor())
        writing.cursor().putmulti(entries, append=True)


def renumbered(key: bytes, before: int) -> bytes:
    """A key of convert_imageset (the line's number in the list, _, the picture), `before` lines later."""
    number = int(key[:KEY_DIGITS]) + before
    return b"%0*d" % (KEY_DIGITS, number) + key[KEY_DIGITS:]


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.convert_in_parts",
        description=__doc__,
        epilog="example: python -m tools.convert_in_parts --jobs 4 lists/train.txt train_lmdb -- "
        "convert_imageset --resize_height 256 --resize_width 256 /",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("list", metavar="LIST", type=Path, help="lines of PICTURE LABEL")
    parser.add_argument("out", metavar="OUT", type=Path, help="the LMDB to make")
    parser.add_argument(
        "command",
        metavar="COMMAND",
        nargs="+",
        help="what gets a list and an LMDB to make of it; its last word is put before the pictures' names "
        "where it ends in /",
    )
    parser.add_argument(
        "--size",
        type=height_and_width,
        metavar="HxW",
        help="compare a sample with the pictures, which must have this size, before OUT is there",
    )
    parser.add_argument(
        "--keep-plan",
        action="store_true",
        help=f"leave OUT/{PLAN_OF_WHOLE}: the same command then takes a whole OUT as it is",
    )
    add_jobs_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    args = build_parser().parse_args(argv)
    return run_program(
        "convert_in_parts",
        lambda: convert(args.list, args.out, args.command, args.jobs, args.size, keep_plan=args.keep_plan),
        interrupted="interrupted; the same command goes on where it was",
    )


if __name__ == "__main__":
    sys.exit(main())
