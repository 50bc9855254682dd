"""Run convert_imageset on parts of a list at a time, and join what they write to one LMDB.

The database holds what one convert_imageset would have written: the same keys, numbered through the whole
list, the same values, in the same order. Parts are joined in order as they get ready, and removed: while it
runs the disk holds a few parts more than the database.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import lmdb

from tools.files.image_list import raw_lines, read_image_list
from tools.files.image_lmdb import KEY_DIGITS
from tools.program import one_sentence

# With fewer lines, starting convert_imageset would count; 1000 of the article's pictures take 200 MB of disk.
LEAST_LINES, MOST_LINES = 100, 1000
SPARE_BYTES = 1 << 20


class Workers:
    """Runs a command on each part, `jobs` at a time."""

    def __init__(self, command: Sequence[str], place: Path, jobs: int) -> None:
        self._command, self._place = list(command), place
        self._running: set[subprocess.Popen] = set()
        self._pool = ThreadPoolExecutor(jobs)
        self._jobs = jobs

    def run(self, parts: Sequence[Sequence[bytes]]) -> Iterator[Path]:
        """The parts' databases in order; each may be removed before the next is asked for.

        Raises ValueError where the command fails.
        """
        ready: deque[Future[Path]] = deque()
        try:
            for number, lines in enumerate(parts):
                ready.append(self._pool.submit(self._convert, number, lines))
                if len(ready) > 2 * self._jobs:
                    yield ready.popleft().result()
            while ready:
                yield ready.popleft().result()
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in list(self._running):
                process.kill()
            self._pool.shutdown()

    def _convert(self, number: int, lines: Sequence[bytes]) -> Path:
        listed, database = self._place / f"{number}.txt", self._place / f"{number}"
        listed.write_bytes(b"".join(lines))
        command = [*self._command, str(listed), str(database)]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            self._running.add(process)
            _, log = process.communicate()
            self._running.discard(process)
        # what Caffe merely informs of (I) would come once for every part
        worth = [line for line in log.decode(errors="replace").splitlines() if not line.startswith("I")]
        sys.stderr.write("".join(f"{line}\n" for line in worth))
        if process.returncode != 0:
            raise ValueError(f"{self._command[0]} ended with status {process.returncode}")
        return database


def convert(listed: Path, out: Path, command: Sequence[str], jobs: int) -> None:
    """Make the LMDB `out` of a list. Raises ValueError and OSError; `out` is then unfinished."""
    read_image_list(listed)  # what is wrong with it is said before the conversion
    lines = raw_lines(listed)
    size = min(max(-(-len(lines) // jobs), LEAST_LINES), MOST_LINES)
    parts = [lines[at : at + size] for at in range(0, len(lines), size)]
    with temporary(out.with_name(f"{out.name}.parts")) as place, created(out) as database:
        for number, part in enumerate(Workers(command, place, jobs).run(parts)):
            append(database, part, number * size)
            shutil.rmtree(part)
            print(f"{min((number + 1) * size, len(lines))} of {len(lines)} pictures", flush=True)


@contextmanager
def temporary(folder: Path) -> Iterator[Path]:
    """A new folder that is removed in the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def created(path: Path) -> Iterator[lmdb.Environment]:
    """A new LMDB, on the disk for good in the end. Raises ValueError where it is there already."""
    try:
        path.mkdir()  # lmdb would give the folder the files' mode, which nobody but root can enter
    except FileExistsError:
        raise ValueError(f"{path} is there already") from None
    try:
        with lmdb.open(str(path), map_size=SPARE_BYTES, mode=0o664, sync=False, lock=False) as database:
            yield database
            database.sync(True)
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


def main(argv: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
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
        "command", metavar="COMMAND", nargs="+", help="what gets a list and an LMDB to make of it"
    )
    parser.add_argument(
        "--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="default: one a core"
    )
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error("--jobs takes a number from 1 up")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        convert(args.list, args.out, args.command, args.jobs)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError) as error:
        print(f"convert_in_parts: {one_sentence(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
