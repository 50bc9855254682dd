"""Check that a caffemodel initialises every layer of a network that it should.

`caffe train -weights` copies by layer name and says nothing about a layer that it finds no weights for: with
a typing error in a name, training starts from zeros there and looks alive.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from google.protobuf import text_format

from tools.files.caffemodel import FourAxes, Shape, Shapes, stored_shapes
from tools.files.image_lmdb import entries, open_lmdb, picture_of
from tools.files.prototxt import Layer, Net, file_of, last_words, read_net
from tools.network.structure import classifier, test_phase
from tools.program import run_program

TELL_SHAPES = """
import json, sys, caffe
params = caffe.Net(sys.argv[1], caffe.TEST).params
print(json.dumps({name: [list(blob.shape) for blob in blobs] for name, blobs in params.items()}))
"""


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
    source = file_of(layer.data_param.source)
    with open_lmdb(source) as environment:
        for _, value in entries(environment):
            height, width, channels = picture_of(value).pixels.shape
            return [1, channels, height, width]
    raise ValueError(f"{source} is empty, so the size of its pictures can't be told")


def wanted_shapes(net: Net) -> Shapes:
    """Shapes of what each layer learns, from Caffe. Raises ValueError with Caffe's line where it can't tell.

    Caffe ends its process on errors, so a process of its own does it.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(text_format.MessageToString(net))
        file.flush()
        done = subprocess.run(
            [sys.executable, "-c", TELL_SHAPES, file.name], capture_output=True, check=False
        )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace")
        why = last_words(said) or "it ended without a word (out of memory?)"
        raise ValueError(f"Caffe can't build the network: {why}")
    return {name: [tuple(shape) for shape in shapes] for name, shapes in json.loads(done.stdout).items()}


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


def check_weights(train_val: Path, weights: Path, new: list[str] | None = None) -> str:
    """A sentence on what a caffemodel initialises of a network.

    `new` are the layers that need no weights, by default the one whose output the loss judges. Raises
    ValueError where another layer can't be initialised, OSError.
    """
    stored = stored_shapes(weights)
    net = read_net(train_val)
    wanted = wanted_shapes(without_data(net))
    try:
        copied = check(wanted, stored, [classifier(net).name] if new is None else new)
    except ValueError as error:
        raise ValueError(f"{weights} doesn't fit {train_val}: {error}") from error
    fresh = ", ".join(name for name in wanted if name not in copied) or "none"
    return f"{weights} initialises {', '.join(copied)}; new: {fresh}"


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

    return run_program("check_weights", lambda: print(check_weights(args.train_val, args.weights, args.new)))


if __name__ == "__main__":
    sys.exit(main())
