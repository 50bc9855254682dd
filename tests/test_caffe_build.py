"""tools/caffe: edits go in once; options and wheels that can't be right are one sentence."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CAFFE = ROOT / "tools" / "caffe"
EDITS = sorted((CAFFE / "edits").glob("*.patch"))
PREFIX = Path(os.environ.get("CAFFE_PREFIX", ROOT / ".caffe"))


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CAFFE_", "PIP_"))}
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, env=clean | environment
    )


def touched(edit: Path) -> set[str]:
    return set(re.findall(r"^\+\+\+ b/(\S+)$", edit.read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that edits touch as BVLC has them, from the tarball that the build has kept."""
    kept = next(iter((PREFIX / "downloads").glob("*.tar.gz")), None)
    if kept is None:
        pytest.skip(f"no tarball in {PREFIX}/downloads: this Caffe was not built here")
    unpacked, source = tmp_path_factory.mktemp("unpacked"), tmp_path_factory.mktemp("fresh")
    subprocess.run(["tar", "-xf", kept, "-C", unpacked], check=True)
    top = next(unpacked.rglob("src/caffe/proto/caffe.proto")).parents[3]
    for name in sorted(set().union(*map(touched, EDITS))):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(top / name, source / name)
    return source


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_edits_are_numbered_and_say_why() -> None:
    assert [int(edit.name[:2]) for edit in EDITS] == list(range(1, len(EDITS) + 1))
    for edit in EDITS:
        reason = edit.read_text().split("\n--- a/")[0].strip()
        assert len(reason) > 40 and touched(edit), edit.name


def test_edits_apply_once_to_a_fresh_source(fresh, tmp_path) -> None:
    source = tmp_path / "source"
    shutil.copytree(fresh, source)
    assert run(CAFFE / "apply_edits.sh", source).returncode == 0
    once = contents(source)
    before = contents(fresh)
    assert once.keys() == before.keys() and all(once[name] != before[name] for name in before)
    again = run(CAFFE / "apply_edits.sh", source)
    assert again.returncode == 1
    assert again.stderr == f"apply_edits: {EDITS[0].name} does not apply to {source}\n"
    assert contents(source) == once


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_a_source_that_differs_is_refused(fresh, tmp_path, edit) -> None:
    """One line that an edit alone looks at reads otherwise: it must not go in by approximation."""
    source = tmp_path / "source"
    shutil.copytree(fresh, source)
    others = "\n".join(other.read_text() for other in EDITS if other != edit)
    file, line = next(
        (source / name, line[1:])
        for name, hunks in re.findall(r"(?ms)^\+\+\+ b/(\S+)$(.*?)(?=^--- |\Z)", edit.read_text())
        for line in hunks.split("\n")
        if re.match(r"[- ] *\S", line)
        and line[1:] not in others
        and line[1:] in (source / name).read_text().split("\n")
    )
    text = file.read_text()
    file.write_text(text.replace(line, line + " // otherwise"))
    done = run(CAFFE / "apply_edits.sh", source)
    assert (done.returncode, done.stderr) == (1, f"apply_edits: {edit.name} does not apply to {source}\n")
    assert not list(source.rglob("*.rej"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cuda", "--arch", "sm_90"], "--arch takes compute capabilities such as 75;80;90, not sm_90"),
        (["--cuda", "--arch", "80;x"], "--arch takes compute capabilities such as 75;80;90, not x"),
        (["--cuda", "--arch", ";"], "--arch takes compute capabilities such as 75;80;90"),
        (
            ["--cuda", "--arch", "70"],
            "compute capability 70 is too old for CUDA 13, which begins with 75 (Turing)",
        ),
        (["--cuda", "--arch"], "--arch needs a value (see --help)"),
        (["--arch", "90"], "--arch and --toolkit go with --cuda"),
        (["--cuda", "--toolkit", "/nowhere"], "--toolkit /nowhere holds no bin/nvcc"),
        (["--cudda"], "unknown option --cudda (see --help)"),
    ],
)
def test_options_that_cannot_be_right(tmp_path, options, said) -> None:
    done = run(CAFFE / "build.sh", *options, CAFFE_PREFIX=str(tmp_path / "prefix"))
    assert (done.returncode, done.stderr) == (2, f"build: {said}\n")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_cuda_variable_that_cannot_be_right(tmp_path) -> None:
    done = run(CAFFE / "build.sh", CAFFE_PREFIX=str(tmp_path), CAFFE_CUDA="perhaps")
    assert (done.returncode, done.stderr) == (2, "build: CAFFE_CUDA is 1 or 0, not perhaps\n")


def test_setup_stops_at_options_that_cannot_be_right(tmp_path) -> None:
    """Before it installs anything: the sentence is the only thing it says."""
    done = run(ROOT / "tools" / "setup.sh", "--cuda", "--arch", "9.0a", CAFFE_PREFIX=str(tmp_path))
    said = "build: --arch takes compute capabilities such as 75;80;90, not 9.0a\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def fake_toolkit(folder: Path) -> Path:
    """nvcc as far as build.sh asks it itself."""
    (folder / "bin").mkdir(parents=True)
    nvcc = folder / "bin" / "nvcc"
    nvcc.write_text("#!/bin/sh\nprintf 'compute_75\\ncompute_90\\n'\n")
    nvcc.chmod(0o755)
    return folder


def test_an_architecture_that_nvcc_does_not_know(tmp_path) -> None:
    toolkit = fake_toolkit(tmp_path / "toolkit")
    done = run(
        CAFFE / "build.sh",
        "--cuda",
        "--arch",
        "90,77",
        "--toolkit",
        toolkit,
        CAFFE_PREFIX=str(tmp_path / "prefix"),
    )
    assert (done.returncode, done.stderr) == (
        1,
        "build: nvcc knows no compute capability 77; it knows 75 90\n",
    )
    assert not (tmp_path / "prefix" / "recipe").exists()


def test_every_wheel_is_pinned_by_version_and_hash() -> None:
    text = (CAFFE / "requirements-cuda.txt").read_text().replace("\\\n", "")
    wheels = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(wheels) == 10
    for line in wheels:  # a hash for x86-64 and one for ARM
        assert re.fullmatch(r"nvidia-[a-z0-9-]+==[\d.]+( +--hash=sha256:[0-9a-f]{64}){2}", line), line


def test_a_wheel_with_the_wrong_hash(tmp_path) -> None:
    """pip refuses it; build.sh says so and leaves no folder that a later build takes for whole."""
    shutil.copytree(CAFFE, tmp_path / "tools" / "caffe")
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "compute_ap.cpp").touch()
    info = "tiny-1.0.dist-info"
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "wheels" / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    pins = tmp_path / "tools" / "caffe" / "requirements-cuda.txt"
    pins.write_text(f"tiny==1.0 --hash=sha256:{'0' * 64}\n")
    done = run(
        tmp_path / "tools/caffe/build.sh",
        "--cuda",
        CAFFE_PREFIX=str(tmp_path / "prefix"),
        CAFFE_VENV=sys.prefix,
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS=str(tmp_path / "wheels"),
        PIP_CONFIG_FILE=os.devnull,
    )
    assert done.returncode == 1
    assert done.stderr == f"build: tiny==1.0 does not have the hash pinned in {pins}\n"
    assert not list((tmp_path / "prefix").glob("wheels*"))


@pytest.fixture
def built_for_90(tmp_path, fresh) -> dict[str, str]:
    """A prefix that build.sh has gone through for a GPU, with a CMake and a Ninja that do nothing."""
    tools = tmp_path / "path"
    tools.mkdir()
    for name in ("cmake", "ninja"):
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    source = tmp_path / "source"
    shutil.copytree(fresh, source)
    (source / "src/caffe/proto").mkdir(parents=True, exist_ok=True)
    (source / "src/caffe/proto/caffe.proto").touch()
    environment = {
        "CAFFE_PREFIX": str(tmp_path / "prefix"),
        "CAFFE_SOURCE": str(source),
        "PATH": f"{tools}:{os.environ['PATH']}",
    }
    toolkit = fake_toolkit(tmp_path / "toolkit")
    done = run(CAFFE / "build.sh", "--cuda", "--arch", "90", "--toolkit", toolkit, **environment)
    assert done.returncode == 0, done.stderr
    return environment


def test_what_was_built_stays_until_another_is_asked_for(built_for_90) -> None:
    """set-up without options, as run_all.sh calls it, must not build for the CPU what was built for a GPU."""
    check = CAFFE / "build.sh"
    assert run(check, "--check", **built_for_90).returncode == 0
    assert run(check, "--check", "--cuda", "--arch", "90", **built_for_90).returncode == 0
    assert run(check, "--check", "--arch", "75;90", **built_for_90).returncode == 1
    assert run(check, "--check", "--cpu", **built_for_90).returncode == 1
    assert run(check, "--check", **built_for_90 | {"CAFFE_CUDA": "0"}).returncode == 1


def test_pycaffe_is_named_for_the_python_it_was_built_for() -> None:
    """A Python of another minor version finds none, and the programs say so in a sentence."""
    built = [file.name for file in (PREFIX / "python" / "caffe").glob("_caffe*.so")]
    assert built == [f"_caffe{sysconfig.get_config_var('EXT_SUFFIX')}"]


TOOL = """#!/bin/bash
# cmake, ninja and the fetching scripts in a build that is killed where STOP says, all of it at once
what=$(basename "$0" .sh)
[[ $what != fetch_onednn ]] || exec mkdir -p "$1/usr"
[[ "$*" != *" install" ]] || what=install
echo "$what" >>"$CALLS"
case $what in
    fetch_source) mkdir -p "$1" && cp -r "$FRESH/." "$1" ;;
    cmake) mkdir -p "$CAFFE_PREFIX/build/objects" && touch "$CAFFE_PREFIX/build/objects/build.ninja" ;;
    ninja) touch "$CAFFE_PREFIX/build/objects/one.o" ;;
    install) mkdir -p "$CAFFE_PREFIX/bin" && touch "$CAFFE_PREFIX/bin/caffe" ;;
esac
[[ $what != "$STOP" ]] || kill -KILL 0
"""


class Stopped:
    """Builds in one prefix, with stand-ins for what takes long."""

    def __init__(self, folder: Path, fresh: Path) -> None:
        self.caffe, self.prefix, self.calls = folder / "tools/caffe", folder / "prefix", folder / "calls"
        shutil.copytree(CAFFE, self.caffe)
        (folder / "eval").mkdir()
        (folder / "eval" / "compute_ap.cpp").touch()
        fetching = [self.caffe / f"fetch_{what}.sh" for what in ("source", "onednn")]
        for tool in (folder / "cmake", folder / "ninja", *fetching):
            tool.write_text(TOOL)
            tool.chmod(0o755)
        self.environment = {
            "CAFFE_PREFIX": str(self.prefix),
            "PATH": f"{folder}:{os.environ['PATH']}",
            "CALLS": str(self.calls),
            "FRESH": str(fresh),
        }

    def build(self, *options: object, stop: str = "") -> tuple[int, list[str]]:
        """Exit status, and which tools were called."""
        self.calls.write_text("")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CAFFE_")}
        process = subprocess.Popen(
            [self.caffe / "build.sh", *map(str, options)],
            env=clean | self.environment | {"STOP": stop},
            start_new_session=True,
        )
        return process.wait(timeout=120), self.calls.read_text().split()


@pytest.fixture
def stopped(tmp_path, fresh) -> Stopped:
    return Stopped(tmp_path, fresh)


ALL = ["fetch_source", "cmake", "ninja", "install"]


@pytest.mark.parametrize(
    ("stop", "left"),
    [("fetch_source", ALL), ("cmake", ALL[1:]), ("ninja", ALL[2:]), ("install", ALL[2:])],
)
def test_a_build_that_was_killed_goes_on(stopped, stop, left) -> None:
    assert stopped.build(stop=stop)[0] == -signal.SIGKILL
    assert not (stopped.prefix / "recipe").exists() and not (stopped.prefix / "env.sh").exists()
    assert stopped.build("--check")[0] == 1
    assert stopped.build() == (0, left)
    assert (stopped.prefix / "env.sh").exists() and stopped.build("--check")[0] == 0
    assert stopped.build() == (0, [])
    applied = run(CAFFE / "apply_edits.sh", stopped.prefix / "build" / "source")
    assert f"{EDITS[0].name} does not apply" in applied.stderr  # as it is in already: once


def test_compiling_says_how_far_it_is(stopped, tmp_path, capfd) -> None:
    """Real ninja's lines, which are read here, look so: of a terminal's one line it makes many in a file."""
    (tmp_path / "build.ninja").write_text(
        "rule wait\n command = sleep 1.2 && touch $out\n"
        + "".join(f"build {number}: wait\n" for number in range(3))
    )
    real = f'exec {shutil.which("ninja")} -j1 -C "{tmp_path}"\n'
    (tmp_path / "ninja").write_text(f'#!/bin/bash\n[[ "$*" == *" install" ]] && exit\n{real}')
    stopped.build()
    said = capfd.readouterr().out.splitlines()
    at = next(number for number, line in enumerate(said) if line.startswith("build: compiling on"))
    assert re.fullmatch(r"compiling: [123]/3, [0-9] s", said[at + 1])  # whole seconds: 1.2 may count as 2
    log = (stopped.prefix / "build/compile.log").read_text()
    assert "[1/3]" in log and "[3/3]" in log


def test_objects_from_before_a_restart_of_the_machine_are_made_anew(stopped) -> None:
    """Their bytes may be missing though their names and times are there; the source was on the disk."""
    stopped.build(stop="ninja")
    (stopped.prefix / "build" / "boot").write_text("another start of the machine\n")
    assert stopped.build() == (0, ALL[1:])


def test_what_was_begun_with_other_files_is_begun_anew(stopped) -> None:
    stopped.build(stop="ninja")
    with (stopped.caffe / "CMakeLists.txt").open("a") as file:
        file.write("# changed\n")
    assert stopped.build() == (0, ALL)


@pytest.fixture
def own_source(tmp_path, fresh) -> Path:
    source = tmp_path / "my caffe"
    shutil.copytree(fresh, source)
    (source / "src/caffe/proto").mkdir(parents=True, exist_ok=True)
    (source / "src/caffe/proto/caffe.proto").touch()
    return source


def test_a_source_of_ones_own_is_compiled_again_where_it_has_changed(stopped, own_source, capfd) -> None:
    stopped.environment["CAFFE_SOURCE"] = str(own_source)
    stopped.build(stop="ninja")
    assert stopped.build() == (0, ALL[2:])
    assert stopped.build() == (0, [])
    with (own_source / "src/caffe/proto/caffe.proto").open("a") as file:
        file.write("// changed\n")
    assert stopped.build("--check")[0] == 1
    assert stopped.build() == (0, ALL)
    capfd.readouterr()
    del stopped.environment["CAFFE_SOURCE"]
    assert stopped.build() == (0, ALL)
    said = capfd.readouterr().out.splitlines()
    assert (
        said[0] == f"build: Caffe of {own_source} is replaced by the pinned one, as CAFFE_SOURCE is not set"
    )


def test_what_cannot_be_built_is_said_at_once(stopped, tmp_path, capfd) -> None:
    """Before anything is installed for it: tools/setup.sh asks by --check."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine/build").mkdir(parents=True)
    (tmp_path / "mine/build/thesis").touch()
    for name, value, sentence in (
        ("CAFFE_SOURCE", tmp_path / "typo", "CAFFE_SOURCE={} does not exist"),
        ("CAFFE_SOURCE", tmp_path / "ninja", "CAFFE_SOURCE={} is no tarball of Caffe"),
        (
            "CAFFE_SOURCE",
            tmp_path / "empty",
            "CAFFE_SOURCE={} holds no Caffe (src/caffe/proto/caffe.proto is missing)",
        ),
        (
            "CAFFE_PREFIX",
            tmp_path / "mine",
            "{} is there, and this script did not make it: name another place in CAFFE_PREFIX",
        ),
        ("CAFFE_PREFIX", tmp_path / "calls/below a file", "cannot write to {}"),
    ):
        before = stopped.environment.copy()
        stopped.environment[name] = str(value)
        for options in (("--check",), ()):
            assert stopped.build(*options) == (2, [])
            assert capfd.readouterr().err == f"build: {sentence.format(value)}\n"
        stopped.environment = before
    assert (tmp_path / "mine/build/thesis").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize("name", ["R&D", "C#", 'a"b', "co$t", "it's é", "plain"])
def test_env_sh_names_the_environment_whatever_its_letters_are(stopped, tmp_path, name, shell) -> None:
    stopped.environment["CAFFE_VENV"] = str(tmp_path / name / "venv")
    assert stopped.build() == (0, ALL)
    assert found_by(shell, stopped.prefix) == [
        str(stopped.prefix),
        f"{stopped.prefix}/bin",
        f"{tmp_path / name}/venv/bin",
    ]


def found_by(shell: str, prefix: Path) -> list[str]:
    """CAFFE_PREFIX and the first of PATH after `source env.sh`."""
    command = f'cd "{prefix}" && . ./env.sh; printf "%s\\n" "$CAFFE_PREFIX" "$PATH"'
    done = subprocess.run([shell, "-c", command], capture_output=True, text=True)
    place, path = done.stdout.splitlines()
    return [place, *path.split(":")[:2]]


def test_env_sh_follows_a_move(stopped, tmp_path) -> None:
    """Nothing is compiled for that."""
    stopped.environment["CAFFE_VENV"] = str(tmp_path / "one")
    stopped.build()
    moved = stopped.prefix.rename(tmp_path / "moved")
    stopped.environment |= {"CAFFE_VENV": str(tmp_path / "other"), "CAFFE_PREFIX": str(moved)}
    assert stopped.build() == (0, [])
    assert found_by("bash", moved) == [str(moved), f"{moved}/bin", str(tmp_path / "other/bin")]


@pytest.mark.parametrize(("major", "brought"), [(None, True), (3, True), (2, False)])
def test_onednn_2_is_brought_along_where_the_system_has_another(stopped, tmp_path, major, brought) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the engine is for x86")
    header = tmp_path / "dnnl_version.h"
    if major:
        header.write_text(f"#define DNNL_VERSION_MAJOR {major}\n#define DNNL_VERSION_MINOR 2\n")
    script = stopped.caffe / "build.sh"
    text = script.read_text()
    assert "/usr/include/oneapi/dnnl/dnnl_version.h" in text
    script.write_text(text.replace("/usr/include/oneapi/dnnl/dnnl_version.h", str(header)))
    assert stopped.build() == (0, ALL)
    onednn = stopped.prefix / "build" / "onednn" / "usr"
    configured = (stopped.prefix / "build" / "configured").read_text().splitlines()
    assert onednn.is_dir() == brought == (f"-DCAFFE_ONEDNN={onednn}" in configured)


def test_a_prefix_built_on_another_system_is_built_anew(stopped) -> None:
    """As one that is mounted into a container of another release."""
    stopped.build()
    recipe = stopped.prefix / "recipe"
    lines = recipe.read_text().splitlines()
    here = next(line for line in lines if line.startswith("system "))
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
    )
    version = release.get("VERSION_ID", "").strip('"')
    assert here == f"system {release['ID']}{version} {os.uname().machine}"
    recipe.write_text(recipe.read_text().replace(here, "system debian11 x86_64"))
    assert stopped.build("--check")[0] == 1
    (stopped.prefix / "build" / "recipe").write_text(recipe.read_text())
    assert stopped.build() == (0, ALL)


def test_a_stopped_build_for_a_gpu_stays_one(stopped, tmp_path) -> None:
    """As run_all.sh calls set-up without options."""
    toolkit = fake_toolkit(tmp_path / "toolkit")
    assert stopped.build() == (0, ALL)
    stopped.build("--cuda", "--arch", "90", "--toolkit", toolkit, stop="ninja")
    assert stopped.build("--check")[0] == 1
    assert stopped.build() == (0, ALL[2:])
    assert "cuda yes\narch 90\n" in (stopped.prefix / "recipe").read_text()


def test_what_is_built_serves_until_the_next_is_installed(stopped) -> None:
    stopped.build()
    with (stopped.caffe / "CMakeLists.txt").open("a") as file:
        file.write("# changed\n")
    stopped.build(stop="ninja")
    assert (stopped.prefix / "env.sh").exists()
