"""Small sums that tell what a setting did: whether two orders agree, how far tensors moved, what weight decay leaves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy import stats
from torch import Tensor


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's correlation of two quantities: 1 where they rise together, −1 where one falls as the other rises.

    Args:
        first, second: `(C,)`; equal values share their mean rank.

    Returns:
        In [−1, 1]; NaN where one of them has the same value everywhere.

    Source: Spearman, American Journal of Psychology, 1904.

    >>> rank_correlation(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([5, 3, 1]))
    -1.0
    """
    if first.min() == first.max() or second.min() == second.max():
        return math.nan  # scipy would warn
    return float(stats.spearmanr(first.numpy(), second.numpy()).statistic)


def relative_distance(before: Tensor, after: Tensor) -> float:
    """How far a tensor moved, measured by its size: ‖after − before‖ / ‖before‖, in the L2 norm.

    Args:
        before, after: of one shape.

    Returns:
        ≥ 0; infinite where something came of zeros, NaN where zeros stayed.

    >>> relative_distance(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5]))
    0.1
    """
    before, after = before.double(), after.double()
    return float(torch.linalg.vector_norm(after - before) / torch.linalg.vector_norm(before))


def decay_left(lrs: Sequence[float], weight_decay: float, momentum: float, steps: int) -> float:
    """What weight decay leaves of a weight that no gradient reaches: the share of its size after the schedule.

    Π_e (1 − lr_e · λ / (1 − μ))^steps

    Plain SGD (μ = 0) multiplies such a weight by 1 − lr · λ at each step; momentum repeats each pull 1 / (1 − μ) times in all.

    Args:
        lrs: learning rate of each epoch.
        weight_decay: λ, SGD's, as a recipe has it.
        momentum: μ in [0, 1).
        steps: batches of an epoch.

    Returns:
        In [0, 1]; 1 without weight decay.

    Source: Hanson & Pratt, NeurIPS 1988 (weight decay); the factor of momentum as in Polyak, 1964.

    >>> round(decay_left([0.1, 0.1], 0.1, 0.9, steps=5), 4)
    0.3487
    """
    return math.prod(max(0.0, 1 - lr * weight_decay / (1 - momentum)) ** steps for lr in lrs)
