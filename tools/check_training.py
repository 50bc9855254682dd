"""Check a solver and its network before `caffe train` starts: Caffe ends by a failed check, or by a crash.

What can be seen beforehand: which files the solver and the network name, batches, the pictures' size against
the mean's and the crop's, the labels against the number of classes.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from tools.files.image_lmdb import entries, labels, open_lmdb, picture_of
from tools.files.mean_file import read_mean_image
from tools.files.prototxt import Layer, Net, Solver, caffe_messages, read_net, read_solver
from tools.network.structure import classifier
from tools.program import run_program

POLICIES = ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid")
OTHER_NETS = ("train_net", "test_net", "net_param", "train_net_param", "test_net_param")
MOST_LABELS = 20_000
"""Entries whose labels are read, which takes some seconds; of a longer database those spread evenly."""
SIZES = 20


def check_training(path: Path) -> str:
    """Raise ValueError or OSError for what Caffe would stop at; a sentence on what was found."""
    solver = read_solver(path)
    check_solver(path, solver)
    net_path = Path(solver.net)
    net = read_net(net_path)
    said = []
    try:
        for phase in ("TRAIN", "TEST"):
            for layer in data_layers(net, phase):
                said.append(check_data(layer, outputs_of_classifier(net)))
        if not data_layers(net, "TRAIN"):
            raise ValueError("it has no Data layer to train from")
        check_accuracy(net)
    except ValueError as error:
        raise ValueError(f"{net_path}: {error}") from error
    return f"{path}: {'; '.join(said)}"


def check_solver(path: Path, solver: Solver) -> None:
    """Raise ValueError for settings of a file that Caffe refuses, or that tools/finetune.sh can't follow."""
    for objection in _objections(solver):
        raise ValueError(f"{path}: {objection}")


def _objections(solver: Solver) -> Iterator[str]:
    for name in OTHER_NETS:
        value = getattr(solver, name)
        if (len(value) if name.startswith("test") else solver.HasField(name)) > 0:
            yield f"it has {name}: one network for both phases is needed, named by net"
    if not solver.net:
        yield "it has no net"
    if solver.max_iter < 1:
        yield "max_iter must be 1 or more"
    if solver.iter_size < 1:
        yield "iter_size must be 1 or more"
    if solver.lr_policy not in POLICIES:
        yield f"lr_policy must be one of {', '.join(POLICIES)}, not '{solver.lr_policy}'"
    if solver.lr_policy == "step" and solver.stepsize < 1:
        yield "lr_policy step needs a stepsize of 1 or more"
    if solver.test_interval > 0 and (len(solver.test_iter) != 1 or solver.test_iter[0] < 1):
        yield "with test_interval it needs one test_iter of 1 or more"
    if not solver.snapshot_prefix:
        yield "it has no snapshot_prefix"


def data_layers(net: Net, phase: str) -> list[Layer]:
    """The Data layers of a phase: those whose rules name it, and those without rules."""
    number = caffe_messages().Phase.Value(phase)
    return [
        layer
        for layer in net.layer
        if layer.type == "Data" and (not layer.include or any(rule.phase == number for rule in layer.include))
    ]


def outputs_of_classifier(net: Net) -> int | None:
    """How many classes the last layer tells apart; None for a network that classifies otherwise."""
    with suppress(ValueError):
        return int(classifier(net).inner_product_param.num_output)
    return None


def check_data(layer: Layer, classes: int | None) -> str:
    """Raise ValueError for a Data layer whose database, batch, crop or mean don't fit; what it reads."""
    source = Path(layer.data_param.source)
    if layer.data_param.batch_size < 1:
        raise ValueError(f"the batch of {source} must be 1 or more, not {layer.data_param.batch_size}")
    if layer.data_param.backend != layer.data_param.LMDB:
        raise ValueError(f"{source} needs backend: LMDB in data_param (Caffe's default is LEVELDB)")
    with open_lmdb(source) as environment:
        count = environment.stat()["entries"]
        if not count:
            raise ValueError(f"{source} is empty")
        sizes = set(_shapes(entries(environment, max(1, count // SIZES)), source))
        if len(sizes) > 1 and not layer.transform_param.crop_size:
            raise ValueError(f"{source} holds pictures of several sizes, such as {_words(sorted(sizes))}")
        for shape in sorted(sizes):
            check_transform(layer, shape, source)
        if classes:
            check_labels(labels(environment, MOST_LABELS), classes, source)
    return f"{count} pictures in {source}"


def _shapes(sample: Iterator[tuple[bytes, bytes]], source: Path) -> Iterator[tuple[int, int, int]]:
    for key, value in sample:
        try:
            height, width, channels = picture_of(value).pixels.shape
        except ValueError as error:
            raise ValueError(f"{source}, entry {key.decode(errors='replace')}: {error}") from error
        yield channels, height, width


def _words(shapes: Sequence[tuple[int, int, int]]) -> str:
    return " and ".join(" x ".join(map(str, shape)) for shape in shapes[:2])


def check_transform(layer: Layer, shape: tuple[int, int, int], source: Path) -> None:
    """Raise ValueError where the crop or the mean doesn't fit pictures of a shape (C, H, W)."""
    transform = layer.transform_param
    if transform.crop_size > min(shape[1:]):
        raise ValueError(
            f"crop_size {transform.crop_size} is larger than the pictures of {source}: {_words([shape])}"
        )
    if transform.mean_file and transform.mean_value:
        raise ValueError("a Data layer has a mean_file and mean_value: Caffe takes one of them")
    if len(transform.mean_value) not in (0, 1, shape[0]):
        raise ValueError(f"a Data layer has {len(transform.mean_value)} mean_value for {shape[0]} channels")
    if transform.mean_file:
        mean = read_mean_image(Path(transform.mean_file)).shape
        if mean != shape:
            raise ValueError(
                f"the mean {transform.mean_file} is of {_words([mean])}, the pictures of {source} are of "
                f"{_words([shape])} (channels, height, width): make it of this training database"
            )


def check_labels(found: dict[int, bytes], classes: int, source: Path) -> None:
    """Raise ValueError where a label is none of 0 to classes - 1: Caffe reads beyond its memory then."""
    bad = [label for label in found if not 0 <= label < classes]
    if not bad:
        return
    label = max(bad)
    counted = " (they seem to be counted from 1)" if min(found) == 1 and max(found) == classes else ""
    raise ValueError(
        f"{source} has label {label} ({found[label].decode(errors='replace')}), and the last layer tells "
        f"{classes} classes apart, 0 to {classes - 1}{counted}"
    )


def check_accuracy(net: Net) -> None:
    """Raise ValueError where an Accuracy layer asks for more classes than there are."""
    classes = outputs_of_classifier(net)
    for layer in net.layer:
        if layer.type == "Accuracy" and classes and layer.accuracy_param.top_k > classes:
            top_k = layer.accuracy_param.top_k
            raise ValueError(f"layer {layer.name} wants the best {top_k} of {classes} classes")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.check_training",
        description=__doc__,
        epilog="example: python -m tools.check_training work/demo/prototxt/train/solver.prototxt",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("solver", metavar="SOLVER", type=Path, help="solver.prototxt")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    args = build_parser().parse_args(argv)
    return run_program("check_training", lambda: print(check_training(args.solver)))


if __name__ == "__main__":
    sys.exit(main())
