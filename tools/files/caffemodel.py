"""Caffe's models: the weights of every layer, as binary protobuf or HDF5."""

import os
from pathlib import Path
from typing import Any

import h5py

from tools.files.hdf5 import refuse_damaged
from tools.files.prototxt import caffe_messages, read_message

Shape = tuple[int, ...]
Shapes = dict[str, list[Shape]]
"""Of each learned blob of a layer, by the layer's name."""


class FourAxes(tuple[int, ...]):
    """A shape as files of before 2014 have it: four axes, filled up with ones in front."""

    __slots__ = ()


def stored_shapes(path: Path) -> Shapes:
    """Shapes of a caffemodel's blobs, by layers in the net's order; those without weights have none.

    Raises ValueError where the file isn't a caffemodel or not a whole one, OSError where it can't be read.
    """
    with path.open("rb") as file:
        is_hdf5 = file.read(8) == b"\x89HDF\r\n\x1a\n"
    shapes = _hdf5_shapes(path) if is_hdf5 else _binary_shapes(path)
    if not any(shapes.values()):
        raise ValueError(f"{path} has no weights")
    return shapes


def _binary_shapes(path: Path) -> Shapes:
    model = caffe_messages().NetParameter()
    read_message(path, model, "a caffemodel")
    shapes: Shapes = {}
    for layer in (*model.layer, *model.layers):
        name = os.fsdecode(layer.name)  # protobuf gives bytes where they are no UTF-8
        if layer.blobs and shapes.get(name):
            raise ValueError(f"{path} has the weights of layer {name} twice: two caffemodels in one?")
        if not layer.blobs and name in shapes:
            continue
        shapes[name] = [_shape(blob) for blob in layer.blobs]
        for blob, shape in zip(layer.blobs, shapes[name], strict=True):
            if max(len(blob.data), len(blob.double_data)) != _count(shape):
                raise ValueError(f"{path} is damaged: layer {name} has not as many weights as its shape")
    return shapes


def _shape(blob: Any) -> Shape:
    if any(blob.HasField(axis) for axis in ("num", "channels", "height", "width")):
        return FourAxes((blob.num, blob.channels, blob.height, blob.width))
    return tuple(blob.shape.dim)


def _count(shape: Shape) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


def _hdf5_shapes(path: Path) -> Shapes:
    refuse_damaged(path)
    try:
        with h5py.File(path, "r") as file:
            return {
                name: [tuple(blobs[i].shape) for i in sorted(blobs, key=int)]
                for name, blobs in file["data"].items()
            }
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a caffemodel in HDF5, or not a whole one") from error
