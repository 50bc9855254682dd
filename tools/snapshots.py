"""What a Caffe solver takes and leaves: pictures a step, its final model, its newest whole snapshot."""

import argparse
import sys
from pathlib import Path

from google.protobuf.message import DecodeError

from tools.files.prototxt import Solver, caffe_messages, read_net, read_prototxt
from tools.program import one_sentence


def final_model(solver: Solver) -> Path:
    """The caffemodel that Caffe writes after the last iteration."""
    return Path(f"{solver.snapshot_prefix}_iter_{solver.max_iter}.caffemodel")


def pictures_a_step(solver: Solver, gpus: int) -> str:
    """The effective batch, as "64 x 2 GPUs = 128": each GPU takes the prototxt's batch, iter_size times.

    Raises ValueError for a network without one Data layer for training, or with a typing error.
    """
    test = caffe_messages().Phase.Value("TEST")
    batches = [
        layer.data_param.batch_size
        for layer in read_net(Path(solver.net)).layer
        if layer.type == "Data" and not any(rule.phase == test for rule in layer.include)
    ]
    if len(batches) != 1:
        raise ValueError(f"{solver.net} has {len(batches)} Data layers to train from, not one")
    words, product = [str(batches[0])], batches[0] * solver.iter_size * max(1, gpus)
    if solver.iter_size > 1:
        words.append(f"iter_size {solver.iter_size}")
    if gpus > 1:
        words.append(f"{gpus} GPUs")
    return " x ".join(words) + (f" = {product}" if len(words) > 1 else "")


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
        choices=["final", "newest", "batch"],
        help="final: the last model's path; newest: a .solverstate to go on from; batch: pictures a step",
    )
    parser.add_argument("solver", type=Path, help="solver.prototxt")
    parser.add_argument("--gpus", type=int, default=1, help="how many train together (default 1)")
    arguments = parser.parse_args()
    try:
        solver = caffe_messages().SolverParameter()
        read_prototxt(arguments.solver, solver)
        if arguments.what == "batch":
            print(pictures_a_step(solver, arguments.gpus))
            return
    except (ValueError, OSError) as error:
        sys.exit(f"snapshots: {one_sentence(error)}")
    print(final_model(solver) if arguments.what == "final" else newest_whole(solver) or "")


if __name__ == "__main__":
    main()
