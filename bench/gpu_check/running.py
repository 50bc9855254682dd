"""Programs of Caffe's, each with its time limit, and what went wrong with them."""

import ctypes
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

GLIBC = (2, 36)


class CheckError(ValueError):
    """What is wrong, in a sentence."""


@dataclass
class Done:
    """How a program ended: its status (negative for a signal), what it printed, the seconds that it took."""

    status: int
    out: str
    err: str
    seconds: float


@dataclass
class Caffe:
    """A Caffe that was built or unpacked, and where it is to run."""

    prefix: Path
    """With bin/, lib/ and tests/."""
    gpu: int | None
    """None: the CPU, for a rehearsal."""
    scratch: Path
    libraries: list[str] = field(default_factory=list)
    """Folders of NVIDIA's libraries, where the prefix has none."""
    deadline: float = 0.0
    """Of the part under way, by time.monotonic()."""

    @property
    def flag(self) -> list[str]:
        """What `caffe` is told of the GPU."""
        return [] if self.gpu is None else ["-gpu", str(self.gpu)]

    @property
    def option(self) -> list[str]:
        """What `caffe_measure` is told of the GPU."""
        return [] if self.gpu is None else ["--gpu", str(self.gpu)]

    def environment(self) -> dict[str, str]:
        """Of the programs; Python itself must not take its libraries from here."""
        given = dict(os.environ)
        search = [str(self.prefix / "lib"), *self.libraries, *filter(None, [given.get("LD_LIBRARY_PATH")])]
        given |= {"LD_LIBRARY_PATH": ":".join(search), "PATH": f"{self.prefix / 'bin'}:{given['PATH']}"}
        given |= {"GLOG_logtostderr": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        # threads that wait sleep, or on a machine that does other work too training takes ten times as long
        return given | {"OMP_WAIT_POLICY": "passive"}

    def left(self) -> float:
        """Seconds until the part's deadline; CheckError where there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise CheckError("its time was up")
        return left

    def run(
        self, *command: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> Done:
        """Run a program to its end or to the part's deadline. Raises CheckError where that ends it."""
        left, started = self.left(), time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=cwd or self.scratch,
            env=self.environment() | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=left)
        except subprocess.TimeoutExpired:
            raise CheckError(f"{Path(command[0]).name} was still at work when its time was up") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        return Done(process.returncode, out, err, time.monotonic() - started)

    def good(self, *command: str, environment: Mapping[str, str] | None = None) -> Done:
        """Like `run`. Raises CheckError, with what it said, unless the program exits 0."""
        done = self.run(*command, environment=environment)
        if done.status:
            raise CheckError(f"{' '.join(command[:2])} {ended(done)}")
        return done


def ended(done: Done) -> str:
    """How a program ended, in words, with the line that says why."""
    lines = [line for line in done.err.splitlines() if line.strip()]
    failed = [line.split("] ", 1)[-1] for line in lines if line.startswith("F") and "] " in line]
    said = [line for line in lines if line[:1] not in "IWE" or line.startswith("Error")]
    words = (failed or said or lines or ["nothing"])[-1].strip()
    how = f"ended by signal {-done.status}" if done.status < 0 else f"exited {done.status}"
    return f"{how}, saying: {words[:300]}"


def check_machine() -> None:
    """Raise CheckError where Caffe's programs can't start: another kind of CPU, another or an older libc."""
    if platform.machine() != "x86_64" or not sys.platform.startswith("linux"):
        raise CheckError(f"this is {sys.platform} on {platform.machine()}; Caffe here is for Linux on x86-64")
    try:
        version = ctypes.CDLL(None).gnu_get_libc_version
    except (OSError, AttributeError):
        raise CheckError("this system's libc is not glibc, which Caffe needs") from None
    version.restype = ctypes.c_char_p
    found = version().decode()
    if tuple(int(part) for part in found.split(".")[:2]) < GLIBC:
        wanted = ".".join(map(str, GLIBC))
        raise CheckError(f"glibc {found} is too old: {wanted} is needed (Debian 12, Ubuntu 24.04, RHEL 10)")


def nvidia_libraries(pythons: Sequence[str]) -> list[str]:
    """Folders of CUDA 13's and cuDNN's libraries: below site-packages/nvidia of these Pythons."""
    code = "import json, sys; print(json.dumps(sys.path))"
    found: dict[str, None] = {}
    for python in pythons:
        if not shutil.which(python):
            continue
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
        for place in json.loads(done.stdout) if done.returncode == 0 else []:
            for folder in sorted(Path(place, "nvidia").glob("*/lib")):
                found[str(folder)] = None
    return list(found)


def check_libraries(caffe: Caffe) -> None:
    """Raise CheckError where Caffe does not start, for want of a library mostly."""
    done = caffe.run("caffe", "--version")
    missing = re.search(r"loading shared libraries: (\S+?):", done.err)
    if missing:
        raise CheckError(
            f"{missing[1]} is not found. CUDA 13's and cuDNN 9's libraries come with PyTorch for CUDA 13, "
            "whose Python --torch names; or LD_LIBRARY_PATH has their folders"
        )
    if done.status:
        raise CheckError(f"caffe --version {ended(done)}")


def nvidia_smi(query: str, gpu: int) -> str:
    """One value from nvidia-smi; empty where there is none."""
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader", f"--id={gpu}"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
