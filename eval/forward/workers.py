"""Processes that compute features: Caffe ends its process on most errors, so it runs in none but these.

On a CPU several processes with one BLAS thread each are faster than one with several; with GPUs there is one
process a GPU. A worker of a cluster has such a process of its own too: it outlives what Caffe stumbles over,
and can say what that was.
"""

import multiprocessing
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import util
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from eval.forward.network import Extractor, Network
from eval.forward.photographs import Picture
from tools.processes import sigint_held_back, spawned_pool
from tools.program import StopError

ENGINE = "CAFFE_CPU_ENGINE"


class Batch(NamedTuple):
    """Rows start to start + len(pictures) of a group of the features file."""

    group: str
    start: int
    pictures: list[Picture]


@dataclass
class _Worker:
    network: Network
    gpu: int | None
    extractor: Extractor | None = None


_worker: _Worker | None = None


def _start_worker(network: Network, log: str, gpus: Any) -> None:
    """Set a worker process up. The network is loaded with the first batch, as errors come back from there."""
    global _worker
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 2)  # Caffe says why it ends the process on stderr
    os.close(descriptor)
    cv2.setNumThreads(1)
    _worker = _Worker(network, gpus.get() if gpus is not None else None)


def compute(batch: Batch) -> dict[str, np.ndarray]:
    """Features of a batch of pictures, in a process that _start_worker has set up."""
    assert _worker is not None
    try:
        if _worker.extractor is None:
            _worker.extractor = Extractor(_worker.network, _worker.gpu)
        return _worker.extractor.rows(batch.pictures, batch.group)
    except (RuntimeError, MemoryError) as error:  # what pycaffe raises where it doesn't end the process
        raise ValueError(f"Caffe stopped: {error or 'out of memory'}") from None


@contextmanager
def _environment_of_workers() -> Iterator[None]:
    """One BLAS thread each, and a log of errors only: OpenBLAS and glog read it while a worker starts."""
    before = dict(os.environ)
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "GLOG_minloglevel": "2"}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


@contextmanager
def workers(network: Network, jobs: int, gpus: list[int] | None) -> Iterator[Executor]:
    """A pool of processes that `compute` runs in: `jobs` on the CPU, or one for each of `gpus`.

    Raises OSError with Caffe's own line where it ended a process.
    """
    devices = None
    if gpus:
        devices = multiprocessing.get_context("spawn").SimpleQueue()
        for gpu in gpus:
            devices.put(gpu)
    others = multiprocessing.active_children()
    with (
        _environment_of_workers(),
        tempfile.NamedTemporaryFile("r", prefix="caffe-", errors="replace") as log,
    ):
        pool = spawned_pool(len(gpus) if gpus else jobs, _start_worker, (network, log.name, devices))
        try:
            yield pool
            pool.shutdown()
        except BrokenProcessPool as error:
            StopError.check()  # a signal to all processes at once has ended the workers first
            raise _cause_of_death(log.read()) from error
        finally:
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()
            pool.shutdown(cancel_futures=True)


class LostProcessError(OSError):
    """A process died, and it was not Caffe that ended it."""


class KeptProcess:
    """One process that holds a network from one batch to the next, and is started again should it be lost.

    Without a batch for `idle` seconds it ends, if that is given. Any thread may call it.
    """

    def __init__(self, idle: float | None = None) -> None:
        self._idle = idle
        self._lock = threading.Lock()
        self._holds: tuple[Path, str | None, Network] | None = None
        self._pool: Any = None
        self._open = ExitStack()
        self._timer = threading.Timer(0, self.close)

    def compute(self, network: Network, batch: Batch) -> dict[str, np.ndarray]:
        """What `compute` gives. Raises what it raises, and OSError where Caffe ends the process."""
        with self._lock:
            self._timer.cancel()
            try:
                for last_try in (False, True):
                    try:
                        return self._process_for(network).submit(compute, batch).result()
                    except BrokenProcessPool:
                        self._holds = None
                        try:
                            with self._open:
                                raise  # for workers() to say why
                        except LostProcessError:
                            if last_try:
                                raise
                raise AssertionError
            finally:
                if self._idle is not None:
                    self._timer = threading.Timer(self._idle, self.close)
                    self._timer.daemon = True
                    self._timer.start()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._timer.cancel()
            self._forget()

    def _process_for(self, network: Network) -> Executor:
        # where the network's paths may be relative to, and what else its features depend on
        wanted = Path.cwd(), os.environ.get(ENGINE), network
        if self._holds != wanted:
            self._forget()
            self._pool = self._open.enter_context(workers(network, 1, None))
            self._holds = wanted
        return self._pool

    def _forget(self) -> None:
        self._holds = None
        with suppress(OSError, BrokenProcessPool):
            self._open.close()


_of_cluster_worker = KeptProcess(idle=60)
# A worker that ends would wait for its child; before its queues are closed (10) it can be told to end.
util.Finalize(None, _of_cluster_worker.close, exitpriority=11)


def compute_on_cluster(network: Network, engine: str | None, batch: Batch) -> dict[str, np.ndarray]:
    """`compute` in a worker of a cluster, by the process that it keeps for the network.

    `engine` is what CAFFE_CPU_ENGINE is where the features are asked for.
    """
    os.environ.pop(ENGINE, None)
    if engine is not None:
        os.environ[ENGINE] = engine
    # Dask marks its workers as daemons, which may not have children; theirs end with them all the same.
    multiprocessing.current_process().daemon = False
    return _of_cluster_worker.compute(network, batch)


def _cause_of_death(log: str) -> OSError:
    """Why a process died, from its stderr: glog's line of a failed check starts with F."""
    failed = re.search(r"^F\d+ \S+ +\d+ (\S+)\] (.*)$", log, re.MULTILINE)
    if failed:
        return OSError(f"Caffe stopped: {failed[2].strip()} ({failed[1]})")
    lines = log.strip().splitlines()
    said = f" after saying: {lines[-1]}" if lines else ""
    return LostProcessError(f"a worker process died{said} (out of memory? try fewer --jobs)")


def computed(
    pool: Executor, function: Callable[[Batch], dict[str, np.ndarray]], batches: Iterable[Batch], ahead: int
) -> Iterator[tuple[Batch, dict[str, np.ndarray]]]:
    """Yield each batch with function's features of it as they come, at most `ahead` under way in the pool.

    Raises function's errors.
    """
    batches = iter(batches)
    under_way: dict[Future, Batch] = {}
    while True:
        StopError.check()
        for batch in islice(batches, ahead - len(under_way)):
            with sigint_held_back():
                under_way[pool.submit(function, batch)] = batch
        if not under_way:
            return
        done = wait(under_way, timeout=0.2, return_when=FIRST_COMPLETED).done
        # errors last: what was computed beside them is kept; the first picture's is told
        for future in sorted(done, key=lambda one: (one.exception() is not None, under_way[one].start)):
            yield under_way.pop(future), future.result()
