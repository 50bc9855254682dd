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
SECONDS = 120
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


STEPS = """
set -euo pipefail
cd "$1"
ln -sfn "$2/tools" tools
for part in options stages steps; do source tools/run/$part.sh; done
STAGES=(one) W=work DATA_DIR=data SOURCE=made first=0 last=0 dry_run=no force=no table=0 typed=()
declare -A given_environment=()
die() { echo "die: $*" >&2; exit 1; }
mkdir -p work/.steps
trap 'interrupted INT' INT
stage one x && step makes "$W/a" by bash -c "$3"
end_stage
"""


def on_a_terminal(folder: Path, command: str) -> tuple[subprocess.Popen, int]:
    """A run whose terminal is ours, as a person's is, with one step; and the terminal's other end."""
    ours, theirs = pty.openpty()
    words = ["setsid", "--ctty", "--wait", "bash", "-c", STEPS, "-", folder, ROOT, command]
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    return process, ours


def test_a_step_that_asks_the_terminal_is_not_stopped_for_ever(tmp_path: Path) -> None:
    """As apt-get does, which sets the modes of the terminal that it reads from."""
    process, ours = on_a_terminal(
        tmp_path, "stty -echo 2>/dev/null || true; cat; [[ ! -t 0 ]] && touch work/a"
    )
    read_until(ours, lambda said: "one: done" in said)
    assert process.wait(SECONDS) == 0


def test_ctrl_c_ends_a_step_that_was_stopped(tmp_path: Path) -> None:
    process, ours = on_a_terminal(tmp_path, "touch work/begun; kill -STOP $$; touch work/a")
    deadline = time.monotonic() + SECONDS
    while not (tmp_path / "work/begun").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    os.write(ours, b"\x03")
    read_until(ours, lambda said: "stopped in stage one" in said)
    assert process.wait(SECONDS) == 130


def test_a_pipe_gets_its_lines_at_once(tmp_path: Path) -> None:
    """As nohup and docker logs do: while the program works, not when 4 KB are full."""
    ours, theirs = os.pipe()
    process = start(tmp_path / "work", theirs)
    os.close(theirs)
    said = read_until(ours, lambda said: bool(re.search(rf"^{COUNT}$", said, re.MULTILINE)))
    assert process.poll() is None
    assert "\r" not in said and "\033" not in said and "━" not in said
    deadline = time.monotonic() + SECONDS
    log = tmp_path / "work/logs/data.log"
    while not re.search(rf"^{COUNT}$", log.read_text(), re.MULTILINE):  # tee serves the log last
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
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
