"""The workers of a Dask cluster as a `concurrent.futures.Executor`, for programs that take --scheduler.

`tools.processes.lent_executor` loads this where a cluster is asked for, and nobody else does. What it lends
is the standard library's Executor: nothing outside knows of Dask. A worker that is lost costs no more than
time, as Dask gives its work to another.

Work is refused where it would fail later or come out otherwise: by workers that have other sources or
packages than this process, that run several threads (Keras draws all random numbers from one state), or that
do not see the files.
"""

import asyncio
import hashlib
import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import chdir, contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tools.processes import LentExecutor

SECONDS_TO_ANSWER = 10
START_WORKERS = "python -m dask worker {} --nworkers -1 --nthreads 1"
PROJECT = Path(__file__).resolve().parent.parent
ROOMS = ("data_prep", "eval", "tools")
PACKAGES = ("keras-preprocessing", "numpy", "opencv-python-headless", "pillow", "scipy")


@cache
def version_of_code() -> str:
    """A hash of the rooms' sources and of the versions of what they compute with, when first asked for.

    A worker that has been up since before an edit still runs what it imported then, and is told by this.
    """
    digest = hashlib.sha256()
    for source in sorted(path for room in ROOMS for path in (PROJECT / room).rglob("*.py")):
        digest.update(f"{source.relative_to(PROJECT).as_posix()}\0".encode())
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    for package in PACKAGES:
        try:
            digest.update(f"{package} {version(package)}\0".encode())
        except PackageNotFoundError:
            digest.update(f"{package} is not there\0".encode())
    return digest.hexdigest()


class KilledWorkersError(BrokenProcessPool):
    """A piece of work has ended as many workers as Dask gives it to."""


class ClusterExecutor(LentExecutor):
    """Has work done by the cluster of a Dask client; `workers` is how many there were at first.

    Dask's own executor leaves a future for ever undone where the connection breaks while its result is on
    the way.
    """

    def __init__(self, client: Any, workers: int) -> None:
        self.workers = workers
        self._client = client
        self._folder = Path.cwd()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """As Executor.submit. Relative paths mean on the worker what they mean here."""
        from distributed import KilledWorker

        # Pickled here, so that a worker imports nothing else of ours before its code has been compared.
        call = pickle.dumps((function, args, kwargs))
        theirs = self._client.submit(_run, version_of_code(), self._folder, call, pure=False)
        ours: Future = Future()
        ours.add_done_callback(lambda _: theirs.cancel() if ours.cancelled() else None)

        async def hand_over() -> None:
            result = None
            error: Exception | None = None
            try:
                result = await theirs
            except KilledWorker as raised:
                error = KilledWorkersError(str(raised))
            except Exception as raised:
                error = raised
            if not ours.set_running_or_notify_cancel():
                return
            if error is None:
                ours.set_result(result)
            else:
                ours.set_exception(error)

        self._client.loop.add_callback(hand_over)
        return ours


@contextmanager
def executor_at(address: str, files: Sequence[Path]) -> Iterator[ClusterExecutor]:
    """The executor of the cluster whose scheduler is at address.

    `files` are those that every worker must see. What has not begun when this is left is dropped. Raises
    ValueError or OSError where Dask is not installed, nobody answers, there are no workers, one of them is
    not fit for the work, or when the scheduler or too many workers are lost.
    """
    with _connected(address) as client:
        workers = client.nthreads()
        if not workers:
            raise ValueError(
                f"the scheduler at {address} has no workers: start some by {START_WORKERS.format(address)}"
            )
        found = client.run(_objection, version_of_code(), Path.cwd(), files, on_error="return")
        for worker, objection in found.items():
            if isinstance(objection, Exception):
                objection = f"can't run this project, was it started in {PROJECT}? ({objection})"
            if objection:
                raise ValueError(f"worker {worker} {objection}")
        yield ClusterExecutor(client, len(workers))


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
        from distributed.comm.core import CommClosedError, connect
    except ImportError:
        raise ValueError("--scheduler needs Dask: pip install distributed") from None
    # What Dask logs of lost workers and connections is mended, or said below.
    for logger in ("distributed", "distributed.client"):
        logging.getLogger(logger).setLevel(logging.CRITICAL + 1)

    async def greet() -> None:
        await (await connect(address, timeout=SECONDS_TO_ANSWER)).close()

    try:
        # Client itself would wait for ever for a server that takes connections and says nothing.
        # In a thread, as this one may have an event loop already (a notebook's).
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(asyncio.wait_for(greet(), SECONDS_TO_ANSWER))).result()
        client = Client(address, timeout=SECONDS_TO_ANSWER, set_as_default=False)
    except Exception as error:  # of any type, where the server is another program's
        raise OSError(f"no Dask scheduler answers at {address}") from error
    try:
        yield client
    except KilledWorkersError as error:
        raise OSError(f"{address}: too many workers died at one piece of work (out of memory?)") from error
    except (CancelledError, CommClosedError) as error:
        raise OSError(f"{address}: the scheduler was stopped or restarted") from error
    finally:
        # A scheduler too busy to say goodbye in time takes nothing from what was done, or said, before.
        with suppress(TimeoutError):
            client.close()


def _objection(version: str, folder: Path, files: Sequence[Path], dask_worker: Any) -> str | None:
    """On a worker, which Client.run hands in by this name: why it is not fit for the work, if it isn't."""
    if version != version_of_code():
        return "has another version of the code or of its packages: restart it with this one"
    if dask_worker.state.nthreads > 1:
        return f"runs {dask_worker.state.nthreads} threads: start it with --nthreads 1, a process a core"
    for path in (folder, *(folder / file for file in files)):
        if not path.exists():
            return f"does not see {path}, which must have this name there too"
    return None


def _run(version: str, folder: Path, call: bytes) -> Any:
    """On a worker, which may have come after the others were asked: do what was pickled."""
    from distributed import get_worker

    worker = get_worker()
    objection = _objection(version, folder, (), worker)
    if objection:
        raise ValueError(f"worker {worker.address} {objection}")
    with chdir(folder):
        function, args, kwargs = pickle.loads(call)
        return function(*args, **kwargs)
