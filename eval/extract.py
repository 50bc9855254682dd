"""Extract features with pycaffe: several layers in one forward pass, database and queries in one file.

A picture goes in as the article's code puts it: resized to the network's input without keeping its aspect
(OpenCV, bilinear), BGR, minus one mean a channel, no crop. A query is the ground truth's box, cut from its
picture (coordinates rounded), then treated the same. --max-side keeps the aspect instead, for the poolings of
a convolution layer's whole map; a query is then scaled by what its whole picture is scaled by.

The features are the same bytes however many processes compute them: batches are cut from the sorted names,
and where the size is fixed the last one is filled up.
"""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from eval.files.features_writer import FeaturesFile
from eval.files.ground_truth import read_queries
from eval.forward.network import Network, check_any_size, check_layers, input_size
from eval.forward.photographs import Picture, drawn, list_pictures, query_pictures
from eval.forward.workers import ENGINE, Batch, compute, compute_on_cluster, computed, workers
from eval.represent import mop
from eval.represent.pooling import POOLINGS, choose
from eval.train_rmac import RegionWhitening
from tools.files.mean_file import read_mean
from tools.files.prototxt import read_net
from tools.processes import add_scheduler_option, lent_executor
from tools.program import Progress, StopError, gpu_list, one_sentence, positive_int, sha256_of

# With 8 rows each came out the same at every place in the batch, with OpenBLAS' kernels for SSE3, AVX2 and
# AVX-512; with 5, 7 or 16 rows not always. More gain little, as Caffe convolves picture by picture.
BATCH = 8
MEMORY_PER_WEIGHTS_BYTE = 3
# VGG16 up to pool5 at 1024 x 768: 1.8 GB with Caffe's oneDNN engine; 6.2 GB with Caffe's own code, where each
# convolution has a buffer (im2col) of nine times its input.
MEMORY_PER_PIXEL = {"onednn": 2500, "caffe": 8000}


class Learnt(NamedTuple):
    """A file learnt before: from which layer and which pictures, and the name of the vectors made with it."""

    layer: str
    training_set: str
    vectors: str


def learnt_files(args: argparse.Namespace) -> dict[Path, Learnt]:
    """What the command line names of them. Raises ValueError or OSError for a file that is none."""
    found = {}
    if args.rmac_whitening:
        about = RegionWhitening.load(args.rmac_whitening).provenance
        found[args.rmac_whitening] = Learnt(
            about["layer"], about["training_set"], f"{about['layer']}_rmac_whitened"
        )
    if args.mop:
        about = mop.load(args.mop).provenance
        found[args.mop] = Learnt(about["layer"], about["training_set"], "mop")
    return found


def check(args: argparse.Namespace, net: Any, learnt: dict[Path, Learnt]) -> None:
    """Raise ValueError where the layers, or the files learnt before, don't fit the network or each other."""
    check_layers(net, args.layers, args.deploy, args.overwritten)
    if args.max_side or args.side:
        check_any_size(net, args.layers, args.deploy)
    for path, about in learnt.items():
        if about.layer not in args.layers:
            raise ValueError(f"{path} was learnt from {about.layer}, which must be among --layers")


def asked(
    args: argparse.Namespace, learnt: dict[Path, Learnt]
) -> tuple[Network, dict[str, dict[str, Picture]]]:
    """The network and the pictures by group that the command line names. Raises ValueError or OSError."""
    net = read_net(args.deploy)
    check(args, net, learnt)
    size = (args.side, args.side) if args.side else input_size(net, args.deploy)
    network = Network(
        deploy=str(args.deploy),
        weights=str(args.weights),
        layers=tuple(args.layers),
        input_size=None if args.max_side else size,
        mean=read_mean(args.mean),
        batch=args.batch,
        max_side=args.max_side,
        min_side=args.min_side,
        poolings=tuple(args.pool),
        region_whitening=str(args.rmac_whitening) if args.rmac_whitening else None,
        maps=str(args.keep_maps) if args.keep_maps else None,
        window_step=args.windows,
        mop=str(args.mop) if args.mop else None,
    )
    database = list_pictures(args.images)
    groups = {"database": drawn(database, args.sample, args.seed) if args.sample else database}
    if args.gt:
        queries = read_queries(args.gt)
        groups["queries"] = query_pictures(queries, database, args.images, args.queries == "whole")
    return network, groups


def provenance(args: argparse.Namespace, network: Network, learnt: dict[Path, Learnt]) -> dict[str, str]:
    """Everything but the pictures that the features follow from."""
    own = network.input_size
    whole = args.queries == "whole"
    preprocessing = {
        "resize": [*own] if own else {"max_side": network.max_side, "min_side": network.min_side},
        "aspect": "not kept" if own else "kept",
        "interpolation": "OpenCV bilinear",
        "channels": "BGR",
        "mean": [*network.mean],
        "queries": "whole pictures" if whole else "cut to the ground truth's box, coordinates rounded",
    }
    run = {
        "layers": network.layers,
        "batch": network.batch,
        "device": "gpu" if args.gpu else "cpu",
        "poolings": network.poolings,
        "maps": network.maps,
        "window_step": network.window_step,
        "sample": [args.sample, args.seed] if args.sample else None,
        "learnt": {str(path): sha256_of(path) for path in learnt},
    }
    return {
        "model": args.model or args.weights.stem,
        "weights_sha256": sha256_of(args.weights),
        "prototxt_sha256": sha256_of(args.deploy),
        "preprocessing": json.dumps(preprocessing),
        "run": json.dumps(run),
        "learnt": json.dumps({about.vectors: about.training_set for about in learnt.values()}),
    }


def default_jobs(args: argparse.Namespace) -> int:
    """One process a core, fewer where memory would not do: each holds the weights and a batch's blobs."""
    cores = len(os.sched_getaffinity(0))
    pixels = args.batch * max(args.max_side, args.side) ** 2
    needed = MEMORY_PER_WEIGHTS_BYTE * args.weights.stat().st_size + MEMORY_PER_PIXEL[_engine()] * pixels
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


def to_do(groups: dict[str, dict[str, Picture]], done: dict[str, np.ndarray], size: int) -> list[Batch]:
    """The batches that have rows to do, always cut at the same places."""
    batches = []
    for group, pictures in groups.items():
        rows = list(pictures.values())
        for start in range(0, len(rows), size):
            if not done[group][start : start + size].all():
                batches.append(Batch(group, start, rows[start : start + size]))
    return batches


def extract(args: argparse.Namespace) -> str:
    """Do what main was asked for; returns a sentence on it. Raises ValueError or OSError."""
    started = time.monotonic()
    learnt = learnt_files(args)
    network, groups = asked(args, learnt)
    count = " and ".join(f"{len(rows)} of {group}" for group, rows in groups.items())
    features = FeaturesFile(args.out, provenance(args, network, learnt), groups)
    if features.is_complete():
        return f"{args.out} is there already, made from the same inputs: {count}"
    args.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        _fill(features, network, to_do(groups, features.go_on(), args.batch), args)
        features.finish()
    finally:
        features.close()
    return f"{args.out}: {count}, {', '.join(args.layers)}; {time.monotonic() - started:.0f} s"


def _fill(features: FeaturesFile, network: Network, batches: list[Batch], args: argparse.Namespace) -> None:
    if not batches:
        return
    total = sum(len(batch.pictures) for batch in batches)
    with (
        _pool(network, len(batches), args) as (pool, function, jobs),
        Progress("extracting", total) as progress,
    ):
        for batch, rows in computed(pool, function, batches, 2 * jobs):
            features.write(batch.group, batch.start, rows)
            progress.advance(len(batch.pictures))


@contextmanager
def _pool(network: Network, most: int, args: argparse.Namespace) -> Iterator[tuple[Executor, Callable, int]]:
    """Who computes, by which function, and how many at a time."""
    read = (args.deploy, args.weights, args.images, args.rmac_whitening, args.mop)
    cluster_of = nullcontext() if args.gpu else lent_executor(args.scheduler, [path for path in read if path])
    with cluster_of as cluster:
        if cluster:
            yield cluster, partial(compute_on_cluster, network, os.environ.get(ENGINE)), cluster.workers
            return
        jobs = min(len(args.gpu) if args.gpu else args.jobs or default_jobs(args), most)
        with workers(network, jobs, args.gpu[:jobs] if args.gpu else None) as pool:
            yield pool, compute, jobs


def _poolings(text: str) -> list[str]:
    try:
        return list(choose(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m eval.extract",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Write the features of a folder of pictures, and of the queries cut from them, to an\n"
        "HDF5 file: several layers and poolings in one forward pass of Caffe. Stopped and run again it goes\n"
        "on where it was; a file that is there from the same inputs is left as it is.",
        epilog="examples:\n"
        "  python -m eval.extract --deploy prototxt/vgg16/deploy.prototxt \\\n"
        "      --weights VGG_ILSVRC_16_layers.caffemodel --mean 104.00698793,116.66876762,122.67891434 \\\n"
        "      --images oxford/jpg --gt oxford/gt --layers fc6 fc6_relu6 --out pretrained.h5\n"
        "  the same with --layers pool5 --pool sum,max,crow,rmac,gem --max-side 1024 --out maps.h5",
    )
    _add_inputs(parser)
    _add_representation(parser)
    add = parser.add_argument
    add("--model", metavar="NAME", help="the model's name (default: the caffemodel's)")
    add(
        "--batch",
        type=positive_int,
        metavar="N",
        help=f"pictures at a time (default: {BATCH}, with --max-side 1)",
    )
    add(
        "--jobs",
        type=positive_int,
        metavar="N",
        help="processes (default: one a core, as memory goes)",
    )
    add("--gpu", type=gpu_list, metavar="0,1", help="GPUs, a process each (default: the CPU)")
    add_scheduler_option(parser)
    args = parser.parse_args(argv)
    args.layers = list(dict.fromkeys(args.layers))
    args.batch = args.batch or (1 if args.max_side else BATCH)
    _check_options(parser, args)
    return args


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    path = {"type": Path, "metavar": "FILE", "required": True}
    add("--deploy", **path, help="prototxt in which every layer has a blob of its own")
    add("--weights", **path, help="caffemodel")
    add("--images", **path | {"metavar": "DIR"}, help="folder with the database's pictures")
    add("--gt", type=Path, metavar="DIR", help="ground truth with NAME_query.txt (default: none)")
    add("--layers", nargs="+", required=True, metavar="BLOB", help="blobs, such as fc6 fc6_relu6 pool5")
    add("--mean", required=True, metavar="B,G,R|FILE", help="mean, or mean.binaryproto")
    add("--out", **path, help="HDF5 file to write")
    add(
        "--queries",
        choices=("cropped", "whole"),
        default="cropped",
        help="cut to the ground truth's box (default), or whole pictures",
    )
    add("--sample", type=positive_int, metavar="N", help="only N pictures of the database, drawn by --seed")
    add("--seed", type=int, default=1, metavar="S", help="default: 1")
    add(
        "--overwritten",
        action="store_true",
        help="take a blob that in-place layers overwrite, as the last of them leaves it",
    )


def _add_representation(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--pool",
        type=_poolings,
        default=[],
        metavar="A,B",
        help="pool the maps, as BLOB_A and so on, instead of keeping all their values: any of "
        + ",".join(POOLINGS),
    )
    add(
        "--max-side",
        type=positive_int,
        default=0,
        metavar="N",
        help="keep the aspect, longer side at most N, for --pool (default: the network's input size)",
    )
    add(
        "--min-side",
        type=positive_int,
        default=1,
        metavar="N",
        help="with --max-side: enlarge what has a shorter side below N",
    )
    add(
        "--side",
        type=positive_int,
        default=0,
        metavar="N",
        help="N x N, aspect not kept, up to the last map",
    )
    add(
        "--rmac-whitening",
        type=Path,
        metavar="FILE",
        help="of eval.train_rmac: adds BLOB_rmac_whitened",
    )
    add("--keep-maps", type=Path, metavar="DIR", help="with --pool: also write each map, GROUP/BLOB/NAME.npy")
    add(
        "--windows",
        type=positive_int,
        nargs="?",
        const=mop.STEP,
        default=0,
        metavar="STEP",
        help=f"also the features of MOP-CNN's windows (step {mop.STEP}), for eval.train_mop",
    )
    add("--mop", type=Path, metavar="FILE", help="of eval.train_mop: adds MOP-CNN's vectors as mop")


def _check_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.scheduler and args.gpu:
        parser.error("--scheduler's workers compute on their CPUs: --gpu does not go with it")
    if args.max_side and args.side:
        parser.error("--max-side and --side exclude each other")
    if args.max_side and not args.pool:
        parser.error("--max-side gives maps of many sizes: --pool makes vectors of one length of them")
    if args.min_side > 1 and not args.max_side:
        parser.error("--min-side goes with --max-side")
    if (args.rmac_whitening or args.keep_maps) and not args.pool:
        parser.error("--rmac-whitening and --keep-maps go with --pool")
    if (args.windows or args.mop) and (args.max_side or args.side):
        parser.error("--windows and --mop take the network's own input size")


def main(argv: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    args = parse(argv)
    try:
        with StopError.on_signals():
            print(extract(args))
    except StopError:
        print("extract: interrupted; the same command goes on where it was", file=sys.stderr)
        return 128 + StopError.number
    except (ValueError, OSError) as error:
        print(f"extract: {one_sentence(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
