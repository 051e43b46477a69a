"""ClassLoss: a loss by name, with what it takes from the training set's class counts. Stages and heads train by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from wbltr.functional.focal import focal
from wbltr.functional.losses import (
    balanced_binary_cross_entropy,
    class_balanced_weights,
    cross_entropy,
    inverse_frequency_weights,
)
from wbltr.functional.margin_losses import deferred_weights, ldam, ldam_margins, logit_adjusted
from wbltr.functional.priors import log_prior
from wbltr.functional.soft_targets import distillation, smoothed_cross_entropy

Loss = Literal[
    "ce", "cb", "cb-bce", "reweighted", "focal", "focal-cb", "ldam", "logit-adjusted", "balanced-softmax", "label-smooth",
    "distill",
]  # fmt: skip


@dataclass(frozen=True)
class LossSettings:
    """What the losses leave open; each reads its own.

    Attributes:
        beta: β of the class-balanced weights: `cb`, `cb-bce`, `focal-cb`, and `ldam` with `reweight_from`.
        rho: ρ of the inverse counts: `reweighted`.
        gamma: γ: `focal`, `focal-cb`.
        tau: τ: `logit-adjusted`.
        smoothing: ε: `label-smooth`.
        margin: of the rarest class: `ldam`.
        scale: s of the cosines that `ldam` is given as logits.
        temperature, alpha: T and α: `distill`.
        reweight_from: epoch, from 0, from which class weights count; None: throughout, and for `ldam` never.
    """

    beta: float = 0.9999
    rho: float = 1.0
    gamma: float = 2.0
    tau: float = 1.0
    smoothing: float = 0.98
    margin: float = 0.5
    scale: float = 30.0
    reweight_from: int | None = None
    temperature: float = 4.0
    alpha: float = 0.9


class ClassLoss:
    """The loss of a name.

    Args:
        name: `ce`, cross entropy; `cb`, class-balanced; `cb-bce`, the released class-balanced one; `reweighted`, by inverse
            counts; `focal`, `focal-cb`; `ldam` on the logits of a cosine head, s · cos; `logit-adjusted`, `balanced-softmax`;
            `label-smooth`, label over-smoothing (Sun et al., ICLR 2025) with a large ε; `distill`, from a teacher's logits.
        counts: `(C,)` training images per class.
        settings: what it leaves open.
        device: where it will be called; the tensors that it reads stay where they are, so a CUDA graph can repeat it.
    """

    def __init__(self, name: Loss, counts: Tensor, settings: LossSettings, device: torch.device) -> None:
        self.name, self.settings = name, settings
        counts = counts.cpu()
        self._full = class_weights(name, counts, settings).to(device)
        self._log_prior = log_prior(counts).float().to(device)
        self._margins = (settings.scale * ldam_margins(counts, settings.margin)).float().to(device)
        self.weights = self._full.clone()
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """An epoch, from 0, is to begin: weights that are deferred may have to count now."""
        start = self.settings.reweight_from
        self.weights.copy_(deferred_weights(self._full, epoch, 0 if start is None else start))

    def __call__(self, logits: Tensor, labels: Tensor, teacher: Tensor | None = None) -> Tensor:
        """`(…, B, C)`, `(B,)` int64, for `distill` a teacher's logits `(B, C)` → `(…)`, each head's mean over the batch."""
        settings = self.settings
        match self.name:
            case "ce":
                return cross_entropy(logits, labels)
            case "cb" | "reweighted":
                return cross_entropy(logits, labels, self.weights)
            case "cb-bce":
                return balanced_binary_cross_entropy(logits, labels, self.weights)
            case "focal" | "focal-cb":
                return focal(logits, labels, settings.gamma, self.weights)
            case "ldam":
                return ldam(logits, labels, self._margins, 1.0, self.weights)
            case "logit-adjusted":
                return logit_adjusted(logits, labels, self._log_prior, settings.tau)
            case "balanced-softmax":
                return logit_adjusted(logits, labels, self._log_prior, 1.0)
            case "label-smooth":
                return smoothed_cross_entropy(logits, labels, settings.smoothing)
            case "distill":
                assert teacher is not None, "a config with this loss names its teacher"
                return distillation(logits, labels, teacher, settings.temperature, settings.alpha)


def class_weights(name: Loss, counts: Tensor, settings: LossSettings) -> Tensor:
    """What each class weighs in this loss once weights count: `(C,)` float32 on the CPU, of mean 1."""
    match name:
        case "reweighted":
            return inverse_frequency_weights(counts.cpu(), settings.rho).float()
        case "cb" | "cb-bce" | "focal-cb":
            return class_balanced_weights(counts.cpu(), settings.beta).float()
        case "ldam" if settings.reweight_from is not None:
            return class_balanced_weights(counts.cpu(), settings.beta).float()
    return torch.ones(len(counts))
