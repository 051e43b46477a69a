"""How well probabilities rank images, whatever the threshold."""

from __future__ import annotations

import torch
from torch import Tensor


def auroc(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Area under the ROC curve of each class against the rest.

    A_k = P(p_ik > p_jk) + ½ · P(p_ik = p_jk),  i an image of class k, j one of another;
    by ranks: A_k = (Σ_{y_i = k} rank_ik − n_k (n_k + 1) / 2) / (n_k (N − n_k))

    Args:
        probabilities: p, `(N, C)`; any scores do that rank the images of one column.
        labels: y, `(N,)` int64.

    Returns:
        `(C,)` float64 in [0, 1]; NaN for a class without images, or with all of them.

    Source: Hanley & McNeil, Radiology 1982; one class against the rest, Provost & Domingos, Machine Learning 2003.

    >>> auroc(torch.tensor([[0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.5, 0.5, 0.0]]), torch.tensor([0, 0, 1])).tolist()
    [0.5, 0.5, nan]
    """
    images, classes = probabilities.shape
    counts = labels.bincount(minlength=classes)
    areas = torch.full((classes,), torch.nan, dtype=torch.float64)
    for k in counts.nonzero().squeeze(1).tolist():
        column = probabilities[:, k].contiguous()
        own, ordered = column[labels == k], column.sort().values
        # Equal values share their mean rank, counted from 1.
        ranks = (torch.searchsorted(ordered, own) + torch.searchsorted(ordered, own, right=True) + 1).double() / 2
        n = len(own)
        areas[k] = (ranks.sum() - n * (n + 1) / 2) / (n * (images - n))
    return areas
