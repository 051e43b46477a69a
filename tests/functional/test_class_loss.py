"""`ClassLoss`: every entry of the table by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from wbltr.functional.losses import (
    ClassLoss,
    balanced_binary_cross_entropy,
    class_balanced_weights,
    cross_entropy,
    distillation,
    focal,
    inverse_frequency_weights,
    ldam,
    ldam_margins,
    logit_adjusted,
    smoothed_cross_entropy,
)
from wbltr.functional.priors import log_prior
from wbltr.methods.losses import LOSSES, LossSettings
from wbltr.methods.settings import load

COUNTS = torch.tensor([500, 100, 50, 20, 5])
SETTINGS = LossSettings(
    beta=0.99, rho=0.5, gamma=1.5, tau=0.7, smoothing=0.3, margin=0.4, scale=8.0, temperature=2.0, alpha=0.6
)
BALANCED = class_balanced_weights(COUNTS, 0.99)
CPU = torch.device("cpu")
every_name = pytest.mark.parametrize("name", LOSSES)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    return torch.randn(3, 17, 5, generator=source), torch.randint(0, 5, (17,), generator=source)


@every_name
def test_a_loss_is_changed_by_the_settings_of_its_entry_and_by_no_others(name: str, batch: tuple[Tensor, Tensor]) -> None:
    taught = (batch[0][0].flip(0),) if LOSSES[name].teacher else ()
    start = {"reweight_from": 0} if LOSSES[name].deferred else {}
    usual = ClassLoss(name, COUNTS, LossSettings(**start), CPU)(*batch, *taught)
    for setting, default in vars(LossSettings()).items():
        value = 3 if default is None else default * 0.7
        found = ClassLoss(name, COUNTS, LossSettings(**{**start, setting: value}), CPU)(*batch, *taught)
        assert torch.equal(found, usual) != LOSSES[name].has(setting), setting


@every_name
def test_every_argument_of_an_entrys_functions_is_given(name: str) -> None:
    entry = LOSSES[name]
    own = {setting.name for setting in entry.settings}
    for path, given in [
        (entry.value_of, own | {*entry.from_counts, *entry.fixed, "logits", "labels", "weights", "teacher"}),
        *((path, own | {"counts"}) for path in entry.from_counts.values()),
    ]:
        assert {*inspect.signature(load(path)).parameters} <= given, path


EXPECTED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": cross_entropy,
    "cb": lambda z, y: cross_entropy(z, y, BALANCED),
    "cb-bce": lambda z, y: balanced_binary_cross_entropy(z, y, BALANCED),
    "reweighted": lambda z, y: cross_entropy(z, y, inverse_frequency_weights(COUNTS, 0.5)),
    "focal": lambda z, y: focal(z, y, 1.5),
    "focal-cb": lambda z, y: focal(z, y, 1.5, BALANCED),
    "ldam": lambda z, y: ldam(z / 8, y, ldam_margins(COUNTS, 0.4), 8.0),  # it is given s · cos
    "logit-adjusted": lambda z, y: logit_adjusted(z, y, log_prior(COUNTS), 0.7),
    "balanced-softmax": lambda z, y: logit_adjusted(z, y, log_prior(COUNTS)),
    "label-smooth": lambda z, y: smoothed_cross_entropy(z, y, 0.3),
    "distill": lambda z, y: distillation(z, y, z[0].flip(0), temperature=2.0, alpha=0.6),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_name_stands_for_its_function(name: str, batch: tuple[Tensor, Tensor]) -> None:
    z, y = batch
    taught = (z[0].flip(0),) if name == "distill" else ()
    torch.testing.assert_close(ClassLoss(name, COUNTS, SETTINGS, CPU)(z, y, *taught), EXPECTED[name](z, y))


def test_deferred_weights_begin_to_count_with_their_epoch_in_the_tensor_that_they_had(batch: tuple[Tensor, Tensor]) -> None:
    loss = ClassLoss("ldam", COUNTS, LossSettings(beta=0.99, reweight_from=2), CPU)
    place = loss.weights.data_ptr()
    for epoch, expected in enumerate((torch.ones(5), torch.ones(5), BALANCED.float(), BALANCED.float())):
        loss.begin(epoch)
        assert torch.equal(loss.weights, expected)
    loss.begin(0)  # as a run that starts over
    assert torch.equal(loss.weights, torch.ones(5))
    assert loss.weights.data_ptr() == place
