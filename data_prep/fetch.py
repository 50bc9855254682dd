"""Get the article's data from the internet: Oxford5k, Paris6k, VGG16's weights, Landmarks by a list.

Whatever is there already is left alone, and no request is made. A download grows as NAME.part beside its
place, goes on after a cut or an interruption, and is moved in when size and checksum are as they should be.
"""

import argparse
import csv
import errno
import gzip
import hashlib
import http.client
import io
import json
import os
import queue
import shutil
import sys
import tarfile
import threading
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from PIL import Image
from tqdm import tqdm

from data_prep.parallel import positive_int, run_program
from data_prep.pictures import FORMAT_OF_SUFFIX, class_folders, written_beside

Item = TypeVar("Item")
Result = TypeVar("Result")

SOURCES = Path(__file__).with_name("sources.toml")
THINGS = ("oxford5k-images", "oxford5k-gt", "paris6k-images", "paris6k-gt", "vgg16")
CHUNK = 1 << 20
LINE_EVERY_SECONDS = 15.0
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
DEAD_HOST_AFTER = 3
UNAVAILABLE = "photo_unavailable"  # where Flickr sends those who ask for a photograph that is gone

SUFFIX_OF_FORMAT = {name: suffix for suffix, name in reversed(FORMAT_OF_SUFFIX.items())}
SUFFIX_OF_FORMAT["MPO"] = SUFFIX_OF_FORMAT["JPEG"]  # a camera's JPEG with a second view behind the first


class NoAnswerError(OSError):
    """The server, or the way to it, failed: worth another try."""


class BusyError(NoAnswerError):
    """The server answered that it can't just now (429, 5xx); `wait` is how many seconds it asked for."""

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
class Thing:
    """What a subcommand gets: a file as it is, or (with `keep`) a folder of archives' files of one kind."""

    name: str
    what: str
    page: str
    files: tuple[File, ...]
    keep: str | None = None
    at_least: int = 0


@dataclass(frozen=True)
class Patience:
    """Seconds without a byte before an attempt is given up, and attempts in a row that may bring nothing."""

    timeout: float = 60.0
    tries: int = 5


class Link(NamedTuple):
    """A line of a list of pictures: address and class."""

    url: str
    category: str


class Outcome(NamedTuple):
    """What became of a link. result: kept, there, copy, placeholder or failed; file: CLASS/NAME below OUT."""

    link: Link
    result: str
    reason: str = ""
    file: str = ""
    sha256: str = ""


# The table of sources


def read_thing(path: Path, name: str) -> Thing:
    """Look up one thing in a table like sources.toml. Raises ValueError for a table that isn't one."""
    try:
        entry = tomllib.loads(path.read_text(encoding="utf-8"))[name]
        files = tuple(File(**{**file, "urls": tuple(file["urls"])}) for file in entry.pop("files"))
        return Thing(name=name, files=files, **entry)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no TOML: {error}") from error
    except KeyError as error:
        raise ValueError(f"{path} lacks {error.args[0]!r}, looking for {name}") from error
    except (TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: the table of {name} is not like the ones in {SOURCES.name}") from error


def from_mirrors(thing: Thing, urls: list[str]) -> Thing:
    """The same thing from other addresses; one that ends in '/' is a folder with the files by their names.

    Raises ValueError for a file's address where the thing comes in several files.
    """
    if len(thing.files) > 1 and not all(url.endswith("/") for url in urls):
        names = " and ".join(file.name for file in thing.files)
        raise ValueError(
            f"{thing.name} comes in {names}: --url must be the folder that has them, ending in '/'"
        )
    files = (
        replace(file, urls=tuple(url + file.name if url.endswith("/") else url for url in urls))
        for file in thing.files
    )
    return replace(thing, files=tuple(files))


# Talking to servers


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


def _ask(url: str, timeout: float, headers: dict[str, str]) -> http.client.HTTPResponse:
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
    except (OSError, http.client.RemoteDisconnected, http.client.BadStatusLine) as error:
        raise NoAnswerError(_in_words(error)) from error
    except (ValueError, http.client.HTTPException) as error:
        raise WrongAnswerError(f"no usable address or answer ({error})") from error


def _pause(failures: int, error: NoAnswerError) -> float:
    """Seconds to wait after so many failures: 1, 2, 4 ... times FIRST_PAUSE, or what the server asks for."""
    return min(max(FIRST_PAUSE * 2 ** (failures - 1), getattr(error, "wait", 0.0)), LONGEST_PAUSE)


def _in_words(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def _pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body as it comes in. Raises NoAnswerError on a broken connection; it may also just end."""
    while True:
        try:
            piece = answer.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswerError(f"connection lost ({_in_words(error)})") from error
        if not piece:
            return
        yield piece


def _is_page(answer: http.client.HTTPResponse) -> bool:
    return answer.headers.get_content_type() in ("text/html", "application/xhtml+xml")


# One file: resumed, checked, moved in


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
                _say(f"fetch: {url}: {error}; on to the next address")
            continue
        part.replace(target)
        _notes(part).unlink(missing_ok=True)
        return
    several = "" if len(problems) == 1 else f" from {len(problems)} addresses"
    raise OSError(f"{file.name} could not be had{several} ({'; '.join(problems)}); name another with --url")


def _download_from(url: str, file: File, part: Path, patience: Patience) -> None:
    """Ask again and again until the file is whole or `tries` in a row have brought it no further."""
    failures, most = 0, _size(part)
    while True:
        try:
            return _download_rest(url, file, part, patience.timeout)
        except NoAnswerError as error:
            failures = 1 if _size(part) > most else failures + 1
            most = max(most, _size(part))
            if failures >= patience.tries:
                raise
            _say(f"fetch: {url}: {error}; trying again")
            time.sleep(_pause(failures, error))


def _download_rest(url: str, file: File, part: Path, timeout: float) -> None:
    notes = _read_notes(part)
    have = _size(part) if _may_go_on(notes, url, file) else 0
    if have and have == notes.get("total"):
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and notes.get("url") == url and notes.get("validator"):
        headers["If-Range"] = notes["validator"]
    with _ask(url, timeout, headers) as answer:
        start, total = _extent(answer, have)
        if start != have and start != 0:
            _discard(part)
            raise NoAnswerError("the server could not go on where the download was cut")
        if _is_page(answer):
            raise WrongAnswerError("a web page came instead of the file")
        if file.bytes and total and total != file.bytes:
            raise WrongAnswerError(f"{total:,} bytes there, where the published file has {file.bytes:,}")
        size = total or file.bytes or file.about_bytes
        # pictures don't shrink in a .tgz: what is unpacked takes as much again
        _check_room(part.parent, size - start + (size if file.name.endswith(".tgz") else 0), file.name)
        notes = {"url": url, "validator": _validator(answer), "total": total}
        _notes(part).write_text(json.dumps(notes), encoding="utf-8")
        _write_pieces(answer, part, start, total, file.name)
    if total and _size(part) != total:
        raise NoAnswerError(f"connection cut at {_size(part):,} of {total:,} bytes")


def _may_go_on(notes: dict, url: str, file: File) -> bool:
    """True where a file's start can be told to fit its rest: by If-Range, or by a checksum at the end."""
    return bool(file.sha256) or (notes.get("url") == url and bool(notes.get("validator")))


def _validator(answer: http.client.HTTPResponse) -> str | None:
    """What If-Range may carry: a strong ETag, else the date (RFC 9110, 13.1.5)."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified")


def _extent(answer: http.client.HTTPResponse, asked: int) -> tuple[int, int | None]:
    """Where the answer's body begins in the file (-1: nowhere of use), and the file's size if it is told."""
    if answer.status == 206:
        unit, _, extent = answer.headers.get("Content-Range", "").partition(" ")
        extent, _, total = extent.partition("/")
        first = extent.partition("-")[0]
        fits = unit == "bytes" and first.isdigit() and int(first) == asked
        return (asked if fits else -1), int(total) if total.isdigit() else None
    length = answer.headers.get("Content-Length", "")
    return (0 if answer.status == 200 else -1), int(length) if length.isdigit() else None


def _write_pieces(
    answer: http.client.HTTPResponse, part: Path, start: int, total: int | None, name: str
) -> None:
    with (
        _naming(part),
        part.open("r+b" if start else "wb") as stream,
        _Progress(name, start, total) as progress,
    ):
        stream.seek(start)
        stream.truncate()
        for piece in _pieces(answer):
            stream.write(piece)
            progress.advance(len(piece))


def _check(file: File, part: Path) -> None:
    """Refuse, and remove, a download that is not the file: size, checksum, gzip's first bytes."""
    problem = None
    if file.bytes and _size(part) != file.bytes:
        problem = f"{_size(part):,} bytes came, where the published file has {file.bytes:,}"
    elif file.sha256 and (found := sha256_of(part)) != file.sha256:
        problem = f"what came has sha256 {found}, not the published {file.sha256}: refused"
    elif file.name.endswith(".tgz") and _first_bytes(part, 2) != b"\x1f\x8b":
        problem = "what came is no .tgz archive"
    if problem:
        _discard(part)
        raise WrongAnswerError(problem)
    _say(
        f"fetch: {file.name}: {_size(part):,} bytes, {'sha256 as published' if file.sha256 else NO_CHECKSUM}"
    )


NO_CHECKSUM = "no published checksum; size only"


def _check_room(folder: Path, wanted: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise OSError(f"{folder} has {free / 1e6:,.0f} MB free, and {what} wants {wanted / 1e6:,.0f} MB more")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name to a full disk's error, which comes without."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def sha256_of(path: Path) -> str:
    """A file's sha256 in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _first_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as stream:
        return stream.read(count)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


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


# Archives


def unpack(archive: Path, folder: Path, keep: str) -> int:
    """Put an archive's files that end in `keep` into one folder, from whatever folders; returns how many.

    Raises ValueError for an archive that is damaged, that holds a link, an absolute path or '..' (none of
    ours does, so it is somebody else's), or two different files of one name. The caller then throws the
    folder away.
    Only contents are copied out, under names without a folder: nothing in an archive can reach elsewhere,
    and the extraction filters that Debian 12's tarfile lacks aren't missed.
    """
    count = 0
    try:
        with gzip.open(archive) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as members:
                for member in members:
                    _refuse_strange(archive, member)
                    name = Path(member.name).name
                    if member.isfile() and name.lower().endswith(keep) and not name.startswith("."):
                        _copy_out(members.extractfile(member), folder / name, archive)
                        count += 1
            while stream.read(CHUNK):
                pass  # gzip compares its checksum only at the very end, behind what tar reads
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{archive} is damaged or no .tgz archive ({error})") from error
    return count


def _refuse_strange(archive: Path, member: tarfile.TarInfo) -> None:
    if member.name.startswith("/"):
        raise ValueError(f"{archive} holds an absolute path ({member.name}): not unpacked")
    if ".." in member.name.split("/"):
        raise ValueError(f"{archive} holds a path out of its folder ({member.name}): not unpacked")
    if not (member.isfile() or member.isdir()):
        kind = "a link" if member.islnk() or member.issym() else "a device"
        raise ValueError(f"{archive} holds {kind} ({member.name}): not unpacked")


def _copy_out(stream: IO[bytes], target: Path, archive: Path) -> None:
    if not target.exists():
        with _naming(target), target.open("wb") as copy:
            shutil.copyfileobj(stream, copy, CHUNK)
    elif stream.read() != target.read_bytes():
        raise ValueError(f"{archive} holds another file called {target.name} than was there before")


# Things: a file, or a folder from archives


def obtain(thing: Thing, out: Path, patience: Patience, keep_archive: bool) -> str:
    """Have a thing at `out`, downloading it if it isn't there; returns a sentence on what was done.

    Raises OSError where it can't be had, ValueError where it or what lies at `out` isn't what it should be.
    """
    out = out.resolve()  # moving a folder in would replace a link to another disk
    there = _folder_there(thing, out) if thing.keep else _file_there(thing, out)
    if there:
        return there
    out.parent.mkdir(parents=True, exist_ok=True)
    if thing.keep:
        return _obtain_folder(thing, out, patience, keep_archive)
    download(thing.files[0], out, patience)
    return f"{out} is there"


def _file_there(thing: Thing, out: Path) -> str | None:
    if not out.exists():
        return None
    file = thing.files[0]
    size = out.stat().st_size if out.is_file() else 0
    # another VGG16 has the same parameters, so about the same size
    if size < 0.99 * (file.bytes or 1):
        raise ValueError(f"{out} is not a whole {file.name} ({size:,} bytes): remove it to have it fetched")
    if file.sha256 and sha256_of(out) != file.sha256:
        return f"{out} is there already; it is not the published {file.name}: taken as it is"
    return f"{out} is there already, {'its sha256 as published' if file.sha256 else NO_CHECKSUM}"


def _folder_there(thing: Thing, out: Path) -> str | None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    count = _count(out, thing.keep)
    if not count:
        raise ValueError(f"{out} is there but has no {thing.keep} in it: empty it or name another folder")
    if count < thing.at_least:
        return f"{out} is there already, {count} {thing.keep} of {thing.at_least}: taken as it is"
    return f"{out} is there already, {count} {thing.keep}"


def _count(folder: Path, suffix: str) -> int:
    return sum(name.lower().endswith(suffix) for _, _, names in os.walk(folder) for name in names)


def _obtain_folder(thing: Thing, out: Path, patience: Patience, keep_archive: bool) -> str:
    archives = [out.with_name(file.name) for file in thing.files]
    waiting = [file for file, archive in zip(thing.files, archives, strict=True) if not archive.exists()]
    for file in waiting:
        download(file, out.with_name(file.name), patience)
    part = out.with_name(f"{out.name}.part")
    try:
        count = _unpack_all(thing, archives, part)
        part.replace(out)
    except ValueError as error:
        if not waiting:
            raise ValueError(f"{error}; remove it to have it fetched anew") from error
        for file in waiting:
            out.with_name(file.name).unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for archive in [] if keep_archive else archives:
        archive.unlink()
    return f"{out} has {count} {thing.keep}"


def _unpack_all(thing: Thing, archives: list[Path], part: Path) -> int:
    shutil.rmtree(part, ignore_errors=True)
    _check_room(part.parent, sum(_size(archive) for archive in archives), "what is unpacked")
    part.mkdir()
    for archive in archives:
        _say(f"fetch: unpacking {archive.name}")
        unpack(archive, part, thing.keep)
    count = _count(part, thing.keep)
    if count < max(thing.at_least, 1):
        names = " and ".join(str(archive) for archive in archives)
        raise ValueError(f"{names}: {count} {thing.keep} inside, {thing.at_least} expected: not taken")
    return count


# Landmarks: a list of pictures all over the internet


def read_links(path: Path) -> list[Link]:
    """The `url class` lines of a list, each once, in order; empty lines and lines with # are passed over.

    Raises ValueError with the line's number for a line without a class, or a class that can't name a folder.
    """
    links = {}
    lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    for number, line in enumerate(lines, 1):
        words = line.split(maxsplit=1)
        if not words or words[0].startswith("#"):
            continue
        if len(words) == 1:
            raise ValueError(
                f"{path}, line {number}: an address and a class are expected, not {line.strip()!r}"
            )
        category = words[1].strip()
        if category.startswith(".") or "/" in category or "\0" in category:
            raise ValueError(f"{path}, line {number}: {category!r} can't be a class folder's name")
        links[Link(words[0], category)] = None
    if not links:
        raise ValueError(f"{path} has no `url class` lines")
    return list(links)


class PictureGetter:
    """Downloads a picture into memory and judges it; remembers hosts that never answer. For many threads."""

    def __init__(self, patience: Patience, most_bytes: int, smallest_side: int) -> None:
        self._patience = patience
        self._most_bytes = most_bytes
        self._smallest_side = smallest_side
        self._lock = threading.Lock()
        self._silent: Counter[str] = Counter()
        self._answered: set[str] = set()

    def __call__(self, link: Link) -> tuple[Link, bytes, str]:
        """The link, the picture's bytes and the suffix of its format; or no bytes, and the reason why."""
        try:
            data = self._get(link.url)
            return link, data, self._suffix(data)
        except (NoAnswerError, WrongAnswerError) as error:
            return link, b"", str(error)

    def _get(self, url: str) -> bytes:
        for failures in range(1, self._patience.tries + 1):
            host = url.partition("//")[2].partition("/")[0]
            if host not in self._answered and self._silent[host] >= DEAD_HOST_AFTER:
                raise NoAnswerError(f"{host} did not answer {DEAD_HOST_AFTER} times")
            try:
                data = self._get_once(url)
                self._note(host, silent=False)
                return data
            except WrongAnswerError:
                self._note(host, silent=False)
                raise
            except NoAnswerError as error:
                last = error
                self._note(host, silent=not isinstance(error, BusyError))
                if failures < self._patience.tries:
                    time.sleep(_pause(failures, error))
        raise last

    def _note(self, host: str, silent: bool) -> None:
        with self._lock:
            if silent:
                self._silent[host] += 1
            else:
                self._answered.add(host)

    def _get_once(self, url: str) -> bytes:
        # a server that sends a byte now and then never times out
        until = time.monotonic() + 10 * self._patience.timeout
        data = bytearray()
        with _ask(url, self._patience.timeout, {}) as answer:
            if UNAVAILABLE in answer.geturl():
                raise WrongAnswerError("Flickr's stand-in for a photograph that is gone")
            if _is_page(answer):
                raise WrongAnswerError("a web page instead of a picture")
            start, total = _extent(answer, 0)
            if start != 0:
                raise WrongAnswerError(f"HTTP {answer.status}, unasked")
            if (total or 0) > self._most_bytes:
                raise WrongAnswerError(f"larger than {self._most_bytes:,} bytes")
            for piece in _pieces(answer):
                data += piece
                if len(data) > self._most_bytes:
                    raise WrongAnswerError(f"larger than {self._most_bytes:,} bytes")
                if time.monotonic() > until:
                    raise NoAnswerError("too slow")
        if total is not None and len(data) != total:
            raise NoAnswerError(f"connection cut at {len(data):,} of {total:,} bytes")
        return bytes(data)

    def _suffix(self, data: bytes) -> str:
        if data.lstrip()[:1] == b"<":
            raise WrongAnswerError("a web page instead of a picture")
        try:
            with Image.open(io.BytesIO(data)) as picture:
                kind, size = picture.format, picture.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise WrongAnswerError("no picture, or one of an unreasonable size") from error
        if kind not in SUFFIX_OF_FORMAT:
            raise WrongAnswerError(f"a {kind} picture, which Caffe does not read")
        if min(size) < self._smallest_side:
            raise WrongAnswerError(f"only {size[0]}x{size[1]} pixels")
        return SUFFIX_OF_FORMAT[kind]


class Gallery:
    """The class folders under `out`: what is there, and what a downloaded picture becomes."""

    def __init__(self, out: Path, report: Path) -> None:
        self._out = out
        self._stems: dict[str, dict[str, str]] = {}
        self._first: dict[str, Outcome] = {}
        self._digest_of: dict[str, str] = {}
        for row in _read_report(report):
            if row.result == "placeholder" or (row.sha256 and (out / row.file).exists()):
                self._first[row.sha256] = row
                self._digest_of[row.file] = row.sha256
        self.outcomes: dict[Link, Outcome] = {}

    def is_there(self, link: Link) -> bool:
        """True, and noted, where an earlier run has kept this link's picture."""
        if link.category not in self._stems:
            folder = self._out / link.category
            found = folder.iterdir() if folder.is_dir() else ()
            self._stems[link.category] = {path.stem: path.name for path in found}
        name = self._stems[link.category].get(_stem(link.url))
        if name:
            file = f"{link.category}/{name}"
            self.outcomes[link] = Outcome(link, "there", "", file, self._digest_of.get(file, ""))
        return bool(name)

    def take(self, link: Link, data: bytes, suffix_or_reason: str) -> None:
        """Keep a picture, or note why not.

        The same bytes for a second class show neither: they are some site's picture of "not available", and
        all of them go. The same bytes for the same class are kept once.
        """
        if not data:
            self.outcomes[link] = Outcome(link, "failed", suffix_or_reason)
            return
        digest = hashlib.sha256(data).hexdigest()
        first = self._first.get(digest)
        if first is None:
            self._keep(link, data, suffix_or_reason, digest)
        elif first.result == "placeholder" or first.link.category != link.category:
            self._drop(first)
            self.outcomes[link] = Outcome(link, "placeholder", "the same bytes for two classes", "", digest)
        else:
            self.outcomes[link] = Outcome(link, "copy", f"the same bytes as {first.file}")

    def _keep(self, link: Link, data: bytes, suffix: str, digest: str) -> None:
        file = f"{link.category}/{_stem(link.url)}{suffix}"
        path = self._out / file
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(path) as part:
            part.write_bytes(data)
        self.outcomes[link] = self._first[digest] = Outcome(link, "kept", "", file, digest)

    def _drop(self, first: Outcome) -> None:
        if first.file:
            path = self._out / first.file
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()  # a class that has nothing else
        gone = first._replace(result="placeholder", reason="the same bytes for two classes", file="")
        self._first[first.sha256] = self.outcomes[first.link] = gone

    def write_report(self, report: Path, links: list[Link]) -> None:
        """Every link and what became of it, in the list's order, as CSV."""
        known = [link for link in dict.fromkeys([*links, *self.outcomes]) if link in self.outcomes]
        with (
            written_beside(report) as part,
            part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
        ):
            writer = csv.writer(stream)
            writer.writerow(["url", "class", *Outcome._fields[1:]])
            writer.writerows([*link, *self.outcomes[link][1:]] for link in known)


def _read_report(report: Path) -> list[Outcome]:
    """An earlier run's report; nothing where there is none."""
    if not report.is_file():
        return []
    with report.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return [Outcome(Link(*row[:2]), *row[2:]) for row in csv.reader(stream) if len(row) == 6][1:]


def _stem(url: str) -> str:
    return hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()[:20]


def _in_threads(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yield function(item) as they come. The threads are daemons: Ctrl-C needn't wait for servers."""
    todo: queue.SimpleQueue[Item] = queue.SimpleQueue()
    done: queue.Queue[Result | BaseException] = queue.Queue(maxsize=2 * threads)
    stop = threading.Event()
    count = 0
    for count, item in enumerate(items, 1):  # noqa: B007
        todo.put(item)

    def work() -> None:
        with suppress(queue.Empty):
            while not stop.is_set():
                item = todo.get_nowait()
                try:
                    done.put(function(item))
                except BaseException as error:
                    done.put(error)

    for _ in range(min(threads, count)):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in range(count):
            result = done.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stop.set()


def obtain_landmarks(
    links: list[Link], out: Path, report: Path, getter: PictureGetter, threads: int
) -> list[str]:
    """Download the pictures of a list into class folders under `out`; returns sentences on what was done.

    A dead link is a line in the report. Raises OSError where there is no picture at all in the end.
    """
    out.mkdir(parents=True, exist_ok=True)
    report.parent.mkdir(parents=True, exist_ok=True)
    gallery = Gallery(out, report)
    waiting = [link for link in links if not gallery.is_there(link)]
    try:
        with _Progress("pictures", len(links) - len(waiting), len(links), unit="") as progress:
            for result in _in_threads(getter, waiting, threads):
                gallery.take(*result)
                progress.advance(1)
    finally:
        gallery.write_report(report, links)
    return _summary(links, gallery, out, report)


def _summary(links: list[Link], gallery: Gallery, out: Path, report: Path) -> list[str]:
    outcomes = gallery.outcomes.values()
    had = [outcome for outcome in outcomes if outcome.result in ("kept", "there")]
    reasons = Counter(outcome.reason for outcome in outcomes if outcome.result == "failed")
    often = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(3))
    if not had:
        raise OSError(f"none of {len(links)} addresses gave a picture ({often}): see {report}")
    new = sum(outcome.result == "kept" for outcome in had)
    said = [
        f"{out} has {len(had)} pictures of {len(links)} addresses, {new} of them new; each is in {report}"
    ]
    if often:
        said.append(f"not got: {sum(reasons.values())} ({often}{' ...' if len(reasons) > 3 else ''})")
    empty = {link.category for link in links} - {outcome.link.category for outcome in had}
    if empty:
        named = ", ".join(sorted(empty)[:5]) + (" ..." if len(empty) > 5 else "")
        said.append(f"{len(empty)} classes have no picture: {named}")
    return said


# The program


class _Progress:
    """Bytes or pictures so far: a tqdm bar where stderr is a terminal, else a line now and then."""

    def __init__(self, what: str, start: int, total: int | None, unit: str = "B") -> None:
        self._what, self._done, self._total = what, start, total
        self._scale = 1e6 if unit else 1
        self._unit = "MB of " if unit else ""
        self._last_line = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                desc=what, initial=start, total=total, unit=unit, unit_scale=bool(unit), dynamic_ncols=True
            )

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, count: int) -> None:
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._last_line > LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            of_total = f"/{self._total / self._scale:.0f}" if self._total else ""
            _say(f"fetch: {self._done / self._scale:.0f}{of_total} {self._unit}{self._what}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.fetch",
        description="Get the article's data from the internet. What is there already is left alone; a"
        " download that was cut goes on where it ended; size and checksum are checked where they are known.",
        epilog="example: python -m data_prep.fetch oxford5k-images --out data/oxford5k/jpg",
    )
    things = parser.add_subparsers(dest="thing", required=True, metavar="THING")
    for name in THINGS:
        _add_thing(things, read_thing(SOURCES, name))
    _add_landmarks(things)
    return parser


def _add_thing(things: argparse._SubParsersAction, thing: Thing) -> None:
    files = " and ".join(file.name for file in thing.files)
    kind = f"the {thing.keep} files of {files}" if thing.keep else files
    own = (
        f" Archives you have got yourself are taken from beside --out ({files})."
        if thing.keep
        else " A copy of your own at --out is taken as it is."
    )
    command = things.add_parser(
        thing.name, help=thing.what, description=f"{thing.what}: {kind}, from {thing.page} or a mirror.{own}"
    )
    what = "folder" if thing.keep else "file"
    command.add_argument("--out", type=Path, required=True, help=f"the {what} to have it in")
    command.add_argument(
        "--url",
        action="append",
        metavar="URL",
        help="get it from here instead (several times: one after the other); a URL ending in '/' is a folder"
        " that has the files by their names",
    )
    if thing.keep:
        command.add_argument("--keep-archive", action="store_true", help="don't delete what was unpacked")
    command.add_argument(
        "--sources",
        type=Path,
        default=SOURCES,
        metavar="FILE",
        help="another table of addresses, sizes, checksums",
    )
    _add_patience(command, Patience())


def _add_landmarks(things: argparse._SubParsersAction) -> None:
    command = things.add_parser(
        "landmarks",
        help="pictures from a list of `url class` lines, into class folders",
        description="Download a list of pictures into class folders. Dead links, web pages and stand-ins for"
        " pictures that are gone are passed over and named in the report. Run again, it asks only for what is"
        " not there. Whether a picture can be decoded to its end is for data_prep.check_images to say.",
        epilog="example: python -m data_prep.fetch landmarks --urls landmark_urls.txt --out data/landmarks",
    )
    command.add_argument("--urls", type=Path, required=True, metavar="FILE", help="`url class` lines")
    command.add_argument("--out", type=Path, required=True, help="folder for the class folders")
    command.add_argument(
        "--report",
        type=Path,
        metavar="CSV",
        help="what became of each address (default: OUT_fetch.csv beside OUT)",
    )
    command.add_argument("--threads", type=positive_int, default=16, help="downloads at once (default 16)")
    command.add_argument(
        "--max-mb",
        type=positive_int,
        default=30,
        metavar="N",
        help="largest picture taken, in MB (default 30)",
    )
    command.add_argument(
        "--min-side",
        type=positive_int,
        default=64,
        metavar="N",
        help="smallest side taken, in pixels (default 64)",
    )
    _add_patience(command, Patience(timeout=20.0, tries=2))


def _add_patience(command: argparse.ArgumentParser, default: Patience) -> None:
    command.add_argument(
        "--timeout",
        type=positive_int,
        default=default.timeout,
        metavar="S",
        help=f"seconds without a byte before an attempt is given up (default {default.timeout:.0f})",
    )
    command.add_argument(
        "--tries",
        type=positive_int,
        default=default.tries,
        metavar="N",
        help=f"attempts in a row that may bring nothing (default {default.tries})",
    )


def _run_landmarks(args: argparse.Namespace) -> list[str]:
    out = args.out.resolve()
    if not args.urls.exists():
        with suppress(OSError, ValueError):
            count = len(class_folders(out))
            return [f"{out} is there already, {count} class folders; no list {args.urls} to add to it"]
        raise ValueError(
            "Landmarks has no complete public copy: bring class folders to"
            f" {args.out}, or a list of `url class` lines to {args.urls}; Table 1 works without (--table 1)"
        )
    report = args.report or out.with_name(f"{out.name}_fetch.csv")
    getter = PictureGetter(Patience(args.timeout, args.tries), args.max_mb * 1_000_000, args.min_side)
    return obtain_landmarks(read_links(args.urls), out, report, getter, args.threads)


def _run(args: argparse.Namespace) -> int:
    if args.thing == "landmarks":
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        said = _run_landmarks(args)
    else:
        thing = read_thing(args.sources, args.thing)
        thing = from_mirrors(thing, args.url) if args.url else thing
        patience = Patience(args.timeout, args.tries)
        said = [obtain(thing, args.out, patience, getattr(args, "keep_archive", False))]
    for sentence in said:
        print(f"fetch: {sentence}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    args = _parser().parse_args(argv)
    return run_program("fetch", lambda: _run(args))


if __name__ == "__main__":
    sys.exit(main())
