"""The Dockerfile and the workflow that builds it: what belongs together, and what an image must not keep."""

import re
import shlex
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
STAGES = [
    re.sub(r"\\\n", " ", "FROM" + text)
    for text in re.split(r"^FROM", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
]
MIRRORS = {"APT_MIRROR", "APT_SECURITY_MIRROR", "PIP_INDEX_URL"}


def arguments(text: str) -> set[str]:
    """Names that ARG declares."""
    lines = re.findall(r"^ARG (.*)$", text, re.MULTILINE)
    return {word.partition("=")[0] for line in lines for word in shlex.split(line)}


def test_mirrors_are_known_to_the_stages_that_are_thrown_away_alone() -> None:
    """An argument that a step of the last stage sees stays in the image's history."""
    *before, last = STAGES
    assert set().union(*map(arguments, before)) >= MIRRORS
    assert arguments(last) == set() and not any(name in last for name in MIRRORS)


def test_every_script_that_a_stage_runs_is_there_with_what_it_reads() -> None:
    for stage in STAGES[1:-1]:
        copied = " ".join(re.findall(r"^COPY (.*) \S+$", stage, re.MULTILINE)).split()
        for script in re.findall(r"tools/\S+\.sh", " ".join(re.findall(r"^RUN .*", stage, re.MULTILINE))):
            assert any(script == one or script.startswith(f"{one}/") for one in copied), script
        assert {"tools/packages.sh", "tools/apt-packages.txt"} <= set(copied)


def test_the_workflow_builds_what_the_dockerfile_has_and_publishes_tags_alone() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "image.yml").read_text())
    known = arguments((ROOT / "Dockerfile").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    built = []
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            if step.get("uses", "").startswith("docker/build-push-action@"):
                built.append(step["with"]["tags"])
                given = step["with"].get("build-args", "").splitlines()
                assert {line.partition("=")[0] for line in given} <= known
                assert "push" not in step["with"]
            if "docker push" in step.get("run", "") or "imagetools create" in step.get("run", ""):
                condition = step.get("if", job.get("if"))
                assert condition == "startsWith(github.ref, 'refs/tags/')"
    assert built == ["caffe-article", "caffe-article:cuda"]
    assert {one["arch"] for one in workflow["jobs"]["cpu"]["strategy"]["matrix"]["include"]} == {
        "amd64",
        "arm64",
    }
