"""What Caffe would abort on in the middle of a run, said before it: one sentence each."""

from collections.abc import Iterator
from pathlib import Path

from tools.files.image_lmdb import entries, open_lmdb, picture_of
from tools.files.mean_file import read_mean_image
from tools.files.prototxt import Net, Solver
from tools.network.structure import data_layer

CHOICES = {
    "type": ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"),
    "lr_policy": ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid"),
    "regularization_type": ("L1", "L2"),
}
"""What Caffe's solver knows by name."""
SAMPLED = 5000
"""Pictures of a database that are looked at before training, evenly spread."""


def check_solver(solver: Solver, path: Path) -> None:
    """Raise ValueError for a solver that Caffe aborts on once it has this run's settings."""
    given = {described.name for described, _ in solver.ListFields()}
    for name in ("net_param", "train_net", "train_net_param", "test_net", "test_net_param", "test_state"):
        if name in given:
            raise ValueError(f"{path} has {name}: a solver here has one network, as net: train_val.prototxt")
    for name, choices in CHOICES.items():
        if getattr(solver, name) not in choices:
            raise ValueError(f'{path}: {name} is "{getattr(solver, name)}", not one of {", ".join(choices)}')
    steps = ["stepsize"] if solver.lr_policy in ("step", "sigmoid") else []
    for name in ("max_iter", "test_interval", "iter_size", "average_loss", *steps):
        if getattr(solver, name) < 1:
            raise ValueError(f"{path} needs a {name} above 0")
    for name in ("snapshot", "display", "gamma"):
        if getattr(solver, name) < 0:
            raise ValueError(f"{path}: {name} is {getattr(solver, name):g}, which must not be below 0")


def check_pictures(net: Net, train_lmdb: Path, val_lmdb: Path, mean_file: Path, classes: int) -> None:
    """Raise ValueError where labels, sizes and mean of the databases don't fit each other or the network.

    Some pictures of each database are looked at. Raises OSError for a mean that can't be read.
    """
    mean: tuple[int, ...] = read_mean_image(mean_file).shape
    for phase, path in (("TRAIN", train_lmdb), ("TEST", val_lmdb)):
        crop = data_layer(net, phase).transform_param.crop_size
        for label, (channels, height, width) in _labels_and_sizes(path):
            if not 0 <= label < classes:
                raise ValueError(
                    f"{path} holds label {label}, but {classes} classes have the labels 0 to {classes - 1}: "
                    "python -m data_prep.rename_classes numbers them"
                )
            if (channels, height, width) != mean:
                raise ValueError(
                    f"{path} holds pictures of {_size(channels, height, width)}, {mean_file} is the mean of "
                    f"pictures of {_size(*mean)}: make it of these (tools/make_mean.sh)"
                )
            if crop > min(height, width):
                raise ValueError(
                    f"the network takes crops of {crop}x{crop}, {path} holds pictures of {width}x{height}"
                )


def _labels_and_sizes(path: Path) -> Iterator[tuple[int, tuple[int, int, int]]]:
    """Label and (channels, height, width) of some of a database's pictures."""
    with open_lmdb(path) as database:
        for key, value in entries(database, every=max(1, database.stat()["entries"] // SAMPLED)):
            try:
                label, pixels = picture_of(value)
            except ValueError as error:
                raise ValueError(f"{path}, {key.decode(errors='replace')}: {error}") from error
            height, width, channels = pixels.shape
            yield label, (channels, height, width)


def _size(channels: int, height: int, width: int) -> str:
    return f"{width}x{height} with {channels} channel{'s' * (channels > 1)}"
