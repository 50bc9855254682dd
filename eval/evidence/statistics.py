"""What differences between rankings' figures can tell: effects, their errors, and verdicts at a stated rate.

Queries of one place share their positives, and runs that differ in their seed share everything else, so
neither 55 queries nor five runs' 275 are so many observations. Errors come from a bootstrap over places and
one over runs (Efron and Tibshirani, An Introduction to the Bootstrap, 6 and 8), put together as variances;
intervals take Student's t, with Satterthwaite's degrees of freedom.

A verdict is True, False or None (too close to tell). A wrong one is given in at most 1 of 20 cases: a claim
of several comparisons holds if each holds (an intersection-union test, which needs no correction), and fails
if one fails at a rate that is divided by how many they are (Bonferroni).
"""

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RATE = 0.05
"""Of wrong verdicts, at most."""
DRAWS = 2000

Figures = Mapping[str, float]
"""Average precision by query."""


@dataclass(frozen=True)
class Effect:
    """A mean difference, with its standard error and the error's degrees of freedom (0: not to be had)."""

    mean: float
    error: float
    freedom: float

    def interval(self, rate: float = RATE) -> tuple[float, float]:
        """The interval that misses the true difference in `rate` of cases, half of them on either side."""
        if self.freedom <= 0:
            return -math.inf, math.inf
        reach = float(stats.t.ppf(1 - rate / 2, self.freedom)) * self.error
        return self.mean - reach, self.mean + reach


def place_of(query: str) -> str:
    """The place that a query asks for: Oxford's all_souls_1 to all_souls_5 are all_souls."""
    return re.sub(r"_\d+$", "", query)


def effect_of(
    one: Sequence[Figures], other: Sequence[Figures], truths: Sequence[Hashable] | None = None
) -> Effect:
    """How much better `one` is than `other`: the mean over queries and runs, a mapping for each run.

    Runs with the same of `truths` ask for the same places; without it all do.
    """
    truths = truths or [None] * len(one)
    sums: dict[tuple[int, Hashable], list[float]] = {}
    for run, (first, second, truth) in enumerate(zip(one, other, truths, strict=True)):
        for query, figure in second.items():
            sums.setdefault((run, (truth, place_of(query))), []).append(first[query] - figure)
    places = {place: i for i, place in enumerate(dict.fromkeys(place for _, place in sums))}
    totals, counts = np.zeros((2, len(one), len(places)))
    for (run, place), differences in sums.items():
        totals[run, places[place]] = sum(differences)
        counts[run, places[place]] = len(differences)
    variances = [_variance(totals.sum(axis=axis), counts.sum(axis=axis)) for axis in (0, 1)]
    known = [(variance, units - 1) for variance, units in variances if units > 1]
    if not variances[0][1] > 1:  # one place tells nothing of others, however many runs there are
        known = []
    total = sum(variance for variance, _ in known)
    share = sum(variance**2 / freedom for variance, freedom in known)
    freedom = total**2 / share if share > 0 else float(len(places) - 1 if known else 0)
    return Effect(float(totals.sum() / counts.sum()), math.sqrt(total), freedom)


def _variance(totals: np.ndarray, counts: np.ndarray) -> tuple[float, int]:
    """Of the mean over units (places, or runs) drawn with replacement, and how many units there are."""
    units = len(totals)
    if units < 2:
        return 0.0, units
    drawn = np.random.default_rng(1).multinomial(units, np.full(units, 1 / units), DRAWS)
    means = (drawn @ totals) / (drawn @ counts)
    return float(means.var() * units / (units - 1)), units


def cross_fitted(rows: Mapping[str, Figures]) -> dict[str, float]:
    """The figures of the best of several rows, chosen without what it is judged by.

    Each query has the figure of the row that is best over the queries of all other places.
    """
    queries = list(next(iter(rows.values())))
    places = {query: place_of(query) for query in queries}
    best = {}
    for place in set(places.values()):
        others = [query for query in queries if places[query] != place]
        best[place] = max(rows, key=lambda name: sum(rows[name][query] for query in others))
    return {query: rows[best[places[query]]][query] for query in queries}


def is_above(effect: Effect, bound: float = 0.0, of: int = 1) -> bool | None:
    """Whether the difference is above a bound; `of` is how many comparisons the claim has."""
    if effect.interval()[0] > bound:
        return True
    return False if effect.interval(RATE / of)[1] < bound else None


def is_below(effect: Effect, bound: float, of: int = 1) -> bool | None:
    """Whether the difference is below a bound: with a margin for `bound`, a test of non-superiority."""
    if effect.interval(2 * RATE)[1] < bound:
        return True
    return False if effect.interval(RATE / of)[0] > bound else None


def is_within(effect: Effect, low: float, high: float, of: int = 1) -> bool | None:
    """Whether the difference lies between two bounds: two one-sided tests (Schuirmann 1987)."""
    lower, upper = effect.interval(2 * RATE)
    if low < lower and upper < high:
        return True
    lower, upper = effect.interval(RATE / of)
    return False if upper < low or lower > high else None


def together(verdicts: Sequence[bool | None]) -> bool | None:
    """A claim of several parts: it fails with one of them, and holds with all."""
    if False in verdicts:
        return False
    return None if None in verdicts else True
