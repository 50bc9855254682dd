"""VGG16 with random weights in PyTorch, ONNX Runtime and OpenVINO: one pass of a case of bench/caffe_cpu.py.

Each package is set as its own documentation has it for the shortest time of one pass: PyTorch with channels
last; ONNX Runtime with all its rewriting of the graph; OpenVINO with the hint for latency, and with the
precision named, as it would take bf16 of itself where the CPU has it.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int, int]
CONVOLUTIONS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
WIDE = 4096
LAST_SIDE = 7


def pixels(shape: Shape) -> NDArray[np.float32]:
    """A batch (N, C, H, W), about as large as pictures less their mean."""
    return np.float32(50) * np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def torch_pass(case: str, shape: Shape, threads: int) -> Callable[[], object]:
    """Channels last; no gradients unless the case is 'training'."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    convolutions, channels = [], 3
    for count, width in CONVOLUTIONS:
        for _ in range(count):
            convolution = torch.nn.Conv2d(channels, width, 3, padding=1)
            torch.nn.init.kaiming_normal_(convolution.weight)
            convolutions.append(convolution.to(memory_format=torch.channels_last))
            channels = width
    columns = channels * LAST_SIDE**2
    wide = [] if case == "pool5" else [torch.nn.Linear(columns, WIDE), torch.nn.Linear(WIDE, WIDE)]
    last = torch.nn.Linear(WIDE, 1000)
    x = torch.from_numpy(pixels(shape)).to(memory_format=torch.channels_last)
    labels = torch.zeros(shape[0], dtype=torch.long)

    def forward() -> torch.Tensor:
        y, layers = x, iter(convolutions)
        for count, _ in CONVOLUTIONS:
            for _ in range(count):
                y = functional.relu(next(layers)(y), inplace=True)
            y = functional.max_pool2d(y, 2)
        if not wide:
            return y
        y = wide[0](y.flatten(1))
        return wide[1](functional.dropout(functional.relu(y), training=case == "training"))

    def train() -> None:
        y = functional.dropout(functional.relu(forward()))
        functional.cross_entropy(last(y), labels).backward()

    return train if case == "training" else torch.inference_mode()(forward)


def onnxruntime_pass(case: str, shape: Shape, threads: int) -> Callable[[], object]:
    """In float32, on as many threads within an operator."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    with tempfile.TemporaryDirectory() as folder:
        file = write_onnx(case, shape, Path(folder))
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    x = pixels(shape)
    return lambda: session.run(None, {"data": x})


def openvino_pass(case: str, shape: Shape, threads: int, precision: str) -> Callable[[], object]:
    """In the precision 'f32' or 'bf16'."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        hints = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
        }
        model = openvino.Core().compile_model(write_onnx(case, shape, Path(folder)), "CPU", hints)
    if (computes_in := model.get_property("INFERENCE_PRECISION_HINT").to_string()) != precision:
        raise ValueError(f"OpenVINO computes in {computes_in} on this CPU, not in {precision}")
    request, x = model.create_infer_request(), pixels(shape)
    return lambda: request.infer({"data": x}, share_inputs=True, share_outputs=True)


def write_onnx(case: str, shape: Shape, folder: Path) -> Path:
    """VGG16 to pool5 or fc7 as an ONNX file, for inputs of exactly this shape."""
    from onnx import TensorProto, helper, numpy_helper, save

    random, nodes, weights = np.random.default_rng(0), [], []

    def layer(operator: str, into: str, out: str, size: tuple[int, ...] = (), **how: object) -> str:
        names = [f"{out}_weights", f"{out}_bias"] if size else []
        if size:
            values = random.standard_normal(size, dtype=np.float32)
            values *= np.float32(np.sqrt(2 / np.prod(size[1:])))
            for name, array in zip(names, (values, np.zeros(size[0], np.float32)), strict=True):
                weights.append(numpy_helper.from_array(array, name))
        nodes.append(helper.make_node(operator, [into, *names], [out], **how))
        return out

    y, channels = "data", 3
    for name, width in layer_names():
        if not width:
            y = layer("MaxPool", y, name, kernel_shape=[2, 2], strides=[2, 2])
            continue
        y = layer("Conv", y, name, (width, channels, 3, 3), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        y, channels = layer("Relu", y, f"{name}_relu"), width
    if case != "pool5":
        y = layer("Flatten", y, "flat", axis=1)
        y = layer("Gemm", y, "fc6", (WIDE, channels * LAST_SIDE**2), transB=1)
        y = layer("Gemm", layer("Relu", y, "fc6_relu"), "fc7", (WIDE, WIDE), transB=1)
    given = helper.make_tensor_value_info("data", TensorProto.FLOAT, shape)
    wanted = helper.make_tensor_value_info(y, TensorProto.FLOAT, None)
    opset = helper.make_opsetid("", 13)
    graph = helper.make_graph(nodes, "VGG16", [given], [wanted], weights)
    save(helper.make_model(graph, opset_imports=[opset], ir_version=8), folder / "vgg16.onnx")
    return folder / "vgg16.onnx"


def layer_names() -> Iterator[tuple[str, int]]:
    """Convolutions with their width, and after each block its pooling with 0."""
    for block, (count, width) in enumerate(CONVOLUTIONS, 1):
        for i in range(1, count + 1):
            yield f"conv{block}_{i}", width
        yield f"pool{block}", 0
