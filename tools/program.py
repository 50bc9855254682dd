"""The ground floor of every program: how it ends, what its arguments mean, how it shows that it gets on.

Any room may import this module and `tools.processes`; they import nothing of ours. A program is

    def main(argv: Sequence[str] | None = None) -> int:
        arguments = parser().parse_args(argv)
        return run_program("split", lambda: split(arguments))

and then behaves as all others do: one sentence on stderr for what went wrong, and a true exit status.
"""

import argparse
import atexit
import ctypes
import errno
import hashlib
import math
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm

PART = ".part"
"""The end of a name that holds something half-written; a dot before it where pictures lie, as no program
takes such a name for a picture's."""
LONGEST_NAME = 255
"""Bytes of a file's name on Linux."""
LINE_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between a program's first lines of progress in a log; the last one stays."""
LIVE_SECONDS = 1.0
LIVE = "PROGRESS_LIVE"
"""Set by run_all.sh where somebody watches: lines come often, and are drawn as one bar that moves."""


class StopError(Exception):
    """A signal has come, and work has stopped where it can go on from: raised by `StopError.check`.

    For work that an exception in the middle would hurt: one that comes while Python clears up an object is
    lost, and the signal with it.
    """

    number: int | None = None

    @classmethod
    def check(cls) -> None:
        """Raise StopError if a signal has come since `on_signals` was entered."""
        if cls.number is not None:
            raise cls

    @classmethod
    @contextmanager
    def on_signals(cls) -> Iterator[None]:
        """Take SIGINT and SIGTERM; a second one ends the process at once."""

        def take(number: int, _: object) -> None:
            cls.number = number
            signal.signal(number, signal.SIG_DFL)

        cls.number = None
        before = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _TerminatedError(SystemExit):
    """SIGTERM has come: unwinds as any exception does, and outside of run_program ends quietly."""


def run_program(name: str, run: Callable[[], int | None], *, interrupted: str = "interrupted") -> int:
    """Call run and return a program's exit status, turning what went wrong into one sentence on stderr.

    ValueError, OSError and MemoryError give 1. Ctrl-C gives 130, SIGTERM 143, each with the words
    `interrupted`; they unwind, so that half-written files go. Nobody reading any more (`| head`) gives 141
    without a word.
    """

    def terminate(number: int, _: object) -> None:
        raise _TerminatedError(128 + number)

    signal.signal(signal.SIGTERM, terminate)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a test's own stream
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # names need not be UTF-8
    try:
        status = run() or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _forget_output()  # whoever read it (head, less) has seen enough
        return 128 + signal.SIGPIPE
    except (OSError, ValueError, MemoryError) as error:
        print(f"{name}: {one_sentence(error)}", file=sys.stderr)
        return 1
    except (StopError, KeyboardInterrupt, _TerminatedError) as error:
        print(f"{name}: {interrupted}", file=sys.stderr)
        if isinstance(error, _TerminatedError):
            return 128 + signal.SIGTERM
        return 128 + ((isinstance(error, StopError) and error.number) or signal.SIGINT)


def _forget_output() -> None:
    """Send standard output nowhere: Python complains at the end of what it can't write."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@atexit.register
def _write_the_rest() -> None:
    """What is still in the buffer: `--help | head`, or a disk that is full, of which run_program has told."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        _forget_output()


def _end_quietly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Ctrl-C while a program reads its arguments, or nobody to read its --help, needs no traceback."""
    if issubclass(kind, BrokenPipeError | KeyboardInterrupt):
        _forget_output()
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _end_quietly


def one_sentence(error: BaseException) -> str:
    """What an error says to a reader: 'No space left on device: a.jpg' for the system's, else its words."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "out of memory"
    return " ".join(str(error).split("\n"))


def some(names: Iterable[str], most: int = 3) -> str:
    """The names, or the first few and how many more: 'a, b, c and 4 more'."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


# Types of arguments

WHOLE_NUMBER = re.compile("[0-9]{1,18}")
DECIMAL_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?")
"""Python's int and float take more: nan and inf, 1_000, blanks around, digits of other scripts."""


def positive_int(text: str) -> int:
    """An argparse type: a whole number above zero."""
    if not WHOLE_NUMBER.fullmatch(text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 up, not {shown(text)}")
    return int(text)


def whole_number(text: str) -> int:
    """An argparse type: a whole number from zero up."""
    if not WHOLE_NUMBER.fullmatch(text):
        raise argparse.ArgumentTypeError(f"must be a whole number and not negative, not {shown(text)}")
    return int(text)


def share(text: str) -> float:
    """An argparse type: a number between 0 and 1, neither included."""
    if not DECIMAL_NUMBER.fullmatch(text) or not 0 < float(text) < 1:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1, not {shown(text)}")
    return float(text)


def rate(text: str) -> float:
    """An argparse type: a number above 0."""
    if not DECIMAL_NUMBER.fullmatch(text) or not 0 < float(text) < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {shown(text)}")
    return float(text)


def shown(text: str, most: int = 60) -> str:
    """A word of the command line or a file as an error may quote it, however long it is."""
    return text if len(text) <= most else f"{text[:most]}..."


def gpu_list(text: str) -> list[int]:
    """An argparse type: numbers of GPUs such as 0,1, each once; `none` for the CPU."""
    if text == "none":
        return []
    numbers = [int(number) for number in text.split(",") if re.fullmatch("[0-9]{1,4}", number)]
    if len(set(numbers)) <= text.count(","):
        raise argparse.ArgumentTypeError(f"must be numbers of GPUs such as 0,1, each once, not {shown(text)}")
    return numbers


def dimension(text: str) -> str:
    """An argparse type: `full`, `none`, or a number of dimensions as the article's tables have them."""
    return text if text in ("full", "none") else str(positive_int(text))


# Files that are there whole or not at all


@contextmanager
def written_beside(path: Path, *, one_of_many: bool = False) -> Iterator[Path]:
    """Give a temporary path in the same folder; what is written there takes path's place if all went well.

    The file that had the name is replaced, never written to: it may be a hard link to somebody's original.
    The folder is made. What takes the place is on the disk before it does, also through a power cut; but for
    `one_of_many`, as waiting for the disk at each of half a million pictures takes hours: who writes those
    looks at their ends when it goes on.
    Raises OSError, with the file's name where the system left it out (a full disk).
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "It is no file that could be replaced", str(path))  # a device, say
    part = path.with_name(f".{path.name}{PART}")
    if len(os.fsencode(part.name)) > LONGEST_NAME:
        part = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        if not one_of_many:
            to_disk(part)
        part.replace(path)
        if not one_of_many:
            to_disk(path.parent)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None and error.errno not in (None, errno.EPIPE):
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a file of text, whole or not at all. Raises OSError."""
    with written_beside(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """Give a new folder beside path, which takes path's place if all went well and is removed if not.

    All that is in it is on the disk before it takes the place. Raises OSError.
    """
    part = path.with_name(f"{path.name}{PART}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        all_to_disk(part)
        shutil.rmtree(path, ignore_errors=True)
        part.replace(path)
        to_disk(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def to_disk(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def all_to_disk(folder: Path) -> None:
    """Wait until everything written to the folder's file system is on the disk (syncfs). Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """A file's sha256 in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Progress


class Progress:
    """How far work is: a bar on a terminal, else lines `WHAT: N/M` that come at once and then more rarely.

    run_all.sh reads those lines and draws a bar of them where it runs on a terminal.
    """

    def __init__(self, what: str, total: int | None, *, done: int = 0, unit: str = "") -> None:
        """`unit` is "" for things that are counted, or "B" for bytes, which are shown in MB."""
        self._what, self._total, self._done, self._first = what, total, done, done
        self._scale, self._unit = (1_000_000, " MB") if unit == "B" else (1, "")
        self._pauses = [LIVE_SECONDS] if os.environ.get(LIVE) else list(LINE_SECONDS)
        self._started = self._last_line = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                desc=what, initial=done, total=total, unit=unit, unit_scale=bool(unit), dynamic_ncols=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None and self._done > self._first:
            self._print_line()

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._last_line > self._pauses[0]:
            if len(self._pauses) > 1:
                self._pauses.pop(0)
            self._print_line()

    def _print_line(self) -> None:
        self._last_line = time.monotonic()
        seconds = self._last_line - self._started
        of_total = "" if self._total is None else f"/{self._total // self._scale}"
        rate = (self._done - self._first) / max(seconds, 1e-9) / self._scale
        print(
            f"{self._what}: {self._done // self._scale}{of_total}{self._unit}, {seconds:.0f} s, "
            f"{rate:.{0 if rate >= 10 else 1}f}{self._unit}/s",
            file=sys.stderr,
            flush=True,
        )
