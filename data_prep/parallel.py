"""One function over many items on every core: results in the items' order, flat memory, a progress bar.

The only way into other processes is `concurrent.futures.Executor`, so anything that offers one (a process
pool, a cluster's client) can do the work. Without one given, a pool of this machine's processes is made.

Processes are *spawned*, not forked: the parent may hold threads (OpenCV, BLAS, tqdm) whose locks a forked
child would inherit locked. The price is each worker's imports, a fraction of a second once a pool.
"""

import argparse
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import connection
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

LONGEST_CHUNK = 256
CHUNK_SECONDS = 0.1
LINE_EVERY_SECONDS = 15.0


def core_count() -> int:
    """Cores this process may run on (a container's or taskset's share, not the whole machine's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def add_jobs_option(parser: argparse.ArgumentParser) -> None:
    """Give a program the usual `--jobs N`; the default is every core."""
    parser.add_argument(
        "--jobs", type=positive_int, default=core_count(), metavar="N", help="processes (default: one a core)"
    )


def positive_int(text: str) -> int:
    """An argparse type: a whole number above zero."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return number


def map_ordered(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    jobs: int,
    what: str,
    total: int | None = None,
    executor: Executor | None = None,
) -> Iterator[Result]:
    """Yield function(item) for every item, in the items' order, computed by `jobs` processes.

    A generator: work starts with the first `next`. `function` must be importable by name (a module's function
    or a functools.partial of one), items and results picklable. At most a few chunks a process are under way,
    and items are drawn as they are needed, so half a million of them cost no memory. With jobs=1 all runs in
    this process.

    `what` names the work in the progress display: a bar where stderr is a terminal, else a line now and then;
    `total` is how many items there are, where `items` has no len().
    `executor` takes the place of the pool of processes (jobs then only says how much to have under way).
    An exception of `function` comes out here; closing the generator or Ctrl-C drops what has not begun and,
    of an own pool, waits for the chunks under way (about 0.1 s each, or one item's time). Raises OSError when
    one of its processes dies.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if total is not None:
        jobs = max(1, min(jobs, total))
    with _Progress(what, total) as progress:
        if jobs == 1 and executor is None:
            results = map(function, items)
        else:
            results = _map_in_processes(function, iter(items), jobs, what, executor)
        for result in results:
            progress.advance()
            yield result


def run_program(name: str, run: Callable[[], int]) -> int:
    """Call run and return a program's exit status, turning what went wrong into one sentence on stderr.

    ValueError and OSError give 1, Ctrl-C 130. SIGTERM (143) unwinds as Ctrl-C does: half-written files go.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a file name need not be valid UTF-8
    try:
        return run()
    except BrokenPipeError:
        # Whoever read our output (head, less) has seen enough; Python would complain once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (OSError, ValueError) as error:
        print(f"{name}: {one_sentence(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130


def one_sentence(error: Exception) -> str:
    """What an error says to a reader: 'No space left on device: a.jpg' for the system's, else its words."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)


def _map_in_processes(
    function: Callable[[Item], Result], items: Iterator[Item], jobs: int, what: str, executor: Executor | None
) -> Iterator[Result]:
    under_way: deque[Future] = deque()
    size = 1
    try:
        with _pool(jobs) if executor is None else _borrowed(executor) as pool:
            try:
                while True:
                    while len(under_way) < 3 * jobs and (chunk := list(islice(items, size))):
                        with _sigint_held_back():
                            under_way.append(pool.submit(_run_chunk, function, chunk))
                    if not under_way:
                        return
                    seconds, results = under_way.popleft().result()
                    size = _next_size(len(results), seconds)
                    yield from results
            finally:
                for future in under_way:
                    future.cancel()
    except BrokenProcessPool as error:
        raise OSError(f"{what}: a worker process died (out of memory?), try fewer --jobs") from error


def _run_chunk(function: Callable[[Item], Result], chunk: list[Item]) -> tuple[float, list[Result]]:
    start = time.monotonic()
    results = [function(item) for item in chunk]
    return time.monotonic() - start, results


def _next_size(size: int, seconds: float) -> int:
    """Chunks of about CHUNK_SECONDS: long enough to hide the cost of passing them, short to stop quickly."""
    fitting = int(CHUNK_SECONDS * size / max(seconds, 1e-6))
    return max(1, min(fitting, 2 * size, LONGEST_CHUNK))


@contextmanager
def _pool(jobs: int) -> Iterator[Executor]:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_die_with_parent)
    try:
        with _sigint_held_back():
            for _ in range(jobs):
                pool.submit(int)  # starts a process, which imports what it needs while the items are listed
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _borrowed(executor: Executor) -> Iterator[Executor]:
    yield executor


@contextmanager
def _sigint_held_back() -> Iterator[None]:
    """Start workers with SIGINT blocked, which they inherit: Ctrl-C is for the parent, which stops them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_with_parent() -> None:
    """In a worker: end when the parent is gone, however it ended; a killed parent can't tell its workers."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait_for_the_end() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait_for_the_end, daemon=True).start()


class _Progress:
    """A tqdm bar where stderr is a terminal, else plain lines (carriage returns make a log unreadable)."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._start = self._last_line = time.monotonic()
        self._bar = tqdm(desc=what, total=total, unit="", dynamic_ncols=True) if sys.stderr.isatty() else None

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None and self._done:
            self._print_line()

    def advance(self) -> None:
        self._done += 1
        if self._bar is not None:
            self._bar.update()
        elif time.monotonic() - self._last_line > LINE_EVERY_SECONDS:
            self._print_line()

    def _print_line(self) -> None:
        self._last_line = time.monotonic()
        seconds = self._last_line - self._start
        of_total = "" if self._total is None else f" of {self._total}"
        rate = self._done / max(seconds, 1e-9)
        print(
            f"{self._what}: {self._done}{of_total}, {seconds:.0f} s, {rate:.0f}/s",
            file=sys.stderr,
            flush=True,
        )
