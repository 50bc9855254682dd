"""The search page's answers among many vectors against all similarities in float64, sorted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.rank.recipe import describe, rank, similarities
from eval.search.nearest import Nearest, float32_error


def by_definition(vectors: np.ndarray, vector: np.ndarray, count: int) -> tuple[list[int], list[float]]:
    scores = similarities(vector[np.newaxis], describe(vectors))
    order = rank(scores)[0, :count]
    return order.tolist(), scores[0, order].tolist()


@given(
    seed=st.integers(0, 1 << 30),
    rows=st.integers(1, 400),
    dimensions=st.integers(1, 40),
    count=st.integers(1, 500),
    kind=st.sampled_from(["drawn", "alike", "few different", "zeros among them", "long and short", "tiny"]),
)
def test_the_answers_are_those_of_float64(
    seed: int, rows: int, dimensions: int, count: int, kind: str
) -> None:
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((rows, dimensions))
    if kind == "alike":  # closer to each other than float32 can tell
        vectors = random.standard_normal(dimensions) + 1e-7 * vectors
    elif kind == "few different":
        vectors = vectors[random.integers(0, min(rows, 3), rows)]
    elif kind == "zeros among them":
        vectors[random.random(rows) < 0.5] = 0
    elif kind == "long and short":
        vectors *= 10.0 ** random.integers(-30, 30, (rows, 1))
    elif kind == "tiny":
        vectors *= 1e-38
    vectors = vectors.astype(np.float32)
    vector = describe(random.standard_normal((1, dimensions)))[0]
    found, scores = Nearest(vectors, lambda some: describe(vectors[some]))(vector, count)
    assert (found.tolist(), scores.tolist()) == by_definition(vectors, vector, count)


def test_more_alike_than_fit_a_block() -> None:
    vectors = np.ones((20_000, 3), np.float32)
    vectors[12_345] = (1, 1, 1 + 1e-6)
    vector = describe(np.array([[0.0, 0.0, 1.0]]))[0]
    found, _ = Nearest(vectors, lambda some: describe(vectors[some]))(vector, 3)
    assert found.tolist() == [12_345, 0, 1]


@pytest.mark.parametrize("dimensions", [128, 512, 4096])
def test_float32_is_as_near_as_is_said(dimensions: int) -> None:
    random = np.random.default_rng(1)
    vectors = np.abs(random.standard_normal((2000, dimensions))).astype(np.float32)
    query = describe(np.abs(random.standard_normal((1, dimensions))))[0]
    near = (vectors @ query.astype(np.float32)) / np.linalg.norm(vectors, axis=1)
    exact = describe(vectors) @ query
    assert np.abs(near - exact).max() < float32_error(dimensions)
