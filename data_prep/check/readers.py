"""What each reader of ours shows of a picture: Pillow, the OpenCV that we have, and the one that Caffe has.

Three decoders of different age read the pictures of a run, and do not agree on everything: on formats, on the
orientation in EXIF data. Two readers agree where a picture has the same size for both and looks the same in
16 x 16 pixels: no more than rounding lies between them then.
"""

import os
import select
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

SIDE = 16
TOLERANCE = 2.0
"""Grey levels between two readers, on average: rounding gives less than 1, another orientation some 50."""
CAFFE = "seen_by_caffe"
CAFFE_SECONDS = 60.0
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGKILL)

# what it says of a broken file, the finding says
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class Seen(NamedTuple):
    """A picture as one reader shows it: its size, and the picture shrunk to (16, 16, 3) uint8, BGR."""

    width: int
    height: int
    small: np.ndarray
    warnings: tuple[str, ...] = ()
    """What libjpeg warned of on the way."""

    def agrees_with(self, other: "Seen") -> bool:
        """True where both readers show the same picture the same way up."""
        if (self.width, self.height) != (other.width, other.height):
            return False
        difference = np.abs(self.small.astype(np.int16) - other.small.astype(np.int16)).mean()
        return bool(difference <= TOLERANCE)


def seen(pixels: np.ndarray) -> Seen:
    """Of pixels (H, W, 3) uint8, BGR."""
    return Seen(
        pixels.shape[1], pixels.shape[0], cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    )


class CaffeReader:
    """What convert_imageset reads pictures by, in a process of its own that may crash or hang."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def see(self, path: Path) -> Seen | str:
        """What Caffe sees of a file, or why it sees nothing, in words that follow `Caffe's reader`.

        Raises OSError where the program can't be run, or was stopped by somebody else.
        """
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(os.fsencode(path.absolute()) + b"\0")
            process.stdin.flush()
        if not select.select([process.stdout], [], [], CAFFE_SECONDS)[0]:
            self.close()
            return f"takes more than {CAFFE_SECONDS:.0f} seconds over it"
        line = process.stdout.readline()
        if not line.endswith(b"\n"):
            self._process = None
            if -process.wait() not in CRASHES:
                raise OSError(f"{self._program} was stopped: exit status {process.returncode}")
            return f"crashes on it (signal {-process.returncode})"
        if line == b"-\n":
            return "can't decode it"
        found, *warnings = line.decode().removesuffix("\n").split("\t")
        width, height, small = found.split()
        pixels = np.frombuffer(bytes.fromhex(small), np.uint8)
        return Seen(int(width), int(height), pixels.reshape(SIDE, SIDE, 3), tuple(warnings))

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            # in a session of its own, so that Ctrl-C is not taken for a crash; it ends with its input
            self._process = subprocess.Popen(
                [self._program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self._process


def caffe_program() -> str | None:
    """Where Caffe's reader is, if Caffe is built and on the PATH."""
    return shutil.which(CAFFE)
