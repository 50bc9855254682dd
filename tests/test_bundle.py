"""tools/caffe/bundle.sh: what it packs runs elsewhere. Whole only on a CUDA build that has Caffe's tests."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PREFIX = Path(os.environ["CAFFE_PREFIX"])


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    words = [str(part) for part in command]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]


def test_what_cannot_be_packed_is_one_sentence(tmp_path: Path) -> None:
    for name in ("bundle", "bundle.tar.gz"):
        done = run("tools/caffe/bundle.sh", tmp_path / name)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    (tmp_path / "recipe").write_text("cuda no\n")
    packing = ("tools/caffe/bundle.sh", tmp_path / "b.tar.xz")
    done = run(*packing, env=os.environ | {"CAFFE_PREFIX": str(tmp_path)})
    assert done.returncode == 1 and done.stderr.startswith(f"bundle: {tmp_path} holds no CUDA build")
    (tmp_path / "recipe").write_text("cuda yes\n")
    done = run(*packing, env=os.environ | {"CAFFE_PREFIX": str(tmp_path)})
    assert done.returncode == 1 and done.stderr.startswith(f"bundle: {tmp_path} holds no tests of Caffe's")
    assert not list(tmp_path.glob("b.tar.xz*"))


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = PREFIX / "recipe"
    if not recipe.exists() or "cuda yes" not in recipe.read_text() or not (PREFIX / "tests").is_dir():
        pytest.skip("no CUDA build with Caffe's tests: ./run_tests.sh --cuda")
    folder = tmp_path_factory.mktemp("elsewhere") / "with space"
    folder.mkdir()
    done = run("tools/caffe/bundle.sh", folder / "b.tar.xz")
    assert done.returncode == 0, done.stderr
    size = re.search(r"(\d+) MB; unpacked", done.stdout)
    assert size and int(size[1]) < 45, done.stdout
    subprocess.run(["tar", "-xf", "b.tar.xz"], cwd=folder, check=True)
    return folder / "caffe-gpu-check"


def test_it_holds_none_of_what_is_there(unpacked: Path) -> None:
    names = {path.name for path in (unpacked / "caffe/lib").iterdir()}
    assert any(name.startswith("libopenblas") for name in names)
    foreign = r"lib(c|m|stdc\+\+|gcc_s|gdal|nccl|nvrtc.*|cu(da|blas|dnn|rand).*)\.so.*|ld-linux.*"
    assert [name for name in names if re.fullmatch(foreign, name)] == []


def test_its_rehearsal(unpacked: Path, tmp_path: Path) -> None:
    """With nothing of this machine but NVIDIA's libraries, which the prefix has, and a Python."""
    environment = {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": str(PREFIX / "lib"), "HOME": str(tmp_path)}
    command = ("/usr/bin/env", "sh", unpacked / "gpu_check", "--rehearse", "--out", tmp_path / "out")
    done = run(*command, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "**All is well.**" in (tmp_path / "out/gpu_check.md").read_text()


def test_without_nvidias_libraries(unpacked: Path, tmp_path: Path) -> None:
    command = (unpacked / "gpu_check", "--out", tmp_path / "out")
    done = run(*command, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert re.match(
        r"gpu_check: lib\S+ is not found\. CUDA 13's and cuDNN 9's libraries come with", done.stderr
    )
    assert sys.version_info >= (3, 11)
