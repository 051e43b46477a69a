from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats  # type: ignore[import-untyped]

from wbltr.functional.student import incomplete_beta, mean_interval, student_bound, welch_interval

shapes = st.floats(0.05, 1e4)


@settings(deadline=None)
@given(shapes, shapes, st.floats(0, 1))
def test_the_incomplete_beta_function_equals_scipys(a: float, b: float, x: float) -> None:
    assert incomplete_beta(a, b, x) == pytest.approx(float(special.betainc(a, b, x)), rel=1e-8, abs=1e-14)


@settings(deadline=None)
@given(shapes, shapes, st.floats(0.001, 0.999))
def test_the_two_sides_of_the_incomplete_beta_function_sum_to_one(a: float, b: float, x: float) -> None:
    assert incomplete_beta(a, b, x) + incomplete_beta(b, a, 1 - x) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("degrees", [0.3, 1, 1.7, 2, 4, 7.3, 29, 400, 1e4, 1e6])
@pytest.mark.parametrize("level", [0.001, 0.5, 0.8, 0.9, 0.95, 0.99, 0.9999])
def test_the_bound_of_students_t_equals_scipys(level: float, degrees: float) -> None:
    assert student_bound(level, degrees) == pytest.approx(float(stats.t.ppf((1 + level) / 2, degrees)), rel=1e-7)


@settings(deadline=None)
@given(st.floats(0.01, 0.999), st.floats(0.5, 1e3))
def test_the_bound_inverts_the_distribution(level: float, degrees: float) -> None:
    t = student_bound(level, degrees)
    assert 1 - incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t)) == pytest.approx(level, abs=1e-9)


def test_known_bounds_from_the_printed_tables() -> None:
    table = {1: 12.706, 2: 4.303, 4: 2.776, 10: 2.228, 30: 2.042, 120: 1.980}
    assert {n: round(student_bound(0.95, n), 3) for n in table} == table


def test_the_interval_of_a_mean_equals_scipys() -> None:
    low, high = stats.t.interval(0.9, 4, loc=42.0, scale=0.5 / math.sqrt(5))
    assert mean_interval(42.0, 0.5, 5, 0.9) == pytest.approx((42.0, low, high))


@pytest.mark.parametrize("deviations", [(0.5, 0.3), (1e-9, 3.0), (0.0, 1.0), (1e4, 1e-4)])
@pytest.mark.parametrize("n", [(5, 5), (2, 30), (3, 4)])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_the_welch_interval_equals_scipys(deviations: tuple[float, float], n: tuple[int, int], level: float) -> None:
    test = stats.ttest_ind_from_stats(43.0, deviations[0], n[0], 42.0, deviations[1], n[1], equal_var=False)
    v = [s**2 / m for s, m in zip(deviations, n, strict=True)]
    degrees = sum(v) ** 2 / sum(part**2 / (m - 1) for part, m in zip(v, n, strict=True))
    reach = float(stats.t.ppf((1 + level) / 2, degrees)) * math.sqrt(sum(v))
    found = welch_interval(43.0, 42.0, deviations, n, level)
    assert found == pytest.approx((1.0, 1.0 - reach, 1.0 + reach), rel=1e-7)
    # And zero lies outside exactly where scipy's test rejects.
    assert (found.low > 0) == (test.pvalue < 1 - level)


def test_swapping_the_sides_turns_the_interval_round() -> None:
    one, other = welch_interval(43.0, 42.5, (0.5, 0.3), (5, 4)), welch_interval(42.5, 43.0, (0.3, 0.5), (4, 5))
    assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low))


def test_one_seed_has_no_bounds_and_no_spread_has_no_width() -> None:
    alone = mean_interval(42.0, math.nan, 1)
    assert alone.estimate == 42.0
    assert math.isnan(alone.low)
    assert math.isnan(alone.high)
    assert math.isnan(welch_interval(43.0, 42.0, (0.5, math.nan), (5, 1)).low)
    assert welch_interval(43.0, 42.0, (0.0, 0.0), (5, 5)) == (1.0, 1.0, 1.0)
    assert mean_interval(42.0, 0.0, 5) == (42.0, 42.0, 42.0)
