"""tools.fill_prototxt: the arithmetic by its definition, the files by Caffe training from them."""

import re
import subprocess
import sys
from pathlib import Path

import caffe
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from tools.files.prototxt import read_net, read_prototxt
from tools.files.prototxt_comments import with_comments
from tools.fill_prototxt import (
    Batches,
    Pictures,
    Schedule,
    fill_net,
    fill_solver,
    main,
    read_classes,
    scale_schedule,
)
from tools.network.batches import shared, test_batches
from tools.network.checks import CHOICES
from tools.network.structure import classifier, freeze_all_but_last
from tools.snapshots import pictures_a_step

ROOT = Path(__file__).parent.parent
VGG16 = ROOT / "prototxt" / "vgg16"


SMALL_NET = """
name: "small"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { crop_size: 6 mirror: true } data_param { source: "?" batch_size: 5 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { crop_size: 6 } data_param { source: "?" batch_size: 7 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "prelu" type: "PReLU" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "fc8_magic" type: "InnerProduct" bottom: "conv" top: "fc8_magic"
  param { lr_mult: 10 } param { lr_mult: 20 }
  inner_product_param { num_output: 99 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc8_magic" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc8_magic" bottom: "label" top: "accuracy"
  include { phase: TEST } }
"""
SMALL_SOLVER = """
net: "train_val.prototxt" test_iter: 1 test_interval: 50 base_lr: 0.1 lr_policy: "step" gamma: 0.1
stepsize: 40 display: 10 max_iter: 100 momentum: 0.9 snapshot: 50 snapshot_prefix: "../models/snap"
solver_mode: GPU
"""


def fill_lmdb(path: Path, count: int) -> Path:
    random = np.random.default_rng(count)
    with lmdb.open(str(path), map_size=1 << 24) as database, database.begin(write=True) as transaction:
        for i in range(count):
            picture = random.integers(0, 256, 3 * 8 * 8, dtype=np.uint8).tobytes()
            datum = caffe_pb2.Datum(channels=3, height=8, width=8, data=picture, label=i % 3)
            transaction.put(f"{i:08}".encode(), datum.SerializeToString())
    return path


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder with net/, train_lmdb (20 pictures), val_lmdb (21), mean.binaryproto and classes.csv (3)."""
    net = tmp_path / "net"
    net.mkdir()
    (net / "train_val.prototxt").write_text(SMALL_NET)
    (net / "solver.prototxt").write_text(SMALL_SOLVER)
    fill_lmdb(tmp_path / "train_lmdb", 20)
    fill_lmdb(tmp_path / "val_lmdb", 21)
    command = ["compute_image_mean", tmp_path / "train_lmdb", tmp_path / "mean.binaryproto"]
    subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "classes.csv").write_text("number,name\n0,a\n1,b\n2,c\n")
    return tmp_path


def arguments(inputs: Path, *more: str, **changed: object) -> list[str]:
    given_paths = {
        "net": inputs / "net",
        "out": inputs / "out" / "prototxt",
        "train_lmdb": inputs / "train_lmdb",
        "val_lmdb": inputs / "val_lmdb",
        "mean": inputs / "mean.binaryproto",
        "classes": inputs / "classes.csv",
    } | changed
    return [f"--{name.replace('_', '-')}={value}" for name, value in given_paths.items()] + list(more)


def filled_solver(path: Path) -> caffe_pb2.SolverParameter:
    solver = caffe_pb2.SolverParameter()
    read_prototxt(path, solver)
    return solver


@given(effective=st.integers(1, 600), gpus=st.integers(0, 8), most=st.integers(1, 128))
def test_every_gpu_gets_an_equal_part_and_no_more_than_it_takes(effective, gpus, most) -> None:
    workers = max(1, gpus)
    if effective % workers:
        with pytest.raises(ValueError, match=f"{effective} pictures a step can't be shared evenly by {gpus}"):
            shared(effective, gpus, most)
        return
    batch, iter_size = shared(effective, gpus, most)
    assert batch * iter_size * workers == effective and batch <= most
    part = effective // workers
    assert not [larger for larger in range(batch + 1, min(most, part) + 1) if part % larger == 0]


@pytest.mark.parametrize(
    ("gpus", "given", "said"),
    [
        (0, (64, 2), "64 x iter_size 2 = 128"),
        (1, (64, 2), "64 x iter_size 2 = 128"),
        (2, (64, 1), "64 x 2 GPUs = 128"),
        (4, (32, 1), "32 x 4 GPUs = 128"),
        (8, (16, 1), "16 x 8 GPUs = 128"),
    ],
)
def test_the_articles_128_a_step(inputs, capsys, gpus, given, said) -> None:
    assert shared(128, gpus, 64) == given
    net = inputs / "net" / "train_val.prototxt"
    net.write_text(SMALL_NET.replace("batch_size: 5", "batch_size: 64"))
    assert main(arguments(inputs, "--effective-batch=128", f"--gpus={gpus}")) == 0
    assert f"pictures a step: {said}, " in capsys.readouterr().out
    solver = filled_solver(inputs / "out" / "prototxt" / "solver.prototxt")
    assert (data_batch(solver.net), solver.iter_size) == given
    assert pictures_a_step(solver, gpus) == said
    last = filled_solver(inputs / "out" / "prototxt" / "solver_last.prototxt")
    assert pictures_a_step(last, gpus) == said


def data_batch(path: str) -> int:
    return read_net(Path(path)).layer[0].data_param.batch_size


def test_three_gpus_cannot_share_128(inputs, capsys) -> None:
    assert main(arguments(inputs, "--effective-batch=128", "--gpus=3")) == 1
    assert capsys.readouterr().err == (
        "fill_prototxt: 128 pictures a step can't be shared evenly by 3 GPUs: take 126 or 129 a step "
        "(EFFECTIVE_BATCH), or 2 of the GPUs\n"
    )
    assert not (inputs / "out").exists()


@given(images=st.integers(1, 5000), batch=st.integers(1, 400))
def test_a_test_sees_every_image_once_in_the_batch_asked_for(images, batch) -> None:
    if images >= batch and images % batch:
        with pytest.raises(ValueError, match=f"{images} validation images are no multiple of .* {batch}"):
            test_batches(images, batch)
        return
    size, count = test_batches(images, batch)
    assert size * count == images and size == min(batch, images)


test_batches.__test__ = False


def test_the_articles_values() -> None:
    """52 x 4005 is the number of validation images, and the solver has the article's figures."""
    pictures = Pictures(Path("/t"), Path("/v"), Path("/m"), classes=680, val_images=208260)
    net, iter_size, test_iter = fill_net(read_net(VGG16 / "train_val.prototxt"), pictures, Batches())
    solver = filled_solver(VGG16 / "solver.prototxt")
    assert [test_iter] == list(solver.test_iter) == [4005] and iter_size is None
    batches = [layer.data_param.batch_size for layer in net.layer if layer.type == "Data"]
    assert batches == [64, 52]
    assert [layer.transform_param.crop_size for layer in net.layer if layer.type == "Data"] == [224, 224]
    assert [layer.transform_param.mirror for layer in net.layer if layer.type == "Data"] == [True, False]
    last = classifier(net)
    assert (last.name, last.inner_product_param.num_output) == ("fc8_magic", 680)
    assert [(param.lr_mult, param.decay_mult) for param in last.param] == [(10, 1), (20, 0)]
    assert round(last.inner_product_param.weight_filler.std, 6) == 0.01
    figures = (solver.base_lr, solver.gamma, solver.momentum, solver.weight_decay)
    assert tuple(round(figure, 6) for figure in figures) == (0.001, 0.1, 0.9, 0.0005)
    counts = (solver.stepsize, solver.display, solver.test_interval, solver.snapshot, solver.max_iter)
    assert counts == (20000, 1000, 5000, 5000, 50000)


def test_the_schedule_keeps_its_shape() -> None:
    solver = filled_solver(VGG16 / "solver.prototxt")
    solver.stepvalue[:] = [30000, 40000]
    scale_schedule(solver, 500)
    counts = (solver.stepsize, solver.display, solver.test_interval, solver.snapshot, solver.max_iter)
    assert counts == (200, 10, 50, 50, 500)
    assert list(solver.stepvalue) == [300, 400]
    scale_schedule(solver, 3)
    assert (solver.stepsize, solver.display, solver.snapshot) == (1, 1, 1)


def test_a_training_that_stops_early_keeps_its_schedule() -> None:
    solver = filled_solver(VGG16 / "solver.prototxt")
    for stop_at, last in ((400, 400), (60_000, 400)):
        fill_solver(solver, Schedule(stop_at=stop_at))
        assert (solver.max_iter, solver.stepsize, solver.test_interval) == (last, 20000, 5000)


def test_everything_is_filled_in(inputs, capsys) -> None:
    options = ["--max-iter=10", "--base-lr=0.25", "--seed=7", "--solver-mode=CPU", "--train-batch=4"]
    options.append("--test-batch=3")
    assert main(arguments(inputs, *options)) == 0
    out = inputs / "out" / "prototxt"
    said = "3 classes, pictures a step: 4, 21 validation images = 3 x test_iter 7"
    assert capsys.readouterr().out == f"{out}: {said}\n"
    net = read_net(out / "train_val.prototxt")
    for layer, source, batch in zip(net.layer[:2], ("train_lmdb", "val_lmdb"), (4, 3), strict=True):
        assert layer.data_param.source == str(inputs / source)
        assert layer.data_param.batch_size == batch
        assert layer.transform_param.mean_file == str(inputs / "mean.binaryproto")
    assert classifier(net).inner_product_param.num_output == 3
    solver = filled_solver(out / "solver.prototxt")
    assert solver.net == str(out / "train_val.prototxt")
    assert solver.snapshot_prefix == str(inputs / "out" / "models" / "snap")
    assert (solver.base_lr, solver.random_seed, solver.solver_mode) == (
        0.25,
        7,
        solver.SolverMode.Value("CPU"),
    )
    assert (solver.max_iter, solver.stepsize, solver.test_interval, list(solver.test_iter)) == (10, 4, 5, [7])
    last = filled_solver(out / "solver_last.prototxt")
    assert last.net == str(out / "train_val_last.prototxt")
    assert last.snapshot_prefix == f"{solver.snapshot_prefix}last"
    assert not list(out.glob("*.part"))


@pytest.mark.parametrize(
    ("kind", "policy"),
    [*((kind, "step") for kind in CHOICES["type"]), *(("SGD", policy) for policy in CHOICES["lr_policy"])],
)
def test_caffe_knows_the_solvers_that_are_let_through(inputs, kind, policy) -> None:
    """A step by Caffe itself, in a process of its own, as it aborts on a name that it doesn't know."""
    momentum = "momentum: 0.9" if kind in ("SGD", "Nesterov", "Adam") else ""
    text = SMALL_SOLVER.replace("momentum: 0.9", f'{momentum} type: "{kind}"').replace(
        '"step"', f'"{policy}"'
    )
    (inputs / "net" / "solver.prototxt").write_text(text)
    assert main(arguments(inputs, "--max-iter=1", "--solver-mode=CPU")) == 0
    solver = inputs / "out" / "prototxt" / "solver.prototxt"
    done = subprocess.run(["caffe", "train", "-solver", solver], capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("variant", ["", "_last"])
def test_caffe_trains_from_the_files(inputs, variant) -> None:
    """All layers learn from train_val, only fc8_magic from train_val_last: Caffe's weights say which."""
    assert main(arguments(inputs, "--max-iter=4", "--seed=1", "--solver-mode=CPU")) == 0
    out = inputs / "out" / "prototxt"
    caffe.set_mode_cpu()
    solver = caffe.get_solver(str(out / f"solver{variant}.prototxt"))
    before = {name: [blob.data.copy() for blob in blobs] for name, blobs in solver.net.params.items()}
    solver.step(4)
    changed = {
        name
        for name, blobs in solver.net.params.items()
        if any((old != blob.data).any() for old, blob in zip(before[name], blobs, strict=True))
    }
    assert changed == ({"fc8_magic"} if variant else {"conv", "prelu", "scale", "fc8_magic"})
    assert (inputs / "out" / "models").is_dir()


def test_frozen_vgg16_differs_in_learning_rates_alone() -> None:
    net = read_net(VGG16 / "train_val.prototxt")
    frozen = freeze_all_but_last(net)
    rates = {layer.name: [param.lr_mult for param in layer.param] for layer in frozen.layer if layer.param}
    assert rates.pop("fc8_magic") == [10, 20]
    assert len(rates) == 15 and all(rate == [0, 0] for rate in rates.values())
    for layer, original in zip(frozen.layer, net.layer, strict=True):
        for param, original_param in zip(layer.param, original.param, strict=True):
            param.lr_mult = original_param.lr_mult
    assert frozen == net


def test_classes(tmp_path) -> None:
    assert read_classes("680") == 680
    listed = tmp_path / "classes.csv"
    for text, count in [("number,name\n0,a\n1,b\n", 2), ('1,"b, c"\n0,a\n', 2)]:
        listed.write_text(text)
        assert read_classes(str(listed)) == count
    for text, said in [
        ("0,a\n2,b\n", "is no list of classes"),
        ("0,a\n", "at least two"),
        ("", "is no list"),
    ]:
        listed.write_text(text)
        with pytest.raises(ValueError, match=said):
            read_classes(str(listed))
    with pytest.raises(ValueError, match="at least two"):
        read_classes("1")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"train_lmdb": "none"}, "none can't be read as an LMDB: No such file or directory"),
        ({"mean": "none"}, "none is not a file (compute_image_mean makes the mean)"),
        ({"net": "none"}, "No such file or directory: none/train_val.prototxt"),
        ({"classes": "none"}, "No such file or directory: none"),
    ],
)
def test_missing_files(inputs, capsys, changed, said) -> None:
    assert main(arguments(inputs, **changed)) == 1
    assert capsys.readouterr().err == f"fill_prototxt: {said}\n"
    assert not (inputs / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("num_output: 99", "num_outputs: 99", r"train_val.prototxt, line 13: .*num_outputs"),
        ('"SoftmaxWithLoss"', '"HingeLoss"', "0 SoftmaxWithLoss layers"),
        ("phase: TEST }\n  transform", "phase: TRAIN }\n  transform", "phase: TRAIN } and has 2"),
        ('"InnerProduct" bottom', '"Convolution" bottom', "doesn't come from an InnerProduct"),
    ],
)
def test_a_network_that_does_not_fit(inputs, capsys, old, new, said) -> None:
    assert old in SMALL_NET
    (inputs / "net" / "train_val.prototxt").write_text(SMALL_NET.replace(old, new))
    assert main(arguments(inputs)) == 1
    error = capsys.readouterr().err
    assert error.startswith("fill_prototxt: ") and error.count("\n") == 1
    assert re.search(said, error)


def test_an_empty_database(inputs, capsys) -> None:
    assert main(arguments(inputs, val_lmdb=fill_lmdb(inputs / "empty", 0))) == 1
    assert capsys.readouterr().err == f"fill_prototxt: {inputs}/empty is empty\n"


def test_a_target_that_cannot_be_written(inputs, capsys) -> None:
    (inputs / "file").write_text("")
    assert main(arguments(inputs, out=inputs / "file" / "out")) == 1
    assert capsys.readouterr().err == f"fill_prototxt: Not a directory: {inputs}/file/out\n"


def test_as_a_program(inputs) -> None:
    command = [sys.executable, "-m", "tools.fill_prototxt", *arguments(inputs)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    made = sorted(path.name for path in (inputs / "out" / "prototxt").iterdir())
    assert made == [
        "solver.prototxt",
        "solver_last.prototxt",
        "train_val.prototxt",
        "train_val_last.prototxt",
    ]
    text_format.Parse((inputs / "out/prototxt/train_val.prototxt").read_text(), caffe_pb2.NetParameter())


def test_a_test_batch_that_does_not_divide_is_refused(inputs, capsys) -> None:
    assert main(arguments(inputs, "--test-batch=6")) == 1
    assert capsys.readouterr().err == (
        "fill_prototxt: 21 validation images are no multiple of the test batch, 6: `python -m "
        "data_prep.split --test-batch 6` deals them out so that they are; or take --test-batch 3\n"
    )
    assert not (inputs / "out").exists()


def test_fewer_validation_images_than_a_batch_are_one_batch(inputs, capsys) -> None:
    assert main(arguments(inputs, "--test-batch=50")) == 0
    said = "21 validation images = 21 x test_iter 1, fewer than the test batch of 50"
    assert capsys.readouterr().out.endswith(f", {said}\n")


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("train_val", "batch_size: 7", "batch_size: 0", "the network's test batch is 0"),
        ("train_val", "batch_size: 5", "", "the network's training batch is 0"),
        (
            "train_val",
            "crop_size: 6 mirror",
            "crop_size: 9 mirror",
            "crop_size 9 is larger than the pictures of .*train_lmdb: 3 x 8 x 8",
        ),
        ("solver", 'net: "', 'train_net: "', "solver.prototxt: it has train_net: one network"),
        ("solver", 'net: "', 'test_net: "t" net: "', "has test_net: "),
        ("solver", "test_interval: 50", "", "solver.prototxt: with test_iter it needs a test_interval"),
        ("solver", "max_iter: 100", "", "solver.prototxt: max_iter must be 1 or more"),
        ("solver", "stepsize: 40", "", "solver.prototxt: lr_policy step needs a stepsize"),
        ("solver", '"step"', '"steps"', "lr_policy must be one of fixed, step, .*, not 'steps'"),
        (
            "solver",
            "display: 10",
            'display: 10 type: "Sgd"',
            "type must be one of SGD, .*, not 'Sgd'",
        ),
        ("solver", "snapshot: 50", "snapshot: -1", "snapshot must not be below 0"),
    ],
)
def test_what_caffe_would_abort_on(inputs, capsys, file, old, new, said) -> None:
    path = inputs / "net" / f"{file}.prototxt"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert main(arguments(inputs)) == 1
    error = capsys.readouterr().err
    assert error.startswith("fill_prototxt: ") and error.count("\n") == 1
    assert re.search(said, error)
    assert not (inputs / "out").exists()


def test_labels_of_other_classes(inputs, capsys) -> None:
    assert main(arguments(inputs, classes=2)) == 1
    assert capsys.readouterr().err == (
        f"fill_prototxt: {inputs}/train_lmdb has label 2 (00000002), and the last layer tells 2 "
        "classes apart, 0 to 1: python -m data_prep.rename_classes numbers them\n"
    )


def test_the_mean_of_other_pictures(inputs, capsys) -> None:
    blob = caffe_pb2.BlobProto(num=1, channels=3, height=8, width=9, data=[100.0] * 216)
    (inputs / "other.binaryproto").write_bytes(blob.SerializeToString())
    mean = inputs / "other.binaryproto"
    assert main(arguments(inputs, mean=mean)) == 1
    assert capsys.readouterr().err == (
        f"fill_prototxt: the mean {mean} is of 3 x 8 x 9, the pictures of {inputs}/train_lmdb are of "
        "3 x 8 x 8 (channels, height, width): make it of this training database\n"
    )


def test_frozen_layers_keep_their_running_statistics(inputs) -> None:
    """Caffe trains the last layer of a network with BatchNorm: mean and variance stay as they were."""
    normed = 'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }\n'
    text = SMALL_NET.replace('layer { name: "prelu"', normed + 'layer { name: "prelu"')
    (inputs / "net" / "train_val.prototxt").write_text(text)
    assert main(arguments(inputs, "--max-iter=4", "--seed=1", "--solver-mode=CPU")) == 0
    caffe.set_mode_cpu()
    for variant, moves in (("_last", False), ("", True)):
        solver = caffe.get_solver(str(inputs / "out" / "prototxt" / f"solver{variant}.prototxt"))
        for blob, value in zip(solver.net.params["bn"], (0.5, 2, 1), strict=True):
            blob.data[...] = value
        before = [blob.data.copy() for blob in solver.net.params["bn"]]
        solver.step(3)
        moved = any(
            (old != blob.data).any() for old, blob in zip(before, solver.net.params["bn"], strict=True)
        )
        assert moved == moves


def test_comments_survive(inputs) -> None:
    net = SMALL_NET.replace('layer { name: "conv"', '# why a conv\nlayer { name: "conv" # and its name\n')
    net = f"# on the whole, \u6574\u4f53\n{net}\n# at the end\n"
    (inputs / "net" / "train_val.prototxt").write_bytes(net.encode("gbk"))
    solver = SMALL_SOLVER.replace("base_lr: 0.1", "\n# how fast\nbase_lr: 0.1")
    (inputs / "net" / "solver.prototxt").write_text(solver)
    assert main(arguments(inputs)) == 0
    lines = (inputs / "out" / "prototxt" / "train_val.prototxt").read_text(encoding="gbk").splitlines()
    assert lines[1] == "# on the whole, \u6574\u4f53" and lines[-1] == "# at the end"
    assert lines[lines.index("# why a conv") + 1] == "layer {"
    assert lines[lines.index("  # and its name") + 1] == '  name: "conv"'
    lines = (inputs / "out" / "prototxt" / "solver.prototxt").read_text().splitlines()
    assert lines[lines.index("# how fast") + 1] == "base_lr: 0.1"


@pytest.mark.parametrize("network", ["vgg16", "demo", "demo/pretraining"])
def test_every_comment_of_our_own_files_survives_and_changes_nothing(network) -> None:
    for path, message in (("train_val", caffe_pb2.NetParameter()), ("solver", caffe_pb2.SolverParameter())):
        original = (ROOT / "prototxt" / network / f"{path}.prototxt").read_text()
        text_format.Parse(original, message)
        printed = with_comments(text_format.MessageToString(message), original)
        assert text_format.Parse(printed, type(message)()) == message
        comments = re.findall(r"#.*", original)
        assert len(comments) >= 1 and sorted(re.findall(r"#.*", printed)) == sorted(comments)


@given(st.text(alphabet='{}<>:#"\\\n ab0'), st.text(alphabet='{}<>:#"\\\n ab0'))
def test_no_comment_changes_what_is_printed(original, name) -> None:
    message = caffe_pb2.NetParameter(name=name)
    message.layer.add(name="#", type='"{')
    printed = text_format.MessageToString(message)
    assert text_format.Parse(with_comments(printed, original), caffe_pb2.NetParameter()) == message


@pytest.mark.parametrize("network", ["vgg16", "demo"])
def test_the_split_is_dealt_for_the_batch_that_is_tested_with(network) -> None:
    """run_all.sh's split reads the network's settings, Caffe its train_val."""
    settings = (ROOT / "prototxt" / network / "settings").read_text()
    net = read_net(ROOT / "prototxt" / network / "train_val.prototxt")
    (batch,) = re.findall(r"^TEST_BATCH=(\d+) ", settings, re.MULTILINE)
    assert int(batch) == net.layer[1].data_param.batch_size


@pytest.mark.parametrize("option", ["--gpus=-1", "--base-lr=nan", "--base-lr=0", "--effective-batch=0"])
def test_arguments_that_mean_nothing(inputs, capsys, option) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments(inputs, option))
    assert (
        ended.value.code == 2 and f"argument {option.partition('=')[0]}: must be" in capsys.readouterr().err
    )
