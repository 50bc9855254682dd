"""HDF5 files that may be damaged: HDF5 crashes or never comes back on some, so another process tries first.

What a file holds is for its own reader to say: eval's features files, Caffe's models and solver states.
"""

import os
import select
import signal
from functools import cache
from pathlib import Path
from typing import TypeVar

import h5py
from h5py._hl.base import phil

Node = TypeVar("Node", h5py.Group, h5py.Dataset)

PROBE_SECONDS = 60
"""A features file of a million pictures is looked through in a few."""
WHOLE = b"\0"


def refuse_damaged(path: Path) -> None:
    """Raise ValueError for a file that is no HDF5, or whose structure can't be read; OSError for none."""
    stat = path.stat()
    if said := _probe(path, (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)):
        raise ValueError(f"{path} can't be read as HDF5: {said}")


def nodes(group: h5py.Group, kind: type[Node]) -> list[Node]:
    """All groups, or all datasets, below a group."""
    found: list[Node] = []
    group.visititems(lambda _, node: found.append(node) if isinstance(node, kind) else None)
    return found


@cache
def _probe(path: Path, _: tuple[int, ...]) -> str:
    """What is wrong with a file's structure, or nothing; looked at once for each state of the file."""
    reader, writer = os.pipe()
    with phil:  # h5py's lock: nobody else holds it in the child
        child = os.fork()
    if child == 0:
        _look_through(path, writer)
    os.close(writer)
    said = b""
    try:
        while select.select([reader], [], [], PROBE_SECONDS)[0]:
            piece = os.read(reader, 1 << 16)
            if not piece:
                break
            said += piece
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return "" if said == WHOLE else " ".join(said.decode(errors="replace").split()) or "it is damaged"


def _look_through(path: Path, writer: int) -> None:
    """In the child: read all but the values, and those too where HDF5 must unpack them; then end."""
    said = WHOLE
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        size = path.stat().st_size
        with h5py.File(path, "r") as file:
            for group in (file, *nodes(file, h5py.Group)):
                list(group.attrs.items())
            for dataset in nodes(file, h5py.Dataset):
                list(dataset.attrs.items())
                if dataset.external or dataset.is_virtual:
                    raise ValueError(f"{dataset.name} is kept in other files")
                held = dataset.nbytes if dataset.chunks is None else dataset.size
                if (held or 0) > size and not (dataset.chunks and dataset.dtype.kind in "fiu"):
                    raise ValueError(f"{dataset.name} claims to hold more than the file does")
                if dataset.dtype.kind == "O" or dataset.name.endswith("/names"):
                    dataset[()]
                elif dataset.chunks is not None:
                    for chunk in dataset.iter_chunks():
                        dataset[chunk]
    except BaseException as error:  # h5py has every type of error for a damaged file
        said = str(error).encode(errors="replace") or type(error).__name__.encode()
    os.write(writer, said)
    os._exit(0)
