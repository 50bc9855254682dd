"""Caffe's files with bytes changed or cut: read, or refused in one sentence; no traceback, no signal."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import caffe
import lmdb
import pytest
from caffe.proto import caffe_pb2
from hypothesis import given
from hypothesis import strategies as st
from test_check_training import NET, SOLVER, datum, write_mean

from tools.files.caffemodel import stored_shapes
from tools.files.image_lmdb import entries, label_of, labels, open_lmdb, picture_of
from tools.files.mean_file import read_mean_image
from tools.files.prototxt import caffe_messages, read_prototxt, read_solver
from tools.files.solverstate import read_state
from tools.plot_log import read_log, summary

pytestmark = pytest.mark.fuzz

changes = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=20)
ends = st.one_of(st.none(), st.integers(0, 1 << 20))


def changed(data: bytes, at: list[tuple[int, int]], end: int | None) -> bytes:
    spoilt = bytearray(data)
    for place, value in at:
        spoilt[place % len(spoilt)] = value
    return bytes(spoilt[: None if end is None else end % len(spoilt)])


def read_or_refused(read: Callable[[Path], object], data: bytes, name: str = "file") -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        try:
            read(path)
        except (ValueError, OSError) as error:
            assert folder in str(error) and "\n" not in str(error)


def model_file() -> bytes:
    net = caffe_pb2.NetParameter()
    for name, shape in (("data", None), ("conv", (2, 3, 2, 2)), ("fc", (4, 5)), ("loss", None)):
        layer = net.layer.add(name=name)
        if shape:
            count = 1
            for length in shape:
                count *= length
            layer.blobs.add(shape=caffe_pb2.BlobShape(dim=shape), data=[0.5] * count)
    return net.SerializeToString()


def state_file() -> bytes:
    state = caffe_pb2.SolverState(iter=50, learned_net="snapshots/s_iter_50.caffemodel", current_step=2)
    state.history.add(shape=caffe_pb2.BlobShape(dim=[4, 5]), data=[0.5] * 20)
    return state.SerializeToString()


HDF5_NET = """
layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 2 dim: 3 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 4 } }
layer { name: "loss" type: "Reduction" bottom: "fc" top: "loss" loss_weight: 1 }
"""


def hdf5_files() -> tuple[bytes, bytes]:
    """A model and a solver state as Caffe itself writes them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "net").write_text(HDF5_NET)
        words = f'net: "{folder}/net" snapshot_prefix: "{folder}/s" snapshot_format: HDF5 solver_mode: CPU'
        (folder / "solver").write_text(f'{words} base_lr: 0.1 lr_policy: "fixed" momentum: 0.9')
        solver = caffe.get_solver(str(folder / "solver"))
        solver.step(1)
        solver.snapshot()
        return tuple((folder / f"s_iter_1.{kind}.h5").read_bytes() for kind in ("caffemodel", "solverstate"))


HDF5_FILES = hdf5_files()


def mean_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write_mean(Path(folder) / "mean", 1, 3, 4, 4)
        return (Path(folder) / "mean").read_bytes()


def lmdb_file() -> bytes:
    """Three levels of pages, with values in them and in pages of their own."""
    with tempfile.TemporaryDirectory() as folder:
        with lmdb.open(folder, map_size=1 << 24) as database, database.begin(write=True) as writing:
            for number in range(400):
                key = b"%08d_%s" % (number, b"a long path to a picture/" * 12)
                writing.put(key, datum(number % 3, 4, 5 if number % 40 else 500))
        return (Path(folder) / "data.mdb").read_bytes()


def read_database(path: Path) -> None:
    """Everything that is asked of a database."""
    with open_lmdb(path.parent) as environment:
        try:
            labels(environment, 1000)
            for key, value in entries(environment):
                picture_of(value)
                with environment.begin() as transaction:
                    transaction.get(key)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def read_net_text(path: Path) -> None:
    read_prototxt(path, caffe_messages().NetParameter())


LOG = b"""I1128 15:39:05.123456  4242 solver.cpp:239] Iteration 10 (3.5 iter/s, 2.8s/10 iters), loss = 1.5
I1128 15:39:05.123456  4242 solver.cpp:258]     Train net output #0: loss = 1.5 (* 1 = 1.5 loss)
I1128 15:39:05.123456  4242 sgd_solver.cpp:112] Iteration 10, lr = 0.001
I1128 15:39:05.123456  4242 solver.cpp:347] Iteration 20, Testing net (#0)
I1128 15:39:05.123456  4242 solver.cpp:414]     Test net output #0: accuracy = 0.5
I1128 15:39:05.123456  4242 solver.cpp:239] Iteration 20 (3.5 iter/s, 2.8s/10 iters), loss = nan
"""


def read_training_log(path: Path) -> None:
    summary(read_log(path))


@pytest.mark.parametrize(
    ("read", "data"),
    [
        (read_net_text, NET.encode()),
        (read_solver, SOLVER.encode()),
        (stored_shapes, model_file()),
        (read_state, state_file()),
        (read_mean_image, mean_file()),
        (read_training_log, LOG),
    ],
    ids=["net", "solver", "caffemodel", "solverstate", "mean", "log"],
)
@given(at=changes, end=ends)
def test_a_changed_file(
    read: Callable[[Path], object], data: bytes, at: list[tuple[int, int]], end: int | None
) -> None:
    read_or_refused(read, changed(data, at, end))


@pytest.mark.parametrize("which", [0, 1], ids=["caffemodel", "solverstate"])
@given(at=changes, end=ends)
def test_a_changed_file_in_hdf5(which: int, at: list[tuple[int, int]], end: int | None) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tools.files.hdf5.PROBE_SECONDS", 5)  # some changes make HDF5 run for ever
        data = changed(HDF5_FILES[which], at, end)
        read_or_refused((stored_shapes, read_state)[which], data, "file.h5")


@pytest.mark.parametrize(
    "read", [read_net_text, read_solver, stored_shapes, read_state, read_mean_image, read_training_log]
)
@given(data=st.binary(max_size=300))
def test_any_file(read: Callable[[Path], object], data: bytes) -> None:
    read_or_refused(read, data)


@pytest.fixture(scope="module")
def database() -> Iterator[bytes]:
    yield lmdb_file()


@given(at=changes, end=ends)
def test_a_changed_database(database: bytes, at: list[tuple[int, int]], end: int | None) -> None:
    """LMDB maps the file and trusts it: a page too few or a wrong offset would end the process."""
    read_or_refused(read_database, changed(database, at, end), "data.mdb")


@given(page=st.integers(0, 200), at=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1))
def test_changed_page_headers(database: bytes, page: int, at: list[tuple[int, int]]) -> None:
    pages = [(page * 4096 + place, value) for place, value in at]
    read_or_refused(read_database, changed(database, pages, None), "data.mdb")


@given(label=st.integers(-(2**31), 2**31 - 1), data=st.binary(max_size=300), encoded=st.booleans())
def test_a_label_is_protobufs(label: int, data: bytes, encoded: bool) -> None:
    message = caffe_pb2.Datum(channels=3, data=data, label=label, encoded=encoded, float_data=[1.5])
    assert label_of(message.SerializeToString()) == label


@given(at=changes, end=ends)
def test_a_label_of_a_changed_datum(at: list[tuple[int, int]], end: int | None) -> None:
    try:
        label_of(changed(datum(2), at, end))
    except ValueError as error:
        assert "\n" not in str(error)
