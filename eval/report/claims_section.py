"""The report's section on the article's claims, as eval.claims has tried them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.report.run_folder import Run
from eval.results.grid import reading
from eval.results.words import Text, text

KINDS = {"holds": "yes", "does not hold": "no", "too close to tell": "open"}
"""The verdicts for the eye."""


@dataclass(frozen=True)
class Claim:
    """A claim, and what this run says of it."""

    number: int
    words: str
    ours: bool
    """Whether it is this project's and not the article's."""
    section: str
    sentence: str
    """What the article says, and where."""
    margin: str
    """What is taken for as good as equal."""
    verdict: str
    kind: str
    effect: Text | None
    """Points of mAP, with the interval."""
    figure: str
    how: str
    command: str
    """What measures it, where this run has not."""


@dataclass(frozen=True)
class ClaimsSection:
    """The claims that can be tried, and the article's others."""

    claims: Sequence[Claim]
    untried: Sequence[Mapping[str, str]]


def claims_section(run: Run) -> ClaimsSection | None:
    """The claims; None where nothing has tried them. Raises ValueError for a claims.json that is none."""
    if run.claims is None:
        return None
    with reading("one of eval.claims", run.work / "results" / "claims.json"):
        return ClaimsSection([_claim(row) for row in run.claims["claims"]], run.claims.get("untried", []))


def _claim(row: Mapping[str, Any]) -> Claim:
    return Claim(
        number=row["claim"],
        words=row["text"],
        ours=row.get("whose") == "ours",
        section=row.get("section", ""),
        sentence=row.get("sentence", "").rstrip("."),
        margin=row.get("margin", ""),
        verdict=row["verdict"],
        kind=KINDS.get(row["verdict"], "unknown"),
        effect=_effect(row.get("effect"), row.get("interval") or (None, None)),
        figure=row.get("figure", ""),
        how=row.get("how", ""),
        command=row.get("command", ""),
    )


def _effect(effect: float | None, interval: Sequence[float | None]) -> Text | None:
    low, high = interval
    if effect is None:
        return None
    if low is None or high is None:
        return text("{effect} points", effect=f"{effect:+.1f}")
    return text(
        "{effect} points ({low} to {high})", effect=f"{effect:+.1f}", low=f"{low:.1f}", high=f"{high:.1f}"
    )
