"""Whether probabilities mean what they say. Without images, or without images of the chosen classes: NaN, never 0.

Everywhere: `logits (N, C)`; `labels (N,)` int64; `mask (C,)` bool, the classes whose images are measured, None for all;
`weights (N,)`, what each image counts, None for alike. For a mean over classes: `image_weights(labels, labels.bincount(),
"class-balanced")` of `wbltr.functional.sampling`. All is computed and given in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Binning = Literal["width", "mass"]


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: M bins of confidence, from low to high."""

    share: Tensor  # (M,) float64, of the images' weights; sums to 1
    confidence: Tensor  # (M,) float64, mean in the bin; NaN in an empty one
    accuracy: Tensor  # (M,) float64, likewise


def negative_log_likelihood(
    logits: Tensor, labels: Tensor, mask: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """Mean surprise at the true class, in nats.

    Σ_i w_i · (−log p_{i,y_i}) / Σ_i w_i

    Args and weights: see the module.

    Returns:
        0-d float64 ≥ 0.

    Source: Guo et al., ICML 2017, eq. 5 (there the sum).

    >>> float(negative_log_likelihood(torch.zeros(2, 4), torch.tensor([0, 3]))).__round__(4)
    1.3863
    """
    logits, labels, weights = _chosen(logits, labels, mask, weights)
    losses = -logits.log_softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)
    return (weights * losses).sum() / weights.sum()


def brier_score(logits: Tensor, labels: Tensor, mask: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """Mean squared distance of the probabilities from the truth, summed over classes.

    Σ_i w_i · Σ_k (p_ik − [k = y_i])² / Σ_i w_i

    Args and weights: see the module.

    Returns:
        0-d float64 in [0, 2].

    Source: Brier, 1950, eq. 2.

    >>> float(brier_score(torch.zeros(2, 4), torch.tensor([0, 3])))
    0.75
    """
    logits, labels, weights = _chosen(logits, labels, mask, weights)
    errors = logits.softmax(1) - torch.nn.functional.one_hot(labels, logits.shape[1])
    return (weights * errors.square().sum(1)).sum() / weights.sum()


def reliability_diagram(
    logits: Tensor,
    labels: Tensor,
    bins: int = 15,
    binning: Binning = "width",
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> Reliability:
    """Confidence against accuracy in bins of confidence, the largest probability.

    width: bin m holds confidences in ((m − 1) / M, m / M]
    mass:  bin m holds the images of rank [N (m − 1) / M, N m / M) in confidence; equal ones share the lowest of their bins

    Args:
        bins: M.
        binning: equal width, or equal numbers of images ("adaptive").

    Other args and weights: see the module.

    Source: Niculescu-Mizil & Caruana, ICML 2005; Guo et al., ICML 2017, section 2; `mass` Nguyen & O'Connor, EMNLP 2015.

    >>> found = reliability_diagram(torch.tensor([[2.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]), bins=10)
    >>> found.accuracy.tolist()[-3:]
    [0.0, 1.0, nan]
    """
    logits, labels, weights = _chosen(logits, labels, mask, weights)
    confidence, predicted = logits.softmax(1).max(1)
    place = _bin_of(confidence, bins, binning)
    sums = torch.bincount(place, weights, bins)
    return Reliability(
        sums / weights.sum(),
        torch.bincount(place, weights * confidence, bins) / sums,
        torch.bincount(place, weights * (predicted == labels), bins) / sums,
    )


def expected_calibration_error(
    logits: Tensor,
    labels: Tensor,
    bins: int = 15,
    binning: Binning = "width",
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean distance of confidence and accuracy over the bins of `reliability_diagram`.

    Σ_m share_m · |accuracy_m − confidence_m|

    With few images a bin it is too large even for honest probabilities: compare heads on the same images only.

    Args, weights and source: as there (Guo et al., eq. 3).

    Returns:
        0-d float64 in [0, 1].

    >>> float(expected_calibration_error(torch.zeros(2, 2), torch.tensor([0, 0])))
    0.5
    """
    logits, labels, weights = _chosen(logits, labels, mask, weights)
    confidence, predicted = logits.softmax(1).max(1)
    return _error(confidence, predicted == labels, weights, bins, binning)


def classwise_calibration_error(
    logits: Tensor,
    labels: Tensor,
    bins: int = 15,
    binning: Binning = "width",
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean over classes of the calibration error of each class's own probability, on all images.

    (1 / C) · Σ_k Σ_m share_mk · |frequency of class k in bin m − mean p_k in bin m|

    Args:
        bins, binning: as in `reliability_diagram`, of p_k.
        mask: `(C,)`, the classes k to average over; here the images are all measured, since p_k speaks of them all.

    Other args and weights: see the module.

    Returns:
        0-d float64 in [0, 1].

    Source: Kull et al., NeurIPS 2019, section 2.

    >>> float(classwise_calibration_error(torch.zeros(2, 2), torch.tensor([0, 0])))
    0.5
    """
    logits, labels, weights = _chosen(logits, labels, None, weights)
    p = logits.softmax(1).T.contiguous()
    classes = torch.arange(len(p)) if mask is None else mask.nonzero().squeeze(1)
    errors = [_error(p[k], labels == k, weights, bins, binning) for k in classes.tolist()]
    return torch.stack(errors).mean() if errors else logits.new_tensor(torch.nan)


def _chosen(logits: Tensor, labels: Tensor, mask: Tensor | None, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Logits in float64, labels and weights of the images whose class is chosen."""
    weights = torch.ones(len(labels), dtype=torch.float64, device=logits.device) if weights is None else weights.double()
    if mask is None:
        return logits.double(), labels, weights
    keep = mask[labels]
    return logits[keep].double(), labels[keep], weights[keep]


def _bin_of(values: Tensor, bins: int, binning: Binning) -> Tensor:
    """In which bin each probability falls: `(N,)` int64."""
    if binning == "width":
        edges = torch.arange(1, bins, dtype=torch.float64, device=values.device) / bins
        return torch.bucketize(values, edges)
    below = torch.searchsorted(values.sort().values, values)
    return below * bins // max(len(values), 1)


def _error(values: Tensor, hits: Tensor, weights: Tensor, bins: int, binning: Binning) -> Tensor:
    """Σ_m |Σ_{i in m} w_i (hit_i − p_i)| / Σ_i w_i: 0-d, NaN without images."""
    gaps = torch.bincount(_bin_of(values, bins, binning), weights * (hits.double() - values), bins)
    return gaps.abs().sum() / weights.sum()
