"""Focal losses: images the head is already sure of count for little."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def focal(logits: Tensor, labels: Tensor, gamma: float = 2.0, weights: Tensor | None = None) -> Tensor:
    """Focal loss on softmax probabilities.

    (1 / B) · Σ_i w_{y_i} · (1 − p_i)^γ · (−log p_i),  p_i = softmax(z_i)_{y_i}

    Args:
        logits: `(…, B, C)`; leading dimensions are separate heads on the same batch; C > 1.
        labels: `(B,)` int64.
        gamma: γ ≥ 0; 0 gives `cross_entropy`.
        weights: `(C,)`, or None for ones.

    Returns:
        `(…)`, one mean per head.

    Source: Lin et al., ICCV 2017, eq. 4, weights as the α of eq. 5; on a softmax as Cao et al., NeurIPS 2019, compare with it.
    The paper's own is on sigmoids: `binary_focal`.

    >>> float(focal(torch.zeros(2, 4), torch.tensor([0, 3]), gamma=1.0)).__round__(4)
    1.0397
    """
    index = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    log_all = logits.logsumexp(-1)
    log_p = logits.log_softmax(-1).gather(-1, index).squeeze(-1)
    # As a power of e: no root of a difference that rounds to 0, so slopes stay finite for every γ.
    log_rest = logits.scatter(-1, index, -math.inf).logsumexp(-1) - log_all
    losses = -(gamma * log_rest).exp() * log_p
    return (losses if weights is None else losses * weights.to(losses.dtype)[labels]).mean(-1)


def binary_focal(logits: Tensor, labels: Tensor, gamma: float = 2.0, weights: Tensor | None = None) -> Tensor:
    """Focal loss on C sigmoids, one class against the rest each.

    (1 / B) · Σ_i w_{y_i} · Σ_k (1 − p_ik)^γ · (−log p_ik),  p_ik = σ(z_ik) for k = y_i, σ(−z_ik) else

    Its heads begin with a bias of −log(C − 1), so that each sigmoid begins at the prior 1 / C.

    Args:
        logits: `(…, B, C)`.
        labels: `(B,)` int64.
        gamma: γ ≥ 0; 0 gives binary cross entropy, summed over the classes.
        weights: `(C,)`, or None for ones.

    Returns:
        `(…)`, one mean per head.

    Source: Lin et al., ICCV 2017, eq. 4; with class-balanced weights Cui et al., CVPR 2019, section 4.3.

    >>> float(binary_focal(torch.zeros(2, 4), torch.tensor([0, 3]), gamma=1.0)).__round__(4)
    1.3863
    """
    sign = 2 * torch.nn.functional.one_hot(labels, logits.shape[-1]).to(logits.dtype) - 1
    signed = logits * sign
    rest = (gamma * torch.nn.functional.logsigmoid(-signed)).exp()
    losses = -(rest * torch.nn.functional.logsigmoid(signed)).sum(-1)
    return (losses if weights is None else losses * weights.to(losses.dtype)[labels]).mean(-1)
