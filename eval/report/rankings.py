"""What the report says of rankings: what each answer is, precision against recall."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eval.files.ground_truth import GroundTruth

RECALLS = np.linspace(0, 1, 51)


def verdict(name: str, truth: GroundTruth) -> str:
    """What an answer is: good, ok, junk (counts neither way) or wrong."""
    if name in truth.good:
        return "good"
    if name in truth.ok:
        return "ok"
    return "junk" if name in truth.junk else "wrong"


def places(ranking: Sequence[str], truth: GroundTruth) -> list[int]:
    """Ranks from 1 of the pictures that should be found, junk taken out of the ranking first."""
    judged = [name for name in ranking if name not in truth.junk]
    return [rank for rank, name in enumerate(judged, 1) if name in truth.positives]


def precision_at_recall(ranking: Sequence[str], truth: GroundTruth) -> NDArray[np.float64]:
    """Precision at each of RECALLS, interpolated: the best at that recall or a higher one. (51,)

    Manning, Raghavan and Schütze, Introduction to Information Retrieval, 8.4. Pictures that the ranking
    lacks are never found: precision is 0 at a recall that it doesn't reach.
    """
    ranks = np.array(places(ranking, truth))
    found = np.arange(1, len(ranks) + 1)
    precision = found / ranks if len(ranks) else found.astype(float)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    # how many must have been found for this recall; a hair less, as 0.1 * 30 is more than 3 in floating point
    needed = np.maximum(np.ceil(RECALLS * len(truth.positives) - 1e-9).astype(int), 1)
    return np.array([best[n - 1] if n <= len(best) else 0.0 for n in needed])


def landmark(query: str) -> str:
    """What a query asks for: all_souls_3 is the third of all_souls."""
    return query.rsplit("_", 1)[0]
