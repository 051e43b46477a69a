from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wbltr.functional.diagnostics import decay_left, rank_correlation, relative_distance
from wbltr.functional.schedules import cosine

numbers = st.lists(st.integers(-1000, 1000), min_size=2, max_size=20, unique=True)


@given(numbers)
def test_an_order_agrees_with_itself_under_any_rising_scale_and_opposes_its_reverse(values: list[int]) -> None:
    x = torch.tensor(values).double()
    assert rank_correlation(x, (x / 1000).exp()) == pytest.approx(1)
    assert rank_correlation(x, -x) == pytest.approx(-1)


def test_a_constant_has_no_order() -> None:
    assert math.isnan(rank_correlation(torch.ones(3), torch.tensor([1, 2, 3])))
    assert math.isnan(rank_correlation(torch.tensor([1, 2, 3]), torch.ones(3)))


def test_a_distance_is_relative_to_what_was_there_before() -> None:
    x = torch.tensor([3.0, 4.0])
    assert relative_distance(x, x) == 0
    assert relative_distance(x, 3 * x) == pytest.approx(2)
    assert relative_distance(torch.zeros(2), x) == math.inf


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_what_decay_leaves_is_what_torchs_sgd_leaves_of_a_weight_without_gradients(momentum: float) -> None:
    lrs, steps, decay = cosine(0.01, 4), 200, 5e-3
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    sgd = torch.optim.SGD([weight], lr=1.0, momentum=momentum, weight_decay=decay)
    for lr in lrs:
        sgd.param_groups[0]["lr"] = lr
        for _ in range(steps):
            weight.grad = torch.zeros_like(weight)
            sgd.step()
    assert decay_left(lrs, decay, momentum, steps) == pytest.approx(float(weight.detach()), rel=0.01)


def test_without_weight_decay_everything_is_left_and_a_huge_one_leaves_nothing() -> None:
    assert decay_left(cosine(0.01, 4), 0.0, 0.9, 10) == 1
    assert decay_left([0.1], 1000.0, 0.9, 1) == 0
