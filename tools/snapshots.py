"""What a Caffe solver leaves behind: its final model, and the newest snapshot that is whole."""

import argparse
import sys
from pathlib import Path

from google.protobuf.message import DecodeError

from tools.prototxt import Solver, caffe_messages, read_prototxt, sentence


def final_model(solver: Solver) -> Path:
    """The caffemodel that Caffe writes after the last iteration."""
    return Path(f"{solver.snapshot_prefix}_iter_{solver.max_iter}.caffemodel")


def is_whole(state: Path) -> bool:
    """Whether a .solverstate and its caffemodel parse to their ends: a killed Caffe leaves them cut short."""
    messages = caffe_messages()
    try:
        solver_state = messages.SolverState.FromString(state.read_bytes())
        net = messages.NetParameter.FromString(Path(solver_state.learned_net).read_bytes())
    except (OSError, DecodeError):
        return False
    return len(net.layer) > 0 and len(solver_state.history) > 0


def newest_whole(solver: Solver) -> Path | None:
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
        solver = caffe_messages().SolverParameter()
        read_prototxt(arguments.solver, solver)
    except (ValueError, OSError) as error:
        sys.exit(f"snapshots: {sentence(error)}")
    print(final_model(solver) if arguments.what == "final" else newest_whole(solver) or "")


if __name__ == "__main__":
    main()
