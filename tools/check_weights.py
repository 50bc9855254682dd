"""Check that a caffemodel initialises every layer of a network that it should.

`caffe train -weights` copies by layer name and says nothing about a layer that it finds no weights for: with
a typing error in a name, training starts from zeros there and looks alive.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.files.caffemodel import FourAxes, Shape, Shapes, stored_shapes
from tools.files.prototxt import read_net
from tools.network.built import wanted_shapes
from tools.network.structure import classifier
from tools.program import run_program


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
    wanted = wanted_shapes(net)
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
