"""Class priors: how often each class comes, in the training set and among the predictions."""

from __future__ import annotations

from torch import Tensor


def log_prior(counts: Tensor) -> Tensor:
    """Logarithm of each class's share of the training images.

    log π_k = log(n_k / Σ_j n_j)

    Args:
        counts: `(C,)` training images per class; a class without images counts as one image.

    Returns:
        `(C,)` float64, all finite.

    Source: Menon et al., ICLR 2021, section 2.

    >>> import torch
    >>> log_prior(torch.tensor([3, 1])).exp().tolist()
    [0.75, 0.25]
    """
    images = counts.double().clamp(min=1)
    return (images / images.sum()).log()


def predicted_prior(confusion: Tensor) -> Tensor:
    """Share of the images that are predicted as each class.

    q_j = Σ_i M_ij / Σ_ij M_ij

    Args:
        confusion: `(C, C)` int64, images of class i predicted as class j.

    Returns:
        `(C,)` float64 that sums to 1; NaN without images.

    >>> import torch
    >>> predicted_prior(torch.tensor([[1, 1], [0, 2]])).tolist()
    [0.25, 0.75]
    """
    return confusion.sum(0).double() / confusion.sum().double()


def total_variation(first: Tensor, second: Tensor) -> Tensor:
    """Total variation distance of two distributions over classes: what share of the images would have to move.

    ½ Σ_k |p_k − q_k|

    Args:
        first, second: `(…, C)`, each sums to 1.

    Returns:
        `(…)` float64 in [0, 1]; 0 only where they are the same.

    Source: Levin & Peres, Markov Chains and Mixing Times, proposition 4.2.

    >>> import torch
    >>> float(total_variation(torch.tensor([0.5, 0.5]), torch.tensor([0.75, 0.25])))
    0.25
    """
    return (first.double() - second.double()).abs().sum(-1) / 2
