"""From a config to its loss."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from wbltr.functional.class_loss import ClassLoss, LossSettings
from wbltr.recipe import LossConfig


def loss_settings(config: LossConfig) -> LossSettings:
    """What the config says of its loss."""
    return LossSettings(**{field.name: getattr(config, field.name) for field in fields(LossSettings)})


def class_loss(config: LossConfig, counts: Tensor, device: torch.device) -> ClassLoss:
    """The loss of a config on classes of these sizes `(C,)`."""
    return ClassLoss(config.loss, counts, loss_settings(config), device)
