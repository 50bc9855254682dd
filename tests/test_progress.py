"""What people see of a run while it works, on a terminal and in a pipe: run_all.sh with its real programs."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.program import Progress

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60
COUNT = r"retrieval photographs: (\d+)/(\d+), \d+ s, [\d.]+/s"


def read_until(descriptor: int, wanted: Callable[[str], bool]) -> str:
    """What comes from a descriptor, until it is what was wanted; fails where it ends or nothing comes."""
    said, deadline = "", time.monotonic() + SECONDS
    while not wanted(said):
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {said}"
        if select.select([descriptor], [], [], 1)[0]:
            more = os.read(descriptor, 1 << 16).decode(errors="replace")
            assert more, f"it ended: {said}"
            said += more
    return said


def start(work: Path, output: int) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {
        "TERM": "xterm"
    }
    command = [ROOT / "run_all.sh", "--work", work, "--only", "data"]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment,
        start_new_session=True,
    )


def stop(process: subprocess.Popen) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(SECONDS)


def test_a_terminal_sees_a_bar_that_moves(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = start(tmp_path / "work", theirs)
    os.close(theirs)
    said = read_until(ours, lambda said: len(set(re.findall(COUNT, said))) > 2)
    bars = re.findall(rf"\r\x1b\[K([━─]{{24}}) {COUNT}", said)
    assert len(bars) > 2
    for bar, done, total in bars:
        assert bar.count("━") == -(-24 * int(done) // int(total))
    assert "\033[1m▸data\033[0m" in said and "pretrain" in said
    assert stop(process) == 143


def test_a_pipe_gets_its_lines_at_once(tmp_path: Path) -> None:
    """As nohup and docker logs do: while the program works, not when 4 KB are full."""
    ours, theirs = os.pipe()
    process = start(tmp_path / "work", theirs)
    os.close(theirs)
    said = read_until(ours, lambda said: bool(re.search(rf"^{COUNT}$", said, re.MULTILINE)))
    assert process.poll() is None
    assert "\r" not in said and "\033" not in said and "━" not in said
    log = (tmp_path / "work/logs/data.log").read_text()
    assert re.search(rf"^{COUNT}$", log, re.MULTILINE)
    assert stop(process) == 143


WORK = """
import time
from tools.program import Progress
with Progress({what!r}, {total}, unit={unit!r}) as progress:
    for _ in range(4):
        time.sleep(0.4)
        progress.advance({step})
"""


def lines_of(**settings: object) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", WORK.format(**settings)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("settings", "last"),
    [
        ({"what": "checking", "total": 4, "unit": "", "step": 1}, r"checking: 4/4, 2 s, 2\.\d/s"),
        ({"what": "checking", "total": None, "unit": "", "step": 1}, r"checking: 4, 2 s, 2\.\d/s"),
        (
            {"what": "a.tgz", "total": 40_000_000, "unit": "B", "step": 10_000_000},
            r"a.tgz: 40/40 MB, 2 s, 2\d MB/s",
        ),
    ],
)
def test_a_log_gets_lines_early_and_the_sum_at_the_end(settings: dict, last: str) -> None:
    lines = lines_of(**settings)
    assert len(lines) == 2  # after a second, and at the end
    assert re.fullmatch(last, lines[-1]), lines


def test_nothing_is_said_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("checking", 0):
        pass
    assert capsys.readouterr() == ("", "")


def test_every_form_of_a_line_is_drawn_as_a_bar() -> None:
    lines = "checking: 5, 1 s, 5.0/s\na.tgz: 10/40 MB, 1 s, 24 MB/s\nsplit: 4 classes: 3 pictures\n"
    command = ["awk", "-v", "live=1", "-f", ROOT / "tools/run/show.awk"]
    done = subprocess.run(command, input=lines.encode(), capture_output=True, check=True)
    assert done.stdout.decode() == (
        "\r\033[Kchecking: 5, 1 s, 5.0/s"
        "\r\033[K" + "━" * 6 + "─" * 18 + " a.tgz: 10/40 MB, 1 s, 24 MB/s"
        "\r\033[Ksplit: 4 classes: 3 pictures\n"
    )
