from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from wbltr.functional.gradients import balanced_binary_cross_entropy_with_gradient, cross_entropy_with_gradient
from wbltr.functional.losses import balanced_binary_cross_entropy, cross_entropy

Fast = Callable[..., tuple[Tensor, Tensor]]
Slow = Callable[[Tensor, Tensor, Tensor], Tensor]
PAIRS = [
    (cross_entropy_with_gradient, cross_entropy),
    (balanced_binary_cross_entropy_with_gradient, balanced_binary_cross_entropy),
]


@pytest.mark.parametrize(("fast", "slow"), PAIRS)
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_the_closed_form_equals_automatic_differentiation(fast: Fast, slow: Slow, spread: float) -> None:
    source = torch.Generator().manual_seed(0)
    logits = (spread * torch.randn(17, 3, 5, generator=source, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(0, 5, (17,), generator=source)
    weights = torch.rand(3, 5, generator=source, dtype=torch.float64) + 0.1  # of the classes
    expected = torch.stack([slow(logits[:, head], labels, weights[head]) for head in range(3)])
    (slope,) = torch.autograd.grad(expected.sum(), logits)
    losses, gradient = fast(logits.detach(), labels, weights.T[labels] / len(labels))
    torch.testing.assert_close(losses, expected.detach())
    torch.testing.assert_close(gradient, slope)


@pytest.mark.parametrize(("fast", "slow"), PAIRS)
def test_extreme_logits_give_finite_gradients(fast: Fast, slow: Slow) -> None:
    logits = torch.tensor([[[1e4, -1e4]], [[-1e4, 1e4]]])
    losses, gradient = fast(logits, torch.tensor([1, 1]), torch.ones(2, 1))
    assert torch.isfinite(losses).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("gap", [5.0, 20.0, 40.0, 200.0])
def test_the_released_loss_is_torchs_own_however_sure_the_head_is(gap: float) -> None:
    logits = torch.tensor([[0.0, gap, 1.0], [gap, 0.0, 1.0]], requires_grad=True)
    labels, weights = torch.tensor([0, 0]), torch.tensor([2.0, 1.0, 1.0])
    target = torch.nn.functional.one_hot(labels, 3).float()
    each = weights[labels].unsqueeze(1).expand(-1, 3)
    expected = torch.nn.functional.binary_cross_entropy(logits.softmax(1), target, weight=each)
    torch.autograd.backward(expected)
    shares = (weights[labels] / len(labels)).unsqueeze(1)
    losses, gradient = balanced_binary_cross_entropy_with_gradient(logits.detach().unsqueeze(1), labels, shares)
    torch.testing.assert_close(losses[0], expected.detach())
    torch.testing.assert_close(gradient[:, 0], logits.grad, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(("fast", "slow"), PAIRS)
def test_the_logits_are_not_changed(fast: Fast, slow: Slow) -> None:
    logits = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    before = logits.clone()
    fast(logits, torch.tensor([0, 1, 2, 0]), torch.ones(4, 2))
    assert torch.equal(logits, before)


@pytest.mark.parametrize(("fast", "slow"), PAIRS)
def test_the_gradient_may_be_written_where_the_caller_wants_it(fast: Fast, slow: Slow) -> None:
    logits = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    given = (logits, torch.tensor([0, 1, 2, 0]), torch.ones(4, 2))
    place = torch.full_like(logits, float("nan"))
    losses, gradient = fast(*given, out=place)
    assert gradient is place
    assert torch.equal(gradient, fast(*given)[1])
    assert torch.equal(losses, fast(*given)[0])


@pytest.mark.parametrize(("fast", "slow"), PAIRS)
def test_logits_that_are_no_numbers_give_losses_that_are_none(fast: Fast, slow: Slow) -> None:
    logits = torch.tensor([[[0.0, 1.0], [float("nan"), 1.0], [0.0, float("inf")]]])
    losses, _ = fast(logits, torch.tensor([0]), torch.ones(1, 3))
    assert losses.isfinite().tolist() == [True, False, False]
