"""tools.check_weights on caffemodels that Caffe wrote; what it lets pass, Caffe copies."""

import re
import subprocess
import sys
from pathlib import Path

import caffe
import h5py
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from tools.check_weights import fits, main
from tools.files.caffemodel import FourAxes
from tools.files.prototxt import read_net

ROOT = Path(__file__).parent.parent
NET = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { crop_size: 12 } data_param { source: "not there" batch_size: 64 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { crop_size: 12 } data_param { source: "not there" batch_size: 52 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc6" type: "InnerProduct" bottom: "conv" top: "fc6"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "fc8_magic" type: "InnerProduct" bottom: "fc6" top: "fc8_magic"
  inner_product_param { num_output: 5 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc8_magic" bottom: "label" top: "loss" }
"""
INPUT = (
    'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 12 dim: 12 } } }'
)


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """A folder with train_val.prototxt and pretrained.caffemodel, with conv, fc6 and an fc8 of 1000."""
    (tmp_path / "train_val.prototxt").write_text(NET)
    body = NET[NET.index('layer { name: "conv"') : NET.index('layer { name: "loss"')]
    body = body.replace("fc8_magic", "fc8").replace("num_output: 5", "num_output: 1000")
    (tmp_path / "deploy.prototxt").write_text(INPUT + body)
    net = caffe.Net(str(tmp_path / "deploy.prototxt"), caffe.TEST)
    net.save(str(tmp_path / "pretrained.caffemodel"))
    net.save_hdf5(str(tmp_path / "pretrained.h5"))
    return tmp_path


def run(
    capsys: pytest.CaptureFixture, folder: Path, *more: str, weights: str = "pretrained.caffemodel"
) -> str:
    status = main([str(folder / "train_val.prototxt"), str(folder / weights), *more])
    said = capsys.readouterr()
    assert status == bool(said.err)
    assert (said.out + said.err).count("\n") == 1
    return (said.out + said.err).replace(f"{folder}/", "").rstrip("\n")


@pytest.mark.parametrize("options", [(), ("--new", "fc8_magic")])
@pytest.mark.parametrize("weights", ["pretrained.caffemodel", "pretrained.h5"])
def test_all_but_the_new_layer(pretrained, capsys, options, weights) -> None:
    said = run(capsys, pretrained, *options, weights=weights)
    assert said == f"{weights} initialises conv, fc6; new: fc8_magic"


def test_a_typing_error_in_a_name(pretrained, capsys) -> None:
    (pretrained / "train_val.prototxt").write_text(NET.replace('name: "fc6"', 'name: "fc_6"'))
    assert run(capsys, pretrained) == (
        "check_weights: pretrained.caffemodel doesn't fit train_val.prototxt:"
        " it has no weights for fc_6; it has some for conv, fc6, fc8"
    )


def test_a_last_layer_that_was_not_renamed(pretrained, capsys) -> None:
    """Caffe itself ends with a failed check here."""
    (pretrained / "train_val.prototxt").write_text(NET.replace("fc8_magic", "fc8"))
    said = run(capsys, pretrained)
    assert "layer fc8 has shape 1000 x 10 there, and the network wants 5 x 10" in said


def test_nothing_is_new(pretrained, capsys) -> None:
    assert "it has no weights for fc8_magic" in run(capsys, pretrained, "--new", "conv")
    said = run(capsys, pretrained, "--new", "fc9")
    assert "the network has no layer fc9 with weights; it has conv, fc6, fc8_magic" in said


def test_another_number_of_blobs(pretrained, capsys) -> None:
    without_bias = NET.replace("num_output: 4", "num_output: 4 bias_term: false")
    (pretrained / "train_val.prototxt").write_text(without_bias)
    assert "layer conv has 2 blobs there, and the network wants 1" in run(capsys, pretrained)


def test_an_old_file_with_four_axes(pretrained, capsys) -> None:
    """As VGG's own: `layers`, and the shape of fc6 written as 1 x 1 x 10 x 400. Caffe takes it too."""
    new = caffe_pb2.NetParameter.FromString((pretrained / "pretrained.caffemodel").read_bytes())
    old = caffe_pb2.NetParameter()
    kinds = {"Convolution": "CONVOLUTION", "InnerProduct": "INNER_PRODUCT"}
    for layer in new.layer:
        if layer.blobs:
            kind = caffe_pb2.V1LayerParameter.LayerType.Value(kinds[layer.type])
            copied = old.layers.add(name=layer.name, type=kind)
            for blob in layer.blobs:
                n, c, h, w = [1] * (4 - len(blob.shape.dim)) + list(blob.shape.dim)
                copied.blobs.add(data=blob.data, num=n, channels=c, height=h, width=w)
    (pretrained / "old.caffemodel").write_bytes(old.SerializeToString())
    assert run(capsys, pretrained, weights="old.caffemodel").endswith("initialises conv, fc6; new: fc8_magic")
    arguments = (str(pretrained / "deploy.prototxt"), str(pretrained / "old.caffemodel"), caffe.TEST)
    np.testing.assert_array_equal(
        caffe.Net(*arguments).params["fc6"][0].data.ravel(), new.layer[3].blobs[0].data
    )


def test_shapes_fit_as_in_caffe() -> None:
    assert fits((10, 400), (10, 400))
    assert not fits((1, 10), (10,))
    assert fits(FourAxes((1, 1, 1, 10)), (10,))
    assert not fits(FourAxes((10, 1, 1, 1)), (10,))


def test_vgg16s_layers_are_those_of_the_deploy_file(tmp_path, capsys) -> None:
    """A caffemodel of VGG16's names and shapes, without the half gigabyte of values."""
    channels, size = 3, 25088
    with h5py.File(tmp_path / "vgg16.h5", "w") as model:
        for layer in read_net(ROOT / "prototxt" / "vgg16" / "deploy.prototxt").layer:
            if layer.type == "Convolution":
                out = layer.convolution_param.num_output
                shapes = [(out, channels, 3, 3), (out,)]
                channels = out
            elif layer.type == "InnerProduct":
                out = layer.inner_product_param.num_output
                shapes = [(out, size), (out,)]
                size = out
            else:
                continue
            for number, shape in enumerate(shapes):
                model.create_dataset(f"data/{layer.name}/{number}", shape, "f4", chunks=True)
    train_val = ROOT / "prototxt" / "vgg16" / "train_val.prototxt"
    assert main([str(train_val), str(tmp_path / "vgg16.h5"), "--new", "fc8_magic"]) == 0
    assert capsys.readouterr().out.endswith("conv5_3, fc6, fc7; new: fc8_magic\n")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none", None, "No such file or directory: none"),
        ("text", b"not a model", "text is not a caffemodel, or not a whole one"),
        ("empty", b"", "empty has no weights"),
    ],
)
def test_weights_that_are_none(pretrained, capsys, name, content, said) -> None:
    if content is not None:
        (pretrained / name).write_bytes(content)
    assert run(capsys, pretrained, weights=name) == f"check_weights: {said}"


def test_a_caffemodel_cut_short(pretrained, capsys) -> None:
    whole = (pretrained / "pretrained.caffemodel").read_bytes()
    (pretrained / "cut").write_bytes(whole[: len(whole) // 2])
    assert (
        run(capsys, pretrained, weights="cut") == "check_weights: cut is not a caffemodel, or not a whole one"
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("num_output: 4", "num_outputs: 4", "train_val.prototxt, line 7: .*num_outputs"),
        (
            '"Convolution"',
            '"Convolutions"',
            "Caffe can't build the network of phase TEST: .*Unknown layer type",
        ),
        ("crop_size: 12", "", "not there can't be read as an LMDB: No such file or directory"),
    ],
)
def test_a_network_that_caffe_refuses(pretrained, capsys, old, new, said) -> None:
    (pretrained / "train_val.prototxt").write_text(NET.replace(old, new))
    assert re.search(said, run(capsys, pretrained))


def test_as_a_program(pretrained) -> None:
    arguments = [pretrained / "train_val.prototxt", pretrained / "pretrained.caffemodel"]
    command = [sys.executable, "-m", "tools.check_weights", *arguments, "--new", "fc8_magic"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
