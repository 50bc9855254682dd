"""One run at a time in a work folder: who holds it is said, and --take-over ends them."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOLD = """
source "$1/tools/run/lock.sh"
W=$2 take_over=no
die() { echo "$*" >&2; exit 1; }
take_work_folder
set -m # as run_all.sh starts its commands
"$3" "${@:4}" &
set +m
echo held
wait
"""


def hold(work: Path, *command: str) -> subprocess.Popen:
    """A run that has the folder, and a command that it has started."""
    process = subprocess.Popen(
        ["bash", "-c", HOLD, "-", ROOT, work, *command],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def run_all(work: Path, *options: str) -> subprocess.CompletedProcess:
    command = [ROOT / "run_all.sh", "--profile", "demo", "--work", work, "--only", "mean", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_a_second_run_says_who_is_at_work(tmp_path: Path) -> None:
    process = hold(tmp_path / "work", "sleep", "60")
    try:
        done = run_all(tmp_path / "work")
        assert done.returncode == 1
        assert re.search(r"another run is at work in \S+: process .*\d+ \(sleep 60\)", done.stderr)
        assert "--take-over ends it" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    finally:
        os.killpg(process.pid, signal.SIGKILL)


def test_an_orphan_is_found_and_ended_when_told(tmp_path: Path) -> None:
    """As a Caffe that trains on after its run was killed; it may write its snapshot first."""
    program = tmp_path / "caffe"
    program.write_text(
        f"#!/bin/bash\ntrap 'touch {tmp_path}/snapshot; exit' INT\nwhile :; do sleep 0.1; done\n"
    )
    program.chmod(0o755)
    process = hold(tmp_path / "work", str(program))
    time.sleep(0.3)
    process.kill()
    process.wait()
    done = run_all(tmp_path / "work")
    assert done.returncode == 1
    orphan = re.search(r"process (\d+) \([^)]*caffe\)", done.stderr)
    assert orphan and alive(int(orphan[1]))
    taken = run_all(tmp_path / "work", "--take-over")
    assert re.search(rf"asking the run in \S+ to end: process .*{orphan[1]} \([^)]*caffe\)", taken.stdout)
    assert (tmp_path / "snapshot").exists()
    assert not alive(int(orphan[1]))
    assert "which an earlier stage makes" in taken.stderr  # so it went on, and lacks its input


def test_a_stopped_run_is_ended_too_and_has_its_snapshot(tmp_path: Path) -> None:
    """Ctrl-Z, and then the same command once more."""
    program = (
        f"trap 'touch {tmp_path}/snapshot; exit' INT; touch {tmp_path}/begun; while :; do sleep 0.1; done"
    )
    process = hold(tmp_path / "work", "bash", "-c", program)
    while not (tmp_path / "begun").exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGSTOP)
    for pid in subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True
    ).stdout.split():
        os.kill(int(pid), signal.SIGSTOP)
    taken = run_all(tmp_path / "work", "--take-over")
    assert "which an earlier stage makes" in taken.stderr
    assert (tmp_path / "snapshot").exists()
    process.wait(5)


def test_a_disk_without_locks_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flock").write_text("#!/bin/sh\necho 'flock: 9: No locks available' >&2; exit 71\n")
    (tmp_path / "flock").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = run_all(tmp_path / "work")
    assert done.stderr.startswith("flock: 9: No locks available\n")
    assert "which an earlier stage makes" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_can_t_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir(mode=0o555)
    done = run_all(tmp_path / "work")
    assert done.stderr == f"run_all: cannot write to {tmp_path}/work\n"
