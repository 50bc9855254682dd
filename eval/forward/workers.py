"""Processes that compute features: Caffe ends its process on most errors, so it runs in none but these.

On a CPU several processes with one BLAS thread each are faster than one with several; with GPUs there is one
process a GPU, which reads the pictures of the batches to come in threads while the GPU computes.
"""

import multiprocessing
import os
import re
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np

from eval.forward.network import Extractor, Network, Prepared, prepare
from eval.forward.photographs import Picture, read_part
from tools.processes import core_count, map_ordered, sigint_held_back, spawned_pool
from tools.program import StopError

ENGINE = "CAFFE_CPU_ENGINE"
MEMORY_PER_WEIGHTS_BYTE = 3
# VGG16 up to pool5 at 1024 x 768: 1.8 GB with Caffe's oneDNN engine; 6.2 GB with Caffe's own code, where each
# convolution has a buffer (im2col) of nine times its input.
MEMORY_PER_PIXEL = {"onednn": 2500, "caffe": 8000}
READ_AHEAD = 8
"""Batches that a GPU's process may be given at once: of eight pictures each, enough for 16 threads."""


class Batch(NamedTuple):
    """Rows start to start + len(pictures) of a group of the features file."""

    group: str
    start: int
    pictures: list[Picture]


Rows = dict[str, np.ndarray]
"""A batch's features by their names in the file: (len(pictures), D) float32."""
Compute = Callable[[Batch], Rows]
Result = TypeVar("Result")


@dataclass
class _Worker:
    network: Network
    gpu: int | None
    extractor: Extractor | None = None
    threads: ThreadPoolExecutor | None = None
    reading: dict[tuple[Picture, ...], list[Future[Prepared]]] = field(default_factory=dict)


_worker: _Worker | None = None


def _start_worker(network: Network, log: str, gpu: int | None, threads: int) -> None:
    """Set a worker process up. The network is loaded with the first batch, as errors come back from there."""
    global _worker
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 2)  # Caffe says why it ends the process on stderr
    os.close(descriptor)
    cv2.setNumThreads(1)
    _worker = _Worker(network, gpu, threads=ThreadPoolExecutor(threads) if threads else None)


def compute(batch: Batch) -> Rows:
    """Features of a batch of pictures, in a process that _start_worker has set up."""
    assert _worker is not None
    reading = _worker.reading.pop(tuple(batch.pictures), None)
    try:
        if _worker.extractor is None:
            _worker.extractor = Extractor(_worker.network, _worker.gpu)
        ready = None if reading is None else [picture.result() for picture in reading]
        return _worker.extractor.rows(batch.pictures, batch.group, ready)
    except (RuntimeError, MemoryError) as error:  # what pycaffe raises where it doesn't end the process
        raise ValueError(f"Caffe stopped: {error or 'out of memory'}") from None


def _run_reading_ahead(function: Callable[[Batch], Result], batch: Batch, behind: Sequence[Batch]) -> Result:
    """function(batch), while threads read the pictures of the batches behind it."""
    assert _worker is not None and _worker.threads is not None
    for one in behind:
        _worker.reading[tuple(one.pictures)] = [
            _worker.threads.submit(prepare, picture, _worker.network) for picture in one.pictures
        ]
    return function(batch)


def default_jobs(weights: Path, pixels: int) -> int:
    """One process a core, fewer where memory would not do: each holds the weights, and the blobs of a batch
    of so many `pixels` where they are more than the network's own input. Raises OSError for no weights."""
    cores = core_count()
    needed = MEMORY_PER_WEIGHTS_BYTE * weights.stat().st_size + MEMORY_PER_PIXEL[_engine()] * pixels
    with suppress(OSError):
        available = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
        if available and needed:
            cores = min(cores, 1024 * int(available[1]) // needed)
    return max(1, cores)


def _engine() -> str:
    """What Caffe will compute with on this CPU, as tools/caffe/onednn decides it."""
    with suppress(OSError):
        if os.environ.get(ENGINE) != "caffe" and "avx2" in Path("/proc/cpuinfo").read_text():
            return "onednn"
    return "caffe"


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


class _Lane:
    """One process with what waits for it."""

    def __init__(self, pool: Executor) -> None:
        self.pool = pool
        self.inside = 0
        self.waiting: deque[tuple[Callable[[Batch], Any], Batch, Future[Any]]] = deque()
        self.untold: list[Batch] = []
        """Batches of which the process does not know yet."""


class _ReadingAhead(Executor):
    """Processes, each with a queue: with a batch a process learns which ones it will be given next."""

    INSIDE = 2  # the one that is computed, and the next

    def __init__(self, pools: Sequence[Executor]) -> None:
        self._lanes = [_Lane(pool) for pool in pools]
        self._lock = threading.Lock()

    def submit(self, function: Callable[[Batch], Result], /, batch: Batch) -> Future[Result]:  # type: ignore[override]
        """To the process that has the least to do."""
        future: Future[Result] = Future()
        with self._lock:
            lane = min(self._lanes, key=lambda one: one.inside + len(one.waiting))
            lane.waiting.append((function, batch, future))
            lane.untold.append(batch)
        self._send(lane)
        return future

    def _send(self, lane: _Lane) -> None:
        with self._lock:
            if lane.inside >= self.INSIDE or not lane.waiting:
                return
            function, batch, future = lane.waiting.popleft()
            behind, lane.untold = lane.untold, []
            lane.inside += 1
        sent = lane.pool.submit(_run_reading_ahead, function, batch, behind)
        sent.add_done_callback(partial(self._settle, lane, future))

    def _settle(self, lane: _Lane, future: Future[Any], done: Future[Any]) -> None:
        lost = done.cancelled() or isinstance(done.exception(), BrokenProcessPool)
        with self._lock:
            lane.inside -= 1
            stranded = list(lane.waiting) if lost else []
            if lost:
                lane.waiting.clear()
        for _, _, other in stranded:
            other.cancel()
        if done.cancelled():
            future.cancel()
        elif error := done.exception():
            future.set_exception(error)
        else:
            future.set_result(done.result())
        if not lost:
            self._send(lane)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes."""
        for lane in self._lanes:
            lane.pool.shutdown(wait, cancel_futures=cancel_futures)


@contextmanager
def workers(network: Network, jobs: int, gpus: Sequence[int | None] | None) -> Iterator[Executor]:
    """A pool of processes that `compute` runs in: `jobs` on the CPU, or one for each of `gpus`.

    A GPU's process reads ahead; one for None does so too, and computes on the CPU. Raises OSError with
    Caffe's own line where it ended a process.
    """
    others = multiprocessing.active_children()
    with (
        _environment_of_workers(),
        tempfile.NamedTemporaryFile("r", prefix="caffe-", errors="replace") as log,
    ):
        pool: Executor
        if gpus:
            threads = max(2, core_count() // len(gpus))
            pool = _ReadingAhead(
                [spawned_pool(1, _start_worker, (network, log.name, gpu, threads)) for gpu in gpus]
            )
        else:
            pool = spawned_pool(jobs, _start_worker, (network, log.name, None, 0))
        try:
            yield pool
            pool.shutdown()
        except BrokenProcessPool as error:
            StopError.check()  # a signal to all processes at once has ended the workers first
            cause = _cause_of_death(log.read())
            if isinstance(cause, LostProcessError) and isinstance(error, _BrokenPoolError):
                _refuse_crashing(error.pictures)
            raise cause from error
        finally:
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()
            pool.shutdown(cancel_futures=True)


class _BrokenPoolError(BrokenProcessPool):
    """A process of the pool has died while these pictures were under way."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        super().__init__()
        self.pictures = pictures


class LostProcessError(OSError):
    """A process died, and it was not Caffe that ended it."""


def _cause_of_death(log: str) -> OSError:
    """Why a process died, from its stderr: glog's line of a failed check starts with F."""
    failed = re.search(r"^F\d+ \S+ +\d+ (\S+)\] (.*)$", log, re.MULTILINE)
    if failed:
        return OSError(f"Caffe stopped: {failed[2].strip()} ({failed[1]})")
    lines = log.strip().splitlines()
    said = f" after saying: {lines[-1]}" if lines else ""
    return LostProcessError(f"a worker process died{said} (out of memory? try fewer --jobs)")


def ahead_of(jobs: int, gpus: Sequence[int | None] | None) -> int:
    """How many batches to have under way with that many workers."""
    return READ_AHEAD * len(gpus) if gpus else 2 * jobs


def computed(
    pool: Executor, function: Callable[[Batch], Result], batches: Iterable[Batch], ahead: int
) -> Iterator[tuple[Batch, Result]]:
    """Yield each batch with function's features of it as they come, at most `ahead` under way in the pool.

    Raises function's errors, and LostProcessError, with its name, for a picture that crashes its decoder.
    """
    batches = iter(batches)
    under_way: dict[Future[Result], Batch] = {}
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
            if isinstance(lost := future.exception(), BrokenProcessPool | LostProcessError):
                pictures = [one for batch in under_way.values() for one in batch.pictures]
                if isinstance(lost, BrokenProcessPool):
                    raise _BrokenPoolError(pictures) from lost  # workers() knows what Caffe has said
                _refuse_crashing(pictures)
            yield under_way.pop(future), future.result()


def _refuse_crashing(pictures: Sequence[Picture]) -> None:
    """Raise LostProcessError for the first picture that ends a process which does no more than decode it."""
    decoded = map_ordered(_decodes, pictures, jobs=1, what="looking for the picture", died=lambda _: False)
    for picture, good in zip(pictures, decoded, strict=True):
        if not good:
            raise LostProcessError(
                f"{picture.path} crashes its decoder: take it out (data_prep.check_images finds such)"
            )


def _decodes(picture: Picture) -> bool:
    with suppress(ValueError, OSError):
        read_part(picture)
    return True
