"""A list of pictures all over the internet, most of them gone: which of what comes is the picture asked for.

A picture is called after its address, so a later run knows what is there and asks only for the rest.
"""

import codecs
import hashlib
import io
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from data_prep.download.lock import held
from data_prep.download.servers import (
    BusyError,
    NoAnswerError,
    WrongAnswerError,
    ask,
    extent,
    is_page,
    pause,
    pieces,
)
from data_prep.download.transfer import Patience
from tools.files.csv_rows import read_csv, write_csv
from tools.files.picture_names import FORMAT_OF_SUFFIX, is_hidden
from tools.program import LONGEST_NAME, Progress, some, written_beside

BLANKS = " \t\r"  # other blanks, such as U+3000, are letters of a name
DEAD_HOST_AFTER = 3
UNAVAILABLE = "photo_unavailable"  # where Flickr sends those who ask for a photograph that is gone

SUFFIX_OF_FORMAT = {name: suffix for suffix, name in reversed(FORMAT_OF_SUFFIX.items())}
SUFFIX_OF_FORMAT["MPO"] = SUFFIX_OF_FORMAT["JPEG"]  # a camera's JPEG with a second view behind the first


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


class Answer(NamedTuple):
    """What a link led to: a picture's bytes and its format's suffix, or no bytes and the reason why."""

    link: Link
    data: bytes
    suffix_or_reason: str


def read_links(path: Path) -> list[Link]:
    """The `url class` lines of a list, each once, in order; empty lines and lines with # are passed over.

    Raises ValueError with the line's number for a line without a class, or a class that can't name a folder.
    """
    links: dict[Link, None] = {}
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{path} is UTF-16, as Windows writes it: save it as UTF-8")
    for number, line in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        url, _, category = os.fsdecode(line).strip(BLANKS).replace("\t", " ").partition(" ")
        category = category.strip(BLANKS)
        if not url or url.startswith("#"):
            continue
        if not category:
            raise ValueError(f"{path}, line {number}: an address and a class are expected, not {url[:200]!r}")
        if is_hidden(category) or set(category) & set("/\0\r") or len(os.fsencode(category)) > LONGEST_NAME:
            raise ValueError(f"{path}, line {number}: {category[:200]!r} can't be a class folder's name")
        links[Link(url, category)] = None
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

    def __call__(self, link: Link) -> Answer:
        """Ask for a link's picture, again and again where that may help."""
        try:
            data = self._get(link.url)
            return Answer(link, data, self._suffix(data))
        except (NoAnswerError, WrongAnswerError) as error:
            return Answer(link, b"", str(error))

    def _get(self, url: str) -> bytes:
        host = url.partition("//")[2].partition("/")[0]
        failures = 0
        while True:
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
                self._note(host, silent=not isinstance(error, BusyError))
                failures += 1
                if failures == self._patience.tries:
                    raise
                time.sleep(pause(failures, error))

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
        with ask(url, self._patience.timeout, {}) as answer:
            if UNAVAILABLE in answer.geturl():
                raise WrongAnswerError("Flickr's stand-in for a photograph that is gone")
            if is_page(answer):
                raise WrongAnswerError("a web page instead of a picture")
            start, total = extent(answer, 0)
            if start != 0:
                raise WrongAnswerError(f"HTTP {answer.status}, unasked")
            if (total or 0) > self._most_bytes:
                raise WrongAnswerError(f"larger than {self._most_bytes:,} bytes")
            for piece in pieces(answer):
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
        except Exception as error:  # Pillow's decoders raise whatever they stumble over
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

    def take(self, answer: Answer) -> None:
        """Keep a picture, or note why not.

        The same bytes for a second class show neither: they are some site's picture of "not available", and
        all of them go. The same bytes for the same class are kept once.
        """
        link, data, suffix_or_reason = answer
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
        rows = ([*link, *self.outcomes[link][1:]] for link in known)
        with written_beside(report) as part:
            write_csv(part, [["url", "class", *Outcome._fields[1:]], *rows])


def _read_report(report: Path) -> list[Outcome]:
    """An earlier run's report; nothing where there is none. Its files are ours alone: CLASS/NAME."""
    if not report.is_file():
        return []
    rows = [Outcome(Link(*row[:2]), *row[2:]) for row in read_csv(report)[1:] if len(row) == 6]
    return [row for row in rows if not row.file or _is_ours(row)]


def _is_ours(row: Outcome) -> bool:
    folder, _, name = row.file.rpartition("/")
    return folder == row.link.category and ".." not in row.file and Path(name).stem == _stem(row.link.url)


def _stem(url: str) -> str:
    return hashlib.sha256(url.encode("utf-8", "surrogateescape")).hexdigest()[:20]


def _in_threads(getter: PictureGetter, links: list[Link], threads: int) -> Iterator[Answer]:
    """Yield what the links lead to as it comes. The threads are daemons: Ctrl-C needn't wait for servers."""
    todo: queue.SimpleQueue[Link] = queue.SimpleQueue()
    done: queue.Queue[Answer | BaseException] = queue.Queue(maxsize=2 * threads)
    stop = threading.Event()
    for link in links:
        todo.put(link)

    def work() -> None:
        with suppress(queue.Empty):
            while not stop.is_set():
                link = todo.get_nowait()
                try:
                    done.put(getter(link))
                except BaseException as error:
                    done.put(error)

    for _ in range(min(threads, len(links))):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in links:
            answer = done.get()
            if isinstance(answer, BaseException):
                raise answer
            yield answer
    finally:
        stop.set()


def obtain_landmarks(
    links: list[Link], out: Path, report: Path, getter: PictureGetter, threads: int
) -> list[str]:
    """Download the pictures of a list into class folders under `out`; returns sentences on what was done.

    A dead link is a line in the report. Raises OSError where there is no picture at all in the end.
    """
    with held(out, report):
        out.mkdir(parents=True, exist_ok=True)
        gallery = Gallery(out, report)
        waiting = [link for link in links if not gallery.is_there(link)]
        try:
            with Progress("fetching", len(links), done=len(links) - len(waiting)) as progress:
                for answer in _in_threads(getter, waiting, threads):
                    gallery.take(answer)
                    progress.advance()
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
        said.append(f"{len(empty)} classes have no picture: {some(sorted(empty), 5)}")
    return said
