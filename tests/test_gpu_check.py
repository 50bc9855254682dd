"""bench/gpu_check: its rehearsal on the CPU, what it makes of programs that fail, and caffe_measure."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import caffe
import numpy as np
import pytest

from bench.gpu_check import nets, running
from bench.gpu_check.parts import Check, caffe_tests, goals, list_tests, parse_tests, relative
from bench.gpu_check.running import Caffe, CheckError, Done, check_machine, ended

ROOT = Path(__file__).parent.parent
PREFIX = Path(os.environ["CAFFE_PREFIX"])


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def prefix_with_tests(folder: Path, program: str) -> Path:
    """The Caffe that is there, with another program in the place of its tests."""
    prefix = folder / "prefix"
    prefix.mkdir()
    for name in ("bin", "lib", "env.sh"):
        (prefix / name).symlink_to(PREFIX / name)
    (prefix / "tests").mkdir()
    (prefix / "tests/caffe_test").write_text(program)
    (prefix / "tests/caffe_test").chmod(0o755)
    return prefix


# gtest's output as far as it is read, of tests that pass, fail, and crash where they are told to
GTEST = f"""#!{sys.executable}
import os, sys
names = ["A/2.One", "A/2.Two", "A/3.One", "B.Crashes", "B.Fails", "B.Last"]
options = dict(word[8:].split("=") for word in sys.argv[1:] if "=" in word)
if "--gtest_list_tests" in sys.argv:
    print("A/2.  # TypeParam = float\\n  One\\n  Two\\nA/3.\\n  One\\nB.\\n  Crashes\\n  Fails\\n  Last")
    sys.exit()
for name in options["filter"].split(":"):
    print(f"[ RUN      ] {{name}}", flush=True)
    if "Crashes" in name: os.abort()
    print("[  FAILED  ]" if "Fails" in name else "[       OK ]", name, "(1 ms)", flush=True)
"""


def test_a_rehearsal_goes_to_its_end(tmp_path: Path) -> None:
    prefix = prefix_with_tests(
        tmp_path, GTEST.replace('"Crashes" in name', "False").replace('"Fails"', '"?"')
    )
    out = tmp_path / "out"
    done = run("bench/gpu_check.sh", "--rehearse", "--out", out, CAFFE_PREFIX=str(prefix))
    assert done.returncode == 0, done.stdout + done.stderr
    report = (out / "gpu_check.md").read_text()
    assert report.startswith("# Rehearsal on the CPU, which says nothing of a GPU\n\n**All is well.**")
    found = json.loads((out / "gpu_check.json").read_text())
    assert found["problems"] == [] and found["seconds"] < 410
    assert found["figures"]["tests"] == {"passed": 6, "failed": [], "crashed": [], "not reached": 0}
    assert {"losses FP32", "fc7 TF32", "batch 4 FP32 8 MB"} <= found["figures"].keys()
    losses = found["figures"]["losses FP32"]["CPU"]
    assert len(losses) == 20 and losses[-1] < 0.7 * losses[0]
    assert "| 4 | FP32 | 8 |" in report and "`caffe train` exits 0" in report


def test_what_is_wrong_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    """A Caffe whose training exits 1 after its work, as one does that calls CUDA after main."""
    prefix = prefix_with_tests(tmp_path, GTEST)
    (prefix / "bin").unlink()
    shutil.copytree(PREFIX / "bin", prefix / "bin")
    (prefix / "bin/caffe").rename(prefix / "bin/real")
    script = f'#!/bin/sh\n"{prefix}/bin/real" "$@" || exit\n[ "$1" != train ] || exit 1\n'
    (prefix / "bin/caffe").write_text(script)
    (prefix / "bin/caffe").chmod(0o755)
    out = tmp_path / "out"
    done = run("bench/gpu_check.sh", "--rehearse", "--out", out, CAFFE_PREFIX=str(prefix))
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("gpu_check: ")]
    assert len(said) == 3, done.stderr
    assert said[0].startswith("gpu_check: caffe train exited 1")
    assert said[1:] == ["gpu_check: 1 tests failed: B.Fails", "gpu_check: 1 tests crashed: B.Crashes"]
    assert (out / "gpu_check.md").read_text().splitlines()[2].startswith("**3 wrong**: ")


def check_of(prefix: Path, scratch: Path, seconds: float) -> Check:
    return Check(Caffe(prefix, None, scratch, deadline=time.monotonic() + seconds), tests="*")


def test_a_crash_costs_one_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever order a process comes to it."""
    prefix = prefix_with_tests(tmp_path, GTEST)
    for shards in (1, 2, 8):
        monkeypatch.setattr("bench.gpu_check.parts.SHARDS", shards)
        check = check_of(prefix, tmp_path, 60)
        (line, *_) = caffe_tests(check)
        assert "4 passed, 1 failed, 1 crashed, 0 not reached" in line


def test_tests_that_take_too_long_are_counted(tmp_path: Path) -> None:
    prefix = prefix_with_tests(tmp_path, GTEST.replace("os.abort()", "__import__('time').sleep(60)"))
    check = check_of(prefix, tmp_path, 3)
    started = time.monotonic()
    (line, *_) = caffe_tests(check)
    assert "1 not reached" in line and time.monotonic() - started < 50
    assert check.problems[-1] == "1 tests were not reached in time"


def test_a_part_ends_with_its_time(tmp_path: Path) -> None:
    caffe_ = Caffe(PREFIX, None, tmp_path, deadline=time.monotonic() + 1)
    with pytest.raises(CheckError, match="sleep was still at work when its time was up"):
        caffe_.run("sleep", "60")
    with pytest.raises(CheckError, match="its time was up"):
        caffe_.run("true")


def test_reading_gtest() -> None:
    text = (
        "[ RUN      ] A/2.TestB\n[  FAILED  ] A/2.TestB, where TypeParam = caffe::GPUDevice<float> (3 ms)\n"
        "[ RUN      ] C.TestD\n[       OK ] C.TestD (0 ms)\n[ RUN      ] C.TestE\n"
    )
    assert parse_tests(text) == (["C.TestD"], ["A/2.TestB"], "C.TestE")
    assert list_tests("A/0.  # TypeParam = float\n  One\nB.\n  Two\n") == ["A/0.One", "B.Two"]


def test_differences() -> None:
    assert relative([1, 2, 4.4], [1, 2, 4]) == pytest.approx(0.1)
    for wrong in ([1, float("nan")], [1, float("inf")], [1], []):
        assert relative(wrong, [1, 2]) == float("inf")


def test_goals_are_beside_pytorchs_faster_order() -> None:
    theirs = {("train", 64, "FP32 NCHW"): 100.0, ("train", 64, "FP32 channels last"): 80.0}
    theirs["train", 64, "bf16 channels last"] = 10.0
    assert goals({("train", 64, "FP32"): 92.0}, theirs) == [
        "- train, batch 64, FP32: 1.15 of PyTorch's time; goal 1.2: reached"
    ]
    assert goals({("train", 64, "FP32"): 100.0}, theirs)[0].endswith("missed")
    assert goals({}, theirs) == []


def test_how_a_program_ended() -> None:
    log = "I1129 a.cpp:1] well\nF1129 00:00 1 b.cpp:2] Check failed: error == cudaSuccess\n*** stack\n"
    assert ended(Done(-6, "", log, 1)) == "ended by signal 6, saying: Check failed: error == cudaSuccess"
    assert ended(Done(1, "", "caffe: -gpu 0: no\n", 1)) == "exited 1, saying: caffe: -gpu 0: no"


def test_a_glibc_that_is_too_old_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    check_machine()
    monkeypatch.setattr(running, "GLIBC", (99, 0))
    with pytest.raises(CheckError, match=r"glibc 2\.\d+ is too old: 99\.0 is needed"):
        check_machine()


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--gpu", "99"], 1, "caffe_gpus 99 exited 1, saying: caffe: -gpu 99: "),
        (["--torch", "/nowhere/python"], 1, "gpu_check: --torch /nowhere/python: there is no such program"),
        (["--gpu", "-1"], 2, "--gpu takes a number from 0 up"),
        (["--what"], 2, "gpu_check: unknown option --what (see --help)"),
        (["--gpu"], 2, "gpu_check: --gpu needs a value (see --help)"),
    ],
)
def test_bad_input(tmp_path: Path, options: list[str], status: int, said: str) -> None:
    done = run("bench/gpu_check.sh", "--out", tmp_path / "out", *options)
    assert done.returncode == status and said in done.stderr and "Traceback" not in done.stderr
    ours = [line for line in done.stderr.splitlines() if "gpu_check: " in line]
    assert len(ours) == 1, "one sentence"


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.prototxt"
    path.write_text(nets.vgg16(nets.SMALL, 2, smooth=True))
    return path


def test_what_is_measured_is_the_network(net: Path, tmp_path: Path) -> None:
    """Layer for layer VGG16's, by pycaffe; the weights that are drawn have He's spread."""
    deploy = caffe.Net(str(ROOT / "prototxt/vgg16/deploy.prototxt"), caffe.TEST)
    whole = tmp_path / "whole.prototxt"
    whole.write_text(nets.vgg16(nets.WHOLE, 1))
    ours = caffe.Net(str(whole), caffe.TEST)
    for name, blobs in deploy.params.items():
        assert [b.data.shape for b in ours.params[name]] == [b.data.shape for b in blobs], name


def test_caffe_measure_prints_and_writes(net: Path, tmp_path: Path) -> None:
    out = tmp_path / "fc7.bin"
    command = ("caffe_measure", net, "forward", "--iterations", "2", "--warm-up", "1")
    done = run(*command, "--blob", "fc7", "--out", out)
    found = json.loads(done.stdout)
    assert len(found["milliseconds"]) == 2 and len(found["losses"]) == 3 and found["memory_mib"] == 0
    fc7 = np.fromfile(out, np.float32)
    assert fc7.shape == (2 * nets.SMALL.hidden,) and np.isfinite(fc7).all() and fc7.std() > 0.1
    again = json.loads(run(*command).stdout)
    assert again["losses"] == found["losses"], "drawn the same each time"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["net"], "NET and forward or train are needed (see --help)"),
        (["net", "forward", "--iterations", "x"], "--iterations takes a whole number, not x (see --help)"),
        (["net", "forward", "--blob", "fc7"], "--blob and --out go together (see --help)"),
        (["net", "forward", "--what", "1"], "unknown option --what (see --help)"),
    ],
)
def test_caffe_measure_misused(words: list[str], said: str) -> None:
    done = run("caffe_measure", *words)
    assert (done.returncode, done.stderr) == (2, f"caffe_measure: {said}\n")


def test_caffe_measure_without_that_blob_or_gpu(net: Path) -> None:
    done = run("caffe_measure", net, "forward", "--blob", "fc9", "--out", "/dev/null", GLOG_minloglevel="2")
    assert (done.returncode, done.stderr) == (1, "caffe_measure: the network has no blob fc9\n")
    done = run("caffe_measure", net, "forward", "--gpu", "99")
    assert done.returncode == 1 and re.search(r"^caffe: -gpu 99: ", done.stderr, re.MULTILINE)
