from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from wbltr.functional.isotonic import Direction, isotonic_norms, isotonic_regression
from wbltr.functional.projections import row_norms

pairs = st.lists(st.tuples(st.floats(-100, 100), st.floats(0.01, 10)), min_size=1, max_size=40)
both = pytest.mark.parametrize("direction", ["increasing", "decreasing"])


@both
@settings(deadline=None)
@given(values=pairs)
def test_the_regression_equals_scikit_learns(direction: Direction, values: list[tuple[float, float]]) -> None:
    y, w = (torch.tensor(side, dtype=torch.float64) for side in zip(*values, strict=True))
    expected = IsotonicRegression(increasing=direction == "increasing").fit(range(len(y)), y, w).predict(range(len(y)))
    assert isotonic_regression(y, w, direction).tolist() == pytest.approx(expected.tolist(), rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(pairs)
def test_the_regression_equals_the_slow_formula(values: list[tuple[float, float]]) -> None:
    """v_i = max over j ≤ i of min over k ≥ i of the weighted mean of y_j … y_k."""
    y, w = zip(*values, strict=True)

    def mean(j: int, k: int) -> float:
        return math.fsum(a * b for a, b in zip(y[j : k + 1], w[j : k + 1], strict=True)) / math.fsum(w[j : k + 1])

    n = min(len(y), 12)
    expected = [max(min(mean(j, k) for k in range(i, n)) for j in range(i + 1)) for i in range(n)]
    assert isotonic_regression(torch.tensor(y[:n]).double(), torch.tensor(w[:n]).double()).tolist() == pytest.approx(
        expected, rel=1e-6, abs=1e-6
    )


@both
@settings(deadline=None)
@given(values=pairs)
def test_the_result_is_monotone_keeps_the_mean_and_twice_is_once(
    direction: Direction, values: list[tuple[float, float]]
) -> None:
    y, w = (torch.tensor(side, dtype=torch.float64) for side in zip(*values, strict=True))
    once = isotonic_regression(y, w, direction)
    steps = once.diff()
    assert ((steps >= 0) if direction == "increasing" else (steps <= 0)).all()
    assert float((w * once).sum()) == pytest.approx(float((w * y).sum()), rel=1e-9, abs=1e-9)
    torch.testing.assert_close(isotonic_regression(once, w, direction), once)


def test_what_is_monotone_stays_as_it_is() -> None:
    assert isotonic_regression(torch.tensor([1.0, 1.0, 2.0, 5.0])).tolist() == [1.0, 1.0, 2.0, 5.0]
    assert isotonic_regression(torch.empty(0)).tolist() == []


@both
@pytest.mark.parametrize("seed", range(5))
def test_norms_are_scikit_learns_regression_against_the_counts_and_directions_stay(direction: Direction, seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    weight = torch.randn(30, 6, generator=source, dtype=torch.float64) * torch.rand(30, 1, generator=source)
    counts = torch.randint(1, 15, (30,), generator=source)  # with ties
    found = isotonic_norms(weight, counts, direction)
    fitted = IsotonicRegression(increasing=direction == "increasing").fit_transform(counts, row_norms(weight))
    assert row_norms(found).tolist() == pytest.approx(fitted.tolist(), rel=1e-9)
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(found, weight), torch.ones(30, dtype=torch.float64))
    assert float(row_norms(found).mean()) == pytest.approx(float(row_norms(weight).mean()))


def test_classes_of_one_size_get_one_norm_and_a_zero_row_stays_zero() -> None:
    found = isotonic_norms(torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), torch.tensor([5, 5, 1]), "increasing")
    assert found.tolist() == [[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]


def test_opposite_directions_pool_everything_that_goes_the_other_way() -> None:
    weight, counts = torch.diag(torch.tensor([4.0, 2.0, 3.0])), torch.tensor([100, 10, 1])
    assert row_norms(isotonic_norms(weight, counts, "increasing")).tolist() == [4.0, 2.5, 2.5]
    assert row_norms(isotonic_norms(weight, counts, "decreasing")).tolist() == [3.0, 3.0, 3.0]
