"""The protocols of Revisited Oxford and Paris: easy, medium and hard, of one ranking.

Radenović, Iscen, Tolias, Avrithis and Chum, "Revisiting Oxford and Paris", CVPR 2018, arXiv 1803.11285,
section 3.3: what is to be found, and what is passed over as if it were not there, differs; average precision
is Oxford5k's. A query with nothing to be found in a protocol is left out of its means.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from eval.files.ground_truth import GroundTruth

FIRST = (1, 5, 10)
"""Precision is told among so many first answers."""


@dataclass(frozen=True)
class Protocol:
    """Which pictures count; `good` is easy in a revisited ground truth, `ok` hard."""

    positive: Sequence[str]
    ignored: Sequence[str]

    def positives(self, truth: GroundTruth) -> frozenset[str]:
        """What is to be found."""
        return frozenset().union(*(getattr(truth, kind) for kind in self.positive))

    def passed_over(self, truth: GroundTruth) -> frozenset[str]:
        """What is taken out of the ranking."""
        return frozenset().union(*(getattr(truth, kind) for kind in self.ignored))


PROTOCOLS = {
    "easy": Protocol(("good",), ("ok", "junk")),
    "medium": Protocol(("good", "ok"), ("junk",)),
    "hard": Protocol(("ok",), ("good", "junk")),
}


def judged_places(
    places: Mapping[str, int], positives: Iterable[str], passed_over: Iterable[str]
) -> list[int]:
    """The positives' places in a ranking, from 1, without what is passed over; in order.

    `places` has a name's place in the whole ranking; a name that it lacks was not ranked.
    """
    before = sorted(places[name] for name in passed_over if name in places)
    found = sorted(places[name] for name in positives if name in places)
    return [place - sum(other < place for other in before) for place in found]


def precision_at(places: Sequence[int], first: int) -> float:
    """The share of positives among the first answers, 0 to 1; up to the last positive if that comes earlier.

    `places` are those of judged_places. As the protocol's own code has it, a query whose positives all stand
    before place `first` loses nothing by what follows them.
    """
    if not places:
        return 0.0
    last = min(max(places), first)
    return sum(place <= last for place in places) / last
