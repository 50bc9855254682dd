"""tools.rename_blobs against Caffe itself: what a network computed before, it computes after, to the bit."""

import re
import subprocess
import sys
from pathlib import Path

import caffe
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tools.files.prototxt import read_net
from tools.network.own_blobs import own_blobs
from tools.rename_blobs import main

PROTOTXT = Path(__file__).parent.parent / "prototxt"
SHAPE = (2, 3, 5, 4)
INPUT = "layer { name: 'in' type: 'Input' top: 'x' input_param { shape { dim: 2 dim: 3 dim: 5 dim: 4 } } }"
NOISE = "weight_filler { type: 'gaussian' std: 0.5 } bias_filler { type: 'gaussian' std: 0.5 }"
CONV = f"type: 'Convolution' convolution_param {{ num_output: 3 kernel_size: 3 pad: 1 {NOISE} }}"
FC = f"type: 'InnerProduct' inner_product_param {{ num_output: 6 {NOISE} }}"
IN_PLACE = [
    "type: 'ReLU'",
    "type: 'ReLU' relu_param { negative_slope: 0.25 }",
    "type: 'Sigmoid'",
    "type: 'Dropout'",
    "type: 'Power' power_param { power: 2 scale: -0.5 shift: 0.25 }",
    "type: 'PReLU' prelu_param { filler { type: 'gaussian' std: 1 } }",
    "type: 'Scale' scale_param { bias_term: true filler { type: 'gaussian' std: 1 } }",
]
ELSEWHERE = [CONV, "type: 'Eltwise'", "type: 'Eltwise' eltwise_param { operation: MAX }", "type: 'Concat'"]
SHARING = ["type: 'Split'", "type: 'Flatten'", "type: 'Reshape' reshape_param { shape { dim: 2 dim: -1 } }"]


def net_of(*layers: str) -> caffe_pb2.NetParameter:
    return text_format.Parse("\n".join((INPUT, *layers)), caffe_pb2.NetParameter())


def layer(what: str, name: str, bottoms: list[str], tops: list[str]) -> str:
    ends = [f"bottom: '{blob}'" for blob in bottoms] + [f"top: '{blob}'" for blob in tops]
    return f"layer {{ name: '{name}' {what} {' '.join(ends)} }}"


def load(net: caffe_pb2.NetParameter, folder: Path, weights: Path | None = None) -> caffe.Net:
    path = folder / "net.prototxt"
    path.write_text(text_format.MessageToString(net))
    return caffe.Net(str(path), *([str(weights)] if weights else []), caffe.TEST)


def forward(net: caffe.Net, x: np.ndarray) -> dict[str, np.ndarray]:
    net.blobs["x"].data[...] = x
    net.forward()
    return {name: blob.data.copy() for name, blob in net.blobs.items()}


@st.composite
def networks(draw: st.DrawFn, *, sharing: bool, read_before: bool) -> caffe_pb2.NetParameter:
    """Small networks with branches. Every blob is read at the end by a layer of its own: the outputs.

    Caffe refuses a network in which somebody reads a blob before an in-place layer overwrites it; such
    ones are drawn only with read_before.
    """
    shapes = {"x": SHAPE}
    unread = {"x"}
    layers = []
    for i in range(draw(st.integers(2, 9))):
        blob = draw(st.sampled_from(sorted(shapes)))
        kinds = ["in place", "elsewhere", *(["sharing"] if sharing else [])]
        kind = draw(st.sampled_from(kinds))
        if kind == "in place" and (read_before or blob in unread):
            layers.append(layer(draw(st.sampled_from(IN_PLACE)), f"in{i}", [blob], [blob]))
            unread.add(blob)
            continue
        unread.discard(blob)
        if kind == "sharing":
            what = draw(st.sampled_from(SHARING))
            tops = [f"s{i}"] if "Split" not in what else [f"s{i}a", f"s{i}b"]
            layers.append(layer(what, f"share{i}", [blob], tops))
            flat = (shapes[blob][0], int(np.prod(shapes[blob][1:])))
            shapes |= dict.fromkeys(tops, shapes[blob] if "Split" in what else flat)
            unread |= set(tops)
            continue
        what = FC if len(shapes[blob]) == 2 else draw(st.sampled_from(ELSEWHERE))
        bottoms = [blob]
        if "Eltwise" in what or "Concat" in what:
            bottoms.append(draw(st.sampled_from(sorted(b for b in shapes if shapes[b] == shapes[blob]))))
            unread.discard(bottoms[1])
        layers.append(layer(what, f"layer{i}", bottoms, [f"b{i}"]))
        channels = 2 * shapes[blob][1] if "Concat" in what else 3
        shapes[f"b{i}"] = (2, 6) if "InnerProduct" in what else (2, channels, 5, 4)
        if "Eltwise" in what:
            shapes[f"b{i}"] = shapes[blob]
        unread.add(f"b{i}")
    sinks = [layer("type: 'Power'", f"see_{blob}", [blob], [f"out_{blob}"]) for blob in shapes]
    return net_of(*layers, *sinks)


def pictures(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)


@settings(deadline=None, max_examples=150)
@given(net=networks(sharing=True, read_before=False), seed=st.integers(0, 99))
def test_same_outputs_as_caffe_computes_in_place(tmp_path_factory, net, seed) -> None:
    folder = tmp_path_factory.mktemp("net")
    try:
        renamed, _ = own_blobs(net)
    except ValueError as error:
        assert "no renaming keeps" in str(error)
        assert {"Flatten", "Reshape"} & {one.type for one in net.layer}
        assume(False)
    before = load(net, folder)
    before.save(str(folder / "weights"))
    after = load(renamed, folder, folder / "weights")
    x = pictures(seed)
    old, new = forward(before, x), forward(after, x)
    for name in before.outputs:
        np.testing.assert_array_equal(old[name], new[name], err_msg=name)
    assert not [la for la in renamed.layer if set(la.bottom) & set(la.top)]


@settings(deadline=None, max_examples=60)
@given(net=networks(sharing=False, read_before=True), seed=st.integers(0, 99))
def test_same_outputs_as_the_layers_one_after_the_other(tmp_path_factory, net, seed) -> None:
    """The readers of a blob that stand before the in-place layer keep the earlier value."""
    folder = tmp_path_factory.mktemp("net")
    after = load(own_blobs(net)[0], folder)
    x = pictures(seed)
    values = forward(after, x)
    by_hand = {"x": x}
    for one in net.layer[1:]:
        outputs = run_alone(one, [by_hand[b] for b in one.bottom], after, folder)
        by_hand |= dict(zip(one.top, outputs, strict=True))
    for name in after.outputs:
        np.testing.assert_array_equal(by_hand[name], values[name], err_msg=name)


def run_alone(
    one: caffe_pb2.LayerParameter, inputs: list[np.ndarray], trained: caffe.Net, folder: Path
) -> list[np.ndarray]:
    """The tops of one layer, run by Caffe in a network of its own with the weights of `trained`."""
    net = caffe_pb2.NetParameter()
    for i, x in enumerate(inputs):
        feed = net.layer.add(name=f"feed{i}", type="Input", top=[f"i{i}"])
        feed.input_param.shape.add(dim=x.shape)
    alone = net.layer.add()
    alone.CopyFrom(one)
    alone.bottom[:] = [f"i{i}" for i in range(len(inputs))]
    alone.top[:] = [f"o{i}" for i in range(len(one.top))]
    loaded = load(net, folder)
    for i, x in enumerate(inputs):
        loaded.blobs[f"i{i}"].data[...] = x
    for mine, theirs in zip(loaded.params.get(one.name, []), trained.params.get(one.name, []), strict=True):
        mine.data[...] = theirs.data
    loaded.forward()
    return [loaded.blobs[blob].data.copy() for blob in alone.top]


FC_CHAIN = [
    layer(FC, "fc6", ["x"], ["fc6"]),
    layer("type: 'ReLU'", "relu6", ["fc6"], ["fc6"]),
    layer("type: 'Dropout'", "drop6", ["fc6"], ["fc6"]),
    layer(FC, "fc7", ["fc6"], ["fc7"]),
    layer("type: 'ReLU'", "relu7", ["fc7"], ["fc7"]),
    layer("type: 'Dropout'", "drop7", ["fc7"], ["fc7"]),
]


def test_each_blob_holds_what_its_layer_is_defined_to_compute(tmp_path) -> None:
    renamed, renames = own_blobs(net_of(*FC_CHAIN))
    assert [rename.new for rename in renames] == ["fc6_relu6", "fc6_drop6", "fc7_relu7", "fc7_drop7"]
    net = load(renamed, tmp_path)
    x = pictures(1)
    values = forward(net, x)
    for name, below in (("fc6", x.reshape(2, -1)), ("fc7", values["fc6_drop6"])):
        weights, bias = (blob.data for blob in net.params[name])
        np.testing.assert_allclose(values[name], below @ weights.T + bias, rtol=1e-4, atol=1e-4)
        assert values[name].min() < 0
        relu = np.maximum(values[name], 0)
        np.testing.assert_array_equal(values[f"{name}_relu{name[-1]}"], relu)
        np.testing.assert_array_equal(values[f"{name}_drop{name[-1]}"], relu)


def test_without_renaming_blob_fc7_holds_the_value_after_relu(tmp_path) -> None:
    in_place = load(net_of(*FC_CHAIN), tmp_path)
    in_place.save(str(tmp_path / "weights"))
    x = pictures(2)
    fc7 = forward(in_place, x)["fc7"]
    renamed = load(own_blobs(net_of(*FC_CHAIN))[0], tmp_path, tmp_path / "weights")
    values = forward(renamed, x)
    np.testing.assert_array_equal(fc7, values["fc7_relu7"])
    assert (fc7 != values["fc7"]).any()


def vgg16_in_the_old_format() -> str:
    """VGG's own deploy file: `layers`, types in capitals, input_dim, ReLU and dropout in place."""
    text = ['name: "VGG_ILSVRC_16_layers" input: "data"']
    text += [f"input_dim: {size}" for size in (10, 3, 224, 224)]
    below = "data"

    def add(name: str, kind: str, top: str, rest: str = "") -> None:
        nonlocal below
        text.append(f'layers {{ bottom: "{below}" top: "{top}" name: "{name}" type: {kind} {rest} }}')
        below = top

    for block, (convolutions, channels) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], 1):
        for i in range(1, convolutions + 1):
            conv = f"conv{block}_{i}"
            shape = f"convolution_param {{ num_output: {channels} pad: 1 kernel_size: 3 }}"
            add(conv, "CONVOLUTION", conv, shape)
            add(f"relu{block}_{i}", "RELU", conv)
        pool = f"pool{block}"
        add(pool, "POOLING", pool, "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    for i in (6, 7):
        add(f"fc{i}", "INNER_PRODUCT", f"fc{i}", "inner_product_param { num_output: 4096 }")
        add(f"relu{i}", "RELU", f"fc{i}")
        add(f"drop{i}", "DROPOUT", f"fc{i}", "dropout_param { dropout_ratio: 0.5 }")
    add("fc8", "INNER_PRODUCT", "fc8", "inner_product_param { num_output: 1000 }")
    add("prob", "SOFTMAX", "prob")
    return "\n".join(text)


def test_vggs_own_file_gives_the_deploy_file_of_this_project(tmp_path, capsys) -> None:
    (tmp_path / "v1.prototxt").write_text(vgg16_in_the_old_format())
    assert main([str(tmp_path / "v1.prototxt"), str(tmp_path / "new.prototxt")]) == 0
    assert "fc7: fc7" not in capsys.readouterr().out
    made, ours = read_net(tmp_path / "new.prototxt"), read_net(PROTOTXT / "vgg16" / "deploy.prototxt")
    assert list(made.layer[0].input_param.shape[0].dim) == [10, 3, 224, 224]
    made.layer[0].input_param.shape[0].dim[0] = 1  # VGG's file feeds 10 crops at once
    assert made == ours


@pytest.mark.parametrize("network", ["vgg16", "demo"])
def test_the_printed_deploy_file_upgraded_and_renamed_is_ours(network, tmp_path, capsys) -> None:
    """Section 3 as the article tells it: Caffe upgrades the old file, then each layer gets its blob."""
    printed, made = PROTOTXT / network / "as_printed" / "deploy.prototxt", tmp_path / "deploy.prototxt"
    raw = text_format.Parse(printed.read_text(), caffe_pb2.NetParameter())
    assert raw.layers and not raw.layer and list(raw.input) == ["data"]
    in_place = [one.name for one in raw.layers if list(one.bottom) == list(one.top)]
    assert {"relu6", "drop6", "relu7", "drop7"} <= set(in_place)
    assert main([str(printed), str(made)]) == 0
    first, *renamed, last = capsys.readouterr().out.splitlines()
    assert first == f"{printed}: of Caffe's old format, upgraded by upgrade_net_proto_text"
    assert [line.partition(":")[0] for line in renamed] == in_place
    assert "relu7: fc7 -> fc7_relu7" in renamed and "drop7: fc7 -> fc7_drop7" in renamed
    assert last == f"{made}: {len(in_place)} layers worked in place and have blobs of their own now"
    assert read_net(made) == read_net(PROTOTXT / network / "deploy.prototxt")


@pytest.mark.parametrize("network", ["vgg16", "demo"])
def test_the_printed_train_val_upgraded_is_ours(network, tmp_path) -> None:
    """By Caffe's own tool, run as the article's reader would run it."""
    printed, made = PROTOTXT / network / "as_printed" / "train_val.prototxt", tmp_path / "train_val.prototxt"
    raw = text_format.Parse(printed.read_text(), caffe_pb2.NetParameter())
    (last,) = (one for one in raw.layers if one.name == "fc8_magic")
    assert (list(last.blobs_lr), list(last.weight_decay)) == ([10, 20], [1, 0])
    kinds = {raw.layers[0].LayerType.Name(one.type) for one in raw.layers}
    assert {"DATA", "INNER_PRODUCT", "SOFTMAX_LOSS", "ACCURACY"} <= kinds
    subprocess.run(["upgrade_net_proto_text", printed, made], check=True, capture_output=True)
    ours = read_net(PROTOTXT / network / "train_val.prototxt")
    assert text_format.Parse(made.read_text(), caffe_pb2.NetParameter()) == ours


def test_vggs_file_is_the_printed_one(tmp_path) -> None:
    """The file that is shipped, beside VGG's drawn up from its paper; VGG's feeds 10 crops at once."""
    drawn_up = text_format.Parse(vgg16_in_the_old_format(), caffe_pb2.NetParameter())
    drawn_up.input_dim[0] = 1
    shipped = (PROTOTXT / "vgg16" / "as_printed" / "deploy.prototxt").read_text()
    assert text_format.Parse(shipped, caffe_pb2.NetParameter()) == drawn_up


def test_training_and_deploy_files_describe_one_network() -> None:
    """fc8 apart, the network that is trained is the one that features are taken from."""
    trained, _ = own_blobs(read_net(PROTOTXT / "vgg16" / "train_val.prototxt"))
    deploy = read_net(PROTOTXT / "vgg16" / "deploy.prototxt")
    for one in trained.layer:
        del one.param[:]
    body = [one for one in trained.layer if one.bottom and not one.name.startswith(("fc8", "loss", "acc"))]
    assert body == [one for one in deploy.layer[1:] if one.name not in ("fc8", "prob")]


def test_a_name_that_is_taken_already() -> None:
    net = net_of(
        layer("type: 'Power'", "p", ["x"], ["a"]),
        layer("type: 'Power'", "q", ["x"], ["a_relu"]),
        layer("type: 'ReLU'", "relu", ["a"], ["a"]),
        layer("type: 'Eltwise'", "sum", ["a", "a_relu"], ["y"]),
    )
    renamed, _ = own_blobs(net)
    assert list(renamed.layer[3].top) == ["a_relu_2"]
    assert list(renamed.layer[4].bottom) == ["a_relu_2", "a_relu"]


def test_a_layer_called_as_the_article_calls_it_keeps_its_name() -> None:
    renamed, _ = own_blobs(net_of(FC_CHAIN[0], layer("type: 'ReLU'", "fc6_relu6", ["fc6"], ["fc6"])))
    assert list(renamed.layer[2].top) == ["fc6_relu6"]


def test_flatten_that_overwrites_what_others_read_is_refused(tmp_path) -> None:
    """Caffe's Flatten shares its bottom's memory: ReLU behind it changes x too, which no name can say."""
    net = net_of(
        layer("type: 'Flatten'", "flat", ["x"], ["f"]),
        layer("type: 'ReLU'", "relu", ["f"], ["f"]),
        layer("type: 'Power'", "late", ["x"], ["y"]),
    )
    x = pictures(3)
    np.testing.assert_array_equal(forward(load(net, tmp_path), x)["y"], np.maximum(x, 0))
    with pytest.raises(ValueError, match="layer late reads blob x after layer relu"):
        own_blobs(net)


def test_readers_of_a_split_find_what_one_of_them_overwrote(tmp_path) -> None:
    """Caffe's Split copies nothing: ReLU on one of its tops changes the others."""
    net = net_of(
        layer("type: 'Split'", "split", ["x"], ["a", "b"]),
        layer("type: 'ReLU'", "relu", ["a"], ["a"]),
        layer("type: 'Eltwise'", "sum", ["a", "b"], ["y"]),
    )
    x = pictures(4)
    np.testing.assert_array_equal(forward(load(net, tmp_path), x)["y"], 2 * np.maximum(x, 0))
    renamed, _ = own_blobs(net)
    assert list(renamed.layer[3].bottom) == ["a_relu", "a_relu"]


def test_layers_that_only_train_are_left_out(tmp_path) -> None:
    text = layer("type: 'Dropout'", "drop", ["fc6"], ["fc6"])
    only_training = text.replace("type:", "include { phase: TRAIN } type:")
    renamed, _ = own_blobs(net_of(FC_CHAIN[0], only_training, layer(FC, "fc7", ["fc6"], ["fc7"])))
    assert list(forward(load(renamed, tmp_path), pictures(0))) == ["x", "fc6", "fc7"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("layer {\n  name: 'a'\n  tpye: 'ReLU'\n}", "net.prototxt, line 3: .*no field named .tpye"),
        ("layer {\n  name: 'a'", "net.prototxt, line 2: Expected"),
        ("name: 'no layers'", "net.prototxt has no layers"),
        ("layer { name: 'r' type: 'ReLU' bottom: 'nowhere' top: 'y' }", "r reads blob nowhere"),
        ("layers { name: 'a' type: RELUU }", "net.prototxt, line 1: .*RELUU"),
        ("input: 'data' layers { layer { name: 'a' type: 'unheard of' } }", "old format: Unknown layer"),
    ],
)
def test_a_wrong_file_gets_one_sentence_and_no_output(tmp_path, capsys, text, said) -> None:
    (tmp_path / "net.prototxt").write_text(text)
    assert main([str(tmp_path / "net.prototxt"), str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("rename_blobs: ") and error.count("\n") == 1
    assert re.search(said, error)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.prototxt"]


def test_a_missing_input_is_named_and_a_missing_folder_made(tmp_path, capsys) -> None:
    assert main([str(tmp_path / "none"), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"rename_blobs: No such file or directory: {tmp_path}/none\n"
    deploy = PROTOTXT / "vgg16" / "deploy.prototxt"
    assert main([str(deploy), str(tmp_path / "none" / "out")]) == 0
    assert (tmp_path / "none" / "out").is_file()


def test_as_a_program(tmp_path) -> None:
    (tmp_path / "net").write_text(text_format.MessageToString(net_of(*FC_CHAIN)))
    command = [sys.executable, "-m", "tools.rename_blobs", tmp_path / "net", tmp_path / "new"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROTOTXT.parent)
    assert "relu6: fc6 -> fc6_relu6\n" in done.stdout
    assert read_net(tmp_path / "new") == own_blobs(net_of(*FC_CHAIN))[0]
