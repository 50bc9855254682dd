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
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eval.files.features import noted
from eval.files.features_writer import FeaturesFile
from eval.files.ground_truth import Query, read_queries, searched_pictures
from eval.forward.network import Network, check_any_size, check_layers, input_size
from eval.forward.photographs import Picture, drawn, list_pictures, query_pictures
from eval.forward.precision import add_precision_option, asked_precision, given_precision
from eval.forward.workers import (
    ENGINE,
    Batch,
    Compute,
    ahead_of,
    compute,
    computed,
    default_jobs,
    workers,
)
from eval.represent import mop
from eval.represent.pooling import POOLINGS, choose
from eval.represent.region_whitening import RegionWhitening
from tools.files.mean_file import read_mean
from tools.files.prototxt import Net, read_net
from tools.processes import add_scheduler_option, lent_executor
from tools.program import (
    Progress,
    StopError,
    gpu_list,
    positive_int,
    run_program,
    sha256_of,
    whole_number,
)

# With 8 rows each came out the same at every place in the batch, with OpenBLAS' kernels for SSE3, AVX2 and
# AVX-512; with 5, 7 or 16 rows not always. More gain little, as Caffe convolves picture by picture.
BATCH = 8


class Learnt(NamedTuple):
    """A file learnt before: from which layer and which pictures, and the name of the vectors made with it."""

    layer: str
    training_set: str
    vectors: str


@dataclass(frozen=True)
class Settings:
    """What is asked for: the command line's options, by their names."""

    deploy: Path
    weights: Path
    images: Path
    gt: Path | None
    layers: Sequence[str]
    mean: str
    out: Path
    queries: str
    """cropped or whole"""
    boxes: str
    """corners or xywh: what a query's four numbers are taken for"""
    sample: int | None
    seed: int
    overwritten: bool
    pool: Sequence[str]
    max_side: int
    """0: the network's own input size"""
    min_side: int
    side: int
    rmac_whitening: Path | None
    keep_maps: Path | None
    windows: int
    """MOP-CNN's step, 0: no windows"""
    mop: Path | None
    model: str | None
    batch: int
    jobs: int | None
    gpu: Sequence[int] | None
    scheduler: str | None
    precision: str | None
    """fp32 or bf16; None: what the environment says"""


def learnt_files(settings: Settings) -> dict[Path, Learnt]:
    """What the settings name of them. Raises ValueError or OSError for a file that is none."""
    found = {}
    if settings.rmac_whitening:
        about = RegionWhitening.load(settings.rmac_whitening).provenance
        found[settings.rmac_whitening] = Learnt(
            about["layer"], about["training_set"], f"{about['layer']}_rmac_whitened"
        )
    if settings.mop:
        about = mop.load(settings.mop).provenance
        found[settings.mop] = Learnt(about["layer"], about["training_set"], "mop")
    return found


def check(settings: Settings, net: Net, learnt: dict[Path, Learnt]) -> None:
    """Raise ValueError where the layers, or the files learnt before, don't fit the network or each other."""
    check_layers(net, settings.layers, settings.deploy, settings.overwritten)
    if settings.max_side or settings.side:
        check_any_size(net, settings.layers, settings.deploy)
    for path, about in learnt.items():
        if about.layer not in settings.layers:
            raise ValueError(f"{path} was learnt from {about.layer}, which must be among --layers")


def asked(settings: Settings, learnt: dict[Path, Learnt]) -> tuple[Network, dict[str, dict[str, Picture]]]:
    """The network and the pictures by group that the command line names. Raises ValueError or OSError."""
    net = read_net(settings.deploy)
    check(settings, net, learnt)
    size = (settings.side, settings.side) if settings.side else input_size(net, settings.deploy)
    network = Network(
        deploy=str(settings.deploy),
        weights=str(settings.weights),
        layers=tuple(settings.layers),
        input_size=None if settings.max_side else size,
        mean=read_mean(settings.mean),
        batch=settings.batch,
        max_side=settings.max_side,
        min_side=settings.min_side,
        poolings=tuple(settings.pool),
        region_whitening=str(settings.rmac_whitening) if settings.rmac_whitening else None,
        maps=str(settings.keep_maps) if settings.keep_maps else None,
        window_step=settings.windows,
        mop=str(settings.mop) if settings.mop else None,
        precision=_precision(settings),
    )
    pictures = list_pictures(settings.images)
    names = searched_pictures(settings.gt, pictures) if settings.gt else pictures
    database = {name: pictures[name] for name in names}
    groups = {"database": drawn(database, settings.sample, settings.seed) if settings.sample else database}
    if settings.gt:
        queries = read_queries(settings.gt)
        if settings.boxes == "xywh":
            queries = [as_width_and_height(query) for query in queries]
        groups["queries"] = query_pictures(queries, pictures, settings.images, settings.queries == "whole")
    return network, groups


def _precision(settings: Settings) -> str:
    wanted = asked_precision(settings.precision)
    # a cluster's workers refuse what they can't; this machine need not be able to
    return wanted if settings.scheduler else given_precision(wanted, settings.gpu or (), "extract")


def as_width_and_height(query: Query) -> Query:
    """The query as the code of the article's author cuts it: x2 and y2 taken for width and height."""
    x, y, width, height = (math.floor(value + 0.5) for value in query.box)
    return replace(query, box=(x, y, x + width, y + height))


def provenance(settings: Settings, network: Network, learnt: dict[Path, Learnt]) -> dict[str, str]:
    """Everything but the pictures that the features follow from."""
    own = network.input_size
    cut = "cut to the ground truth's box, coordinates rounded"
    if settings.boxes == "xywh":
        cut = "cut at the ground truth's x1 y1, x2 wide and y2 high, all rounded, as the author's code does"
    preprocessing = {
        "resize": [*own] if own else {"max_side": network.max_side, "min_side": network.min_side},
        "aspect": "not kept" if own else "kept",
        "interpolation": "OpenCV bilinear",
        "channels": "BGR",
        "mean": [*network.mean],
        "queries": "whole pictures" if settings.queries == "whole" else cut,
    }
    run = {
        "layers": network.layers,
        "batch": network.batch,
        "device": "gpu" if settings.gpu else "cpu",
        "poolings": network.poolings,
        "maps": network.maps,
        "window_step": network.window_step,
        "sample": [settings.sample, settings.seed] if settings.sample else None,
        "learnt": {str(path): sha256_of(path) for path in learnt},
        **noted(network.precision),
    }
    return {
        "model": settings.model or settings.weights.stem,
        "weights_sha256": sha256_of(settings.weights),
        "prototxt_sha256": sha256_of(settings.deploy),
        "preprocessing": json.dumps(preprocessing),
        "run": json.dumps(run),
        "learnt": json.dumps({about.vectors: about.training_set for about in learnt.values()}),
    }


def to_do(groups: dict[str, dict[str, Picture]], done: dict[str, np.ndarray], size: int) -> list[Batch]:
    """The batches that have rows to do, always cut at the same places."""
    batches = []
    for group, pictures in groups.items():
        rows = list(pictures.values())
        for start in range(0, len(rows), size):
            if not done[group][start : start + size].all():
                batches.append(Batch(group, start, rows[start : start + size]))
    return batches


def extract(settings: Settings) -> str:
    """Do what main was asked for; returns a sentence on it. Raises ValueError or OSError."""
    started = time.monotonic()
    learnt = learnt_files(settings)
    network, groups = asked(settings, learnt)
    count = " and ".join(f"{len(rows)} of {group}" for group, rows in groups.items())
    places = {"deploy": str(settings.deploy.resolve()), "weights": str(settings.weights.resolve())}
    features = FeaturesFile(settings.out, provenance(settings, network, learnt), places, groups)
    features.refuse_other_precision()
    if features.is_complete():
        return f"{settings.out} is there already, made from the same inputs: {count}"
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        _fill(features, network, to_do(groups, features.go_on(), settings.batch), settings)
        features.finish()
    finally:
        features.close()
    return f"{settings.out}: {count}, {', '.join(settings.layers)}; {time.monotonic() - started:.0f} s"


def _fill(features: FeaturesFile, network: Network, batches: list[Batch], settings: Settings) -> None:
    if not batches:
        return
    total = sum(len(batch.pictures) for batch in batches)
    with (
        _pool(network, len(batches), settings) as (pool, function, ahead),
        Progress("extracting", total) as progress,
    ):
        for batch, rows in computed(pool, function, batches, ahead):
            features.write(batch.group, batch.start, rows)
            progress.advance(len(batch.pictures))


@contextmanager
def _pool(network: Network, most: int, settings: Settings) -> Iterator[tuple[Executor, Compute, int]]:
    """Who computes, by which function, and how many batches to have under way."""
    read = (settings.deploy, settings.weights, settings.images, settings.rmac_whitening, settings.mop)
    files = [path for path in read if path]
    with nullcontext() if settings.gpu else lent_executor(settings.scheduler, files) as cluster:
        if cluster:
            from eval.forward.on_cluster import compute_on_cluster  # an annex

            yield cluster, partial(compute_on_cluster, network, os.environ.get(ENGINE)), 2 * cluster.workers
            return
        gpus = list(settings.gpu or ())
        pixels = settings.batch * max(settings.max_side, settings.side) ** 2
        jobs = min(len(gpus) or settings.jobs or default_jobs(settings.weights, pixels), most)
        with workers(network, jobs, gpus[:jobs]) as pool:
            yield pool, compute, ahead_of(jobs, gpus[:jobs])


def _poolings(text: str) -> list[str]:
    try:
        return list(choose(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse_options(argv: Sequence[str] | None) -> Settings:
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
    add_precision_option(parser)
    add_scheduler_option(parser)
    given = vars(parser.parse_args(argv))
    given["layers"] = list(dict.fromkeys(given["layers"]))
    given["batch"] = given["batch"] or (1 if given["max_side"] else BATCH)
    settings = Settings(**given)
    _check_options(parser, settings)
    return settings


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--deploy",
        type=Path,
        required=True,
        metavar="FILE",
        help="prototxt in which every layer has a blob of its own",
    )
    add("--weights", type=Path, required=True, metavar="FILE", help="caffemodel")
    add("--images", type=Path, required=True, metavar="DIR", help="folder with the database's pictures")
    add("--gt", type=Path, metavar="DIR", help="ground truth with NAME_query.txt (default: none)")
    add("--layers", nargs="+", required=True, metavar="BLOB", help="blobs, such as fc6 fc6_relu6 pool5")
    add("--mean", required=True, metavar="B,G,R|FILE", help="mean, or mean.binaryproto")
    add("--out", type=Path, required=True, metavar="FILE", help="HDF5 file to write")
    add(
        "--queries",
        choices=("cropped", "whole"),
        default="cropped",
        help="cut to the ground truth's box (default), or whole pictures",
    )
    add(
        "--boxes",
        choices=("corners", "xywh"),
        default="corners",
        help="a query's four numbers: two corners (default), or corner, width and height, which is how the "
        "code of the article's author cuts them",
    )
    add("--sample", type=positive_int, metavar="N", help="only N pictures of the database, drawn by --seed")
    add("--seed", type=whole_number, default=1, metavar="S", help="default: 1")
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


def _check_options(parser: argparse.ArgumentParser, settings: Settings) -> None:
    if settings.scheduler and settings.gpu:
        parser.error("--scheduler's workers compute on their CPUs: --gpu does not go with it")
    if settings.max_side and settings.side:
        parser.error("--max-side and --side exclude each other")
    if settings.max_side and not settings.pool:
        parser.error("--max-side gives maps of many sizes: --pool makes vectors of one length of them")
    if settings.min_side > 1 and not settings.max_side:
        parser.error("--min-side goes with --max-side")
    if (settings.rmac_whitening or settings.keep_maps) and not settings.pool:
        parser.error("--rmac-whitening and --keep-maps go with --pool")
    if (settings.windows or settings.mop) and (settings.max_side or settings.side):
        parser.error("--windows and --mop take the network's own input size")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    settings = parse_options(argv)

    def run() -> None:
        with StopError.on_signals():
            print(extract(settings))

    return run_program("extract", run, interrupted="interrupted; the same command goes on where it was")


if __name__ == "__main__":
    sys.exit(main())
