from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]
from torch import Tensor

from wbltr.functional.metrics import class_accuracy, confusion_matrix, mean_accuracy
from wbltr.functional.statistics import (
    bootstrap_accuracy,
    bootstrap_interval,
    discordant,
    mcnemar,
    paired_bootstrap_difference,
)

IMAGES = torch.tensor([40, 25, 12, 3, 0])
RIGHT = torch.tensor([31, 10, 11, 1, 0])
FIRST_ONLY = torch.tensor([9, 2, 1, 1, 0])
SECOND_ONLY = torch.tensor([4, 6, 0, 2, 0])
COUNT = 4000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn_one_by_one(values: list[Tensor], replicates: int) -> Tensor:
    """The slow bootstrap: images of each class are drawn by number, then averaged."""
    source = seeded(99)
    means = []
    for outcome in values:
        picks = torch.randint(0, max(len(outcome), 1), (replicates, len(outcome)), generator=source)
        means.append(outcome.double()[picks].mean(1))
    return torch.stack(means, 1)


def assert_alike(found: Tensor, slow: Tensor) -> None:
    """Two samples of one distribution, class by class: mean and spread within five standard errors, and Kolmogorov-Smirnov."""
    for one, other in zip(found.T, slow.T, strict=True):
        error = float(other.std()) / math.sqrt(COUNT)
        assert abs(float(one.mean() - other.mean())) <= 5 * math.sqrt(2) * error + 1e-12
        assert float(one.std()) == pytest.approx(float(other.std()), rel=0.08, abs=1e-12)
        assert stats.ks_2samp(one, other).pvalue > 1e-4


def test_replicates_are_distributed_as_those_drawn_image_by_image() -> None:
    outcomes = [torch.arange(n) < r for n, r in zip(IMAGES.tolist()[:4], RIGHT.tolist()[:4], strict=True)]
    found = bootstrap_accuracy(RIGHT, IMAGES, COUNT, seeded())
    assert_alike(found[:, :4], drawn_one_by_one(outcomes, COUNT))
    assert found[:, 4].isnan().all()


def test_paired_replicates_are_distributed_as_those_drawn_image_by_image() -> None:
    outcomes = [
        torch.cat([torch.ones(a), -torch.ones(b), torch.zeros(n - a - b)])
        for a, b, n in zip(FIRST_ONLY.tolist()[:4], SECOND_ONLY.tolist()[:4], IMAGES.tolist()[:4], strict=True)
    ]
    found = paired_bootstrap_difference(FIRST_ONLY, SECOND_ONLY, IMAGES, COUNT, seeded())
    assert_alike(found[:, :4], drawn_one_by_one(outcomes, COUNT))
    assert found[:, 4].isnan().all()


def test_replicates_are_whole_images_between_none_and_all() -> None:
    found = bootstrap_accuracy(RIGHT, IMAGES, COUNT, seeded())[:, :4] * IMAGES[:4]
    torch.testing.assert_close(found, found.round(), rtol=0, atol=1e-9)
    assert found.min() >= 0
    assert (found <= IMAGES[:4] + 1e-9).all()
    pairs = paired_bootstrap_difference(FIRST_ONLY, SECOND_ONLY, IMAGES, COUNT, seeded())[:, :4]
    assert pairs.abs().max() <= 1


@pytest.mark.parametrize("share", [0, 1])
def test_a_class_that_is_never_or_always_right_does_not_vary(share: int) -> None:
    found = bootstrap_accuracy(share * IMAGES[:4], IMAGES[:4], 100, seeded())
    assert found.eq(share).all()


def test_heads_that_never_differ_do_not_differ_on_any_sample() -> None:
    assert paired_bootstrap_difference(0 * IMAGES, 0 * IMAGES, IMAGES, 100, seeded())[:, :4].eq(0).all()


def test_a_generator_gives_the_same_replicates_again_and_moves_on() -> None:
    source = seeded(1)
    first, next_one = (bootstrap_accuracy(RIGHT, IMAGES, 50, source) for _ in range(2))
    assert torch.equal(first[:, :4], bootstrap_accuracy(RIGHT, IMAGES, 50, seeded(1))[:, :4])
    assert not torch.equal(first[:, :4], next_one[:, :4])


def test_the_interval_is_the_quantiles_of_the_mean_over_the_splits_classes() -> None:
    replicates = bootstrap_accuracy(RIGHT, IMAGES, 1001, seeded())
    accuracy = RIGHT.double() / IMAGES
    mask = torch.tensor([False, True, False, True, True])
    found = bootstrap_interval(accuracy, replicates, mask, 0.9)
    means = sorted(((replicates[:, 1] + replicates[:, 3]) / 2).tolist())
    assert found == pytest.approx((float((accuracy[1] + accuracy[3]) / 2), means[50], means[950]))
    assert bootstrap_interval(accuracy, replicates).estimate == pytest.approx(float(mean_accuracy(accuracy)))
    wider = bootstrap_interval(accuracy, replicates, mask, 0.99)
    assert wider.low < found.low < found.estimate < found.high < wider.high


def test_the_interval_of_many_classes_is_near_the_normal_one() -> None:
    images = torch.full((100,), 100)
    right = torch.arange(100)
    accuracy = right / images
    found = bootstrap_interval(accuracy, bootstrap_accuracy(right, images, 10_000, seeded()))
    error = math.sqrt(float((accuracy * (1 - accuracy) / images).sum())) / 100
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.05)


def test_an_empty_split_has_no_interval() -> None:
    accuracy, replicates = RIGHT.double() / IMAGES, bootstrap_accuracy(RIGHT, IMAGES, 10, seeded())
    for mask in (torch.zeros(5, dtype=torch.bool), torch.arange(5) == 4):
        assert all(math.isnan(x) for x in bootstrap_interval(accuracy, replicates, mask))


def test_pairs_narrow_the_interval_of_a_difference() -> None:
    """Two heads that agree on most images: their difference varies less than that of unpaired ones."""
    images = torch.full((20,), 50)
    paired = paired_bootstrap_difference(torch.full((20,), 3), torch.full((20,), 2), images, 2000, seeded())
    one, other = (bootstrap_accuracy(torch.full((20,), 25 + gain), images, 2000, seeded(gain)) for gain in (3, 2))
    assert float(paired.mean(1).std()) < 0.6 * float((one - other).mean(1).std())


def test_the_difference_of_the_accuracies_is_what_only_one_head_has_right() -> None:
    source = seeded()
    labels, first, second = (torch.randint(0, 5, (300,), generator=source) for _ in range(3))
    a, b, n = discordant(first, second, labels, 6)
    for k in range(5):
        assert int(a[k]) == sum(y == k and p == k and q != k for y, p, q in zip(labels, first, second, strict=True))
    one, other = (class_accuracy(confusion_matrix(labels, p, 6)) for p in (first, second))
    torch.testing.assert_close((a - b).double() / n, one - other, equal_nan=True)


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_equals_scipys_binomial_test(a: int, b: int) -> None:
    expected = stats.binomtest(a, a + b, 0.5).pvalue if a + b else 1.0
    assert mcnemar(a, b) == pytest.approx(expected, rel=1e-9)
    mid = min(2 * stats.binom.cdf(min(a, b), a + b, 0.5) - stats.binom.pmf(min(a, b), a + b, 0.5), 1.0)
    assert mcnemar(a, b, mid_p=True) == pytest.approx(mid, rel=1e-9)
    assert 0 < mcnemar(a, b, mid_p=True) <= mcnemar(a, b) == mcnemar(b, a) <= 1


def test_heads_that_never_differ_or_differ_evenly_give_no_evidence() -> None:
    assert mcnemar(0, 0) == mcnemar(7, 7) == mcnemar(7, 7, mid_p=True) == 1


def test_thousands_of_discordant_images_neither_overflow_nor_underflow_to_nothing() -> None:
    assert mcnemar(2600, 2400) == pytest.approx(float(stats.binomtest(2400, 5000).pvalue), rel=1e-9)
    assert mcnemar(0, 1000) == pytest.approx(2 * 0.5**1000, rel=1e-12, abs=0)
