"""A disk of a few MB for a test to fill."""

import os
import subprocess
from pathlib import Path

import pytest

MOUNT = 'mount -t tmpfs -o "size=$1" tmpfs "$2" || exit 200'


def on_small_disk(
    place: Path, script: str, folder: Path, size: str = "2m"
) -> subprocess.CompletedProcess[str]:
    """Run a script of bash in a folder, with `place` a disk of its own, which nobody else sees.

    Skips the test where a user can't mount (some containers).
    """
    own = [] if os.geteuid() == 0 else ["--map-root-user"]
    words = ["unshare", *own, "--mount", "bash", "-c", f"{MOUNT}\n{script}", "small_disk", size, str(place)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 200 or done.stderr.startswith("unshare:"):
        pytest.skip("this user can't mount anything")
    return done
