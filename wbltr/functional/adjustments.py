"""Post-hoc adjustments of a trained head; no data needed."""

from __future__ import annotations

import torch
from torch import Tensor

from wbltr.functional.projections import row_norms


def tau_normalize(weight: Tensor, tau: float) -> Tensor:
    """τ-normalisation of each row; the bias stays as it is.

    w_k ← w_k / ‖w_k‖^τ

    Args:
        weight: `(C, D)`.
        tau: 0 changes nothing, 1 makes unit norms, above 1 gives rare classes the larger ones.

    Returns:
        `(C, D)`; zero rows stay zero.

    Source: Kang et al., ICLR 2020, section 4.1; Alshammari et al., CVPR 2022, Table 1 ("+ τ-norm").
    """
    norms = row_norms(weight)
    scale = torch.where(norms > 0, norms.pow(-tau), 0)  # a power of a clamped norm would underflow to 0 / 0
    return weight * scale.unsqueeze(-1)


def l2_normalize(weight: Tensor) -> Tensor:
    """Rows of unit norm: τ-normalisation with τ = 1.

    Source: Alshammari et al., CVPR 2022, section 3.2 and Table 1 ("+ L2norm").
    """
    return tau_normalize(weight, 1.0)
