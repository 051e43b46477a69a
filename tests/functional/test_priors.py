from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wbltr.functional.priors import log_prior, predicted_prior, total_variation

counts = st.lists(st.integers(1, 10**6), min_size=2, max_size=20)


@given(counts)
def test_the_prior_is_each_classes_share_and_sums_to_one(images: list[int]) -> None:
    prior = log_prior(torch.tensor(images)).exp()
    assert prior.tolist() == pytest.approx([n / sum(images) for n in images])
    assert float(prior.sum()) == pytest.approx(1)


def test_a_class_without_images_counts_as_one_image_and_its_logarithm_is_finite() -> None:
    assert torch.equal(log_prior(torch.tensor([3, 0])), log_prior(torch.tensor([3, 1])))


def test_the_predicted_prior_counts_columns_and_is_nan_without_images() -> None:
    assert predicted_prior(torch.tensor([[1, 3], [0, 4]])).tolist() == [1 / 8, 7 / 8]
    assert predicted_prior(torch.zeros(3, 3, dtype=torch.int64)).isnan().all()


@given(counts, st.data())
def test_total_variation_is_a_distance_between_zero_and_one(images: list[int], data: st.DataObject) -> None:
    p, q, r = (log_prior(torch.tensor(data.draw(st.permutations(images)))).exp() for _ in range(3))
    assert float(total_variation(p, p)) == 0
    assert float(total_variation(p, q)) == float(total_variation(q, p))
    assert float(total_variation(p, r)) <= float(total_variation(p, q) + total_variation(q, r)) + 1e-12
    assert 0 <= float(total_variation(p, q)) <= 1
    # The most that the two can differ on any set of classes: here the set where p is larger.
    assert float(total_variation(p, q)) == pytest.approx(
        sum(max(0.0, a - b) for a, b in zip(p.tolist(), q.tolist(), strict=True))
    )


def test_distributions_on_different_classes_are_one_apart() -> None:
    assert float(total_variation(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))) == 1
    assert math.isnan(float(total_variation(torch.tensor([math.nan, 0.0]), torch.tensor([0.0, 1.0]))))
