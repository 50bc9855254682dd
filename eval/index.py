"""Index a folder of photographs for eval.serve: only the photographs and a network's weights are needed.

Folders within the folder are gone through too. Run again it takes in what is new or changed and drops what is
gone; stopped, it goes on where it was. What can't be read is left out and named at the end.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from eval.forward.precision import add_precision_option, asked_precision, given_precision
from eval.forward.workers import default_jobs
from eval.search.index_file import read_contents
from eval.search.making import Making, Outcome, take_in
from eval.search.networks import RECIPES
from tools.program import StopError, gpu_list, positive_int, run_program, some

SHOWN = 12
"""Names of files that are left out for one reason, as the terminal lists them; the page lists all."""


@dataclass(frozen=True)
class Settings:
    """What is asked for."""

    folder: Path
    out: Path
    network: str
    weights: Path | None
    jobs: int | None
    gpus: Sequence[int]
    precision: str | None
    """fp32 or bf16; None: what the environment says"""


def index(settings: Settings) -> None:
    """Bring the index up to date and say what was done. Raises ValueError, OSError or StopError."""
    if not settings.folder.is_dir():
        raise ValueError(f"there is no folder {settings.folder}")
    precision = given_precision(asked_precision(settings.precision), settings.gpus, "index")
    print(f"index: looking through {settings.folder}", flush=True)
    weights = settings.weights or _weights_of(settings.out)
    recipe = RECIPES[settings.network]
    if recipe.warning:
        print(f"index: {recipe.warning}", file=sys.stderr)
    if not weights.is_file():
        if settings.weights is None:
            print(
                f"index: {weights}, which {settings.out} was made with, is gone: new photographs can't be "
                "taken in; name it with --weights",
                file=sys.stderr,
            )
            return
        raise ValueError(f"there are no weights {weights}")
    network = replace(recipe.network(weights), precision=precision)
    jobs = settings.jobs or default_jobs(weights, recipe.max_side**2)
    with StopError.on_signals():
        outcome = take_in(Making(settings.folder, settings.out, network, weights.stem, jobs, settings.gpus))
    report(outcome, settings.out)


def _weights_of(out: Path) -> Path:
    if not out.exists():
        raise ValueError("name the network's weights with --weights")
    return Path(read_contents(out).attributes["weights"])


def report(outcome: Outcome, out: Path) -> None:
    """Say what an index holds, and what is left out for which reason."""
    print(
        f"index: {out}: {outcome.photographs} photographs, {outcome.computed} of them new or changed, "
        f"{outcome.removed} removed"
    )
    reasons = sorted((one.reason, one.file) for one in outcome.left_out)
    if reasons:
        print(f"index: {len(reasons)} left out:")
    for reason, same in groupby(reasons, key=lambda one: one[0]):
        print(f"  {some((file for _, file in same), SHOWN)}: {reason}")


def parse_options(argv: Sequence[str] | None) -> Settings:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m eval.index",
        description=__doc__,
        epilog="example: python -m eval.index ~/photographs --weights VGG_ILSVRC_16_layers.caffemodel\n"
        "then:    python -m eval.serve --features ~/photographs.h5",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="photographs")
    add("--out", type=Path, metavar="FILE", help="the index (default: DIR.h5 beside DIR)")
    add("--network", choices=tuple(RECIPES), default="vgg16", help="default: %(default)s")
    add("--weights", type=Path, metavar="FILE", help="its caffemodel (default: what FILE was made with)")
    add("--jobs", type=positive_int, metavar="N", help="processes (default: one a core, as memory goes)")
    add("--gpu", type=gpu_list, default=(), metavar="0,1", help="GPUs, a process each (default: the CPU)")
    add_precision_option(parser)
    options = parser.parse_args(argv)
    folder = options.folder.absolute()
    return Settings(
        folder=folder,
        out=options.out or folder.with_name(f"{folder.name}.h5"),
        network=options.network,
        weights=options.weights,
        jobs=options.jobs,
        gpus=options.gpu,
        precision=options.precision,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; its exit status."""
    settings = parse_options(argv)
    return run_program(
        "index",
        lambda: index(settings),
        interrupted="interrupted; the same command goes on where it was",
    )


if __name__ == "__main__":
    sys.exit(main())
