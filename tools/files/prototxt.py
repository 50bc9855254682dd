"""Caffe's prototxt files: read and written through protobuf's own text format, never as text."""

import subprocess
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import Message

Net = Any  # caffe_pb2.NetParameter: protobuf makes the class when Caffe is built
Layer = Any  # caffe_pb2.LayerParameter
Solver = Any  # caffe_pb2.SolverParameter


def caffe_messages() -> ModuleType:
    """Caffe's protobuf messages (caffe_pb2). Raises OSError where pycaffe isn't in reach."""
    try:
        from caffe.proto import caffe_pb2
    except ImportError as error:
        raise OSError(f"pycaffe can't be imported ({error}): run `source .caffe/env.sh` first") from error
    return caffe_pb2


def read_prototxt(path: Path, message: Message) -> None:
    """Read a file of protobuf text into `message`. Raises ValueError with file and line of a typing error."""
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), message)
    except text_format.ParseError as error:
        position = f"{error.GetLine()}:{error.GetColumn()} : "
        raise ValueError(f"{path}, line {error.GetLine()}: {str(error).removeprefix(position)}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file") from error


def write_prototxt(path: Path, message: Message, why: str) -> None:
    """Write protobuf text with `why` as its first line, whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(f"# {why}\n{text_format.MessageToString(message)}", encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


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
                ["upgrade_net_proto_text", str(path), str(new)], capture_output=True, text=True, check=False
            )
        except FileNotFoundError as error:
            raise OSError(
                "upgrade_net_proto_text isn't in reach: run `source .caffe/env.sh` first"
            ) from error
        if done.returncode:
            # glog starts a line with its level: E an error, F a failed check, which ends the program
            lines = [line for line in done.stderr.splitlines() if line[:1] in ("E", "F")]
            said = lines[-1].partition("] ")[2] if lines else f"exit status {done.returncode}"
            raise ValueError(f"{path}: Caffe can't upgrade this old format: {said}")
        read_prototxt(new, net)
    return net
