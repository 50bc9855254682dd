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
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tools.program import Progress, sha256_of

CHUNK = 1 << 20
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
NO_CHECKSUM = "no published checksum; size only"


class NoAnswerError(OSError):
    """The server, or the way to it, failed: worth another try; `wait` is how many seconds it asked for."""

    wait = 0.0


class BusyError(NoAnswerError):
    """The server answered that it can't just now (429, 5xx)."""

    def __init__(self, message: str, wait: float) -> None:
        super().__init__(message)
        self.wait = wait


class WrongAnswerError(ValueError):
    """The server answered, but not with what was asked for: this address is no good."""


@dataclass(frozen=True)
class File:
    """One file to download: name, addresses in order, and what is known of it."""

    name: str
    urls: tuple[str, ...]
    bytes: int | None = None
    about_bytes: int = 0
    sha256: str | None = None


@dataclass(frozen=True)
class Patience:
    """Seconds without a byte before an attempt is given up, and attempts in a row that may bring nothing."""

    timeout: float = 60.0
    tries: int = 5


def download(file: File, target: Path, patience: Patience) -> None:
    """Download one file to `target` from the first address that has it, going on where NAME.part ends.

    Raises OSError when no address has it or the disk has no room for it (and, of an archive, what is in it).
    """
    problems = []
    part = target.with_name(f"{target.name}.part")
    for url in file.urls:
        try:
            _download_from(url, file, part, patience)
            _check(file, part)
        except (NoAnswerError, WrongAnswerError) as error:
            problems.append(f"{url}: {error}")
            if url != file.urls[-1]:
                say(f"{url}: {error}; on to the next address")
            continue
        part.replace(target)
        _notes(part).unlink(missing_ok=True)
        return
    several = "" if len(problems) == 1 else f" from {len(problems)} addresses"
    raise OSError(f"{file.name} could not be had{several} ({'; '.join(problems)}); name another with --url")


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
        headers["If-Range"] = notes["validator"]
    with ask(url, timeout, headers) as answer:
        start, total = extent(answer, have)
        if start != have and start != 0:
            _discard(part)
            raise NoAnswerError("the server could not go on where the download was cut")
        if is_page(answer):
            raise WrongAnswerError("a web page came instead of the file")
        if file.bytes and total and total != file.bytes:
            raise WrongAnswerError(f"{total:,} bytes there, where the published file has {file.bytes:,}")
        size = total or file.bytes or file.about_bytes
        # pictures don't shrink in a .tgz: what is unpacked takes as much again
        check_room(part.parent, size - start + (size if file.name.endswith(".tgz") else 0), file.name)
        notes = {"url": url, "validator": _validator(answer), "total": total}
        _notes(part).write_text(json.dumps(notes), encoding="utf-8")
        _write_pieces(answer, part, start, total, file.name)
    if total and size_of(part) != total:
        raise NoAnswerError(f"connection cut at {size_of(part):,} of {total:,} bytes")


def _may_go_on(notes: dict, url: str, file: File) -> bool:
    """True where a file's start can be told to fit its rest: by If-Range, or by a checksum at the end."""
    return bool(file.sha256) or (notes.get("url") == url and bool(notes.get("validator")))


def _validator(answer: http.client.HTTPResponse) -> str | None:
    """What If-Range may carry: a strong ETag, else the date (RFC 9110, 13.1.5)."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified")


def _write_pieces(
    answer: http.client.HTTPResponse, part: Path, start: int, total: int | None, name: str
) -> None:
    with (
        naming_full_disk(part),
        part.open("r+b" if start else "wb") as stream,
        Progress(name, total, done=start, unit="B") as progress,
    ):
        stream.seek(start)
        stream.truncate()
        for piece in pieces(answer):
            stream.write(piece)
            progress.advance(len(piece))


def _check(file: File, part: Path) -> None:
    """Refuse, and remove, a download that is not the file: size, checksum, gzip's first bytes."""
    problem = None
    if file.bytes and size_of(part) != file.bytes:
        problem = f"{size_of(part):,} bytes came, where the published file has {file.bytes:,}"
    elif file.sha256 and (found := sha256_of(part)) != file.sha256:
        problem = f"what came has sha256 {found}, not the published {file.sha256}: refused"
    elif file.name.endswith(".tgz") and not _is_gzip(part):
        problem = "what came is no .tgz archive"
    if problem:
        _discard(part)
        raise WrongAnswerError(problem)
    say(f"{file.name}: {size_of(part):,} bytes, {'sha256 as published' if file.sha256 else NO_CHECKSUM}")


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_notes(part: Path) -> dict:
    """What was noted of the server when the download began; nothing where that can't be read."""
    with suppress(OSError, ValueError):
        notes = json.loads(_notes(part).read_text(encoding="utf-8"))
        return notes if isinstance(notes, dict) else {}
    return {}


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


# Talking to servers


def ask(url: str, timeout: float, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Send a GET; returns the answer if it is 200, 206, or 416 (no such range), which tells something too."""
    headers = {
        "User-Agent": "Mozilla/5.0 (compatible; data_prep.fetch)",
        "Accept-Encoding": "identity",
    } | headers
    try:
        request = urllib.request.Request(
            urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]"), headers=headers
        )
        return _opener().open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            return error
        said = f"HTTP {error.code} {error.reason}"
        if error.code >= 500 or error.code in (408, 425, 429):
            wait = error.headers.get("Retry-After", "")
            raise BusyError(said, float(wait) if wait.isdigit() else 0.0) from error
        raise WrongAnswerError(said) from error
    except urllib.error.URLError as error:
        if str(error.reason).startswith("unknown url type"):
            raise WrongAnswerError("not an http or https address") from error
        raise NoAnswerError(_in_words(error.reason)) from error
    except (OSError, http.client.BadStatusLine) as error:
        raise NoAnswerError(_in_words(error)) from error
    except (ValueError, http.client.HTTPException) as error:
        raise WrongAnswerError(f"no usable address or answer ({error})") from error


def _opener() -> urllib.request.OpenerDirector:
    """An opener for http and https alone: the usual one would read a list's file: addresses too."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _in_words(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def pause(failures: int, error: NoAnswerError) -> float:
    """Seconds to wait after so many failures: 1, 2, 4 ... times FIRST_PAUSE, or what the server asks for."""
    return min(max(FIRST_PAUSE * 2 ** (failures - 1), error.wait), LONGEST_PAUSE)


def pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body as it comes in. Raises NoAnswerError on a broken connection; it may also just end."""
    while True:
        try:
            piece = answer.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswerError(f"connection lost ({_in_words(error)})") from error
        if not piece:
            return
        yield piece


def is_page(answer: http.client.HTTPResponse) -> bool:
    """True where a web page came: a log-in, a 'not found' that claims success."""
    return answer.headers.get_content_type() in ("text/html", "application/xhtml+xml")


def extent(answer: http.client.HTTPResponse, asked: int) -> tuple[int, int | None]:
    """Where the answer's body begins in the file (-1: nowhere of use), and the file's size if it is told."""
    if answer.status == 206:
        unit, _, place = answer.headers.get("Content-Range", "").partition(" ")
        piece, _, total = place.partition("/")
        first = piece.partition("-")[0]
        fits = unit == "bytes" and first.isdigit() and int(first) == asked
        return (asked if fits else -1), int(total) if total.isdigit() else None
    length = answer.headers.get("Content-Length", "")
    return (0 if answer.status == 200 else -1), int(length) if length.isdigit() else None


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
