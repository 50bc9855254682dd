"""Check a solver and its network before `caffe train` starts: Caffe ends by a failed check, or by a crash.

What can be seen beforehand: which files the solver and the network name, batches, the pictures' size against
the mean's and the crop's, the labels against the number of classes; and whether Caffe can build the network.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.files.prototxt import file_of, read_net, read_solver
from tools.network.checks import (
    check_accuracy,
    check_built,
    check_data,
    check_solver,
    data_layers,
    outputs_of_classifier,
)
from tools.program import run_program


def check_training(path: Path) -> str:
    """Raise ValueError or OSError for what Caffe would stop at; a sentence on what was found."""
    solver = read_solver(path)
    check_solver(path, solver)
    net_path = file_of(solver.net)
    net = read_net(net_path)
    said = []
    try:
        for phase in ("TRAIN", "TEST"):
            for layer in data_layers(net, phase):
                said.append(check_data(layer, outputs_of_classifier(net)))
        if not data_layers(net, "TRAIN"):
            raise ValueError("it has no Data layer to train from")
        check_accuracy(net)
        check_built(net, ("TRAIN", "TEST") if solver.test_iter else ("TRAIN",))
    except ValueError as error:
        raise ValueError(f"{net_path}: {error}") from error
    return f"{path}: {'; '.join(said)}"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.check_training",
        description=__doc__,
        epilog="example: python -m tools.check_training work/demo/prototxt/train/solver.prototxt",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("solver", metavar="SOLVER", type=Path, help="solver.prototxt")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    args = build_parser().parse_args(argv)
    return run_program("check_training", lambda: print(check_training(args.solver)))


if __name__ == "__main__":
    sys.exit(main())
