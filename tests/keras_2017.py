"""The Keras of the article: one file of its own source package, run with a stand-in for its backend."""

import hashlib
import importlib.util
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
ARCHIVE = ROOT / "work" / "tests" / "Keras-2.0.4.tar.gz"
SHA256 = "1cbe62af6821963321b275d5598fd94e63c11feaa1d4deaa79c9eb9ee0e1d68a"
MEMBER = "Keras-2.0.4/keras/preprocessing/image.py"


def fetched() -> Path:
    """The source package, downloaded once. Skips the test where no package index has it."""
    if not ARCHIVE.is_file():
        ARCHIVE.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        command += ["--retries", "1", "--timeout", "10", "--dest", str(ARCHIVE.parent), "-r", "/dev/stdin"]
        wanted = f"keras==2.0.4 --hash=sha256:{SHA256}"
        done = subprocess.run(command, input=wanted, capture_output=True, text=True, check=False)
        if done.returncode or not ARCHIVE.is_file():
            pytest.skip("the source package of Keras 2.0.4 can't be had from a package index here")
    assert hashlib.sha256(ARCHIVE.read_bytes()).hexdigest() == SHA256
    return ARCHIVE


@pytest.fixture(scope="session")
def keras_2017(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Keras 2.0.4's keras.preprocessing.image."""
    with tarfile.open(fetched()) as archive:
        source = archive.extractfile(MEMBER)
        assert source is not None
        path = tmp_path_factory.mktemp("keras") / "image.py"
        path.write_bytes(source.read())
    names = ("keras", "keras.backend", "keras.preprocessing", "six", "six.moves")
    stand_ins = {name: ModuleType(name) for name in names}
    stand_ins["keras"].backend = stand_ins["keras.backend"]
    stand_ins["keras.backend"].floatx = lambda: "float32"
    stand_ins["keras.backend"].image_data_format = lambda: "channels_last"
    stand_ins["six.moves"].range = range
    with pytest.MonkeyPatch.context() as patch:
        for name, module in stand_ins.items():
            patch.setitem(sys.modules, name, module)
        spec = importlib.util.spec_from_file_location("keras.preprocessing.image", path)
        assert spec is not None and spec.loader is not None
        image = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(image)
    yield image
