"""Heads that are not trained: class means, unit rows, the simplex."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from wbltr.functional.projections import unit_norm


def class_means(embeddings: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean embedding of each class.

    μ_k = (1 / n_k) · Σ_{i: y_i = k} x_i

    Args:
        embeddings: x, `(N, D)`.
        labels: `(N,)` int64.
        classes: C.

    Returns:
        `(C, D)` float64; NaN for a class without images.

    >>> class_means(torch.tensor([[1.0, 0.0], [3.0, 2.0]]), torch.tensor([1, 1]), 2).tolist()
    [[nan, nan], [2.0, 1.0]]
    """
    sums = torch.zeros(classes, embeddings.shape[1], dtype=torch.float64, device=embeddings.device)
    sums.index_add_(0, labels, embeddings.double())
    return sums / labels.bincount(minlength=classes).unsqueeze(1)


def nearest_class_mean(
    embeddings: Tensor, labels: Tensor, classes: int, distance: Literal["euclidean", "cosine"] = "cosine"
) -> tuple[Tensor, Tensor]:
    """The linear head that predicts the class whose mean is nearest.

    euclidean: argmin_k ‖x − μ_k‖ = argmax_k (⟨μ_k, x⟩ − ‖μ_k‖² / 2)
    cosine:    argmax_k ⟨μ_k / ‖μ_k‖, x⟩, whatever the norm of x; also the nearest of the normalised means to it

    Args:
        embeddings: `(N, D)`, of training images.
        labels: `(N,)` int64.
        classes: C.
        distance: how near is measured.

    Returns:
        Weight `(C, D)` and bias `(C,)` of the embeddings' dtype. A class without images has a zero row and a bias of −∞: it is
        never predicted.

    Source: Kang et al., ICLR 2020, section 4 (nearest class mean).

    >>> x = torch.tensor([[0.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    >>> nearest_class_mean(x, torch.tensor([0, 0, 1]), 2, "euclidean")
    (tensor([[0., 2.],
            [1., 0.]]), tensor([-2.0000, -0.5000]))
    """
    means = class_means(embeddings, labels, classes)
    if distance == "cosine":
        means = unit_norm(means)
        bias = torch.zeros_like(means[:, 0])
    else:
        bias = -means.square().sum(1) / 2
    absent = labels.bincount(minlength=classes) == 0
    weight = means.masked_fill(absent.unsqueeze(1), 0)
    return weight.to(embeddings.dtype), bias.masked_fill(absent, -math.inf).to(embeddings.dtype)


def cosine_logits(embeddings: Tensor, weight: Tensor, scale: float = 1.0) -> Tensor:
    """Logits of a cosine classifier.

    z_ik = s · ⟨x_i, w_k⟩ / (‖x_i‖ · ‖w_k‖)

    Args:
        embeddings: x, `(…, B, D)`.
        weight: `(…, C, D)`.
        scale: s > 0.

    Returns:
        `(…, B, C)` in [−s, s]; 0 for a zero row or a zero embedding.

    Source: Gidaris & Komodakis, CVPR 2018, section 3 (cosine-similarity based classifier).

    >>> cosine_logits(torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 5.0]]), scale=16.0).tolist()
    [[0.0, 16.0]]
    """
    return scale * unit_norm(embeddings) @ unit_norm(weight).mT


def simplex_etf(classes: int, dimensions: int, generator: torch.Generator) -> Tensor:
    """A simplex equiangular tight frame, turned at random: C unit rows as far apart as C rows can be.

    W = √(C / (C − 1)) · H · Qᵀ,  so that W Wᵀ = (C · I − 1 1ᵀ) / (C − 1)

    H `(C, C − 1)` is an orthonormal basis of what is orthogonal to 1 (Helmert's), Q `(D, C − 1)` has random
    orthonormal columns.

    Args:
        classes: C ≥ 2.
        dimensions: D ≥ C − 1, enough for every simplex. In fewer there is none.
        generator: where Q comes from; on a CPU or elsewhere, and the result lies there too.

    Returns:
        `(C, D)` float32; rows sum to zero and have cosines of −1 / (C − 1).

    Raises:
        ValueError: when D < C − 1: no C vectors have those cosines then (64 dimensions hold 65 classes).

    Source: Papyan et al., PNAS 2020, definition 1; as a fixed head Yang et al., NeurIPS 2022, eq. 1, written for D ≥ C.

    >>> w = simplex_etf(3, 2, torch.Generator())
    >>> (w @ w.T).round(decimals=4).abs().tolist()
    [[1.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.5, 0.5, 1.0]]
    """
    if classes < 2 or dimensions < classes - 1:
        raise ValueError(f"no simplex of {classes} classes in {dimensions} dimensions: it needs {max(classes - 1, 1)}")
    row = torch.arange(classes, device=generator.device).unsqueeze(1)
    column = torch.arange(1, classes, dtype=torch.float64, device=generator.device)
    basis = ((row < column).double() - column * (row == column)) / (column * (column + 1)).sqrt()
    noise = torch.empty(dimensions, classes - 1, dtype=torch.float64, device=generator.device).normal_(generator=generator)
    q, r = torch.linalg.qr(noise)
    q = q * r.diagonal().sign()  # else the signs would be the library's choice
    return unit_norm(basis @ q.T).float()
