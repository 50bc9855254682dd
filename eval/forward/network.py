"""A network by pycaffe: what is asked of it, pictures in, rows of features out.

Importing this does not import pycaffe; only an Extractor and the functions that read Caffe's files do.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from google.protobuf import text_format

from eval.forward.photographs import Part, Picture, read_part
from eval.forward.precision import set_for_caffe
from eval.represent import mop
from eval.represent.pooling import POOLINGS, MapTooSmallError, rmac
from eval.represent.region_whitening import RegionWhitening
from tools.files.pointers import refuse_pointer
from tools.files.prototxt import Net, read_net
from tools.program import written_beside

# No weight has this value: where it is left after loading, the caffemodel had nothing.
UNSET = np.float32(-1.5e38)
INTERPOLATIONS = {"bilinear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}
MOST_PIXELS = 4_000_000
"""Of a picture as it goes in, at 2.5 kB a pixel in VGG16 up to pool5; 4000 x 3 would be enlarged beyond."""


@dataclass(frozen=True)
class Network:
    """What a process needs to know to compute features."""

    deploy: str
    weights: str
    layers: tuple[str, ...]
    input_size: tuple[int, int] | None
    """Height and width that every picture is brought to; None: each keeps its aspect, see max_side."""
    mean: tuple[float, float, float]
    """Blue, green, red."""
    batch: int
    max_side: int = 0
    """The longer side of a whole picture is brought down to this; a query is scaled as its picture is."""
    min_side: int = 1
    """The shorter side of what is fed in is brought up to this."""
    poolings: tuple[str, ...] = ()
    """Names in POOLINGS; without any, maps are kept flat, in C order."""
    region_whitening: str | None = None
    """File of a RegionWhitening: adds LAYER_rmac_whitened for the layer that it was learnt from."""
    maps: str | None = None
    """Folder for the maps themselves, MAPS/GROUP/LAYER/NAME.npy."""
    window_step: int = 0
    """Above 0: also the features of MOP-CNN's windows at this step, as one row: LAYER_windowsSIDE."""
    mop: str | None = None
    """File of a MOP-CNN model: adds mop."""
    interpolation: str = "bilinear"
    """A key of INTERPOLATIONS: bilinear is the article's; area averages what a pixel of the result covers, as
    a phone's picture of 12 million pixels needs."""
    precision: str = "fp32"
    """What a CPU computes in, fp32 or bf16; a GPU's is FP32."""


def scaled_size(part: Part, max_side: int, min_side: int) -> tuple[int, int]:
    """Height and width that Network.max_side and min_side give a picture's part, its aspect kept.

    Raises ValueError for a part so narrow that it would not fit into memory.
    """
    height, width = part.pixels.shape[:2]
    scale = min(1.0, max_side / max(part.whole))
    scale = max(scale, min_side / min(height, width)) if min(height, width) * scale < min_side else scale
    if height * scale * width * scale > max(MOST_PIXELS, max_side**2):
        raise ValueError(f"{width} x {height} pixels are too narrow a picture")
    return max(1, round(height * scale)), max(1, round(width * scale))


def to_input(
    pixels: np.ndarray,
    size: tuple[int, int],
    mean: tuple[float, float, float],
    interpolation: str = "bilinear",
) -> np.ndarray:
    """Resize and subtract the mean: (H, W, 3) uint8 -> (3, h, w) float32."""
    height, width = size
    resized = cv2.resize(pixels, (width, height), interpolation=INTERPOLATIONS[interpolation])
    return np.asarray(resized.astype(np.float32) - np.array(mean, np.float32)).transpose(2, 0, 1)


class Prepared(NamedTuple):
    """A picture as it goes in, (3, h, w) float32, and its pixels where windows are to be cut from them."""

    input: np.ndarray
    part: Part | None


def prepare(picture: Picture, network: Network) -> Prepared:
    """Read, decode, cut and resize a picture. Raises what read_part and scaled_size raise."""
    part = read_part(picture)
    size = network.input_size or scaled_size(part, network.max_side, network.min_side)
    ready = to_input(part.pixels, size, network.mean, network.interpolation)
    return Prepared(ready, part if network.window_step or network.mop else None)


class Extractor:
    """A network with its weights, cut off behind the last layer asked for.

    Caffe ends the process on most errors, so this lives in a worker.
    """

    def __init__(self, network: Network, gpu: int | None) -> None:
        """Raises ValueError where the caffemodel is none, or lacks a layer that the wanted ones need, and
        where this machine can't compute in the network's precision."""
        refuse_pointer(Path(network.weights))
        net = read_net(Path(network.deploy))  # says what to do where pycaffe isn't in reach
        if why_not := set_for_caffe(network.precision):
            raise ValueError(f"features in {network.precision} can't be computed here: {why_not}")
        import caffe

        if gpu is None:
            caffe.set_mode_cpu()
        else:
            caffe.set_device(gpu)
            caffe.set_mode_gpu()
        self._network = network
        self._whitening = None
        if network.region_whitening:
            self._whitening = RegionWhitening.load(Path(network.region_whitening))
        self._mop = mop.load(Path(network.mop)) if network.mop else None
        cut_behind(net, network.layers)
        work_in_place(net, network.layers)
        with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
            file.write(text_format.MessageToString(net))
            file.flush()
            self._net = caffe.Net(file.name, caffe.TEST)
        self._input = self._net.inputs[0]
        if network.input_size:
            self._reshape(network.batch, network.input_size)
        self._load_weights()

    def _reshape(self, count: int, size: tuple[int, int]) -> None:
        if tuple(self._net.blobs[self._input].shape) != (count, 3, *size):
            self._net.blobs[self._input].reshape(count, 3, *size)
            self._net.reshape()

    def _load_weights(self) -> None:
        for blobs in self._net.params.values():
            for blob in blobs:
                blob.data.flat[0] = UNSET  # a caffemodel has all of a blob or nothing
        self._net.copy_from(self._network.weights)
        lacking = [
            name
            for name, blobs in self._net.params.items()
            if any(blob.data.flat[0] == UNSET for blob in blobs)
        ]
        if lacking:
            raise ValueError(f"{self._network.weights} has no weights for {', '.join(lacking)}")

    def rows(
        self, pictures: Sequence[Picture], group: str, ready: Sequence[Prepared] | None = None
    ) -> dict[str, np.ndarray]:
        """Features of up to a batch of pictures: (len(pictures), D) float32 by their names in the file.

        `ready` is what `prepare` makes of them, where somebody has done so. Raises ValueError where a feature
        is not finite, a blob has not one row a picture, or a map is too small for a pooling; what prepare
        raises; OSError where a map can't be written.
        """
        if ready is None:
            ready = [prepare(picture, self._network) for picture in pictures]
        rows: dict[str, list[np.ndarray]] = {}
        whole = []
        for picture, blobs in zip(pictures, self._blobs_of(ready), strict=True):
            whole.append({layer: blob.flatten() for layer, blob in blobs.items() if blob.ndim == 1})
            for name, vector in self._vectors(blobs, picture, group):
                rows.setdefault(name, []).append(vector)
        for one, activations in zip(ready, whole, strict=True):
            if one.part is not None:
                for name, vector in self._window_vectors(one.part, activations):
                    rows.setdefault(name, []).append(vector)
        return {name: np.stack(vectors).astype(np.float32, copy=False) for name, vectors in rows.items()}

    def _blobs_of(self, ready: Sequence[Prepared]) -> Iterator[dict[str, np.ndarray]]:
        """The wanted blobs of each picture; those of one size that follow each other go in together."""
        for _, same in groupby(ready, key=lambda one: one.input.shape):
            yield from self._forward([one.input for one in same])

    def _forward(self, inputs: Sequence[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """The wanted blobs of inputs (3, h, w) of one size, to be used before the next is asked for."""
        # Filled up where the size is fixed, as OpenBLAS may round a row otherwise in a batch of another size.
        most = self._network.batch
        for start in range(0, len(inputs), most):
            chunk = inputs[start : start + most]
            count = most if self._network.input_size else len(chunk)
            self._reshape(count, chunk[0].shape[1:])
            data = self._net.blobs[self._input].data
            data[: len(chunk)] = chunk
            data[len(chunk) :] = 0
            self._net.forward()
            blobs = {layer: self._checked(layer, count) for layer in self._network.layers}
            for i in range(len(chunk)):
                yield {layer: blob[i] for layer, blob in blobs.items()}

    def _checked(self, layer: str, count: int) -> np.ndarray:
        blob: np.ndarray = self._net.blobs[layer].data
        if blob.ndim < 2 or blob.shape[0] != count:
            raise ValueError(f"blob {layer} has shape {blob.shape}, which is not one row a picture")
        if not np.isfinite(blob).all():
            raise ValueError(
                f"layer {layer} has values that are not finite: the weights or the mean are wrong"
            )
        return blob

    def _vectors(
        self, blobs: dict[str, np.ndarray], picture: Picture, group: str
    ) -> Iterator[tuple[str, np.ndarray]]:
        """What is kept of one picture's blobs, by name."""
        for layer, blob in blobs.items():
            if blob.ndim != 3 or not self._network.poolings:
                yield layer, blob.flatten()
                continue
            try:
                for name in self._network.poolings:
                    yield f"{layer}_{name}", POOLINGS[name](blob)
                if self._whitening and self._whitening.provenance["layer"] == layer:
                    yield f"{layer}_rmac_whitened", rmac(blob, whiten=self._whitening.transform)
            except ValueError as error:
                small = isinstance(error, MapTooSmallError) and not self._network.input_size
                hint = "; --min-side enlarges small pictures" if small else ""
                raise ValueError(f"{picture.path}, layer {layer}: {error}{hint}") from error
            if self._network.maps:
                save_map(Path(self._network.maps, group, layer, f"{picture.name}.npy"), blob)

    def _window_vectors(self, part: Part, whole: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        network = self._network
        assert network.input_size is not None  # eval.extract refuses windows without it
        learnt_step = self._mop.provenance.get("step", mop.STEP) if self._mop else mop.STEP
        step, size = network.window_step or learnt_step, network.input_size
        cut = [(side, window) for side in mop.WINDOW_SIDES for window in mop.windows(part.pixels, side, step)]
        inputs = [to_input(window, size, network.mean) for _, window in cut]
        kept: dict[tuple[str, int], list[np.ndarray]] = {}
        for (side, _), blobs in zip(cut, self._forward(inputs), strict=True):
            for layer, blob in blobs.items():
                kept.setdefault((layer, side), []).append(blob.flatten())
        activations = {key: np.stack(vectors) for key, vectors in kept.items()}
        if network.window_step:
            for (layer, side), vectors in activations.items():
                yield f"{layer}_windows{side}", vectors.ravel()
        if self._mop:
            layer = self._mop.provenance["layer"]
            of_layer = {side: activations[layer, side] for side in mop.WINDOW_SIDES}
            yield "mop", mop.encode(whole[layer], of_layer, self._mop)


def save_map(path: Path, feature_map: np.ndarray) -> None:
    """Write a map (C, H, W) as .npy, whole or not at all. Raises OSError with the file's name."""
    with written_beside(path) as part, part.open("wb") as file:
        np.save(file, feature_map)


def input_size(net: Net, path: Path) -> tuple[int, int]:
    """Height and width of a network's input. Raises ValueError unless it has one input of three channels."""
    shapes = [list(shape.dim) for layer in net.layer for shape in layer.input_param.shape]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] != 3:
        raise ValueError(f"{path} must have one input of 1 x 3 x height x width; it has {shapes or 'none'}")
    return shapes[0][2], shapes[0][3]


def check_layers(net: Net, wanted: Sequence[str], path: Path, overwritten: bool) -> None:
    """Raise ValueError, listing what there is, for a blob that the network lacks or loses.

    A blob that an in-place layer overwrites is refused too: fc7 of VGG16's own file would be the value after
    relu7, under the name of the one before. `overwritten` asks for just that.
    """
    overwriting: dict[str, list[str]] = {}
    for layer in net.layer:
        for top in layer.top:
            if top in layer.bottom:
                overwriting.setdefault(top, []).append(layer.name)
    blobs = [top for layer in net.layer for top in layer.top]
    there = ", ".join(blob for blob in dict.fromkeys(blobs) if blob not in overwriting)
    remedy = (
        f"`python -m tools.rename_blobs {path} NEW.prototxt` gives every layer a blob; now there are: {there}"
    )
    for name in wanted:
        if name in overwriting and not overwritten:
            by = " and ".join(overwriting[name])
            raise ValueError(f"{name} is overwritten in place by {by}: {remedy}")
        for blob, layers in overwriting.items():
            if name in layers:
                raise ValueError(f"{name} works in place on {blob} and has no blob of its own: {remedy}")
        if name not in blobs:
            raise ValueError(f"{path} has no blob {name}; there are: {there}")


def cut_behind(net: Net, wanted: Sequence[str]) -> None:
    """Leave out the layers behind the last that writes a wanted blob: neither their weights nor their
    demands on the input's size matter then."""
    last = max(i for i, layer in enumerate(net.layer) if set(wanted) & set(layer.top))
    del net.layer[last + 1 :]


def work_in_place(net: Net, wanted: Sequence[str]) -> None:
    """Let ReLU and dropout write over a blob that nobody wants or reads but they: the same values in half the
    memory, and Caffe may compute a convolution and its ReLU in one go. What tools.rename_blobs took apart."""
    inputs = {top for layer in net.layer if layer.type == "Input" for top in layer.top}
    for layer in net.layer:
        if layer.type not in ("ReLU", "Dropout") or layer.bottom[0] == layer.top[0]:
            continue
        below, above = layer.bottom[0], layer.top[0]
        readers = [other for other in net.layer if below in other.bottom and below not in other.top]
        if below in wanted or below in inputs or readers != [layer]:
            continue
        for other in net.layer:
            for blobs in (other.bottom, other.top):
                blobs[:] = [above if blob == below else blob for blob in blobs]


def check_any_size(net: Net, wanted: Sequence[str], path: Path) -> None:
    """Raise ValueError, listing the blobs that can be had, where one needs the network's own input size."""
    free: list[str] = []
    for layer in net.layer:
        if layer.type == "InnerProduct":
            break
        free += layer.top
    bound = [name for name in wanted if name not in free]
    if bound:
        raise ValueError(
            f"{bound[0]} takes pictures of the network's own size only: at another, {path} has "
            f"{', '.join(dict.fromkeys(free))}"
        )
