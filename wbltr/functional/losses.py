"""Losses of logits and labels, for one head or for many at once."""

from __future__ import annotations

import torch
from torch import Tensor


def class_balanced_weights(counts: Tensor, beta: float = 0.9999) -> Tensor:
    """Class weights by the inverse effective number of images, scaled to sum to C.

    w_k ∝ (1 − β) / (1 − β^n_k),  Σ w_k = C

    Args:
        counts: `(C,)` training images per class; classes without images get the weight of one image.
        beta: β in [0, 1); 0 gives ones, towards 1 the inverse counts.

    Returns:
        `(C,)` float64.

    Source: Cui et al., CVPR 2019, section 4, eq. 3; the scaling is theirs too.

    >>> class_balanced_weights(torch.tensor([500, 5])).round(decimals=3).tolist()
    [0.02, 1.98]
    """
    effective = (1 - torch.pow(torch.tensor(beta, dtype=torch.float64), counts.clamp(min=1))) / (1 - beta)
    return counts.numel() * effective.reciprocal() / effective.reciprocal().sum()


def inverse_frequency_weights(counts: Tensor, rho: float = 1.0) -> Tensor:
    """Class weights by a power of the inverse counts, scaled to sum to C.

    w_k ∝ n_k^(−ρ),  Σ w_k = C

    Args:
        counts: `(C,)` training images per class; classes without images get the weight of one image.
        rho: ρ; 0 gives ones, 1 the inverse counts.

    Returns:
        `(C,)` float64.

    Source: Zhang et al., CVPR 2021, section 3.4 (generalized re-weight), whose weights sum to 1.

    >>> inverse_frequency_weights(torch.tensor([3, 1])).tolist()
    [0.5, 1.5]
    """
    weights = counts.double().clamp(min=1).pow(-rho)
    return counts.numel() * weights / weights.sum()


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross entropy over the batch, each image weighted by its class.

    (1 / B) · Σ_i w_{y_i} · (−log softmax(z_i)_{y_i})

    The sum is divided by the batch size, not by Σ w as `torch.nn.functional.cross_entropy(weight=…)` does.

    Args:
        logits: `(…, B, C)`; leading dimensions are separate heads on the same batch.
        labels: `(B,)` int64.
        weights: `(C,)`, or None for ones.

    Returns:
        `(…)`, one mean per head.

    Source: Alshammari et al., CVPR 2022, eq. 1; with weights Cui et al., CVPR 2019, eq. 6.

    >>> float(cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3]))).__round__(4)
    1.3863
    """
    index = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    losses = -logits.log_softmax(-1).gather(-1, index).squeeze(-1)
    return (losses if weights is None else losses * weights.to(losses.dtype)[labels]).mean(-1)


def balanced_binary_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """The released code's class-balanced loss: binary cross entropy on softmax probabilities.

    (1 / (B·C)) · Σ_i w_{y_i} · Σ_k BCE(softmax(z_i)_k, [k = y_i])

    The mean runs over batch and classes, so its gradient is about 1/C of `cross_entropy`'s.

    Args:
        logits: `(…, B, C)`.
        labels: `(B,)` int64.
        weights: `(C,)`.

    Returns:
        `(…)`, one mean per head.

    Source: Cui et al., CVPR 2019, released code (`loss_type="softmax"`).
    """
    probabilities = logits.softmax(-1)
    target = torch.nn.functional.one_hot(labels, logits.shape[-1]).to(logits.dtype).expand_as(logits)
    losses = torch.nn.functional.binary_cross_entropy(probabilities, target, reduction="none")
    return (losses * weights.to(losses.dtype)[labels].unsqueeze(-1)).mean((-2, -1))
