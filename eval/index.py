"""Index any folder of photographs for eval.serve: no ground truth, no classes, folders within folders.

The photographs' features are made as those of another features file were, by the same network, layers and
preprocessing, which that file remembers. Stopped and run again it goes on; new photographs: run it again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from eval import extract
from eval.forward.network import Network, input_size
from eval.search.index import Index
from tools.files.prototxt import read_net
from tools.program import one_sentence

LIKE = Path("work/demo/features/finetuned.h5")


def extract_arguments(network: Network, model: str, folder: Path, out: Path) -> list[str]:
    """The command line of eval.extract that treats a folder as a features file's pictures were treated."""
    mean = ",".join(repr(value) for value in network.mean)
    words = ["--deploy", network.deploy, "--weights", network.weights, "--model", model, "--mean", mean]
    words += ["--images", str(folder), "--batch", str(network.batch), "--out", str(out)]
    words += ["--layers", *network.layers]
    if network.poolings:
        words += ["--pool", ",".join(network.poolings)]
    if network.input_size is None:
        words += ["--max-side", str(network.max_side), "--min-side", str(network.min_side)]
    elif network.input_size != input_size(read_net(Path(network.deploy)), Path(network.deploy)):
        words += ["--side", str(network.input_size[0])]
    return words


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m eval.index",
        description=__doc__,
        epilog="example: python -m eval.index ~/photographs\n"
        "then:    python -m eval.serve --features ~/photographs.h5 --images ~/photographs",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="photographs")
    add("--out", type=Path, metavar="FILE", help="the index (default: DIR.h5 beside DIR)")
    add("--like", type=Path, default=LIKE, metavar="FILE", help="features file (default: %(default)s)")
    add("--deploy", type=Path, metavar="FILE", help="its prototxt, where a run doesn't have it")
    add("--weights", type=Path, metavar="FILE", help="its caffemodel, likewise")
    add("--jobs", metavar="N", help="processes (default: one a core, as memory goes)")
    add("--gpu", metavar="0,1", help="GPUs, a process each (default: the CPU)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; its exit status."""
    options = parse_options(arguments)
    folder = options.folder.resolve()
    out = options.out or folder.with_name(f"{folder.name}.h5")
    try:
        index = Index(options.like, options.deploy, options.weights)
        if index.network is None:
            raise ValueError(
                f"the network of {options.like} is not found: name it with --deploy and --weights"
            )
        words = extract_arguments(index.network, index.model, folder, out)
    except (ValueError, OSError) as error:
        print(f"index: {one_sentence(error)}", file=sys.stderr)
        return 1
    for option in ("jobs", "gpu"):
        if value := getattr(options, option):
            words += [f"--{option}", value]
    status = extract.main(words)
    if status == 0:
        print(f"search it: python -m eval.serve --features {out} --images {folder}")
    return status


if __name__ == "__main__":
    sys.exit(main())
