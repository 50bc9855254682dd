"""Check what a search is to be tried on before anything long is done with it: all that seconds can tell.

The layers asked for are the network's, the weights fit it, the ground truth is whole and speaks of pictures
that are there, the mean can be read. Everything that is wrong is said, not the first thing only. Writes how
much there is of each as JSON.
"""

import argparse
import json
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.files.ground_truth import GroundTruth, read_ground_truth, searched_pictures
from eval.forward.network import check_any_size, check_layers, cut_behind
from eval.forward.photographs import list_pictures
from tools.files.caffemodel import stored_shapes
from tools.files.mean_file import read_mean
from tools.files.prototxt import read_net
from tools.program import one_sentence, run_program, some, write_text

PROGRAM = "check_inputs"
LEARNING = {"Convolution": "convolution_param", "InnerProduct": "inner_product_param"}


@dataclass(frozen=True)
class Inputs:
    """What a search needs; None is not looked at."""

    deploy: Path
    layers: Sequence[str]
    images: Path
    gt: Path
    mean: str | None
    weights: Path | None
    maps: Sequence[str]
    """Layers among them whose whole maps are pooled, of pictures of any size."""


def problems(inputs: Inputs) -> tuple[list[str], dict[str, int]]:
    """What is wrong, a sentence each, and how much there is: pictures, queries, positives."""
    found: list[str] = []
    counts: dict[str, int] = {}

    def tried(check: Callable[[], Any]) -> Any:
        try:
            return check()
        except (ValueError, OSError) as error:
            found.append(one_sentence(error))
            return None

    net = tried(lambda: read_net(inputs.deploy))
    if net is not None:
        tried(lambda: check_layers(net, [*inputs.layers, *inputs.maps], inputs.deploy, False))
        if inputs.maps:
            tried(lambda: check_any_size(net, inputs.maps, inputs.deploy))
    if inputs.weights is not None and net is not None and not found:
        weights = inputs.weights
        found += tried(lambda: list(misfits(net, inputs.layers, weights))) or []
    if inputs.mean is not None:
        mean = inputs.mean
        tried(lambda: read_mean(mean))
    pictures = tried(lambda: list_pictures(inputs.images))
    truths = tried(lambda: read_ground_truth(inputs.gt))
    if pictures is not None:
        searched = tried(lambda: searched_pictures(inputs.gt, pictures)) if truths is not None else pictures
        counts["pictures"] = len(searched or pictures)
    if truths is not None:
        counts |= {"queries": len(truths), "positives": sum(len(truth.positives) for truth in truths)}
    if pictures is not None and truths is not None:
        found += unknown_pictures(truths, set(pictures), inputs)
    return found, counts


def misfits(net: Any, layers: Sequence[str], weights: Path) -> Iterator[str]:
    """Whether layers of the network, up to the last one wanted, lack weights or have some of another size.

    Raises ValueError where the file is no caffemodel, OSError where it can't be read.
    """
    stored = stored_shapes(weights)
    needed = type(net)()
    needed.CopyFrom(net)
    cut_behind(needed, layers)
    lacking, other = [], []
    for layer in needed.layer:
        if layer.type in LEARNING:
            outputs = getattr(layer, LEARNING[layer.type]).num_output
            if not stored.get(layer.name):
                lacking.append(layer.name)
            elif outputs not in stored[layer.name][0][-4:]:
                other.append(f"{layer.name} ({stored[layer.name][0][0]} outputs instead of {outputs})")
    if lacking or other:
        parts = [f"it lacks {some(lacking)}"] if lacking else []
        parts += [f"other sizes at {some(other)}"] if other else []
        yield f"{weights} is not this network's: {'; '.join(parts)}"


def unknown_pictures(truths: Sequence[GroundTruth], pictures: set[str], inputs: Inputs) -> Iterator[str]:
    """What the ground truth speaks of and the folder lacks."""
    cut = sorted({truth.query.image for truth in truths} - pictures)
    if cut:
        yield f"{inputs.gt}: queries are cut from pictures that {inputs.images} lacks: {some(cut)}"
    listed = set().union(*(truth.positives | truth.junk for truth in truths))
    if lacking := sorted(listed - pictures):
        yield f"{inputs.gt} names {len(lacking)} pictures that {inputs.images} lacks: {some(lacking)}"
    composed = {unicodedata.normalize("NFC", name) for name in pictures}
    if other := [name for name in sorted({*cut, *lacking}) if unicodedata.normalize("NFC", name) in composed]:
        yield (
            f"{inputs.images} has {some(other)} under the same letters in other characters (accents of their"
            " own, as macOS writes them): write one as the other"
        )


def check(inputs: Inputs, out: Path) -> int:
    """Say what is wrong on stderr (exit status 1), or what there is, and write that."""
    found, counts = problems(inputs)
    for sentence in found:
        print(f"{PROGRAM}: {sentence}", file=sys.stderr)
    if found:
        return 1
    write_text(out, json.dumps(counts, indent=1) + "\n")
    print(f"{counts['pictures']} pictures to search in, {counts['queries']} queries; network and mean fit")
    return 0


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m eval.check_inputs",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__,
        epilog="example:\n"
        "  python -m eval.check_inputs --deploy prototxt/vgg16/deploy.prototxt --layers fc6 \\\n"
        "    --images oxford/jpg --gt oxford/gt --weights vgg16.caffemodel --out inputs.json",
    )
    add = parser.add_argument
    add("--deploy", type=Path, required=True, metavar="FILE", help="prototxt, a blob for every layer")
    add("--layers", nargs="+", required=True, metavar="BLOB", help="blobs whose features are wanted")
    add("--maps", nargs="*", default=[], metavar="BLOB", help="blobs whose whole maps are pooled")
    add("--images", type=Path, required=True, metavar="DIR", help="pictures to search in")
    add("--gt", type=Path, required=True, metavar="DIR", help="ground truth in Oxford's layout")
    add("--mean", metavar="B,G,R|FILE", help="mean, or mean.binaryproto, if it is there already")
    add("--weights", type=Path, metavar="FILE", help="caffemodel, if it is there already")
    add("--out", type=Path, required=True, metavar="FILE", help="JSON file to write")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; its exit status."""
    options = parse_options(argv)
    inputs = Inputs(
        options.deploy,
        options.layers,
        options.images,
        options.gt,
        options.mean,
        options.weights,
        options.maps,
    )
    return run_program(PROGRAM, lambda: check(inputs, options.out))


if __name__ == "__main__":
    sys.exit(main())
