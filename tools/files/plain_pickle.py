"""Pickles that hold data and nothing else: lists, dicts, numbers, strings and NumPy arrays.

Python's own unpickler imports and calls whatever a file names, so a file from the network may run anything.
Here the file's operations are read one by one (pickletools, which runs nothing) and done by this module
alone: no name in the file is ever looked up, and what is no plain data is refused.
"""

import io
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tools.program import one_sentence, shown

_MARK = object()
_KINDS = "biufcSU"
"""NumPy's kinds of plain values: bool, int, unsigned, float, complex, bytes and str."""


class _Name(str):
    """A function or class that the file names; only those below are known, and none is NumPy's own."""


class _DType:
    """A data type as a pickle describes it, until its byte order is known."""

    def __init__(self, text: object) -> None:
        self.type: np.dtype[Any] = _dtype(text)

    def set_state(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise ValueError("a data type that is none")
        self.type = self.type.newbyteorder(state[1])


class _Array:
    """An array that the file announces first and fills later; the same object stands in several places."""

    def __init__(self) -> None:
        self.value: np.ndarray[Any, Any] | list[Any] | None = None

    def set_state(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _DType):
            raise ValueError("an array that is none")
        _, shape, dtype, fortran, data = state
        if dtype.type.kind != "O":
            self.value = _array(data, dtype, shape, "F" if fortran else "C")
        elif isinstance(data, list) and shape == (len(data),):
            self.value = data
        else:
            raise ValueError("an array of objects of more than one dimension")


def read_plain_pickle(path: Path) -> Any:
    """What a pickle holds, of lists, tuples, dicts, numbers, strings, None and NumPy arrays.

    Strings of Python 2 are taken as Latin-1. Arrays may be read-only; those of objects
    come as lists. Raises OSError, and ValueError for a
    file that is no pickle, is cut short, or holds anything else.
    """
    data = path.read_bytes()
    try:
        return _Machine().run(data)
    except _NotPlainError as error:
        what = shown(one_sentence(error), 200)
        raise ValueError(
            f"{path} is refused: {what} stands in it, and only lists, dicts, numbers, strings and NumPy "
            "arrays are read from a pickle"
        ) from None
    except Exception as error:
        # pickletools raises whatever its small readers stumble over
        why = shown(one_sentence(error), 160)  # pickletools quotes what it can't read
        raise ValueError(f"{path} is no pickle, or a damaged one ({why})") from None


class _NotPlainError(Exception):
    """What a pickle holds besides plain data."""


class _Machine:
    """The stack machine that a pickle is a program for, with the operations that data needs."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        for operation, argument, _ in pickletools.genops(io.BytesIO(data)):
            if operation.name == "STOP":
                return _settled(self._stack.pop())
            self._do(operation.name, argument)
        raise ValueError("it has no end")

    def _do(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _NOTHING:
            return
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _TUPLES:
            count = _TUPLES[name]
            if len(stack) < count:
                raise ValueError("its stack is empty")
            stack[len(stack) - count :] = [tuple(stack[len(stack) - count :])]
        elif name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[len(self._memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name in _METHODS:
            _METHODS[name](self, argument)
        else:
            raise _NotPlainError(f"the operation {name}")

    def _above_mark(self) -> list[Any]:
        position = len(self._stack) - 1
        while self._stack[position] is not _MARK:
            position -= 1
            if position < 0:
                raise ValueError("a mark is missing")
        above = self._stack[position + 1 :]
        del self._stack[position:]
        return above

    def _push_tuple(self, _: object) -> None:
        self._stack.append(tuple(self._above_mark()))

    def _push_list(self, _: object) -> None:
        self._stack.append(self._above_mark())

    def _push_dict(self, _: object) -> None:
        above = self._above_mark()
        self._stack.append({})
        self._set_pairs(above)

    def _append(self, _: object) -> None:
        value = self._stack.pop()
        self._top(list).append(value)

    def _appends(self, _: object) -> None:
        values = self._above_mark()
        self._top(list).extend(values)

    def _set_item(self, _: object) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_pairs([key, value])

    def _set_items(self, _: object) -> None:
        self._set_pairs(self._above_mark())

    def _set_pairs(self, flat: list[Any]) -> None:
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            # of a tuple in a tuple, each twice, the hash takes for ever
            if not isinstance(key, str | bytes | int | float | None):
                raise ValueError("a key that is neither a string nor a number")
            self._top(dict)[key] = value

    def _top(self, kind: type) -> Any:
        if type(self._stack[-1]) is not kind:
            raise ValueError(f"a {kind.__name__} is missing")
        return self._stack[-1]

    def _push_name(self, argument: str) -> None:
        self._stack.append(_known(".".join(argument.split(" "))))

    def _push_name_of_two(self, _: object) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        # a list in a list, each twice, takes for ever to be written into a sentence
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name that is none")
        self._stack.append(_known(f"{module}.{name}"))

    def _call(self, _: object) -> None:
        arguments, name = self._stack.pop(), self._stack.pop()
        if not isinstance(name, _Name) or not isinstance(arguments, tuple):
            raise ValueError("a call of something that is no name")
        self._stack.append(_CALLS[name](*arguments))

    def _build(self, _: object) -> None:
        state = self._stack.pop()
        if not isinstance(self._stack[-1], _DType | _Array):
            raise _NotPlainError(f"the state of a {type(self._stack[-1]).__name__}")
        self._stack[-1].set_state(state)

    def _pop(self, _: object) -> None:
        self._stack.pop()

    def _pop_mark(self, _: object) -> None:
        self._above_mark()


_NOTHING = {"PROTO", "FRAME"}
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS: dict[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_METHODS: dict[str, Callable[[_Machine, Any], None]] = {
    "TUPLE": _Machine._push_tuple,
    "LIST": _Machine._push_list,
    "DICT": _Machine._push_dict,
    "APPEND": _Machine._append,
    "APPENDS": _Machine._appends,
    "SETITEM": _Machine._set_item,
    "SETITEMS": _Machine._set_items,
    "GLOBAL": _Machine._push_name,
    "STACK_GLOBAL": _Machine._push_name_of_two,
    "REDUCE": _Machine._call,
    "BUILD": _Machine._build,
    "POP": _Machine._pop,
    "POP_MARK": _Machine._pop_mark,
}


def _known(name: str) -> _Name:
    plain = name.replace("numpy.core.", "numpy.").replace("numpy._core.", "numpy.")
    if plain not in _CALLS and plain != "numpy.ndarray":
        raise _NotPlainError(f"the name {name[:100]}")
    return _Name(plain)


def _dtype(text: object, *_: object) -> np.dtype[Any]:
    if isinstance(text, bytes):
        text = text.decode("ascii")
    if not isinstance(text, str) or not text.isascii() or not text.isalnum():
        raise ValueError("a data type that is none")
    kind, size = text[:1], text[1:]
    if kind == "O":
        return np.dtype(object)
    if kind not in _KINDS or (size and not size.isdecimal()) or len(size) > 6:
        raise _NotPlainError(f"an array of {text[:20]!r}")
    return np.dtype(text)


def _array(data: object, dtype: object, shape: object, order: object = "C") -> np.ndarray[Any, Any]:
    """An array of the bytes that the file has for it; not a copy, of which a small file could ask many."""
    if (
        not isinstance(dtype, _DType)
        or dtype.type.kind == "O"
        or not isinstance(shape, tuple)
        or order not in ("C", "F")
    ):
        raise ValueError("an array that is none")
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("an array of no size")
    if isinstance(data, str):
        data = data.encode("latin-1")
    if not isinstance(data, bytes | bytearray):
        raise ValueError("an array without bytes")
    if dtype.type.itemsize == 0:
        raise ValueError("an array of nothing")
    return np.frombuffer(data, dtype.type).reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: object, data: object) -> Any:
    return _array(data, dtype, ())[()]


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """How Python 3 writes bytes that Python 2 is to read (none at all by `bytes` itself)."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes that are none")
    return text.encode("latin-1")


_CALLS: dict[str, Callable[..., object]] = {
    "numpy.multiarray._reconstruct": lambda *_: _Array(),
    "numpy.multiarray.scalar": _scalar,
    "numpy.numeric._frombuffer": _array,
    "numpy.dtype": lambda *arguments: _DType(arguments[0]),
    "_codecs.encode": _encode,
    "__builtin__.bytes": lambda: b"",
    "builtins.bytes": lambda: b"",
}


def _settled(root: Any) -> Any:
    """The data with arrays in place of what stood for them; in place, each thing once."""
    holder = [root]
    waiting: list[Any] = [holder]
    tuples: dict[int, tuple[Any, ...]] = {}
    seen: set[int] = set()
    while waiting:
        here = waiting.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        places = list(here.items()) if isinstance(here, dict) else list(enumerate(here))
        for place, value in places:
            here[place] = _plain(value, waiting, tuples)
    return holder[0]


def _plain(value: Any, waiting: list[Any], tuples: dict[int, tuple[Any, ...]]) -> Any:
    """The value itself, or the array that it stands for; what it holds waits for its turn."""
    if isinstance(value, _Array):
        if value.value is None:
            raise ValueError("an array that is never filled")
        value = value.value
    if isinstance(value, list | dict):
        waiting.append(value)
    elif isinstance(value, tuple):
        if id(value) not in tuples:
            tuples[id(value)] = tuple(_plain(each, waiting, tuples) for each in value)
        return tuples[id(value)]
    elif isinstance(value, _Name | _DType) or value is _MARK:
        raise _NotPlainError("a name or a type that is no data")
    return value
