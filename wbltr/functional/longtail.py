"""Long-tail profiles: how many training images each class keeps."""

from __future__ import annotations

import math
from typing import Literal


def long_tail_counts(
    classes: int, largest: int, imbalance_factor: float, profile: Literal["exp", "step"] = "exp"
) -> tuple[int, ...]:
    """Training images per class under a long-tail profile.

    exp:  n_k = ⌊largest · IF^(−k / (C − 1))⌋
    step: n_k = largest for the first half of the classes, ⌊largest / IF⌋ for the rest

    Args:
        classes: C, number of classes, in label order from common to rare.
        largest: images of class 0.
        imbalance_factor: IF ≥ 1, largest over smallest class.
        profile: `exp` (Cui et al., CVPR 2019) or `step` (Buda et al., 2018; Cao et al., NeurIPS 2019).

    Returns:
        C counts, never below 1.

    >>> long_tail_counts(100, 500, 100)[:3], long_tail_counts(100, 500, 100)[-1]
    ((500, 477, 455), 5)
    """
    if profile == "step":
        rare = max(1, math.floor(largest / imbalance_factor))
        return tuple(largest if k < classes // 2 else rare for k in range(classes))
    span = max(1, classes - 1)
    # IF^(−k/(C−1)) written as the field's code does, so that the counts agree where rounding decides.
    return tuple(max(1, int(largest * (1 / imbalance_factor) ** (k / span))) for k in range(classes))
