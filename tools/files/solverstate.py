"""Caffe's solver states: where a training stands and its momentum, as binary protobuf or HDF5."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tools.files.hdf5 import refuse_damaged
from tools.files.pointers import refuse_pointer
from tools.files.prototxt import caffe_messages, read_message
from tools.program import written_beside


@dataclass(frozen=True)
class SolverState:
    """What a state says: the solver's iteration, the model it belongs to, the shapes of its history."""

    iteration: int
    model: Path
    """As the solver wrote it: an absolute path where the solver had one, though its folder may have moved."""
    history: tuple[tuple[int, ...], ...]
    """One blob (Adam: two) for each learned blob of the network, in the network's order."""


def read_state(path: Path) -> SolverState:
    """Read a .solverstate or .solverstate.h5. Raises ValueError where it isn't a whole one, or OSError."""
    if path.suffix == ".h5":  # by its name, as Caffe itself tells them apart
        return _from_hdf5(path)
    state = caffe_messages().SolverState()
    read_message(path, state, "a solverstate")
    if not all(state.HasField(name) for name in ("iter", "learned_net", "current_step")):
        raise ValueError(f"{path} is not a solverstate, or not a whole one")
    model = Path(os.fsdecode(state.learned_net))  # protobuf gives bytes where they are no UTF-8
    history = tuple(tuple(blob.shape.dim) for blob in state.history)
    return SolverState(state.iter, model, history)


def _from_hdf5(path: Path) -> SolverState:
    refuse_pointer(path)  # and HDF5 would not say why a file can't be opened
    refuse_damaged(path)
    try:
        with h5py.File(path, "r") as file:
            history = file["history"]
            shapes = tuple(tuple(history[i].shape) for i in sorted(history, key=int))
            model = file["learned_net"].asstr()[()]
            return SolverState(int(np.ravel(file["iter"][()])[0]), Path(model), shapes)
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} is not a solverstate in HDF5, or not a whole one") from error


def point_at(path: Path, model: Path) -> None:
    """Write another model's path into a state, so that Caffe finds it there. Raises what read_state does."""
    with written_beside(path) as part:
        if path.suffix == ".h5":
            shutil.copyfile(path, part)
            with h5py.File(part, "r+") as file:
                del file["learned_net"]
                name = str(model).encode()
                file["learned_net"] = np.array(name, f"S{len(name) + 1}")  # Caffe needs the NUL behind it
            return
        state = caffe_messages().SolverState()
        read_message(path, state, "a solverstate")
        state.learned_net = str(model)
        part.write_bytes(state.SerializeToString())
