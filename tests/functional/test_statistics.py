from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from wbltr.functional.statistics import (
    Array,
    bootstrap_accuracy,
    bootstrap_interval,
    discordant,
    mcnemar,
    mean_interval,
    paired_bootstrap_difference,
    welch_interval,
)

IMAGES = np.array([40, 25, 12, 3, 0])
RIGHT = np.array([31, 10, 11, 1, 0])
FIRST_ONLY = np.array([9, 2, 1, 1, 0])
SECOND_ONLY = np.array([4, 6, 0, 2, 0])
COUNT = 4000


def accuracy_of(right: Array, images: Array) -> Array:
    return np.array([r / n if n else math.nan for r, n in zip(right, images, strict=True)])


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def drawn_one_by_one(values: list[Array], replicates: int) -> Array:
    """The slow bootstrap: images of each class are drawn by number, then averaged."""
    source = seeded(99)
    means = []
    for outcome in values:
        picks = source.integers(0, len(outcome), (replicates, len(outcome)))
        means.append(outcome[picks].mean(1))
    return np.stack(means, 1)


def assert_alike(found: Array, slow: Array) -> None:
    """Two samples of one distribution, class by class: mean and spread within five standard errors, and Kolmogorov-Smirnov."""
    for one, other in zip(found.T, slow.T, strict=True):
        error = float(other.std()) / math.sqrt(COUNT)
        assert abs(float(one.mean() - other.mean())) <= 5 * math.sqrt(2) * error + 1e-12
        assert float(one.std()) == pytest.approx(float(other.std()), rel=0.08, abs=1e-12)
        assert stats.ks_2samp(one, other).pvalue > 1e-4


def test_replicates_are_distributed_as_those_drawn_image_by_image() -> None:
    outcomes = [np.arange(n) < r for n, r in zip(IMAGES.tolist()[:4], RIGHT.tolist()[:4], strict=True)]
    found = bootstrap_accuracy(RIGHT, IMAGES, COUNT, seeded())
    assert_alike(found[:, :4], drawn_one_by_one(outcomes, COUNT))
    assert np.isnan(found[:, 4]).all()


def test_paired_replicates_are_distributed_as_those_drawn_image_by_image() -> None:
    outcomes = [
        np.concatenate([np.ones(a), -np.ones(b), np.zeros(n - a - b)])
        for a, b, n in zip(FIRST_ONLY.tolist()[:4], SECOND_ONLY.tolist()[:4], IMAGES.tolist()[:4], strict=True)
    ]
    found = paired_bootstrap_difference(FIRST_ONLY, SECOND_ONLY, IMAGES, COUNT, seeded())
    assert_alike(found[:, :4], drawn_one_by_one(outcomes, COUNT))
    assert np.isnan(found[:, 4]).all()


def test_replicates_are_whole_images_between_none_and_all() -> None:
    found = bootstrap_accuracy(RIGHT, IMAGES, COUNT, seeded())[:, :4] * IMAGES[:4]
    np.testing.assert_allclose(found, found.round(), rtol=0, atol=1e-9)
    assert found.min() >= 0
    assert (found <= IMAGES[:4] + 1e-9).all()
    pairs = paired_bootstrap_difference(FIRST_ONLY, SECOND_ONLY, IMAGES, COUNT, seeded())[:, :4]
    assert np.abs(pairs).max() <= 1


@pytest.mark.parametrize("share", [0, 1])
def test_a_class_that_is_never_or_always_right_does_not_vary(share: int) -> None:
    found = bootstrap_accuracy(share * IMAGES[:4], IMAGES[:4], 100, seeded())
    assert (found == share).all()


def test_heads_that_never_differ_do_not_differ_on_any_sample() -> None:
    assert not paired_bootstrap_difference(0 * IMAGES, 0 * IMAGES, IMAGES, 100, seeded())[:, :4].any()


def test_a_generator_gives_the_same_replicates_again_and_moves_on() -> None:
    source = seeded(1)
    first, next_one = (bootstrap_accuracy(RIGHT, IMAGES, 50, source) for _ in range(2))
    assert np.array_equal(first[:, :4], bootstrap_accuracy(RIGHT, IMAGES, 50, seeded(1))[:, :4])
    assert not np.array_equal(first[:, :4], next_one[:, :4])


def test_the_interval_is_the_quantiles_of_the_mean_over_the_splits_classes() -> None:
    replicates = bootstrap_accuracy(RIGHT, IMAGES, 1001, seeded())
    accuracy = accuracy_of(RIGHT, IMAGES)
    mask = np.array([False, True, False, True, True])
    found = bootstrap_interval(accuracy, replicates, mask, 0.9)
    means = sorted(((replicates[:, 1] + replicates[:, 3]) / 2).tolist())
    assert found == pytest.approx((float((accuracy[1] + accuracy[3]) / 2), means[50], means[950]))
    assert bootstrap_interval(accuracy, replicates).estimate == pytest.approx(float(np.nanmean(accuracy)))
    wider = bootstrap_interval(accuracy, replicates, mask, 0.99)
    assert wider.low < found.low < found.estimate < found.high < wider.high


def test_the_interval_of_many_classes_is_near_the_normal_one() -> None:
    images = np.full((100,), 100)
    right = np.arange(100)
    accuracy = right / images
    found = bootstrap_interval(accuracy, bootstrap_accuracy(right, images, 10_000, seeded()))
    error = math.sqrt((accuracy * (1 - accuracy) / images).sum()) / 100
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.05)


def test_an_empty_split_has_no_interval() -> None:
    accuracy, replicates = accuracy_of(RIGHT, IMAGES), bootstrap_accuracy(RIGHT, IMAGES, 10, seeded())
    for mask in (np.zeros(5, dtype=bool), np.arange(5) == 4):
        assert all(math.isnan(x) for x in bootstrap_interval(accuracy, replicates, mask))


def test_pairs_narrow_the_interval_of_a_difference() -> None:
    """Two heads that agree on most images: their difference varies less than that of unpaired ones."""
    images = np.full((20,), 50)
    paired = paired_bootstrap_difference(np.full((20,), 3), np.full((20,), 2), images, 2000, seeded())
    one, other = (bootstrap_accuracy(np.full((20,), 25 + gain), images, 2000, seeded(gain)) for gain in (3, 2))
    assert float(paired.mean(1).std()) < 0.6 * float((one - other).mean(1).std())


def test_the_difference_of_the_accuracies_is_what_only_one_head_has_right() -> None:
    source = seeded()
    labels, first, second = (source.integers(0, 5, 300) for _ in range(3))
    a, b, n = discordant(first, second, labels, 6)
    for k in range(5):
        assert int(a[k]) == sum(y == k and p == k and q != k for y, p, q in zip(labels, first, second, strict=True))
    one, other = (np.array([(p[labels == k] == k).mean() for k in range(5)]) for p in (first, second))
    np.testing.assert_allclose((a - b)[:5] / n[:5], one - other, atol=1e-12)
    assert a[5] == b[5] == n[5] == 0


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_equals_the_sum_over_all_outcomes(a: int, b: int) -> None:
    n, m = a + b, min(a, b)
    below = Fraction(2 * sum(math.comb(n, k) for k in range(m + 1)), 2**n)
    assert mcnemar(a, b) == pytest.approx(min(float(below), 1.0), rel=1e-9)
    assert mcnemar(a, b) == mcnemar(b, a)


def test_heads_that_never_differ_or_differ_evenly_give_no_evidence() -> None:
    assert mcnemar(0, 0) == mcnemar(7, 7) == 1


def test_thousands_of_discordant_images_neither_overflow_nor_underflow_to_nothing() -> None:
    assert mcnemar(2600, 2400) == pytest.approx(float(stats.binomtest(2400, 5000).pvalue), rel=1e-9)
    assert mcnemar(0, 1000) == pytest.approx(2 * 0.5**1000, rel=1e-12, abs=0)


def test_known_bounds_from_the_printed_tables() -> None:
    table = {1: 12.706, 2: 4.303, 4: 2.776, 10: 2.228, 30: 2.042, 120: 1.980}
    assert {n: round(mean_interval(0.0, math.sqrt(n + 1), n + 1).high, 3) for n in table} == table


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
