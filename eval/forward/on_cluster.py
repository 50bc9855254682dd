"""Features computed by a cluster's workers: an annex, which eval.extract loads where one is asked for."""

import multiprocessing
import os
from multiprocessing import util

from eval.forward.kept_process import KeptProcess
from eval.forward.network import Network
from eval.forward.workers import ENGINE, Batch, Rows

_of_cluster_worker = KeptProcess(idle=60)
# A worker that ends would wait for its child; before its queues are closed (10) it can be told to end.
util.Finalize(None, _of_cluster_worker.close, exitpriority=11)


def compute_on_cluster(network: Network, engine: str | None, batch: Batch) -> Rows:
    """`compute` in a worker of a cluster, by the process that it keeps for the network.

    `engine` is what CAFFE_CPU_ENGINE is where the features are asked for.
    """
    os.environ.pop(ENGINE, None)
    if engine is not None:
        os.environ[ENGINE] = engine
    # Dask marks its workers as daemons, which may not have children; theirs end with them all the same.
    multiprocessing.current_process().daemon = False
    return _of_cluster_worker.compute(network, batch)
