"""Focal losses: images the head is already sure of count for little."""

from __future__ import annotations

import math

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

    >>> import torch
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
