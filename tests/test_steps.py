"""The machinery under run_all.sh, on small scripts: what runs again, what does not, what a stop leaves."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from small_disk import on_small_disk

ROOT = Path(__file__).parent.parent

HEAD = """
set -euo pipefail
cd "$(dirname "$0")"
ln -sfn "{root}/tools" tools
for part in options stages steps; do source tools/run/$part.sh; done
STAGES=(one two)
W=${{WORK:-work}} DATA_DIR=data SOURCE=made first=0 last=1 dry_run=${{DRY_RUN:-no}} force=${{FORCE:-no}}
table=0 typed=(--profile p)
declare -A given_environment=()
die() {{ echo "die: $*" >&2; exit 1; }}
mkdir -p "$W/.steps"
trap 'interrupted INT' INT
trap 'interrupted TERM' TERM
"""


def script(folder: Path, body: str) -> Path:
    path = folder / "run.sh"
    path.write_text(HEAD.format(root=ROOT) + body + "\nend_stage\n")
    return path


def run(path: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", path], capture_output=True, text=True, env=os.environ | environment, timeout=120
    )


TWO_STEPS = """
stage one "The first" && step makes "$W/a" from in by bash -c 'echo ran >>count; cp in "$0"' "$W/a"
stage two "The second" && step makes "$W/b" from "$W/a" by \\
    bash -c 'echo ran >>count; cp "$0" "$1"' "$W/a" "$W/b"
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
stage one "x" && step makes "$W/train" "$W/val" by \\
    bash -c 'mkdir -p work/{train,val}; touch work/val/lock.mdb'
stage two "x" && step makes "$W/b" from "$W/val" by \\
    bash -c 'echo ran >>count; echo r >>work/val/lock.mdb; touch work/b'
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
        tmp_path, 'mapfile -t words <words; stage one x && step makes "$W/a" by printf "%s;" "${words[@]}"'
    )
    printed = run(path, DRY_RUN="yes").stdout.splitlines()[-1]
    pasted = subprocess.run(["bash", "-c", printed], capture_output=True, text=True, check=True).stdout
    assert pasted.split(";")[:-1] == words


def test_a_failing_stage_stops_the_run_and_says_how_to_go_on(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """
stage one "x" && step makes "$W/a" by bash -c 'echo why it failed >&2; exit 7'
stage two "x" && step makes "$W/b" by touch "$W/b"
""",
    )
    done = run(path)
    assert done.returncode == 1
    assert "stage one failed (exit 7)" in done.stderr
    assert "    why it failed" in done.stderr
    assert f"to go on from there: {path} --profile p" in done.stderr
    assert not (tmp_path / "work/b").exists()
    assert "why it failed" in (tmp_path / "work/logs/one.log").read_text()


def test_a_missing_input_is_a_sentence(tmp_path: Path) -> None:
    done = run(script(tmp_path, 'stage one "x" && step makes "$W/a" from nowhere by touch "$W/a"'))
    assert done.returncode == 1
    said = "die: nowhere does not exist: an earlier stage makes it, or a setting names it"
    assert done.stderr.strip() == said


def test_what_an_earlier_stage_makes_is_named_with_the_way_to_it(tmp_path: Path) -> None:
    done = run(script(tmp_path, 'stage one "x" && step makes "$W/a" from "$W/before" by touch "$W/a"'))
    assert done.returncode == 1
    said = "die: stage one needs work/before, which an earlier stage makes: without --from and --only "
    assert done.stderr.startswith(said) and len(done.stderr.splitlines()) == 1


SLOW = """
stage one "x" && step makes "$W/a" from in by bash -c '
    mkdir -p work/a; echo "found: $(ls work/a)" >>seen; touch work/a/half
    [[ -f fast ]] || sleep 30
    touch work/a/whole'
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_step_is_not_done_and_goes_on(tmp_path: Path, number: int, status: int) -> None:
    (tmp_path / "in").write_text("x")
    path = script(tmp_path, SLOW)
    process = subprocess.Popen(["bash", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (tmp_path / "work/a/half").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)  # until it sleeps: a shell that is about to start a command passes SIGINT over
    process.send_signal(number)
    process.communicate(timeout=120)
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
    path = script(tmp_path, f'stage one "x" && step makes "$W/a" by {command}')
    process = subprocess.Popen(["bash", path], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (tmp_path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.001)  # at once: what reads its words must have begun before it
    process.send_signal(number)
    said, _ = process.communicate(timeout=120)
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
    path = script(tmp_path, 'stage one "x" && step makes mine by touch mine/more')
    run(path)
    run(path, FORCE="yes")
    assert (tmp_path / "mine/photo").exists()
    assert (tmp_path / "mine/more").exists()


def test_what_no_step_has_made_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "work/a").mkdir(parents=True)
    (tmp_path / "work/a/photo").touch()
    run(script(tmp_path, 'stage one "x" && step makes "$W/a" by touch work/a/more'))
    assert (tmp_path / "work/a/photo").exists()
    assert (tmp_path / "work/a/more").exists()


def aside(folder: Path) -> dict[str, str]:
    """What was moved aside in a work folder, by its name there."""
    moved = [
        path for path in (folder / "work" / "aside").rglob("*") if path.is_file() and path.suffix != ".ran"
    ]
    return {path.relative_to(folder / "work" / "aside").parts[1]: path.read_text() for path in moved}


def test_what_a_setting_makes_stale_is_moved_aside_not_removed(two_steps: Path, tmp_path: Path) -> None:
    run(two_steps)
    (tmp_path / "in").write_text("longer")
    done = run(two_steps)
    assert aside(tmp_path) == {"a": "x", "b": "x"}
    assert done.stdout.count("moved aside: work/aside/") == 2
    run(two_steps, FORCE="yes")
    assert sorted(
        path.name for path in (tmp_path / "work/aside").rglob("[ab]*") if path.suffix != ".ran"
    ) in (
        ["a", "a", "b", "b"],
        ["a", "a_", "b", "b_"],  # within one second
    )


def test_the_machine_s_options_stale_nothing(tmp_path: Path) -> None:
    body = """
stage one "x" && step writes "$W/net" from net.prototxt by \\
    bash -c 'echo ran >>count; echo "$1" >work/net' - --gpu {gpu}
stage two "x" && step makes "$W/b" from "$W/net" by \\
    bash -c 'echo ran >>count; touch work/b' - --jobs {jobs} --gpu {gpu}
"""
    (tmp_path / "net.prototxt").write_text('name: "n" # as it was\n')
    run(script(tmp_path, body.format(gpu="0,1", jobs=2)))
    assert times_run(tmp_path) == 2
    run(script(tmp_path, body.format(gpu="0,1", jobs=7)))
    assert times_run(tmp_path) == 2
    run(
        script(tmp_path, body.format(gpu="0", jobs=7))
    )  # a text is written again, and what was made of it stays
    assert times_run(tmp_path) == 3
    (tmp_path / "net.prototxt").write_text('# why\nname: "n"\n\n')
    run(script(tmp_path, body.format(gpu="0", jobs=7)))
    assert times_run(tmp_path) == 3
    (tmp_path / "net.prototxt").write_text('name: "m"\n')
    run(script(tmp_path, body.format(gpu="0", jobs=7)))
    assert times_run(tmp_path) == 5


def test_a_copy_of_everything_goes_on_where_it_was(two_steps: Path, tmp_path: Path) -> None:
    """A fresh clone, a rebuilt image, `cp -r` give every file another time."""
    run(two_steps)
    for path in tmp_path.rglob("*"):
        os.utime(path, (1e9, 1e9))
    assert run(two_steps).stdout.count("nothing changed") == 2
    assert times_run(tmp_path) == 2


def test_a_work_folder_may_be_moved(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("x")
    path = script(tmp_path, TWO_STEPS)
    run(path, WORK=str(tmp_path / "here"))
    (tmp_path / "here").rename(tmp_path / "there")
    run(path, WORK=str(tmp_path / "there"))
    assert times_run(tmp_path) == 2


@pytest.mark.parametrize("work", ["work", "{}/work"])
def test_a_text_that_names_places_is_written_again_where_they_moved(tmp_path: Path, work: str) -> None:
    """The lists, which name pictures by their whole path; what is made of them stays."""
    body = """
stage one "x" && step writes "$W/a" from in by bash -c 'echo ran >>count; realpath in >"$0"' "$W/a"
stage two "x" && step makes "$W/b" from "$W/a" by bash -c 'echo ran >>count; touch "$0"' "$W/b"
"""
    for place in ("here", "there"):
        if place == "here":
            (tmp_path / place).mkdir()
            (tmp_path / place / "in").write_text("x")
        else:
            (tmp_path / "here").rename(tmp_path / place)
        path = script(tmp_path / place, body)
        for _ in range(2):
            run(path, WORK=work.format(tmp_path / place))
        assert (tmp_path / place / "work/a").read_text() == f"{tmp_path / place}/in\n"
    assert times_run(tmp_path / "there") == 3


@pytest.mark.parametrize("kind", ["makes", "writes"])
def test_a_text_that_was_emptied_is_written_again(tmp_path: Path, kind: str) -> None:
    path = script(tmp_path, f"""stage one "x" && step {kind} "$W/a" by bash -c 'echo x >"$0"' "$W/a" """)
    run(path)
    (tmp_path / "work/a").write_text("")
    run(path)
    assert (tmp_path / "work/a").read_text() == "x\n"


def test_an_input_edited_in_place_counts_though_its_size_is_the_same(two_steps: Path, tmp_path: Path) -> None:
    run(two_steps)
    (tmp_path / "in").write_text("y")
    run(two_steps)
    assert (tmp_path / "work/b").read_text() == "y"


def test_an_input_of_the_same_size_and_time_counts_by_what_is_in_it(two_steps: Path, tmp_path: Path) -> None:
    """As rsync and cp -p leave it, or touch -r."""
    (tmp_path / "in").write_text("x")
    os.utime(tmp_path / "in", (1e9, 1e9))
    run(two_steps)
    (tmp_path / "in").write_text("y")
    os.utime(tmp_path / "in", (1e9, 1e9))
    run(two_steps)
    assert (tmp_path / "work/b").read_text() == "y"


@pytest.mark.parametrize("work", ["work", ".hidden/work"])
@pytest.mark.parametrize("folder", ["pictures", "work/made"])
def test_every_change_in_a_folder_counts(tmp_path: Path, work: str, folder: str) -> None:
    folder = folder.replace("work", work)
    body = """stage one "x" && step makes "$W/b" from {} by bash -c 'echo ran >>count; touch "$0"' "$W/b" """
    path = script(tmp_path, body.format(folder))
    (tmp_path / work).mkdir(parents=True)
    (tmp_path / folder / "deep").mkdir(parents=True)
    for name in ("a.jpg", "deep/b.jpg", "net.prototxt"):
        (tmp_path / folder / name).write_text("x")

    def ran(expected: int) -> None:
        run(path, WORK=work)
        assert times_run(tmp_path) == expected

    ran(1)
    ran(1)
    (tmp_path / folder / "deep/b.jpg").write_text("y")
    ran(2)
    (tmp_path / folder / "c.jpg").write_text("x")
    ran(3)
    (tmp_path / folder / "a.jpg").unlink()
    ran(4)
    (tmp_path / folder / "net.prototxt").write_text("y # why")
    ran(5)
    (tmp_path / folder / "net.prototxt").write_text("y")
    (tmp_path / folder / ".hidden").write_text("x")
    (tmp_path / folder / "lock.mdb").write_text("x")
    ran(5)


def test_a_redirection_behind_a_step_is_refused(tmp_path: Path) -> None:
    done = run(script(tmp_path, 'stage one "x" && step makes "$W/a" by echo x >"$W/a"'))
    assert done.returncode == 1
    assert "a step's command makes work/a itself" in done.stderr


def test_other_contents_of_what_a_step_makes_stale_what_is_made_of_it(tmp_path: Path) -> None:
    """As a network trained once more: the same command, other weights."""
    path = script(
        tmp_path,
        """
stage one "x" && step makes "$W/a" by bash -c 'echo $RANDOM$RANDOM >work/a'
stage two "x" && step makes "$W/b" from "$W/a" by cp "$W/a" "$W/b"
""",
    )
    run(path)
    (tmp_path / "work/a").unlink()
    run(path)
    assert (tmp_path / "work/b").read_text() == (tmp_path / "work/a").read_text()


@pytest.mark.parametrize("change", ["echo more >>in", "rm in"])
def test_an_input_that_changes_during_a_step_is_noticed(tmp_path: Path, change: str) -> None:
    (tmp_path / "in").write_text("x")
    path = script(
        tmp_path, f"""stage one "x" && step makes "$W/a" from in by bash -c 'cp in work/a; {change}'"""
    )
    done = run(path)
    assert done.returncode == 1
    assert "what one reads has changed while it was at work" in done.stderr
    assert not (tmp_path / "work/.steps/a.done").exists()


@pytest.mark.parametrize("change", ["echo more >>in/a", "rm in/a", "mv in/a x; mv x in/a", "touch in/b"])
def test_a_picture_that_changes_or_was_away_during_a_step_is_noticed(tmp_path: Path, change: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("x")
    body = """stage one "x" && step makes "$W/a" from in by bash -c 'ln -f in/a work/a; touch work/.x; {}'"""
    done = run(script(tmp_path, body.format(change)))
    assert "what one reads has changed while it was at work (in)" in done.stderr
    assert not (tmp_path / "work/.steps/a.done").exists()
    (tmp_path / "in" / "a").touch()
    assert run(script(tmp_path, body.format("true"))).returncode == 0


def test_an_input_that_changes_while_it_is_looked_at_is_noticed(tmp_path: Path) -> None:
    """Between the look at it and the command: here while the step's old output is moved aside."""
    (tmp_path / "in").write_text("x")
    body = """
mv() { [[ $* != *work/a* ]] || echo longer >in; command mv "$@"; }
stage one "x" && step makes "$W/a" from in by cp in "$W/a"
"""
    run(script(tmp_path, body))
    assert (tmp_path / "work/a").read_text() == "x"
    done = run(script(tmp_path, body), FORCE="yes")
    assert "what one reads has changed" in done.stderr
    assert not (tmp_path / "work/.steps/a.done").exists()


def test_a_command_that_makes_nothing_has_failed(tmp_path: Path) -> None:
    done = run(script(tmp_path, 'stage one "x" && step makes "$W/a" by true'))
    assert done.returncode == 1
    assert "has not made work/a" in done.stderr


def test_a_stop_between_marks_and_outputs_takes_no_half_for_whole(two_steps: Path, tmp_path: Path) -> None:
    """Every state that a stop can leave: marks go before outputs do, and come after them."""
    run(two_steps)
    steps = tmp_path / "work/.steps"
    whole = {path.name: path.read_text() for path in steps.iterdir() if path.is_file()}
    (steps / "a.begun").write_text("stale\n")  # stopped before a's mark went
    run(two_steps)
    assert times_run(tmp_path) == 2
    (steps / "a.done").unlink()  # stopped before a itself was moved
    (tmp_path / "work/a").write_text("half of another")
    run(two_steps)
    assert (tmp_path / "work/b").read_text() == "x" and aside(tmp_path)["a"] == "half of another"
    assert {path.name for path in steps.iterdir() if path.is_file()} == set(whole)


CAFFE_LOG = """\
I1122 06:00:00.123456  4242 caffe.cpp:204] Using CPU
I1122 06:00:00.123456  4242 solver.cpp:45] Initializing solver from parameters:
max_iter: 50
I1122 06:00:00.123456  4242 net.cpp:84] Creating Layer conv1_1
I1122 06:00:01.123456  4242 solver.cpp:239] Iteration 10 (5 iter/s, 2s/10 iters), loss = 1.5
I1122 06:00:01.123456  4242 solver.cpp:330] Iteration 10, Testing net (#0)
I1122 06:00:01.123456  4242 solver.cpp:426]     Test net output #0: accuracy = 0.25
I1122 06:00:01.123456  4242 solver.cpp:426]     Test net output #1: loss = 2.5 (* 1 = 2.5 loss)
I1122 06:00:01.123456  4242 solver.cpp:239] Iteration 11 (5 iter/s, 2s/10 iters), loss = 1.25
I1122 06:00:01.123456  4242 caffe.cpp:313] Optimization Done.
I1122 06:00:01.123456  4242 caffe.cpp:313] Optimization Done.
W1122 06:00:01.123456  4242 data.cpp:1] something to know
Corrupt JPEG data: premature end of data segment
libpng warning: iCCP: known incorrect sRGB profile
extracting: 3/12, 4 s, 0.8/s
done
"""


def shown(log: str = CAFFE_LOG, **variables: str) -> str:
    options = [f"-v{name}={value}" for name, value in variables.items()]
    return subprocess.run(
        ["awk", *options, "-f", ROOT / "tools/run/show.awk"],
        input=log.encode(),
        capture_output=True,
        check=True,
    ).stdout.decode()


def test_a_pipe_gets_plain_lines_without_caffes_set_up() -> None:
    assert shown().splitlines()[-5:] == [
        "Iteration 10 (5 iter/s, 2s/10 iters), loss = 1.5",
        "Iteration 10, validation: accuracy 0.25, loss 2.5",
        "something to know",
        "extracting: 3/12, 4 s, 0.8/s",
        "done",
    ]
    assert "Creating Layer" not in shown()
    assert "\033" not in shown() and "\r" not in shown()


@pytest.mark.parametrize("live", [{}, {"live": "1"}])
def test_a_command_that_says_much_is_shown_in_part(live: dict[str, str]) -> None:
    names = [f"class {i} -> {i}" for i in range(64)]
    log = "\n".join(["$ rename", *names, "$ split", *names[:12], ""])
    moved = re.sub(r"\r\x1b\[K[^\r\n]*(?=\r)", "", shown(log, **live))  # one line over the other
    lines = moved.replace("\r\x1b[K", "").splitlines()
    folded = "... 54 more lines, all in the log"
    assert lines == ["$ rename", *names[:8], folded, *names[-2:], "$ split", *names[:12]]


def test_a_terminal_gets_a_bar_and_the_time_left() -> None:
    live = shown(live="1")
    assert "training: 10/50, loss 1.5, 0:00:08 left" in live  # 40 iterations at 5 a second
    assert "━━━━━━──────────────────" + " extracting: 3/12, 4 s" in live
    assert live.endswith("done\n")


@pytest.mark.parametrize("inside", ["in", ".hidden/in"])
def test_a_picture_that_changes_or_goes_stales_what_is_made_of_its_folder(
    tmp_path: Path, inside: str
) -> None:
    """A picture of the same size, another at its beginning; wherever the folder lies."""
    folder = tmp_path / inside
    folder.mkdir(parents=True)
    for name in ("a.ppm", "b.ppm", ".passed over"):
        (folder / name).write_bytes(bytes(20_000))
    path = script(
        tmp_path,
        f"""
stage one "The first" && step makes "$W/a" from {inside} by bash -c 'cp -rT "$1" "$0"' "$W/a" {inside}
stage two "The second" && step makes "$W/b" from "$W/a" by \\
    bash -c 'echo ran >>count; cat "$0"/* >"$1"' "$W/a" "$W/b"
""",
    )
    run(path)
    (folder / "a.ppm").write_bytes(b"\1" + bytes(19_999))
    assert run(path).returncode == 0
    assert times_run(tmp_path) == 2
    (folder / ".passed over").write_text("changed")
    run(path)
    assert times_run(tmp_path) == 2
    (folder / "b.ppm").unlink()
    run(path)
    assert times_run(tmp_path) == 3


def test_an_output_that_was_emptied_or_cut_is_made_anew(two_steps: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("four")
    run(two_steps)
    for left in ("", "fo"):
        (tmp_path / "work/b").write_text(left)
        assert run(two_steps).returncode == 0
        assert (tmp_path / "work/b").read_text() == "four"
    assert times_run(tmp_path) == 4


def test_an_input_far_down_has_a_mark_too(tmp_path: Path) -> None:
    far = Path(*["é" * 100] * 3, "in")
    (tmp_path / far).parent.mkdir(parents=True)
    (tmp_path / far).write_text("x")
    path = script(tmp_path, f"""stage one "x" && step makes "$W/a" from "{far}" by cp "{far}" "$W/a" """)
    assert run(path).stderr == ""
    assert "nothing changed" in run(path).stdout


@pytest.mark.parametrize("mark", ["done", "begun", "seen", "ran"])
@pytest.mark.parametrize("left", ["", "a folder", "0" * 64 + "\n", "\0\0\0\n" * 4, "of another version\n"])
def test_a_mark_that_is_none_of_ours_is_no_mark(
    two_steps: Path, tmp_path: Path, mark: str, left: str
) -> None:
    """Cut short, of another version, a folder: nothing fails for it, and nothing is taken for done."""
    run(two_steps)
    for path in (tmp_path / "work/.steps").glob(f"[ai]*.{mark}"):
        path.unlink()
    place = tmp_path / f"work/.steps/{'in' if mark == 'seen' else 'a'}.{mark}"
    if left == "a folder":
        (place / "in it").mkdir(parents=True)
    else:
        place.write_text(left)
    (tmp_path / "work/b").unlink()
    for _ in range(2):
        done = run(two_steps)
        assert done.returncode == 0 and done.stderr == ""
    assert "nothing changed" in done.stdout
    assert (tmp_path / "work/b").read_text() == "x"
    assert times_run(tmp_path) == (4 if mark == "done" else 3)
    if mark == "done":
        assert aside(tmp_path)["a"] == "x"


@pytest.mark.parametrize("lines", range(1, 4))
def test_a_mark_cut_behind_a_line_is_no_mark(two_steps: Path, tmp_path: Path, lines: int) -> None:
    run(two_steps)
    mark = tmp_path / "work/.steps/a.done"
    whole = mark.read_text()
    mark.write_text("".join(whole.splitlines(keepends=True)[:lines]))
    run(two_steps)
    assert times_run(tmp_path) == 3  # made again, and the same
    assert mark.read_text() == whole


def test_a_disk_that_is_full_when_a_step_s_mark_is_written(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """
stage one "x" && step makes "$W/a" by \\
    bash -c 'touch small/a; head -c 1G /dev/zero >small/fill || true'""",
    )
    (tmp_path / "small").mkdir()
    words = (
        f"WORK=small bash {path} || WORK=small bash {path}; rm small/fill; WORK=small bash {path}; ls small"
    )
    done = on_small_disk(tmp_path / "small", words, tmp_path)
    said = [line for line in done.stderr.splitlines() if not line.startswith("head: ")]
    assert said[0].startswith(
        "die: stage one can't write to small: No space left on device: its disk is full, 0 MB"
    )
    assert said[0].endswith(f"When that is mended, go on by: {path} --profile p")
    assert len(said) == 3


def test_a_step_that_fails_on_a_full_disk_says_so(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """stage one "x" && step makes "$W/a" by bash -c 'head -c 1G /dev/zero >small/fill; kill -BUS $$'""",
    )
    (tmp_path / "small").mkdir()
    done = on_small_disk(tmp_path / "small", f"WORK=small bash {path}", tmp_path)
    assert "stage one failed (exit 135): its disk is full, 0 MB are free at small. The end of" in done.stderr


def test_what_a_step_notes_is_on_the_disk_before_its_mark(two_steps: Path, tmp_path: Path) -> None:
    """A note that a power cut emptied would stay so, as its step is done."""
    run(two_steps)
    trace = tmp_path / "trace"
    subprocess.run(
        [
            "strace",
            "-f",
            "-qq",
            "-e",
            "trace=openat,syncfs,rename,renameat2,renameat",
            "-o",
            trace,
            "bash",
            two_steps,
        ],
        env=os.environ | {"FORCE": "yes"},
        check=True,
        capture_output=True,
    )
    lines = trace.read_text().splitlines()
    at = {
        what: next(number for number, line in enumerate(lines) if part in line)
        for what, part in (("note", 'a.ran", O_WRONLY'), ("sync", "syncfs("), ("mark", "a.done.new"))
    }
    assert at["note"] < at["sync"] < at["mark"]


def test_a_work_folder_whose_name_is_in_other_words_may_be_moved(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("x")
    path = script(tmp_path, TWO_STEPS.replace('"$0"\' "$W/a"', '"$0"\' "$W/a" --weights'))
    for work in ("w", "moved"):
        if work == "moved":
            (tmp_path / "w").rename(tmp_path / work)
        assert run(path, WORK=work).returncode == 0
    assert times_run(tmp_path) == 2


def test_what_a_gpu_takes_at_once_stales_nothing_where_a_step_s_pictures_are_told(tmp_path: Path) -> None:
    body = """
stage one "x" && step makes "$W/a" by bash -c 'echo ran >>count; touch work/a' - {} --train-batch {}
"""
    for told, batch, times in (
        ("--effective-batch 128", 64, 1),
        ("--effective-batch 128", 32, 1),
        ("", 64, 2),
        ("", 32, 3),
    ):
        assert run(script(tmp_path, body.format(told, batch))).returncode == 0
        assert times_run(tmp_path) == times


@pytest.mark.parametrize(
    ("before", "after", "times"),
    [
        ("base_lr: 1# why", "base_lr: 1# because", 1),
        ("name: 'n' # it's", "name: 'n' #", 1),
        ('name: "n # 1"', 'name: "n # 2"', 2),
    ],
)
def test_a_comment_is_one_by_prototxt_s_rules(tmp_path: Path, before: str, after: str, times: int) -> None:
    body = (
        """stage one "x" && step makes "$W/a" from a.prototxt by bash -c 'echo ran >>count; touch work/a'"""
    )
    for text in (before, after):
        (tmp_path / "a.prototxt").write_text(text + "\n")
        assert run(script(tmp_path, body)).returncode == 0
    assert times_run(tmp_path) == times
