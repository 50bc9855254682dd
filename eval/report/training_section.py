"""The report's section on fine-tuning: the curves of Caffe's log, and where it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.report.page_pictures import Illustration, Pictures
from eval.report.run_folder import Run, read_rows
from eval.results.words import Text, Words

NOTHING = Text("from nothing", {})


@dataclass(frozen=True)
class Phase:
    """One log of Caffe's: its name, its steps, and the first and last of each figure in it."""

    log: Words
    iterations: int
    first: Mapping[str, float]
    last: Mapping[str, float]


@dataclass(frozen=True)
class TrainingSection:
    """How training went."""

    figure: Illustration
    phases: Sequence[Phase]
    from_nothing: bool
    """Whether another training from nothing is drawn beside it."""

    @property
    def of_the_last_layer(self) -> bool:
        """Whether the last layer alone was trained (tools/finetune.sh --mode last)."""
        return all(phase.log in ("log_last", NOTHING) for phase in self.phases)


def training_section(run: Run, pictures: Pictures) -> TrainingSection | None:
    """The curves of Caffe's log, the last figures; None where nothing was trained."""
    drawing, values = (run.work / "results" / f"training.{ending}" for ending in ("svg", "csv"))
    if not drawing.is_file():
        return None
    svg = drawing.read_text(encoding="utf-8")
    rows = read_rows(values) or []
    logs = list(dict.fromkeys(row["log"] for row in rows))
    return TrainingSection(
        Illustration(
            pictures.svg("training", svg, "Loss and accuracy by iteration"),
            "Caffe's own log. The loss should fall and flatten; where validation turns up while training "
            "still falls, the network learns its pictures by heart. Dotted lines mark where the learning "
            "rate drops: a step down in the loss often follows.",
        ),
        [_phase(log, rows) for log in logs],
        any(map(_is_from_nothing, logs)),
    )


def _is_from_nothing(log: str) -> bool:
    return Path(log).parent.name.endswith("_scratch")  # recipes/from_scratch.sh


def _phase(log: str, rows: Sequence[Mapping[str, str]]) -> Phase:
    """One log's rows of training.csv, of whose figures `training loss` and `validation ...` are shown."""
    named = {"loss": "training loss", "test": "validation "}
    own = sorted((row for row in rows if row["log"] == log), key=lambda row: int(row["iteration"]))
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for row in own:
        if row["what"] in named:
            name = named[row["what"]] + (row["name"] if row["what"] == "test" else "")
            first.setdefault(name, float(row["value"]))
            last[name] = float(row["value"])
    called: Words = NOTHING if _is_from_nothing(log) else Path(log).stem
    return Phase(called, int(own[-1]["iteration"]), first, last)
