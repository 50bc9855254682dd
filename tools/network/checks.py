"""What Caffe would abort or crash on in the middle of a training, said before it: one sentence each."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from tools.files.image_lmdb import labels, open_lmdb, shapes
from tools.files.mean_file import read_mean_image
from tools.files.prototxt import Layer, Net, Solver, file_of
from tools.network.built import built_shapes, without_data
from tools.network.structure import classifier, in_phase

CHOICES = {
    "type": ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"),
    "lr_policy": ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid"),
    "regularization_type": ("L1", "L2"),
}
"""What Caffe's solver knows by name."""
OTHER_NETS = ("net_param", "train_net", "train_net_param", "test_net", "test_net_param", "test_state")
WITHOUT_MOMENTUM = ("AdaGrad", "RMSProp")
MOST_PREFETCHED = 1000
"""Batches that Caffe reads ahead, each of which takes its memory."""
MOST_LABELS = 20_000
"""Entries whose labels are read, which takes some seconds; of a longer database those spread evenly."""


def check_solver(path: Path, solver: Solver) -> None:
    """Raise ValueError for settings of a file that Caffe refuses, or that tools/finetune.sh can't follow."""
    for objection in _objections(solver):
        raise ValueError(f"{path}: {objection}")


def _objections(solver: Solver) -> Iterator[str]:
    given = {described.name for described, _ in solver.ListFields()}
    for name in OTHER_NETS:
        if name in given:
            yield f"it has {name}: one network for both phases is needed, named by net"
    if not solver.net:
        yield "it has no net"
    for name, choices in CHOICES.items():
        if getattr(solver, name) not in choices:
            yield f"{name} must be one of {', '.join(choices)}, not '{getattr(solver, name)}'"
    for name in ("max_iter", "iter_size", "average_loss"):
        if getattr(solver, name) < 1:
            yield f"{name} must be 1 or more"
    for name in ("snapshot", "display", "gamma", "test_interval"):
        if getattr(solver, name) < 0:
            yield f"{name} must not be below 0"
    if solver.lr_policy in ("step", "sigmoid") and solver.stepsize < 1:
        yield f"lr_policy {solver.lr_policy} needs a stepsize of 1 or more"
    if solver.test_iter and solver.test_interval < 1:
        yield "with test_iter it needs a test_interval of 1 or more"
    if solver.test_interval and (len(solver.test_iter) != 1 or solver.test_iter[0] < 1):
        yield "with test_interval it needs one test_iter of 1 or more"
    if not solver.snapshot_prefix:
        yield "it has no snapshot_prefix"
    if solver.type in WITHOUT_MOMENTUM and solver.momentum:
        yield f"{solver.type} goes without momentum, and it has {solver.momentum:g}"
    if solver.type == "RMSProp" and not 0 <= solver.rms_decay < 1:
        yield f"rms_decay must lie between 0 and 1, not {solver.rms_decay:g}"
    if not math.isfinite(solver.base_lr) or solver.base_lr < 0:
        yield f"base_lr must be a number from 0 up, not {solver.base_lr:g}"
    for weights in solver.weights:
        if not file_of(weights).is_file():
            yield f"weights names {weights}, which is no file"


def data_layers(net: Net, phase: str) -> list[Layer]:
    """The Data layers of phase TRAIN or TEST."""
    return [layer for layer in in_phase(net, phase).layer if layer.type == "Data"]


def outputs_of_classifier(net: Net) -> int | None:
    """How many classes the last layer tells apart; None for a network that classifies otherwise."""
    with suppress(ValueError):
        return int(classifier(net).inner_product_param.num_output)
    return None


def check_data(layer: Layer, classes: int | None) -> str:
    """Raise ValueError for a Data layer whose database, batch, crop or mean don't fit; what it reads."""
    source = file_of(layer.data_param.source)
    if layer.data_param.batch_size < 1:
        raise ValueError(f"the batch of {source} must be 1 or more, not {layer.data_param.batch_size}")
    if not 1 <= layer.data_param.prefetch <= MOST_PREFETCHED:
        raise ValueError(
            f"prefetch of {source} must be 1 to {MOST_PREFETCHED}, not {layer.data_param.prefetch}"
        )
    if not 1 <= len(layer.top) <= 2:
        raise ValueError(f"layer {layer.name} has {len(layer.top)} tops: the pictures and the labels are two")
    if layer.data_param.backend != layer.data_param.LMDB:
        raise ValueError(f"{source} needs backend: LMDB in data_param (Caffe's default is LEVELDB)")
    with open_lmdb(source) as environment:
        sizes, count = shapes(environment, source), environment.stat()["entries"]
        if len(sizes) > 1 and not layer.transform_param.crop_size:
            raise ValueError(f"{source} holds pictures of several sizes, such as {_words(sorted(sizes))}")
        for shape in sorted(sizes):
            check_transform(layer, shape, source)
        if classes:
            check_labels(labels(environment, MOST_LABELS), classes, source)
    return f"{count} pictures in {source}"


def _words(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(" x ".join(map(str, shape)) for shape in shapes[:2])


def check_transform(layer: Layer, shape: tuple[int, int, int], source: Path) -> None:
    """Raise ValueError where the crop or the mean doesn't fit pictures of a shape (C, H, W)."""
    transform = layer.transform_param
    if transform.crop_size > min(shape[1:]):
        raise ValueError(
            f"crop_size {transform.crop_size} is larger than the pictures of {source}: {_words([shape])} "
            "(channels, height, width)"
        )
    if transform.mean_file and transform.mean_value:
        raise ValueError("a Data layer has a mean_file and mean_value: Caffe takes one of them")
    if len(transform.mean_value) not in (0, 1, shape[0]):
        raise ValueError(f"a Data layer has {len(transform.mean_value)} mean_value for {shape[0]} channels")
    if transform.mean_file:
        mean = read_mean_image(file_of(transform.mean_file)).shape
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
        f"{classes} classes apart, 0 to {classes - 1}{counted}: "
        "python -m data_prep.rename_classes numbers them"
    )


def check_built(net: Net, phases: Sequence[str]) -> None:
    """Raise ValueError with Caffe's own line for a network that it can't build in these phases together.

    The tests take the training's weights, so their shapes must be the same in both.
    """
    shapes = built_shapes({phase: without_data(net, phase) for phase in phases})
    first, *others = shapes.values()
    for other in others:
        for name in first.keys() & other.keys():
            if first[name] != other[name]:
                both = " and ".join(_words(one[name][:1]) for one in (first, other))
                raise ValueError(
                    f"layer {name} has weights of {both} in training and in tests: do crop_size, or the "
                    "pictures' sizes, differ?"
                )


def check_accuracy(net: Net) -> None:
    """Raise ValueError where an Accuracy layer asks for more classes than there are."""
    classes = outputs_of_classifier(net)
    for layer in net.layer:
        if layer.type == "Accuracy" and classes and layer.accuracy_param.top_k > classes:
            top_k = layer.accuracy_param.top_k
            raise ValueError(f"layer {layer.name} wants the best {top_k} of {classes} classes")
