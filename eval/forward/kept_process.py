"""One process that computes features and stays, for those who ask now and then: a page, a cluster's worker.

It outlives what Caffe stumbles over, and can say what that was.
"""

import os
import threading
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from pathlib import Path

from eval.forward.network import Network
from eval.forward.workers import ENGINE, Batch, LostProcessError, Rows, compute, workers


class KeptProcess:
    """One process that holds a network from one batch to the next, and is started again should it be lost.

    Without a batch for `idle` seconds it ends, if that is given. Any thread may call it.
    """

    def __init__(self, idle: float | None = None) -> None:
        self._idle = idle
        self._lock = threading.Lock()
        self._holds: tuple[Path, str | None, Network] | None = None
        self._pool: Executor | None = None
        self._open = ExitStack()
        self._timer = threading.Timer(0, self.close)

    def compute(self, network: Network, batch: Batch) -> Rows:
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
        if self._pool is None or self._holds != wanted:
            self._forget()
            self._pool = self._open.enter_context(workers(network, 1, None))
            self._holds = wanted
        return self._pool

    def _forget(self) -> None:
        self._holds = None
        with suppress(OSError, BrokenProcessPool):
            self._open.close()
