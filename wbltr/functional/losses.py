"""Losses of logits and labels, for one head or for many at once; by family, and `ClassLoss`, which finds one by its name.

Each gives `(…)`, one mean per head over the batch, in the dtype of its logits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wbltr.methods.losses import LOSSES, LossSettings
from wbltr.methods.settings import load, taken


def class_balanced_weights(counts: Tensor, beta: float = 0.9999) -> Tensor:
    """Class weights by the inverse effective number of images, scaled to sum to C.

    w_k ∝ (1 − β) / (1 − β^n_k),  Σ w_k = C

    Args:
        counts: `(C,)` training images per class; classes without images get the weight of one image.
        beta: β in [0, 1); 0 gives ones, towards 1 the inverse counts.

    Returns:
        `(C,)` float64.

    Source: Cui et al., CVPR 2019, section 4, eq. 3; the scaling is theirs too.

    >>> class_balanced_weights(torch.tensor([500, 5])).round(decimals=3).tolist()
    [0.02, 1.98]
    """
    effective = (1 - torch.pow(torch.tensor(beta, dtype=torch.float64), counts.clamp(min=1))) / (1 - beta)
    return counts.numel() * effective.reciprocal() / effective.reciprocal().sum()


def inverse_frequency_weights(counts: Tensor, rho: float = 1.0) -> Tensor:
    """Class weights by a power of the inverse counts, scaled to sum to C.

    w_k ∝ n_k^(−ρ),  Σ w_k = C

    Args:
        counts: `(C,)` training images per class; classes without images get the weight of one image.
        rho: ρ; 0 gives ones, 1 the inverse counts.

    Returns:
        `(C,)` float64.

    Source: Zhang et al., CVPR 2021, section 3.4 (generalized re-weight), whose weights sum to 1.

    >>> inverse_frequency_weights(torch.tensor([3, 1])).tolist()
    [0.5, 1.5]
    """
    weights = counts.double().clamp(min=1).pow(-rho)
    return counts.numel() * weights / weights.sum()


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross entropy over the batch, each image weighted by its class.

    (1 / B) · Σ_i w_{y_i} · (−log softmax(z_i)_{y_i})

    The sum is divided by the batch size, not by Σ w as `torch.nn.functional.cross_entropy(weight=…)` does.

    Args:
        logits: `(…, B, C)`; leading dimensions are separate heads on the same batch.
        labels: `(B,)` int64.
        weights: `(C,)`, or None for ones.

    Returns:
        `(…)`, one mean per head.

    Source: Alshammari et al., CVPR 2022, eq. 1; with weights Cui et al., CVPR 2019, eq. 6.

    >>> float(cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3]))).__round__(4)
    1.3863
    """
    index = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    losses = -logits.log_softmax(-1).gather(-1, index).squeeze(-1)
    return (losses if weights is None else losses * weights.to(losses.dtype)[labels]).mean(-1)


def balanced_binary_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """The released code's class-balanced loss: binary cross entropy on softmax probabilities.

    (1 / (B·C)) · Σ_i w_{y_i} · Σ_k BCE(softmax(z_i)_k, [k = y_i])

    The mean runs over batch and classes, so its gradient is about 1/C of `cross_entropy`'s.

    Args:
        logits, labels, weights: as in `cross_entropy`, as is what it returns.

    Source: Cui et al., CVPR 2019, released code (`loss_type="softmax"`).
    """
    probabilities = logits.softmax(-1)
    target = torch.nn.functional.one_hot(labels, logits.shape[-1]).to(logits.dtype).expand_as(logits)
    losses = torch.nn.functional.binary_cross_entropy(probabilities, target, reduction="none")
    return (losses * weights.to(losses.dtype)[labels].unsqueeze(-1)).mean((-2, -1))


def focal(logits: Tensor, labels: Tensor, gamma: float = 2.0, weights: Tensor | None = None) -> Tensor:
    """Focal loss on softmax probabilities.

    (1 / B) · Σ_i w_{y_i} · (1 − p_i)^γ · (−log p_i),  p_i = softmax(z_i)_{y_i}

    Args:
        logits, labels, weights: as in `cross_entropy`; C > 1.
        gamma: γ ≥ 0; 0 gives `cross_entropy`.

    Source: Lin et al., ICCV 2017, eq. 4, weights as the α of eq. 5; on a softmax as Cao et al., NeurIPS 2019, compare with it.

    >>> float(focal(torch.zeros(2, 4), torch.tensor([0, 3]), gamma=1.0)).__round__(4)
    1.0397
    """
    index = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    log_all = logits.logsumexp(-1)
    log_p = logits.log_softmax(-1).gather(-1, index).squeeze(-1)
    # As a power of e: no root of a difference that rounds to 0, so slopes stay finite for every γ.
    log_rest = logits.scatter(-1, index, -math.inf).logsumexp(-1) - log_all
    losses = -(gamma * log_rest).exp() * log_p
    return (losses if weights is None else losses * weights.to(losses.dtype)[labels]).mean(-1)


def ldam_margins(counts: Tensor, margin: float = 0.5, scale: float = 1.0) -> Tensor:
    """Margins that balance the generalisation bounds of the classes.

    Δ_k = s · m · (n_min / n_k)^(1/4)

    Args:
        counts: `(C,)` training images per class; a class without images counts as one image.
        margin: m, of the rarest class.
        scale: s, for logits that are scaled cosines already.

    Returns:
        `(C,)` float64.

    Source: Cao et al., NeurIPS 2019, section 3.2 (Δ ∝ n^(−1/4)); m = 0.5 as released.

    >>> ldam_margins(torch.tensor([16, 1])).tolist()
    [0.25, 0.5]
    """
    images = counts.double().clamp(min=1)
    return scale * (margin * (images.min() / images).pow(0.25))


def ldam(logits: Tensor, labels: Tensor, margins: Tensor, scale: float = 30.0, weights: Tensor | None = None) -> Tensor:
    """Label-distribution-aware margin loss: the true class has to win by its margin.

    (1 / B) · Σ_i w_{y_i} · (−log softmax(s · (z_i − Δ_{y_i} · e_{y_i}))_{y_i})

    Margins are lengths: the paper's logits are cosines (see `wbltr.functional.prototypes.cosine_logits`).

    Args:
        logits, labels, weights: as in `cross_entropy`.
        margins: Δ, `(C,)`.
        scale: s > 0.

    Returns:
        `(…)`, one mean per head; divided by B, where the released code divides by Σ w.

    Source: Cao et al., NeurIPS 2019, section 3.2; scale 30 as released.

    >>> float(ldam(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([0.5, 0.5]), scale=2.0)).__round__(4)
    1.3133
    """
    true = torch.nn.functional.one_hot(labels, logits.shape[-1])
    return cross_entropy(scale * (logits - true * margins.to(logits.dtype)), labels, weights)


def deferred_weights(weights: Tensor, epoch: int, start: int) -> Tensor:
    """Deferred re-weighting: all classes alike before an epoch, weighted from it on.

    w_k(e) = 1 for e < start, w_k from then on

    Args:
        weights: `(C,)`, for example `class_balanced_weights(counts)`.
        epoch: e, from 0.
        start: first epoch with weights; 0 for weights throughout. Released: 160 of 200.

    Returns:
        `(C,)`.

    Source: Cao et al., NeurIPS 2019, section 3.3, algorithm 1.

    >>> [deferred_weights(torch.tensor([0.5, 1.5]), epoch, start=1).tolist() for epoch in range(2)]
    [[1.0, 1.0], [0.5, 1.5]]
    """
    return weights if epoch >= start else torch.ones_like(weights)


def logit_adjusted(
    logits: Tensor, labels: Tensor, log_prior: Tensor, tau: float = 1.0, weights: Tensor | None = None
) -> Tensor:
    """Logit-adjusted cross entropy: the head learns what is left of the logits once the class prior is added.

    (1 / B) · Σ_i w_{y_i} · (−log softmax(z_i + τ · log π)_{y_i})

    Nothing is added when it predicts; at τ = 1 its logits estimate those of a balanced training set.

    Args:
        logits, labels, weights: as in `cross_entropy`.
        log_prior: `(C,)`, see `wbltr.functional.priors.log_prior`.
        tau: τ; 0 gives `cross_entropy`.

    Source: Menon et al., ICLR 2021, eq. 10.

    >>> prior = torch.tensor([0.8, 0.2])
    >>> float(logit_adjusted(torch.zeros(1, 2), torch.tensor([1]), prior.log()).neg().exp()).__round__(4)
    0.2
    """
    return cross_entropy(logits + tau * log_prior.to(logits.dtype), labels, weights)


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float, weights: Tensor | None = None) -> Tensor:
    """Cross entropy against smoothed labels.

    (1 / B) · Σ_i w_{y_i} · Σ_k q_ik · (−log softmax(z_i)_k),  q_ik = (1 − ε) · [k = y_i] + ε / C

    Args:
        logits, labels, weights: as in `cross_entropy`.
        smoothing: ε in [0, 1]; 0 gives `cross_entropy`.

    Source: Szegedy et al., CVPR 2016, section 7; with ε near 1 Sun et al., ICLR 2025 (label over-smoothing).

    >>> float(smoothed_cross_entropy(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), 0.4)).__round__(4)
    0.5133
    """
    index = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    log_p = logits.log_softmax(-1)
    right = log_p.gather(-1, index).squeeze(-1)
    losses = -torch.lerp(right, log_p.mean(-1), smoothing)
    return (losses if weights is None else losses * weights.to(losses.dtype)[labels]).mean(-1)


def distillation(
    logits: Tensor, labels: Tensor, teacher: Tensor, temperature: float, alpha: float, weights: Tensor | None = None
) -> Tensor:
    """Knowledge distillation: cross entropy with the labels, mixed with the divergence from a teacher's softened probabilities.

    (1 / B) · Σ_i w_{y_i} · ((1 − α) · (−log softmax(z_i)_{y_i}) + α · T² · KL(softmax(v_i / T) ‖ softmax(z_i / T)))

    T² keeps the size of the teacher's gradient when T changes. The divergence is the teacher's cross entropy less a constant.

    Args:
        logits, labels, weights: z and the others as in `cross_entropy`.
        teacher: v, the teacher's logits, broadcasts against `logits`; detach them.
        temperature: T > 0.
        alpha: α in [0, 1]; 0 gives `cross_entropy`.

    Source: Hinton et al., 2015 (arXiv 1503.02531), section 2.

    >>> z = torch.tensor([[1.0, 0.0]])
    >>> float(distillation(z, torch.tensor([0]), teacher=z, temperature=4.0, alpha=1.0))
    0.0
    """
    taught = (teacher / temperature).log_softmax(-1)
    learned = (logits / temperature).log_softmax(-1)
    divergence = torch.nn.functional.kl_div(learned, taught.expand_as(learned), reduction="none", log_target=True)
    losses = temperature**2 * divergence.sum(-1)
    soft = (losses if weights is None else losses * weights.to(losses.dtype)[labels]).mean(-1)
    return torch.lerp(cross_entropy(logits, labels, weights), soft, alpha)


class ClassLoss:
    """The loss of a name: an entry of `wbltr.methods.losses` with what it takes from the training set's class counts.

    Args:
        name: of the entry.
        counts: `(C,)` training images per class.
        settings: what it leaves open.
        device: where it will be called; the tensors that it reads stay where they are, so a CUDA graph can repeat it.
    """

    def __init__(self, name: str, counts: Tensor, settings: LossSettings, device: torch.device) -> None:
        entry = LOSSES[name]
        self._value = load(entry.value_of)
        self._first = settings.reweight_from or 0
        self._full = class_weights(name, counts, settings).to(device)
        self.weights = self._full.clone()
        tensors = {argument: _from_counts(path, counts, settings).to(device) for argument, path in entry.from_counts.items()}
        if "weights" in tensors:
            tensors["weights"] = self.weights
        own = {setting.name: getattr(settings, setting.name) for setting in entry.settings if hasattr(settings, setting.name)}
        self._given = taken(self._value, {**own, **entry.fixed, **tensors})
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """An epoch, from 0, is to begin: weights that are deferred may have to count now."""
        self.weights.copy_(deferred_weights(self._full, epoch, self._first))

    def __call__(self, logits: Tensor, labels: Tensor, teacher: Tensor | None = None) -> Tensor:
        """`(…, B, C)`, `(B,)` int64, for some a teacher's logits `(B, C)` → `(…)`, each head's mean over the batch."""
        taught = {} if teacher is None else {"teacher": teacher}
        losses: Tensor = self._value(logits, labels, **self._given | taught)
        return losses


def class_weights(name: str, counts: Tensor, settings: LossSettings) -> Tensor:
    """What each class weighs in this loss once weights count: `(C,)` float32 on the CPU, of mean 1."""
    entry = LOSSES[name]
    if "weights" not in entry.from_counts or (entry.deferred and settings.reweight_from is None):
        return torch.ones(len(counts))
    return _from_counts(entry.from_counts["weights"], counts, settings)


def _from_counts(path: str, counts: Tensor, settings: LossSettings) -> Tensor:
    """What a function makes of class counts and the settings that it takes: `(C,)` float32 on the CPU."""
    function = load(path)
    made: Tensor = function(counts.cpu(), **taken(function, vars(settings)))
    return made.float()
