from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor

from wbltr import rows
from wbltr.functional.class_loss import ClassLoss, Loss, LossSettings
from wbltr.functional.focal import focal
from wbltr.functional.losses import (
    balanced_binary_cross_entropy,
    class_balanced_weights,
    cross_entropy,
    inverse_frequency_weights,
)
from wbltr.functional.margin_losses import ldam, ldam_margins, logit_adjusted
from wbltr.functional.priors import log_prior
from wbltr.functional.soft_targets import distillation, smoothed_cross_entropy
from wbltr.recipe import LossConfig

COUNTS = torch.tensor([500, 100, 50, 20, 5])
SETTINGS = LossSettings(
    beta=0.99, rho=0.5, gamma=1.5, tau=0.7, smoothing=0.3, margin=0.4, scale=8.0, temperature=2.0, alpha=0.6
)
BALANCED = class_balanced_weights(COUNTS, 0.99)
CPU = torch.device("cpu")
every_name = pytest.mark.parametrize("name", get_args(Loss))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    return torch.randn(3, 17, 5, generator=source), torch.randint(0, 5, (17,), generator=source)


def test_recipes_name_the_losses_that_there_are_with_their_defaults() -> None:
    assert get_args(rows.Loss) == get_args(Loss)
    settings = LossSettings()
    assert {*rows.LOSS_FIELDS} - {"head", "teacher"} == {*LossSettings.__dataclass_fields__}
    for name in LossSettings.__dataclass_fields__:
        assert LossConfig.model_fields[name].default == getattr(settings, name), name


@every_name
def test_a_name_stands_for_its_function(name: Loss, batch: tuple[Tensor, Tensor]) -> None:
    z, y = batch
    expected = {
        "ce": cross_entropy(z, y),
        "cb": cross_entropy(z, y, BALANCED),
        "cb-bce": balanced_binary_cross_entropy(z, y, BALANCED),
        "reweighted": cross_entropy(z, y, inverse_frequency_weights(COUNTS, 0.5)),
        "focal": focal(z, y, 1.5),
        "focal-cb": focal(z, y, 1.5, BALANCED),
        "ldam": ldam(z / 8, y, ldam_margins(COUNTS, 0.4), 8.0),  # it is given s · cos
        "logit-adjusted": logit_adjusted(z, y, log_prior(COUNTS), 0.7),
        "balanced-softmax": logit_adjusted(z, y, log_prior(COUNTS)),
        "label-smooth": smoothed_cross_entropy(z, y, 0.3),
        "distill": distillation(z, y, z[0].flip(0), temperature=2.0, alpha=0.6),
    }
    taught = (z[0].flip(0),) if name == "distill" else ()
    torch.testing.assert_close(ClassLoss(name, COUNTS, SETTINGS, CPU)(z, y, *taught), expected[name])


def test_deferred_weights_begin_to_count_with_their_epoch_in_the_tensor_that_they_had(batch: tuple[Tensor, Tensor]) -> None:
    loss = ClassLoss("ldam", COUNTS, LossSettings(beta=0.99, reweight_from=2), CPU)
    place = loss.weights.data_ptr()
    for epoch, expected in enumerate((torch.ones(5), torch.ones(5), BALANCED.float(), BALANCED.float())):
        loss.begin(epoch)
        assert torch.equal(loss.weights, expected)
    loss.begin(0)  # as a run that starts over
    assert torch.equal(loss.weights, torch.ones(5))
    assert loss.weights.data_ptr() == place
