"""Several seeds, one after the other: what --seeds is told to stop by reaches the run that is at work."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RUN = """
cd "$1"
set -euo pipefail
source tools/run/options.sh
source tools/run/stages.sh
source tools/run/seeds.sh
run_all=$2/run W=$2/work seeds=1,2 dry_run=yes typed=(--profile demo --seeds 1,2)
run_seeds
"""
AT_WORK = """#!/bin/bash
echo "$@" >>"{folder}/asked"
trap 'sleep 0.3; echo INT >{folder}/stopped; exit 130' INT
trap 'sleep 0.3; echo TERM >{folder}/stopped; exit 143' TERM
while [[ ! -e {folder}/end ]]; do sleep 0.05; done
"""


@pytest.fixture
def at_work(tmp_path: Path) -> subprocess.Popen[str]:
    """Two seeds, whose first run has begun."""
    (tmp_path / "run").write_text(AT_WORK.format(folder=tmp_path))
    (tmp_path / "run").chmod(0o755)
    process = subprocess.Popen(
        ["bash", "-c", RUN, "-", ROOT, tmp_path], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "asked").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_seeds_stops_the_run_at_work(
    at_work: subprocess.Popen[str], tmp_path: Path, number: int
) -> None:
    """As a container's stop sends it: to the first process alone."""
    at_work.send_signal(number)
    assert at_work.wait(20) == 143
    assert (tmp_path / "stopped").read_text() == "TERM\n"
    assert len((tmp_path / "asked").read_text().splitlines()) == 1


def test_ctrl_c_stops_the_run_at_work(at_work: subprocess.Popen[str], tmp_path: Path) -> None:
    os.killpg(at_work.pid, signal.SIGINT)
    assert at_work.wait(20) == 130
    assert (tmp_path / "stopped").read_text() == "INT\n"


def test_every_seed_has_its_run(at_work: subprocess.Popen[str], tmp_path: Path) -> None:
    (tmp_path / "end").touch()
    assert at_work.wait(20) == 0
    assert (tmp_path / "asked").read_text().splitlines() == [
        f"--profile demo --seed {seed} --work {tmp_path / 'work' / f'seed_{seed}'}" for seed in (1, 2)
    ]
