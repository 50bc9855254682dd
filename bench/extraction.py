"""eval.extract from files to features: beside the bare forward pass, and beside a plain PyTorch script."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import h5py
import numpy as np

from bench.measure import Row, alternate, compare, finish, options, run_bench
from eval.forward.network import Network, prepare, work_in_place
from eval.forward.photographs import Picture
from tools.files.mean_file import read_mean

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "prototxt/vgg16/deploy.prototxt"
MEAN = "104.00698793,116.66876762,122.67891434"
SIZE = (768, 1024)
LAYER = "fc7"
BATCH = 8


def make_pictures(folder: Path, count: int) -> None:
    """JPEGs of a photograph's size and of about its bytes: noise of all scales, from a seed."""
    folder.mkdir()
    for i in range(count):
        rng = np.random.default_rng(i)
        picture = np.full((*SIZE, 3), 128, np.float32)
        for side in (4, 16, 64, 256):
            noise = rng.standard_normal((side, side, 3)).astype(np.float32)
            picture += 20 * cv2.resize(noise, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        pixels = picture.clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i:04}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])


def make_network(folder: Path) -> None:
    """VGG16's deploy.prototxt with a batch's input, cut behind LAYER, and as bare.prototxt the net that
    eval.extract makes of it, ReLU in place; weights.caffemodel and weights.npz, the same random weights."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    import caffe
    from caffe.proto import caffe_pb2
    from google.protobuf import text_format

    deploy = text_format.Parse(DEPLOY.read_text(), caffe_pb2.NetParameter())
    del deploy.layer[[layer.name for layer in deploy.layer].index(LAYER) + 1 :]
    for layer in deploy.layer:
        if layer.type == "Input":
            layer.input_param.shape[0].dim[:] = (BATCH, 3, 224, 224)
    (folder / "deploy.prototxt").write_text(text_format.MessageToString(deploy))
    work_in_place(deploy, [LAYER])
    (folder / "bare.prototxt").write_text(text_format.MessageToString(deploy))
    for layer in deploy.layer:
        for parameter in (layer.convolution_param, layer.inner_product_param):
            parameter.weight_filler.type = "msra"
    random = folder / "random.prototxt"
    random.write_text(text_format.MessageToString(deploy))
    net = caffe.Net(str(random), caffe.TEST)
    net.save(str(folder / "weights.caffemodel"))
    arrays = {name: blobs[0].data for name, blobs in net.params.items()}
    np.savez(
        folder / "weights.npz", **arrays, **{f"{name}_bias": b[1].data for name, b in net.params.items()}
    )


def run(*command: object, **environment: str) -> None:
    """Run a command to its end. Raises ValueError with its last line where it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ValueError(f"{command[1]} failed: {(done.stderr.strip() or 'no word').splitlines()[-1]}")


def extract(folder: Path) -> None:
    """Ours, from an empty place."""
    out = folder / "ours.h5"
    out.unlink(missing_ok=True)
    inputs = ("--deploy", folder / "deploy.prototxt", "--weights", folder / "weights.caffemodel")
    where = ("--images", folder / "jpg", "--mean", MEAN, "--layers", LAYER, "--out", out)
    run(sys.executable, "-m", "eval.extract", *inputs, *where)


def forward(folder: Path, batches: range, pictures: bool) -> None:
    """What each of the bare processes does: weights in, a pass of one input for each of the batches; before
    it, where `pictures` are asked for, the batch's pictures made ready, and left."""
    import caffe

    net = caffe.Net(str(folder / "bare.prototxt"), str(folder / "weights.caffemodel"), caffe.TEST)
    network = Network("", "", (LAYER,), (224, 224), read_mean(MEAN), BATCH)
    files = sorted(map(str, (folder / "jpg").iterdir())) if pictures else []
    cv2.setNumThreads(1)
    for batch in batches:
        for file in files[batch * BATCH : (batch + 1) * BATCH]:
            prepare(Picture(file), network)
        net.forward()


def bare_forward(folder: Path, count: int, jobs: int, *pictures: str) -> None:
    """The same processes as ours, weights and passes alone, or with --pictures-too the pictures as well."""
    shares = np.array_split(np.arange(-(-count // BATCH)), jobs)
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "GLOG_minloglevel": "2"}
    command = [sys.executable, "-m", "bench.extraction", *pictures, "--forward", str(folder)]
    processes = [
        subprocess.Popen(
            [*command, str(share[0]), str(share[-1] + 1)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        for share in shares
        if share.size
    ]
    statuses = [process.wait() for process in processes]
    if any(statuses):
        raise ValueError("a bare forward pass failed")


def torch_extract(folder: Path) -> None:
    """The peer's script on the same pictures."""
    script = ROOT / "bench/peers/torch_extract.py"
    run(sys.executable, script, folder / "jpg", folder / "weights.npz", folder / "torch.npy")


def largest_difference(folder: Path) -> float:
    """Between our features and the peer's, relative to the largest."""
    with h5py.File(folder / "ours.h5") as file:
        ours = file[f"database/{LAYER}"][:]
    theirs = np.load(folder / "torch.npy")
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def measure(folder: Path, count: int, runs: int) -> list[Row]:
    """The rows, for `count` pictures."""
    make_pictures(folder / "jpg", count)
    make_network(folder)
    jobs = len(os.sched_getaffinity(0))
    peers = (
        lambda: bare_forward(folder, count, jobs),
        lambda: bare_forward(folder, count, jobs, "--pictures-too"),
        lambda: torch_extract(folder),
    )
    seconds = alternate(lambda: extract(folder), *peers, runs=runs, warm_up=0)
    difference = largest_difference(folder)
    if difference > 1e-3:
        raise ValueError(f"our features and PyTorch's differ by {difference:.1e} of the largest")
    theirs = seconds.pop()
    what = f"fc7 of {count} pictures of 1024x768, {jobs} processes, start to end"
    ours, bare, decoding = ([count / second for second in times] for times in seconds)
    program, rate = "eval.extract", "pictures/s"
    return [
        compare(what, program, "forward passes alone", rate, ours, bare, goal=">= 0.95"),
        compare(what, program, "forward passes, and pictures decoded and left", rate, ours, decoding),
        compare(what, program, "PyTorch, DataLoader", "s", seconds[0], theirs, goal="<= 0.4"),
    ]


def main() -> int:
    """Measure in a folder of its own."""
    parser = options(
        "extraction", "Times eval.extract on VGG16 from JPEG files to features.", "--pictures 400"
    )
    parser.add_argument("--pictures", type=int, default=480)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--forward", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--pictures-too", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.forward:
        folder, first, end = arguments.forward
        forward(Path(folder), range(int(first), int(end)), arguments.pictures_too)
        return 0
    count, runs = (48, 1) if arguments.quick else (arguments.pictures, arguments.runs)
    with tempfile.TemporaryDirectory() as folder:
        return finish(measure(Path(folder), count, runs), arguments)


if __name__ == "__main__":
    run_bench("extraction", main)
