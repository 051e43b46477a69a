"""Accuracy on long-tailed classes: per class, per split, overall. A class or split without images is NaN, never 0."""

from __future__ import annotations

import torch
from torch import Tensor

SPLITS = ("many", "medium", "few")


def confusion_matrix(labels: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """Images of class i predicted as class j: `(C, C)` int64 from two `(N,)` int64."""
    return torch.bincount(labels * classes + predictions, minlength=classes * classes).view(classes, classes)


def class_accuracy(confusion: Tensor) -> Tensor:
    """Share of each class's images that are predicted right: `(C, C)` → `(C,)` float64 in [0, 1], NaN without images."""
    return confusion.diagonal().double() / confusion.sum(1).double()


def split_masks(counts: Tensor, many: int, few: int) -> dict[str, Tensor]:
    """Which classes are Many (n > many), Medium (few ≤ n ≤ many), Few (n < few), by training images n.

    Args:
        counts: `(C,)` int64 training images per class.
        many, few: thresholds; the paper's are 100 and 20.

    Returns:
        Three `(C,)` bool masks that cover each class once.

    Source: Liu et al., CVPR 2019; Alshammari et al., CVPR 2022, section 4.

    >>> {k: int(v.sum()) for k, v in split_masks(torch.tensor([500, 100, 20, 5]), 100, 20).items()}
    {'many': 1, 'medium': 2, 'few': 1}
    """
    return {"many": counts > many, "medium": (counts <= many) & (counts >= few), "few": (counts <= many) & (counts < few)}


def mean_accuracy(per_class: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over classes of per-class accuracy, classes without images left out: `(C,)` → 0-d float64, NaN if none is left."""
    return (per_class if mask is None else per_class[mask]).nanmean()


def top_k_correct(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """Whether the label is among the k largest logits: `(N, C)`, `(N,)` → `(N,)` bool."""
    return (logits.topk(min(k, logits.shape[1])).indices == labels.unsqueeze(1)).any(1)


def macro_f1(confusion: Tensor) -> Tensor:
    """Mean over classes of F1 = 2TP / (2TP + FP + FN); classes neither present nor predicted are left out: 0-d float64."""
    return class_f1(confusion).nanmean()


def class_f1(confusion: Tensor) -> Tensor:
    """F1 = 2TP / (2TP + FP + FN) of each class: `(C, C)` → `(C,)` float64, NaN for a class neither present nor predicted.

    >>> class_f1(torch.tensor([[3, 0, 1], [1, 0, 0], [0, 0, 1]])).round(decimals=4).tolist()
    [0.75, 0.0, 0.6667]
    """
    return 2 * confusion.diagonal().double() / (confusion.sum(0) + confusion.sum(1)).double()


def harmonic_mean_accuracy(per_class: Tensor, mask: Tensor | None = None) -> Tensor:
    """Harmonic mean over classes of per-class accuracy: 0 as soon as one class is never right.

    m / Σ_k (1 / a_k), over the m classes with images

    Args:
        per_class: `(C,)` in [0, 1]; NaN is left out.
        mask: `(C,)` bool, the classes of a split; None for all.

    Returns:
        0-d float64, NaN if none is left.

    >>> float(harmonic_mean_accuracy(torch.tensor([0.5, 1.0, float("nan")]))).__round__(4)
    0.6667
    """
    return _present(per_class, mask).reciprocal().mean().reciprocal()


def geometric_mean_accuracy(per_class: Tensor, mask: Tensor | None = None) -> Tensor:
    """Geometric mean over classes of per-class accuracy: 0 as soon as one class is never right.

    (Π_k a_k)^(1 / m), over the m classes with images; arguments and NaN as in `harmonic_mean_accuracy`.

    Source: Kubat & Matwin, ICML 1997.

    >>> float(geometric_mean_accuracy(torch.tensor([0.25, 1.0])))
    0.5
    """
    return _present(per_class, mask).log().mean().exp()


def worst_accuracy(per_class: Tensor, mask: Tensor | None = None) -> Tensor:
    """Accuracy of the worst class; arguments and NaN as in `harmonic_mean_accuracy`.

    >>> float(worst_accuracy(torch.tensor([0.25, 1.0, float("nan")])))
    0.25
    """
    present = _present(per_class, mask)
    return present.min() if len(present) else present.mean()


def _present(per_class: Tensor, mask: Tensor | None) -> Tensor:
    """The classes of the mask that are not NaN, in float64."""
    chosen = (per_class if mask is None else per_class[mask]).double()
    return chosen[~chosen.isnan()]
