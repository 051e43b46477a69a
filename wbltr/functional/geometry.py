"""The shape of embeddings and heads: how classes lie apart, and what follows their size."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wbltr.functional.projections import row_norms, unit_norm
from wbltr.functional.prototypes import class_means


def fisher_discriminant_ratio(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Fisher's discriminant ratio: the spread of the class means, measured by the spread within classes.

    tr(S_W⁺ S_B),  S_W = Σ_i (x_i − μ_{y_i})(x_i − μ_{y_i})ᵀ,  S_B = Σ_k n_k (μ_k − μ)(μ_k − μ)ᵀ

    Invariant to an invertible linear map of the embeddings. S_W⁺ is the pseudo-inverse: directions in which no class varies,
    which would count without end, are left out (the released code drops coordinates that never vary).

    Args:
        embeddings: x, `(N, D)`; computed in float64.
        labels: `(N,)` int64; classes without images play no part.

    Returns:
        0-d float64 ≥ 0; NaN if nothing varies within classes.

    Source: Fukunaga, Introduction to Statistical Pattern Recognition, 1990, section 10.2; Hasegawa & Sato, ICLR 2024, section 4
    and released code.

    >>> x = torch.tensor([[0.0], [2.0], [4.0], [6.0]])
    >>> float(fisher_discriminant_ratio(x, torch.tensor([0, 0, 1, 1])))
    4.0
    """
    _, place, images = torch.unique(labels, return_inverse=True, return_counts=True)
    x = embeddings.double()
    means = class_means(x, place, len(images))
    inside = x - means[place]
    within = inside.T @ inside
    if not within.any():
        return torch.tensor(math.nan, dtype=torch.float64, device=x.device)
    apart = means - x.mean(0)
    between = apart.T @ (apart * images.unsqueeze(1))
    ratio: Tensor = (torch.linalg.pinv(within, hermitian=True) @ between).trace()
    return ratio


def mean_pairwise_cosine(vectors: Tensor) -> Tensor:
    """Mean cosine of two different rows: of class means (`class_means`) or of a head.

    (1 / (m (m − 1))) · Σ_{k ≠ l} cos(v_k, v_l) = (‖Σ_k v_k / ‖v_k‖‖² − m) / (m (m − 1))

    Args:
        vectors: `(C, D)`; zero rows and rows with NaN are left out.

    Returns:
        0-d float64 in [−1 / (m − 1), 1], the least for a simplex; NaN with fewer than two rows.

    Source: Papyan et al., PNAS 2020, section on equiangularity; Hasegawa & Sato, ICLR 2024, section 4.

    >>> float(mean_pairwise_cosine(torch.tensor([[1.0, 0.0], [0.0, 3.0], [2.0, 0.0]]))).__round__(4)
    0.3333
    """
    rows = vectors.double()
    rows = unit_norm(rows[row_norms(rows) > 0])
    m = len(rows)
    return (rows.sum(0).square().sum() - m) / torch.tensor(m * (m - 1), dtype=torch.float64, device=rows.device)
