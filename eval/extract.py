"""Extract features with pycaffe: several layers in one forward pass, database and queries in one file.

A picture goes in as the article's code puts it: resized to the network's input without keeping its aspect
(OpenCV, bilinear), BGR, minus one mean a channel, no crop. A query is the ground truth's box, cut from its
picture (coordinates rounded), then treated the same.

On a CPU several processes with one BLAS thread each are faster than one with several; with GPUs there is one
process a GPU. The features are the same bytes however many there are: batches are cut from the sorted names,
and the last one is filled up, since OpenBLAS may round a row otherwise in a batch of another size.
"""

import argparse
import fcntl
import hashlib
import json
import math
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import connection
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import cv2
import h5py
import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tqdm import tqdm

from eval.ground_truth import Query, read_queries

PICTURE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".tif", ".tiff", ".webp"))
# With 8 rows each came out the same at every place in the batch, with OpenBLAS' kernels for SSE3, AVX2 and
# AVX-512; with 5, 7 or 16 rows not always. More gain little, as Caffe convolves picture by picture.
BATCH = 8
MEMORY_PER_WEIGHTS_BYTE = 3
LINE_EVERY_SECONDS = 15.0
# No weight has this value: where it is left after loading, the caffemodel had nothing.
UNSET = np.float32(-1.5e38)


class Picture(NamedTuple):
    """One row to be: a file, and the part of it (x1, y1, x2, y2) in pixels, or all of it."""

    path: str
    box: tuple[float, float, float, float] | None = None

    def stamp(self) -> int:
        """A number other than 0 that changes with the file's size and time of change, or with the box."""
        stat = Path(self.path).stat()
        seen = f"{stat.st_size} {stat.st_mtime_ns} {self.box}".encode()
        return int.from_bytes(hashlib.sha256(seen).digest()[:8]) | 1


@dataclass(frozen=True)
class Network:
    """What a process needs to know to compute features."""

    deploy: str
    weights: str
    layers: tuple[str, ...]
    input_size: tuple[int, int]
    """Height and width."""
    mean: tuple[float, float, float]
    """Blue, green, red."""
    batch: int


class Batch(NamedTuple):
    """Rows start to start + len(pictures) of a group of the features file."""

    group: str
    start: int
    pictures: list[Picture]


def read_part(picture: Picture) -> np.ndarray:
    """Decode a picture and cut its box, (H, W, 3) uint8 BGR; coordinates are rounded, halves up.

    Raises OSError where the file can't be read, ValueError where it is no picture or the box lies outside.
    """
    encoded = np.frombuffer(Path(picture.path).read_bytes(), np.uint8)
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    if image is None:
        raise ValueError(f"{picture.path} is not a picture that OpenCV can read")
    if picture.box is None:
        return image
    x1, y1, x2, y2 = (max(0, math.floor(value + 0.5)) for value in picture.box)
    part = image[y1:y2, x1:x2]
    if not part.size:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise ValueError(f"{picture.path}: the query's box {picture.box} leaves nothing of its {size} pixels")
    return part


def to_input(image: np.ndarray, network: Network) -> np.ndarray:
    """Resize and subtract the mean: (H, W, 3) uint8 -> (3, h, w) float32."""
    height, width = network.input_size
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return (resized.astype(np.float32) - np.float32(network.mean)).transpose(2, 0, 1)


def to_vector(blob: np.ndarray) -> np.ndarray:
    """What is kept of one picture's blob: all of it, in C order, float32. A pooling would stand here."""
    return blob.ravel()


class Extractor:
    """A network with its weights. Caffe ends the process on most errors, so this lives in a worker."""

    def __init__(self, network: Network, gpu: int | None) -> None:
        """Raises ValueError where the caffemodel lacks a layer that the wanted ones need."""
        import caffe

        if gpu is None:
            caffe.set_mode_cpu()
        else:
            caffe.set_device(gpu)
            caffe.set_mode_gpu()
        self._network = network
        self._net = caffe.Net(network.deploy, caffe.TEST)
        self._input = self._net.inputs[0]
        self._net.blobs[self._input].reshape(network.batch, 3, *network.input_size)
        self._net.reshape()
        names = list(self._net._layer_names)
        wanted = set(network.layers)
        makers = [i for i, name in enumerate(names) if wanted & set(self._net.top_names[name])]
        self._last = names[makers[-1]]
        self._load_weights(set(names[: makers[-1] + 1]))

    def _load_weights(self, needed: set[str]) -> None:
        for blobs in self._net.params.values():
            for blob in blobs:
                blob.data[...] = UNSET
        self._net.copy_from(self._network.weights)
        lacking = [
            name
            for name, blobs in self._net.params.items()
            if name in needed and any(UNSET in blob.data.flat[:1] for blob in blobs)
        ]
        if lacking:
            raise ValueError(f"{self._network.weights} has no weights for {', '.join(lacking)}")

    def rows(self, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Features of up to a batch of inputs (3, h, w): (len(inputs), D) float32 for each layer.

        Raises ValueError where a feature is not finite, or a blob has not one row a picture.
        """
        data = self._net.blobs[self._input].data
        data[: len(inputs)] = inputs
        data[len(inputs) :] = 0
        self._net.forward(end=self._last)
        return {layer: self._layer_rows(layer, len(inputs)) for layer in self._network.layers}

    def _layer_rows(self, layer: str, count: int) -> np.ndarray:
        blob = self._net.blobs[layer].data
        if blob.ndim < 2 or blob.shape[0] != self._network.batch:
            raise ValueError(f"blob {layer} has shape {blob.shape}, which is not one row a picture")
        rows = np.stack([to_vector(blob[i]) for i in range(count)])
        if not np.isfinite(rows).all():
            raise ValueError(
                f"layer {layer} has values that are not finite: the weights or the mean are wrong"
            )
        return rows


@dataclass
class _Worker:
    network: Network
    gpu: int | None
    extractor: Extractor | None = None


_worker: _Worker | None = None


def _start_worker(network: Network, log: str, gpus: Any) -> None:
    """Set a worker process up. The network is loaded with the first batch, as errors come back from there."""
    global _worker
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 2)  # Caffe says why it ends the process on stderr
    os.close(descriptor)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    _worker = _Worker(network, gpus.get() if gpus is not None else None)


def compute(pictures: list[Picture]) -> dict[str, np.ndarray]:
    """Features of up to a batch of pictures, in a process that _start_worker has set up."""
    assert _worker is not None
    try:
        if _worker.extractor is None:
            _worker.extractor = Extractor(_worker.network, _worker.gpu)
        inputs = [to_input(read_part(picture), _worker.network) for picture in pictures]
        return _worker.extractor.rows(inputs)
    except (RuntimeError, MemoryError) as error:  # what pycaffe raises where it doesn't end the process
        raise ValueError(f"Caffe stopped: {error or 'out of memory'}") from None


@contextmanager
def workers(network: Network, jobs: int, gpus: list[int] | None) -> Iterator[Executor]:
    """A pool of processes that `compute` runs in: `jobs` on the CPU, or one for each of `gpus`.

    Raises OSError with Caffe's own line where it ended a process.
    """
    # in the environment, as OpenBLAS reads it while a worker imports pycaffe; log: errors only
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "GLOG_minloglevel": "2"}
    context = multiprocessing.get_context("spawn")
    devices = None
    if gpus:
        devices = context.SimpleQueue()
        for gpu in gpus:
            devices.put(gpu)
    with tempfile.NamedTemporaryFile("r", prefix="caffe-", errors="replace") as log:
        pool = ProcessPoolExecutor(
            len(gpus) if gpus else jobs, context, _start_worker, (network, log.name, devices)
        )
        try:
            yield pool
            pool.shutdown()
        except BrokenProcessPool as error:
            StopError.check()  # a signal to all processes at once has ended the workers first
            raise OSError(_last_words(log.read())) from error
        finally:
            for process in multiprocessing.active_children():
                process.terminate()
            pool.shutdown(cancel_futures=True)


class StopError(Exception):
    """SIGINT or SIGTERM has come. Raised by check(), where work can stop, not by the signal's handler:

    an exception that comes while Python clears up an object is lost, and the signal with it.
    """

    number: int | None = None

    @classmethod
    def check(cls) -> None:
        """Raise StopError if a signal has come."""
        if cls.number is not None:
            raise cls

    @classmethod
    @contextmanager
    def on_signals(cls) -> Iterator[None]:
        """Take SIGINT and SIGTERM; a second one ends the process at once."""

        def take(number: int, _: object) -> None:
            cls.number = number
            signal.signal(number, signal.SIG_DFL)

        cls.number = None
        before = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _last_words(log: str) -> str:
    """Why a process died, from its stderr: glog's line of a failed check starts with F."""
    failed = re.search(r"^F\d+ \S+ +\d+ (\S+)\] (.*)$", log, re.MULTILINE)
    if failed:
        return f"Caffe stopped: {failed[2].strip()} ({failed[1]})"
    lines = log.strip().splitlines()
    said = f" after saying: {lines[-1]}" if lines else ""
    return f"a worker process died{said} (out of memory? try fewer --jobs)"


@contextmanager
def _sigint_held_back() -> Iterator[None]:
    """Workers started here inherit the blocked signal: Ctrl-C is for the parent, which stops them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def computed(
    pool: Executor, batches: Iterable[Batch], ahead: int
) -> Iterator[tuple[Batch, dict[str, np.ndarray]]]:
    """Yield each batch with its features as they come, at most `ahead` under way. Raises compute's errors."""
    batches = iter(batches)
    under_way: dict[Future, Batch] = {}
    while True:
        StopError.check()
        for batch in islice(batches, ahead - len(under_way)):
            with _sigint_held_back():
                under_way[pool.submit(compute, batch.pictures)] = batch
        if not under_way:
            return
        for future in wait(under_way, timeout=0.2, return_when=FIRST_COMPLETED).done:
            yield under_way.pop(future), future.result()


class FeaturesFile:
    """The file while it grows, NAME.part beside its place: features, rows done, and what they were made from.

    HDF5 lays the file out at its final size. Rows then go to their places past HDF5, which would hold them
    back in buffers, lose them when it is killed, and crash on a full disk instead of saying so.
    """

    def __init__(self, path: Path, provenance: dict[str, str], groups: dict[str, dict[str, Picture]]) -> None:
        """`provenance` becomes the root's attributes; `groups` are the rows with their names."""
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._provenance = provenance
        self._groups = groups
        self._stamps = {
            group: np.array([picture.stamp() for picture in rows.values()], "<u8")
            for group, rows in groups.items()
        }
        self._offsets: dict[str, int] = {}
        self._descriptor = -1

    def is_complete(self) -> bool:
        """Whether the finished file is there, from the very same inputs."""
        with suppress(OSError, KeyError), h5py.File(self._path, "r") as file:
            same_pictures = file.attrs["pictures"] == self._pictures()
            return bool(file.attrs["complete"] and same_pictures and self._is_this_run(file))
        return False

    def _pictures(self) -> np.bytes_:
        stamps = [self._stamps[group].tobytes() for group in self._groups]
        return np.bytes_(hashlib.sha256(b"".join(stamps)).hexdigest())

    def _is_this_run(self, file: h5py.File) -> bool:
        return all(file.attrs[key] == value for key, value in self._provenance.items()) and all(
            list(file[group]["names"].asstr()[:]) == list(rows) for group, rows in self._groups.items()
        )

    def go_on(self) -> dict[str, np.ndarray]:
        """Open the unfinished file if it is of this run; which rows of each group are done, (N,) bool.

        A row whose picture has changed since is not done. Raises OSError where another process has it open.
        """
        try:
            with suppress(KeyError), h5py.File(self._part, "r") as file:
                if self._is_this_run(file):
                    done = {group: file["done"][group][:] == self._stamps[group] for group in self._groups}
                    self._remember_places(file)
        except BlockingIOError as error:
            raise OSError(error.errno, "Another run is writing it", str(self._part)) from error
        except OSError:  # not there, or killed before it was laid out
            pass
        if self._offsets:
            self._open()
            return done
        return {group: np.zeros(len(stamps), bool) for group, stamps in self._stamps.items()}

    def write(self, batch: Batch, features: dict[str, np.ndarray]) -> None:
        """Write a batch's rows, then that they are done. Raises OSError; a full disk shows at the first."""
        with self._sentences():
            if self._descriptor < 0:
                self._create({layer: rows.shape[1] for layer, rows in features.items()})
            for layer, rows in features.items():
                self._put(f"{batch.group}/{layer}", batch.start, rows.astype("<f4"))
            stamps = self._stamps[batch.group][batch.start : batch.start + len(batch.pictures)]
            self._put(f"done/{batch.group}", batch.start, stamps)

    def _put(self, dataset: str, row: int, values: np.ndarray) -> None:
        offset = self._offsets[dataset] + row * values[0].nbytes
        left = memoryview(values.tobytes())
        while left:
            written = os.pwrite(self._descriptor, left, offset)
            left, offset = left[written:], offset + written

    def _create(self, dimensions: dict[str, int]) -> None:
        rows = sum(map(len, self._groups.values()))
        try:
            with self._part.open("wb") as file:
                # is there room for all rows, the names and HDF5's own tables? h5py then starts afresh
                os.posix_fallocate(file.fileno(), 0, rows * (4 * sum(dimensions.values()) + 512) + (1 << 16))
            with h5py.File(self._part, "w") as file:
                self._lay_out(file, dimensions)
                file.flush()
                self._remember_places(file)
            self._open()
            os.posix_fallocate(self._descriptor, 0, os.fstat(self._descriptor).st_size)
        except OSError:
            self._part.unlink(missing_ok=True)
            raise

    def _lay_out(self, file: h5py.File, dimensions: dict[str, int]) -> None:
        for key, value in self._provenance.items():
            file.attrs[key] = value
        file.attrs["complete"] = False
        file.attrs["pictures"] = np.bytes_(" " * len(self._pictures()))
        for group, rows in self._groups.items():
            file[f"{group}/names"] = np.array(list(rows), dtype=h5py.string_dtype())
            _reserve(file, f"done/{group}", (len(rows),), "<u8")
            for layer, dimension in dimensions.items():
                _reserve(file, f"{group}/{layer}", (len(rows), dimension), "<f4")

    def _remember_places(self, file: h5py.File) -> None:
        def remember(name: str, node: h5py.Group | h5py.Dataset) -> None:
            if isinstance(node, h5py.Dataset) and node.dtype.kind in "fu":
                self._offsets[name] = node.id.get_offset()

        file.visititems(remember)

    def _open(self) -> None:
        self._descriptor = os.open(self._part, os.O_RDWR)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the lock that HDF5 itself looks for

    def finish(self) -> None:
        """Mark the file as complete and move it to its place."""
        self.close()
        with self._sentences():
            with h5py.File(self._part, "r+") as file:
                file.attrs.modify("pictures", self._pictures())
                file.attrs.modify("complete", True)
                del file["done"]
            self._part.replace(self._path)

    def close(self) -> None:
        """Close the file, whole or not."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Errors with the file's name, which neither a write nor HDF5 gives."""
        try:
            yield
        except OSError as error:
            if not error.errno:
                raise OSError(f"{self._part} can't be written: {error}") from error
            raise OSError(error.errno, os.strerror(error.errno), str(self._part)) from error


def _reserve(file: h5py.File, name: str, shape: tuple[int, ...], kind: str) -> None:
    """Make a dataset with its place in the file from now on; only the marks of done rows are cleared."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_ALLOC if name.startswith("done/") else h5py.h5d.FILL_TIME_NEVER)
    file.create_dataset(name, shape, kind, dcpl=plan)


def caffe_messages() -> ModuleType:
    """Caffe's protobuf messages (caffe_pb2). Raises OSError where pycaffe isn't in reach."""
    try:
        from caffe.proto import caffe_pb2
    except ImportError as error:
        raise OSError(f"pycaffe can't be imported ({error}): run `source .caffe/env.sh` first") from error
    return caffe_pb2


def read_deploy(path: Path) -> Any:
    """Read a prototxt (caffe_pb2.NetParameter). Raises ValueError with a typing error's line, or OSError."""
    net = caffe_messages().NetParameter()
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), net)
    except text_format.ParseError as error:
        said = str(error).removeprefix(f"{error.GetLine()}:{error.GetColumn()} : ")
        raise ValueError(f"{path}, line {error.GetLine()}: {said}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file") from error


def input_size(net: Any, path: Path) -> tuple[int, int]:
    """Height and width of a network's input. Raises ValueError unless it has one input of three channels."""
    shapes = [list(shape.dim) for layer in net.layer for shape in layer.input_param.shape]
    shapes += [list(shape.dim) for shape in net.input_shape]
    if net.input_dim:
        shapes.append(list(net.input_dim))
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] != 3:
        raise ValueError(f"{path} must have one input of 1 x 3 x height x width; it has {shapes or 'none'}")
    return shapes[0][2], shapes[0][3]


def check_layers(net: Any, wanted: Sequence[str], path: Path) -> None:
    """Raise ValueError, listing what there is, for a blob that the network lacks or loses.

    A blob that an in-place layer overwrites is refused too: fc7 of VGG16's own file would be the value after
    relu7, under the name of the one before.
    """
    layers = [*net.layer, *net.layers]
    overwriting: dict[str, list[str]] = {}
    own: list[str] = [] if net.layer else list(net.input)
    for layer in layers:
        for top in layer.top:
            (overwriting.setdefault(top, []) if top in layer.bottom else own).append(layer.name)
    blobs = [*net.input, *(top for layer in layers for top in layer.top)]
    there = ", ".join(blob for blob in dict.fromkeys(blobs) if blob not in overwriting)
    remedy = (
        f"`python -m tools.rename_blobs {path} NEW.prototxt` gives every layer a blob; now there are: {there}"
    )
    for name in wanted:
        if name in overwriting:
            by = " and ".join(overwriting[name])
            raise ValueError(f"{name} is overwritten in place by {by}: {remedy}")
        for blob, by in overwriting.items():
            if name in by:
                raise ValueError(f"{name} works in place on {blob} and has no blob of its own: {remedy}")
        if name not in blobs:
            raise ValueError(f"{path} has no blob {name}; there are: {there}")


def read_mean(text: str) -> tuple[float, float, float]:
    """The mean of each channel, B,G,R: three numbers, or a binaryproto of Caffe's averaged over its pixels.

    Raises ValueError where it is neither, OSError where the file can't be read.
    """
    with suppress(ValueError):
        blue, green, red = (float(number) for number in text.split(","))
        if math.isfinite(blue + green + red):
            return blue, green, red
    blob = caffe_messages().BlobProto()
    try:
        blob.ParseFromString(Path(text).read_bytes())
    except DecodeError as error:
        raise ValueError(f"{text} is neither a mean B,G,R nor a file of compute_image_mean's") from error
    channels = blob.shape.dim[-3] if len(blob.shape.dim) >= 3 else blob.channels
    if channels != 3 or not blob.data or len(blob.data) % 3:
        raise ValueError(f"{text} is not the mean of pictures with three channels")
    blue, green, red = np.array(blob.data, np.float64).reshape(3, -1).mean(axis=1).tolist()
    return blue, green, red


def list_pictures(folder: Path) -> dict[str, Picture]:
    """Pictures below a folder by their names (path below it without extension, '/' between), sorted by name.

    Raises ValueError where there are none, two have one name, or a name is not UTF-8; OSError for no folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(20, "Not a folder", str(folder))
    found: dict[str, Picture] = {}
    for parent, _, files in os.walk(folder):
        for file in files:
            path = Path(parent, file)
            if path.suffix.lower() not in PICTURE_SUFFIXES or file.startswith("."):
                continue
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                raise ValueError(f"{path} and {found[name].path} would have one name, {name}")
            if not name.isprintable():
                raise ValueError(f"{str(path)!r} has a name that is not printable text")
            found[name] = Picture(str(path))
    if not found:
        raise ValueError(f"{folder} holds no pictures ({' '.join(sorted(PICTURE_SUFFIXES))})")
    return dict(sorted(found.items()))


def query_pictures(queries: list[Query], database: dict[str, Picture], folder: Path) -> dict[str, Picture]:
    """The boxes to cut, by query. Raises ValueError where a query's picture isn't in the database."""
    for query in queries:
        if query.image not in database:
            raise ValueError(
                f"query {query.name} is cut from {query.image}, and {folder} has no such picture"
            )
    return {query.name: Picture(database[query.image].path, query.box) for query in queries}


def provenance(args: argparse.Namespace, network: Network) -> dict[str, str]:
    """Everything but the pictures that the features follow from."""
    preprocessing = {
        "resize": [*network.input_size],
        "aspect": "not kept",
        "interpolation": "OpenCV bilinear",
        "channels": "BGR",
        "mean": [*network.mean],
        "queries": "cut to the ground truth's box, coordinates rounded",
    }
    run = {"layers": network.layers, "batch": network.batch, "device": "gpu" if args.gpu else "cpu"}
    return {
        "model": args.model or args.weights.stem,
        "weights_sha256": _sha256(args.weights),
        "prototxt_sha256": _sha256(args.deploy),
        "preprocessing": json.dumps(preprocessing),
        "run": json.dumps(run),
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def default_jobs(weights: Path) -> int:
    """One process a core, fewer where the memory would not do: each holds the weights."""
    cores = len(os.sched_getaffinity(0))
    needed = MEMORY_PER_WEIGHTS_BYTE * weights.stat().st_size
    with suppress(OSError):
        available = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
        if available and needed:
            cores = min(cores, 1024 * int(available[1]) // needed)
    return max(1, cores)


def to_do(groups: dict[str, dict[str, Picture]], done: dict[str, np.ndarray], size: int) -> list[Batch]:
    """The batches that have rows to do, always cut at the same places."""
    batches = []
    for group, pictures in groups.items():
        rows = list(pictures.values())
        for start in range(0, len(rows), size):
            if not done[group][start : start + size].all():
                batches.append(Batch(group, start, rows[start : start + size]))
    return batches


def extract(args: argparse.Namespace) -> str:
    """Do what main was asked for; returns a sentence on it. Raises ValueError or OSError."""
    started = time.monotonic()
    net = read_deploy(args.deploy)
    check_layers(net, args.layers, args.deploy)
    mean = read_mean(args.mean)
    size = input_size(net, args.deploy)
    network = Network(str(args.deploy), str(args.weights), tuple(args.layers), size, mean, args.batch)
    database = list_pictures(args.images)
    groups = {"database": database}
    if args.gt:
        groups["queries"] = query_pictures(read_queries(args.gt), database, args.images)
    count = " and ".join(f"{len(rows)} of {group}" for group, rows in groups.items())
    features = FeaturesFile(args.out, provenance(args, network), groups)
    if features.is_complete():
        return f"{args.out} is there already, made from the same inputs: {count}"
    args.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        _fill(features, network, to_do(groups, features.go_on(), args.batch), args)
        features.finish()
    finally:
        features.close()
    return f"{args.out}: {count}, {', '.join(args.layers)}; {time.monotonic() - started:.0f} s"


def _fill(features: FeaturesFile, network: Network, batches: list[Batch], args: argparse.Namespace) -> None:
    if not batches:
        return
    jobs = min(len(args.gpu) if args.gpu else args.jobs or default_jobs(args.weights), len(batches))
    total = sum(len(batch.pictures) for batch in batches)
    with (
        workers(network, jobs, args.gpu[:jobs] if args.gpu else None) as pool,
        progress(total) as advance,
    ):
        for batch, rows in computed(pool, batches, 2 * jobs):
            features.write(batch, rows)
            advance(len(batch.pictures))


@contextmanager
def progress(total: int) -> Iterator[Any]:
    """A function to call with each number of pictures done: a bar on a terminal, else a line now and then."""
    if sys.stderr.isatty():
        with tqdm(desc="extract", total=total, unit="", dynamic_ncols=True) as bar:
            yield bar.update
        return
    done, last = 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        if time.monotonic() - last > LINE_EVERY_SECONDS:
            last = time.monotonic()
            print(f"extract: {done} of {total}", file=sys.stderr, flush=True)

    yield advance


def sentence(error: Exception) -> str:
    """What to tell the user: the message, or for the system's errors what failed on which file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return number


def _gpus(text: str) -> list[int]:
    numbers = [int(number) for number in text.split(",")]
    if min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise argparse.ArgumentTypeError(f"must be numbers of GPUs such as 0,1, not {text}")
    return numbers


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m eval.extract",
        description="Write the features of a folder of pictures, and of the queries cut from them, to an HDF5"
        " file: several layers in one forward pass of Caffe. StopError and run again it goes on where it"
        " was; a file that is there from the same inputs is left as it is.",
        epilog="example: python -m eval.extract --deploy prototxt/vgg16/deploy.prototxt"
        " --weights VGG_ILSVRC_16_layers.caffemodel --images oxford/jpg --gt oxford/gt --layers fc6 fc6_relu6"
        " --mean 104.00698793,116.66876762,122.67891434 --out pretrained.h5",
    )
    path = {"type": Path, "metavar": "FILE", "required": True}
    parser.add_argument("--deploy", **path, help="prototxt in which every layer has a blob of its own")
    parser.add_argument("--weights", **path, help="caffemodel")
    parser.add_argument("--images", **path | {"metavar": "DIR"}, help="folder with the database's pictures")
    parser.add_argument(
        "--gt", type=Path, metavar="DIR", help="ground truth with NAME_query.txt (default: none)"
    )
    parser.add_argument(
        "--layers", nargs="+", required=True, metavar="BLOB", help="blobs, such as fc6 fc6_relu6"
    )
    parser.add_argument("--mean", required=True, metavar="B,G,R|FILE", help="mean, or mean.binaryproto")
    parser.add_argument("--out", **path, help="HDF5 file to write")
    parser.add_argument("--model", metavar="NAME", help="the model's name (default: the caffemodel's)")
    parser.add_argument("--batch", type=_positive, default=BATCH, metavar="N", help=f"default: {BATCH}")
    parser.add_argument(
        "--jobs",
        type=_positive,
        metavar="N",
        help="processes (default: one a core, as far as the memory goes)",
    )
    parser.add_argument("--gpu", type=_gpus, metavar="0,1", help="GPUs, a process each (default: the CPU)")
    args = parser.parse_args(argv)
    args.layers = list(dict.fromkeys(args.layers))
    return args


def main(argv: list[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    args = parse(argv)
    try:
        with StopError.on_signals():
            print(extract(args))
    except StopError:
        print("extract: interrupted; the same command goes on where it was", file=sys.stderr)
        return 128 + StopError.number
    except (ValueError, OSError) as error:
        print(f"extract: {sentence(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
