"""What every loss of logits and labels keeps to, whatever it is for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from wbltr.functional.losses import (
    class_balanced_weights,
    cross_entropy,
    distillation,
    focal,
    ldam,
    ldam_margins,
    logit_adjusted,
    smoothed_cross_entropy,
)
from wbltr.functional.priors import log_prior
from wbltr.methods.losses import LOSSES
from wbltr.methods.settings import load, taken

COUNTS = torch.tensor([500, 100, 50, 20, 5])
WEIGHTS = class_balanced_weights(COUNTS)
TEACHER = torch.tensor([2.0, -1.0, 0.5, 0.0, -3.0])
Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def of(name: str) -> Loss:
    """The function of an entry with the settings' defaults; its last argument is the class weights."""
    entry, function = LOSSES[name], load(LOSSES[name].value_of)
    own = {setting.name: setting.default for setting in entry.settings}
    counted = {argument: load(path) for argument, path in entry.from_counts.items()}
    own |= {**entry.fixed} | {argument: make(COUNTS, **taken(make, own)) for argument, make in counted.items()}

    def loss(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        weights = torch.ones(5) if weights is None and name == "cb-bce" else weights
        value: Tensor = function(
            logits, labels, **taken(function, {**own, "weights": weights, "teacher": TEACHER.to(logits.dtype)})
        )
        return value

    return loss


CASES: dict[str, Loss] = {name: of(name) for name in LOSSES} | {
    "focal, a root": lambda z, y, w: focal(z, y, 0.5, w),
    "focal, γ = 0": lambda z, y, w: focal(z, y, 0.0, w),
    "ldam, scaled": lambda z, y, w: ldam(z, y, ldam_margins(COUNTS), 30.0, w),
    "logit adjusted, τ = 1.5": lambda z, y, w: logit_adjusted(z, y, log_prior(COUNTS), 1.5, w),
    "smoothed": lambda z, y, w: smoothed_cross_entropy(z, y, 0.1, w),
}
every_loss = pytest.mark.parametrize("loss", CASES.values(), ids=CASES)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    return torch.randn(3, 17, 5, generator=source, dtype=torch.float64), torch.randint(0, 5, (17,), generator=source)


@every_loss
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_heads_are_independent(loss: Loss, weights: Tensor | None, batch: tuple[Tensor, Tensor]) -> None:
    logits, labels = batch
    together = loss(logits, labels, weights)
    alone = torch.stack([loss(logits[head], labels, weights) for head in range(3)])
    assert together.shape == (3,)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@every_loss
def test_an_images_loss_counts_by_its_classes_weight_over_the_batch_size(loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
    logits, labels = batch[0][0, :3], batch[1][:3]
    each = [loss(logits[[i]], labels[[i]], None) for i in range(3)]
    expected = sum(float(WEIGHTS[label]) * float(value) for label, value in zip(labels, each, strict=True)) / 3
    assert float(loss(logits, labels, WEIGHTS)) == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(loss(logits, labels, torch.ones(5)), loss(logits, labels, None))


@every_loss
def test_the_loss_is_never_negative(loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
    assert (loss(5 * batch[0], batch[1], WEIGHTS) >= 0).all()


@every_loss
def test_the_slope_is_that_of_finite_differences(loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
    logits = batch[0][0].requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, batch[1], WEIGHTS), (logits,))


@every_loss
@pytest.mark.parametrize("size", [1e-30, 20.0, 1e4, 1e30])
def test_extreme_logits_give_finite_losses_and_slopes(loss: Loss, size: float) -> None:
    right_and_wrong = torch.tensor([[1.0, -1.0, -1.0, -1.0, -1.0], [1.0, -1.0, -1.0, -1.0, -1.0], [0.0] * 5])
    logits = (size * right_and_wrong).requires_grad_()
    value = loss(logits, torch.tensor([0, 4, 2]), WEIGHTS)
    (slope,) = torch.autograd.grad(value, logits)
    assert torch.isfinite(value)
    assert torch.isfinite(slope).all()


@every_loss
def test_adding_a_constant_to_all_logits_of_an_image_changes_no_softmax_loss(loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
    logits, labels = batch
    torch.testing.assert_close(loss(logits + 7.0, labels, None), loss(logits, labels, None))


@every_loss
def test_half_precision_stays_half_precision(loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
    assert loss(batch[0].bfloat16(), batch[1], WEIGHTS).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: focal(z, y, 0.0, WEIGHTS),
        lambda z, y: ldam(z, y, torch.zeros(5), 1.0, WEIGHTS),
        lambda z, y: logit_adjusted(z, y, log_prior(COUNTS), 0.0, WEIGHTS),
        lambda z, y: smoothed_cross_entropy(z, y, 0.0, WEIGHTS),
        lambda z, y: distillation(z, y, TEACHER.double(), 4.0, 0.0, WEIGHTS),
    ],
    ids=["focal", "ldam", "logit adjusted", "smoothed", "distillation"],
)
def test_with_its_setting_at_nothing_a_loss_is_cross_entropy(
    loss: Callable[[Tensor, Tensor], Tensor], batch: tuple[Tensor, Tensor]
) -> None:
    torch.testing.assert_close(loss(*batch), cross_entropy(*batch, WEIGHTS), rtol=1e-12, atol=1e-12)
