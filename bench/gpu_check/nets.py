"""The networks that are measured, as prototxt: VGG16 with a loss, whole or narrower."""

from dataclasses import dataclass

POOL = 0
WIDTHS = (64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512, POOL)


@dataclass(frozen=True)
class Size:
    """VGG16's shape: what its widths are divided by, its input's side, its fully connected layers' width."""

    divisor: int = 1
    side: int = 224
    hidden: int = 4096
    classes: int = 1000


WHOLE = Size()
SMALL = Size(divisor=8, side=64, hidden=128, classes=16)
"""For the CPU: a training of 20 steps takes it seconds."""


def vgg16(size: Size, batch: int, *, own_data: bool = False, smooth: bool = False) -> str:
    """VGG16 from pictures and labels to the loss: blobs data, label, conv1_1 ... pool5, fc6, fc7, fc8, loss.

    For caffe_measure, which draws weights and pictures, without dropout, which draws numbers too; with
    `own_data` for `caffe train`: weights and pictures are the prototxt's, and there is dropout. `smooth` has
    TanH and averages for ReLU and maxima: a rounding that swaps two that are almost the same sends a gradient
    another way, and after a few steps such a loss differs in its third digit between two CPUs.
    """
    pooling = f"pooling_param {{ pool: {'AVE' if smooth else 'MAX'} kernel_size: 2 stride: 2 }}"
    bend = "TanH" if smooth else "ReLU"
    filler = ' weight_filler { type: "msra" }' if own_data else ""
    text, below, block, number = [_data(size, batch, own_data)], "data", 1, 0
    for width in WIDTHS:
        if width == POOL:
            name = f"pool{block}"
            text.append(_layer(name, "Pooling", below, pooling))
            block, number = block + 1, 0
        else:
            number += 1
            name = f"conv{block}_{number}"
            outputs = f"num_output: {width // size.divisor} kernel_size: 3 pad: 1{filler}"
            text.append(_layer(name, "Convolution", below, f"convolution_param {{ {outputs} }}"))
            text.append(_in_place(f"relu{block}_{number}", bend, name))
        below = name
    for name, width in (("fc6", size.hidden), ("fc7", size.hidden), ("fc8", size.classes)):
        text.append(
            _layer(name, "InnerProduct", below, f"inner_product_param {{ num_output: {width}{filler} }}")
        )
        if name != "fc8":
            text.append(_in_place(f"relu_{name}", bend, name))
            text += [_in_place(f"drop_{name}", "Dropout", name)] if own_data else []
        below = name
    text.append('layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc8" bottom: "label" top: "loss" }')
    return "\n".join(text) + "\n"


def _data(size: Size, batch: int, own_data: bool) -> str:
    shapes = f"shape {{ dim: {batch} dim: 3 dim: {size.side} dim: {size.side} }} shape {{ dim: {batch} }}"
    fillers = 'data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 1 }'
    filled = f'type: "DummyData" dummy_data_param {{ {shapes} {fillers} }}'
    given = f'type: "Input" input_param {{ {shapes} }}'
    return f'layer {{ name: "data" top: "data" top: "label" {filled if own_data else given} }}'


def _layer(name: str, kind: str, below: str, parameter: str) -> str:
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{below}" top: "{name}" {parameter} }}'


def _in_place(name: str, kind: str, blob: str) -> str:
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{blob}" top: "{blob}" }}'


def solver(net: str, steps: int, gpu: bool) -> str:
    """A solver for `caffe train` that leaves no snapshot."""
    mode = "GPU" if gpu else "CPU"
    rest = 'lr_policy: "fixed" momentum: 0.9 snapshot_prefix: "s" snapshot_after_train: false display: 1'
    return f'net: "{net}" base_lr: 0.001 max_iter: {steps} random_seed: 1 solver_mode: {mode} {rest}\n'
