"""Cross entropies whose logits are shifted by class while training, so that rare classes keep the larger margins."""

from __future__ import annotations

import torch
from torch import Tensor

from wbltr.functional.losses import cross_entropy


def ldam_margins(counts: Tensor, largest: float = 0.5) -> Tensor:
    """Margins that balance the generalisation bounds of the classes.

    Δ_k = largest · (n_min / n_k)^(1/4)

    Args:
        counts: `(C,)` training images per class; a class without images counts as one image.
        largest: margin of the rarest class.

    Returns:
        `(C,)` float64.

    Source: Cao et al., NeurIPS 2019, section 3.2 (Δ ∝ n^(−1/4)); the largest, 0.5, as released.

    >>> ldam_margins(torch.tensor([16, 1])).tolist()
    [0.25, 0.5]
    """
    images = counts.double().clamp(min=1)
    return largest * (images.min() / images).pow(0.25)


def ldam(logits: Tensor, labels: Tensor, margins: Tensor, scale: float = 30.0, weights: Tensor | None = None) -> Tensor:
    """Label-distribution-aware margin loss: the true class has to win by its margin.

    (1 / B) · Σ_i w_{y_i} · (−log softmax(s · (z_i − Δ_{y_i} · e_{y_i}))_{y_i})

    Margins are lengths: the paper's logits are cosines (see `wbltr.functional.prototypes.cosine_logits`).

    Args:
        logits: `(…, B, C)`; leading dimensions are separate heads on the same batch.
        labels: `(B,)` int64.
        margins: Δ, `(C,)`.
        scale: s > 0.
        weights: `(C,)`, or None for ones; deferred ones come from `deferred_weights`.

    Returns:
        `(…)`, one mean per head; divided by B, where the released code divides by Σ w.

    Source: Cao et al., NeurIPS 2019, section 3.2; scale 30 as released.

    >>> float(ldam(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([0.5, 0.5]), scale=2.0)).__round__(4)
    1.3133
    """
    true = torch.nn.functional.one_hot(labels, logits.shape[-1])
    return cross_entropy(scale * (logits - true * margins.to(logits.dtype)), labels, weights)


def deferred_weights(weights: Tensor, epoch: int, start: int) -> Tensor:
    """Deferred re-weighting: all classes alike before an epoch, weighted from it on.

    w_k(e) = 1 for e < start, w_k from then on

    Args:
        weights: `(C,)`, for example `class_balanced_weights(counts)`.
        epoch: e, from 0.
        start: first epoch with weights; 0 for weights throughout. Released: 160 of 200.

    Returns:
        `(C,)`.

    Source: Cao et al., NeurIPS 2019, section 3.3, algorithm 1.

    >>> [deferred_weights(torch.tensor([0.5, 1.5]), epoch, start=1).tolist() for epoch in range(2)]
    [[1.0, 1.0], [0.5, 1.5]]
    """
    return weights if epoch >= start else torch.ones_like(weights)


def logit_adjusted(
    logits: Tensor, labels: Tensor, log_prior: Tensor, tau: float = 1.0, weights: Tensor | None = None
) -> Tensor:
    """Logit-adjusted cross entropy: the head learns what is left of the logits once the class prior is added.

    (1 / B) · Σ_i w_{y_i} · (−log softmax(z_i + τ · log π)_{y_i})

    Nothing is added when it predicts; at τ = 1 its logits estimate those of a balanced training set.

    Args:
        logits: `(…, B, C)`; leading dimensions are separate heads on the same batch.
        labels: `(B,)` int64.
        log_prior: `(C,)`, see `wbltr.functional.priors.log_prior`.
        tau: τ; 0 gives `cross_entropy`.
        weights: `(C,)`, or None for ones.

    Returns:
        `(…)`, one mean per head.

    Source: Menon et al., ICLR 2021, eq. 10.

    >>> prior = torch.tensor([0.8, 0.2])
    >>> float(logit_adjusted(torch.zeros(1, 2), torch.tensor([1]), prior.log()).neg().exp()).__round__(4)
    0.2
    """
    return cross_entropy(logits + tau * log_prior.to(logits.dtype), labels, weights)
