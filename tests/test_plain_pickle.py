"""tools.files.plain_pickle against Python's own pickle where data is plain, and against what is not."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tools.files.plain_pickle import read_plain_pickle

keys = st.text(max_size=5) | st.integers()
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=20)
)
plain = st.recursive(
    leaves,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(keys, inner),
    max_leaves=15,
)
kinds = st.sampled_from(["<i4", ">i8", "u1", "<f4", ">f8", "?", "<U3", "S2", "<c8"])
arrays = kinds.flatmap(lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_side=3)))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pickles") / "data.pkl"


def read(path: Path, data: bytes) -> Any:
    path.write_bytes(data)
    return read_plain_pickle(path)


@given(data=plain, protocol=st.integers(0, 5))
def test_plain_data_as_python_reads_it(path: Path, data: object, protocol: int) -> None:
    assert read(path, pickle.dumps(data, protocol)) == data


@given(array=arrays, protocol=st.integers(0, 5), fortran=st.booleans())
def test_arrays(path: Path, array: np.ndarray, protocol: int, fortran: bool) -> None:
    kept = np.asfortranarray(array) if fortran and array.ndim else array
    got = read(path, pickle.dumps([kept, {"again": kept}], protocol))
    for each in (got[0], got[1]["again"]):
        assert each.dtype == array.dtype and each.shape == array.shape
        assert each.tobytes() == array.tobytes()


@pytest.mark.parametrize("protocol", range(6))
def test_scalars_and_arrays_of_objects(path: Path, protocol: int) -> None:
    data = [np.float32(2.5), np.int64(-3), np.array(["a", 1, [np.arange(2)]], object)]
    single, whole, objects = read(path, pickle.dumps(data, protocol))
    assert (single, single.dtype, whole) == (2.5, np.float32, -3)
    assert objects[:2] == ["a", 1] and objects[2][0].tolist() == [0, 1]


def test_python_2_strings(path: Path) -> None:
    assert read(path, b"(dp0\nS'cids'\np1\n(lp2\nS'a'\np3\naI5\nas.") == {"cids": ["a", 5]}
    assert read(path, b"U\x02a\xe9.") == "a\xe9"


def test_the_same_list_stays_one_list(path: Path) -> None:
    inner = [1]
    got = read(path, pickle.dumps([inner, inner, (inner,)]))
    assert got[0] is got[1] is got[2][0]


class Calls:
    """What a pickle of it does when Python's own pickle loads it: a file appears."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_code_is_refused_and_not_run(path: Path, tmp_path: Path, protocol: int) -> None:
    bad = pickle.dumps({"cids": [Calls(tmp_path / "ran")]}, protocol)
    with pytest.raises(ValueError, match=r"is refused: the name (posix|os)\.mkdir stands in it"):
        read(path, bad)
    assert not (tmp_path / "ran").exists()
    pickle.loads(bad)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is no pickle"),
        (b"<!DOCTYPE html>", "is no pickle"),
        (pickle.dumps([1, 2])[:-1], "is no pickle"),
        (b".", "is no pickle"),
        (b"e.", "is no pickle"),
        (b"h\x05.", "is no pickle"),
        (pickle.dumps({1, 2}), "the operation EMPTY_SET"),
        (pickle.dumps(Path("x")), "is refused: the name pathlib"),
        (pickle.dumps(np.zeros(2, "f4,i4")), "an array of 'V8'"),
        (pickle.dumps(np.zeros(2, "M8[s]")), "an array of 'M8'"),
        (pickle.dumps(pickle.dumps)[:-1] + b")R.", "is refused"),
        (b"Pmine\n.", "the operation PERSID"),
        (b"cnumpy\nndarray\n.", "a name or a type that is no data"),
        (b"]}q\x01\x86}b.", "the state of a tuple"),
        (b"}(K\x01K\x02u" + b"(" * 5000 + b".", "a name or a type that is no data"),
        (b"\x96" + b"\xff" * 6 + b"\x00\x00.", "is no pickle"),
    ],
)
def test_what_is_not_plain_gets_a_sentence(path: Path, data: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"\.pkl is ") as caught:
        read(path, data)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_an_array_larger_than_its_bytes(path: Path) -> None:
    whole = pickle.dumps(np.arange(4, dtype="<i4"), 2)
    with pytest.raises(ValueError, match="is no pickle, or a damaged one"):
        read(path, whole.replace(b"K\x04\x85", b"J\xff\xff\xff\x7f\x85"))


def test_doubling_tuples_end_soon(path: Path) -> None:
    """Each a pair of the one before: 2^100 leaves for whoever walks or hashes them."""
    double = b"q\x00h\x00\x86" * 100
    assert len(read(path, b"](N\x85" + double + b"e.")) == 1
    with pytest.raises(ValueError, match="a key that is neither"):
        read(path, b"}N\x85" + double + b"K\x01s.")


def test_deep_lists(path: Path) -> None:
    got = read(path, b"]" * 50_000 + b"a" * 49_999 + b".")
    for _ in range(49_999):
        (got,) = got
    assert got == []


seeds = [
    pickle.dumps({"train": {"cids": ["a", "b"], "cluster": np.arange(2)}, "n": (1.5, None)}, protocol)
    for protocol in range(6)
]


@pytest.mark.fuzz
@given(data=st.data())
def test_any_bytes_give_data_or_a_sentence(path: Path, data: st.DataObject) -> None:
    """Whole pickles with bytes changed, cut or put in, and bytes that never were one."""
    content = bytearray(data.draw(st.sampled_from(seeds) | st.binary(max_size=200)))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        read(path, bytes(content))
    except ValueError as error:
        assert str(path) in str(error)


def test_what_it_quotes_is_short(path: Path) -> None:
    """A float of five thousand characters, as changed files have them."""
    with pytest.raises(ValueError, match="no pickle, or a damaged one") as refused:
        read(path, b"F" + b"2[" * 2500 + b"\n.")
    assert len(str(refused.value)) < 400


def twice_each(times: int) -> bytes:
    """A list that holds one list twice, which holds one twice, and so on: small, and endless when written."""
    layers = b"".join(b"]q%c(h%ch%ce" % (n + 1, n, n) for n in range(times))
    return b"]q\0" + layers


@pytest.mark.parametrize(
    "data", [twice_each(40) + b"\x8c\x01a\x93.", b"\x8c\x01a" + twice_each(40) + b"\x93."]
)
def test_a_name_that_is_none_is_not_written_out(path: Path, data: bytes) -> None:
    with pytest.raises(ValueError, match="a name that is none"):
        read(path, b"\x80\x04" + data)
