"""eval.extract against pycaffe's forward pass picture by picture, and what becomes of it when stopped."""

import fcntl
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import caffe
import cv2
import h5py
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from eval.extract import main
from eval.files.features import open_features
from eval.files.features_writer import FeaturesFile
from eval.forward.network import work_in_place
from eval.forward.photographs import Picture, list_pictures, read_part
from tools.files.mean_file import read_mean

ROOT = Path(__file__).parent.parent
OXFORD = Path(os.environ.get("OXFORD_SAMPLE", ROOT.parent / "shared" / "oxford_sample"))
HEIGHT, WIDTH = 24, 20
MEAN = (100.5, 110.25, 120.0)
LAYERS = ["pool", "fc6", "fc6_relu6"]
DEPLOY = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 24 dim: 20 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "fc6" type: "InnerProduct" bottom: "pool" top: "fc6"
  inner_product_param { num_output: 37 weight_filler { type: "xavier" } } }
layer { name: "relu6" type: "ReLU" bottom: "fc6" top: "fc6_relu6" }
layer { name: "fc8" type: "InnerProduct" bottom: "fc6_relu6" top: "fc8"
  inner_product_param { num_output: 9 } }
"""
IN_PLACE = DEPLOY.replace('top: "fc6_relu6"', 'top: "fc6"').replace('bottom: "fc6_relu6"', 'bottom: "fc6"')
QUERIES = {"a_1": ("oxc1_landmark/p 03", "10.5 20.49 60.5 70"), "b_2": ("oxc1_p00", "-3 -2.2 500 40.1")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with deploy.prototxt, weights.caffemodel, jpg (21 pictures) and gt (2 queries)."""
    folder = tmp_path_factory.mktemp("extract")
    (folder / "deploy.prototxt").write_text(DEPLOY)
    caffe.set_random_seed(3)
    caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST).save(str(folder / "weights.caffemodel"))
    (folder / "jpg" / "landmark").mkdir(parents=True)
    random = np.random.default_rng(5)
    for i in range(21):
        height, width = (int(size) for size in random.integers(75, 130, 2))
        picture = cv2.resize(random.integers(0, 256, (6, 6, 3), dtype=np.uint8), (width, height))
        name = f"landmark/p {i:02}.jpg" if i % 3 == 0 and i else f"p{i:02}.{'png' if i % 2 else 'JPG'}"
        cv2.imwrite(str(folder / "jpg" / name), picture)
    (folder / "jpg" / "notes.txt").write_text("not a picture, and not called one")
    (folder / "gt").mkdir()
    for query, (picture, box) in QUERIES.items():
        (folder / "gt" / f"{query}_query.txt").write_text(f"{picture} {box}\n")
    (folder / "gt xywh").mkdir()
    (folder / "gt xywh" / "c_1_query.txt").write_text("oxc1_p00 10.5 20.4 30.5 35.4\n")
    return folder


CHAIN = """
layer { name: "in" type: "Input" top: "data" }
layer { name: "relu0" type: "ReLU" bottom: "data" top: "r0" }
layer { name: "fc6" type: "InnerProduct" bottom: "r0" top: "fc6" }
layer { name: "relu6" type: "ReLU" bottom: "fc6" top: "fc6_relu6" }
layer { name: "drop6" type: "Dropout" bottom: "fc6_relu6" top: "fc6_drop6" }
layer { name: "fc7" type: "InnerProduct" bottom: "fc6_drop6" top: "fc7" }
layer { name: "relu7" type: "ReLU" bottom: "fc7" top: "fc7_relu7" }
layer { name: "drop7" type: "Dropout" bottom: "fc7" top: "fc7_drop7" }
"""


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        (
            ["fc7_relu7"],
            "data>r0 r0>fc6_drop6 fc6_drop6> fc6_drop6> fc6_drop6>fc7 fc7>fc7_relu7 fc7>fc7_drop7",
        ),
        (["fc6_relu6"], "data>r0 r0>fc6_relu6 fc6_relu6> fc6_relu6>fc6_drop6"),
        (["fc6"], "data>r0 r0>fc6 fc6>fc6_drop6 fc6_drop6> fc6_drop6>fc7"),
    ],
)
def test_in_place_goes_what_nobody_else_reads(wanted, left) -> None:
    """fc7 is read twice, the input is the caller's, a wanted blob stays: the rest of a chain is one."""
    net = text_format.Parse(CHAIN, caffe_pb2.NetParameter())
    work_in_place(net, wanted)
    arrows = [(layer.bottom[0], layer.top[0]) for layer in net.layer if layer.bottom]
    assert " ".join(f"{a}>{b if a != b else ''}" for a, b in arrows).startswith(left)


@pytest.fixture
def work(made: Path, tmp_path: Path) -> Path:
    """A copy of `made` to spoil."""
    return shutil.copytree(made, tmp_path / "work")


def arguments(folder: Path, *more: str, **changed: object) -> list[str]:
    given = {
        "deploy": folder / "deploy.prototxt",
        "weights": folder / "weights.caffemodel",
        "images": folder / "jpg",
        "gt": folder / "gt",
        "mean": ",".join(map(str, MEAN)),
        "out": folder / "f.h5",
        "jobs": 1,
    } | changed
    named = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return [*named, *more, *([] if "--layers" in more else ["--layers", *LAYERS])]


def contents(path: Path) -> dict[str, np.ndarray]:
    """All datasets but the stamps, which differ between copies of one picture."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, node: found.update({name: node[:]} if isinstance(node, h5py.Dataset) else {})
        )
    return {name: values for name, values in found.items() if not name.startswith("stamps/")}


def assert_same(one: Path, other: Path) -> None:
    left, right = contents(one), contents(other)
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].tobytes() == right[name].tobytes() or name.endswith("/names"), name
        assert (left[name] == right[name]).all(), name


def by_hand(folder: Path, pictures: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The definition: one picture at a time through the whole network."""
    net = caffe.Net(str(folder / "deploy.prototxt"), str(folder / "weights.caffemodel"), caffe.TEST)
    rows: dict[str, list[np.ndarray]] = {layer: [] for layer in LAYERS}
    for picture in pictures:
        resized = cv2.resize(picture, (WIDTH, HEIGHT))
        for channel in range(3):
            net.blobs["data"].data[0, channel] = resized[:, :, channel].astype(np.float32) - MEAN[channel]
        net.forward()
        for layer in LAYERS:
            rows[layer].append(net.blobs[layer].data[0].flatten())
    return {layer: np.array(vectors) for layer, vectors in rows.items()}


@pytest.fixture(scope="module")
def features(made: Path) -> Path:
    assert main(arguments(made, out=made / "features.h5")) == 0
    return made / "features.h5"


def test_database_by_hand(made, features) -> None:
    found = contents(features)
    names = [name.decode() for name in found["database/names"]]
    assert len(names) == 21 and names == sorted(names) and "landmark/p 03" in names
    files = {
        file.relative_to(made / "jpg").with_suffix("").as_posix(): file for file in made.rglob("jpg/**/p*")
    }
    wanted = by_hand(made, [cv2.imread(str(files[name])) for name in names])
    for layer in LAYERS:
        assert found[f"database/{layer}"].dtype == np.float32
        np.testing.assert_allclose(found[f"database/{layer}"], wanted[layer], rtol=1e-4, atol=1e-3)
    assert found["database/pool"].shape == (21, 4 * 10 * 8)
    assert (found["database/fc6"] < 0).any()


def test_queries_by_hand(made, features) -> None:
    """Halves are rounded up, as in the article's time; what lies outside of the picture is left out."""
    found = contents(features)
    assert list(found["queries/names"]) == [b"a_1", b"b_2"]
    first = cv2.imread(str(made / "jpg" / "landmark" / "p 03.jpg"))[20:70, 11:61]
    second = cv2.imread(str(made / "jpg" / "p00.JPG"))[0:40]
    wanted = by_hand(made, [first, second])
    for layer in LAYERS:
        np.testing.assert_allclose(found[f"queries/{layer}"], wanted[layer], rtol=1e-4, atol=1e-3)


def test_queries_cut_as_the_published_code_cuts_them(made) -> None:
    """x1 y1 x2 y2 taken for x y width height: img[y : y + h, x : x + w], each of the four rounded."""
    out = made / "xywh.h5"
    assert main(arguments(made, out=out, gt=made / "gt xywh")) == 0
    plain = contents(out)
    assert main(arguments(made, "--boxes", "xywh", out=out, gt=made / "gt xywh")) == 0
    found = contents(out)
    cut = cv2.imread(str(made / "jpg" / "p00.JPG"))[20 : 20 + 35, 11 : 11 + 31]
    wanted = by_hand(made, [cut])
    for layer in LAYERS:
        np.testing.assert_allclose(found[f"queries/{layer}"], wanted[layer], rtol=1e-4, atol=1e-3)
        assert (found[f"database/{layer}"] == plain[f"database/{layer}"]).all()
    assert (found["queries/fc6"] != plain["queries/fc6"]).any()


def test_attributes(made, features) -> None:
    with h5py.File(features) as file:
        attributes = dict(file.attrs)
    assert attributes["model"] == "weights"
    assert attributes["deploy"] == str(made / "deploy.prototxt")
    assert attributes["weights"] == str(made / "weights.caffemodel")
    for key, name in (("weights_sha256", "weights.caffemodel"), ("prototxt_sha256", "deploy.prototxt")):
        said = subprocess.run(["sha256sum", made / name], capture_output=True, text=True, check=True).stdout
        assert attributes[key] == said.split()[0]
    preprocessing = json.loads(attributes["preprocessing"])
    assert preprocessing["mean"] == list(MEAN) and preprocessing["resize"] == [HEIGHT, WIDTH]


def test_the_same_bytes_from_two_processes(made, features) -> None:
    assert main(arguments(made, out=made / "two.h5", jobs=2)) == 0
    assert (made / "two.h5").read_bytes() == features.read_bytes()


def test_without_ground_truth(made, features) -> None:
    assert main(arguments(made, out=made / "plain.h5", gt=None)) == 0
    found = contents(made / "plain.h5")
    assert {name.split("/")[0] for name in found} == {"database"}
    np.testing.assert_array_equal(found["database/fc6"], contents(features)["database/fc6"])


def test_a_finished_file_is_left_alone_until_something_changes(work, capsys) -> None:
    assert main(arguments(work)) == 0
    before = (work / "f.h5").stat().st_mtime_ns
    capsys.readouterr()
    assert main(arguments(work)) == 0
    assert "is there already" in capsys.readouterr().out
    assert (work / "f.h5").stat().st_mtime_ns == before
    old = contents(work / "f.h5")["queries/fc6"]
    (work / "gt" / "b_2_query.txt").write_text("oxc1_p00 0 0 50 50\n")
    assert main(arguments(work)) == 0
    new = contents(work / "f.h5")["queries/fc6"]
    assert (old[0] == new[0]).all() and (old[1] != new[1]).any()


def stopped_at(picture: Path, *command: str) -> bytes:
    """Run into a picture that can't be read; returns what it was."""
    good = picture.read_bytes()
    picture.write_text("no picture")
    assert main(list(command)) == 1
    picture.write_bytes(good)
    return good


def test_it_goes_on_after_a_picture_that_cannot_be_read(work, features, capsys) -> None:
    """Rows done before are not made again: their pictures could not be read any more. With other settings
    they would be."""
    stopped_at(work / "jpg" / "p19.png", *arguments(work))
    error = capsys.readouterr().err.splitlines()[-1]  # after lines of progress, where the machine is slow
    assert error == f"extract: {work}/jpg/p19.png is not a picture that OpenCV can read"
    assert not (work / "f.h5").exists()
    with pytest.raises(ValueError, match=r"f\.h5\.part is incomplete"), open_features(work / "f.h5.part"):
        pass
    for end in (".part", ".part.done"):
        shutil.copy(work / f"f.h5{end}", work / f"other.h5{end}")
    done = work / "jpg" / "p01.png"
    stat = done.stat()
    done.write_bytes(bytes(stat.st_size))
    os.utime(done, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert main(arguments(work)) == 0
    assert_same(work / "f.h5", features)
    assert main(arguments(work, out=work / "other.h5", mean="0,0,0")) == 1
    assert "p01.png is not a picture" in capsys.readouterr().err


def spoil_a_row(part: Path, done: Path, random: np.random.Generator) -> None:
    """What a power cut leaves where a row was never written."""
    with h5py.File(part) as file:
        data = file["database/fc6"]
        at = data.id.get_offset() + int(random.integers(16)) * data.shape[1] * 4
    with part.open("r+b") as file:
        file.seek(at)
        file.write(bytes(4))


def spoil_the_structure(part: Path, done: Path, random: np.random.Generator) -> None:
    """The first bytes are HDF5's own."""
    with part.open("r+b") as file:
        file.seek(int(random.integers(400)))
        file.write(bytes(100))


def cut_the_list(part: Path, done: Path, random: np.random.Generator) -> None:
    done.write_bytes(done.read_bytes()[: int(random.integers(done.stat().st_size))])


def zero_in_the_list(part: Path, done: Path, random: np.random.Generator) -> None:
    data = bytearray(done.read_bytes())
    at = int(random.integers(len(data)))
    data[at : at + 50] = bytes(len(data[at : at + 50]))
    done.write_bytes(data)


def cut_the_file(part: Path, done: Path, random: np.random.Generator) -> None:
    os.truncate(part, int(random.integers(part.stat().st_size)))


def lose_the_list(part: Path, done: Path, random: np.random.Generator) -> None:
    done.unlink()


@pytest.mark.parametrize(
    "spoil",
    [spoil_a_row, spoil_the_structure, cut_the_list, zero_in_the_list, cut_the_file, lose_the_list],
)
def test_what_a_power_cut_leaves_is_found_and_made_again(work, features, spoil) -> None:
    stopped_at(work / "jpg" / "p19.png", *arguments(work))
    kept = {end: (work / f"f.h5{end}").read_bytes() for end in (".part", ".part.done")}
    for seed in range(2):
        for end, data in kept.items():
            (work / f"f.h5{end}").write_bytes(data)
        spoil(work / "f.h5.part", work / "f.h5.part.done", np.random.default_rng(seed))
        assert main(arguments(work)) == 0
        assert_same(work / "f.h5", features)
        assert sorted(file.name for file in work.glob("f.h5*")) == ["f.h5"]
        (work / "f.h5").unlink()


def test_a_picture_that_changed_meanwhile_is_done_again(work, capsys) -> None:
    bad = work / "jpg" / "p20.JPG"
    bad.unlink()
    bad.symlink_to("nowhere")
    assert main(arguments(work)) == 1
    assert capsys.readouterr().err == f"extract: No such file or directory: {bad}\n"
    bad.unlink()
    bad.write_bytes(b"")
    assert main(arguments(work)) == 1
    shutil.copy(work / "jpg" / "p02.JPG", bad)
    shutil.copy(work / "jpg" / "p04.JPG", work / "jpg" / "p02.JPG")
    assert main(arguments(work)) == 0
    fresh = work / "fresh.h5"
    assert main(arguments(work, out=fresh)) == 0
    assert_same(work / "f.h5", fresh)


def test_a_part_that_is_no_hdf5_is_started_afresh(work, features) -> None:
    (work / "f.h5.part").write_bytes(b"killed before it was laid out")
    assert main(arguments(work)) == 0
    assert_same(work / "f.h5", features)


@pytest.mark.parametrize("away", [False, True])
def test_a_picture_that_changes_or_goes_while_others_are_read(work, away, monkeypatch, capsys) -> None:
    picture = work / "jpg" / "p00.JPG"
    finish = FeaturesFile.finish

    def change_and_finish(features: FeaturesFile) -> None:
        other = (work / "jpg" / "p02.JPG").read_bytes()
        picture.unlink()
        if not away:
            picture.write_bytes(other)
        finish(features)

    with monkeypatch.context() as patched:
        patched.setattr(FeaturesFile, "finish", change_and_finish)
        assert main(arguments(work)) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        f"extract: No such file or directory: {picture}"
        if away
        else f"extract: {picture} has changed meanwhile: run again, the rest is kept"
    )
    assert not (work / "f.h5").exists()
    if not away:
        assert main(arguments(work)) == 0
        assert main(arguments(work, out=work / "fresh.h5")) == 0
        assert_same(work / "f.h5", work / "fresh.h5")


def start(folder: Path, **changed: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "eval.extract", *arguments(folder, **changed)]
    mark = {"EXTRACT_TEST": str(folder)}
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | mark, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def running(folder: Path) -> list[int]:
    """Processes that a start(folder) left."""
    mark = f"EXTRACT_TEST={folder}".encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
        except OSError:
            continue
    return found


def wait_until(condition: object, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_stopped_it_leaves_no_process_and_goes_on(work, features, number, status) -> None:
    """A pipe in a picture's place holds one process up: the run can't end before it is stopped."""
    slow = work / "jpg" / "p19.png"
    good = slow.read_bytes()
    slow.unlink()
    os.mkfifo(slow)
    with start(work, jobs=2) as process:
        wait_until((work / "f.h5.part").exists)
        process.send_signal(number)
        said = process.communicate()[1]
    assert process.returncode == status
    if number != signal.SIGKILL:
        assert said.splitlines()[-1] == "extract: interrupted; the same command goes on where it was"
    wait_until(lambda: not running(work))
    slow.unlink()
    slow.write_bytes(good)
    assert main(arguments(work)) == 0
    assert_same(work / "f.h5", features)


def test_two_runs_at_once(work, capsys) -> None:
    (work / "f.h5.part").write_bytes(b"")
    with (work / "f.h5.part").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert main(arguments(work)) == 1
    assert capsys.readouterr().err == f"extract: Another run is writing it: {work}/f.h5.part\n"


def test_a_full_disk(work) -> None:
    """The file may not grow beyond 16 KiB here: it is said at the first rows, not after the last."""
    limit = 16 << 10
    process = subprocess.run(
        [sys.executable, "-m", "eval.extract", *arguments(work)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        check=False,
    )
    assert process.returncode == 1
    assert process.stderr == f"extract: File too large: {work}/f.h5.part\n"
    assert not list(work.glob("f.h5*"))


@pytest.mark.parametrize(
    ("deploy", "layer", "said"),
    [
        (
            IN_PLACE,
            "relu6",
            "relu6 works in place on fc6 .*tools.rename_blobs.* there are: data, conv, pool, fc8$",
        ),
        (IN_PLACE, "fc6", "fc6 is overwritten in place by relu6: .*python -m tools.rename_blobs"),
        (DEPLOY, "fc9", "has no blob fc9; there are: data, conv, pool, fc6, fc6_relu6, fc8$"),
        (DEPLOY.replace("num_output: 37", "num_ouput: 37"), "fc6", "deploy.prototxt, line 8: .*num_ouput"),
        (
            DEPLOY.replace("num_output: 37", "num_output: 38"),
            "fc6",
            "Caffe stopped: .*Cannot copy param 0 .*'fc6'",
        ),
        (DEPLOY.replace('"fc6" type', '"fc6b" type'), "fc6", "weights.caffemodel has no weights for fc6b$"),
        (DEPLOY.replace('"Pooling"', '"Poling"'), "fc6", "Caffe stopped: .*Unknown layer type: Poling"),
        (DEPLOY.replace("dim: 3", "dim: 1"), "fc6", "must have one input of 1 x 3 x height x width"),
        (DEPLOY.replace("kernel_size: 5", "kernel_size: 50"), "fc6", "Caffe stopped: "),
    ],
)
def test_a_network_that_does_not_fit(work, capsys, deploy, layer, said) -> None:
    (work / "deploy.prototxt").write_text(deploy)
    assert main(arguments(work, "--layers", layer)) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(f"^extract: .*{said}", error), error
    assert not list(work.glob("f.h5*"))


def test_weights_that_later_layers_lack_do_not_matter(work, features) -> None:
    """A fine-tuned model has no fc8, and nobody asked for it."""
    text = DEPLOY.replace('"fc8"', '"fc8_of_another_model"')
    (work / "deploy.prototxt").write_text(text)
    assert main(arguments(work)) == 0
    np.testing.assert_array_equal(contents(work / "f.h5")["database/fc6"], contents(features)["database/fc6"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"weights": "none"}, "No such file or directory: none"),
        ({"deploy": "none"}, "No such file or directory: none"),
        ({"images": "none"}, "Not a folder: none"),
        ({"images": ROOT / "prototxt"}, f"{ROOT}/prototxt holds no pictures .*"),
        ({"gt": "none"}, "none is not a folder with ground truth, nor a file of a revisited one"),
        ({"mean": "1,2"}, "1,2 is not a mean B,G,R of three grey levels, 0 to 255"),
        ({"mean": "1,2,nan"}, "1,2,nan is not a mean B,G,R of three grey levels, 0 to 255"),
        ({"mean": "none"}, "No such file or directory: none"),
        ({"mean": __file__}, f"{__file__} is not a file of compute_image_mean's, or not a whole one"),
        ({"weights": __file__}, "Caffe stopped: Check failed: .*"),
        ({"out": Path(__file__) / "f.h5"}, f"(File exists|Not a directory): {__file__}"),
        ({"gpu": "0"}, "this Caffe (was built without CUDA|sees no GPU).*"),
    ],
)
def test_what_is_missing(made, capsys, changed, said) -> None:
    if "gpu" in changed and shutil.which("nvidia-smi"):
        pytest.skip("this machine may have a GPU")
    assert main(arguments(made, **{"out": made / "none.h5", **changed})) == 1
    error = capsys.readouterr().err
    assert re.fullmatch(f"extract: {said}\n", error), error
    assert not list(made.glob("none.h5*"))


def test_ground_truth_that_does_not_fit(work, capsys) -> None:
    query = work / "gt" / "a_1_query.txt"
    query.write_text("oxc1_p99 0 0 10 10\n")
    assert main(arguments(work)) == 1
    assert f"query a_1 is cut from p99, and {work}/jpg has no such picture" in capsys.readouterr().err
    query.write_text("oxc1_p00 500 500 510 510\n")
    assert main(arguments(work)) == 1
    assert "p00.JPG: the query's box (500.0, 500.0, 510.0, 510.0) leaves nothing" in capsys.readouterr().err


def test_two_pictures_of_one_name(work, capsys) -> None:
    shutil.copy(work / "jpg" / "p00.JPG", work / "jpg" / "p00.jpeg")
    assert main(arguments(work)) == 1
    assert "would have one name, p00" in capsys.readouterr().err


def test_the_mean_of_a_binaryproto_is_averaged_over_its_pixels(tmp_path) -> None:
    values = np.random.default_rng(1).uniform(0, 255, (3, 4, 5))
    for blob in (
        caffe_pb2.BlobProto(num=1, channels=3, height=4, width=5, data=values.ravel()),
        caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=[1, 3, 4, 5]), data=values.ravel()),
    ):
        (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
        mean = read_mean(str(tmp_path / "mean.binaryproto"))
        np.testing.assert_allclose(mean, [values[i].mean() for i in range(3)], rtol=1e-6)
    assert read_mean("1,2.5,255") == (1, 2.5, 255)


def test_grey_pictures_have_three_channels(tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((5, 4), 77, np.uint8))
    assert (read_part(Picture(str(tmp_path / "grey.png"))).pixels == np.full((5, 4, 3), 77)).all()


@pytest.mark.skipif(not OXFORD.is_dir(), reason="the folder of Oxford's photographs is not there")
def test_real_photographs(made) -> None:
    assert main(arguments(made, images=OXFORD / "jpg", gt=OXFORD / "gt", out=made / "oxford.h5", jobs=2)) == 0
    found = contents(made / "oxford.h5")
    assert len(found["database/names"]) == len(list_pictures(OXFORD / "jpg")) >= 180
    assert [name.decode() for name in found["queries/names"]] == ["all_souls_3", "balliol_3", "cornmarket_5"]
    assert np.isfinite(found["database/fc6"]).all()
