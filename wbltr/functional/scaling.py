"""Temperature and vector scaling: logits made honest on validation images, at two prices."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wbltr.functional.losses import cross_entropy

WIDEST = 1e4  # how far the temperature may lie from the logits' own size, either way


def temperature_fit(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> float:
    """The temperature of least cross entropy.

    argmin_T (1 / N) · Σ_i w_{y_i} · (−log softmax(z_i / T)_{y_i})

    The loss is convex in 1 / T, so Newton's steps, held inside a bracket that halves where they leave it, find the one minimum.

    Args:
        logits: `(N, C)`, finite, of images the head has not learned from.
        labels: `(N,)` int64.
        weights: `(C,)`, or None for ones; 1 / n_k for a mean over classes.

    Returns:
        T > 0, to 1e-12 of itself, the same on every call. It never leaves [1e-4, 1e4] times the mean distance between the
        true class's logit and the others': that is where it ends when every image is right (T → 0) or when the logits tell
        less than nothing (T → ∞). 1 without images or with all logits equal.

    Source: Guo et al., ICML 2017, section 4.2.

    >>> z = torch.tensor([[3.0, 0.0]]).expand(4, 2)  # three of four right: the probability to reach is 3/4
    >>> temperature_fit(z, torch.tensor([0, 0, 0, 1])).__round__(4)
    2.7307
    """
    z = logits.double()
    gaps = z - z.gather(1, labels.unsqueeze(1))
    shares = torch.ones_like(z[:, 0]) if weights is None else weights.double()[labels]
    shares = shares / shares.sum()
    size = float((shares * gaps.abs().mean(1)).sum())
    if not size > 0:
        return 1.0
    low, high = 1 / WIDEST, WIDEST  # of β = size / T
    gaps = gaps / size
    beta = 1.0
    for _ in range(200):
        p = (beta * gaps).softmax(1)
        mean = (p * gaps).sum(1, keepdim=True)
        slope = float((shares * mean.squeeze(1)).sum())
        bend = float((shares * (p * (gaps - mean).square()).sum(1)).sum())
        step = beta - slope / bend if bend > 0 else math.inf
        low, high = (low, beta) if slope > 0 else (beta, high)
        if abs(step - beta) <= 1e-12 * beta or high <= low * (1 + 1e-12):
            break
        beta = step if low < step < high else math.sqrt(low * high)
    return size / beta


def vector_scale(logits: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Logits scaled and shifted class by class; predictions may change.

    z_k ← s_k · z_k + b_k

    Args:
        logits: `(…, C)`.
        scale, shift: s and b, `(C,)`. As a head: `scale.unsqueeze(1) * weight`, `scale * bias + shift`.

    Returns:
        Same shape.

    Source: Guo et al., ICML 2017, section 4.2 (vector scaling).

    >>> vector_scale(torch.tensor([1.0, 1.0]), torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])).tolist()
    [2.0, 4.0]
    """
    return logits * scale + shift


def vector_scaling_fit(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, steps: int = 1000
) -> tuple[Tensor, Tensor]:
    """Scale and shift of each class of least cross entropy, by L-BFGS from the fitted temperature.

    argmin_{s, b} (1 / N) · Σ_i w_{y_i} · (−log softmax(s ∘ z_i + b)_{y_i})

    The loss is convex, and never above that of `temperature_fit`. With few images a class it overfits; where a plane parts
    the classes it has no minimum, and what `steps` steps have reached is given.

    Args:
        logits: `(N, C)`, finite, of images the head has not learned from.
        labels: `(N,)` int64.
        weights: `(C,)`, or None for ones; 1 / n_k for a mean over classes.
        steps: at most; it ends before when no slope is above 1e-9.

    Returns:
        Scale and shift, `(C,)` float64; the shifts sum to 0, as every slope does. Ones and zeros without images.

    Source: Guo et al., ICML 2017, section 4.2 (vector scaling); Liu & Nocedal, 1989.

    >>> z = torch.tensor([[3.0, 0.0]]).expand(4, 2)
    >>> scale, shift = vector_scaling_fit(z, torch.tensor([0, 0, 0, 1]))
    >>> vector_scale(z[0], scale, shift).softmax(0)
    tensor([0.7500, 0.2500], dtype=torch.float64)
    """
    classes = logits.shape[1]
    scale = torch.ones(classes, dtype=torch.float64, device=logits.device)
    shift = torch.zeros_like(scale)
    if not len(labels):
        return scale, shift
    temperature = temperature_fit(logits, labels, weights)
    z = logits.double() / temperature
    scale.requires_grad_()
    shift.requires_grad_()
    found = torch.optim.LBFGS(
        [scale, shift], max_iter=steps, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        found.zero_grad()
        value = cross_entropy(vector_scale(z, scale, shift), labels, weights)
        torch.autograd.backward(value)
        return value

    with torch.enable_grad():
        found.step(loss)  # type: ignore[no-untyped-call]
    return scale.detach() / temperature, shift.detach()
