"""eval.evidence.statistics: errors against their formulas, verdicts on drawn data whose truth is known."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from eval.evidence.statistics import (
    Effect,
    cross_fitted,
    effect_of,
    is_above,
    is_below,
    is_within,
    place_of,
    together,
)

PLACES, QUERIES = 11, 5
WORLDS = 300


def figures(values: np.ndarray) -> dict[str, float]:
    """Figures of places (rows) and queries (columns) by Oxford's names."""
    return {f"place {p}_{q + 1}": float(value) for p, row in enumerate(values) for q, value in enumerate(row)}


NONE = figures(np.zeros((PLACES, QUERIES)))


def drawn(seed: int, truth: float, *, places: float = 0.05, runs: int = 1, of_runs: float = 0.0) -> Effect:
    """The effect in a world where the true difference is `truth`; places and runs scatter as given."""
    random = np.random.default_rng(seed)
    of_place = random.normal(0, places, (PLACES, 1))
    worlds = [
        figures(truth + of_place + random.normal(0, of_runs) + random.normal(0, places, (PLACES, QUERIES)))
        for _ in range(runs)
    ]
    return effect_of(worlds, [NONE] * runs)


def shares(test: Callable[[Effect], bool | None], truth: float, **world: float) -> dict[bool | None, float]:
    """How often each verdict is given over WORLDS drawn worlds."""
    given = [test(drawn(seed, truth, **world)) for seed in range(WORLDS)]
    return {verdict: given.count(verdict) / WORLDS for verdict in (True, False, None)}


def test_no_difference_is_seldom_called_one() -> None:
    found = shares(is_above, 0.0)
    assert found[True] <= 0.05 and found[False] <= 0.05
    assert found[True] + found[False] == pytest.approx(0.05, abs=0.035)


def test_a_clear_difference_is_seen() -> None:
    assert shares(is_above, 0.08)[True] > 0.95
    assert shares(is_above, -0.08)[False] > 0.95


def test_treating_queries_as_independent_would_be_wrong_much_more_often() -> None:
    """What the bootstrap over places is for: with errors over 55 queries, a third of these verdicts err."""
    wrong = 0
    for seed in range(WORLDS):
        random = np.random.default_rng(seed)
        values = random.normal(0, 0.05, (PLACES, 1)) + random.normal(0, 0.01, (PLACES, QUERIES))
        wrong += abs(values.mean()) > 2 * values.std(ddof=1) / math.sqrt(values.size)
        assert effect_of([figures(values)], [NONE]).error == pytest.approx(
            values.mean(axis=1).std(ddof=1) / math.sqrt(PLACES), rel=0.08
        )
    assert wrong / WORLDS > 0.3


def test_equivalence_is_shown_where_it_is_and_not_at_the_margin() -> None:
    def little(effect: Effect) -> bool | None:
        return is_within(effect, -0.03, 0.03)

    assert shares(little, 0.0, places=0.02)[True] > 0.95
    assert shares(little, 0.03, places=0.02)[True] <= 0.05 + 0.035
    assert shares(little, 0.03, places=0.02)[False] <= 0.05
    assert shares(little, 0.08, places=0.02)[False] > 0.95
    assert shares(little, 0.0, places=0.2)[None] > 0.8, "few queries show no equivalence"


def test_no_more_is_an_equivalence_not_a_failed_difference() -> None:
    def no_more(effect: Effect) -> bool | None:
        return is_below(effect, 0.01)

    assert shares(no_more, -0.01, places=0.01)[True] > 0.95
    assert shares(no_more, 0.01, places=0.01)[True] <= 0.05 + 0.035
    assert shares(no_more, 0.05, places=0.01)[False] > 0.95
    assert shares(no_more, 0.0, places=0.2)[True] < 0.1, "few queries don't show that there is no more"


def test_a_claim_of_many_parts_fails_no_more_often_by_chance() -> None:
    verdicts = [
        together([is_above(drawn(100 * world + part, 0.0), of=6) for part in range(6)])
        for world in range(WORLDS)
    ]
    assert verdicts.count(False) / WORLDS <= 0.05 + 0.03
    assert verdicts.count(True) == 0


@pytest.mark.parametrize("runs", [2, 5])
def test_what_seeds_differ_by_is_in_the_error(runs: int) -> None:
    """Trainings that scatter by 10 points say nothing of a gain, however sure each one's queries are."""
    found = shares(is_above, 0.0, places=0.01, runs=runs, of_runs=0.1)
    assert found[True] + found[False] <= 0.05 + 0.035
    if runs == 5:
        assert shares(is_above, 0.2, places=0.01, runs=runs, of_runs=0.05)[True] > 0.95


def test_runs_with_other_places_have_more_of_them() -> None:
    random = np.random.default_rng(4)
    of_place = random.normal(0, 0.1, (PLACES, 1))
    same = [figures(of_place + random.normal(0, 0.001, (PLACES, QUERIES))) for _ in range(4)]
    shared = effect_of(same, [NONE] * 4, ["truth"] * 4)
    assert shared.error == pytest.approx(of_place.std(ddof=1) / math.sqrt(PLACES), rel=0.08)
    assert shared.mean == pytest.approx(effect_of(same, [NONE] * 4, list("abcd")).mean)
    assert effect_of(same, [NONE] * 4, list("abcd")).error < 0.7 * shared.error


def test_by_hand() -> None:
    one = {"a_1": 0.5, "a_2": 0.7, "b_1": 0.4}
    other = {"a_1": 0.4, "a_2": 0.4, "b_1": 0.4}
    assert effect_of([one], [other]).mean == pytest.approx(0.4 / 3)
    lone = effect_of([{"a_1": 0.9, "a_2": 0.9}], [{"a_1": 0.1, "a_2": 0.1}])
    assert lone.interval() == (-math.inf, math.inf) and is_above(lone) is None
    two_runs = effect_of([{"a_1": 0.9}] * 2, [{"a_1": 0.1}] * 2)
    assert is_above(two_runs) is None, "one place tells nothing of others, however many runs there are"
    assert is_above(effect_of([other], [other])) is None
    assert [place_of(name) for name in ("all_souls_1", "a", "x_y", "b_12")] == ["all_souls", "a", "x_y", "b"]


def test_together() -> None:
    assert together([True, True]) is True
    assert together([True, None]) is None
    assert together([None, False]) is False


def test_a_choice_is_made_on_other_places() -> None:
    rows = {"x": {"a_1": 0.9, "a_2": 0.9, "b_1": 0.1}, "y": {"a_1": 0.2, "a_2": 0.2, "b_1": 0.6}}
    assert cross_fitted(rows) == {"a_1": 0.2, "a_2": 0.2, "b_1": 0.1}


def test_a_choice_among_equals_gains_nothing() -> None:
    """The best of eight by its own figures looks better than it is; chosen elsewhere it doesn't."""
    own, fitted = [], []
    for seed in range(100):
        random = np.random.default_rng(seed)
        rows = {f"row {i}": figures(random.normal(0, 0.1, (PLACES, QUERIES))) for i in range(8)}
        own.append(max(float(np.mean(list(row.values()))) for row in rows.values()))
        fitted.append(float(np.mean(list(cross_fitted(rows).values()))))
    assert np.mean(own) > 0.015
    assert abs(np.mean(fitted)) < 0.005
