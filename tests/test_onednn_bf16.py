"""The oneDNN engine in bf16 against Caffe's own code in FP32, within what bf16 rounds off.

Caffe reads CAFFE_CPU_PRECISION once, so bf16 computes in a process of its own.
"""

import itertools
import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from test_onednn import (
    ROOT,
    VGG_LIKE,
    both,
    chains,
    conv,
    convolutions,
    difference,
    fc_of,
    input_layer,
    large_inner_products,
    layer,
    net_of,
)

FLAGS = Path("/proc/cpuinfo").read_text()
WITHOUT_AMX = "AVX512_CORE_BF16"
AMX = "AVX512_CORE_AMX"
ISAS = [WITHOUT_AMX, *([AMX] if "amx_bf16" in FLAGS else [])]
"""As oneDNN's DNNL_MAX_CPU_ISA names them."""
ROUNDING = 2.0**-8
"""What rounding to bf16's 8 significant bits changes at most, relative."""
needs_bf16 = pytest.mark.skipif(
    "avx512_bf16" not in FLAGS and "amx_bf16" not in FLAGS, reason="this CPU has no bf16"
)
drawn = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
Blobs = dict[str, np.ndarray]


def _in_bf16(isa: str) -> None:
    os.environ |= {"CAFFE_CPU_PRECISION": "bf16", "DNNL_MAX_CPU_ISA": isa}


def _precision() -> tuple[str, str]:
    return caffe.cpu_precision()  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=ISAS)
def bf16(request) -> Iterator[Callable[..., Any]]:
    """Calls a function of this module in a process that computes in bf16: by AVX-512 alone, and by AMX where
    this CPU has it."""
    with ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), _in_bf16, initargs=(request.param,)
    ) as pool:
        assert pool.submit(_precision).result() == ("bf16", "")
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


def filled(net: caffe.Net, params: dict[str, list[np.ndarray]], x: np.ndarray) -> caffe.Net:
    for name, blobs in params.items():
        for blob, values in zip(net.params[name], blobs, strict=True):
            blob.data[...] = values
    net.blobs["x"].data[...] = x
    return net


def forward(
    text: str, folder: Path, params: dict[str, list[np.ndarray]], x: np.ndarray, engine: str
) -> Blobs:
    """Every blob of a net with these weights and this input."""
    net = filled(net_of(text, folder, engine), params, x)
    net.forward()
    return {name: blob.data.copy() for name, blob in net.blobs.items()}


def drawn_values(text: str, folder: Path, seed: int) -> tuple[dict[str, list[np.ndarray]], np.ndarray]:
    _, own = both(text, folder, seed)
    params = {name: [blob.data.copy() for blob in blobs] for name, blobs in own.params.items()}
    return params, own.blobs["x"].data.copy()


def absolute(params: dict[str, list[np.ndarray]]) -> dict[str, list[np.ndarray]]:
    return {name: [np.abs(values) for values in blobs] for name, blobs in params.items()}


def assert_within(ours: np.ndarray, own: np.ndarray, sums: np.ndarray, rounds: float = 2 * ROUNDING) -> None:
    """Each number is off by no more than rounding the factors, and then the sum, can make it; `sums` are
    those of the products' absolute values."""
    assert ours.shape == own.shape
    worst = np.abs(ours - own) - (1.1 * rounds * sums + ROUNDING * np.abs(own) + 1e-6)
    assert worst.max(initial=-1) <= 0


@needs_bf16
@drawn
@given(text=convolutions(), seed=st.integers(0, 1000))
def test_a_convolution_is_caffes_but_for_rounding(bf16, tmp_path, text, seed):
    params, x = drawn_values(text, tmp_path, seed)
    own = forward(text, tmp_path, params, x, "CAFFE")
    sums = forward(text, tmp_path, absolute(params), np.abs(x), "CAFFE")
    assert_within(bf16(forward, text, tmp_path, params, x, "")["y"], own["y"], sums["y"])


@needs_bf16
@pytest.mark.parametrize("channels", [(8, 64), (64, 96), (20, 40), (512, 512)])
def test_a_convolution_rounds_its_factors_and_nothing_else(bf16, tmp_path, channels):
    """Factors that bf16 holds give FP32's sums, rounded once: so it is bf16, and adds in FP32."""
    text = input_layer(2, channels[0], 12, 13)  # 16 x 16 in Winograd's tiles, too much for its use
    text += conv("c", "x", "y", f"num_output: {channels[1]} kernel_size: 3 pad: 1")
    params, x = drawn_values(text, tmp_path, 1)
    params, x = {"c": [as_bf16(params["c"][0]), params["c"][1]]}, as_bf16(x)
    own = forward(text, tmp_path, params, x, "CAFFE")["y"]
    sums = forward(text, tmp_path, absolute(params), np.abs(x), "CAFFE")["y"]
    ours = bf16(forward, text, tmp_path, params, x, "")["y"]
    assert_within(ours, own, sums, rounds=1e-6)
    np.testing.assert_array_equal(ours, as_bf16(ours))


@needs_bf16
@pytest.mark.parametrize(("channels", "side"), [(64, 16), (64, 15), (7, 13)])
def test_without_amx_a_convolution_stays_fp32_where_that_is_faster(bf16, request, tmp_path, channels, side):
    """Where it fills Winograd's tiles of 4 x 4, and where a sum has few terms."""
    text = input_layer(2, channels, side, 16) + conv("c", "x", "y", "num_output: 96 kernel_size: 3 pad: 1")
    params, x = drawn_values(text, tmp_path, 1)
    ours = bf16(forward, text, tmp_path, params, x, "")["y"]
    fp32 = forward(text, tmp_path, params, x, "")["y"]
    if WITHOUT_AMX in request.node.name:
        np.testing.assert_array_equal(ours, fp32)
    else:
        np.testing.assert_array_equal(ours, as_bf16(ours))
        assert not np.array_equal(ours, fp32)


def as_bf16(values: np.ndarray) -> np.ndarray:
    """To the nearest number of 8 significant bits, by arithmetic: no bits are looked at."""
    mantissa, exponent = np.frexp(values.astype(np.float64))
    return np.ldexp(np.round(mantissa * 256) / 256, exponent).astype(np.float32)


@needs_bf16
@drawn
@given(text=chains(), seed=st.integers(0, 1000))
def test_a_chain_is_caffes_but_for_rounding(bf16, tmp_path, text, seed):
    """With S what comes of the absolute input, weights and biases, no layer adds more to the error than
    rounding two factors and a sum makes of S; and none but a convolution enlarges what it is given."""
    params, x = drawn_values(text, tmp_path, seed)
    own = forward(text, tmp_path, params, x, "CAFFE")
    linear = text.replace("type: 'TanH'", "type: 'ReLU'")  # which leaves S as it is
    sums = forward(linear, tmp_path, absolute(params), np.abs(x), "CAFFE")
    rounds = 3 * ROUNDING * text.count("layer {")
    for name, blob in bf16(forward, text, tmp_path, params, x, "").items():
        assert_within(blob, own[name], sums[name], rounds)


@st.composite
def inner_products(draw: st.DrawFn) -> str:
    axis = draw(st.integers(1, 3))
    shape = [draw(st.integers(1, 9)) for _ in range(4)]
    values = (
        f"num_output: {draw(st.integers(1, 70))} axis: {axis} "
        f"transpose: {draw(st.sampled_from(['true', 'false']))} "
        f"bias_term: {draw(st.sampled_from(['true', 'false']))}"
    )
    return input_layer(*shape) + layer("InnerProduct", "x", "y", f"inner_product_param {{ {values} }}")


@needs_bf16
@drawn
@given(text=inner_products(), seed=st.integers(0, 1000))
def test_an_inner_product_is_caffes_but_for_rounding(bf16, tmp_path, text, seed):
    params, x = drawn_values(text, tmp_path, seed)
    own = forward(text, tmp_path, params, x, "CAFFE")["y"]
    sums = forward(text, tmp_path, absolute(params), np.abs(x), "CAFFE")["y"]
    ours = bf16(forward, text, tmp_path, params, x, "")["y"]
    assert_within(ours, own, sums)
    params, x = {name: [as_bf16(blobs[0]), *blobs[1:]] for name, blobs in params.items()}, as_bf16(x)
    own = forward(text, tmp_path, params, x, "CAFFE")["y"]
    ours = bf16(forward, text, tmp_path, params, x, "")["y"]
    np.testing.assert_allclose(ours, own, rtol=1e-5, atol=1e-5 * max(1, float(sums.max())))


@needs_bf16
@settings(drawn, max_examples=15)
@given(text=large_inner_products(), seed=st.integers(0, 1000))
def test_a_large_inner_product_adds_in_fp32(bf16, tmp_path, text, seed):
    params, x = drawn_values(text, tmp_path, seed)
    params, x = {name: [as_bf16(blobs[0]), *blobs[1:]] for name, blobs in params.items()}, as_bf16(x)
    weights, bias = (*(blob.astype(np.float64) for blob in params["InnerProduct_y"]), 0)[:2]
    largest = np.abs(x) @ np.abs(weights).T + np.abs(bias)
    ours = bf16(forward, text, tmp_path, params, x, "")["y"]
    assert (np.abs(ours - (x @ weights.T + bias)) <= 1e-5 * largest).all()


@st.composite
def poolings(draw: st.DrawFn, method: str) -> str:
    """A pooling of what a convolution by 1 has left in its layout; x is as the convolution leaves it."""
    channels, side = draw(st.sampled_from([16, 20, 48, 64])), draw(st.integers(3, 12))
    kernel, pad = draw(st.integers(1, 3)), draw(st.integers(0, 1))
    assume(pad < kernel)
    text = input_layer(draw(st.integers(1, 3)), channels, side, draw(st.integers(3, 12)))
    text += conv("c", "x", "c", f"num_output: {channels} kernel_size: 1 bias_term: false")
    return text + layer(
        "Pooling",
        "c",
        "y",
        f"pooling_param {{ pool: {method} kernel_size: {kernel} pad: {pad} "
        f"stride: {draw(st.integers(1, kernel))} round_mode: {draw(st.sampled_from(['CEIL', 'FLOOR']))} }}",
    )


def with_gradient(text: str, folder: Path, x: np.ndarray, engine: str) -> tuple[np.ndarray, np.ndarray]:
    """y, and the gradient of its sum weighted 1, 2, 3, ... by x, where `c` passes x on."""
    net = net_of(text, folder, engine)
    channels = x.shape[1]
    filled(net, {"c": [np.eye(channels).reshape(channels, channels, 1, 1)]}, x)
    net.forward()
    y = net.blobs["y"].data.copy()
    net.blobs["y"].diff[...] = np.arange(y.size).reshape(y.shape) % 7
    net.backward()
    return y, net.blobs["c"].diff.copy()


@needs_bf16
@drawn
@given(text=poolings("MAX"), seed=st.integers(0, 1000))
def test_max_pooling_is_exact_and_routes_gradients_where_caffe_does(bf16, tmp_path, text, seed):
    random = np.random.default_rng(seed)
    shape = text_format.Parse(text, caffe_pb2.NetParameter()).layer[0].input_param.shape[0].dim
    x = as_bf16(random.standard_normal(shape) if seed % 2 else random.integers(-2, 3, shape))
    ours, own = bf16(with_gradient, text, tmp_path, x, ""), with_gradient(text, tmp_path, x, "CAFFE")
    np.testing.assert_array_equal(ours[0], own[0])
    np.testing.assert_array_equal(ours[1], own[1])


@needs_bf16
@drawn
@given(text=poolings("AVE"), seed=st.integers(0, 1000))
def test_average_pooling_adds_in_fp32_and_rounds_once(bf16, tmp_path, text, seed):
    shape = text_format.Parse(text, caffe_pb2.NetParameter()).layer[0].input_param.shape[0].dim
    x = as_bf16(np.random.default_rng(seed).standard_normal(shape))
    ours, own = bf16(with_gradient, text, tmp_path, x, ""), with_gradient(text, tmp_path, x, "CAFFE")
    assert_within(ours[0], own[0], np.zeros_like(own[0]))
    np.testing.assert_allclose(ours[1], own[1], rtol=1e-6)


@needs_bf16
def test_a_relu_of_its_own_keeps_what_is_above_zero(bf16, tmp_path):
    text = input_layer(2, 16, 9, 9) + conv("c", "x", "c", "num_output: 16 kernel_size: 1 bias_term: false")
    text += layer("ReLU", "c", "y", "relu_param { negative_slope: 0.25 }") + layer("ReLU", "c", "z")
    x = as_bf16(np.random.default_rng(0).standard_normal((2, 16, 9, 9)))
    x[0, 0, 0] = np.nan
    eye = {"c": [np.eye(16).reshape(16, 16, 1, 1)]}
    ours, own = (
        bf16(forward, text, tmp_path, eye, x, ""),
        forward(text, tmp_path, eye, x, "CAFFE"),
    )
    for name in ("c", "y", "z"):
        np.testing.assert_array_equal(ours[name], own[name])


def _features(text: str, folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """fc of VGG_LIKE in bf16, and in Caffe's own code, after each way to change weights or input."""
    ours, own = both(text, folder)
    other = net_of(text, folder, "CAFFE")
    other.save(str(folder / "other.caffemodel"))
    held = {net: net.params["conv2"][0].data for net in (ours, own)}
    fc = {net: net.params["fc"][0].data for net in (ours, own)}

    def scale_fc(net: caffe.Net) -> None:
        net.params["fc"][0].data[...] *= 2

    changes: list[Callable[[caffe.Net], object]] = [
        lambda net: None,
        lambda net: np.multiply(held[net], 1.5, out=held[net]),
        lambda net: np.negative(fc[net], out=fc[net]),
        lambda net: (held.pop(net), fc.pop(net)),
        scale_fc,
        lambda net: net.blobs["x"].reshape(3, 3, 32, 40),
        lambda net: net.copy_from(str(folder / "other.caffemodel")),
        scale_fc,
        lambda net: net.share_with(other),
        lambda net: net is ours and scale_fc(other),
    ]
    found = []
    for change in changes:
        for net in (ours, own):
            change(net)
        found.append((fc_of(ours), fc_of(own)))
    return found


@needs_bf16
def test_weights_are_never_stale(bf16, tmp_path):
    """Written by an array that is kept, and one that is gone, loaded, shared, in batches of two sizes."""
    seen = bf16(_features, VGG_LIKE, tmp_path)
    for ours, own in seen:
        assert difference(ours, own) < 0.03
    for (_, before), (_, after) in itertools.pairwise(seen[1:]):
        assert before.shape != after.shape or np.array_equal(before, after) or difference(before, after) > 0.1


@needs_bf16
def test_a_view_of_a_blob_shows_floats(bf16, tmp_path):
    params, x = drawn_values(VGG_LIKE, tmp_path, 3)
    ours = bf16(forward, VGG_LIKE, tmp_path, params, x, "")
    own = forward(VGG_LIKE, tmp_path, params, x, "CAFFE")
    for name, blob in own.items():
        assert ours[name].dtype == np.float32
        assert difference(ours[name], blob) < 0.02, name


def _poisoned(folder: Path) -> np.ndarray:
    text = (
        input_layer(2, 16, 9, 9)
        + conv("c", "x", "c", "num_output: 16 kernel_size: 3")
        + layer("ReLU", "c", "c")
    )
    net = net_of(text, folder)
    for value in (1, np.nan):
        net.params["c"][0].data[...] = value
        net.forward()  # from the second on in one go with the ReLU
    return net.blobs["c"].data.copy()


@needs_bf16
def test_what_is_no_number_stays_none(bf16, tmp_path):
    assert np.isnan(bf16(_poisoned, tmp_path)).all()


def _of_phase_train(folder: Path) -> list[float]:
    text = input_layer(2, 16, 9, 9) + conv("c", "x", "c", "num_output: 16 kernel_size: 3")
    ours, own = net_of(text, folder, phase=caffe.TRAIN), net_of(text, folder, "CAFFE", phase=caffe.TRAIN)
    params = {"c": [blob.data.copy() for blob in own.params["c"]]}
    x = np.random.default_rng(0).standard_normal((2, 16, 9, 9))
    for net in (ours, own):
        filled(net, params, x).forward()
    return [difference(ours.blobs["c"].data, own.blobs["c"].data)]


@needs_bf16
def test_a_net_of_phase_train_stays_fp32(bf16, tmp_path):
    assert max(bf16(_of_phase_train, tmp_path)) < 1e-5


HASHES = """
import sys, hashlib
from pathlib import Path
from tests.test_onednn import VGG_LIKE, both
ours, _ = both(VGG_LIKE, Path(sys.argv[1]))
print(hashlib.sha256(ours.forward()["fc"].tobytes()).hexdigest())
"""
SOLVER = """
import sys
import caffe
from pathlib import Path
from tests.test_onednn import VGG_LIKE
folder = Path(sys.argv[1])
(folder / "net.prototxt").write_text(VGG_LIKE)
solver = f"net: '{folder}/net.prototxt' base_lr: 0.1 lr_policy: 'fixed' max_iter: 1"
(folder / "solver.prototxt").write_text(solver)
caffe.SGDSolver(str(folder / "solver.prototxt"))
"""


def run_python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT,
        env=os.environ | environment | {"GLOG_minloglevel": "0", "GLOG_logtostderr": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"DNNL_MAX_CPU_ISA": "AVX512_CORE"}, "this CPU has neither avx512_bf16 nor AMX"),
        ({"CAFFE_CPU_ENGINE": "caffe"}, "Caffe's own code computes, which has no other"),
    ],
)
def test_where_bf16_is_not_to_be_had_the_log_says_so_and_fp32_it_is(tmp_path, environment, why):
    plain = run_python(HASHES, tmp_path, **environment)
    asked = run_python(HASHES, tmp_path, CAFFE_CPU_PRECISION="bf16", **environment)
    assert asked.returncode == 0 and asked.stdout == plain.stdout
    said = re.findall(r"\] (CPU precision: .*)", asked.stderr)
    assert said == [f"CPU precision: FP32, not bf16 as CAFFE_CPU_PRECISION asks: {why}"]
    assert "CPU precision" not in plain.stderr


@needs_bf16
@pytest.mark.parametrize("isa", ISAS)
def test_the_log_says_once_that_it_is_bf16(tmp_path, isa):
    fp32 = run_python(HASHES, tmp_path, CAFFE_CPU_PRECISION="fp32", DNNL_MAX_CPU_ISA=isa)
    bf16 = run_python(HASHES, tmp_path, CAFFE_CPU_PRECISION="bf16", DNNL_MAX_CPU_ISA=isa)
    assert len({fp32.stdout, bf16.stdout}) == 2
    said = "bf16 in nets of phase TEST, as CAFFE_CPU_PRECISION asks"
    if isa == WITHOUT_AMX:
        said += "; 3x3 convolutions mostly stay FP32, which Winograd makes faster on a CPU without AMX"
    assert re.findall(r"\] CPU precision: (.*)", bf16.stderr) == [said]


@pytest.mark.parametrize("setting", ["fp16", "BF16", "1"])
def test_another_setting_is_refused(tmp_path, setting):
    done = run_python(HASHES, tmp_path, CAFFE_CPU_PRECISION=setting)
    assert done.returncode != 0
    assert f"CAFFE_CPU_PRECISION is '{setting}', neither fp32 nor bf16" in done.stderr


def test_training_is_refused(tmp_path):
    done = run_python(SOLVER, tmp_path, CAFFE_CPU_PRECISION="bf16")
    assert done.returncode != 0
    assert (
        "CAFFE_CPU_PRECISION=bf16 is for features: training on the CPU is FP32 only, unset it" in done.stderr
    )
    assert run_python(SOLVER, tmp_path).returncode == 0
