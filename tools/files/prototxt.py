"""Caffe's prototxt files, read and written through protobuf's own text format; and Caffe's messages."""

import re
import subprocess
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf import text_encoding, text_format
from google.protobuf.message import DecodeError, Message

from tools.files.pointers import refuse_pointer
from tools.files.prototxt_comments import with_comments
from tools.program import shown, written_beside

Net = Any  # caffe_pb2.NetParameter: protobuf makes the class when Caffe is built
Layer = Any  # caffe_pb2.LayerParameter
Solver = Any  # caffe_pb2.SolverParameter

COMMENT_OR_STRING = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""")
BYTE = 0xF700
"""A byte of a string that is no UTF-8 is read as the private character of this number and the byte's."""
PRIVATE = f"[{chr(BYTE + 128)}-{chr(BYTE + 255)}]"
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def caffe_messages() -> ModuleType:
    """Caffe's protobuf messages (caffe_pb2). Raises OSError where pycaffe isn't in reach."""
    try:
        from caffe.proto import caffe_pb2
    except ImportError as error:
        raise OSError(f"pycaffe can't be imported ({error}): run `source .caffe/env.sh` first") from error
    messages: ModuleType = caffe_pb2
    return messages


def read_prototxt(path: Path, message: Message) -> None:
    """Read protobuf text into `message`, as Caffe reads it: comments and strings may hold any bytes.

    Bytes that are no UTF-8 stand in strings as private characters, which write_prototxt writes as those bytes
    again and file_of takes for them. Raises ValueError with file and line of a typing error, a byte-order
    mark, or what Python's protobuf would read and Caffe's would not; OSError where the file can't be read.
    """
    refuse_pointer(path)
    data = path.read_bytes()
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            raise ValueError(
                f"{path} begins with a byte-order mark ({encoding}), which Caffe can't read: save it as "
                "UTF-8 without one"
            )
    text = data.decode("utf-8", "surrogateescape")
    _check_characters(path, text)
    try:
        text_format.Parse(COMMENT_OR_STRING.sub(_as_unicode, text), message)
    except text_format.ParseError as error:
        position = f"{error.GetLine()}:{error.GetColumn()} : "
        said = str(error).removeprefix(position)
        where = f", line {error.GetLine()}" if error.GetLine() else ""
        raise ValueError(f"{path}{where}: {shown(said, 300)}") from error


def _as_unicode(found: re.Match[str]) -> str:
    """A comment as nothing, a string as one of UTF-8."""
    literal = found[0]
    if literal.startswith("#"):
        return ""
    literal = re.sub("[\udc80-\udcff]", lambda one: f"\\{ord(one[0]) - 0xDC00:03o}", literal)
    if "\\" not in literal:
        return literal
    try:
        data: bytes = text_encoding.CUnescape(literal[1:-1])
    except ValueError:  # which the parser says with its line
        return literal
    text = data.decode("utf-8", "surrogateescape")
    private = re.sub("[\udc80-\udcff]", lambda one: chr(ord(one[0]) - 0xDC00 + BYTE), text)
    return literal if private == text else f'"{text_encoding.CEscape(private, as_utf8=True)}"'


def file_of(text: str) -> Path:
    """The file that a string of a prototxt names."""
    return Path(re.sub(PRIVATE, lambda one: chr(ord(one[0]) - BYTE + 0xDC00), text))


def _check_characters(path: Path, text: str) -> None:
    """Only comments and strings may hold other characters than ASCII's."""

    def refuse(at: int, why: str) -> None:
        raise ValueError(f"{path}, line {text.count(chr(10), 0, at) + 1}: {why}")

    end = 0
    for found in [*COMMENT_OR_STRING.finditer(text), None]:
        between = text[end : found.start() if found else len(text)]
        if not between.isascii():
            at = next(i for i, character in enumerate(between) if not character.isascii())
            refuse(end + at, f"{between[at]!a} stands outside of quotes, where Caffe reads ASCII alone")
        if found is None:
            return
        end = found.end()


def read_message(path: Path, message: Message, what: str) -> None:
    """Read a file of binary protobuf into `message`.

    Raises ValueError that the file is not `what`, such as "a caffemodel", or not a whole one; OSError.
    """
    refuse_pointer(path)
    data = path.read_bytes()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(f"{path} is not {what}, or not a whole one") from error


def write_prototxt(path: Path, message: Message, why: str, made_of: Path | None = None) -> None:
    """Write protobuf text with `why` as its first line, whole or not at all. Raises OSError.

    `made_of` is the file that the message was read from, whose comments are kept.
    """
    text = text_format.MessageToString(message, as_utf8=True)
    text = re.sub(PRIVATE, lambda one: f"\\{ord(one[0]) - BYTE:03o}", text)
    if made_of is not None:
        text = with_comments(text, made_of.read_bytes().decode(errors="surrogateescape"))
    with written_beside(path) as part:
        part.write_bytes(f"# {why}\n{text}".encode(errors="surrogateescape"))


def is_old_format(path: Path) -> bool:
    """Whether Caffe upgrades this network: it has `layers` or `input`. Raises what read_net raises."""
    net = caffe_messages().NetParameter()
    read_prototxt(path, net)
    return bool(net.layers or net.input)


def read_solver(path: Path) -> Solver:
    """Read a solver. Raises what read_prototxt does."""
    solver = caffe_messages().SolverParameter()
    read_prototxt(path, solver)
    return solver


def read_net(path: Path) -> Net:
    """Read a network in any of Caffe's formats, upgraded by Caffe itself to `layer` and Input layers.

    Raises ValueError with file and line of a typing error, OSError where a file or Caffe is missing.
    """
    net = caffe_messages().NetParameter()
    read_prototxt(path, net)
    if net.layers or net.input:
        net = _upgraded(path)
    if not net.layer:
        raise ValueError(f"{path} has no layers")
    return net


def _upgraded(path: Path) -> Net:
    net = caffe_messages().NetParameter()
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / "net.prototxt"
        try:
            done = subprocess.run(
                ["upgrade_net_proto_text", str(path), str(new)], capture_output=True, check=False
            )
        except FileNotFoundError as error:
            raise OSError(
                "upgrade_net_proto_text isn't in reach: run `source .caffe/env.sh` first"
            ) from error
        if done.returncode:
            said = last_words(done.stderr.decode(errors="replace")) or f"exit status {done.returncode}"
            raise ValueError(f"{path}: Caffe can't upgrade this old format: {said}")
        read_prototxt(new, net)
    return net


def last_words(log: str) -> str:
    """What a Caffe that ended itself said in its log: the failed check, without GLOG's stack trace; or "".

    glog starts a line with its level: E an error, F a failed check, which ends the program.
    """
    lines = [line for line in log.splitlines() if re.match(r"[EF]\d{4}", line)]
    return lines[-1].partition("] ")[2].strip() if lines else ""
