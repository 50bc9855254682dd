"""A training's snapshots: which one to go on from, which to keep, and what a solver makes of a step.

`caffe train` writes PREFIX_iter_N.caffemodel and .solverstate (or both with .h5 behind). A Caffe that was
killed, or a disk that was full, leaves them cut short, also just behind a layer, where protobuf sees nothing.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tools.check_training import check_training
from tools.check_weights import check_weights, fits
from tools.files.caffemodel import Shapes, stored_shapes
from tools.files.image_lmdb import entry_count
from tools.files.prototxt import Net, Solver, file_of, read_net, read_solver
from tools.files.solverstate import SolverState, point_at, read_state
from tools.network.built import wanted_shapes
from tools.network.checks import check_solver, data_layers
from tools.program import positive_int, run_program, to_disk

STATE = re.compile(r"_iter_(\d+)\.solverstate(\.h5)?")


@dataclass(frozen=True)
class Snapshot:
    """A solverstate and the caffemodel beside it, by their names."""

    iteration: int
    state: Path
    model: Path


def snapshots(solver: Solver) -> list[Snapshot]:
    """What lies under the solver's prefix, the newest first."""
    prefix = file_of(solver.snapshot_prefix)
    found = []
    for path in prefix.parent.glob("*_iter_*.solverstate*"):
        name = STATE.fullmatch(path.name.removeprefix(prefix.name))
        if path.name.startswith(prefix.name) and name:
            model = path.with_name(f"{prefix.name}_iter_{name[1]}.caffemodel{name[2] or ''}")
            found.append(Snapshot(int(name[1]), path, model))
    return sorted(found, key=lambda snapshot: snapshot.iteration, reverse=True)


def final_model(solver: Solver) -> Path:
    """The caffemodel that Caffe writes after the last iteration."""
    ending = ".h5" if solver.snapshot_format == solver.HDF5 else ""
    return Path(f"{solver.snapshot_prefix}_iter_{solver.max_iter}.caffemodel{ending}")


def read_whole(snapshot: Snapshot, solver: Solver, net: Net, wanted: Shapes | None = None) -> SolverState:
    """A snapshot's state. Raises ValueError that says why it isn't whole or of this training, or OSError.

    With `wanted`, the shapes of what the network learns, those in the snapshot are compared with them.
    """
    if snapshot.iteration > solver.max_iter:
        raise ValueError(f"training ends before it, at iteration {solver.max_iter}")
    state = read_state(snapshot.state)
    if state.iteration != snapshot.iteration:
        raise ValueError(f"its state is of iteration {state.iteration}")
    stored = stored_shapes(snapshot.model)
    # Caffe writes every layer, in the network's order: of a file that was cut behind one the last are missing
    lacking = [layer.name for layer in net.layer if not layer.include and layer.name not in stored]
    if lacking:
        raise ValueError(f"its model lacks layer {lacking[0]}")
    learned = [shape for shapes in stored.values() for shape in shapes]
    for name, shapes in (wanted or {}).items():
        have = stored.get(name, [])
        if len(have) != len(shapes) or not all(map(fits, have, shapes)):
            raise ValueError(f"layer {name} has another shape in it than in the network")
    shared = any(param.name for layer in net.layer for param in layer.param)
    if not state.history or (not shared and len(state.history) != histories(solver) * len(learned)):
        raise ValueError(f"its state has {len(state.history)} blobs for {len(learned)} of the model")
    return state


def histories(solver: Solver) -> int:
    """How many blobs a solver remembers for each that is learned."""
    kind = solver.SolverType.Name(solver.solver_type) if solver.HasField("solver_type") else solver.type
    return 2 if kind.lower() in ("adam", "adadelta") else 1


def newest_whole(solver: Solver) -> Snapshot | None:
    """The newest snapshot that is whole and of the solver's network; None without one.

    Says of newer ones on stderr why they are passed over. A state whose model has moved with its folder is
    written anew with the model's path of today: states hold it absolute. Raises ValueError, or OSError.
    """
    there = snapshots(solver)
    if not there:
        return None
    net = read_net(file_of(solver.net))
    wanted = wanted_shapes(net)
    for snapshot in there:
        try:
            state = read_whole(snapshot, solver, net, wanted)
        except (ValueError, OSError) as error:
            print(f"snapshots: passing over {snapshot.state}: {error}", file=sys.stderr)
            continue
        if not (state.model.is_file() and state.model.samefile(snapshot.model)):
            point_at(snapshot.state, snapshot.model.absolute())
        return snapshot
    return None


def prune(solver: Solver, keep: int) -> list[Snapshot]:
    """Remove what is older than the newest `keep` whole snapshots; what was removed.

    Those that stay are on the disk before, as Caffe doesn't wait for it and a power cut could leave none.
    """
    net = read_net(file_of(solver.net))
    there = snapshots(solver)
    whole: list[Snapshot] = []
    while there and len(whole) < keep:
        snapshot = there.pop(0)
        with suppress(ValueError, OSError):
            read_whole(snapshot, solver, net)
            whole.append(snapshot)
    if there:
        for snapshot in whole:
            to_disk(snapshot.model)
            to_disk(snapshot.state)
        to_disk(file_of(solver.snapshot_prefix).parent)
    for snapshot in there:
        snapshot.model.unlink(missing_ok=True)  # first, as a state alone is seen again next time
        snapshot.state.unlink()
    return there


def batch_of(solver: Solver) -> int:
    """Pictures of a forward pass in training. Raises ValueError without one Data layer for it."""
    layers = data_layers(read_net(file_of(solver.net)), "TRAIN")
    if len(layers) != 1:
        raise ValueError(f"{solver.net} has {len(layers)} Data layers to train from, not one")
    return int(layers[0].data_param.batch_size)


def pictures_a_step(solver: Solver, gpus: int) -> str:
    """The effective batch, as "64 x 2 GPUs = 128": each GPU takes the prototxt's batch, iter_size times."""
    batch = batch_of(solver)
    words = [str(batch)]
    if solver.iter_size > 1:
        words.append(f"iter_size {solver.iter_size}")
    if gpus > 1:
        words.append(f"{gpus} GPUs")
    product = batch * solver.iter_size * max(1, gpus)
    return " x ".join(words) + (f" = {product}" if len(words) > 1 else "")


def pictures_seen(solver: Solver, iteration: int, gpus: int) -> int:
    """How many pictures of the training database's current pass have been trained on before an iteration."""
    (layer,) = data_layers(read_net(file_of(solver.net)), "TRAIN")
    seen = iteration * batch_of(solver) * solver.iter_size * max(1, gpus)
    return int(seen % entry_count(file_of(layer.data_param.source)))


def plan(path: Path, gpus: int, weights: Path | None) -> Iterator[str]:
    """What tools/finetune.sh needs to know of a solver, line by line.

    The final model's path; the state to go on from, or nothing; how many pictures of the database's current
    pass it has seen; pictures a step; what the checks have found. Raises ValueError for what Caffe would stop
    at, and for weights that don't fit where training begins from them; OSError.
    """
    solver = read_solver(path)
    check_solver(path, solver)
    yield str(final_model(solver))
    newest = newest_whole(solver)
    remarks = []
    if newest is None or newest.iteration < solver.max_iter:
        remarks.append(check_training(path))
    if newest is None and weights:
        remarks.append(check_weights(file_of(solver.net), weights))
    yield str(newest.state) if newest else ""
    yield str(pictures_seen(solver, newest.iteration, gpus) if newest else 0)
    yield pictures_a_step(solver, gpus)
    yield from remarks


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.snapshots",
        description=__doc__,
        epilog="example: python -m tools.snapshots plan work/demo/prototxt/train/solver.prototxt",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="what")
    planning = commands.add_parser(
        "plan",
        help="check a training before it starts, and say how it goes on",
        description="Checks what Caffe would stop at. Prints the final model's path; the newest whole state, "
        "or nothing; how many pictures of the database's current pass it has seen; pictures a step.",
        epilog="example: python -m tools.snapshots plan solver.prototxt --gpus 2",
    )
    planning.add_argument(
        "--gpus", type=positive_int, default=1, metavar="N", help="how many train together (default 1)"
    )
    planning.add_argument("--weights", type=Path, metavar="CAFFEMODEL", help="to begin from; checked too")
    pruning = commands.add_parser(
        "prune",
        help="remove old snapshots",
        description="Removes snapshots that are older than the newest whole ones.",
        epilog="example: python -m tools.snapshots prune solver.prototxt --keep 3",
    )
    pruning.add_argument("--keep", type=positive_int, default=3, metavar="N", help="so many stay (default 3)")
    for command in (planning, pruning):
        command.add_argument("solver", type=Path, metavar="SOLVER", help="solver.prototxt")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    args = build_parser().parse_args(argv)

    def run() -> None:
        if args.what == "plan":
            print(*plan(args.solver, args.gpus, args.weights), sep="\n")
        else:
            for snapshot in prune(read_solver(args.solver), args.keep):
                print(f"removed {snapshot.state} and its caffemodel")

    return run_program("snapshots", run)


if __name__ == "__main__":
    sys.exit(main())
