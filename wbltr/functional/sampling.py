"""How often images are drawn in training, by the size of their class."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Sampling = Literal["instance", "class-balanced", "square-root"]


def image_weights(labels: Tensor, counts: Tensor, sampling: Sampling) -> Tensor | None:
    """What each image is drawn by, with replacement; a class k of n_k images is then drawn with p_k ∝ n_k^q.

    instance: q = 1, every image once; class-balanced: q = 0; square-root: q = 1/2.

    Args:
        labels: `(N,)` int64.
        counts: `(C,)` int64 training images per class.

    Returns:
        `(N,)` float64, n_y^(q − 1), or None for `instance`.

    Source: Kang et al., ICLR 2020, eq. 1 and section 4.1.

    >>> import torch
    >>> image_weights(torch.tensor([0, 0, 0, 0, 1]), torch.tensor([4, 1]), "square-root").tolist()
    [0.5, 0.5, 0.5, 0.5, 1.0]
    """
    match sampling:
        case "instance":
            return None
        case "class-balanced":
            return counts.double().reciprocal()[labels]
        case "square-root":
            return counts.double().rsqrt()[labels]
