"""Reading features files: HDF5, made by eval.extract.

Attributes of the root: model, weights_sha256, prototxt_sha256, preprocessing (JSON text), learnt (JSON text:
which pictures a layer's codebooks or whitening were learnt from), complete (bool).
`/database` and `/queries` each hold `names` (N,) and a matrix (N, D) float32 a layer, row i of name i.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from eval.files.ground_truth import BLANKS


@dataclass(frozen=True)
class Vectors:
    """One layer's features: names in ascending order and values (N, D) float32, row i belonging to name i."""

    names: list[str]
    values: NDArray[np.float32]


@contextmanager
def open_features(path: Path) -> Iterator[h5py.File]:
    """Open a features file. Raises ValueError where it isn't one or its extraction didn't finish."""
    if not path.is_file():
        raise ValueError(f"there is no features file {path}")
    try:
        opened = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} can't be read as HDF5: {error}") from None
    with opened as features:
        if not features.attrs.get("complete", True):
            raise ValueError(f"{path} is incomplete: run eval.extract again, it goes on where it stopped")
        yield features


def names_of(features: h5py.File, group: str) -> list[str]:
    """Names of a group, in the file's order.

    Raises ValueError where there are none, one is there twice, or one can't stand in a ranked list.
    """
    if not isinstance(features.get(f"{group}/names"), h5py.Dataset):
        raise ValueError(f"{features.filename} has no {group}/names, as a features file has")
    names = list(features[group]["names"].asstr()[:])
    if not names:
        raise ValueError(f"{features.filename} has no names in {group}")
    for name in names:
        if not name or name != name.strip(BLANKS) or "\n" in name:
            raise ValueError(f"{features.filename}: {name!r} can't stand in a list of one name a line")
    if len(set(names)) < len(names):
        twice = next(one for one, other in pairwise(sorted(names)) if one == other)
        raise ValueError(f"{features.filename} has {twice} twice in {group}")
    return names


def layers_of(features: h5py.File, group: str) -> list[str]:
    """Layers of a group, sorted."""
    found: list[str] = []

    def collect(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset) and name != "names":
            found.append(name)

    features[group].visititems(collect)
    return sorted(found)


def check_layer(features: h5py.File, group: str, layer: str) -> None:
    """Raise ValueError, listing the layers there are, where a group lacks one."""
    there = layers_of(features, group)
    if layer not in there:
        listed = ", ".join(there) or "none"
        raise ValueError(f"{features.filename} has no layer {layer} in {group}; there are: {listed}")


def check_vectors(features: h5py.File, group: str, layer: str, rows: int) -> h5py.Dataset:
    """A layer's matrix (rows, D). Raises ValueError where it isn't there or is something else."""
    check_layer(features, group, layer)
    data = features[group][layer]
    where = f"{features.filename}: {group}/{layer}"
    if data.dtype.kind not in "fiu":
        raise ValueError(f"{where} holds no numbers")
    if data.ndim != 2 or len(data) != rows or data.shape[1] == 0:
        raise ValueError(f"{where} has shape {data.shape}, where {rows} names need ({rows}, D)")
    return data


def read_vectors(features: h5py.File, group: str, layer: str) -> Vectors:
    """Read a layer, ordered by name: rankings then don't depend on the order in the file.

    Raises ValueError where the layer isn't there, its shape is wrong, or a value isn't a finite number.
    """
    names = names_of(features, group)
    values = check_vectors(features, group, layer, len(names)).astype(np.float32)[:]
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        where = f"{features.filename}: {group}/{layer}"
        raise ValueError(f"{where} holds a value that is not finite, for {names[int(np.argmin(finite))]}")
    order = sorted(range(len(names)), key=names.__getitem__)
    return Vectors([names[i] for i in order], values[order])
