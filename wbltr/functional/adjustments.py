"""Post-hoc adjustments of a trained head; no data needed."""

from __future__ import annotations

from collections.abc import Sequence

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
    return weight * _tau_scale(row_norms(weight), tau).unsqueeze(-1)


def _tau_scale(norms: Tensor, tau: float) -> Tensor:
    """What τ-normalisation multiplies each row by, from its norm; 0 for a zero row."""
    return torch.where(norms > 0, norms.pow(-tau), 0)  # a power of a clamped norm would underflow to 0 / 0


def tau_sweep(logits: Tensor, norms: Tensor, bias: Tensor, taus: Sequence[float]) -> Tensor:
    """What τ-normalised heads predict, at each τ, from one product of embeddings and weights.

    argmax_k (⟨w_k, x⟩ / ‖w_k‖^τ + b_k)

    The product is rescaled, not the rows before it, so roundings differ: near-ties may fall to the other class.

    Args:
        logits: `(N, C)`, without the bias.
        norms: `(C,)` norms of the rows.
        bias: `(C,)`.
        taus: S values.

    Returns:
        `(S, N)` int64.

    Source: as `tau_normalize`.

    >>> tau_sweep(torch.tensor([[2.0, 1.5]]), torch.tensor([2.0, 1.0]), torch.zeros(2), [0.0, 1.0]).tolist()
    [[0], [1]]
    """
    return torch.stack([torch.addcmul(bias, logits, _tau_scale(norms, tau)).argmax(1) for tau in taus])


def l2_normalize(weight: Tensor) -> Tensor:
    """Rows of unit norm: τ-normalisation with τ = 1.

    Source: Alshammari et al., CVPR 2022, section 3.2 and Table 1 ("+ L2norm").
    """
    return tau_normalize(weight, 1.0)
