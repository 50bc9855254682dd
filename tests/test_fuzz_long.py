"""The long fuzz's cases, a few of each reader: `python -m tests.fuzz_long` runs a million."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.fuzz
def test_no_reader_ends_otherwise_than_it_should() -> None:
    command = [sys.executable, "-m", "tests.fuzz_long", "--cases", "3000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and " 0 wrong" in done.stdout, done.stdout + done.stderr
