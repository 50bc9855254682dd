"""The machinery under run_all.sh, on small scripts: what runs again, what does not, what a stop leaves."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

HEAD = """
set -euo pipefail
cd "$(dirname "$0")"
ln -sfn "{root}/tools" tools
source tools/run/stages.sh
STAGES=(one two)
W=work first=0 last=1 dry_run=${{DRY_RUN:-no}} force=${{FORCE:-no}} run_options=(--profile p)
die() {{ echo "die: $*" >&2; exit 1; }}
mkdir -p work/.steps
trap 'interrupted INT' INT
trap 'interrupted TERM' TERM
"""


def script(folder: Path, body: str) -> Path:
    path = folder / "run.sh"
    path.write_text(HEAD.format(root=ROOT) + body + "\nend_stage\n")
    return path


def run(path: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", path], capture_output=True, text=True, env=os.environ | environment, timeout=60
    )


TWO_STEPS = """
stage one "The first" && step "$W/a" : in -- bash -c 'echo ran >>count; cp in "$0"' "$W/a"
stage two "The second" && step "$W/b" : "$W/a" -- bash -c 'echo ran >>count; cp "$0" "$1"' "$W/a" "$W/b"
"""


@pytest.fixture
def two_steps(tmp_path: Path) -> Path:
    (tmp_path / "in").write_text("x")
    return script(tmp_path, TWO_STEPS)


def times_run(folder: Path) -> int:
    return len((folder / "count").read_text().split())


def test_steps_run_once_while_nothing_changes(two_steps: Path, tmp_path: Path) -> None:
    first = run(two_steps)
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "work/b").read_text() == "x"
    second = run(two_steps)
    assert second.returncode == 0
    assert times_run(tmp_path) == 2
    assert second.stdout.count("nothing changed") == 2


def test_a_changed_input_runs_everything_behind_it(two_steps: Path, tmp_path: Path) -> None:
    run(two_steps)
    (tmp_path / "in").write_text("longer")
    run(two_steps)
    assert times_run(tmp_path) == 4
    assert (tmp_path / "work/b").read_text() == "longer"


def test_a_changed_setting_runs_its_step_and_those_behind_it(two_steps: Path, tmp_path: Path) -> None:
    run(two_steps)
    two_steps.write_text(two_steps.read_text().replace('cp "$0" "$1"', 'cp "$0" "$1" '))
    run(two_steps)
    assert times_run(tmp_path) == 3


def test_a_database_that_was_only_read_runs_nothing_again(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """
stage one "x" && step "$W/train" "$W/val" : -- bash -c 'mkdir -p work/{train,val}; touch work/val/lock'
stage two "x" && step "$W/b" : "$W/val" -- bash -c 'echo ran >>count; echo r >>work/val/lock; touch work/b'
""",
    )
    run(path)
    run(path)
    assert times_run(tmp_path) == 1


def test_a_log_stays_when_its_stage_has_nothing_to_do(two_steps: Path, tmp_path: Path) -> None:
    run(two_steps)
    log = (tmp_path / "work/logs/one.log").read_text()
    run(two_steps)
    assert (tmp_path / "work/logs/one.log").read_text() == log != ""


def test_a_missing_output_is_made_again(two_steps: Path, tmp_path: Path) -> None:
    run(two_steps)
    (tmp_path / "work/b").unlink()
    run(two_steps)
    assert times_run(tmp_path) == 3


def test_force_runs_what_is_done(two_steps: Path, tmp_path: Path) -> None:
    run(two_steps)
    run(two_steps, FORCE="yes")
    assert times_run(tmp_path) == 4


def test_dry_run_prints_commands_and_runs_nothing(two_steps: Path, tmp_path: Path) -> None:
    done = run(two_steps, DRY_RUN="yes")
    assert done.returncode == 0
    assert "bash -c 'echo ran >>count; cp in" in done.stdout
    assert not (tmp_path / "count").exists()


def test_printed_commands_can_be_pasted(tmp_path: Path) -> None:
    words = ["it's", "a b", '"q"', "$HOME", "", "plain/path.txt"]
    (tmp_path / "words").write_text("\n".join(words))
    path = script(
        tmp_path, 'mapfile -t words <words; stage one x && step "$W/a" : -- printf "%s;" "${words[@]}"'
    )
    printed = run(path, DRY_RUN="yes").stdout.splitlines()[-1]
    pasted = subprocess.run(["bash", "-c", printed], capture_output=True, text=True, check=True).stdout
    assert pasted.split(";")[:-1] == words


def test_a_failing_stage_stops_the_run_and_says_how_to_go_on(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """
stage one "x" && step "$W/a" : -- bash -c 'echo why it failed >&2; exit 7'
stage two "x" && step "$W/b" : -- touch "$W/b"
""",
    )
    done = run(path)
    assert done.returncode == 1
    assert "stage one failed (exit 7)" in done.stderr
    assert "    why it failed" in done.stderr
    assert "--profile p --from one" in done.stderr
    assert not (tmp_path / "work/b").exists()
    assert "why it failed" in (tmp_path / "work/logs/one.log").read_text()


def test_a_missing_input_is_a_sentence(tmp_path: Path) -> None:
    done = run(script(tmp_path, 'stage one "x" && step "$W/a" : nowhere -- touch "$W/a"'))
    assert done.returncode == 1
    assert done.stderr.strip() == "die: nowhere does not exist"


SLOW = """
stage one "x" && step "$W/a" : in -- bash -c '
    mkdir -p work/a; echo "found: $(ls work/a)" >>seen; touch work/a/half
    [[ -f fast ]] || sleep 30
    touch work/a/whole'
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_step_is_not_done_and_goes_on(tmp_path: Path, number: int, status: int) -> None:
    (tmp_path / "in").write_text("x")
    path = script(tmp_path, SLOW)
    process = subprocess.Popen(["bash", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 20
    while not (tmp_path / "work/a/half").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == status
    assert not list((tmp_path / "work/.steps").glob("*.done"))
    assert not (tmp_path / "work/a/whole").exists()

    (tmp_path / "fast").touch()
    assert run(path).returncode == 0
    assert (tmp_path / "work/a/whole").exists()
    assert (tmp_path / "seen").read_text() == "found: \nfound: half\n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_step_is_waited_for_and_has_its_last_words(
    tmp_path: Path, number: int, status: int
) -> None:
    """As Caffe, which writes a snapshot first."""
    command = """bash -c 'trap "sleep 1; echo last words; touch written; exit" INT TERM
        touch begun; while :; do sleep 0.1; done'"""
    path = script(tmp_path, f'stage one "x" && step "$W/a" : -- {command}')
    process = subprocess.Popen(["bash", path], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == status
    assert (tmp_path / "written").exists()
    assert said.endswith("last words\n")
    assert (tmp_path / "work/logs/one.log").read_text().endswith("last words\n")


def test_what_another_setting_left_is_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("x")
    path = script(tmp_path, SLOW.replace("sleep 30", "exit 1"))
    assert run(path).returncode == 1
    (tmp_path / "in").write_text("changed")
    (tmp_path / "fast").touch()
    assert run(path).returncode == 0
    assert (tmp_path / "seen").read_text() == "found: \nfound: \n"


def test_inputs_of_the_user_are_never_removed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/photo").touch()
    path = script(tmp_path, 'stage one "x" && step mine : -- touch mine/more')
    run(path)
    run(path, FORCE="yes")
    assert (tmp_path / "mine/photo").exists()
    assert (tmp_path / "mine/more").exists()


def test_what_no_step_has_made_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "work/a").mkdir(parents=True)
    (tmp_path / "work/a/photo").touch()
    run(script(tmp_path, 'stage one "x" && step "$W/a" : -- touch work/a/more'))
    assert (tmp_path / "work/a/photo").exists()
    assert (tmp_path / "work/a/more").exists()


CAFFE_LOG = """\
I1122 06:00:00.123456  4242 caffe.cpp:204] Using CPU
I1122 06:00:00.123456  4242 solver.cpp:45] Initializing solver from parameters:
max_iter: 50
I1122 06:00:00.123456  4242 net.cpp:84] Creating Layer conv1_1
I1122 06:00:01.123456  4242 solver.cpp:239] Iteration 10 (5 iter/s, 2s/10 iters), loss = 1.5
I1122 06:00:01.123456  4242 solver.cpp:426]     Test net output #0: accuracy = 0.25
W1122 06:00:01.123456  4242 data.cpp:1] something to know
extract: 3/12
done
"""


def shown(**variables: str) -> str:
    options = [f"-v{name}={value}" for name, value in variables.items()]
    return subprocess.run(
        ["awk", *options, "-f", ROOT / "tools/run/show.awk"],
        input=CAFFE_LOG,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_a_pipe_gets_plain_lines_without_caffes_set_up() -> None:
    assert shown().splitlines()[-5:] == [
        "Iteration 10 (5 iter/s, 2s/10 iters), loss = 1.5",
        "Test net output #0: accuracy = 0.25",
        "something to know",
        "extract: 3/12",
        "done",
    ]
    assert "Creating Layer" not in shown()
    assert "\033" not in shown() and "\r" not in shown()


def test_a_terminal_gets_a_bar_and_the_time_left() -> None:
    live = shown(live="1")
    assert "training: 10/50, loss 1.5, 0:00:08 left" in live  # 40 iterations at 5 a second
    assert "━━━━━━──────────────────" + " extract: 3/12" in live
    assert live.endswith("done\n")
