from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from torch import Tensor

from wbltr.functional.losses import cross_entropy
from wbltr.functional.scaling import temperature_fit, vector_scale, vector_scaling_fit

WEIGHTS = torch.tensor([0.2, 0.5, 1.0, 1.5, 1.8])


def validation(seed: int, size: float = 1.0, images: int = 300) -> tuple[Tensor, Tensor]:
    """Logits of five classes that tell something of the label, and the labels."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 5, (images,), generator=source)
    return size * (torch.randn(images, 5, generator=source) + 1.5 * torch.eye(5)[labels]), labels


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_temperature_is_the_one_a_search_finds(seed: int, weights: Tensor | None) -> None:
    logits, labels = validation(seed)
    found = temperature_fit(logits, labels, weights)
    searched = minimize_scalar(
        lambda log_t: float(cross_entropy(logits.double() / math.exp(log_t), labels, weights)), bracket=(-1, 1), tol=1e-10
    )
    assert found == pytest.approx(math.exp(searched.x), rel=1e-6)


@given(st.integers(0, 1000), st.floats(-20, 20))
def test_the_temperature_follows_the_size_of_the_logits_over_forty_orders(seed: int, exponent: float) -> None:
    logits, labels = validation(seed, images=60)
    size = 10**exponent
    expected = size * temperature_fit(logits, labels)
    assert temperature_fit(size * logits.double(), labels) == pytest.approx(expected, rel=1e-6)


def test_the_slope_of_the_loss_is_nothing_at_the_fitted_temperature() -> None:
    logits, labels = validation(0, size=37.0)
    inverse = torch.tensor(1 / temperature_fit(logits, labels), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(cross_entropy(logits.double() * inverse, labels), inverse)
    assert abs(float(slope)) < 1e-9


def test_honest_logits_have_a_temperature_of_one() -> None:
    p = torch.tensor([0.7, 0.2, 0.1])
    labels = torch.arange(3).repeat_interleave(torch.tensor([70, 20, 10]))
    assert temperature_fit(p.log().expand(100, 3), labels) == pytest.approx(1, rel=1e-6)


def test_where_there_is_no_best_temperature_it_stays_finite_and_positive() -> None:
    sure, labels = 5 * torch.eye(5).repeat(4, 1), torch.arange(5).repeat(4)
    cold, hot = temperature_fit(sure, labels), temperature_fit(-sure, labels)
    assert 0 < cold < 0.1
    assert 100 < hot < math.inf
    assert temperature_fit(torch.zeros(3, 5), torch.tensor([0, 1, 2])) == 1
    assert temperature_fit(torch.empty(0, 5), torch.empty(0, dtype=torch.int64)) == 1


def test_both_fits_give_the_same_bits_twice_and_need_no_gradients_switched_on() -> None:
    logits, labels = validation(3)
    with torch.no_grad():
        first = (temperature_fit(logits, labels), *vector_scaling_fit(logits, labels))
    second = (temperature_fit(logits, labels), *vector_scaling_fit(logits, labels))
    assert first[0] == second[0]
    assert torch.equal(first[1], second[1])
    assert torch.equal(first[2], second[2])
    assert not first[1].requires_grad


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_vectors_are_as_good_as_those_another_minimiser_finds(size: float, weights: Tensor | None) -> None:
    logits, labels = validation(1, size)
    scale, shift = vector_scaling_fit(logits, labels, weights)

    def loss(x: Tensor) -> Tensor:
        return cross_entropy(vector_scale(logits.double(), x[:5], x[5:]), labels, weights)

    found = torch.cat([scale, shift]).requires_grad_()
    (slope,) = torch.autograd.grad(loss(found), found)
    assert float((slope[:5] / size).abs().max()) < 1e-6
    assert float(slope[5:].abs().max()) < 1e-6
    start = torch.cat([torch.ones(5) / size, torch.zeros(5)]).numpy()
    other = minimize(lambda x: float(loss(torch.from_numpy(x))), start, method="BFGS" if size == 1 else "Powell")
    assert float(loss(found.detach())) <= other.fun + 1e-7


def test_vectors_are_never_worse_than_one_temperature_and_shifts_sum_to_zero() -> None:
    for seed in range(10):
        logits, labels = validation(seed, images=40)
        scale, shift = vector_scaling_fit(logits, labels)
        one = float(cross_entropy(logits.double() / temperature_fit(logits, labels), labels))
        assert float(cross_entropy(vector_scale(logits.double(), scale, shift), labels)) <= one
        assert float(shift.sum()) == pytest.approx(0, abs=1e-9)


def test_vectors_undo_a_known_distortion() -> None:
    """At the best shift each class is predicted as often, in sum of probabilities, as it comes."""
    logits, labels = validation(2)
    scale, shift = vector_scaling_fit(logits + torch.tensor([3.0, 0.0, -1.0, 0.0, 2.0]), labels)
    p = vector_scale(logits.double() + torch.tensor([3.0, 0.0, -1.0, 0.0, 2.0]), scale, shift).softmax(1)
    torch.testing.assert_close(p.sum(0), labels.bincount(minlength=5).double(), rtol=1e-5, atol=1e-5)


def test_vectors_stay_finite_where_there_is_no_best() -> None:
    sure, labels = 5 * torch.eye(5).repeat(4, 1), torch.arange(5).repeat(4)
    for logits in (sure, -sure, torch.zeros(20, 5)):
        scale, shift = vector_scaling_fit(logits, labels)
        assert scale.isfinite().all()
        assert shift.isfinite().all()
    scale, shift = vector_scaling_fit(torch.empty(0, 5), torch.empty(0, dtype=torch.int64))
    assert (scale.tolist(), shift.tolist()) == ([1.0] * 5, [0.0] * 5)


def test_scaled_logits_are_those_of_a_head() -> None:
    source = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*shape, generator=source) for shape in ((7, 3), (5, 3), (5,)))
    scale, shift = torch.rand(5, generator=source), torch.randn(5, generator=source)
    logits = x @ weight.T + bias
    scaled = x @ (scale.unsqueeze(1) * weight).T + (scale * bias + shift)
    torch.testing.assert_close(vector_scale(logits, scale, shift), scaled)
