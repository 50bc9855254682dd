"""Give every in-place layer of a deploy prototxt its own blob: the values before and after it can be read.

In the usual files relu7 and drop7 overwrite blob fc7. Here relu7 and drop7 write fc7_relu7 and fc7_drop7, so
that pycaffe can read any layer's value. The network computes the same; layer names stay, so its caffemodel
fits. A file of the old format (`layers`) is first upgraded by Caffe's upgrade_net_proto_text. The last blob
has a new name where the last layer worked in place.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.files.prototxt import is_old_format, read_net, write_prototxt
from tools.network.own_blobs import own_blobs
from tools.program import run_program


def rename_blobs(source: Path, target: Path) -> None:
    """Write the network of `source`, with a blob for every layer, to `target`, and say what was renamed.

    Raises ValueError for what is no network, or none that Caffe takes; OSError.
    """
    old = is_old_format(source)
    net, renames = own_blobs(read_net(source))
    write_prototxt(target, net, f"{source.name} with a blob for every layer (python -m tools.rename_blobs)")
    if old:
        print(f"{source}: of Caffe's old format, upgraded by upgrade_net_proto_text")
    for rename in renames:
        print(f"{rename.layer}: {rename.old} -> {rename.new}")
    print(f"{target}: {len(renames)} layers worked in place and have blobs of their own now")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.rename_blobs",
        description=__doc__,
        epilog="example: python -m tools.rename_blobs VGG_ILSVRC_16_layers_deploy.prototxt deploy.prototxt",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("input", metavar="IN", type=Path, help="deploy prototxt, of any of Caffe's formats")
    parser.add_argument("output", metavar="OUT", type=Path, help="where to write the new one")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit status."""
    arguments = build_parser().parse_args(argv)
    return run_program("rename_blobs", lambda: rename_blobs(arguments.input, arguments.output))


if __name__ == "__main__":
    sys.exit(main())
