"""Runs one program through the cases of test_programs.py: `python tests/program_cases.py MODULE`, JSON out.

The program is imported once and forked for each case, as starting it anew costs a second or two each time.
In a case of COMMAND_LINES it is given words; in one of WORK the least words that its parser asks for, and
what it hands to run_program is replaced by something that takes for ever, fills the disk or prints for ever.
"""

import argparse
import errno
import importlib
import json
import os
import resource
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import tools.program

READY = "at work"
LARGEST_FILE = 1 << 16


def take_for_ever() -> None:
    print(READY, flush=True)
    time.sleep(60)


def print_without_end() -> None:
    for _ in range(1_000_000):
        print("a line of what a program has to say")


def print_a_line() -> None:
    print("a line")


def fill_a_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    tools.program.write_text(Path("made.txt"), "a" * LARGEST_FILE * 2)


def fail() -> None:
    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), "a file")


COMMAND_LINES = {
    "help": ["--help"],
    "help into head": ["--help"],
    "none": [],
    "unknown": ["--no-such-option"],
}
WORK: dict[str, Callable[[], None]] = {
    "interrupted": take_for_ever,
    "terminated": take_for_ever,
    "head": print_without_end,
    "full output": print_a_line,
    "full disk": fill_a_disk,
    "failing": fail,
    "no input": print_a_line,
}


MORE_WORDS = {
    "python -m eval.claims": ["--features", "a", "--ranks", "a"],
    "python -m eval.tables": ["--pretrained", "a", "--out", "a"],
}
"""What programs ask for beyond what their parsers say is required."""


def least_words(parser: argparse.ArgumentParser) -> list[str]:
    """The shortest command line that a parser takes."""
    words: list[str] = []
    wanted = [action for action in parser._actions if action.required]
    wanted += [group._group_actions[0] for group in parser._mutually_exclusive_groups if group.required]
    for action in wanted:
        if isinstance(action, argparse._SubParsersAction):
            name, of_name = next(iter(action.choices.items()))
            words += [name, *least_words(of_name)]
        else:
            values = [a_value(action)] * (action.nargs if isinstance(action.nargs, int) else 1)
            words += [*action.option_strings[:1], *values]
    return words


def a_value(action: argparse.Action) -> str:
    """Some value that an argument's type takes."""
    if action.choices:
        return str(next(iter(action.choices)))
    for text in ("a", "1", "0.5", "0,1", "1,2,3", "a=b"):
        with suppress(Exception):
            if callable(action.type):
                action.type(text)
            return text
    raise ValueError(f"no value is known that {action.dest} takes")


def replace_work(work: Callable[[], None]) -> None:
    """Have every program that is run from now on do this instead of its own work."""
    parse, run = argparse.ArgumentParser.parse_args, tools.program.run_program

    def parse_least(parser: argparse.ArgumentParser, *_: Any) -> argparse.Namespace:
        return parse(parser, least_words(parser) + MORE_WORDS.get(parser.prog, []))

    def run_this(name: str, _: object, **options: Any) -> int:
        return run(name, work, **options)

    argparse.ArgumentParser.parse_args = parse_least  # type: ignore[method-assign,assignment]
    for module in list(sys.modules.values()):
        if getattr(module, "run_program", None) is run:
            module.run_program = run_this  # type: ignore[attr-defined]


def outlets(case: str) -> tuple[int, Any, Any]:
    """A case's standard output for the program, and files to read what it says on output and error."""
    said, error = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
    if case == "full output":
        return os.open("/dev/full", os.O_WRONLY), said, error
    if case in ("head", "help into head"):
        reading, writing = os.pipe()
        os.close(reading)
        return writing, said, error
    return os.dup(said.fileno()), said, error


def run_case(module: str, case: str, place: Path) -> dict[str, Any]:
    """Fork, be the program in the child; its status, what it said, and the files that it left."""
    out, said, error = outlets(case)
    place.mkdir()
    child = os.fork()
    if child == 0:
        os.dup2(out, 1)
        os.dup2(error.fileno(), 2)
        os.chdir(place)
        be_the_program(module, case)
    os.close(out)
    if case in ("interrupted", "terminated"):
        while os.fstat(said.fileno()).st_size < len(READY):
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG):
                break
            time.sleep(0.01)
        os.kill(child, signal.SIGINT if case == "interrupted" else signal.SIGTERM)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for file in (said, error):
        file.seek(0)
    left = [path.name for path in place.iterdir()]
    return {"status": status, "out": said.read().decode(), "error": error.read().decode(), "left": left}


def be_the_program(module: str, case: str) -> NoReturn:
    """In the child: run the module as `python -m` does."""
    if case == "no input":
        os.close(0)
    if case in WORK:
        replace_work(WORK[case])
    sys.argv = [module, *COMMAND_LINES.get(case, [])]
    for name in (module, f"{module}.__main__"):
        sys.modules.pop(name, None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit(0)


def main() -> None:
    """Every case of a program."""
    module, *cases = sys.argv[1:]
    importlib.import_module(module)
    with suppress(ImportError):
        importlib.import_module(f"{module}.__main__")  # of a package
    folder = Path(tempfile.mkdtemp())  # no `with`: what a child's exit unwinds would end with the folder
    print(json.dumps({case: run_case(module, case, folder / case) for case in cases}))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
