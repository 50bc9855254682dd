"""The oneDNN engine of Caffe's CPU mode against Caffe's own code, which `engine: CAFFE` still gives."""

import ctypes
import itertools
import multiprocessing
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parent.parent
NOISE = "weight_filler { type: 'gaussian' std: 0.2 } bias_filler { type: 'gaussian' std: 0.2 }"
ENGINES = ("convolution_param", "relu_param", "pooling_param")
CLOSE = 1e-5
WINOGRAD_CLOSE = 1e-4

drawn = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def input_layer(*shape: int) -> str:
    dims = " ".join(f"dim: {size}" for size in shape)
    return f"layer {{ name: 'x' type: 'Input' top: 'x' input_param {{ shape {{ {dims} }} }} }}"


def conv(name: str, bottom: str, top: str, values: str) -> str:
    return (
        f"layer {{ name: '{name}' type: 'Convolution' bottom: '{bottom}' top: '{top}' "
        f"convolution_param {{ {values} {NOISE} }} }}"
    )


def layer(kind: str, bottom: str, top: str, values: str = "") -> str:
    return f"layer {{ name: '{kind}_{top}' type: '{kind}' bottom: '{bottom}' top: '{top}' {values} }}"


def net_of(text: str, folder: Path, engine: str = "", phase: int = caffe.TEST) -> caffe.Net:
    parameter = text_format.Parse(text, caffe_pb2.NetParameter(force_backward=True))
    for one in parameter.layer if engine else ():
        if one.type in ("Convolution", "ReLU", "Pooling"):
            param = getattr(
                one, {"Convolution": ENGINES[0], "ReLU": ENGINES[1], "Pooling": ENGINES[2]}[one.type]
            )
            param.engine = type(param).CAFFE
    path = folder / f"net{engine}.prototxt"
    path.write_text(text_format.MessageToString(parameter))
    return caffe.Net(str(path), phase)


def both(text: str, folder: Path, seed: int = 0) -> tuple[caffe.Net, caffe.Net]:
    """The engine's net and Caffe's own, with the same weights and input."""
    ours, own = net_of(text, folder), net_of(text, folder, "CAFFE")
    rng = np.random.default_rng(seed)
    for name, blobs in ours.params.items():
        for mine, other in zip(blobs, own.params[name], strict=True):
            mine.data[...] = rng.standard_normal(mine.data.shape) * 0.2
            other.data[...] = mine.data
    x = rng.standard_normal(ours.blobs["x"].data.shape)
    ours.blobs["x"].data[...] = own.blobs["x"].data[...] = x
    return ours, own


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """The largest absolute difference, relative to b's largest absolute value."""
    assert a.shape == b.shape
    return float(np.abs(a - b).max(initial=0) / max(np.abs(b).max(initial=0), 1e-30))


def backward(net: caffe.Net, seed: int = 1) -> dict[str, np.ndarray]:
    """Every gradient of a pass back from random ones of the last blob, added to what was there."""
    top = list(net.blobs)[-1]
    net.blobs[top].diff[...] = np.random.default_rng(seed).standard_normal(net.blobs[top].diff.shape)
    for blobs in net.params.values():
        for blob in blobs:
            blob.diff[...] = 0.5
    net.backward()
    gradients = {
        f"{name}/{i}": blob.diff.copy() for name, blobs in net.params.items() for i, blob in enumerate(blobs)
    }
    return gradients | {"x": net.blobs["x"].diff.copy()}


def assert_same(text: str, folder: Path, close: float = CLOSE, seed: int = 0) -> None:
    ours, own = both(text, folder, seed)
    ours.forward()
    own.forward()
    mine, theirs = backward(ours), backward(own)
    for name, blob in own.blobs.items():
        assert difference(ours.blobs[name].data, blob.data) < close, name
    for name, gradient in theirs.items():
        assert difference(mine[name], gradient) < 10 * close, name


needs_avx512 = pytest.mark.skipif(
    "avx512f" not in Path("/proc/cpuinfo").read_text(), reason="this CPU has no AVX-512"
)


@st.composite
def large_inner_products(draw: st.DrawFn) -> str:
    """Inner products with more weights than a core's cache has room for."""
    rows, inputs = draw(st.integers(1, 35)), draw(st.integers(1025, 9000))
    outputs = 2**20 // inputs + draw(st.integers(1, 13))
    values = f"num_output: {outputs} bias_term: {draw(st.sampled_from(['true', 'false']))}"
    return input_layer(rows, inputs) + layer("InnerProduct", "x", "y", f"inner_product_param {{ {values} }}")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=large_inner_products(), seed=st.integers(0, 1000))
def test_a_large_inner_product_is_the_sum_of_its_products(tmp_path, text, seed):
    net, _ = both(text, tmp_path, seed)
    x = net.blobs["x"].data.astype(np.float64)
    weights, bias = (*(blob.data.astype(np.float64) for blob in net.params["InnerProduct_y"]), 0)[:2]
    net.forward()
    sums = x @ weights.T + bias
    largest = np.abs(x) @ np.abs(weights).T + np.abs(bias)
    assert (np.abs(net.blobs["y"].data - sums) <= 1e-5 * largest).all()


@needs_avx512
def test_a_row_of_a_large_inner_product_is_the_same_bytes_in_every_company(tmp_path):
    text = input_layer(32, 5003) + layer("InnerProduct", "x", "y", "inner_product_param { num_output: 217 }")
    net, _ = both(text, tmp_path)
    x = net.blobs["x"].data.copy()
    net.forward()
    rows = net.blobs["y"].data.copy()
    blas = ctypes.CDLL("libopenblas.so.0")
    before = blas.openblas_get_num_threads()
    try:
        for count, threads in itertools.product((1, 2, 3, 5, 8, 31), (1, 2, 3)):
            blas.openblas_set_num_threads(threads)
            net.blobs["x"].reshape(count, 5003)
            net.blobs["x"].data[...] = x[32 - count :]
            net.forward()
            np.testing.assert_array_equal(net.blobs["y"].data, rows[32 - count :])
    finally:
        blas.openblas_set_num_threads(before)


@pytest.mark.parametrize(("numbers", "alignment"), [(1, 64), (1000, 64), (1 << 21, 1 << 21)])
def test_a_blobs_memory_lies_as_vectors_and_large_pages_want_it(tmp_path, numbers, alignment):
    net = net_of("".join(input_layer(numbers).replace("'x'", f"'x{i}'") for i in range(4)), tmp_path)
    assert [blob.data.ctypes.data % alignment for blob in net.blobs.values()] == [0] * 4


def test_a_nan_goes_through_a_large_inner_product(tmp_path):
    text = input_layer(2, 5003) + layer("InnerProduct", "x", "y", "inner_product_param { num_output: 217 }")
    net, _ = both(text, tmp_path)
    net.blobs["x"].data[1, 5002] = np.nan
    net.params["InnerProduct_y"][0].data[216, 0] = np.inf
    net.forward()
    y = net.blobs["y"].data
    assert np.isnan(y[1]).all()
    assert np.isfinite(y[0, :216]).all()
    assert np.isinf(y[0, 216])


@st.composite
def convolutions(draw: st.DrawFn) -> str:
    group = draw(st.sampled_from([1, 1, 1, 2, 4, 16]))
    ic, oc = group * draw(st.integers(1, 20)), group * draw(st.integers(1, 20))
    kernel_h, kernel_w = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    dilation = draw(st.integers(1, 3))
    pad_h, pad_w = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    height, width = draw(st.integers(1, 17)), draw(st.integers(1, 17))
    assume(height + 2 * pad_h > dilation * (kernel_h - 1) and width + 2 * pad_w > dilation * (kernel_w - 1))
    values = (
        f"num_output: {oc} group: {group} kernel_h: {kernel_h} kernel_w: {kernel_w} "
        f"pad_h: {pad_h} pad_w: {pad_w} "
        f"stride_h: {draw(st.integers(1, 4))} stride_w: {draw(st.integers(1, 4))} dilation: {dilation} "
        f"bias_term: {draw(st.sampled_from(['true', 'false']))}"
    )
    return input_layer(draw(st.integers(1, 3)), ic, height, width) + conv("conv", "x", "y", values)


@drawn
@given(text=convolutions(), seed=st.integers(0, 1000))
def test_a_convolution_and_its_gradients_are_caffes(tmp_path, text, seed):
    assert_same(text, tmp_path, seed=seed)


@st.composite
def chains(draw: st.DrawFn) -> str:
    """Convolutions, ReLU in and out of place, poolings of either rounding, layers that know no oneDNN.

    Every pooling's window holds an input: for one without, Caffe's own code writes outside its memory.
    """
    channels, bottom = draw(st.sampled_from([1, 3, 8, 20])), "x"
    height, width = draw(st.integers(9, 20)), draw(st.integers(9, 20))
    text = input_layer(draw(st.integers(1, 3)), channels, height, width)
    side = min(height, width)  # at least so long is the shorter side of what comes next
    for i in range(draw(st.integers(2, 6))):
        kind = draw(st.sampled_from(["conv", "conv", "relu", "pool", "else", "branch"]))
        top = f"b{i}"
        if kind == "conv":
            text += conv(
                top, bottom, top, f"num_output: {draw(st.sampled_from([3, 16, 24]))} kernel_size: 3 pad: 1"
            )
        elif kind == "relu":
            slope = draw(st.sampled_from(["", "relu_param { negative_slope: 0.25 }"]))
            top = bottom if bottom != "x" and draw(st.booleans()) else top
            text += layer("ReLU", bottom, top, f"{slope}").replace(f"'ReLU_{top}'", f"'relu{i}'")
        elif kind == "pool":
            pad = draw(st.integers(0, 1 if side > 1 else 0))
            kernel = draw(st.integers(pad + 1, min(3, side)))
            stride = draw(st.integers(1, min(2, kernel)))
            side = (side + 2 * pad - kernel) // stride + 1
            text += layer(
                "Pooling",
                bottom,
                top,
                f"pooling_param {{ pool: {draw(st.sampled_from(['MAX', 'AVE']))} "
                f"kernel_size: {kernel} pad: {pad} stride: {stride} "
                f"round_mode: {draw(st.sampled_from(['CEIL', 'FLOOR']))} }}",
            )
        elif kind == "else":
            text += layer("TanH", bottom, top)
        else:
            text += conv(f"{top}a", bottom, f"{top}a", "num_output: 16 kernel_size: 1")
            text += conv(f"{top}b", bottom, f"{top}b", "num_output: 16 kernel_size: 3 pad: 1")
            text += (
                f"layer {{ name: '{top}' type: 'Eltwise' bottom: '{top}a' bottom: '{top}b' top: '{top}' "
                "eltwise_param { operation: SUM } }"
            )
        bottom = top
    return text


@drawn
@given(text=chains(), seed=st.integers(0, 1000), looks=st.data())
def test_a_chain_is_caffes_whenever_somebody_looks_at_its_blobs(tmp_path, text, seed, looks):
    ours, own = both(text, tmp_path, seed)
    names = list(own.blobs)
    for _ in range(3):
        last = looks.draw(st.sampled_from(names))
        ours.forward()
        own.forward()
        assert difference(ours.blobs[last].data, own.blobs[last].data) < 4 * CLOSE, last
        mine, theirs = backward(ours), backward(own)
        for name, gradient in theirs.items():
            assert difference(mine[name], gradient) < 40 * CLOSE, name
    for name in names:
        assert difference(ours.blobs[name].data, own.blobs[name].data) < 4 * CLOSE, name
        assert difference(ours.blobs[name].diff, own.blobs[name].diff) < 40 * CLOSE, name


VGG_LIKE = (
    input_layer(2, 3, 32, 40)
    + conv("conv1", "x", "conv1", "num_output: 64 kernel_size: 3 pad: 1")
    + layer("ReLU", "conv1", "conv1")
    + conv("conv2", "conv1", "conv2", "num_output: 64 kernel_size: 3 pad: 1")
    + layer("ReLU", "conv2", "conv2")
    + layer("Pooling", "conv2", "pool2", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    + conv("conv3", "pool2", "conv3", "num_output: 128 kernel_size: 3 pad: 1")
    + layer("ReLU", "conv3", "relu3")
    + layer("Pooling", "relu3", "pool3", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    + "layer { name: 'fc' type: 'InnerProduct' bottom: 'pool3' top: 'fc' "
    + "inner_product_param { num_output: 10 "
    + NOISE
    + " } }"
)


def test_a_net_like_vgg_is_caffes(tmp_path):
    assert_same(VGG_LIKE, tmp_path, WINOGRAD_CLOSE)


@pytest.mark.parametrize("size", [(14, 14), (7, 9)])
def test_small_maps_of_many_channels_are_caffes(tmp_path, size):
    """As VGG16's conv5, which goes in picture by picture where the transformed weights take half then."""
    text = input_layer(3, 512, *size) + conv("conv", "x", "conv", "num_output: 512 kernel_size: 3 pad: 1")
    assert_same(text + layer("ReLU", "conv", "conv"), tmp_path, WINOGRAD_CLOSE)


def test_max_pooling_routes_a_tie_where_caffe_does(tmp_path):
    text = input_layer(1, 16, 6, 6) + conv("conv", "x", "conv", "num_output: 16 kernel_size: 1")
    text += layer("ReLU", "conv", "conv")
    text += layer("Pooling", "conv", "pool", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }")
    ours, own = both(text, tmp_path)
    for net in (ours, own):
        net.params["conv"][0].data[...] = np.eye(16).reshape(16, 16, 1, 1)
        net.params["conv"][1].data[...] = 0
        net.blobs["x"].data[...] = np.random.default_rng(0).integers(-1, 2, net.blobs["x"].data.shape)
        net.forward()
    np.testing.assert_array_equal(ours.blobs["pool"].data, own.blobs["pool"].data)
    np.testing.assert_array_equal(backward(ours)["x"], backward(own)["x"])


def test_max_pooling_of_a_whole_map_goes_back_to_each_of_its_inputs(tmp_path):
    """Which input an output came from is kept as its number within the window."""
    height, width, count = 23, 37, 2 * 16
    text = input_layer(2, 16, height, width) + conv("conv", "x", "conv", "num_output: 16 kernel_size: 1")
    text += layer("Pooling", "conv", "pool", "pooling_param { pool: MAX global_pooling: true }")
    ours, own = both(text, tmp_path)
    for largest in range(0, height * width, 31):
        x = np.random.default_rng(largest).standard_normal((count, height * width))
        x[np.arange(count), (largest + np.arange(count)) % (height * width)] = 9
        for net in (ours, own):
            net.params["conv"][0].data[...] = np.eye(16).reshape(16, 16, 1, 1)
            net.params["conv"][1].data[...] = 0
            net.blobs["x"].data[...] = x.reshape(net.blobs["x"].data.shape)
            net.forward()
        np.testing.assert_array_equal(ours.blobs["pool"].data, 9)
        np.testing.assert_array_equal(own.blobs["pool"].data, 9)
        gradient = backward(ours)["x"]
        np.testing.assert_array_equal(gradient, backward(own)["x"])
        np.testing.assert_array_equal(gradient.reshape(x.shape) != 0, x == 9)


def fc_of(net: caffe.Net) -> np.ndarray:
    return net.forward()["fc"].copy()


def test_weights_are_never_stale(tmp_path):
    """Written in place, through a pointer taken long before, element by element, negated, loaded, shared."""
    ours, own = both(VGG_LIKE, tmp_path)
    held = {net: net.params["conv2"][0].data for net in (ours, own)}
    rng = np.random.default_rng(0)

    def same() -> np.ndarray:
        mine, theirs = fc_of(ours), fc_of(own)
        assert difference(mine, theirs) < WINOGRAD_CLOSE
        return theirs

    seen = [same()]
    for change in (
        lambda w: w.__setitem__(..., rng.standard_normal(w.shape) * 0 + np.roll(w, 1, axis=0)),
        lambda w: w.__setitem__((3, 5, 1, 1), 40.0),
        lambda w: np.negative(w, out=w),
        lambda w: w.__setitem__(slice(0, 2), w[[1, 0]].copy()),
    ):
        for weights in held.values():
            change(weights)
        seen.append(same())
    other = net_of(VGG_LIKE, tmp_path)
    other.save(str(tmp_path / "other.caffemodel"))
    for net in (ours, own):
        net.copy_from(str(tmp_path / "other.caffemodel"))
    seen.append(same())
    for net in (ours, own):
        net.share_with(other)
    other.params["conv3"][0].data[...] *= 2
    seen.append(same())
    other.params["conv1"][1].data[...] += 3
    seen.append(same())
    for before, after in itertools.pairwise(seen):
        assert difference(before, after) > 1e-3


def test_a_view_of_a_blob_stays_good(tmp_path):
    """An array taken before a pass shows what the pass wrote, as with Caffe's own code."""
    ours, own = both(VGG_LIKE, tmp_path)
    views = {name: blob.data for name, blob in ours.blobs.items()}
    ours.blobs["x"].data[...] *= 2
    own.blobs["x"].data[...] *= 2
    ours.forward()
    own.forward()
    for name, blob in own.blobs.items():
        assert difference(views[name], blob.data) < WINOGRAD_CLOSE, name


def test_a_pass_in_two_parts_shows_and_takes_what_lies_between(tmp_path):
    ours, own = both(VGG_LIKE, tmp_path)
    for net in (ours, own):
        net.forward()
        net.forward(end="conv2")
        assert net.blobs["conv2"].data.min() < 0  # ReLU has not run
        net.forward(start="ReLU_conv2", end="ReLU_conv2")
        assert net.blobs["conv2"].data.min() == 0
        net.blobs["conv2"].data[...] += 1
        net.forward(start="Pooling_pool2")
    assert difference(ours.blobs["fc"].data, own.blobs["fc"].data) < WINOGRAD_CLOSE


def test_reshaped_nets(tmp_path):
    text = VGG_LIKE[: VGG_LIKE.index("layer { name: 'fc'")]
    ours, own = both(text, tmp_path)
    for shape in ((1, 3, 16, 16), (3, 3, 33, 17), (1, 3, 50, 60), (2, 3, 32, 40), (1, 3, 9, 8)):
        x = np.random.default_rng(0).standard_normal(shape)
        for net in (ours, own):
            net.blobs["x"].reshape(*shape)
            net.blobs["x"].data[...] = x
            net.forward()
        assert difference(ours.blobs["pool3"].data, own.blobs["pool3"].data) < WINOGRAD_CLOSE
        assert difference(backward(ours)["conv2/0"], backward(own)["conv2/0"]) < 10 * WINOGRAD_CLOSE


def test_what_onednn_lacks_is_caffes_own(tmp_path):
    """Three spatial axes, im2col forced to N dimensions, another channel axis: Caffe's code, no complaint."""
    assert_same(input_layer(1, 2, 5, 6, 7) + conv("c", "x", "y", "num_output: 3 kernel_size: 3"), tmp_path)
    forced = "num_output: 3 kernel_size: 3 force_nd_im2col: true"
    assert_same(input_layer(1, 2, 5, 6) + conv("c", "x", "y", forced) + layer("ReLU", "y", "y"), tmp_path)
    assert_same(
        input_layer(2, 3, 4, 6, 6) + conv("c", "x", "y", "num_output: 3 kernel_size: 3 axis: 2"), tmp_path
    )


def test_threads_with_nets_of_their_own(tmp_path):
    """Nets built here and run on other threads, all at once."""
    nets = [both(VGG_LIKE, tmp_path, seed) for seed in range(3)]
    expected = [fc_of(own) for _, own in nets]
    worst = [0.0] * len(nets)

    def run(i: int) -> None:
        for _ in range(4):
            worst[i] = max(worst[i], difference(fc_of(nets[i][0]), expected[i]))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(nets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(worst) < WINOGRAD_CLOSE


def test_a_forked_process_computes_too(tmp_path):
    ours, _ = both(VGG_LIKE, tmp_path)
    expected = fc_of(ours)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=lambda: queue.put(fc_of(ours)))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert difference(queue.get(), expected) < CLOSE


def test_training_follows_caffes_own_curve(tmp_path):
    """Twelve solver steps, the test net sharing weights: the same losses while the weights move."""
    curves = {}
    for engine in ("", "CAFFE"):
        text = VGG_LIKE.replace("num_output: 10", "num_output: 4")
        text += "layer { name: 'label' type: 'Input' top: 'label' input_param { shape { dim: 2 } } }"
        text += "layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'fc' bottom: 'label' top: 'loss' }"
        source = net_of(text, tmp_path, engine)
        rng = np.random.default_rng(5)
        for blobs in source.params.values():
            for blob in blobs:
                blob.data[...] = rng.standard_normal(blob.data.shape) / np.sqrt(
                    max(np.prod(blob.data.shape[1:]), 9)
                )
        source.save(str(tmp_path / "start.caffemodel"))
        (tmp_path / "solver.prototxt").write_text(
            f"net: '{tmp_path}/net{engine}.prototxt' base_lr: 0.01 momentum: 0.9 lr_policy: 'fixed' "
            "max_iter: 100 "
            "test_iter: 1 test_interval: 1000 test_initialization: false snapshot_after_train: false"
        )
        solver = caffe.SGDSolver(str(tmp_path / "solver.prototxt"))
        solver.net.copy_from(str(tmp_path / "start.caffemodel"))
        solver.test_nets[0].share_with(solver.net)
        losses = []
        for step in range(12):
            x = np.random.default_rng(step).standard_normal(solver.net.blobs["x"].data.shape)
            for net in (solver.net, solver.test_nets[0]):
                net.blobs["x"].data[...] = x
                net.blobs["label"].data[...] = [step % 4, 3 - step % 4]
            solver.step(1)
            losses.append(float(solver.net.blobs["loss"].data))
            losses.append(float(solver.test_nets[0].forward()["loss"]))
        curves[engine] = np.array(losses)
    np.testing.assert_allclose(curves[""], curves["CAFFE"], rtol=5e-3)
    assert np.ptp(curves[""]) > 0.1


COMPARE = """
import sys
from pathlib import Path
from tests.test_onednn import CLOSE, VGG_LIKE, WINOGRAD_CLOSE, assert_same, conv, input_layer, layer, net_of
folder = Path(sys.argv[1])
net_of(VGG_LIKE, folder).forward()
net_of(VGG_LIKE, folder).forward()
assert_same(VGG_LIKE, folder, WINOGRAD_CLOSE)
odd = conv("c", "x", "c", "num_output: 20 kernel_size: 3 stride: 2") + layer("ReLU", "c", "c")
odd += layer("Pooling", "c", "p", "pooling_param { pool: AVE kernel_size: 2 stride: 2 }")
assert_same(input_layer(2, 12, 15, 14) + odd, folder)
"""


def log_of(folder: Path, **environment: str) -> list[str]:
    """The engine's lines in the log of a process that compares the engine with Caffe's own code."""
    done = subprocess.run(
        [sys.executable, "-c", COMPARE, str(folder)],
        cwd=ROOT,
        env=os.environ | environment | {"GLOG_minloglevel": "0", "GLOG_logtostderr": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [
        line.split("] ", 1)[1]
        for line in done.stderr.splitlines()
        if re.search("CPU[ _](engine|ENGINE)", line)
    ]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, r"CPU engine: oneDNN 2\.\d+\.\d+, AVX(2|-512) \(.*"),
        ({"DNNL_MAX_CPU_ISA": "AVX2"}, r"CPU engine: oneDNN 2\.\d+\.\d+, AVX2 \(.*"),
        ({"DNNL_MAX_CPU_ISA": "SSE41"}, "CPU engine: Caffe's own, as this CPU has no AVX2"),
        ({"CAFFE_CPU_ENGINE": "caffe"}, "CPU engine: Caffe's own, as CAFFE_CPU_ENGINE asks"),
        ({"OPENBLAS_NUM_THREADS": "1"}, r"CPU engine: oneDNN .*"),
    ],
)
def test_the_log_says_once_which_engine_computes(tmp_path, environment, expected):
    (line,) = log_of(tmp_path, **environment)
    assert re.fullmatch(expected, line)


def test_an_unknown_engine_is_named_and_left_aside(tmp_path):
    first, second = log_of(tmp_path, CAFFE_CPU_ENGINE="mkl")
    assert first == "CAFFE_CPU_ENGINE is 'mkl', neither caffe nor onednn: left aside"
    assert second.startswith("CPU engine: oneDNN")


@pytest.mark.parametrize("kernel", [1, 3])
def test_where_winograd_overflows_nothing_becomes_0(tmp_path, kernel):
    """Huge inputs and weights so small that their products are not."""
    text = input_layer(1, 32, 16, 16) + conv(
        "c", "x", "c", f"num_output: 32 kernel_size: {kernel} bias_term: false"
    )
    ours, own = both(text + layer("ReLU", "c", "c"), tmp_path)
    for net in (ours, own):
        net.params["c"][0].data[...] = 1e-38
        net.blobs["x"].data[...] = 1e38
        for _ in range(3):
            net.forward()
    assert (own.blobs["c"].data > 30).all()
    finite = np.isfinite(ours.blobs["c"].data)
    assert finite.all() or kernel == 3
    np.testing.assert_allclose(ours.blobs["c"].data[finite], own.blobs["c"].data[finite], rtol=1e-4)


RECTIFIED = (
    conv("c", "x", "c", "num_output: CHANNELS kernel_size: 3 pad: 1")
    + layer("ReLU", "c", "c")
    + conv("d", "c", "d", "num_output: CHANNELS kernel_size: 3 pad: 1")
    + layer("ReLU", "d", "d", "relu_param { negative_slope: SLOPE }")
    + layer("Pooling", "d", "p", "pooling_param { kernel_size: 2 stride: 2 }")
    + conv("e", "p", "e", "num_output: 8 kernel_size: 1")
    + layer("ReLU", "e", "e")
)


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
@pytest.mark.parametrize("slope", ["0", "0.1"])
@pytest.mark.parametrize("where", ["c", "c bias", "d", "e", "x"])
@pytest.mark.parametrize(
    ("channels", "value"), [*((16, value) for value in (np.nan, np.inf, -np.inf, 3e38, -1e30)), (32, np.nan)]
)
def test_what_is_no_number_stays_none(tmp_path, phase, slope, where, value, channels):
    """A training that diverges says so: convolution and ReLU in one go make no 0 of NaN. By Winograd, with 32
    channels, all of a tile is none where one of it is."""
    text = input_layer(2, channels, 8, 12)
    text += RECTIFIED.replace("SLOPE", slope).replace("CHANNELS", str(channels))
    nets = [net_of(text, tmp_path, engine, phase=phase) for engine in ("", "CAFFE")]
    random = np.random.default_rng(0)
    for blobs in nets[0].params.values():
        for blob in blobs:
            blob.data[...] = random.standard_normal(blob.data.shape)
    x = random.standard_normal((2, channels, 8, 12))
    for poisoned in (False, True, False):
        for net in nets:
            for name, blobs in nets[0].params.items():
                for ours, own in zip(blobs, net.params[name], strict=True):
                    own.data[...] = ours.data
            net.blobs["x"].data[...] = x
        kept = {name: [blob.data.copy() for blob in blobs] for name, blobs in nets[0].params.items()}
        for net in nets:
            if poisoned:
                name, _, bias = where.partition(" ")
                array = net.blobs["x"].data[1] if where == "x" else net.params[name][bool(bias)].data
                array.flat[4] = value  # in the middle of a kernel, where no padding is skipped
            with np.errstate(all="ignore"):
                net.forward()
        for name in ("c", "d", "p", "e"):
            ours, own = (net.blobs[name].data for net in nets)
            if channels == 32 and poisoned:
                assert name in ("p", "e") or np.isnan(ours[np.isnan(own)]).all()
                continue
            np.testing.assert_array_equal(np.isnan(ours), np.isnan(own))
            same = np.abs(own) < 1e25
            scale = max(1.0, float(np.abs(own[same]).max(initial=0)))
            assert np.abs(ours[same] - own[same]).max(initial=0) < 1e-4 * scale
        for name, blobs in kept.items():
            for blob, values in zip(nets[0].params[name], blobs, strict=True):
                blob.data[...] = values
