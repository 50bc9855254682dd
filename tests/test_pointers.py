"""A Git LFS pointer in the place of a large file: named as that by every reader."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.check.look import look_at
from eval.files.features import open_features
from eval.files.npz import read_npy
from eval.represent import mop
from tools.files.caffemodel import stored_shapes
from tools.files.image_lmdb import entry_count
from tools.files.mean_file import read_mean
from tools.files.pixels import read_pixels
from tools.files.prototxt import read_solver
from tools.files.solverstate import read_state

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 553432081\n"


def read_features(path: Path) -> None:
    with open_features(path):
        pass


READERS: dict[str, Callable[[Path], object]] = {
    "vgg.caffemodel": stored_shapes,
    "vgg.caffemodel.h5": stored_shapes,
    "a.solverstate": read_state,
    "a.solverstate.h5": read_state,
    "mean.binaryproto": lambda path: read_mean(str(path)),
    "solver.prototxt": read_solver,
    "data.mdb": lambda path: entry_count(path.parent),
    "f.h5": read_features,
    "m.npz": mop.load,
    "map.npy": read_npy,
    "a.jpg": read_pixels,
}


@pytest.mark.parametrize("name", READERS)
def test_a_pointer_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(POINTER)
    with pytest.raises(ValueError, match=r"only Git LFS's pointer .*`git lfs pull` fetches"):
        READERS[name](tmp_path / name)


def test_the_check_names_a_pointer(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text(POINTER)
    finding = look_at(tmp_path / "a.jpg", None).finding
    assert finding.problems == ("not-image",) and "git lfs pull" in finding.reasons[0]
