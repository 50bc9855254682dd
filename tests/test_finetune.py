"""tools/finetune.sh on real Caffe: the final model, an interruption, the modes, and what is refused."""

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from small_disk import on_small_disk

ROOT = Path(__file__).parent.parent
SIDE = 8
CLASSES = 3
ITERATIONS = 60

NET = """
layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: TRAIN }}
  transform_param {{ mean_file: "{folder}/lmdb/mean.binaryproto" mirror: true crop_size: 6 }}
  data_param {{ source: "{folder}/lmdb/train_lmdb" batch_size: 4 backend: LMDB }} }}
layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: TEST }}
  transform_param {{ mean_file: "{folder}/lmdb/mean.binaryproto" crop_size: 6 }}
  data_param {{ source: "{folder}/lmdb/val_lmdb" batch_size: 2 backend: LMDB }} }}
layer {{ name: "fc6" type: "InnerProduct" bottom: "data" top: "fc6"
  inner_product_param {{ num_output: 5 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu6" type: "ReLU" bottom: "fc6" top: "fc6" }}
layer {{ name: "{last}" type: "InnerProduct" bottom: "fc6" top: "{last}"
  inner_product_param {{ num_output: {classes} weight_filler {{ type: "gaussian" std: 0.01 }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "{last}" bottom: "label" top: "loss" }}
layer {{ name: "accuracy" type: "Accuracy" bottom: "{last}" bottom: "label" top: "accuracy"
  include {{ phase: TEST }} }}
"""
SOLVER = f"""
net: "train_val.prototxt" test_iter: 1 test_interval: 20 display: 10 max_iter: {ITERATIONS}
base_lr: 0.0001 lr_policy: "step" gamma: 0.1 stepsize: 20 momentum: 0.9 weight_decay: 0.0005
snapshot: 10 snapshot_prefix: "snapshots/s" solver_mode: CPU
"""


def run(*command: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=120)


def finetune(folder: Path, *options: str | Path) -> subprocess.CompletedProcess:
    return run(
        "tools/finetune.sh", "--prototxt", folder / "filled", "--out", folder / "out.caffemodel", *options
    )


def parameters(model: Path) -> dict[str, np.ndarray]:
    net = caffe_pb2.NetParameter.FromString(model.read_bytes())
    return {layer.name: np.array(layer.blobs[0].data) for layer in net.layer if layer.blobs}


def fill(
    folder: Path, last: str = "fc8_magic", iterations: int = ITERATIONS, net: str = NET, solver: str = SOLVER
) -> None:
    (folder / "net").mkdir(exist_ok=True)
    (folder / "net/train_val.prototxt").write_text(net.format(folder=folder, last=last, classes=CLASSES))
    (folder / "net/solver.prototxt").write_text(solver)
    paths = ["--train-lmdb", folder / "lmdb/train_lmdb", "--val-lmdb", folder / "lmdb/val_lmdb"]
    paths += ["--mean", folder / "lmdb/mean.binaryproto", "--net", folder / "net", "--out", folder / "filled"]
    settings = ["--classes", str(CLASSES), "--seed", "1", "--max-iter", str(iterations)]
    done = run("python", "-m", "tools.fill_prototxt", *paths, *settings)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("with space")
    (folder / "pictures").mkdir()
    draw = np.random.default_rng(0)
    lists: dict[str, list[str]] = {"train": [], "val": []}
    for number in range(24):
        label = number % CLASSES
        picture = np.full((SIDE, SIDE, 3), 60 * label, np.uint8) + draw.integers(
            0, 60, (SIDE, SIDE, 3), np.uint8
        )
        path = folder / f"pictures/{number} a.png"
        cv2.imwrite(str(path), picture)
        lists["train" if number < 18 else "val"].append(f"{path} {label}\n")
    (folder / "lists").mkdir()
    for name, lines in lists.items():
        (folder / f"lists/{name}.txt").write_text("".join(lines))
    for command in (
        ["tools/make_lmdb.sh", folder / "lists", folder / "lmdb", str(SIDE)],
        ["tools/make_mean.sh", folder / "lmdb/train_lmdb", folder / "lmdb/mean.binaryproto"],
    ):
        done = run(*command)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(data: Path, tmp_path: Path) -> Path:
    """A folder of one's own that sees the same databases."""
    own = tmp_path / "a b"
    own.mkdir()
    (own / "lmdb").symlink_to(data / "lmdb")
    return own


@pytest.fixture
def pretrained(folder: Path) -> Path:
    fill(folder, last="fc8")
    assert finetune(folder).returncode == 0
    (folder / "out.caffemodel").rename(folder / "pretrained.caffemodel")
    subprocess.run(["rm", "-r", folder / "filled"], check=True)
    fill(folder)
    return folder / "pretrained.caffemodel"


def test_training_leaves_the_final_model_and_the_log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOG_minloglevel", "2")  # somebody's wish for quiet
    fill(folder)
    done = finetune(folder, "--gpu", "none")  # as run_all.sh calls it where there is none
    assert done.returncode == 0, done.stderr
    final = folder / f"filled/snapshots/s_iter_{ITERATIONS}.caffemodel"
    assert (folder / "out.caffemodel").read_bytes() == final.read_bytes()
    assert "caffe train -solver" in done.stdout
    assert f"Iteration {ITERATIONS}, loss" in (folder / "filled/log.txt").read_text()
    again = finetune(folder)
    assert again.returncode == 0
    assert "Iteration" not in again.stdout


def test_the_same_seed_gives_the_same_bytes(folder: Path) -> None:
    fill(folder)
    assert finetune(folder).returncode == 0
    first = (folder / "out.caffemodel").read_bytes()
    subprocess.run(["rm", "-r", folder / "filled"], check=True)
    fill(folder)
    assert finetune(folder).returncode == 0
    assert (folder / "out.caffemodel").read_bytes() == first


def test_only_the_last_layer_learns_in_mode_last(folder: Path, pretrained: Path) -> None:
    done = finetune(folder, "--weights", pretrained, "--mode", "last")
    assert done.returncode == 0, done.stderr
    before, after = parameters(pretrained), parameters(folder / "out.caffemodel")
    assert np.array_equal(before["fc6"], after["fc6"])
    assert set(after) == {"fc6", "fc8_magic"}


def test_all_layers_learn_in_mode_all(folder: Path, pretrained: Path) -> None:
    done = finetune(folder, "--weights", pretrained)
    assert done.returncode == 0, done.stderr
    assert not np.array_equal(parameters(pretrained)["fc6"], parameters(folder / "out.caffemodel")["fc6"])


def test_two_phases_run_one_after_the_other(folder: Path, pretrained: Path) -> None:
    done = finetune(folder, "--weights", pretrained, "--mode", "two-phase")
    assert done.returncode == 0, done.stderr
    first = folder / f"filled/snapshots/slast_iter_{ITERATIONS}.caffemodel"
    assert np.array_equal(parameters(pretrained)["fc6"], parameters(first)["fc6"])
    assert not np.array_equal(parameters(first)["fc6"], parameters(folder / "out.caffemodel")["fc6"])
    assert f"-weights {first}" in done.stdout


def start_endless(folder: Path, *options: str) -> subprocess.Popen:
    """A training that has begun and takes for ever."""
    fill(folder, iterations=2_000_000_000)
    process = start(folder, *options)
    wait_for("Iteration", folder)
    return process


def start(folder: Path, *options: str) -> subprocess.Popen:
    command: list[str | Path] = ["tools/finetune.sh", "--prototxt", folder / "filled"]
    command += ["--out", folder / "out.caffemodel", *options]
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, env=os.environ, start_new_session=True
        )


def wait_for(said: str, folder: Path, times: int = 1) -> None:
    deadline = time.monotonic() + 120
    while (folder / "output").read_text().count(said) < times and time.monotonic() < deadline:
        time.sleep(0.1)


def of_session(session: int) -> list[int]:
    done = subprocess.run(
        ["ps", "-o", "pid=", "-s", str(session)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in done.stdout.split()]


def kill_everything(pid: int, number: int) -> None:
    for process in of_session(pid):
        os.kill(process, number)


@pytest.mark.parametrize(
    ("kill", "number", "status"),
    [
        (os.kill, signal.SIGTERM, 143),
        (os.kill, signal.SIGHUP, 129),
        (os.killpg, signal.SIGINT, 130),
        (kill_everything, signal.SIGTERM, 143),
    ],
)
def test_a_stopped_training_goes_on_from_its_snapshot(
    folder: Path, kill: Callable, number: int, status: int
) -> None:
    process = start_endless(folder)
    kill(process.pid, number)
    assert process.wait(timeout=120) == status
    states = list((folder / "filled/snapshots").glob("*.solverstate"))
    assert len(states) == 1, "Caffe writes a snapshot when it is stopped"
    assert "Snapshotting solver state" in (folder / "filled/log.txt").read_text()
    assert not (folder / "out.caffemodel").exists()

    reached = int(states[0].stem.rpartition("_")[2])
    for name in ("solver", "solver_last"):
        path = folder / f"filled/{name}.prototxt"
        solver = text_format.Parse(path.read_text(), caffe_pb2.SolverParameter())
        solver.max_iter = reached + 10
        path.write_text(text_format.MessageToString(solver))
    done = finetune(folder)
    assert done.returncode == 0, done.stderr
    assert f"going on from {states[0]}" in done.stdout
    assert (folder / "out.caffemodel").exists()


def test_a_long_test_of_the_network_says_how_far_it_is(folder: Path) -> None:
    """Caffe through finetune.sh and what run_all.sh shows of it; and the silence between is not too long."""
    fill(folder)
    path = folder / "filled/solver.prototxt"
    path.write_text(re.sub(r"(?m)^test_iter: .*", "test_iter: 2000000000", path.read_text()))
    process = start(folder, "--silence", "30")
    wait_for("Tested", folder, times=2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 143
    output = (folder / "output").read_text()
    tested = [int(n) for n in re.findall(r"Tested (\d+) of 2000000000 batches", output)]
    assert len(tested) >= 2 and tested[0] > 0 and tested == sorted(set(tested))
    line = f"validation at 0: {tested[0]}/2000000000 batches"
    for live, wanted in ((1, "\r\033[K━" + "─" * 23 + f" {line}"), (0, f"\n{line}\n")):
        show = ["awk", "-v", f"live={live}", "-f", ROOT / "tools/run/show.awk"]
        shown = subprocess.run(show, input=output.encode(), capture_output=True, check=True).stdout
        assert wanted in shown.decode()


def caffe_of(session: int) -> int:
    done = subprocess.run(["pgrep", "-s", str(session), "-x", "caffe"], capture_output=True, check=True)
    return int(done.stdout)


def test_a_training_that_hangs_is_ended(folder: Path) -> None:
    """Stopped, it displays nothing, writes no snapshot when it is asked to, and does not end by itself."""
    process = start_endless(folder, "--silence", "4")
    time.sleep(6)  # lines come all the time: this one is left alone
    assert process.poll() is None
    caffe = caffe_of(process.pid)
    os.kill(caffe, signal.SIGSTOP)
    assert process.wait(timeout=120) == 1
    said = (folder / "output").read_text().splitlines()[-1]
    assert said.startswith("finetune: the training displayed nothing for 4 seconds and was ended (--silence")
    assert not of_session(process.pid) and not (folder / "out.caffemodel").exists()


def test_a_training_that_only_is_slow_leaves_its_snapshot(folder: Path) -> None:
    """As one that hangs for a while: it goes on within the time that it is given to write one."""
    process = start_endless(folder, "--silence", "8")  # longer than a busy machine makes it silent
    caffe = caffe_of(process.pid)
    os.kill(caffe, signal.SIGSTOP)
    time.sleep(9)
    os.kill(caffe, signal.SIGCONT)
    assert process.wait(timeout=120) == 1
    assert "displayed nothing for 8 seconds" in (folder / "output").read_text()
    assert list((folder / "filled/snapshots").glob("*.solverstate"))


@pytest.mark.parametrize(
    ("check", "helps"),
    [
        ("syncedmem.cpp:67] Check failed: error == cudaSuccess (2 vs. 0)  out of memory", "TRAIN_BATCH=32"),
        ("parallel.cpp:195] Check failed: result == ncclSuccess (2 vs. 0)  unhandled", "--shm-size=1g"),
        ("syncedmem.cpp:81] Check failed: error == cudaSuccess (719 vs. 0)  unspecified", "nvidia-smi"),
    ],
)
def test_what_a_gpu_ends_a_training_with_says_what_helps(
    folder: Path, monkeypatch: pytest.MonkeyPatch, check: str, helps: str
) -> None:
    """Lines as Caffe's checks write them."""
    fill(folder)
    (folder / "bin").mkdir()
    (folder / "bin/caffe").write_text(
        f"#!/bin/sh\necho 'F1129 00:00:00.000000 1 {check}' >&2\nkill -ABRT $$\n"
    )
    (folder / "bin/caffe").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
    done = finetune(folder)
    assert done.returncode == 134
    said = done.stderr.splitlines()[-1]
    assert said.startswith("finetune: Caffe has stopped: Check failed: ") and helps in said


def test_two_gpus_launch_as_a_group(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder)
    (folder / "bin").mkdir()
    (folder / "bin/caffe").write_text('#!/bin/sh\necho "mode: $NCCL_LAUNCH_MODE."\nexit 1\n')
    (folder / "bin/caffe").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
    monkeypatch.delenv("NCCL_LAUNCH_MODE", raising=False)
    assert "mode: GROUP." in finetune(folder, "--gpu", "0,1").stdout
    assert "mode: ." in finetune(folder, "--gpu", "0").stdout
    monkeypatch.setenv("NCCL_LAUNCH_MODE", "PARALLEL")
    assert "mode: PARALLEL." in finetune(folder, "--gpu", "0,1").stdout


def test_what_a_killed_script_leaves_behind_is_named(folder: Path) -> None:
    process = start_endless(folder)
    second = finetune(folder)
    assert second.returncode == 1
    assert f"{process.pid} (" in second.stderr and "caffe train" in second.stderr
    process.kill()
    process.wait()
    orphan = finetune(folder)
    assert orphan.returncode == 1
    said = orphan.stderr.strip()
    assert f"is training into {folder}/filled/snapshots/s; kill -INT ends it" in said
    found = re.search(r"(\d+) \(caffe train", said)
    assert found, said
    caffe = int(found[1])
    os.kill(caffe, signal.SIGINT)
    deadline = time.monotonic() + 120
    while of_session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list((folder / "filled/snapshots").glob("*.solverstate"))


def test_a_moved_folder_still_finds_its_snapshots_in_hdf5(folder: Path) -> None:
    solver = SOLVER + "snapshot_format: HDF5"
    fill(folder, solver=solver)
    assert finetune(folder).returncode == 0
    moved = folder.with_name("moved")
    folder.rename(moved)
    (moved / f"filled/snapshots/s_iter_{ITERATIONS}.solverstate.h5").unlink()
    (moved / "out.caffemodel").unlink()
    fill(moved, solver=solver)
    done = finetune(moved)
    assert done.returncode == 0, done.stderr
    assert f"going on from {moved}/filled/snapshots/s_iter_50.solverstate.h5" in done.stdout
    assert (moved / "out.caffemodel").exists()


def test_the_log_is_on_the_disk_before_a_snapshot_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut a training that has ended has a log to draw its curve from."""
    fill(folder)
    (folder / "bin").mkdir()
    shim = f"""#!/bin/bash\n[[ $1 != *log.txt ]] || grep -c "Iteration.*loss" "$1" >>'{folder}/synced'\n"""
    (folder / "bin/sync").write_text(f'{shim}exec /bin/sync "$@"\n')
    (folder / "bin/sync").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
    assert finetune(folder).returncode == 0
    lines = list(map(int, (folder / "synced").read_text().split()))
    assert len(lines) == ITERATIONS // 10 and lines == sorted(lines) and lines[0] >= 1


def test_the_newest_three_snapshots_stay(folder: Path) -> None:
    fill(folder)
    assert finetune(folder).returncode == 0
    for ending in ("solverstate", "caffemodel"):
        names = sorted(path.name for path in (folder / "filled/snapshots").glob(f"*.{ending}"))
        assert names == [f"s_iter_{i}.{ending}" for i in (40, 50, 60)]


def test_a_training_that_goes_on_sees_the_pictures_that_come_next(folder: Path) -> None:
    """Without mirroring and crops, which draw numbers, it ends with the very bytes of the undisturbed one."""
    net = NET.replace(" mirror: true crop_size: 6", "").replace(" crop_size: 6", "")
    fill(folder, net=net)
    assert finetune(folder, "--keep", "all").returncode == 0
    undisturbed = (folder / "out.caffemodel").read_bytes()
    for path in (folder / "filled/snapshots").glob("s_iter_*"):
        if not path.name.startswith(("s_iter_10.", "s_iter_20.")):
            path.unlink()
    done = finetune(folder)
    assert done.returncode == 0, done.stderr
    assert "s_iter_20.solverstate, behind picture 8 of the database" in done.stdout  # 20 x 4 = 4 x 18 + 8
    assert (folder / "out.caffemodel").read_bytes() == undisturbed


def test_what_caffe_refuses_is_said_before_it_starts(folder: Path) -> None:
    fill(folder)
    path = folder / "filled/train_val.prototxt"
    path.write_text(path.read_text().replace('"SoftmaxWithLoss"', '"NoSuchLayer"'))
    done = finetune(folder)
    assert done.returncode == 1 and "Unknown layer type: NoSuchLayer" in done.stderr
    assert "stack trace" not in done.stdout + done.stderr and not (folder / "filled/log.txt").exists()


def test_a_failed_check_is_told_without_its_stack_trace(folder: Path) -> None:
    """Of one that Caffe comes to when it learns."""
    fill(folder)
    path = folder / "filled/train_val.prototxt"
    both = "propagate_down: true propagate_down: true"
    path.write_text(path.read_text().replace('type: "SoftmaxWithLoss"', f'type: "SoftmaxWithLoss" {both}'))
    done = finetune(folder)
    assert done.returncode == 134  # Caffe's CHECK aborts
    assert "    @ " not in done.stdout and "stack trace" not in done.stdout
    said = "finetune: Caffe has stopped: SoftmaxWithLoss Layer cannot backpropagate to label inputs."
    assert done.stderr.splitlines()[-1] == said and "Aborted" not in done.stderr
    assert "stack trace" in (folder / "filled/log.txt").read_text()


def test_a_crash_is_told_without_its_stack_trace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As glog writes it where a signal ends Caffe."""
    fill(folder)
    (folder / "bin").mkdir()
    (folder / "bin/caffe").write_text(
        """#!/bin/sh
cat <<'LOG' >&2
}
I20260101 00:00:00.000000     1 net.cpp:382] c -> c
*** Aborted at 1795908346 (unix time) try "date -d @1795908346" if you are using GNU date ***
PC: @                0x0 (unknown)
*** SIGFPE (@0x7fdb2cc65448) received by PID 1 (TID 0x7fdb1e0a8e40) from PID 7; stack trace: ***
    @     0x7fdb2cc65448 caffe::BaseConvolutionLayer<>::LayerSetUp()
LOG
kill -FPE $$
"""
    )
    (folder / "bin/caffe").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
    done = finetune(folder)
    log = folder / "filled/log.txt"
    assert done.returncode == 136
    said = f"finetune: Caffe has stopped: it crashed (signal FPE); {log} has all that it said\n"
    assert done.stderr.endswith(said) and "exception" not in done.stderr
    assert not re.search("@|stack trace|Aborted", done.stdout) and "SIGFPE" in log.read_text()


def test_a_full_disk_loses_lines_of_the_log_and_is_said(folder: Path) -> None:
    """A log that can't be written ends no training; a snapshot that can't be does."""
    fill(folder)
    snapshots = folder / "filled/snapshots"
    snapshots.mkdir(exist_ok=True)
    (folder / "filled/log.txt").symlink_to(snapshots / "log.txt")
    words = ["tools/finetune.sh", "--prototxt", folder / "filled", "--out", folder / "out.caffemodel"]
    full = f"head -c 1G /dev/zero >{shlex.quote(str(snapshots))}/fill; exec "
    done = on_small_disk(snapshots, full + shlex.join(map(str, words)), ROOT)
    assert done.returncode != 0
    assert "Snapshotting to binary proto file" in done.stdout
    said = f"finetune: Caffe has stopped: its disk is full, 0 MB are free at {snapshots}"
    assert done.stderr.splitlines()[-1] == said


def test_a_training_that_diverges_is_an_error(folder: Path) -> None:
    fill(folder)
    solver = folder / "filled/solver.prototxt"
    solver.write_text(solver.read_text().replace("base_lr: 0.0001", "base_lr: 1e30"))
    for _ in range(2):  # the second finds the training at its end
        done = finetune(folder)
        assert done.returncode == 1
        assert "the training diverged, its loss is no number any more" in done.stderr
        assert not (folder / "out.caffemodel").exists()


def test_nobody_reads_on_and_the_training_goes_on(folder: Path) -> None:
    fill(folder)
    command = f"tools/finetune.sh --prototxt '{folder}/filled' --out '{folder}/out.caffemodel' | head -n 1"
    done = run("bash", "-c", command)
    assert done.stderr == ""
    deadline = time.monotonic() + 120
    while not (folder / "out.caffemodel").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (folder / "out.caffemodel").exists()


def test_weights_that_lack_a_layer_are_an_error(folder: Path, pretrained: Path) -> None:
    net = caffe_pb2.NetParameter.FromString(pretrained.read_bytes())
    kept = [layer for layer in net.layer if layer.name != "fc6"]
    del net.layer[:]
    net.layer.extend(kept)
    (folder / "lacking.caffemodel").write_bytes(net.SerializeToString())
    done = finetune(folder, "--weights", folder / "lacking.caffemodel")
    assert done.returncode == 1
    assert "fc6" in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "out.caffemodel").exists()


@pytest.mark.parametrize("setting", ["bf16", "fp16"])
def test_training_in_another_precision_is_refused(
    folder: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder)
    monkeypatch.setenv("CAFFE_CPU_PRECISION", setting)
    done = finetune(folder)
    assert done.returncode == 1
    sentence = f"CAFFE_CPU_PRECISION is {setting}, and training on the CPU is in fp32 alone: unset it"
    assert done.stderr == f"finetune: {sentence}\n"


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        (["--mode", "some"], 2, "--mode takes all, last or two-phase"),
        (["--what"], 2, "unknown option --what"),
        (["--keep", "0"], 2, "--keep takes a number from 1 up, or all, not 0"),
        (["--silence", "soon"], 2, "--silence takes a number of seconds, or 0 to wait for ever, not soon"),
        (
            ["--weights", "http://somewhere/VGG.caffemodel"],
            1,
            "http://somewhere/VGG.caffemodel is not a file",
        ),
    ],
)
def test_wrong_options_are_one_sentence(folder: Path, options: list[str], status: int, sentence: str) -> None:
    fill(folder)
    done = finetune(folder, *options)
    assert done.returncode == status
    assert sentence in done.stderr and len(done.stderr.splitlines()) == 1
