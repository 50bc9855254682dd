"""An index on disk: a features file (eval/files/features.py has the format) that also knows its photographs.

/database/names are paths below the folder, extension and all. Beside what a features file has:
/album                   attribute `folder`, where the photographs were
/album/left_out  (M, 3)  text: file, stamp or "" (not to be remembered), reason
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from eval.files.features import STAMPS, layers_of, names_of, open_features
from eval.forward.workers import Rows
from tools.program import written_beside

BLOCK = 1024
"""Rows that are in memory at a time."""


@dataclass(frozen=True)
class Contents:
    """What an index holds beside the features themselves."""

    attributes: dict[str, str]
    """Of the root: model, weights, deploy, their hashes, preprocessing, run."""
    folder: Path
    stamps: dict[str, int]
    """By name, names in ascending order."""
    left_out: list[tuple[str, str, str]]
    """File, stamp, reason."""


def read_contents(path: Path) -> Contents:
    """Read an index. Raises ValueError for any other file."""
    with open_features(path) as file:
        if not isinstance(file.get("album"), h5py.Group):
            raise ValueError(f"{path} is no index of photographs: name another file")
        names, album = names_of(file, "database"), file["album"]
        try:
            return Contents(
                {name: str(value) for name, value in file.attrs.items()},
                Path(str(album.attrs["folder"])),
                dict(zip(names, file[STAMPS]["database"][:].tolist(), strict=True)),
                [(one, stamp, reason) for one, stamp, reason in album["left_out"].asstr()[:].tolist()],
            )
        except (KeyError, TypeError, ValueError, AttributeError, OSError, RuntimeError) as error:
            raise ValueError(f"{path} is no index of photographs, or a damaged one: make it anew") from error


def write_index(path: Path, contents: Contents, rows_of: Callable[[Sequence[str]], Rows]) -> None:
    """Write an index, whole or not at all; rows_of gives the rows of some names. Raises OSError."""
    names = list(contents.stamps)
    blocks = _blocks(names, rows_of)
    first = next(blocks)
    with written_beside(path) as part:
        needed = len(names) * (4 * sum(rows.shape[1] for rows in first.values()) + 600) + (1 << 20)
        with part.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, needed)  # HDF5 has no sentence for a full disk
        with h5py.File(part, "w") as file:
            for name, value in contents.attributes.items():
                file.attrs[name] = value
            file["database/names"] = np.array(names, dtype=h5py.string_dtype())
            album = file.create_group("album")
            album.attrs["folder"] = str(contents.folder)
            file[f"{STAMPS}/database"] = np.array(list(contents.stamps.values()), np.uint64)
            left_out = np.array(contents.left_out, dtype=object).reshape(-1, 3)
            album.create_dataset("left_out", data=left_out, dtype=h5py.string_dtype())
            for layer, rows in first.items():
                file.create_dataset(f"database/{layer}", (len(names), rows.shape[1]), "<f4")
            start = 0
            for block in (first, *blocks):
                for layer, rows in block.items():
                    file[f"database/{layer}"][start : start + len(rows)] = rows
                start += len(rows)


def _blocks(names: Sequence[str], rows_of: Callable[[Sequence[str]], Rows]) -> Iterator[Rows]:
    for start in range(0, len(names), BLOCK):
        yield rows_of(names[start : start + BLOCK])


class OldRows:
    """Rows of an index that is being replaced, its layers side by side in the order of their names."""

    def __init__(self, file: h5py.File) -> None:
        self._group = file["database"]
        self._layers = layers_of(file, "database")
        self._place = {name: place for place, name in enumerate(names_of(file, "database"))}

    def read(self, names: Sequence[str]) -> NDArray[np.float32]:
        """The rows (n, all dimensions) of some of its names, which are in ascending order."""
        places = np.array([self._place[name] for name in names])
        start, stop = int(places[0]), int(places[-1]) + 1
        parts = [self._group[layer][start:stop][places - start] for layer in self._layers]
        return np.concatenate(parts, axis=1)
