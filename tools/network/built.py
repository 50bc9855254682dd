"""A network as Caffe builds it, tried in a process of its own: Caffe ends its process on what it refuses."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf import text_format

from tools.files.caffemodel import Shapes
from tools.files.image_lmdb import entries, is_encoded, open_lmdb, picture_of
from tools.files.prototxt import Layer, Net, file_of, last_words
from tools.network.structure import in_phase

TELL_SHAPES = """
import json, sys, caffe
for file, phase in zip(sys.argv[1::2], sys.argv[2::2]):
    params = caffe.Net(file, getattr(caffe, phase)).params
    shapes = {name: [list(blob.shape) for blob in blobs] for name, blobs in params.items()}
    print(json.dumps(shapes), flush=True)
"""


def without_data(net: Net, phase: str) -> Net:
    """The network of phase TRAIN or TEST with Input layers in place of its Data layers, of the same batch.

    Its pictures are of the size that the database and crop_size tell; the database may be missing where there
    is a crop. Filling VGG16 with noise takes seconds, and only training begins from it: in the test phase
    weights are 0. Raises ValueError or OSError.
    """
    fed = in_phase(net, phase)
    for layer in fed.layer:
        if phase == "TEST" and layer.HasField("convolution_param"):
            layer.convolution_param.ClearField("weight_filler")
        if phase == "TEST" and layer.HasField("inner_product_param"):
            layer.inner_product_param.ClearField("weight_filler")
        if layer.type == "Data":
            batch = max(1, layer.data_param.batch_size)
            shapes = [[batch, *_picture_shape(layer)], [batch]]
            layer.type = "Input"
            for shape in shapes[: len(layer.top)]:
                layer.input_param.shape.add(dim=shape)
    return fed


def _picture_shape(layer: Layer) -> list[int]:
    transform, source = layer.transform_param, file_of(layer.data_param.source)
    crop = transform.crop_size
    try:
        with open_lmdb(source) as environment:
            for _, value in entries(environment):
                height, width, channels = picture_of(value).pixels.shape
                channels = 1 if transform.force_gray and is_encoded(value) else channels
                return [channels, crop or height, crop or width]
        raise ValueError(f"{source} is empty, so the size of its pictures can't be told")
    except ValueError:
        if crop:
            return [3, crop, crop]
        raise


def wanted_shapes(net: Net) -> Shapes:
    """Shapes of what each layer of a network's test phase learns, from Caffe. Raises ValueError as below."""
    return built_shapes({"TEST": without_data(net, "TEST")})["TEST"]


def built_shapes(nets: dict[str, Net]) -> dict[str, Shapes]:
    """Shapes of what each layer learns in networks of phase TRAIN and TEST, by phase, from Caffe.

    Raises ValueError with Caffe's line for one that it can't build.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", TELL_SHAPES]
        for phase, net in nets.items():
            path = Path(folder) / f"{phase}.prototxt"
            path.write_text(text_format.MessageToString(net))
            command += [str(path), phase]
        done = subprocess.run(command, capture_output=True, check=False)
    built = done.stdout.decode().splitlines()
    if done.returncode != 0:
        phase = [*nets, "no"][len(built)]
        raise ValueError(f"Caffe can't build the network of phase {phase}: {_why(done)}")
    return {
        phase: {name: [tuple(shape) for shape in shapes] for name, shapes in json.loads(line).items()}
        for phase, line in zip(nets, built, strict=True)
    }


def _why(done: subprocess.CompletedProcess[bytes]) -> str:
    """What a Caffe that ended itself, or was ended, said; the last line where Python ended it."""
    said = done.stderr.decode(errors="replace")
    if done.returncode < 0:
        return last_words(said) or f"it crashed (signal {-done.returncode}; out of memory?)"
    return said.strip().rpartition("\n")[2]
