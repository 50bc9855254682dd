"""Features files: HDF5, made by eval.extract.

Attributes of the root, text all of them:
    model              the model's name
    deploy, weights    absolute paths of the prototxt and the caffemodel, where they were then
    prototxt_sha256, weights_sha256    what they held
    preprocessing      JSON: what became of a picture before the network
    run                JSON: layers, batch, poolings and what else the features follow from; precision, where
                       it is not FP32
    learnt             JSON: of which pictures a layer's codebooks or whitening were learnt
`/database` and `/queries` each hold `names` (N,), UTF-8, and a matrix (N, D) float32 a layer, row i of name
i. `/stamps/database` and `/stamps/queries` (N,) uint64 say of which state of its picture a row was made, 0
where it wasn't: such a file is incomplete. Files of others need no more than the groups.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from eval.files.ground_truth import BLANKS
from tools.files.hdf5 import nodes, refuse_damaged
from tools.files.pointers import refuse_pointer

STAMPS = "stamps"
NAMES_AT_ONCE = 1 << 16


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
    refuse_pointer(path)
    refuse_damaged(path)
    with h5py.File(path, "r") as features:
        stamps = features.get(STAMPS)
        marked = isinstance(stamps, h5py.Group) and all(
            isinstance(done, h5py.Dataset) and done.dtype == np.uint64 and np.all(done[:])
            for done in stamps.values()
        )
        if not features.attrs.get("complete", True) or (stamps is not None and not marked):
            raise ValueError(f"{path} is incomplete: run eval.extract again, it goes on where it stopped")
        yield features


def text_attribute(features: h5py.File, name: str) -> str:
    """An attribute of the root. Raises ValueError where it isn't there or is no text."""
    value = features.attrs.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{features.filename} has no attribute {name}, as eval.extract writes it")
    return value


def json_attribute(features: h5py.File, name: str) -> dict[str, Any]:
    """What an attribute of the root says in JSON. Raises ValueError where it isn't there or none."""
    try:
        value = json.loads(text_attribute(features, name))
    except (json.JSONDecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{features.filename} has an attribute {name} that is no JSON of eval.extract's")
    return value


def noted(precision: str) -> dict[str, str]:
    """What `run` says of the precision: of FP32, as all files were before there was another, nothing."""
    return {} if precision == "fp32" else {"precision": precision}


def precision_of(attributes: Mapping[str, Any]) -> str:
    """The precision that a file with these attributes was computed in."""
    try:
        run = json.loads(attributes["run"])
    except (KeyError, TypeError, ValueError, RecursionError):
        run = None
    return str(run.get("precision", "fp32")) if isinstance(run, dict) else "fp32"


def names_of(features: h5py.File, group: str) -> list[str]:
    """Names of a group, in the file's order.

    Raises ValueError where there are none, one is there twice, or one can't stand in a ranked list.
    """
    names = [name for some in names_in_parts(features, group) for name in some]
    if len(set(names)) < len(names):
        twice = next(one for one, other in pairwise(sorted(names)) if one == other)
        raise ValueError(f"{features.filename} has {twice} twice in {group}")
    return names


def names_in_parts(features: h5py.File, group: str) -> Iterator[list[str]]:
    """Names of a group, some at a time. Raises ValueError as names_of does, but not for a name twice."""
    held = features.get(group)
    data = held.get("names") if isinstance(held, h5py.Group) else None
    if not isinstance(data, h5py.Dataset) or h5py.check_string_dtype(data.dtype) is None or data.ndim != 1:
        raise ValueError(f"{features.filename} has no {group}/names, as a features file has")
    if not len(data):
        raise ValueError(f"{features.filename} has no names in {group}")
    for at in range(0, len(data), NAMES_AT_ONCE):
        try:
            names = list(data.asstr()[at : at + NAMES_AT_ONCE])
        except UnicodeDecodeError:
            raise ValueError(f"{features.filename} has names in {group} that are not UTF-8") from None
        for name in names:
            if not name or name != name.strip(BLANKS) or set("\r\n\ufeff") & set(name):
                raise ValueError(f"{features.filename}: {name!r} can't stand in a list of one name a line")
        yield names


def layers_of(features: h5py.File, group: str) -> list[str]:
    """Layers of a group, sorted; none where there is no such group."""
    held = features.get(group)
    if not isinstance(held, h5py.Group):
        return []
    found = [str(dataset.name).removeprefix(f"/{group}/") for dataset in nodes(held, h5py.Dataset)]
    return sorted(name for name in found if name != "names")


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
    with np.errstate(over="ignore"):  # infinity, which is refused below
        values = check_vectors(features, group, layer, len(names)).astype(np.float32)[:]
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        where = f"{features.filename}: {group}/{layer}"
        raise ValueError(f"{where} holds a value that is not finite, for {names[int(np.argmin(finite))]}")
    order = sorted(range(len(names)), key=names.__getitem__)
    return Vectors([names[i] for i in order], values[order])
