"""Every program behaves as all others do: help, wrong command lines, Ctrl-C, `| head`, a full disk.

The programs are found in the tree. One that is new is in here by itself.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("data_prep", "eval", "tools", "bench")
PEERS = ROOT / "bench" / "peers"  # run by a Python with PyTorch
PARTS = {"tools.run.nearest", "tools.run.plan"}  # of run_all.sh, which hands over its settings
CASES = (
    *("help", "help into head", "none", "unknown", "interrupted", "terminated", "head"),
    *("full output", "full disk", "failing", "no input"),
)
SCRIPTS = ("*.sh", "bench/*.sh", "tools/*.sh", "tools/caffe/*.sh")
NO_PROGRAMS = {"tools/entrypoint.sh", "bench/rehearsal.sh"}  # hand their words over to another program
NEED_NO_WORDS = {
    *("run_all.sh", "run_tests.sh", "bench/run.sh", "bench/gpu_check.sh", "tools/setup.sh"),
    "tools/caffe/build.sh",
}


def python_programs() -> list[str]:
    """The modules that `python -m` runs."""
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py") if PEERS not in file.parents]
    programs = [file for file in files if '\nif __name__ == "__main__":' in file.read_text()]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in programs]
    return sorted({name.removesuffix(".__main__") for name in names} - PARTS)


def needs_no_words(program: str) -> bool:
    """A bench measures at once when it is called."""
    return program.startswith("bench.")


def called(program: str) -> str:
    """How a person calls it."""
    return "bench/rehearsal.sh" if program == "bench.rehearsal" else f"python -m {program}"


def shell_programs() -> list[str]:
    """The scripts that a person may call."""
    scripts = (path for pattern in SCRIPTS for path in ROOT.glob(pattern) if os.access(path, os.X_OK))
    return sorted({str(path.relative_to(ROOT)) for path in scripts} - NO_PROGRAMS)


@pytest.fixture(scope="module")
def ran() -> Any:
    """Every Python program's answers in every case, as they come in."""

    def cases_of(program: str) -> dict[str, Any]:
        cases = [case for case in CASES if case != "none" or not needs_no_words(program)]
        command = [sys.executable, "tests/program_cases.py", program, *cases]
        environment = os.environ | {
            "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
            "COLUMNS": "100",
        }
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{program}: {done.stderr}"
        answers: dict[str, Any] = json.loads(done.stdout)
        return answers

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        futures: dict[str, Future] = {
            program: threads.submit(cases_of, program) for program in python_programs()
        }
        yield lambda program, case: futures[program].result()[case]
        for future in futures.values():
            future.cancel()


def sentences(text: str) -> list[str]:
    assert "Traceback" not in text and "Exception ignored" not in text, text
    return text.splitlines()


@pytest.mark.parametrize("program", python_programs())
class TestPython:
    def test_help_has_an_example(self, ran: Any, program: str) -> None:
        answer = ran(program, "help")
        assert (answer["status"], answer["error"]) == (0, "")
        assert answer["out"].startswith(f"usage: {called(program)} ")
        assert f"{called(program)} " in answer["out"].partition("example")[2]

    @pytest.mark.parametrize("case", ["none", "unknown"])
    def test_a_wrong_command_line(self, ran: Any, program: str, case: str) -> None:
        if case == "none" and needs_no_words(program):
            pytest.skip("it needs no words")
        answer = ran(program, case)
        assert answer["status"] == 2
        assert answer["out"] == ""
        said = sentences(answer["error"])
        assert said[0].startswith(f"usage: {called(program)} ")
        assert said[-1].startswith(called(program)) and ": error: " in said[-1]
        assert all(line.startswith(" ") for line in said[1:-1])  # the usage, where it is longer than a line

    @pytest.mark.parametrize(("case", "status"), [("interrupted", 130), ("terminated", 143)])
    def test_a_signal(self, ran: Any, program: str, case: str, status: int) -> None:
        answer = ran(program, case)
        assert answer["out"].strip() == "at work"
        assert answer["status"] == status
        assert len(sentences(answer["error"])) == 1
        assert "interrupted" in answer["error"] or "stopped" in answer["error"]

    def test_nobody_reads_on(self, ran: Any, program: str) -> None:
        answer = ran(program, "head")
        assert (answer["status"], answer["error"]) == (141, "")
        assert ran(program, "help into head")["error"] == ""

    @pytest.mark.parametrize(
        ("case", "words"),
        [
            ("full output", "No space left on device"),
            ("full disk", "File too large: made.txt"),
            ("failing", "No such file or directory: a file"),
        ],
    )
    def test_what_goes_wrong_is_one_sentence(self, ran: Any, program: str, case: str, words: str) -> None:
        answer = ran(program, case)
        assert answer["status"] == 1
        said = sentences(answer["error"])
        assert len(said) == 1
        assert said[0].endswith(words)
        assert answer["left"] == []

    def test_no_standard_input(self, ran: Any, program: str) -> None:
        answer = ran(program, "no input")
        assert (answer["status"], answer["out"], answer["error"]) == (0, "a line\n", "")


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, **options
    )


@pytest.mark.parametrize("program", shell_programs())
class TestShell:
    def test_help_has_an_example(self, program: str) -> None:
        for option in ("--help", "-h"):
            done = run(f"./{program}", option)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.startswith(f"Usage: {'./' if '/' not in program else ''}{program}")
            assert f"{program}" in done.stdout.partition("xample")[2]

    def test_help_into_head(self, program: str) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [f"./{program}", "--help"], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, check=False
        )
        os.close(writing)
        assert done.stderr == b""

    @pytest.mark.parametrize("words", [[], ["--no-such-option"]])
    def test_a_wrong_command_line(self, program: str, words: list[str]) -> None:
        if (not words and program in NEED_NO_WORDS) or program == "run_tests.sh":  # its words are pytest's
            pytest.skip("it takes them")
        done = run(f"./{program}", *words)
        assert done.returncode == 2
        assert done.stdout == ""
        assert 1 <= len(sentences(done.stderr)) <= 2
        assert "--help" in done.stderr
