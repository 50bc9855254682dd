"""Real input: Oxford's photographs, and VGG16's convolutions as trained on ImageNet, where they are."""

import fcntl
import os
import signal
import subprocess
import venv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

# The long run: python -m pytest -c tests/pytest.ini --rootdir . -m fuzz --hypothesis-profile long
# A drawn case's time says more of the machine than of the code, and fixtures of a whole module are meant.
settings.register_profile(
    "daily", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.register_profile("long", settings.get_profile("daily"), max_examples=1_000_000, database=None)
settings.load_profile("daily")

# What a shell starts in the background ignores Ctrl-C, and so would every program that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and what nohup starts, a terminal that closes


@pytest.fixture(scope="session")
def oxford_sample() -> Path:
    """A folder with jpg/ and gt/ of Oxford5k (OXFORD_SAMPLE); tests that ask for it skip without."""
    folder = Path(os.environ.get("OXFORD_SAMPLE", SHARED / "oxford_sample"))
    if not folder.is_dir():
        pytest.skip("the folder of Oxford's photographs is not there (OXFORD_SAMPLE)")
    return folder


@pytest.fixture(scope="session")
def vgg16_trunk() -> Path:
    """An .npz with LAYER_w and LAYER_b of VGG16's convolutions in Caffe's layout (VGG16_TRUNK).

    Without one it is made once, by a script beside the checkout in an environment of its own, where there is
    that script and a package index; else tests that ask for it skip.
    """
    given = os.environ.get("VGG16_TRUNK")
    trunk = Path(given) if given else ROOT / "work" / "tests" / "vgg16_trunk.npz"
    script = SHARED / "tools" / "vgg16_trunk.py"
    if trunk.is_file():
        return trunk
    if given or not script.is_file():
        pytest.skip("VGG16's convolutions are not there (VGG16_TRUNK)")
    trunk.parent.mkdir(parents=True, exist_ok=True)
    with trunk.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not trunk.is_file():
            _make_trunk(script, trunk)
    return trunk


def _make_trunk(script: Path, trunk: Path) -> None:
    place = trunk.with_name("onnx-venv")
    venv.create(place, with_pip=True, clear=True)
    python, part = place / "bin" / "python", trunk.with_name("part.npz")
    environment = os.environ | {"PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": ""}
    for command in (["-m", "pip", "install", "-q", "onnx", "numpy"], [str(script), str(part)]):
        done = subprocess.run(
            [python, *command], capture_output=True, text=True, env=environment, check=False
        )
        if done.returncode:
            last = (done.stderr.strip() or "nothing").splitlines()[-1]
            pytest.skip(f"VGG16's convolutions can't be made here: {last}")
    part.replace(trunk)


@pytest.fixture(scope="session")
def vgg16_maps(vgg16_trunk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with deploy.prototxt and vgg16.caffemodel: prototxt/vgg16 up to pool5 with real weights."""
    caffe = pytest.importorskip("caffe")
    import numpy as np
    from google.protobuf import text_format

    from eval.forward.network import cut_behind
    from tools.files.prototxt import read_net

    folder = tmp_path_factory.mktemp("vgg16")
    deploy = read_net(ROOT / "prototxt" / "vgg16" / "deploy.prototxt")
    cut_behind(deploy, ["pool5"])
    (folder / "deploy.prototxt").write_text(text_format.MessageToString(deploy))
    net = caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST)
    with np.load(vgg16_trunk) as weights:
        for layer, blobs in net.params.items():
            blobs[0].data[...] = weights[f"{layer}_w"]
            blobs[1].data[...] = weights[f"{layer}_b"]
    net.save(str(folder / "vgg16.caffemodel"))
    return folder
