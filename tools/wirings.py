"""Write the three wirings of ReLU and dropout that the article's renaming is about.

OUT/own.prototxt         in sequence, a blob for each (tools.rename_blobs)
OUT/in_place.prototxt    as the stock files have it: relu7 and drop7 overwrite blob fc7
OUT/as_printed.prototxt  the article's snippet taken literally: drop7 reads fc7, not fc7_relu7, so that the
                         network behind it has no ReLU there and is another one. The article's author
                         published a network that is wired so, with fc7 fed past ReLU 6
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.files.prototxt import Net, read_net, write_prototxt
from tools.network.own_blobs import own_blobs
from tools.network.structure import copy_of
from tools.program import run_program

IN_PLACE = ("ReLU", "Dropout")


def in_place(net: Net) -> Net:
    """Return the network with every ReLU and dropout layer working on the blob it reads."""
    new = copy_of(net)
    overwritten: dict[str, str] = {}
    for layer in new.layer:
        layer.bottom[:] = [overwritten.get(blob, blob) for blob in layer.bottom]
        if layer.type in IN_PLACE and len(layer.bottom) == len(layer.top) == 1:
            overwritten[layer.top[0]] = layer.bottom[0]
            layer.top[0] = layer.bottom[0]
    return new


def as_printed(net: Net) -> Net:
    """Return the network with every dropout layer that reads a ReLU's blob reading what that ReLU reads.

    Raises ValueError where there is no such layer.
    """
    new = copy_of(net)
    before_relu = {layer.top[0]: layer.bottom[0] for layer in new.layer if layer.type == "ReLU"}
    dropouts = [layer for layer in new.layer if layer.type == "Dropout" and layer.bottom[0] in before_relu]
    if not dropouts:
        raise ValueError("the network has no dropout behind a ReLU")
    for layer in dropouts:
        layer.bottom[0] = before_relu[layer.bottom[0]]
    return new


def write_wirings(source: Path, folder: Path) -> None:
    """Write the three into the folder. Raises ValueError for a network that hasn't these layers; OSError."""
    net, _ = own_blobs(read_net(source))
    variants = {"own": net, "in_place": in_place(net), "as_printed": as_printed(net)}
    for name, variant in variants.items():
        why = f"{source.name}, ReLU and dropout wired {name.replace('_', ' ')} (tools.wirings)"
        write_prototxt(folder / f"{name}.prototxt", variant, why)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.wirings",
        description=__doc__,
        epilog="example: python -m tools.wirings prototxt/vgg16/deploy.prototxt work/wirings",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="IN", type=Path, help="deploy prototxt, of any of Caffe's formats")
    parser.add_argument("output", metavar="OUT", type=Path, help="folder to write to")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit status."""
    arguments = build_parser().parse_args(argv)
    return run_program("wirings", lambda: write_wirings(arguments.input, arguments.output))


if __name__ == "__main__":
    sys.exit(main())
