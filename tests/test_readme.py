"""What README.md and README.zh.md name is there: paths, programs, options, stages; and both show the same."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
READMES = ("README.md", "README.zh.md")
ROOMS = "data_prep|eval|tools"
SCRIPT = re.compile(r"(?:\./)?((?:tools/(?:\w+/)*)?\w+\.sh)")
PATH = re.compile(
    rf"(?<![\w./~$-])(?:\./)?(\w+\.sh|(?:{ROOMS}|prototxt|profiles|tests|bench)/[\w./*-]*)", re.ASCII
)
MODULE = re.compile(rf"(?<![\w./-])(?:{ROOMS})\.[a-z]\w*", re.ASCII)
SETTING = re.compile(r"[A-Z][A-Z_]*=")
OPTION = re.compile(r"--[a-z][a-z-]*")
BENCHES = ("run", "gpu_check", "rehearsal")
ENGINES_OPTIONS = {
    "--user",
    "--build-arg",
    "--shm-size",
}  # of docker run, where the text names it without the command


def blocks(text: str) -> list[str]:
    """The lines of fenced and of indented code blocks, without the fences and the indentation."""
    lines, fenced = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            lines.append(line.strip())
    assert not fenced, "a ``` is not closed"
    return lines


def spans(text: str) -> list[str]:
    """What stands in backticks outside code blocks."""
    prose = re.sub(r"^```.*?^```|^    .*?$", "", text, flags=re.M | re.S)
    return re.findall(r"`([^`\n]+)`", prose)


def command(line: str) -> list[str]:
    """The words of a shell line without its comment; none where it is no command and no setting."""
    words = shlex.split(line, comments=True)
    programs = [word for word in words if not SETTING.match(word)]
    is_command = not programs or programs[0] in ("docker", "python", "caffe") or SCRIPT.fullmatch(programs[0])
    return words if is_command else []


def commands(text: str) -> list[list[str]]:
    """The commands and settings of code blocks, in order; the table of files has none."""
    shown = (command(line) for line in blocks(text) if not re.match(r"\S+ {2,}[^# -]", line))
    return [words for words in shown if words]


def called(words: list[str]) -> tuple[str, list[str]] | None:
    """Our program that a command calls, itself or in a container, and the words it gets; None for others'."""
    words = [word for word in words if not SETTING.match(word)]
    if words[:2] == ["docker", "run"]:
        image = next(at for at, word in enumerate(words) if word.startswith("caffe-article"))
        words = words[image + 1 :]
        if not words or words[0].startswith("-"):
            return "run_all.sh", words
    if words[:2] == ["python", "-m"]:
        return (words[2], words[3:]) if MODULE.fullmatch(words[2]) else None
    script = SCRIPT.fullmatch(words[0]) if words else None
    if script:
        return script[1], words[1:]
    return (words[0], words[1:]) if words and MODULE.fullmatch(words[0]) else None


@cache
def help_of(program: str) -> str:
    """What a script or a module prints with --help."""
    start = [f"./{program}"] if program.endswith(".sh") else [sys.executable, "-m", program]
    done = subprocess.run([*start, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{program} --help: {done.stderr}"
    return done.stdout


def options(text: str) -> set[str]:
    return set(OPTION.findall(text)) | {"--help"}


def modules(text: str) -> set[str]:
    return {name for shown in [*blocks(text), *spans(text)] for name in MODULE.findall(shown)}


def file_of(module: str) -> list[Path]:
    place = ROOT / module.replace(".", "/")
    return [file for file in (place.with_suffix(".py"), place / "__main__.py") if file.is_file()]


@pytest.fixture(params=READMES)
def readme(request: pytest.FixtureRequest) -> str:
    return (ROOT / request.param).read_text(encoding="utf-8")


def test_every_path_it_names_is_there(readme: str) -> None:
    named = {path.rstrip(".") for shown in [*blocks(readme), *spans(readme)] for path in PATH.findall(shown)}
    named |= {line.split()[0] for line in blocks(readme) if re.match(r"\w+/ {2,}", line)}
    assert {"run_all.sh", "tools/setup.sh", "prototxt/*/deploy.prototxt", "tests/"} <= named
    assert [path for path in sorted(named) if not any(ROOT.glob(path))] == []


def test_every_module_it_names_is_there(readme: str) -> None:
    assert "eval.score" in modules(readme)
    assert [name for name in sorted(modules(readme)) if not file_of(name)] == []


def test_programs_know_the_options_they_are_shown_with(readme: str) -> None:
    shown = commands(readme) + [span.split() for span in spans(readme)]
    calls = [call for call in map(called, shown) if call]
    programs = {program for program, _ in calls}
    assert {"run_all.sh", "run_tests.sh", "tools/setup.sh", "eval.extract"} <= programs
    unknown = [
        f"{program} {word}"
        for program, words in calls
        for word in OPTION.findall(" ".join(words))
        if word not in options(help_of(program))
    ]
    assert unknown == []


def test_options_named_alone_are_those_of_a_program_it_names(readme: str) -> None:
    """Options in comments of code blocks count as named alone: "--to and --only likewise"."""
    comments = [line.partition(" # ")[2] for line in blocks(readme)]
    alone = {option for span in [*spans(readme), *comments] for option in OPTION.findall(span)}
    scripts = {"run_all.sh", "run_tests.sh", "tools/setup.sh", *(f"bench/{name}.sh" for name in BENCHES)}
    known = {option for program in scripts | modules(readme) for option in options(help_of(program))}
    engines = {
        option for span in spans(readme) if span.startswith("docker") for option in OPTION.findall(span)
    }
    assert {"--force", "--only", "--undo"} <= alone
    assert alone - known - engines <= ENGINES_OPTIONS


def test_its_profiles_are_there_or_shown(readme: str) -> None:
    names = set(re.findall(r"--profile (\w+)", readme))
    assert "article" in names
    assert {name for name in names if not (ROOT / "profiles" / name).is_file()} == {"my_profile"}
    assert "\n# my_profile\n" in readme


def test_its_table_has_the_stages_of_run_all_in_order(readme: str) -> None:
    done = subprocess.run(["./run_all.sh", "--list"], cwd=ROOT, capture_output=True, text=True, check=True)
    table = next(part for part in readme.split("\n\n") if "| `setup` |" in part)
    assert re.findall(r"^\|[^|]*\| `(\w+)` \|", table, flags=re.M) == done.stdout.split()


def test_its_links_within_the_page_lead_to_headings(readme: str) -> None:
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", readme, flags=re.M | re.S), flags=re.M)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = set(re.findall(r"\]\(#([^)]+)\)", readme))
    assert links and links <= anchors


def test_both_show_the_same_commands_settings_and_names() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in READMES)
    assert commands(chinese) == commands(english)
    assert len(commands(english)) > 20
    assert sorted(set(spans(chinese))) == sorted(set(spans(english)))
