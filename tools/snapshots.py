"""What a Caffe solver leaves behind: its final model, and the newest snapshot that is whole."""

import argparse
import sys
from pathlib import Path

from caffe.proto import caffe_pb2
from google.protobuf import text_format
from google.protobuf.message import DecodeError


def read_solver(path: Path) -> caffe_pb2.SolverParameter:
    """Parse a solver prototxt. Raises OSError where it can't be read, ValueError where it has a typing error."""
    try:
        return text_format.Parse(path.read_text(), caffe_pb2.SolverParameter())
    except text_format.ParseError as error:
        raise ValueError(f"{path}: {error}") from error


def final_model(solver: caffe_pb2.SolverParameter) -> Path:
    """The caffemodel that Caffe writes after the last iteration."""
    return Path(f"{solver.snapshot_prefix}_iter_{solver.max_iter}.caffemodel")


def is_whole(state: Path) -> bool:
    """Whether a .solverstate and the caffemodel it names parse to their ends: a killed Caffe leaves them cut short."""
    try:
        solver_state = caffe_pb2.SolverState.FromString(state.read_bytes())
        net = caffe_pb2.NetParameter.FromString(Path(solver_state.learned_net).read_bytes())
    except (OSError, DecodeError):
        return False
    return len(net.layer) > 0 and len(solver_state.history) > 0


def newest_whole(solver: caffe_pb2.SolverParameter) -> Path | None:
    """The .solverstate of the highest iteration that is whole; None without one."""
    prefix = Path(solver.snapshot_prefix)
    states = prefix.parent.glob(f"{prefix.name}_iter_*.solverstate")
    by_iteration = sorted(states, key=lambda path: int(path.stem.rpartition("_")[2]), reverse=True)
    return next((state for state in by_iteration if is_whole(state)), None)


def main() -> None:
    parser = argparse.ArgumentParser(prog="snapshots", description=__doc__)
    parser.add_argument(
        "what",
        choices=["final", "newest"],
        help="final: the last model's path; newest: a .solverstate to go on from",
    )
    parser.add_argument("solver", type=Path, help="solver.prototxt")
    arguments = parser.parse_args()
    try:
        solver = read_solver(arguments.solver)
    except (ValueError, OSError) as error:
        sys.exit(f"snapshots: {error}")
    print(final_model(solver) if arguments.what == "final" else newest_whole(solver) or "")


if __name__ == "__main__":
    main()
