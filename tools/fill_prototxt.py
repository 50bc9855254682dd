"""Fill paths, classes and batches into a network's train_val and solver, through protobuf's own text format.

The test batch times test_iter must be the number of validation images exactly, or some are tested twice or
never. That number is read from the validation database, so it can't be typed wrongly.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from tools.files.class_names import read_class_names
from tools.files.image_lmdb import entry_count
from tools.files.prototxt import Layer, Net, Solver, caffe_messages, read_net, read_prototxt, write_prototxt
from tools.program import one_sentence


@dataclass(frozen=True)
class Data:
    """Where a training's pictures are. Paths go into the prototxt as they are here."""

    train_lmdb: Path
    val_lmdb: Path
    mean: Path
    classes: int
    val_images: int
    train_batch: int | None = None
    test_batch: int | None = None
    share_batch: int = 1
    """GPUs to divide the training batch among: Caffe gives each the whole of it."""


def exact_batch(images: int, wanted: int) -> int:
    """The largest batch up to `wanted` that divides the number of images, so that each is seen once.

    exact_batch(208260, 52) is 52: the article's 52 x 4005. For a prime number of images it is 1.
    """
    return next(batch for batch in range(min(wanted, images), 0, -1) if images % batch == 0)


def fill_net(net: Net, data: Data) -> tuple[Net, int]:
    """Return a copy of a train_val network with paths, classes and batches filled in, and its test_iter.

    Raises ValueError for a network without one data layer a phase or without a classifier, and for a training
    batch that can't be shared evenly.
    """
    filled = type(net)()
    filled.CopyFrom(net)
    train, test = (_data_layer(filled, phase) for phase in ("TRAIN", "TEST"))
    for layer, source in ((train, data.train_lmdb), (test, data.val_lmdb)):
        layer.data_param.source = str(source)
        layer.transform_param.ClearField("mean_value")  # Caffe takes a mean file or values, not both
        layer.transform_param.mean_file = str(data.mean)
    if data.train_batch:
        train.data_param.batch_size = data.train_batch
    share, left = divmod(train.data_param.batch_size, data.share_batch)
    if left:
        batch = train.data_param.batch_size
        raise ValueError(f"a training batch of {batch} can't be shared by {data.share_batch} GPUs evenly")
    train.data_param.batch_size = share
    wanted = data.test_batch or test.data_param.batch_size
    test.data_param.batch_size = exact_batch(data.val_images, wanted)
    classifier(filled).inner_product_param.num_output = data.classes
    return filled, data.val_images // test.data_param.batch_size


def _data_layer(net: Net, phase: str) -> Layer:
    number = caffe_messages().Phase.Value(phase)
    data_layers = [layer for layer in net.layer if layer.type == "Data"]
    found = [
        layer
        for layer in data_layers
        if any(rule.HasField("phase") and rule.phase == number for rule in layer.include)
    ]
    if len(found) != 1:
        wanted = f"Data layer with include {{ phase: {phase} }}"
        raise ValueError(f"the network needs one {wanted} and has {len(found)}")
    return found[0]


def classifier(net: Net) -> Layer:
    """The layer whose output the loss judges. Raises ValueError where it isn't an InnerProduct layer."""
    losses = [layer for layer in net.layer if layer.type == "SoftmaxWithLoss"]
    if len(losses) != 1:
        raise ValueError(f"the network has {len(losses)} SoftmaxWithLoss layers, not one")
    judged = losses[0].bottom[0]
    for layer in net.layer:
        if judged in layer.top and layer.type == "InnerProduct":
            return layer
    raise ValueError(f"blob {judged}, which the loss judges, doesn't come from an InnerProduct layer")


def freeze_all_but_last(net: Net) -> Net:
    """Return a copy in which only the classifier learns: lr_mult 0 everywhere else.

    Caffe then skips the backward pass through the frozen layers; their weight decay is multiplied by the
    same 0.
    """
    frozen = type(net)()
    frozen.CopyFrom(net)
    last = classifier(frozen).name
    for layer in frozen.layer:
        if layer.name != last:
            while len(layer.param) < _learned_blobs(layer):
                layer.param.add()
            for param in layer.param:
                param.lr_mult = 0
    return frozen


def _learned_blobs(layer: Layer) -> int:
    """How many blobs learn at Caffe's default rate unless a param says otherwise."""
    biased = {
        "Convolution": layer.convolution_param,
        "Deconvolution": layer.convolution_param,
        "InnerProduct": layer.inner_product_param,
        "Embed": layer.embed_param,
    }
    if layer.type in biased:
        return 1 + biased[layer.type].bias_term
    if layer.type == "Scale" and len(layer.bottom) == 1:
        return 1 + layer.scale_param.bias_term
    return int(layer.type == "PReLU" or (layer.type == "Bias" and len(layer.bottom) == 1))


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


def read_classes(text: str) -> int:
    """Number of classes: a number, or the rows of a classes.csv.

    Raises ValueError where that is none, or where there is less than two.
    """
    count = int(text) if text.isascii() and text.isdigit() else len(read_class_names(Path(text)))
    if count < 2:
        raise ValueError(f"{text}: a classifier needs at least two classes")
    return count


def write_all(args: argparse.Namespace) -> str:
    """Do what main was asked for; returns a sentence on it. Raises ValueError or OSError."""
    messages = caffe_messages()
    net = read_net(args.net / "train_val.prototxt")
    solver = messages.SolverParameter()
    read_prototxt(args.net / "solver.prototxt", solver)
    images = entry_count(args.val_lmdb)
    if not images or not entry_count(args.train_lmdb):
        raise ValueError(f"{args.train_lmdb if images else args.val_lmdb} is empty")
    absolute = [path.resolve() for path in (args.train_lmdb, args.val_lmdb, args.mean)]
    if not args.mean.is_file():
        raise ValueError(f"{args.mean} is not a file (compute_image_mean makes the mean)")
    data = Data(
        *absolute, read_classes(args.classes), images, args.train_batch, args.test_batch, args.share_batch
    )
    net, test_iter = fill_net(net, data)
    fill_solver(solver, args, test_iter)

    args.out.mkdir(parents=True, exist_ok=True)
    Path(solver.snapshot_prefix).parent.mkdir(parents=True, exist_ok=True)
    _write(args, net, solver, "")
    solver.snapshot_prefix += "last"
    _write(args, freeze_all_but_last(net), solver, "_last")
    batch = images // test_iter
    return f"{args.out}: {data.classes} classes, {images} validation images = {batch} x test_iter {test_iter}"


def fill_solver(solver: Solver, args: argparse.Namespace, test_iter: int) -> None:
    """Write the run's settings over the solver's; what isn't set stays as the file has it."""
    solver.test_iter[:] = [test_iter]
    if args.max_iter:
        scale_schedule(solver, args.max_iter)
    if args.base_lr is not None:
        solver.base_lr = args.base_lr
    if args.seed is not None:
        solver.random_seed = args.seed
    if args.solver_mode:
        solver.solver_mode = solver.SolverMode.Value(args.solver_mode)
    prefix = args.snapshot_prefix or args.out / (solver.snapshot_prefix or "snapshots_")
    solver.snapshot_prefix = str(Path(prefix).resolve())


def _write(args: argparse.Namespace, net: Net, solver: Solver, variant: str) -> None:
    why = f"{args.net.name}, filled in by python -m tools.fill_prototxt"
    if variant:
        why += "; only the last layer learns"
    net_path = args.out / f"train_val{variant}.prototxt"
    write_prototxt(net_path, net, why)
    solver.net = str(net_path.resolve())
    write_prototxt(args.out / f"solver{variant}.prototxt", solver, why)


def positive(text: str) -> int:
    """An argparse type: a whole number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return number


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.fill_prototxt",
        description="Write a network's train_val and solver prototxt into a folder with a run's"
        " paths, number of classes and batches filled in, and train_val_last and solver_last, in which only"
        " the last layer learns. Paths are written absolute. The test batch is the largest that divides the"
        " number of validation images and isn't above the wanted one, so that each image is tested once.",
        epilog="example: python -m tools.fill_prototxt --net prototxt/vgg16 --out work/article/prototxt"
        " --train-lmdb lmdb/train_lmdb --val-lmdb lmdb/val_lmdb --mean lmdb/mean.binaryproto --classes 680",
    )
    path = {"type": Path, "required": True}
    parser.add_argument("--net", **path, metavar="DIR", help="folder of train_val and solver.prototxt")
    parser.add_argument("--out", **path, metavar="DIR", help="folder to write them to, filled in")
    parser.add_argument("--train-lmdb", **path, metavar="DIR", help="training pictures")
    parser.add_argument("--val-lmdb", **path, metavar="DIR", help="validation pictures; they are counted")
    parser.add_argument("--mean", **path, metavar="FILE", help="mean.binaryproto of the training pictures")
    parser.add_argument("--classes", required=True, metavar="N|CSV", help="their number, or classes.csv")
    parser.add_argument("--train-batch", type=positive, metavar="N", help="default: the prototxt's")
    parser.add_argument(
        "--share-batch",
        type=positive,
        default=1,
        metavar="GPUS",
        help="divide the training batch by this number of GPUs, each of which Caffe gives the whole of it",
    )
    parser.add_argument("--test-batch", type=positive, metavar="N", help="wanted; default: the prototxt's")
    parser.add_argument(
        "--max-iter",
        type=positive,
        metavar="N",
        help="iterations (default: the solver's); steps, tests, snapshots and display keep their share",
    )
    parser.add_argument("--base-lr", type=float, metavar="X", help="default: the solver's")
    parser.add_argument("--seed", type=int, metavar="S", help="Caffe's random seed (default: the solver's)")
    parser.add_argument("--solver-mode", choices=("CPU", "GPU"), help="default: the solver's")
    parser.add_argument(
        "--snapshot-prefix", metavar="P", help="default: the solver's, which counts from the folder --out"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    args = parse(argv)
    try:
        print(write_all(args))
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError) as error:
        print(f"fill_prototxt: {one_sentence(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
