"""One file from servers that may fail: resumed where it was cut, from one mirror after another, checked.

A download grows as NAME.part beside its place, with what the server said of it in NAME.part.json, so that a
later run goes on where this one ended. It is moved in when size and checksum are as they should be.
"""

import errno
import http.client
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.download.servers import (
    NoAnswerError,
    NoSuchRangeError,
    WrongAnswerError,
    ask,
    extent,
    is_page,
    pause,
    pieces,
)
from tools.files.plain_pickle import read_plain_pickle
from tools.program import PART, Progress, sha256_of, to_disk

NO_CHECKSUM = "no published checksum; size only"
ARCHIVES = (".tgz", ".tar.gz")
UNTOLD_TIMES = 4
"""A file whose size neither the server nor the table tells may be so many times about_bytes, not endless."""


@dataclass(frozen=True)
class File:
    """One file to download: name, addresses in order, and what is known of it."""

    name: str
    urls: tuple[str, ...]
    bytes: int | None = None
    about_bytes: int = 0
    sha256: str | None = None

    @property
    def is_archive(self) -> bool:
        """True for what is unpacked once it is there."""
        return self.name.endswith(ARCHIVES)


@dataclass(frozen=True)
class Patience:
    """Seconds without a byte before an attempt is given up, and attempts in a row that may bring nothing."""

    timeout: float = 60.0
    tries: int = 5


def download(file: File, target: Path, patience: Patience) -> None:
    """Download one file to `target` from the first address that has it, going on where NAME.part ends.

    The caller holds target's lock. The file is on the disk before it has its name. Raises OSError when no
    address has it or the disk has no room for it (and, of an archive, what is in it).
    """
    problems = []
    part = target.with_name(target.name + PART)
    size = file.bytes or file.about_bytes
    for url in file.urls:
        say(f"{file.name}{f', {size / 1e6:,.0f} MB,' if size else ''} from {url}")
        try:
            _download_from(url, file, part, patience)
            _check(file, part)
        except (NoAnswerError, WrongAnswerError) as error:
            problems.append(f"{url}: {error}")
            if url != file.urls[-1]:
                say(f"{url}: {error}; on to the next address")
            continue
        to_disk(part)
        part.replace(target)
        to_disk(target.parent)
        _notes(part).unlink(missing_ok=True)
        return
    several = "" if len(problems) == 1 else f" from {len(problems)} addresses"
    raise OSError(
        f"{file.name} could not be had{several} ({'; '.join(problems)}); "
        "python -m data_prep.fetch takes another by --url"
    )


def _download_from(url: str, file: File, part: Path, patience: Patience) -> None:
    """Ask again and again until the file is whole or `tries` in a row have brought it no further."""
    failures, most = 0, size_of(part)
    while True:
        try:
            return _download_rest(url, file, part, patience.timeout)
        except NoAnswerError as error:
            failures = 1 if size_of(part) > most else failures + 1
            most = max(most, size_of(part))
            if failures >= patience.tries:
                raise
            say(f"{url}: {error}; trying again")
            time.sleep(pause(failures, error))


def _download_rest(url: str, file: File, part: Path, timeout: float) -> None:
    notes = _read_notes(part)
    have = size_of(part) if _may_go_on(notes, url, file) else 0
    if have and have == notes.get("total"):
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and notes.get("url") == url and notes.get("validator"):
        headers["If-Range"] = str(notes["validator"])
    start = -1
    with suppress(NoSuchRangeError), ask(url, timeout, headers) as answer:
        start, total = extent(answer, have)
        if start == have or start == 0:
            _take_rest(answer, url, file, part, start, total)
    if start not in (have, 0):
        _discard(part)
        raise NoAnswerError("the server could not go on where the download was cut")
    if total and size_of(part) != total:
        raise NoAnswerError(f"connection cut at {size_of(part):,} of {total:,} bytes")


def _take_rest(
    answer: http.client.HTTPResponse, url: str, file: File, part: Path, start: int, total: int | None
) -> None:
    if is_page(answer):
        raise WrongAnswerError("a web page came instead of the file")
    if file.bytes and total and total != file.bytes:
        raise WrongAnswerError(f"{total:,} bytes there, where the published file has {file.bytes:,}")
    size = total or file.bytes or file.about_bytes
    # pictures don't shrink in an archive: what is unpacked takes as much again
    check_room(part.parent, size - start + (size if file.is_archive else 0), file.name)
    validator = answer.headers.get("ETag", "")
    if not validator.startswith('"'):  # If-Range may carry a strong ETag, else the date (RFC 9110, 13.1.5)
        validator = answer.headers.get("Last-Modified", "")
    notes = {"url": url, "validator": validator, "total": total}
    _notes(part).write_text(json.dumps(notes), encoding="utf-8")
    most = total or file.bytes or UNTOLD_TIMES * file.about_bytes
    with (
        naming_full_disk(part),
        part.open("r+b" if start else "wb") as stream,
        Progress(file.name, total, done=start, unit="B") as progress,
    ):
        stream.seek(start)
        stream.truncate()
        for piece in pieces(answer):
            stream.write(piece)
            progress.advance(len(piece))
            if most and stream.tell() > most:
                raise WrongAnswerError(f"more than {most:,} bytes came, without an end")


def _may_go_on(notes: dict[str, Any], url: str, file: File) -> bool:
    """True where a file's start can be told to fit its rest: by If-Range, or by a checksum at the end."""
    return bool(file.sha256) or (notes.get("url") == url and bool(notes.get("validator")))


def _check(file: File, part: Path) -> None:
    """Refuse, and remove, a download that is not the file: size, checksum, the first look at its contents."""
    if problem := _problem(file, part):
        _discard(part)
        raise WrongAnswerError(problem)
    say(f"{file.name}: {size_of(part):,} bytes, {'sha256 as published' if file.sha256 else NO_CHECKSUM}")


def _problem(file: File, part: Path) -> str | None:
    if file.bytes and size_of(part) != file.bytes:
        return f"{size_of(part):,} bytes came, where the published file has {file.bytes:,}"
    if file.sha256 and (found := sha256_of(part)) != file.sha256:
        return f"what came has sha256 {found}, not the published {file.sha256}: refused"
    if file.is_archive and not _is_gzip(part):
        return f"what came is no {'.tgz' if file.name.endswith('.tgz') else '.tar.gz'} archive"
    if file.name.endswith(".pkl"):
        try:
            read_plain_pickle(part)
        except ValueError as error:
            return str(error).replace(str(part), "what came")
    return None


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_notes(part: Path) -> dict[str, Any]:
    """What was noted of the server when the download began; nothing where that can't be read."""
    with suppress(OSError, ValueError, RecursionError):
        notes = json.loads(_notes(part).read_text(encoding="utf-8"))
        return notes if isinstance(notes, dict) else {}
    return {}


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


# The disk, and what is said meanwhile


def check_room(folder: Path, wanted: int, what: str) -> None:
    """Raises OSError where the folder's disk has no room for so many bytes more."""
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise OSError(f"{folder} has {free / 1e6:,.0f} MB free, and {what} wants {wanted / 1e6:,.0f} MB more")


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Put the file's name to a full disk's error, which comes without."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def size_of(path: Path) -> int:
    """A file's size in bytes; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def say(line: str) -> None:
    """Tell on stderr how it goes: stdout is for what was done."""
    print(f"fetch: {line}", file=sys.stderr, flush=True)
