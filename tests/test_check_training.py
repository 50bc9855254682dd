"""tools.check_training: what `caffe train` would stop or crash at is one sentence before it starts."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from tools.check_training import main
from tools.files.prototxt import read_net, write_prototxt

SIDE, CLASSES, PICTURES = 8, 3, 12
NET = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { mean_file: "mean" mirror: true crop_size: 6 }
  data_param { source: "train" batch_size: 4 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { mean_file: "mean" crop_size: 6 }
  data_param { source: "val" batch_size: 2 backend: LMDB } }
layer { name: "fc8" type: "InnerProduct" bottom: "data" top: "fc8" inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc8" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc8" bottom: "label" top: "accuracy"
  include { phase: TEST } }
"""
SOLVER = """
net: "net" test_iter: 1 test_interval: 20 max_iter: 60 base_lr: 0.1 lr_policy: "step" stepsize: 20
snapshot_prefix: "snapshots/s"
"""


def datum(label: int, height: int = SIDE, width: int = SIDE) -> bytes:
    data = np.full((3, height, width), label, np.uint8).tobytes()
    message = caffe_pb2.Datum(channels=3, height=height, width=width, data=data, label=label)
    return message.SerializeToString()


def write_lmdb(path: Path, values: list[bytes]) -> None:
    path.mkdir(exist_ok=True)
    (path / "data.mdb").unlink(missing_ok=True)
    with lmdb.open(str(path), map_size=1 << 22) as database, database.begin(write=True) as writing:
        for number, value in enumerate(values):
            writing.put(b"%08d_%d.jpg" % (number, number), value)


def write_mean(path: Path, *shape: int) -> None:
    mean = caffe_pb2.BlobProto(data=[100.0] * int(np.prod(shape)), shape=caffe_pb2.BlobShape(dim=shape))
    path.write_bytes(mean.SerializeToString())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with all that a training needs."""
    monkeypatch.chdir(tmp_path)
    for name in ("train", "val"):
        write_lmdb(tmp_path / name, [datum(i % CLASSES) for i in range(PICTURES)])
    write_mean(tmp_path / "mean", 1, 3, SIDE, SIDE)
    (tmp_path / "net").write_text(NET)
    (tmp_path / "solver").write_text(SOLVER)
    return tmp_path


def said_of(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = main(["solver"])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return status, said.out + said.err


def test_a_right_training(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said_of(capsys) == (0, f"solver: {PICTURES} pictures in train; {PICTURES} pictures in val\n")


@pytest.mark.parametrize("name", ["train", "val"])
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (
            [1, 2, 3],
            "label 3 (00000002_2.jpg), and the last layer tells 3 classes apart, 0 to 2 (they s",
        ),
        ([0, 1, 7], "label 7"),
        ([0, 1, -1], "label -1"),
    ],
)
def test_labels_that_are_no_class(
    here: Path, capsys: pytest.CaptureFixture[str], name: str, labels: list[int], words: str
) -> None:
    write_lmdb(here / name, [datum(0 if label < 0 else label) for label in labels])
    if -1 in labels:
        message = caffe_pb2.Datum.FromString(datum(0))
        message.label = -1
        write_lmdb(here / name, [datum(0), datum(1), message.SerializeToString()])
    status, said = said_of(capsys)
    assert status == 1 and words in said and f"{name} has label" in said


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('mean" crop_size: 6', 'mean" crop_size: 9', "net: crop_size 9 is larger than the pictures of val"),
        ("batch_size: 2", "batch_size: 0", "the batch of val must be 1 or more, not 0"),
        ("batch_size: 2 backend: LMDB", "batch_size: 2", "val needs backend: LMDB"),
        ('mean_file: "mean" mirror', 'mean_file: "mean" mean_value: 1 mirror', "Caffe takes one of them"),
        ('mean_file: "mean" mirror', "mean_value: 1 mean_value: 2 mirror", "2 mean_value for 3 channels"),
        ('mean_file: "mean" mirror', 'mean_file: "nowhere" mirror', "No such file or directory: nowhere"),
        ('mean_file: "mean" mirror', 'mean_file: "net" mirror', "net is not a file of compute_image_mean's"),
        ('source: "train"', 'source: "nowhere"', "nowhere can't be read as an LMDB"),
        ("phase: TRAIN", "phase: TEST", "no Data layer to train from"),
        ('top: "accuracy"', 'top: "accuracy" accuracy_param { top_k: 5 }', "the best 5 of 3 classes"),
        ("num_output: 3", "num_outputs: 3", "net, line 8"),
        ("batch_size: 4", "batch_size: 4 prefetch: 0", "prefetch of train must be 1 to 1000, not 0"),
        ("batch_size: 4", "batch_size: 4 prefetch: 4000000000", "prefetch of train must be 1 to 1000"),
        ("batch_size: 4", "batch_size: 30000000", "phase TRAIN: Check failed: shape[i] <= 0x7fffffff"),
        (
            'top: "label" include { phase: TEST }',
            'top: "label" top: "x" include { phase: TEST }',
            "has 3 tops",
        ),
        (
            'top: "label" include { phase: TEST }',
            "include { phase: TEST }",
            "TEST: Unknown bottom blob 'label'",
        ),
        ("include { phase: TRAIN }", "", "phase TEST: Top blob 'data' produced by multiple sources"),
        ("include { phase: TRAIN }", 'include { phase: TRAIN stage: "a" }', "no Data layer to train from"),
        ("InnerProduct", "InnerProdukt", "phase TRAIN: Check failed: registry.count(type) == 1"),
        ('bottom: "data"', 'bottom: "daat"', "phase TRAIN: Unknown bottom blob 'daat'"),
        ("num_output: 3", 'num_output: 3 weight_filler { type: "xaiver" }', "Unknown filler name: xaiver"),
        ('mean" crop_size: 6 }', 'mean" crop_size: 5 }', "3 x 108 and 3 x 75 in training and in tests"),
        (
            'layer { name: "loss"',
            'layer { name: "c" type: "Convolution" bottom: "data" top: "c" '
            'convolution_param { num_output: 4 kernel_size: 3 group: 0 } } layer { name: "loss"',
            "phase TRAIN: it crashed (signal 8",
        ),
    ],
)
def test_a_network_that_does_not_fit(
    here: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: str
) -> None:
    assert old in NET
    (here / "net").write_text(NET.replace(old, new))
    status, said = said_of(capsys)
    assert status == 1 and words in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('net: "net"', 'train_net: "net" test_net: "net"', "solver: it has train_net: one network"),
        ('net: "net"', 'net: "net" test_net: "net"', "solver: it has test_net"),
        ('net: "net"', "", "solver: it has no net"),
        ('net: "net"', 'net: "nowhere"', "No such file or directory: nowhere"),
        ("test_iter: 1", "test_iter: 0", "one test_iter of 1 or more"),
        ("test_iter: 1", "", "one test_iter of 1 or more"),
        ("max_iter: 60", "", "max_iter must be 1 or more"),
        ('lr_policy: "step"', 'lr_policy: "steps"', "lr_policy must be one of fixed, step"),
        ("stepsize: 20", "", "needs a stepsize"),
        ('snapshot_prefix: "snapshots/s"', "", "it has no snapshot_prefix"),
        ("base_lr: 0.1", "base_lr: nan", "base_lr must be a number from 0 up, not nan"),
        ("base_lr: 0.1", 'base_lr: 0.1 momentum: 0.9 type: "AdaGrad"', "AdaGrad goes without momentum"),
        (
            "base_lr: 0.1",
            'base_lr: 0.1 rms_decay: 1 type: "RMSProp"',
            "rms_decay must lie between 0 and 1, not 1",
        ),
        (
            "base_lr: 0.1",
            'base_lr: 0.1 weights: "gone.caffemodel"',
            "weights names gone.caffemodel, which is no",
        ),
    ],
)
def test_a_solver_that_does_not_fit(
    here: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: str
) -> None:
    assert old in SOLVER
    (here / "solver").write_text(SOLVER.replace(old, new))
    status, said = said_of(capsys)
    assert status == 1 and words in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("include { phase: TRAIN }", "exclude { phase: TEST }"),
        ("mirror: true", "mirror: true force_gray: true"),
        ("test_iter: 1 test_interval: 20", ""),
    ],
)
def test_what_caffe_takes_is_not_refused(
    here: Path, capsys: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    """Caffe makes grey of encoded pictures alone; without test_iter it builds no network for tests."""
    net, solver = NET.replace(old, new), SOLVER.replace(old, new)
    assert (net, solver) != (NET, SOLVER)
    (here / "net").write_text(net)
    (here / "solver").write_text(solver.replace("max_iter: 60", "max_iter: 1"))
    (here / "snapshots").mkdir()
    assert said_of(capsys)[0] == 0
    subprocess.run(["caffe", "train", "-solver", "solver"], capture_output=True, check=True)


def test_a_mean_of_another_size(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mean(here / "mean", 1, 3, SIDE, SIDE + 1)
    status, said = said_of(capsys)
    assert status == 1
    assert "the mean mean is of 3 x 8 x 9, the pictures of train are of 3 x 8 x 8" in said


def test_an_empty_and_a_mixed_database(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lmdb(here / "val", [])
    assert "val is empty" in said_of(capsys)[1]
    write_lmdb(here / "val", [datum(0), datum(1, width=9)])
    (here / "net").write_text(NET.replace("crop_size: 6", "").replace('mean_file: "mean"', ""))
    assert "val holds pictures of several sizes, such as 3 x 8 x 8 and 3 x 8 x 9" in said_of(capsys)[1]


@pytest.mark.parametrize("encoding", ["gbk", "latin-1", "utf-8"])
def test_comments_may_hold_any_bytes(here: Path, capsys: pytest.CaptureFixture[str], encoding: str) -> None:
    """As Caffe itself reads them."""
    words = "é" if encoding == "latin-1" else "学习率"
    for name, text in (("net", NET), ("solver", SOLVER)):
        (here / name).write_bytes(f"# {words}\n{text} # {words}".encode(encoding))
    assert said_of(capsys)[0] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: b"\xef\xbb\xbf" + data, r"begins with a byte-order mark \(UTF-8\)"),
        (lambda data: data.replace(b"snapshots/s", rb"snapshots\x"), "line 3.*escape"),
        (lambda data: data.decode().encode("utf-16"), r"begins with a byte-order mark \(UTF-16\)"),
        (
            lambda data: data.replace(b": 60", "\u3000: 60".encode()),
            "line 2: '.u3000' stands outside of quotes",
        ),
    ],
)
def test_text_that_caffe_reads_otherwise_is_named(
    here: Path, capsys: pytest.CaptureFixture[str], change: Callable[[bytes], bytes], words: str
) -> None:
    (here / "solver").write_bytes(change(SOLVER.encode()))
    status, said = said_of(capsys)
    assert status == 1 and re.search(words, said) and said.count("\n") == 1


@pytest.mark.parametrize("encoding", ["gbk", "utf-8"])
def test_a_path_is_its_bytes(here: Path, capsys: pytest.CaptureFixture[str], encoding: str) -> None:
    name = "网络".encode(encoding)
    Path(os.fsdecode(bytes(here) + b"/" + name)).write_text(NET)
    (here / "solver").write_bytes(SOLVER.encode().replace(b'"net"', b'"' + name + b'"'))
    assert said_of(capsys)[0] == 0


@pytest.mark.parametrize("encoding", ["gbk", "latin-1", "utf-8"])
def test_strings_are_written_as_the_bytes_that_they_were(tmp_path: Path, encoding: str) -> None:
    """Caffe's own program reads what is written: the same bytes."""
    name = "é" if encoding == "latin-1" else '网络 "1"'
    literal = name.encode(encoding).replace(b'"', b'\\"')
    (tmp_path / "net").write_bytes(b'name: "' + literal + b'" layer { name: "a" type: "Input" top: "a" }')
    net = read_net(tmp_path / "net")
    write_prototxt(tmp_path / "written", net, "again")
    assert read_net(tmp_path / "written") == net
    for source in ("net", "written"):
        command = ["upgrade_net_proto_text", str(tmp_path / source), str(tmp_path / f"{source} by Caffe")]
        subprocess.run(command, capture_output=True, check=True)
    by_caffe = [(tmp_path / f"{source} by Caffe").read_bytes() for source in ("net", "written")]
    assert by_caffe[0] == by_caffe[1]
