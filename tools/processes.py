"""The ground floor's other half: work in processes of this machine, or of any Executor that somebody lends.

Processes are *spawned*, not forked: the parent may hold threads (OpenCV, BLAS, tqdm) whose locks a forked
child would inherit locked. The price is each worker's imports, a fraction of a second once a pool. They end
with their parent, however it ended, and leave Ctrl-C to it.
"""

import argparse
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import islice
from multiprocessing import connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from tools.program import Progress, positive_int

Item = TypeVar("Item")
Result = TypeVar("Result")

LONGEST_CHUNK = 256
CHUNK_SECONDS = 0.1
CLUSTER = "DASK_SCHEDULER_ADDRESS"
"""The environment's name for a cluster's address: Dask's own."""


class CrashError(Exception):
    """A call has ended its process."""


class LentExecutor(Executor):
    """An Executor of somebody else's, which says how many `workers` it has."""

    workers: int


def core_count() -> int:
    """Cores this process may run on (a container's or taskset's share, not the whole machine's)."""
    return len(os.sched_getaffinity(0))


def add_jobs_option(parser: argparse.ArgumentParser) -> None:
    """Give a program the usual `--jobs N`; the default is every core."""
    parser.add_argument(
        "--jobs", type=positive_int, default=core_count(), metavar="N", help="processes (default: one a core)"
    )


def add_scheduler_option(parser: argparse.ArgumentParser) -> None:
    """Give a program the option `--scheduler ADDRESS`, for `lent_executor`."""
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="let the workers of a Dask cluster do the work, its scheduler at ADDRESS such as "
        f"tcp://head:8786 (default: what {CLUSTER} says, else none; needs: pip install distributed). All "
        "files must have the same names on every machine, on a shared file system, this folder too: workers "
        "are started in it, by `python -m dask worker ADDRESS --nworkers -1 --nthreads 1`",
    )


def lent_executor(address: str | None, files: Sequence[Path]) -> AbstractContextManager[LentExecutor | None]:
    """The executor of the cluster at `address` or at the environment's address; None without both.

    `files` are those that every worker must see. Raises what `tools.cluster.executor_at` does: that module
    is loaded here alone, and only where a cluster is asked for.
    """
    address = address or os.environ.get(CLUSTER)
    if not address:
        return nullcontext()
    from tools.cluster import executor_at

    return executor_at(address, files)


def map_ordered(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    jobs: int,
    what: str,
    total: int | None = None,
    executor: Executor | None = None,
    died: Callable[[Item], Result] | None = None,
) -> Generator[Result, None, None]:
    """Yield function(item) for every item, in the items' order, computed by `jobs` processes.

    A generator: work starts with the first `next`. `function` must be importable by name (a module's function
    or a functools.partial of one), items and results picklable. At most a few chunks a process are under way,
    and items are drawn as they are needed, so half a million of them cost no memory. With jobs=1 all runs in
    this process, but with `died`.

    `what` names the work where progress is shown; `total` is how many items there are, where `items` has no
    len(). `executor` takes the place of the pool of processes; jobs then says how much to have under way.
    `died` gives, in this process, the result of an item at which a process of the pool dies, and then one of
    this machine.
    An exception of `function` comes out here; closing the generator or Ctrl-C drops what has not begun and,
    of an own pool, waits for the chunks under way (about 0.1 s each, or one item's time). Raises OSError when
    one of its processes dies, but with `died`.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if total is not None:
        jobs = max(1, min(jobs, total))
    with Progress(what, total) as progress:
        if jobs == 1 and executor is None and died is None:
            results: Iterator[Result] = map(function, items)
        else:
            results = _map_in_processes(function, iter(items), jobs, what, executor, died)
        for result in results:
            progress.advance()
            yield result


def _map_in_processes(
    function: Callable[[Item], Result],
    items: Iterator[Item],
    jobs: int,
    what: str,
    executor: Executor | None,
    died: Callable[[Item], Result] | None,
) -> Iterator[Result]:
    under_way: deque[tuple[list[Item], Future[tuple[float, list[Result]]]]] = deque()
    try:
        while True:
            try:
                yield from _map_in_pool(function, items, jobs, executor, under_way)
                return
            except BrokenProcessPool:
                if died is None:
                    raise
            yield from _one_by_one(function, [item for chunk, _ in under_way for item in chunk], died)
            under_way.clear()
    except BrokenProcessPool as error:
        raise OSError(f"{what}: a worker process died (out of memory?), try fewer --jobs") from error


def _map_in_pool(
    function: Callable[[Item], Result],
    items: Iterator[Item],
    jobs: int,
    executor: Executor | None,
    under_way: deque[tuple[list[Item], Future[tuple[float, list[Result]]]]],
) -> Iterator[Result]:
    """Results in order; where a process dies, `under_way` holds the chunks that have none yet."""
    size = 1
    with _started_pool(jobs) if executor is None else nullcontext(executor) as pool:
        try:
            while True:
                while len(under_way) < 3 * jobs and (chunk := list(islice(items, size))):
                    under_way.append((chunk, Future()))
                    with sigint_held_back():
                        under_way[-1] = chunk, pool.submit(_run_chunk, function, chunk)
                if not under_way:
                    return
                seconds, results = under_way[0][1].result()
                under_way.popleft()
                size = _next_size(len(results), seconds)
                yield from results
        finally:
            for _, future in under_way:
                future.cancel()


def _one_by_one(
    function: Callable[[Item], Result], items: Sequence[Item], died: Callable[[Item], Result]
) -> Iterator[Result]:
    """Results of items among which there may be some at which a process dies."""
    left = deque(items)
    while left:
        with _started_pool(1) as pool:
            pool.submit(int).result()  # where no process can start at all, no item is to blame
            with suppress(BrokenProcessPool):
                while left:
                    with sigint_held_back():
                        future = pool.submit(function, left[0])
                    result = future.result()
                    left.popleft()
                    yield result
        if left:
            yield died(left.popleft())


def _run_chunk(function: Callable[[Item], Result], chunk: list[Item]) -> tuple[float, list[Result]]:
    start = time.monotonic()
    results = [function(item) for item in chunk]
    return time.monotonic() - start, results


def _next_size(size: int, seconds: float) -> int:
    """Chunks of about CHUNK_SECONDS: long enough to hide the cost of passing them, short to stop quickly."""
    fitting = int(CHUNK_SECONDS * size / max(seconds, 1e-6))
    return max(1, min(fitting, 2 * size, LONGEST_CHUNK))


@contextmanager
def _started_pool(jobs: int) -> Iterator[Executor]:
    pool = spawned_pool(jobs)
    try:
        with sigint_held_back():
            for _ in range(jobs):
                pool.submit(int)  # starts a process, which imports what it needs while the items are listed
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def spawned_pool(
    jobs: int, initializer: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> ProcessPoolExecutor:
    """A pool of processes that end with their parent; `initializer(*arguments)` runs first in each.

    They start with `submit`, which belongs within `sigint_held_back`.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, context, _start, (initializer, arguments))


class CrashProof:
    """Calls in processes of their own, `processes` at a time, from any thread: one that crashes is an error.

    The processes start at once and stay, and one that is lost is replaced.
    """

    def __init__(self, processes: int) -> None:
        self._free: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
        self._all = [self._started() for _ in range(processes)]
        for pool in self._all:
            self._free.put(pool)

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """function(*arguments), both picklable; waits for a free process. Raises CrashError, or function's
        error."""
        pool = self._free.get()
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            fresh = self._started()
            self._all[self._all.index(pool)] = pool = fresh
            raise CrashError(f"{function.__name__} has ended its process") from error
        finally:
            self._free.put(pool)

    def close(self) -> None:
        """End the processes, when what is under way is done."""
        for pool in self._all:
            pool.shutdown(cancel_futures=True)

    @staticmethod
    def _started() -> ProcessPoolExecutor:
        pool = spawned_pool(1)
        with sigint_held_back():
            pool.submit(int)
        return pool


def _start(initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    if initializer is not None:
        initializer(*arguments)
    end_with_parent()


def end_with_parent() -> None:
    """In a worker: end when the parent is gone, however it ended; a killed parent can't tell its workers."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait_for_the_end() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait_for_the_end, daemon=True).start()


@contextmanager
def sigint_held_back() -> Iterator[None]:
    """Start workers with SIGINT blocked, which they inherit: Ctrl-C is for the parent, which stops them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
