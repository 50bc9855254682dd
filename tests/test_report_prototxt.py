"""The report's comparison of prototxt files: nothing is left out, and every change has its reason."""

import json
from pathlib import Path

import pytest
from small_run import ROOT

from eval.report.prototxt_section import (
    REASONS,
    Hunk,
    hunks_of,
    lines_of,
    prototxt_section,
    rules_of,
)
from eval.report.run_folder import Run
from eval.report.words import CHINESE
from tools.files.prototxt import Net, read_net

PROTOTXT = ROOT / "prototxt"
NETWORKS = ("vgg16", "demo")
COMPARED = {
    "deploy": ("as_printed/deploy.prototxt", "deploy.prototxt"),
    "training": ("as_printed/deploy.prototxt", "train_val.prototxt"),
}


def nets(network: str, comparison: str) -> list[Net]:
    return [read_net(PROTOTXT / network / name) for name in COMPARED[comparison]]


def side(hunks: list[Hunk], sign: str) -> list[list[str]]:
    """What the hunks show of one file: its lines and those that both have."""
    return [[line.text for line in hunk.lines if line.sign in (sign, " ")] for hunk in hunks]


@pytest.mark.parametrize("comparison", COMPARED)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_layer_is_the_same_or_shown_and_every_change_has_a_reason(
    network: str, comparison: str
) -> None:
    before, after = nets(network, comparison)
    hunks = hunks_of(before, after, rules_of(comparison))
    for net, other, sign in ((before, after, "-"), (after, before, "+")):
        same = [lines_of(layer) for layer in other.layer]
        shown, named = side(hunks, sign), {name for hunk in hunks for name in hunk.alike}
        for layer in net.layer:
            assert lines_of(layer) in same or lines_of(layer) in shown or layer.name in named
    changed = [line for hunk in hunks for line in hunk.lines if line.sign != " " and line.text.strip() != "}"]
    assert [line for line in changed if not line.reason] == []
    assert changed


def test_the_last_layer_is_the_articles() -> None:
    hunks = hunks_of(*nets("vgg16", "training"), rules_of("training"))
    last = next(hunk for hunk in hunks if hunk.layer == "fc8_magic")
    shown = {(line.sign, line.text.strip()): line.reason for line in last.lines}
    assert "copies weights into layers by name" in str(shown["+", 'name: "fc8_magic"'])
    assert "Under its old name" in str(shown["-", 'name: "fc8"'])
    assert "ten times as fast" in str(shown["+", "param { lr_mult: 10 decay_mult: 1 }"])
    assert "doesn't decay" in str(shown["+", "param { lr_mult: 20 decay_mult: 0 }"])
    assert ("+", "num_output: 680") in shown and ("-", "inner_product_param { num_output: 1000 }") in shown


def test_a_layer_that_changes_alike_stands_once() -> None:
    hunks = hunks_of(*nets("vgg16", "deploy"), rules_of("deploy"))
    assert [hunk.layer for hunk in hunks] == ["relu7", "fc7", "drop7"]  # ReLU, what reads it, what is both
    assert {"relu6", "relu1_1", "relu5_3"} < set(hunks[0].alike) and len(hunks[0].alike) == 14


def test_a_run_that_has_not_come_to_training_shows_the_rest(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "prototxt").mkdir(parents=True)
    shown = prototxt_section(Run(work, network=PROTOTXT / "vgg16"))
    assert shown is not None and (shown.upgrade, shown.deploy, shown.training, shown.solver) == (
        None, None, None, [],
    )  # fmt: skip
    deploy = work / "prototxt" / "deploy.prototxt"
    deploy.write_bytes((PROTOTXT / "vgg16" / "deploy.prototxt").read_bytes())
    shown = prototxt_section(Run(work, network=PROTOTXT / "vgg16"))
    assert shown is not None and shown.upgrade and shown.deploy and shown.training is None
    format_of = [(line.sign, line.text.strip()) for hunk in shown.upgrade.hunks for line in hunk.lines]
    assert ("-", "blobs_lr: 10") in format_of and ("+", "param { lr_mult: 10 decay_mult: 1 }") in format_of
    assert prototxt_section(Run(work)) is None


def test_the_solvers_settings_stand_beside_the_articles(tmp_path: Path) -> None:
    train = tmp_path / "prototxt" / "train"
    train.mkdir(parents=True)
    (train / "solver.prototxt").write_bytes((PROTOTXT / "demo" / "solver.prototxt").read_bytes())
    shown = prototxt_section(Run(tmp_path, network=PROTOTXT / "demo"))
    assert shown is not None
    settings = {line.name: (line.ours, line.article) for line in shown.solver}
    assert settings["base_lr"] == ("0.005", "0.001") and settings["stepsize"] == ("1125", "20000")
    assert [line.name for line in shown.solver if not line.reason] == []


def test_every_reason_is_said_in_chinese() -> None:
    said = set(json.loads(CHINESE.read_text(encoding="utf-8")))
    words = {rule.words for name in ("format", "deploy", "training") for rule in rules_of(name)}
    assert words | set(REASONS["solver"].values()) <= said
