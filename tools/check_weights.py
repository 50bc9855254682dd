"""Check that a caffemodel initialises every layer of a network that it should.

`caffe train -weights` copies by layer name and says nothing about a layer that it finds no weights for: with
a typing error in a name, training starts from zeros there and looks alive.
"""

import argparse
import multiprocessing
import os
import re
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import h5py
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from tools.check_lmdb import open_lmdb
from tools.files.prototxt import Layer, Net, caffe_messages, read_net
from tools.fill_prototxt import classifier
from tools.program import one_sentence
from tools.rename_blobs import test_phase

Shape = tuple[int, ...]
Shapes = dict[str, list[Shape]]  # of each learned blob of a layer, by the layer's name


def without_data(net: Net) -> Net:
    """Return the test-phase network with Input layers of batch 1 in place of its Data layers.

    The shapes of the weights don't depend on the pictures, and those may be large or not be made yet. A Data
    layer's crop size is the picture's size; without one, its database is asked. Raises ValueError or OSError.
    """
    fed = test_phase(net)
    for layer in fed.layer:
        if layer.type == "Data":
            shapes = [_picture_shape(layer), [1]]
            layer.type = "Input"
            for shape in shapes[: len(layer.top)]:
                layer.input_param.shape.add(dim=shape)
    return fed


def _picture_shape(layer: Layer) -> list[int]:
    crop = layer.transform_param.crop_size
    if crop:
        return [1, 1 if layer.transform_param.force_gray else 3, crop, crop]
    with open_lmdb(Path(layer.data_param.source)) as environment, environment.begin() as transaction:
        for _, value in transaction.cursor():
            datum = caffe_messages().Datum.FromString(value)
            return [1, datum.channels, datum.height, datum.width]
    raise ValueError(f"{layer.data_param.source} is empty, so the size of its pictures can't be told")


def wanted_shapes(net: Net) -> Shapes:
    """Shapes of what each layer learns, from Caffe. Raises ValueError with Caffe's line where it can't tell.

    Caffe ends its process on errors, so a process of its own does it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, log = Path(folder) / "net.prototxt", Path(folder) / "log"
        path.write_text(text_format.MessageToString(net))
        log.touch()
        try:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                return process.submit(_build, str(path), str(log)).result()
        except BrokenProcessPool as error:
            failed = re.search(r"^F\d+ \S+ +\d+ (\S+)\] (.*)$", log.read_text(errors="replace"), re.MULTILINE)
            why = (
                f"{failed[2].strip()} ({failed[1]})" if failed else "it ended without a word (out of memory?)"
            )
            raise ValueError(f"Caffe can't build the network: {why}") from error


def _build(path: str, log: str) -> Shapes:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 2)
    import caffe

    net = caffe.Net(path, caffe.TEST)
    return {name: [tuple(blob.shape) for blob in blobs] for name, blobs in net.params.items()}


class FourAxes(tuple):
    """A shape as files of before 2014 have it: four axes, filled up with ones in front."""

    __slots__ = ()


def stored_shapes(path: Path) -> Shapes:
    """Shapes of a caffemodel's blobs, binary or HDF5. Raises ValueError where it isn't one, or OSError."""
    with path.open("rb"):  # HDF5 says only that it isn't HDF5
        pass
    if h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            layers = file.get("data", {}).items()
            return {
                name: [blobs[i].shape for i in sorted(blobs, key=int)] for name, blobs in layers if len(blobs)
            }
    model = caffe_messages().NetParameter()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ValueError(f"{path} is not a caffemodel, or not a whole one") from error
    layers = [layer for layer in (*model.layer, *model.layers) if layer.blobs]
    if not layers:
        raise ValueError(f"{path} has no weights")
    return {layer.name: [_shape(blob) for blob in layer.blobs] for layer in layers}


def _shape(blob: Any) -> Shape:
    if any(blob.HasField(axis) for axis in ("num", "channels", "height", "width")):
        return FourAxes((blob.num, blob.channels, blob.height, blob.width))
    return tuple(blob.shape.dim)


def fits(stored: Shape, wanted: Shape) -> bool:
    """Whether Caffe copies the one into the other (Blob::ShapeEquals in its sources)."""
    if isinstance(stored, FourAxes):
        return stored == (1,) * (4 - len(wanted)) + wanted
    return stored == wanted


def check(wanted: Shapes, stored: Shapes, new: list[str]) -> list[str]:
    """Return the layers that the caffemodel initialises. Raises ValueError naming those that it can't.

    `new` are layers that may start from their fillers.
    """
    unknown = [name for name in new if name not in wanted]
    if unknown:
        raise ValueError(
            f"the network has no layer {', '.join(unknown)} with weights; it has {', '.join(wanted)}"
        )
    lacking = [name for name in wanted if name not in stored and name not in new]
    if lacking:
        raise ValueError(f"it has no weights for {', '.join(lacking)}; it has some for {', '.join(stored)}")
    both = [name for name in wanted if name in stored]
    for name in both:
        counts = len(stored[name]), len(wanted[name])
        if counts[0] != counts[1]:
            raise ValueError(f"layer {name} has {counts[0]} blobs there, and the network wants {counts[1]}")
        for have, want in zip(stored[name], wanted[name], strict=True):
            if not fits(have, want):
                raise ValueError(
                    f"layer {name} has shape {_text(have)} there, and the network wants {_text(want)}"
                    " (a layer of another size needs another name)"
                )
    return both


def _text(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def main(argv: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.check_weights",
        description="Check that a caffemodel has weights of the right shape for every layer of a network but"
        " the new ones. Caffe itself says nothing about a layer that it finds no weights for.",
        epilog="example: python -m tools.check_weights train_val.prototxt VGG_ILSVRC_16_layers.caffemodel"
        " --new fc8_magic",
    )
    parser.add_argument("train_val", metavar="TRAIN_VAL", type=Path, help="the network's prototxt")
    parser.add_argument("weights", metavar="WEIGHTS", type=Path, help="caffemodel")
    parser.add_argument(
        "--new",
        nargs="+",
        metavar="LAYER",
        help="layers that need no weights (default: the one whose output the loss judges)",
    )
    args = parser.parse_args(argv)
    try:
        stored = stored_shapes(args.weights)
        net = read_net(args.train_val)
        new = [classifier(net).name] if args.new is None else args.new
        wanted = wanted_shapes(without_data(net))
        try:
            copied = check(wanted, stored, new)
        except ValueError as error:
            raise ValueError(f"{args.weights} doesn't fit {args.train_val}: {error}") from error
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError) as error:
        print(f"check_weights: {one_sentence(error)}", file=sys.stderr)
        return 1
    fresh = ", ".join(name for name in wanted if name not in copied) or "none"
    print(f"{args.weights} initialises {', '.join(copied)}; new: {fresh}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
