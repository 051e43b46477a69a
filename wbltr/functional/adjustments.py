"""Post-hoc adjustments of a trained head; no data needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from wbltr.functional.priors import log_prior
from wbltr.functional.projections import row_norms, unit_norm


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


def logit_adjust(bias: Tensor, counts: Tensor, tau: float = 1.0) -> Tensor:
    """Additive logit adjustment, as a bias.

    b_k ← b_k − τ · log π_k

    Args:
        bias: `(…, C)`; logits do as well.
        counts: `(C,)` training images per class; a class without images counts as one image.
        tau: τ; 0 changes nothing, 1 predicts as if all classes were equally common.

    Returns:
        Shape and dtype of `bias`.

    Source: Menon et al., ICLR 2021, eq. 9.

    >>> logit_adjust(torch.zeros(2), torch.tensor([3, 1])).neg().exp().tolist()
    [0.75, 0.25]
    """
    return bias - (tau * log_prior(counts)).to(bias.dtype)


def logit_adjust_multiplicative(weight: Tensor, bias: Tensor, counts: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """Multiplicative logit adjustment: every logit, bias included, times π_k^(−τ).

    w_k ← π_k^(−τ) · w_k,  b_k ← π_k^(−τ) · b_k

    Meant for logits of a nearly collapsed network, where the true class's is positive: a negative logit of a rare class
    falls further.

    Args:
        weight: `(…, C, D)`.
        bias: `(…, C)`.
        counts: `(C,)` training images per class; a class without images counts as one image.
        tau: τ; 0 changes nothing. Published: 0.65 on CIFAR100-LT, 1.6 on CIFAR10-LT.

    Returns:
        Weight and bias, shapes and dtypes as they came.

    Source: Hasegawa & Sato, ICLR 2024, section 5; Kim & Kim, IEEE Access 2020.

    >>> logit_adjust_multiplicative(torch.ones(2, 1), torch.ones(2), torch.tensor([3, 1]), 1.0)[1].reciprocal().tolist()
    [0.75, 0.25]
    """
    scale = (-tau * log_prior(counts)).exp()
    return weight * scale.to(weight.dtype).unsqueeze(-1), bias * scale.to(bias.dtype)


def retarget(bias: Tensor, counts: Tensor, prior: Tensor) -> Tensor:
    """The head for images whose classes come with another, known prior.

    p′(k | x) ∝ p(k | x) · π′_k / π_k,  that is  b_k ← b_k + log π′_k − log π_k

    Args:
        bias: `(…, C)`; logits do as well.
        counts: `(C,)` training images per class, for π; a class without images counts as one image.
        prior: π′, `(C,)`, scaled to sum to 1; a class with 0 gets −∞ and is never predicted.

    Returns:
        Shape and dtype of `bias`; with a uniform one `logit_adjust` at τ = 1, less log C.

    Source: Saerens et al., Neural Computation 2002, eq. 2.4.

    >>> retarget(torch.zeros(2), torch.tensor([3, 1]), torch.tensor([1.0, 1.0])).softmax(0)
    tensor([0.2500, 0.7500])
    """
    wanted = prior.double() / prior.double().sum()
    return bias + (wanted.log() - log_prior(counts)).to(bias.dtype)


def isotonic_norms(weight: Tensor, counts: Tensor, direction: Literal["increasing", "decreasing"]) -> Tensor:
    """Rows whose norms are monotone in the size of the classes, and otherwise as they were.

    w_k ← ν_k · w_k / ‖w_k‖,  ν the isotonic regression of ‖w‖ against n

    Classes of the same size get the same norm, the regression of their mean.

    Args:
        weight: `(C, D)`.
        counts: `(C,)` training images per class.
        direction: `increasing`: no class has a smaller norm than one with fewer images; `decreasing`: no larger one.

    Returns:
        `(C, D)`; the mean norm stays, but zero rows stay zero.

    Source: this project's own; the regression is scikit-learn's.

    >>> head = torch.tensor([[3.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    >>> row_norms(isotonic_norms(head, torch.tensor([9, 3, 1]), "increasing")).tolist()
    [3.0, 1.5, 1.5]
    """
    from sklearn.isotonic import IsotonicRegression

    norms = row_norms(weight).double().cpu().numpy()
    fitted = IsotonicRegression(increasing=direction == "increasing").fit_transform(counts.cpu().numpy(), norms)
    return unit_norm(weight) * torch.from_numpy(fitted).to(weight).unsqueeze(-1)
