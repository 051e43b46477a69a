"""Losses against targets that are not all on one class: smoothed labels and another head's probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from wbltr.functional.losses import cross_entropy


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float, weights: Tensor | None = None) -> Tensor:
    """Cross entropy against smoothed labels.

    (1 / B) · Σ_i w_{y_i} · Σ_k q_ik · (−log softmax(z_i)_k),  q_ik = (1 − ε) · [k = y_i] + ε / C

    Args:
        logits: `(…, B, C)`; leading dimensions are separate heads on the same batch.
        labels: `(B,)` int64.
        smoothing: ε in [0, 1]; 0 gives `cross_entropy`.
        weights: `(C,)`, or None for ones.

    Returns:
        `(…)`, one mean per head.

    Source: Szegedy et al., CVPR 2016, section 7; with ε near 1 Sun et al., ICLR 2025 (label over-smoothing).

    >>> float(smoothed_cross_entropy(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), 0.4)).__round__(4)
    0.5133
    """
    index = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    log_p = logits.log_softmax(-1)
    right = log_p.gather(-1, index).squeeze(-1)
    losses = -torch.lerp(right, log_p.mean(-1), smoothing)
    return (losses if weights is None else losses * weights.to(losses.dtype)[labels]).mean(-1)


def distillation(
    logits: Tensor, labels: Tensor, teacher: Tensor, temperature: float, alpha: float, weights: Tensor | None = None
) -> Tensor:
    """Knowledge distillation: cross entropy with the labels, mixed with the divergence from a teacher's softened probabilities.

    (1 / B) · Σ_i w_{y_i} · ((1 − α) · (−log softmax(z_i)_{y_i}) + α · T² · KL(softmax(v_i / T) ‖ softmax(z_i / T)))

    T² keeps the size of the teacher's gradient when T changes. The divergence is the teacher's cross entropy less a constant.

    Args:
        logits: z, `(…, B, C)`; leading dimensions are separate heads on the same batch.
        labels: `(B,)` int64.
        teacher: v, the teacher's logits, broadcasts against `logits`; detach them.
        temperature: T > 0.
        alpha: α in [0, 1]; 0 gives `cross_entropy`.
        weights: `(C,)`, or None for ones.

    Returns:
        `(…)`, one mean per head.

    Source: Hinton et al., 2015 (arXiv 1503.02531), section 2.

    >>> z = torch.tensor([[1.0, 0.0]])
    >>> float(distillation(z, torch.tensor([0]), teacher=z, temperature=4.0, alpha=1.0))
    0.0
    """
    taught = (teacher / temperature).log_softmax(-1)
    learned = (logits / temperature).log_softmax(-1)
    divergence = torch.nn.functional.kl_div(learned, taught.expand_as(learned), reduction="none", log_target=True)
    losses = temperature**2 * divergence.sum(-1)
    soft = (losses if weights is None else losses * weights.to(losses.dtype)[labels]).mean(-1)
    return torch.lerp(cross_entropy(logits, labels, weights), soft, alpha)
