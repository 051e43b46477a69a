"""Projections of a classifier's rows, applied after an optimizer step."""

from __future__ import annotations

import torch
from torch import Tensor


def row_norms(weight: Tensor) -> Tensor:
    """L2 norm of each class's weights: `(…, C, D)` → `(…, C)`."""
    norms: Tensor = torch.linalg.vector_norm(weight, dim=-1)
    return norms


def max_norm(weight: Tensor, radius: float | Tensor) -> Tensor:
    """Project each row onto the L2 ball of radius δ.

    w_k ← min(1, δ / ‖w_k‖) · w_k

    Args:
        weight: `(…, C, D)`.
        radius: δ > 0, a number or a tensor that broadcasts against `(…, C)`.

    Returns:
        Same shape; rows inside the ball and zero rows unchanged.

    Source: Alshammari et al., CVPR 2022, eq. 5.

    >>> import torch
    >>> max_norm(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 1.0).norm(dim=1).tolist()
    [1.0, 0.5]
    """
    return weight * max_norm_scale(row_norms(weight), radius).unsqueeze(-1)


def max_norm_scale(norms: Tensor, radius: float | Tensor, stretch: float | Tensor = 1.0) -> Tensor:
    """What a projection multiplies each row by, from its norm: min(s, δ / ‖w_k‖), same shape as `norms`.

    Args:
        norms: of the rows; a zero row stays zero.
        radius: δ, as in `max_norm`; infinite for no constraint.
        stretch: s, 1 for the ball (MaxNorm), infinite for the sphere of that radius.
    """
    return (radius / norms.clamp(min=1e-30)).clamp(max=stretch)


def on_radius(norms: Tensor, radius: float | Tensor) -> Tensor:
    """Whether each row lies on the radius or beyond, as bool; a projected one may have rounded to the inside."""
    return norms >= radius * (1 - 1e-4)


def was_moved(scale: Tensor) -> Tensor:
    """Whether `max_norm_scale` shrank each row, as bool; one on the radius may round to the outside without having moved."""
    return scale < 1 / (1 + 1e-6)


def unit_norm(weight: Tensor) -> Tensor:
    """Project each row onto the unit sphere: w_k ← w_k / ‖w_k‖; zero rows stay zero.

    Source: Alshammari et al., CVPR 2022, eq. 2.
    """
    return weight / row_norms(weight).clamp(min=1e-30).unsqueeze(-1)


def relative_radius(norms: Tensor, share: float) -> float:
    """MaxNorm radius between the smallest and the largest row norm: min + share · (max − min).

    Args:
        norms: `(C,)` row norms of the first stage's classifier.
        share: 0 gives the smallest norm, 1 the largest.

    Source: the paper's released code (share 0.1).
    """
    return float(norms.min() + share * (norms.max() - norms.min()))
