"""The report's comparison of prototxt files, from the authors' to this run's: each change with its reason.

The reasons stand in prototxt_reasons.json: for each comparison rules [sign, layer, line, words], of which the
first that fits a line is its reason, and the solver's settings by name.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf import text_format

from eval.report.run_folder import Run, read_json
from eval.results.words import Words
from tools.files.prototxt import Layer, Net, caffe_messages, read_net, read_prototxt, read_solver

COMPACT = 62
"""Characters of a message in a message that stands on one line."""
EXAMPLES = ("fc7", "relu7", "drop7")
"""Of layers that change alike, these are shown: the article's question is about them."""
FORMAT_SHOWN = ("fc7", "relu7", "fc8_magic")
REASONS = read_json(Path(__file__).with_name("prototxt_reasons.json"))


class Rule(NamedTuple):
    """A reason for lines that go ("-") or come ("+") in some layers; "" is any sign."""

    sign: str
    layer: str
    """A pattern of the layer's type, name and phase."""
    line: str
    """A pattern of the line."""
    words: str


def rules_of(comparison: str) -> list[Rule]:
    """The rules for format, deploy or training."""
    return [Rule(*rule) for rule in REASONS[comparison]]


@dataclass(frozen=True)
class Line:
    """A line of a layer: taken away ("-"), new ("+") or as it was (" "), and why."""

    sign: str
    text: str
    reason: Words


@dataclass
class Hunk:
    """What changes in a layer, and the layers in which the same changes for the same reasons."""

    layer: str
    lines: list[Line]
    alike: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """Two files, and what changes from the first to the second."""

    before: str
    after: str
    hunks: list[Hunk]


@dataclass(frozen=True)
class SolverLine:
    """A setting of the solver: this run's value, the article's, and what it is for."""

    name: str
    ours: str
    article: str
    reason: Words


@dataclass(frozen=True)
class PrototxtSection:
    """What Caffe's upgrade of the format changes, and what this run does; None where it has no such file."""

    upgrade: Comparison | None
    deploy: Comparison | None
    training: Comparison | None
    solver: list[SolverLine]


def prototxt_section(run: Run) -> PrototxtSection | None:
    """The run's prototxt files beside those they come from; None where the network's folder is not known.

    Raises ValueError for a file that is no prototxt, OSError.
    """
    if run.network is None:
        return None
    printed = run.network / "as_printed"
    theirs, ours = printed / "deploy.prototxt", run.work / "prototxt" / "deploy.prototxt"
    training = run.work / "prototxt" / "train"
    if not theirs.is_file():  # a network of one's own
        theirs = run.network / "deploy.prototxt"
    there = theirs.is_file() and ours.is_file()
    trained = theirs.is_file() and (training / "train_val.prototxt").is_file()
    article = run.network.parent / "vgg16" / "solver.prototxt"
    return PrototxtSection(
        _upgrade(printed) if (printed / "train_val.prototxt").is_file() and there else None,
        _compared(theirs, ours, rules_of("deploy")) if there else None,
        _compared(theirs, training / "train_val.prototxt", rules_of("training")) if trained else None,
        list(solver_lines(training / "solver.prototxt", article)),
    )


def _upgrade(printed: Path) -> Comparison:
    """Some layers as they are printed in Caffe's format of 2014, and as Caffe upgrades them."""
    hunks = []
    for name in FORMAT_SHOWN:
        path = printed / ("train_val.prototxt" if name == "fc8_magic" else "deploy.prototxt")
        old = caffe_messages().NetParameter()
        read_prototxt(path, old)
        before = [layer for layer in old.layers if layer.name == name]
        after = [layer for layer in read_net(path).layer if layer.name == name]
        if before and after:
            lines = _changed(lines_of(before[0], "layers"), lines_of(after[0]), "", rules_of("format"))
            hunks.append(Hunk(name, lines))
    return Comparison(str(printed), "upgrade_net_proto_text", hunks)


def _compared(before: Path, after: Path, rules: Sequence[Rule]) -> Comparison:
    return Comparison(str(before), str(after), hunks_of(read_net(before), read_net(after), rules))


def hunks_of(before: Net, after: Net, rules: Sequence[Rule]) -> list[Hunk]:
    """What changes from one network to another, layer by layer; alike changes once."""
    hunks: dict[tuple[object, ...], Hunk] = {}
    for old, new in _paired(list(before.layer), list(after.layer)):
        layer: Any = new or old
        about = f"{layer.type} {layer.name} {_phase(layer)}".strip()
        lines = _changed(lines_of(old) if old else [], lines_of(new) if new else [], about, rules)
        if any(line.sign != " " for line in lines):
            kind = tuple((line.sign, line.reason) for line in lines if line.sign != " ")
            hunk = hunks.setdefault(kind, Hunk(layer.name, lines))
            if layer.name in EXAMPLES and hunk.layer != layer.name:
                hunk.alike.append(hunk.layer)
                hunk.layer, hunk.lines = layer.name, lines
            elif hunk.layer != layer.name:
                hunk.alike.append(layer.name)
    return list(hunks.values())


def _phase(layer: Layer) -> str:
    return " ".join(caffe_messages().Phase.Name(rule.phase) for rule in layer.include)


def _paired(before: list[Layer], after: list[Layer]) -> Iterator[tuple[Layer | None, Layer | None]]:
    """Layers of one name together, others of one type where they stand between the same neighbours."""
    names = [[f"{layer.type} {layer.name}" for layer in layers] for layers in (before, after)]
    for _, i1, i2, j1, j2 in SequenceMatcher(None, names[0], names[1], autojunk=False).get_opcodes():
        old, new = before[i1:i2], after[j1:j2]
        for layer in old:
            partner = next((other for other in new if other.type == layer.type), None)
            yield layer, partner
            new = [other for other in new if other is not partner]
        yield from ((None, layer) for layer in new)


def lines_of(layer: Layer, name: str = "layer") -> list[str]:
    """A layer as people write it: small messages on one line, whole numbers without .0."""
    text = text_format.MessageToString(layer)
    text = re.sub(r"(: -?\d+)\.0\b", r"\1", text)

    def on_one_line(found: re.Match[str]) -> str:
        inside = " ".join(found[3].split())
        line = f"{found[2]} {{ {inside} }}"
        return found[1] + line if len(line) <= COMPACT else found[0]

    text = re.sub(r"^( *)(\w+) \{\n((?:[^{}\n]*\n)*?) *\}$", on_one_line, text, flags=re.MULTILINE)
    if name == "layers":  # whose fields have another order
        head = [
            line for field in ("name", "type") for line in re.findall(f"^{field}: .*\n", text, re.MULTILINE)
        ]
        text = "".join(head) + re.sub(r"^(name|type): .*\n", "", text, flags=re.MULTILINE)
    return [f"{name} {{", *(f"  {line}" for line in text.splitlines()), "}"]


def _changed(before: list[str], after: list[str], about: str, rules: Sequence[Rule]) -> list[Line]:
    lines: list[Line] = []
    for _, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if before[i1:i2] == after[j1:j2]:
            lines += [Line(" ", text, "") for text in before[i1:i2]]
            continue
        for sign, texts in (("-", before[i1:i2]), ("+", after[j1:j2])):
            lines += [Line(sign, text, reason(sign, text, about, rules)) for text in texts]
    return lines


def reason(sign: str, text: str, about: str, rules: Sequence[Rule]) -> Words:
    """Why a line goes or comes, by the first rule that fits it; "" for a bracket, which needs none."""
    if text.strip() == "}":
        return ""
    for rule in rules:
        if rule.sign in (sign, "") and re.search(rule.layer, about) and re.search(rule.line, text.strip()):
            return rule.words
    return ""


def solver_lines(path: Path, article: Path) -> Iterator[SolverLine]:
    """The solver's settings in their order, none where there is no such file."""
    if not path.is_file():
        return
    theirs = _settings(article) if article.is_file() else {}
    for name, value in _settings(path).items():
        yield SolverLine(name, value, theirs.get(name, ""), REASONS["solver"].get(name, ""))


def _settings(path: Path) -> Mapping[str, str]:
    solver: Any = read_solver(path)
    pairs = (line.partition(": ") for line in text_format.MessageToString(solver).splitlines())
    return {name: re.sub(r"\.0$", "", value).strip('"') for name, _, value in pairs}
