"""Losses against targets that are not all on one class: smoothed labels and another head's probabilities."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from wbltr.functional.losses import cross_entropy


def smoothed_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    smoothing: float | Tensor,
    weights: Tensor | None = None,
    over: Literal["all", "others"] = "all",
) -> Tensor:
    """Cross entropy against smoothed labels; ε may differ by class.

    (1 / B) · Σ_i w_{y_i} · Σ_k q_ik · (−log softmax(z_i)_k)

    all:    q_ik = (1 − ε_{y_i}) · [k = y_i] + ε_{y_i} / C
    others: q_ik = 1 − ε_{y_i} for k = y_i, ε_{y_i} / (C − 1) else

    Args:
        logits: `(…, B, C)`; leading dimensions are separate heads on the same batch; C > 1.
        labels: `(B,)` int64.
        smoothing: ε in [0, 1], a number or `(C,)` by the label's class (see `label_aware_smoothing`); 0 gives `cross_entropy`.
        weights: `(C,)`, or None for ones.
        over: which classes share ε.

    Returns:
        `(…)`, one mean per head.

    Source: Szegedy et al., CVPR 2016, section 7 (`all`); Zhong et al., CVPR 2021, section 3.2 (`others` in the paper, `all` in
    the released code).

    >>> float(smoothed_cross_entropy(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), 0.2, over="others")).__round__(4)
    0.5133
    """
    classes = logits.shape[-1]
    index = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    log_p = logits.log_softmax(-1)
    right = log_p.gather(-1, index).squeeze(-1)
    epsilon = smoothing.to(logits.dtype)[labels] if isinstance(smoothing, Tensor) else smoothing
    total = log_p.sum(-1)
    spread = total / classes if over == "all" else (total - right) / (classes - 1)
    losses = -((1 - epsilon) * right + epsilon * spread)
    return (losses if weights is None else losses * weights.to(losses.dtype)[labels]).mean(-1)


def label_aware_smoothing(
    counts: Tensor, most: float, least: float, shape: Literal["concave", "linear", "convex"] = "concave"
) -> Tensor:
    """How much each class's labels are smoothed: common classes, over-confident ones, the most.

    With t_k = (n_k − n_min) / (n_max − n_min):

    concave: ε_k = least + (most − least) · sin(π t_k / 2)
    linear:  ε_k = least + (most − least) · t_k
    convex:  ε_k = most + (most − least) · sin(3π / 2 + π t_k / 2)

    Args:
        counts: `(C,)` training images per class.
        most, least: ε of the commonest and of the rarest class. Released for CIFAR100-LT, IF 100: 0.4 and 0.1.
        shape: how ε grows in between.

    Returns:
        `(C,)` float64; `least` for all classes if they are equally large.

    Source: Zhong et al., CVPR 2021, section 3.2.

    >>> label_aware_smoothing(torch.tensor([500, 252, 5]), most=0.4, least=0.1, shape="linear").round(decimals=3).tolist()
    [0.4, 0.25, 0.1]
    """
    images = counts.double()
    t = (images - images.min()) / (images.max() - images.min()).clamp(min=1)
    match shape:
        case "concave":
            return least + (most - least) * (t * math.pi / 2).sin()
        case "linear":
            return least + (most - least) * t
        case "convex":
            return most + (most - least) * (1.5 * math.pi + t * math.pi / 2).sin()


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
