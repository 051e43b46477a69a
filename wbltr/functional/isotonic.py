"""Isotonic regression, and heads whose norms follow the size of the classes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from wbltr.functional.projections import row_norms, unit_norm

Direction = Literal["increasing", "decreasing"]


def isotonic_regression(values: Tensor, weights: Tensor | None = None, direction: Direction = "increasing") -> Tensor:
    """The monotone sequence nearest to the values, by pooling adjacent violators.

    argmin_v Σ_i w_i · (v_i − y_i)²  subject to v_1 ≤ v_2 ≤ … (or ≥)

    Args:
        values: y, `(N,)`.
        weights: w > 0, `(N,)`, or None for ones.
        direction: `increasing` never falls, `decreasing` never rises.

    Returns:
        `(N,)` float64; the weighted mean is that of the values.

    Source: Ayer et al., 1955; Barlow et al., Statistical Inference under Order Restrictions, 1972, section 1.2.

    >>> isotonic_regression(torch.tensor([1.0, 3.0, 2.0, 4.0])).tolist()
    [1.0, 2.5, 2.5, 4.0]
    """
    sign = 1.0 if direction == "increasing" else -1.0
    each = torch.ones(len(values)) if weights is None else weights
    blocks: list[tuple[float, float, int]] = []  # mean, weight, how many values; means rise
    for value, weight in zip((sign * values.double()).tolist(), each.tolist(), strict=True):
        mean, total, size = value, weight, 1
        while blocks and blocks[-1][0] >= mean:
            before, heavy, many = blocks.pop()
            mean = (before * heavy + mean * total) / (heavy + total)
            total, size = heavy + total, many + size
        blocks.append((mean, total, size))
    fitted = [sign * mean for mean, _, size in blocks for _ in range(size)]
    return torch.tensor(fitted, dtype=torch.float64, device=values.device)


def isotonic_norms(weight: Tensor, counts: Tensor, direction: Direction) -> Tensor:
    """Rows whose norms are monotone in the size of the classes, and otherwise as they were.

    w_k ← ν_k · w_k / ‖w_k‖,  ν the isotonic regression of ‖w‖ against n

    Classes of the same size get the same norm, the regression of their mean.

    Args:
        weight: `(C, D)`.
        counts: `(C,)` training images per class.
        direction: `increasing`: no class has a smaller norm than one with fewer images; `decreasing`: no larger one.

    Returns:
        `(C, D)`; the mean norm stays, but zero rows stay zero.

    Source: the regression as `isotonic_regression`; its use here is this project's own.

    >>> head = torch.tensor([[3.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    >>> row_norms(isotonic_norms(head, torch.tensor([9, 3, 1]), "increasing")).tolist()
    [3.0, 1.5, 1.5]
    """
    norms = row_norms(weight).double()
    _, place, alike = torch.unique(counts, return_inverse=True, return_counts=True)
    means = torch.zeros(len(alike), dtype=torch.float64, device=weight.device).index_add_(0, place, norms) / alike
    fitted = isotonic_regression(means, alike.double(), direction)[place]
    return unit_norm(weight) * fitted.to(weight.dtype).unsqueeze(-1)
