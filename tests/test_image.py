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
    kept = next(number for number, stage in enumerate(STAGES) if "AS image-0" in stage)
    assert set().union(*map(arguments, STAGES[:kept])) >= MIRRORS
    for stage in STAGES[kept:]:
        assert arguments(stage) == set() and not any(name in stage for name in MIRRORS)


def test_what_nvidias_toolkit_reads_is_in_the_image_for_gpus_alone() -> None:
    """Else one for the CPU does not start where NVIDIA's runtime is the default and there is no driver."""
    with_nvidia = [stage for stage in STAGES if "NVIDIA_" in stage]
    assert len(with_nvidia) == 1 and "FROM image-0 AS image-1" in with_nvidia[0]
    for name in (
        "NVIDIA_VISIBLE_DEVICES=all",
        'NVIDIA_REQUIRE_CUDA="cuda>=13.0"',
        "CUDA_DEVICE_ORDER=PCI_BUS_ID",
    ):
        assert name in with_nvidia[0]
    assert STAGES[-1].strip() == "FROM image-${CUDA:-0}" and STAGES[-2] == with_nvidia[0]


def test_one_list_of_architectures() -> None:
    """Of the image, of compose, of what is published, and of a build without one."""
    found = {
        name: set(re.findall(r"\d{2}(?:;\d{2,3})+", (ROOT / name).read_text()))
        for name in (
            "Dockerfile",
            "tools/compose.yaml",
            ".github/workflows/image.yml",
            "tools/caffe/build.sh",
        )
    }
    example = {"75;80;90"}  # of messages
    assert {frozenset(lists - example) for lists in found.values()} == {frozenset({"75;80;90;100;120"})}


def test_gpus_in_containers_get_shared_memory() -> None:
    """Docker's 64 MB are too few for NCCL."""
    for name in ("README.md", "README.zh.md", "bench/gpu_check.sh"):
        lines = [
            line for line in (ROOT / name).read_text().splitlines() if "--gpus all" in line and "run" in line
        ]
        assert lines and all("--shm-size=1g" in line for line in lines)
    compose = yaml.safe_load((ROOT / "tools/compose.yaml").read_text())
    assert compose["services"]["gpu"]["shm_size"] == "1g"


def test_a_stage_that_is_mounted_is_copied_from_too() -> None:
    """podman 4.3 finds nothing in the mount of a stage from an earlier build, unless it is: a build that
    was cut off behind that stage would never end."""
    mounted = 0
    for stage in STAGES:
        for name in re.findall(r"--mount=type=bind,from=(\w+)", stage):
            before = stage.partition(f"from={name},")[0]
            assert f"COPY --from={name} " in before
            mounted += 1
    assert mounted == 1


def test_every_script_that_a_stage_runs_is_there_with_what_it_reads() -> None:
    for stage in STAGES[1:3]:
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
