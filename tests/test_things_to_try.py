"""The README's "Things to try", each on a small run: the programs of every later stage take the setting."""

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_run import ROOT, SmallRun, make, write_training_curve

import eval.report.__main__

pytest_plugins = ("small_run",)
SETTINGS: dict[str, Callable[[str], dict[str, Any]]] = {
    "FINETUNE_MODE": lambda value: {"last_layer_only": value == "last"},
    "LAYERS": lambda value: {"layers": value.split()},
    "DIMS": lambda value: {"dims": value.split()},
}


def suggested() -> list[tuple[str, str]]:
    """The settings that the README suggests, as (name, value)."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    paragraph = re.search(r"^Things to try: (.*?)\n\n", readme, re.DOTALL | re.MULTILINE)
    assert paragraph, "the README has no paragraph of things to try"
    found: list[tuple[str, str]] = []
    for quoted in re.findall(r"`([^`]+)`", paragraph[1]):
        name, _, value = quoted.rpartition("=")
        # `FINETUNE_MODE=last` ... or `two-phase`
        found.append((name or found[-1][0], shlex.split(value)[0]))
    return found


def test_the_readme_suggests_something() -> None:
    assert {name for name, _ in suggested()} == set(SETTINGS)


@pytest.mark.parametrize(("name", "value"), suggested())
def test_a_thing_to_try_goes_through_every_later_stage(
    small_run: SmallRun, tmp_path: Path, name: str, value: str
) -> None:
    if value == "two-phase":  # all that later stages see of it is a second log
        shutil.copytree(small_run.work, tmp_path / "work")
        run = SmallRun(tmp_path / "work", small_run.images, small_run.gt)
        write_training_curve(run.work, ["log_last", "log"])
    else:
        run = make(tmp_path / "run", **SETTINGS[name](value))
    out = tmp_path / "report"
    assert eval.report.__main__.main(run.report_arguments(out)) == 0
    assert (out / "index.html").is_file()
    left = "The layer that is searched with, fc6, PCA to 128" in (out / "index.html").read_text()
    assert left == (value == "last")
    table = json.loads((run.work / "results" / "table1.json").read_text())["rows"]
    scored = {(row["layer"], row["label"]) for row in table if row["map"] is not None}
    layers, labels = ({key[place] for key in scored} for place in (0, 1))
    assert (
        layers == set(value.split())
        if name == "LAYERS"
        else layers == {"fc6", "fc6_relu6", "fc7", "fc7_relu7"}
    )
    assert labels == set(value.split()) if name == "DIMS" else labels == {"128", "full", "none"}
