"""What a run was made from and on: versions, hashes, settings, machine, times."""

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from eval.files.features import open_features
from eval.report.run_folder import Run
from eval.results.article import MODELS
from eval.results.words import Text, text
from tools.program import sha256_of

PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "scikit-learn",
    "scipy",
    "pillow",
    "h5py",
    "lmdb",
    "matplotlib",
)
HASHED = (
    "lists/train.txt",
    "lists/val.txt",
    "classes.csv",
    "lmdb/mean.binaryproto",
    "prototxt/deploy.prototxt",
)

Rows = list[tuple[str, str]]


def versions() -> Rows:
    """Programs and libraries with their versions."""
    rows = [("Caffe", _said_by("caffe", "--version")), ("Python", platform.python_version())]
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            rows.append((package, version(package)))
    rows.append(("this project", _said_by("git", "describe", "--always", "--dirty")))
    return [(name, said) for name, said in rows if said]


def hashes(run: Run) -> Rows:
    """SHA-256 of weights and prototxt, as the features say they were made from them, and of lists."""
    rows = []
    for model in MODELS:
        for name, value in _attributes(run, model).items():
            if name in ("weights_sha256", "prototxt_sha256"):
                rows.append((f"{name.removesuffix('_sha256')} of features/{model}.h5", value))
    for name in HASHED:
        path = run.work / name
        if path.is_file():
            rows.append((name, sha256_of(path)))
    return rows


def preprocessing(run: Run) -> Rows:
    """How pictures went into the network, as the features say."""
    for model in MODELS:
        text = _attributes(run, model).get("preprocessing")
        if text:
            return [(name, _plain(value)) for name, value in json.loads(text).items()]
    return []


def _plain(value: object) -> str:
    return ", ".join(f"{one:g}" for one in value) if isinstance(value, list) else str(value)


def _attributes(run: Run, model: str) -> dict[str, str]:
    path = run.work / "features" / f"{model}.h5"
    with suppress(OSError, ValueError), open_features(path) as file:
        return {name: str(value) for name, value in file.attrs.items()}
    return {}


def machine() -> Rows:
    """Processor, cores, memory, system, and what BLAS computes with."""
    return [(name, value) for name, value in _machine() if value]


def _machine() -> Iterator[tuple[str, str]]:
    with suppress(OSError):
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        yield "processor", found[1] if found else platform.machine()
    yield "cores", str(len(os.sched_getaffinity(0)))
    with suppress(OSError):
        found = re.search(r"MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text())
        yield "memory", f"{int(found[1]) / 1024**2:.1f} GiB" if found else ""
    with suppress(OSError):
        yield "system", platform.freedesktop_os_release().get("PRETTY_NAME", "")
    yield "OpenBLAS kernel", os.environ.get("OPENBLAS_CORETYPE", "")
    if shutil.which("nvidia-smi"):
        yield "GPUs", _said_by("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").replace("\n", ", ")


def _said_by(*command: str) -> str:
    """What a program prints about itself; nothing where it isn't there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip().removeprefix("caffe version ")


def duration(seconds: int) -> Text:
    """A time as people say it: 41 s, 5 min 3 s, 2 h 10 min."""
    if seconds < 60:
        return text("{seconds} s", seconds=seconds) if seconds else text("less than 1 s")
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return text("{minutes} min {seconds} s", minutes=minutes, seconds=rest)
    return text("{hours} h {minutes} min", hours=minutes // 60, minutes=minutes % 60)


@dataclass(frozen=True)
class ProvenanceSection:
    """What the page was made from and on."""

    versions: Rows
    hashes: Rows
    preprocessing: Rows
    machine: Rows
    profile: str
    times: list[tuple[str, int, int]]
    """Stage, seconds, commands."""


def provenance_section(run: Run) -> ProvenanceSection:
    """Versions, hashes, settings, machine, times."""
    profile = run.profile.read_text(encoding="utf-8") if run.profile and run.profile.is_file() else ""
    times = [(stage, sum(step.seconds for step in steps), len(steps)) for stage, steps in run.steps.items()]
    return ProvenanceSection(versions(), hashes(run), preprocessing(run), machine(), profile, times)
