"""How well probabilities rank images, whatever the threshold."""

from __future__ import annotations

import torch
from torch import Tensor

COLUMNS = 256  # classes ranked at a time: ranks take as much memory as the probabilities


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
    from scipy.stats import rankdata

    images, classes = probabilities.shape
    sums = torch.zeros(classes, dtype=torch.float64)
    for start in range(0, classes, COLUMNS):
        columns = torch.arange(start, min(start + COLUMNS, classes))
        ranks = torch.from_numpy(rankdata(probabilities[:, columns].T.contiguous().cpu().numpy(), axis=1))
        sums[columns] = (ranks * (labels.cpu() == columns.unsqueeze(1))).sum(1)
    own = labels.cpu().bincount(minlength=classes).double()
    return (sums - own * (own + 1) / 2) / (own * (images - own))
