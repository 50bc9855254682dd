"""Decoding a picture: what decoders print of it stays away from people's terminals, in every thread."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent

DECODE = """
import ctypes, sys, threading
from tools.files.pixels import decoded
data = open(sys.argv[1], "rb").read()
threads = [threading.Thread(target=lambda: [decoded(data) for _ in range(50)]) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert decoded(data).shape == (48, 64, 3)
print("said by Python", file=sys.stderr)
ctypes.CDLL(None).perror(b"said by C")
"""


def test_decoders_say_nothing_and_others_what_they_have_to(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    path = tmp_path / "padded.jpg"
    path.write_bytes(buffer.getvalue()[:-2] + bytes(500) + b"\xff\xd9")
    command = [sys.executable, "-c", DECODE, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["said by Python", "said by C"]
