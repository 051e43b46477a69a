"""Losses of many linear heads with their gradients; those in closed form take fewer passes than automatic differentiation.

Logits are `(B, T, C)`: T heads side by side on one batch, so that one matrix product makes them all.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def cross_entropy_with_gradient(
    logits: Tensor, labels: Tensor, shares: Tensor, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Weighted cross entropy and its gradient by the logits.

    L_t = Σ_i s_{i,t} · (−log p_{i,t,y_i}),  ∂L_t/∂z_{i,t,k} = s_{i,t} · (p_{i,t,k} − [k = y_i])

    Args:
        logits: `(B, T, C)`; not changed.
        labels: `(B,)` int64.
        shares: `(B, T)`, s, what each image counts for each head: its class's weight over B; 1 / B for plain cross entropy.
        out: `(B, T, C)`, where the gradient is written; not the logits themselves. None: a new tensor.

    Returns:
        Losses `(T,)`, gradient `(B, T, C)`. A probability counts as no less than the smallest normal number, so an
        image's loss ends at 87 in float32. See `wbltr.functional.losses.cross_entropy` for the source.
    """
    shares = shares.unsqueeze(-1)
    gradient: Tensor = torch.softmax(logits, -1, out=out)
    index = labels.view(-1, 1, 1).expand_as(shares)
    p = gradient.gather(-1, index)
    gradient.scatter_(-1, index, p - 1).mul_(shares)
    losses = p.clamp_(min=torch.finfo(p.dtype).tiny).log_().mul_(shares).sum((0, 2)).neg_()
    return losses, gradient


def balanced_binary_cross_entropy_with_gradient(
    logits: Tensor, labels: Tensor, shares: Tensor, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The released class-balanced loss and its gradient by the logits.

    With r_k = p_k / (1 − p_k) for k ≠ y and r_y = −1:  ∂L/∂z_k = (s / C) · (r_k − p_k · Σ_j r_j)

    As torch has it, logarithms end at −100, and p · (1 − p) is no less than 1e-12 where a gradient is divided by it.

    Args and returns as in `cross_entropy_with_gradient`; see `wbltr.functional.losses.balanced_binary_cross_entropy`.
    """
    scale = shares.unsqueeze(-1) / logits.shape[-1]
    p = logits.softmax(-1)
    index = labels.view(-1, 1, 1).expand_as(scale)
    rest = 1 - p
    other = rest.log().clamp_(min=-100)
    right = p.gather(-1, index).log().clamp(min=-100) - other.gather(-1, index)
    losses = ((other.sum(-1, keepdim=True) + right) * scale).sum((0, 2)).neg_()
    variance = p * rest
    bounded = variance.clamp(min=1e-12)
    ratio = (p * p / bounded).scatter_(-1, index, -(variance / bounded).gather(-1, index))
    gradient: Tensor = torch.sub(ratio, p * ratio.sum(-1, keepdim=True), out=out)
    return losses, gradient.mul_(scale)


def loss_with_gradient(
    loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, labels: Tensor, out: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Any loss and its gradient by the logits, by automatic differentiation.

    Args:
        loss: logits `(T, B, C)`, labels `(B,)` → means over the batch `(T,)`.
        logits: `(B, T, C)`; not changed.
        labels: `(B,)` int64.
        out: `(B, T, C)`, where the gradient is written. None: a new tensor.

    Returns:
        Losses `(T,)`, gradient `(B, T, C)`.
    """
    with torch.enable_grad():
        leaf = logits.detach().transpose(0, 1).requires_grad_()
        losses = loss(leaf, labels)
        (slope,) = torch.autograd.grad(losses.sum(), leaf)
    gradient = slope.transpose(0, 1)
    return losses.detach(), gradient if out is None else out.copy_(gradient)
