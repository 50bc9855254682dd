"""Check that a caffemodel initialises every layer of a network that it should.

`caffe train -weights` copies by layer name and says nothing about a layer that it finds no weights for: with
a typing error in a name, training starts from zeros there and looks alive.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from google.protobuf import text_format

from tools.files.caffemodel import FourAxes, Shape, Shapes, stored_shapes
from tools.files.image_lmdb import entries, open_lmdb, picture_of
from tools.files.prototxt import Layer, Net, last_words, read_net
from tools.network.structure import classifier, test_phase
from tools.processes import sigint_held_back, spawned_pool
from tools.program import run_program


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
    source = Path(layer.data_param.source)
    with open_lmdb(source) as environment:
        for _, value in entries(environment):
            height, width, channels = picture_of(value).pixels.shape
            return [1, channels, height, width]
    raise ValueError(f"{source} is empty, so the size of its pictures can't be told")


def wanted_shapes(net: Net) -> Shapes:
    """Shapes of what each layer learns, from Caffe. Raises ValueError with Caffe's line where it can't tell.

    Caffe ends its process on errors, so a process of its own does it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, log = Path(folder) / "net.prototxt", Path(folder) / "log"
        path.write_text(text_format.MessageToString(net))
        log.touch()
        try:
            with spawned_pool(1) as pool:
                with sigint_held_back():
                    shapes = pool.submit(_build, str(path), str(log))
                return shapes.result()
        except BrokenProcessPool as error:
            why = last_words(log.read_text(errors="replace")) or "it ended without a word (out of memory?)"
            raise ValueError(f"Caffe can't build the network: {why}") from error


def _build(path: str, log: str) -> Shapes:
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), 2)
    import caffe

    net = caffe.Net(path, caffe.TEST)
    return {name: [tuple(blob.shape) for blob in blobs] for name, blobs in net.params.items()}


def fits(stored: Shape, wanted: Shape) -> bool:
    """Whether Caffe copies the one into the other (Blob::ShapeEquals in its sources)."""
    if isinstance(stored, FourAxes):
        return stored == (1,) * (4 - len(wanted)) + wanted
    return stored == wanted


def check(wanted: Shapes, stored: Shapes, new: list[str]) -> list[str]:
    """Return the layers that the caffemodel initialises. Raises ValueError naming those that it can't.

    `new` are layers that may start from their fillers.
    """
    stored = {name: shapes for name, shapes in stored.items() if shapes}
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


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
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
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    args = build_parser().parse_args(argv)

    def run() -> None:
        stored = stored_shapes(args.weights)
        net = read_net(args.train_val)
        new = [classifier(net).name] if args.new is None else args.new
        wanted = wanted_shapes(without_data(net))
        try:
            copied = check(wanted, stored, new)
        except ValueError as error:
            raise ValueError(f"{args.weights} doesn't fit {args.train_val}: {error}") from error
        fresh = ", ".join(name for name in wanted if name not in copied) or "none"
        print(f"{args.weights} initialises {', '.join(copied)}; new: {fresh}")

    return run_program("check_weights", run)


if __name__ == "__main__":
    sys.exit(main())
