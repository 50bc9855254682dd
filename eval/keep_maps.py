"""Keep the maps of a few queries' pictures, whole, for the report's section on what the network sees.

The layer is the last convolution's after ReLU, before the last pooling: CroW and R-MAC take their vectors
from there or one pooling later. A convolution layer takes pictures of any size, so they go in with their
aspect kept. Writes OUT/MODEL/LAYER/QUERY.npy, a map (C, H, W) float32, and OUT/look.json, which names them.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.files.ground_truth import Query, read_queries
from eval.files.scores import read_scores, shown_rows
from eval.forward.network import Network, check_any_size
from eval.forward.photographs import Picture, list_pictures, query_pictures
from eval.forward.workers import Batch, compute, workers
from eval.results.shown_queries import chosen
from tools.files.mean_file import read_mean
from tools.files.prototxt import read_net
from tools.program import positive_int, run_program, some, write_text

PROGRAM = "eval.keep_maps"
MAX_SIDE = 640


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; its exit status."""
    options = parse_options(argv)

    def keep() -> None:
        net = read_net(options.deploy)
        layer = options.layer or last_map(net, options.deploy)
        check_any_size(net, [layer], options.deploy)
        queries = asked(options.queries or [*worth_a_look(options.ranks), smallest(options.gt)], options.gt)
        whole = query_pictures(queries, list_pictures(options.images), options.images, whole=True)
        for model, weights in options.weights:
            network = Network(
                str(options.deploy),
                str(weights),
                (layer,),
                None,
                read_mean(options.mean),
                batch=1,
                max_side=options.max_side,
                poolings=("max",),
                maps=str(options.out / f"{model}.part"),
            )
            keep_maps(network, list(whole.values()), options.out / model / layer)
        models = [model for model, _ in options.weights]
        write_index(options.out / "look.json", layer, queries, models)
        print(f"{options.out}: {layer} of {len(queries)} queries, {len(models)} models")

    return run_program(PROGRAM, keep)


def last_map(net: Any, path: Path) -> str:
    """The last blob after ReLU before the fully connected layers. Raises ValueError where there is none."""
    blob = ""
    for layer in net.layer:
        if layer.type == "InnerProduct":
            break
        if layer.type == "ReLU":
            blob = layer.top[0]
    if not blob:
        raise ValueError(
            f"{path} has no ReLU before its first fully connected layer: name a blob with --layer"
        )
    return blob


def worth_a_look(ranks: Sequence[Path]) -> list[str]:
    """Queries that the report shows: best, worst and most changed, by the models' scores.json."""
    rows = shown_rows({str(folder): read_scores(folder / "scores.json") for folder in ranks})
    if not rows:
        raise ValueError(f"no layer is scored at one dimension in all of {', '.join(map(str, ranks))}")
    return [choice.query for choice in chosen({folder: row.ap for folder, row in rows.items()})]


def smallest(gt: Path) -> str:
    """The query with the smallest box."""

    def area(query: Query) -> float:
        x1, y1, x2, y2 = query.box
        return (x2 - x1) * (y2 - y1)

    return min(read_queries(gt), key=area).name


def keep_maps(network: Network, pictures: Sequence[Picture], out: Path) -> None:
    """Compute each picture's map and put it at OUT/NAME.npy. Raises ValueError or OSError."""
    part = Path(network.maps or "")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with workers(network, 1, None) as pool:
            for start, picture in enumerate(pictures):
                pool.submit(compute, Batch("queries", start, [picture])).result()
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(out, ignore_errors=True)
        (part / "queries" / network.layers[0]).replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def asked(wanted: Sequence[str], gt: Path) -> list[Query]:
    """The wanted queries, in that order, each once. Raises ValueError where the ground truth lacks one."""
    there = {query.name: query for query in read_queries(gt)}
    if lacking := [name for name in wanted if name not in there]:
        raise ValueError(f"{gt} has no query {some(lacking)}")
    return [there[name] for name in dict.fromkeys(wanted)]


def write_index(path: Path, layer: str, queries: Sequence[Query], models: Sequence[str]) -> None:
    """Write what was kept, for the report."""
    found = {"layer": layer, "models": models, "queries": {query.name: query.image for query in queries}}
    write_text(path, json.dumps(found, indent=1) + "\n")


def named_file(text: str) -> tuple[str, Path]:
    """An argparse type: NAME=FILE."""
    name, _, file = text.partition("=")
    if not name or not file or "/" in name:
        raise argparse.ArgumentTypeError(f"must be NAME=FILE, not {text}")
    return name, Path(file)


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {PROGRAM}",
        description=__doc__,
        epilog="example: python -m eval.keep_maps --deploy work/demo/prototxt/deploy.prototxt"
        " --weights pretrained=a.caffemodel finetuned=b.caffemodel --mean 104,117,123"
        " --images work/demo/data/retrieval/jpg --gt work/demo/data/retrieval/gt"
        " --ranks work/demo/ranks/pretrained work/demo/ranks/finetuned --out work/demo/looks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--deploy", type=Path, required=True, metavar="FILE", help="prototxt, a blob for every layer")
    add("--weights", type=named_file, nargs="+", required=True, metavar="MODEL=FILE", help="caffemodels")
    add("--mean", required=True, metavar="B,G,R|FILE", help="mean, or mean.binaryproto")
    add("--images", type=Path, required=True, metavar="DIR", help="the searched pictures")
    add("--gt", type=Path, required=True, metavar="DIR", help="ground truth with NAME_query.txt")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--queries", nargs="+", metavar="NAME", help="queries to look at")
    which.add_argument(
        "--ranks",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="folders of eval.score: best, worst, most changed",
    )
    add("--layer", metavar="BLOB", help="whose maps (default: the last ReLU before fc6)")
    add(
        "--max-side",
        type=positive_int,
        default=MAX_SIDE,
        metavar="N",
        help="longer side, pixels (default: %(default)s)",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="where the maps go")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
