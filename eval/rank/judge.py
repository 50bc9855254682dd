"""Ranked lists judged by the program compute_ap: a row's figures in scores.json."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.files.ground_truth import GroundTruth, is_revisited, read_lines
from eval.rank.compute_ap import average_precisions, find_compute_ap
from eval.rank.protocols import FIRST, PROTOCOLS, Protocol, judged_places, precision_at

Figures = dict[str, Any]


class Judge:
    """A ground truth, and what ranked lists are worth by it."""

    def __init__(self, ground_truth: Path, truths: Sequence[GroundTruth], jobs: int) -> None:
        """`jobs` lists are judged at a time. Raises ValueError where compute_ap isn't on PATH."""
        self._compute_ap = find_compute_ap()
        self._ground_truth, self._jobs = ground_truth, jobs
        self._revisited = is_revisited(ground_truth)
        self._truths = {truth.query.name: truth for truth in truths}

    def prepare(self, folder: Path) -> None:
        """Write FOLDER/judged/PROTOCOL/QUERY_good.txt, _ok.txt, _junk.txt of a revisited ground truth.

        compute_ap reads those, and so may people.
        """
        if not self._revisited:
            return
        self._ground_truth = folder / "judged"
        for name, protocol in PROTOCOLS.items():
            (self._ground_truth / name).mkdir(parents=True)
            for query, truth in self._truths.items():
                lists = {"good": protocol.positives(truth), "ok": (), "junk": protocol.passed_over(truth)}
                for kind, names in lists.items():
                    text = "".join(f"{one}\n" for one in sorted(names))
                    (self._ground_truth / name / f"{query}_{kind}.txt").write_text(text, encoding="utf-8")

    def figures(self, queries: Sequence[str], lists: Sequence[Path]) -> Figures:
        """mAP and average precision by query; of a revisited ground truth medium's, and every protocol's."""
        ranked = dict(zip(queries, lists, strict=True))
        if not self._revisited:
            ap = self._average_precisions(self._ground_truth, ranked)
            return {"map": mean(ap.values()), "ap": ap}
        places = {
            query: {name: place for place, name in enumerate(read_lines(path), 1)}
            for query, path in ranked.items()
        }

        def judged(name: str, asked: Iterable[str]) -> Mapping[str, float]:
            return self._average_precisions(
                self._ground_truth / name, {query: ranked[query] for query in asked}
            )

        return by_protocol(self._truths, places, judged)

    def _average_precisions(self, ground_truth: Path, ranked: Mapping[str, Path]) -> dict[str, float]:
        return average_precisions(self._compute_ap, ground_truth, [*ranked], [*ranked.values()], self._jobs)


def by_protocol(
    truths: Mapping[str, GroundTruth],
    places: Mapping[str, Mapping[str, int]],
    judged: Callable[[str, Sequence[str]], Mapping[str, float]],
) -> Figures:
    """A row's figures by every protocol, and medium's as the row's own; figures from 0 to 1.

    `places` has each query's ranking, a name's place from 1; `judged` gives a protocol's average precisions
    of some queries. A protocol that no query has anything to find in is left out.
    """
    protocols: dict[str, Figures] = {}
    for name, protocol in PROTOCOLS.items():
        asked = [query for query in places if protocol.positives(truths[query])]
        if asked:
            ap = judged(name, asked)
            found = {query: places_by(protocol, truths[query], places[query]) for query in asked}
            mp = {str(k): mean([precision_at(found[query], k) for query in asked]) for k in FIRST}
            protocols[name] = {"map": mean(ap.values()), "mp": mp, "ap": dict(ap)}
    return {name: protocols["medium"][name] for name in ("map", "ap")} | {"protocols": protocols}


def places_by(protocol: Protocol, truth: GroundTruth, places: Mapping[str, int]) -> list[int]:
    """The places of what a protocol wants found, without what it passes over."""
    return judged_places(places, protocol.positives(truth), protocol.passed_over(truth))


def mean(figures: Iterable[float]) -> float:
    """Their mean, exactly rounded."""
    every = list(figures)
    return math.fsum(every) / len(every)
