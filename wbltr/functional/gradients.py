"""Losses of many linear heads with their gradients in closed form: what automatic differentiation gives, in fewer passes.

Logits are `(B, T, C)`: T heads side by side on one batch, so that one matrix product makes them all.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cross_entropy_with_gradient(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted cross entropy and its gradient by the logits.

    L_t = (1 / B) · Σ_i w_{t,y_i} · (−log p_{i,t,y_i}),  ∂L_t/∂z_{i,t,k} = (w_{t,y_i} / B) · (p_{i,t,k} − [k = y_i])

    Args:
        logits: `(B, T, C)`.
        labels: `(B,)` int64.
        weights: `(T, C)` class weights of each head; ones for plain cross entropy.

    Returns:
        Losses `(T,)`, gradient `(B, T, C)`. See `wbltr.functional.losses.cross_entropy` for the source.
    """
    scale = weights[:, labels].T / len(labels)  # (B, T)
    log_p = logits.log_softmax(-1)
    index = labels.view(-1, 1, 1).expand(-1, log_p.shape[1], 1)
    losses = -(log_p.gather(-1, index).squeeze(-1) * scale).sum(0)
    gradient = log_p.exp_()
    gradient.scatter_add_(-1, index, torch.full_like(scale, -1.0).unsqueeze(-1))
    return losses, gradient.mul_(scale.unsqueeze(-1))


def balanced_binary_cross_entropy_with_gradient(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The released class-balanced loss and its gradient by the logits.

    With r_k = p_k / (1 − p_k) for k ≠ y and r_y = −1:  ∂L/∂z_k = (w_y / (B·C)) · (r_k − p_k · Σ_j r_j)

    Args and returns as in `cross_entropy_with_gradient`; see `wbltr.functional.losses.balanced_binary_cross_entropy`.
    """
    classes = logits.shape[-1]
    scale = weights[:, labels].T / (len(labels) * classes)
    p = logits.softmax(-1)
    index = labels.view(-1, 1, 1).expand(-1, p.shape[1], 1)
    rest = (1 - p).clamp(min=1e-12)
    # As torch has it, logarithms end at −100.
    other = rest.log().clamp(min=-100)
    right = p.gather(-1, index).log().clamp(min=-100) - other.gather(-1, index)
    losses = -((other.sum(-1) + right.squeeze(-1)) * scale).sum(0)
    ratio = (p / rest).scatter(-1, index, -1.0)
    return losses, (ratio - p * ratio.sum(-1, keepdim=True)) * scale.unsqueeze(-1)
