"""Write a network's train_val and solver prototxt into a folder, with a run's paths, classes and batches.

Beside them go train_val_last and solver_last, in which only the last layer learns. Paths are written
absolute; comments stay. What Caffe would abort on in the middle of a run is refused here, with a sentence.

The test batch times test_iter is the number of validation pictures exactly, or some would be tested twice or
never. Caffe gives every GPU the prototxt's whole training batch: --effective-batch says how many pictures a
step are wanted over all of them, and batch_size and iter_size follow.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.files.class_names import read_class_names
from tools.files.image_lmdb import entry_count
from tools.files.prototxt import (
    Net,
    Solver,
    caffe_messages,
    file_of,
    read_net,
    read_prototxt,
    write_prototxt,
)
from tools.network.batches import shared, test_batches
from tools.network.checks import check_data, check_solver
from tools.network.structure import classifier, copy_of, data_layer, freeze_all_but_last
from tools.program import WHOLE_NUMBER, positive_int, rate, run_program, whole_number
from tools.snapshots import pictures_a_step


@dataclass(frozen=True)
class Pictures:
    """What a training learns from. Paths go into the prototxt as they are here."""

    train_lmdb: Path
    val_lmdb: Path
    mean: Path
    classes: int
    val_images: int


@dataclass(frozen=True)
class Batches:
    """What is wanted; None stands for the prototxt's own."""

    train: int | None = None
    """Pictures at once, on each GPU; with `effective` the most of them."""
    effective: int | None = None
    """Pictures a step, over all GPUs."""
    gpus: int = 0
    test: int | None = None


@dataclass(frozen=True)
class Schedule:
    """What a run sets in the solver; None leaves what the file has."""

    max_iter: int | None = None
    stop_at: int | None = None
    """The last iteration, of a schedule that stays as it is."""
    base_lr: float | None = None
    seed: int | None = None
    solver_mode: str | None = None
    snapshot_prefix: Path | None = None


def fill_net(net: Net, pictures: Pictures, batches: Batches) -> tuple[Net, int | None, int]:
    """A copy of a train_val network with its paths, classes and batches; iter_size and test_iter for it.

    iter_size is None where it isn't this run's to say. Raises ValueError for a network without one data
    layer a phase or without a classifier, and for batches that can't be.
    """
    filled = copy_of(net)
    train, test = data_layer(filled, "TRAIN"), data_layer(filled, "TEST")
    for layer, source in ((train, pictures.train_lmdb), (test, pictures.val_lmdb)):
        layer.data_param.source = str(source)
        layer.data_param.backend = layer.data_param.LMDB  # Caffe's default is LevelDB
        layer.transform_param.ClearField("mean_value")  # Caffe takes a mean file or values, not both
        layer.transform_param.mean_file = str(pictures.mean)
    batch, test_batch = (
        batches.train or train.data_param.batch_size,
        batches.test or test.data_param.batch_size,
    )
    for phase, size in (("training", batch), ("test", test_batch)):
        if not size:
            raise ValueError(f"the network's {phase} batch is 0: give its Data layer a batch_size")
    iter_size = None
    if batches.effective:
        batch, iter_size = shared(batches.effective, batches.gpus, batch)
    train.data_param.batch_size = batch
    test.data_param.batch_size, test_iter = test_batches(pictures.val_images, test_batch)
    classifier(filled).inner_product_param.num_output = pictures.classes
    return filled, iter_size, test_iter


def scale_schedule(solver: Solver, max_iter: int) -> None:
    """Set max_iter and stretch everything that counts in iterations with it, so the schedule keeps its shape.

    Raises ValueError where the solver has no max_iter to compare with.
    """
    if solver.max_iter < 1:
        raise ValueError("the solver has no max_iter, so its schedule can't be scaled")
    ratio = max_iter / solver.max_iter
    for name in ("stepsize", "test_interval", "snapshot", "display"):
        if getattr(solver, name) > 0:
            setattr(solver, name, max(1, round(getattr(solver, name) * ratio)))
    solver.stepvalue[:] = [max(1, round(value * ratio)) for value in solver.stepvalue]
    solver.max_iter = max_iter


def fill_solver(solver: Solver, schedule: Schedule) -> None:
    """Write the run's settings over the solver's. Raises ValueError where its schedule can't be scaled."""
    if schedule.max_iter:
        scale_schedule(solver, schedule.max_iter)
    if schedule.stop_at:
        solver.max_iter = min(schedule.stop_at, solver.max_iter or schedule.stop_at)
    if schedule.base_lr is not None:
        solver.base_lr = schedule.base_lr
    if schedule.seed is not None:
        solver.random_seed = schedule.seed
    if schedule.solver_mode:
        solver.solver_mode = solver.SolverMode.Value(schedule.solver_mode)
    if schedule.snapshot_prefix:
        solver.snapshot_prefix = str(schedule.snapshot_prefix)


def read_classes(text: str) -> int:
    """Number of classes: a number, or the rows of a classes.csv.

    Raises ValueError where that is none, or where there is less than two.
    """
    count = int(text) if WHOLE_NUMBER.fullmatch(text) else len(read_class_names(Path(text)))
    if count < 2:
        raise ValueError(f"{text}: a classifier needs at least two classes")
    return count


def fill_prototxt(source: Path, out: Path, pictures: Pictures, batches: Batches, schedule: Schedule) -> str:
    """Write train_val and solver of the network in folder `source`, filled in, to `out`; a sentence on it.

    Raises ValueError for what Caffe wouldn't train from, OSError.
    """
    net = read_net(source / "train_val.prototxt")
    solver = caffe_messages().SolverParameter()
    read_prototxt(source / "solver.prototxt", solver)
    if not schedule.snapshot_prefix:  # the solver's own counts from where it is written to
        solver.snapshot_prefix = str((out / (solver.snapshot_prefix or "snapshots_")).resolve())
    fill_solver(solver, schedule)
    filled, iter_size, test_iter = fill_net(net, pictures, batches)
    solver.test_iter[:] = [test_iter]
    if iter_size:
        solver.iter_size = iter_size
    solver.net = str((out / "train_val.prototxt").resolve())
    check_solver(source / "solver.prototxt", solver)
    for phase in ("TRAIN", "TEST"):
        check_data(data_layer(filled, phase), pictures.classes)

    for folder in (out, file_of(solver.snapshot_prefix).parent):
        folder.mkdir(parents=True, exist_ok=True)
    why = f"{source.name}, filled in by python -m tools.fill_prototxt"
    last = type(solver)()
    last.CopyFrom(solver)
    last.snapshot_prefix += "last"
    _write(source, out, "_last", freeze_all_but_last(filled), last, f"{why}; only the last layer learns")
    _write(source, out, "", filled, solver, why)
    batch = pictures.val_images // test_iter
    wanted = batches.test or data_layer(net, "TEST").data_param.batch_size
    few = f", fewer than the test batch of {wanted}" if batch < wanted else ""
    return (
        f"{out}: {pictures.classes} classes, pictures a step: {pictures_a_step(solver, batches.gpus)}, "
        f"{pictures.val_images} validation images = {batch} x test_iter {test_iter}{few}"
    )


def _write(source: Path, out: Path, variant: str, net: Net, solver: Solver, why: str) -> None:
    path = out / f"train_val{variant}.prototxt"
    write_prototxt(path, net, why, made_of=source / "train_val.prototxt")
    solver.net = str(path.resolve())
    write_prototxt(out / f"solver{variant}.prototxt", solver, why, made_of=source / "solver.prototxt")


def pictures_in(train_lmdb: Path, val_lmdb: Path, mean: Path, classes: str) -> Pictures:
    """The pictures of a run, paths absolute. Raises ValueError where some are missing, OSError."""
    counts = [entry_count(path) for path in (train_lmdb, val_lmdb)]
    if 0 in counts:
        raise ValueError(f"{(train_lmdb, val_lmdb)[counts.index(0)]} is empty")
    if not mean.is_file():
        raise ValueError(f"{mean} is not a file (compute_image_mean makes the mean)")
    number = read_classes(classes)
    return Pictures(train_lmdb.resolve(), val_lmdb.resolve(), mean.resolve(), number, counts[1])


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.fill_prototxt",
        description=__doc__,
        epilog="example: python -m tools.fill_prototxt --net prototxt/vgg16 --out work/article/prototxt"
        " --train-lmdb lmdb/train_lmdb --val-lmdb lmdb/val_lmdb --mean lmdb/mean.binaryproto --classes 680",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    for name, metavar, what in (
        ("--net", "DIR", "folder of train_val and solver.prototxt"),
        ("--out", "DIR", "folder to write them to, filled in"),
        ("--train-lmdb", "DIR", "training pictures"),
        ("--val-lmdb", "DIR", "validation pictures; they are counted"),
        ("--mean", "FILE", "mean.binaryproto of the training pictures"),
    ):
        option(name, type=Path, required=True, metavar=metavar, help=what)
    option("--classes", required=True, metavar="N|CSV", help="their number, or classes.csv")
    option(
        "--effective-batch", type=positive_int, metavar="N",
        help="pictures a step, over all GPUs (default: the prototxt's batch on each of them)",
    )  # fmt: skip
    option("--gpus", type=whole_number, default=0, metavar="N", help="how many train (default 0: the CPU)")
    option(
        "--train-batch", type=positive_int, metavar="N",
        help="pictures at once; with --effective-batch the most of them (default: the prototxt's)",
    )  # fmt: skip
    option("--test-batch", type=positive_int, metavar="N", help="default: the prototxt's")
    option(
        "--max-iter", type=positive_int, metavar="N",
        help="iterations (default: the solver's); steps, tests, snapshots and display keep their share",
    )  # fmt: skip
    option(
        "--stop-at", type=positive_int, metavar="N",
        help="the last iteration, if the solver's is later; its schedule stays as it is",
    )  # fmt: skip
    option("--base-lr", type=rate, metavar="X", help="default: the solver's")
    option("--seed", type=whole_number, metavar="S", help="Caffe's random seed (default: the solver's)")
    option("--solver-mode", choices=("CPU", "GPU"), help="default: the solver's")
    option(
        "--snapshot-prefix", type=lambda text: Path(text).resolve(), metavar="P",
        help="default: the solver's, which counts from the folder --out",
    )  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit status."""
    given = build_parser().parse_args(argv)
    batches = Batches(given.train_batch, given.effective_batch, given.gpus, given.test_batch)
    schedule = Schedule(
        given.max_iter, given.stop_at, given.base_lr, given.seed, given.solver_mode, given.snapshot_prefix
    )

    def run() -> None:
        pictures = pictures_in(given.train_lmdb, given.val_lmdb, given.mean, given.classes)
        print(fill_prototxt(given.net, given.out, pictures, batches, schedule))

    return run_program("fill_prototxt", run)


if __name__ == "__main__":
    sys.exit(main())
