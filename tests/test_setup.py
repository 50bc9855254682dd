"""tools/setup.sh: stopped at any moment the same command goes on; what is not its own stays as it is."""

import ast
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import distributions, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PREFIX = Path(os.environ.get("CAFFE_PREFIX", ROOT / ".caffe"))
SYSTEMS = "debian12 debian13 ubuntu24.04"
NOBODY = 65534
FILES = 1500
"""Modules in the test's package: enough for a kill while pip unpacks them."""


def make_wheel(folder: Path, name: str, modules: int) -> None:
    folder.mkdir(exist_ok=True)
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        # pip takes a package whose metadata is there for whole
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        names = [f"{name}/__init__.py", *(f"{name}/m{i:05}.py" for i in range(modules))]
        for one in names:
            wheel.writestr(one, "x = 1\n")
        listed = [*names, f"{info}/METADATA", f"{info}/WHEEL", f"{info}/RECORD"]
        wheel.writestr(f"{info}/RECORD", "".join(f"{one},,\n" for one in listed))


class SetUp:
    """A checkout with the real set-up, two small packages to install, and a Caffe that is built already."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.venv = folder, folder / "check out" / ".venv"
        tools = folder / "check out" / "tools"
        (tools / "caffe").mkdir(parents=True)
        for name in ("setup.sh", "packages.sh"):
            shutil.copy(ROOT / "tools" / name, tools)
        (tools / "caffe" / "build.sh").write_text("#!/bin/sh\n")
        (tools / "caffe" / "build.sh").chmod(0o755)
        (tools / "apt-packages.txt").write_text(f"run bash [{SYSTEMS}] # there\ntest coreutils # there too\n")
        self.requirements = tools / "requirements.txt"
        self.requirements.write_text("many==1.0 # reason\n\n# tests: for --tests\nfew==1.0\n")
        self.packages, self.command = tools / "apt-packages.txt", [tools / "setup.sh"]
        for name, modules in (("many", FILES), ("few", 1)):
            make_wheel(folder / "wheels", name, modules)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("CAFFE_", "PIP_"))}
        self.environment = clean | {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(folder / "wheels"),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_COMPILE": "1",
        }

    def start(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *options], env=self.environment, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*options)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(self.command, process.returncode, out, err)

    def kill_when(self, seen: Callable[[], bool], *options: str) -> None:
        """Start it, and kill all of it (SIGKILL) as soon as `seen` is true."""
        process = self.start(*options)
        end = time.monotonic() + 120
        while not seen():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def holds(self, pattern: str) -> bool:
        """Whether the environment has such a file now; what is being removed has none."""
        try:
            return any(self.venv.glob(pattern))
        except FileNotFoundError:
            return False

    def works(self, name: str = "many") -> bool:
        """Whether the package is whole in the environment."""
        modules = {"many": FILES, "few": 1}[name]
        found = list(self.venv.glob(f"lib/python3*/site-packages/{name}/m*.py"))
        command = [self.venv / "bin" / "python", "-c", f"import {name}.m00000"]
        imported = subprocess.run(command, capture_output=True, check=False).returncode == 0
        return imported and len(found) == modules and all(path.stat().st_size for path in found)


@pytest.fixture
def setup(tmp_path: Path) -> SetUp:
    if not Path("/etc/debian_version").exists():
        pytest.skip("no Debian here")
    return SetUp(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SetUp:
    """A set-up that was stopped twice, once in venv and once in pip, and then went on to its end."""
    if not Path("/etc/debian_version").exists():
        pytest.skip("no Debian here")
    setup = SetUp(tmp_path_factory.mktemp("setup"))
    setup.kill_when((setup.venv / "bin" / "python").exists)
    assert not list(setup.venv.glob("bin/pip"))
    setup.kill_when(lambda: setup.holds("lib/python3*/site-packages/many/m*.py"))
    assert not setup.works() and not (setup.venv / "requirements.txt").exists()
    done = setup.run()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "setup: ready"
    return setup


def test_a_stopped_set_up_goes_on_with_the_same_command(made) -> None:
    assert made.works() and not made.works("few")
    assert (made.venv / "requirements.txt").read_text() == "many==1.0 # reason\n\n"


def test_what_is_whole_is_not_made_again(made) -> None:
    kept = made.venv / "bin" / "mine"
    kept.touch()
    before = (made.venv / "requirements.txt").stat().st_mtime_ns
    done = made.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "setup: ready\n", "")
    assert kept.exists() and (made.venv / "requirements.txt").stat().st_mtime_ns == before


def test_packages_are_added_in_place_and_a_stop_in_that_is_made_good(made) -> None:
    """Between the mark's going and its coming back nothing is taken for whole; even what was before."""
    kept = made.venv / "bin" / "mine"
    kept.touch()
    assert made.run("--tests").returncode == 0
    assert made.works("few") and kept.exists()
    (made.venv / "requirements.txt").write_text("older\n")
    pip = next(made.venv.glob("lib/python3*/site-packages/pip/__main__.py"))
    pip.write_text("import time\ntime.sleep(60)\n")  # stopped in the middle of pip's work
    made.kill_when(lambda: not (made.venv / "requirements.txt").exists())
    next(made.venv.glob("lib/python3*/site-packages/many/m00007.py")).unlink()
    done = made.run("--tests")
    assert done.returncode == 0, done.stderr
    assert made.works() and made.works("few")


def test_an_environment_that_serves_the_tests_serves_without_them(made) -> None:
    assert made.run("--tests").returncode == 0
    assert made.run().stdout == "setup: ready\n"


def test_only_the_environment(made) -> None:
    """As the image's build wants it, in a step of its own: no package is looked at."""
    script = made.packages.with_name("packages.sh")
    kept = script.read_text()
    script.write_text("#!/bin/sh\nexit 9\n")
    assert made.run("--venv").returncode == 0
    assert made.run().returncode == 1
    script.write_text(kept)


def test_a_package_that_cannot_be_had_is_a_sentence_and_no_mark(made) -> None:
    made.requirements.write_text("none==1.0\n")
    done = made.run()
    assert done.returncode == 1
    assert "none==1.0" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("setup: pip could not install the Python packages")
    assert not (made.venv / "requirements.txt").exists()


def test_two_set_ups_at_once_wait_for_each_other(setup) -> None:
    first, second = setup.start(), setup.start()
    said = [process.communicate(timeout=120) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    outputs = sorted((out for out, _ in said), key=len)
    assert f"another set-up is at work on {setup.venv}; waiting for it" in "".join(outputs)
    assert sum("making the virtual environment" in out for out in outputs) == 1
    assert setup.works()


def test_an_environment_that_it_did_not_make_stays_as_it_is(setup) -> None:
    (setup.venv / "bin").mkdir(parents=True)
    (setup.venv / "bin" / "conda").write_text("mine")
    done = setup.run()
    assert done.returncode == 1
    assert done.stderr == (
        f"setup: {setup.venv} is there, and this script did not make it: "
        "move it away, or name another place in CAFFE_VENV\n"
    )
    assert (setup.venv / "bin" / "conda").read_text() == "mine"


APT = r"""#!/usr/bin/env python3
# apt-get, dpkg, dpkg-query and sudo as far as set-up uses them; their state is a file
import json, os, sys, time
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
if words == ["--print-architecture"]:
    print(os.environ.get("ARCHITECTURE", "amd64"))
    sys.exit(0)
if name == "apt-get" and words[0] == "indextargets": os.execv("/usr/bin/apt-get", [name, *words])
place = os.environ["APT_STATE"]
state = json.load(open(place))
if name == "sudo":
    if state.get("no_sudo"): sys.exit("you are not in the sudoers file")
    if words in (["-n", "true"], ["-v"]): sys.exit(0)
    os.execvp(words[0], words)
if name == "dpkg-query":
    if words[3:] and words[3] not in state["packages"]: sys.exit(1)
    if words[3:]: print(state["packages"][words[3]], os.environ.get("ARCHITECTURE", "amd64"))
    else: print("\n".join(state["packages"].values()))
    sys.exit(0)
sources = [word.partition("=")[2] for word in words if word.startswith("Dir::Etc::SourceList=")]
state.setdefault("sources", []).extend(open(one).read().splitlines() for one in sources)
state["calls"].append(" ".join([name, *[word for word in words if not word.startswith("-q")]]))
halves = [one for one, is_ in state["packages"].items() if is_ != "installed"]
if name == "dpkg" and words == ["--configure", "-a"]:
    state["packages"].update({one: "installed" for one in halves if not state["wants"]})
    status = 1 if state["wants"] else 0
elif "--fix-broken" in words:
    status = 100 if state["broken"] else 0
    if not status: state["packages"].update({one: "installed" for one in halves})
elif "install" in words and state["offline"]:
    status = 100
elif "install" in words:
    if halves:
        print("E: dpkg was interrupted", file=sys.stderr)
        sys.exit(100)
    status = 0
    print("Get:1 one [1 kB]\ndlstatus:1:20.5:Retrieving file 1 of 1", flush=True)
    time.sleep(2.5 if state.get("slow") else 0)
    print("pmstatus:one:61.2:Unpacking one (amd64)\nSetting up one", flush=True)
    state["packages"].update({one: "installed" for one in words[words.index("install") + 1:]})
else:
    status = 100 if state["offline"] else 0
json.dump(state, open(place, "w"))
sys.exit(status)
"""


@pytest.fixture
def apt(setup: SetUp) -> SetUp:
    """The set-up with packages missing: their tools are stand-ins, the environment is made already."""
    tools = setup.folder / "path"
    tools.mkdir()
    for name in ("apt-get", "dpkg", "dpkg-query", "sudo"):
        (tools / name).write_text(APT)
        (tools / name).chmod(0o755)
    setup.packages.write_text(f"run one [{SYSTEMS}] # reason\nrun two # reason\nbuild three\ntest four\n")
    (setup.venv / "bin").mkdir(parents=True)
    python = Path("/usr/bin/python3").resolve()
    (setup.venv / "bin" / "python").symlink_to(python)
    (setup.venv / "lib" / python.name).mkdir(parents=True)
    (setup.venv / "requirements.txt").write_text(setup.requirements.read_text())
    (setup.venv / "pyvenv.cfg").write_text(f"command = /usr/bin/python3 -m venv {setup.venv}\n")
    setup.environment |= {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "APT_STATE": str(setup.folder / "state.json"),
    }
    return setup


def run_apt(
    setup: SetUp, packages: dict[str, str], **more: bool
) -> tuple[subprocess.CompletedProcess[str], dict]:
    place = setup.folder / "state.json"
    state = {"packages": packages, "calls": [], "wants": False, "broken": False, "offline": False}
    place.write_text(json.dumps(state | more))
    done = setup.run()
    return done, json.loads(place.read_text())


def test_only_what_is_missing_is_installed(apt) -> None:
    done, state = run_apt(apt, {"two": "installed"}, slow=True)
    assert done.returncode == 0, done.stderr
    assert [call.rpartition(" install ")[2] for call in state["calls"]][1:] == ["one"]
    said = done.stdout.splitlines()
    assert said[0] == "packages: installing 1 of them, which takes some minutes: one"
    assert len(said) == 3 and re.fullmatch(r"installing packages, %: 61/100, \d+ s, by apt-get", said[1])


@pytest.mark.parametrize("wants", [False, True])
def test_an_interrupted_installation_is_finished_first(apt, wants) -> None:
    """apt-get itself does nothing before that; what is unpacked may want packages that are not."""
    done, state = run_apt(apt, {"one": "half-configured", "else": "unpacked"}, wants=wants)
    assert done.returncode == 0, done.stderr
    assert set(state["packages"].values()) == {"installed"} and {"one", "two"} <= set(state["packages"])
    assert "an installation of packages was interrupted" in done.stdout


def test_one_that_cannot_be_finished_is_a_sentence_with_the_command(apt) -> None:
    done, _ = run_apt(apt, {"one": "half-installed"}, wants=True, broken=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "packages: interrupted packages can't be finished; try: "
        "dpkg --configure -a && apt-get install --fix-broken, as root"
    )


def test_no_network_is_a_sentence(apt) -> None:
    done, state = run_apt(apt, {}, offline=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("packages: apt-get update failed: is there a network")
    assert state["packages"] == {}


@pytest.fixture
def refused() -> Iterator[Path]:
    """A checkout of somebody whom sudo refuses, with all packages missing and a Caffe that is built."""
    folder = Path(tempfile.mkdtemp(prefix="refused-"))  # tmp_path is root's alone
    for name in ("tools", "profiles", "prototxt"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run_all.sh", folder)
    (folder / "tools/caffe/build.sh").write_text("#!/bin/sh\n")
    (folder / "path").mkdir()
    for name in ("apt-get", "dpkg", "dpkg-query", "sudo"):
        (folder / "path" / name).write_text(APT)
        (folder / "path" / name).chmod(0o755)
    state = {"packages": {}, "calls": [], "wants": False, "broken": False, "offline": False, "no_sudo": True}
    (folder / "state.json").write_text(json.dumps(state))
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(
    "command", ["tools/packages.sh --install run", "tools/setup.sh", "./run_all.sh --only setup"]
)
def test_whom_sudo_refuses_is_told_so(refused, command, terminal) -> None:
    """Not that a mirror does not answer; and a run does not go on."""
    words = ["script", "-qec", command, "/dev/null"] if terminal else ["bash", "-c", command]
    if os.geteuid() == 0:
        words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CAFFE_")}
    environment |= {
        "PATH": f"{refused}/path:/usr/bin:/bin",
        "APT_STATE": f"{refused}/state.json",
        "TERM": "dumb",
    }
    done = subprocess.run(
        words, cwd=refused, env=environment | {"HOME": str(refused)}, timeout=120,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert "packages: these packages are missing and need root to install: " in done.stdout
    assert ("not in the sudoers file" in done.stdout) == terminal
    assert "apt-get update failed" not in done.stdout and "nothing changed" not in done.stdout


STATUS = """Package: one
Status: hold ok installed
Architecture: amd64
Version: 1

Package: two
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Version: 1

Package: two
Status: install ok installed
Architecture: i386
Multi-Arch: same
Version: 1

Package: three
Status: install ok installed
Architecture: i386
Version: 1

Package: four
Status: install ok installed
Architecture: all
Version: 1

Package: five
Status: deinstall ok config-files
Architecture: all
Version: 1
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the packages are amd64's")
def test_dpkg_itself_says_what_is_there(setup, tmp_path) -> None:
    """A held package is, and one that is there for i386 too; for i386 alone it is not, nor are leftovers."""
    for folder in ("info", "updates"):
        (tmp_path / "dpkg" / folder).mkdir(parents=True)
    (tmp_path / "dpkg" / "status").write_text(STATUS)
    setup.packages.write_text(
        "".join(f"run {one} [{SYSTEMS}]\n" for one in ("one", "two", "three", "four", "five", "six"))
    )
    done = subprocess.run(
        [on(setup, "debian12"), "--missing", "run"],
        env=setup.environment | {"DPKG_ADMINDIR": str(tmp_path / "dpkg")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["five", "six", "three"]


@pytest.mark.parametrize("command", [("packages.sh", "--install", "runn"), ("setup.sh", "--test"),
                                     ("setup.sh", "--check"), ("setup.sh", "--venv", "--tsts")])  # fmt: skip
def test_a_word_that_is_none_of_its_own_is_refused(apt, command) -> None:
    done = subprocess.run(
        [apt.packages.with_name(command[0]), *command[1:]],
        env=apt.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "(see --help)" in done.stderr and done.stdout == ""


def test_help_is_all_that_help_does(apt) -> None:
    done = subprocess.run(
        [*apt.command, "--tests", "--help"], env=apt.environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Usage: tools/setup.sh") and "setup: ready" not in done.stdout


def test_pip_s_settings_for_another_place_do_not_count(setup, tmp_path) -> None:
    """A package that lies elsewhere does not do, and none is put elsewhere."""
    setup.environment |= {"PIP_TARGET": str(tmp_path / "target"), "PYTHONPATH": str(tmp_path / "path")}
    with zipfile.ZipFile(tmp_path / "wheels" / "many-1.0-py3-none-any.whl") as wheel:
        wheel.extractall(tmp_path / "path")
    done = setup.run()
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "target").exists()
    del setup.environment["PYTHONPATH"]
    assert setup.works()


def test_an_environment_that_was_moved_or_copied_is_made_anew(setup) -> None:
    """Its programs name the place where they were made."""
    assert setup.run("--venv").returncode == 0
    copy = setup.venv.with_name("copy of it")
    shutil.copytree(setup.venv, copy, symlinks=True)
    (copy / "bin" / "mark").touch()
    setup.environment["CAFFE_VENV"] = str(copy)
    done = setup.run("--venv")
    assert done.returncode == 0 and "making the virtual environment" in done.stdout
    assert not (copy / "bin" / "mark").exists()
    assert (copy / "bin" / "pip").read_bytes().count(bytes(copy)) and setup.works()
    link = setup.folder / "link"
    link.symlink_to(copy)
    setup.environment["CAFFE_VENV"] = str(link)
    assert setup.run("--venv").stdout == ""  # the same place by another name


OS_RELEASES = {
    "debian12": 'ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n',
    "debian13": 'ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n',
    "ubuntu24.04": 'ID=ubuntu\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\n',
    "ubuntu22.04": 'ID=ubuntu\nVERSION_ID="22.04"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n',
    "debian": 'ID=debian\nPRETTY_NAME="Debian GNU/Linux forky/sid"\n',
    "fedora42": 'ID=fedora\nVERSION_ID=42\nPRETTY_NAME="Fedora Linux 42"\n',
}


def on(setup: SetUp, release: str) -> Path:
    """packages.sh of this set-up, told that it runs on another release."""
    said = setup.folder / "os-release"
    said.write_text(OS_RELEASES[release])
    script = setup.packages.with_name("packages.sh")
    text, count = re.subn(r"^os_release=.*", f"os_release='{said}'", script.read_text(), flags=re.MULTILINE)
    assert count == 1
    script.write_text(text)
    return script


def named(setup: SetUp, release: str, architecture: str, *kinds: str) -> list[str]:
    script = on(setup, release)
    environment = setup.environment | {"ARCHITECTURE": architecture}
    return subprocess.run(
        [script, *kinds], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()


def test_a_line_is_for_the_releases_and_architectures_in_its_brackets(apt) -> None:
    apt.packages.write_text(
        "# run comment [debian12]\n"
        "run  everywhere            # reason\n"
        "run  old1.74 [debian12]    # reason [not debian13]\n"
        "run  new1.83 [debian13 ubuntu24.04]\n"
        "run  fast    [debian12 amd64]\n"
        "run  arm     [arm64]\n"
        "test old1.74 [debian12]\n"
        "test more\n"
    )
    for release, architecture, expected in (
        ("debian12", "amd64", ["everywhere", "fast", "old1.74"]),
        ("debian12", "arm64", ["arm", "everywhere", "old1.74"]),
        ("debian13", "amd64", ["everywhere", "new1.83"]),
        ("ubuntu24.04", "arm64", ["arm", "everywhere", "new1.83"]),
    ):
        assert named(apt, release, architecture, "run") == expected
    assert named(apt, "debian12", "amd64", "run", "test") == ["everywhere", "fast", "more", "old1.74"]


@pytest.mark.parametrize("release", SYSTEMS.split())
def test_the_list_has_each_of_caffe_s_libraries_once_for_every_release(apt, release) -> None:
    apt.packages.write_text((ROOT / "tools" / "apt-packages.txt").read_text())
    run = named(apt, release, "amd64", "run")
    for part in ("boost-filesystem", "boost-thread", "boost-python", "python3.", "gflags", "google-glog"):
        assert len([name for name in run if name.startswith(f"lib{part}")]) == 1, part
    for part in ("hdf5-[0-9]", "hdf5-hl", "leveldb", "lmdb", "openblas", "opencv-imgcodecs", "protobuf"):
        assert len([name for name in run if re.match(f"lib{part}", name)]) == 1, part
    # oneDNN 2 is the system's on Debian 12 alone; brought along it wants OpenCL's loader; ARM has none of it
    assert ("libdnnl2" in run) == (release == "debian12") != ("ocl-icd-libopencl1" in run)
    assert not {"libdnnl2", "ocl-icd-libopencl1"} & set(named(apt, release, "arm64", "run"))


@pytest.mark.parametrize("release", ["ubuntu22.04", "debian", "fedora42"])
def test_another_system_is_told_of_the_container_and_nothing_is_made(apt, release) -> None:
    on(apt, release)
    done, state = run_apt(apt, {})
    assert done.returncode == 1 and state["calls"] == []
    said = re.search('PRETTY_NAME="(.*)"', OS_RELEASES[release])
    assert said and done.stderr == (
        f"packages: {said[1]} is neither Debian 12 or 13 nor Ubuntu 24.04; in a container it works all the same: "  # noqa: E501
        "mkdir -p out && docker build -t caffe-article . && "
        'docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/out:/workspace" caffe-article\n'
    )


MIRROR = "http://127.0.0.1:9/debian"


@pytest.mark.parametrize(
    ("release", "security", "lines"),
    [
        ("debian13", "http://127.0.0.1:9/more", [f"{MIRROR} trixie main", f"{MIRROR} trixie-updates main",
                                                 "http://127.0.0.1:9/more trixie-security main"]),
        ("ubuntu24.04", "", [f"{MIRROR} noble{one} main universe" for one in ("", "-updates", "-security")]),
    ],
)  # fmt: skip
def test_a_mirror_is_used_this_time_alone(apt, release, security, lines) -> None:
    """apt-get update and install read it from a file that is gone afterwards."""
    on(apt, release)
    apt.environment |= {"APT_MIRROR": MIRROR, "APT_SECURITY_MIRROR": security}
    before = set(Path(tempfile.gettempdir()).iterdir())
    done, state = run_apt(apt, {})
    assert done.returncode == 0, done.stderr
    of = release.rstrip("0123456789.")
    expected = [f"deb [signed-by=/usr/share/keyrings/{of}-archive-keyring.gpg] {line}" for line in lines]
    assert state["sources"] == [expected, expected]  # of update and of install
    assert not [
        path for path in set(Path(tempfile.gettempdir()).iterdir()) - before if path.suffix == ".list"
    ]


def apt_without_lists(folder: Path, *lines: str) -> dict[str, str]:
    """The environment of an apt with these sources that has downloaded nothing yet, as in a new container."""
    (folder / "sources.list").write_text("".join(f"deb [trusted=yes] {line}\n" for line in lines))
    (folder / "lists").mkdir()
    (folder / "apt.conf").write_text(
        f'Dir::Etc::SourceList "{folder}/sources.list"; Dir::Etc::SourceParts "/dev/null";\n'
        f'Dir::State::Lists "{folder}/lists";\n'
    )
    return {"APT_CONFIG": str(folder / "apt.conf")}


def test_security_updates_come_from_where_the_machine_takes_them(apt, tmp_path) -> None:
    on(apt, "debian13")
    others = "http://127.0.0.1:9/base trixie main", "http://127.0.0.1:9/safe trixie-security main"
    apt.environment |= {"APT_MIRROR": MIRROR} | apt_without_lists(tmp_path, *others)
    done, state = run_apt(apt, {})
    assert done.returncode == 0, done.stderr
    asked = [line.partition("] ")[2].replace("/ ", " ") for line in state["sources"][0]]
    assert asked == [f"{MIRROR} trixie main", f"{MIRROR} trixie-updates main", others[1]]


def test_the_machines_mirrors_are_known_before_their_lists_are(tmp_path) -> None:
    codename = re.search("VERSION_CODENAME=(.*)", Path("/etc/os-release").read_text())
    assert codename
    mirrors = [f"http://127.0.0.1:9/{one}" for one in ("debian", "stable", "updates", "safe", "other")]
    suites = [codename[1], "stable", f"{codename[1]}-updates", f"{codename[1]}-security", "nodistro"]
    apt = apt_without_lists(
        tmp_path, *(f"{one} {suite} main" for one, suite in zip(mirrors, suites, strict=True))
    )
    done = subprocess.run(
        ["bash", "-c", "root=. && source tools/caffe/places.sh && machines_mirrors"],
        cwd=ROOT, env=os.environ | apt, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [f"{one}/" for one in mirrors[:2]]


def test_a_log_that_is_added_to_keeps_what_it_has(apt, tmp_path) -> None:
    """Standard error may be a file, or somebody else's terminal: it is not opened again by a name."""
    log = tmp_path / "log"
    log.write_text("my earlier notes\n")
    run_apt(apt, {"one": "installed", "two": "installed"})
    with log.open("a") as file:
        subprocess.run(apt.command, env=apt.environment, stdout=file, stderr=file, check=True)
    assert log.read_text() == "my earlier notes\nsetup: ready\n"


def test_apt_itself_asks_the_mirror(tmp_path) -> None:
    """Nothing listens there: apt says whom it asked."""
    if os.geteuid() != 0:
        pytest.skip("apt-get update is root's")
    done = subprocess.run(
        [ROOT / "tools/packages.sh", "--download", tmp_path / "files", "image"],
        env=os.environ | {"APT_MIRROR": MIRROR, "APT_SECURITY_MIRROR": MIRROR},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not done.stdout and done.returncode == 0:
        pytest.skip("the package is installed here")
    assert done.returncode == 1
    assert f"{MIRROR}/dists/" in done.stderr and "Unable to locate package" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"packages: apt-get update failed: is there a network, and are the mirrors right ({MIRROR})?"
    )


def test_each_kind_of_package_has_what_it_needs_by_itself() -> None:
    kinds: dict[str, set[str]] = {}
    for line in (ROOT / "tools" / "apt-packages.txt").read_text().splitlines():
        if not line.startswith("#"):
            kind, package = line.partition("#")[0].split()[:2]
            assert package not in kinds.setdefault(kind, set())
            kinds[kind].add(package)
    assert kinds.keys() == {"run", "build", "test", "image"}
    assert {"python3-venv", "ca-certificates"} <= kinds["run"] & kinds["build"]
    assert {"g++", "patch", "libatomic1", "procps", "chromium"} <= kinds["test"]


def imported_by(file: Path, ever: bool = False) -> set[str]:
    """Packages that a module imports whenever it is imported, or `ever`."""
    names = set()
    module = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(module) if ever else module.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def test_what_our_programs_and_pycaffe_import_is_installed_without_the_tests_packages() -> None:
    files = [file for room in ("data_prep", "tools", "eval") for file in (ROOT / room).rglob("*.py")]
    pycaffe = [file for file in (PREFIX / "python" / "caffe").glob("*.py") if file.name != "draw.py"]
    assert pycaffe  # draw.py is none of what `import caffe` imports
    imported = set().union(*map(imported_by, files + pycaffe))
    imported |= imported_by(PREFIX / "python" / "caffe" / "io.py", ever=True)  # with the first picture
    imported -= sys.stdlib_module_names | {"data_prep", "tools", "eval", "caffe"}
    text = (ROOT / "tools" / "requirements.txt").read_text().partition("# tests")[0]
    pinned = {line.partition("==")[0] for line in text.splitlines() if "==" in line}
    of = packages_distributions()
    lacking = {
        name for name in imported if not pinned & {one.lower().replace("_", "-") for one in of.get(name, [])}
    }
    assert {"numpy", "six", "skimage"} <= imported
    assert lacking == set()


def pinned_in(text: str) -> set[str]:
    return {
        canonicalize_name(line.partition("==")[0])
        for line in text.splitlines()
        if "==" in line and not line.startswith("#")
    }


def needed_by(name: str) -> set[str]:
    """What a package says it needs here, extras left out."""
    needs = map(Requirement, requires(name) or [])
    return {
        canonicalize_name(one.name) for one in needs if not one.marker or one.marker.evaluate({"extra": ""})
    }


def test_every_package_that_comes_along_is_pinned_where_it_is_needed() -> None:
    """pip would take the newest of one that isn't, and another tomorrow."""
    text = (ROOT / "tools" / "requirements.txt").read_text()
    run, everything = pinned_in(text.partition("# tests")[0]), pinned_in(text)
    assert {"numpy", "joblib"} <= run < everything
    here = {canonicalize_name(one.metadata["Name"]) for one in distributions()}
    assert set().union(*map(needed_by, run & here)) - run == set()
    assert set().union(*map(needed_by, everything & here)) - everything == set()
