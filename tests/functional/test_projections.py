from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from wbltr.functional.adjustments import l2_normalize, tau_normalize
from wbltr.functional.projections import max_norm, relative_radius, row_norms, unit_norm

seeds = st.integers(0, 10_000)


def rows(seed: int) -> Tensor:
    return torch.randn(7, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


@given(seeds, st.floats(0.01, 10))
def test_max_norm_leaves_the_inside_alone_and_brings_the_outside_to_the_radius(seed: int, radius: float) -> None:
    weight = rows(seed)
    projected = max_norm(weight, radius)
    inside = row_norms(weight) <= radius
    assert torch.equal(projected[inside], weight[inside])
    torch.testing.assert_close(row_norms(projected[~inside]), torch.full_like(row_norms(projected[~inside]), radius))


@given(seeds, st.floats(0.01, 10))
def test_max_norm_twice_is_once_and_keeps_directions(seed: int, radius: float) -> None:
    weight = rows(seed)
    once = max_norm(weight, radius)
    torch.testing.assert_close(max_norm(once, radius), once, rtol=1e-12, atol=0)
    torch.testing.assert_close(unit_norm(once), unit_norm(weight))


def test_on_the_boundary_nothing_moves() -> None:
    weight = torch.tensor([[3.0, 4.0]])
    assert torch.equal(max_norm(weight, 5.0), weight)


@given(seeds)
def test_max_norm_equals_the_slow_loop(seed: int) -> None:
    weight = rows(seed)
    slow = weight.clone()
    for k in range(len(slow)):
        norm = float(slow[k].square().sum().sqrt())
        if norm > 2.0:
            slow[k] *= 2.0 / norm
    torch.testing.assert_close(max_norm(weight, 2.0), slow)


@pytest.mark.parametrize("function", [lambda w: max_norm(w, 0.5), unit_norm, l2_normalize, lambda w: tau_normalize(w, 1.9)])
def test_zero_rows_stay_zero(function: object) -> None:
    assert callable(function)
    weight = torch.zeros(2, 3)
    weight[1] = 1.0
    assert torch.equal(function(weight)[0], torch.zeros(3))


def test_a_zero_row_has_a_finite_gradient() -> None:
    weight = torch.zeros(2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(max_norm(weight, 0.5).sum(), weight)
    assert torch.isfinite(gradient).all()


def test_a_radius_per_head_acts_on_its_own_head() -> None:
    weight = torch.ones(2, 3, 4)
    projected = max_norm(weight, torch.tensor([[0.5], [1.0]]))
    torch.testing.assert_close(row_norms(projected), torch.tensor([[0.5] * 3, [1.0] * 3]))


@given(seeds)
def test_tau_zero_changes_nothing_and_tau_one_makes_unit_norms(seed: int) -> None:
    weight = rows(seed)
    torch.testing.assert_close(tau_normalize(weight, 0.0), weight)
    torch.testing.assert_close(row_norms(tau_normalize(weight, 1.0)), torch.ones(7, dtype=torch.float64))
    torch.testing.assert_close(l2_normalize(weight), weight / weight.norm(dim=1, keepdim=True))


@given(seeds, st.floats(1.1, 3))
def test_tau_above_one_reverses_the_order_of_norms(seed: int, tau: float) -> None:
    weight = rows(seed)
    before, after = row_norms(weight), row_norms(tau_normalize(weight, tau))
    torch.testing.assert_close(after, before.pow(1 - tau))


def test_the_relative_radius_runs_from_the_smallest_to_the_largest_norm() -> None:
    norms = torch.tensor([1.0, 3.0, 2.0])
    assert relative_radius(norms, 0.0) == 1.0
    assert relative_radius(norms, 1.0) == 3.0
    assert relative_radius(norms, 0.1) == pytest.approx(1.2)
