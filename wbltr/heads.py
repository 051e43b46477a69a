"""fit_heads(): T linear heads at once on the same cached embeddings, in the same batch order (paired comparisons)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from wbltr.errors import WbltrError
from wbltr.functional.gradients import balanced_binary_cross_entropy_with_gradient, cross_entropy_with_gradient
from wbltr.functional.losses import Loss, class_balanced_weights
from wbltr.functional.projections import max_norm, max_norm_scale, row_norms, unit_norm
from wbltr.randomness import generator

BEYOND = 1 + 1e-6  # a row on the radius may round to the outside without having moved


@dataclass(frozen=True)
class Trial:
    """What may differ between heads that are fitted together."""

    loss: Loss = "cb"
    beta: float = 0.9999
    lr: float = 0.01
    weight_decay: float = 0.0
    radius: float | None = None  # MaxNorm's, absolute; None: no constraint
    per: Literal["step", "epoch"] = "step"
    unit_norm: bool = False


@dataclass(frozen=True)
class Heads:
    """T heads and how they came to be."""

    weight: Tensor  # (T, C, D)
    bias: Tensor  # (T, C)
    loss: Tensor  # (E, T) float64, mean over the epoch
    norms: Tensor  # (E, T, C) row norms at the epoch's end
    at_radius: Tensor  # (E, T) float64, share of classes on the MaxNorm radius at the epoch's end, NaN without MaxNorm
    projected: Tensor  # (E, T) float64, share of classes that MaxNorm moved during the epoch, NaN without


def _class_weights(trial: Trial, counts: Tensor) -> Tensor:
    """`(C,)` float32: ones for plain cross entropy."""
    return torch.ones(len(counts)) if trial.loss == "ce" else class_balanced_weights(counts.cpu(), trial.beta).float()


def _radii(trials: Sequence[Trial], moments: tuple[str, ...], device: torch.device) -> Tensor:
    """MaxNorm radii `(T, 1)` of the heads that are projected at these moments; infinite for the others."""
    values = [t.radius if t.radius is not None and t.per in moments else math.inf for t in trials]
    return torch.tensor(values, device=device).unsqueeze(1)


def _shares(rows: Tensor, trials: Sequence[Trial]) -> Tensor:
    """`(T, C)` bool → `(T,)` float64 share of classes, NaN for heads without MaxNorm."""
    shares = rows.double().mean(1).cpu()
    return torch.where(torch.tensor([t.radius is not None for t in trials]), shares, float("nan"))


@torch.no_grad()
def fit_heads(
    embeddings: Tensor,
    labels: Tensor,
    counts: Tensor,
    weight: Tensor,
    bias: Tensor,
    trials: Sequence[Trial],
    *,
    schedule: Sequence[float],
    batch_size: int,
    momentum: float,
    seed: int,
    tick: Callable[[int, int], None] = lambda _done, _total: None,
    report: Callable[[Mapping[str, float]], None] = lambda _: None,
) -> Heads:
    """Fit T heads by SGD with momentum, each with its own loss, learning rate, weight decay and constraint.

    Epoch e learns from view e mod V. Weight decay acts on weights and biases. Constraints are projections of the rows after
    each step (or epoch); only a unit-norm head also starts projected.

    Args:
        embeddings: `(V, N, D)` float32, V augmented views of N training images.
        labels: `(N,)` int64.
        counts: `(C,)` int64 training images per class.
        weight, bias: `(C, D)` and `(C,)`, where every head starts; not changed.
        trials: T descriptions.
        schedule: one factor of each trial's learning rate per epoch.
        seed: of the batch order, which all heads share.
        tick: called before each batch with images done and images in all; may raise to stop.
        report: called after each epoch with the first head's metrics.

    Raises:
        WbltrError: code "training" when a head's loss is no longer finite.
    """
    views, images, _ = embeddings.shape
    device = embeddings.device
    weights = weight.detach().expand(len(trials), -1, -1).clone()
    biases = bias.detach().expand(len(trials), -1).clone()
    momenta = (torch.zeros_like(weights), torch.zeros_like(biases))
    lr = torch.tensor([t.lr for t in trials], device=device)
    decay = torch.tensor([t.weight_decay for t in trials], device=device)
    class_weights = torch.stack([_class_weights(t, counts) for t in trials]).to(device)
    released = [number for number, t in enumerate(trials) if t.loss == "cb-bce"]
    each_step, each_epoch = (_radii(trials, (moment,), device) for moment in ("step", "epoch"))
    radii = _radii(trials, ("step", "epoch"), device)
    on_sphere = torch.tensor([t.unit_norm for t in trials], device=device).view(-1, 1, 1)
    constrained = any(t.radius is not None and t.per == "step" for t in trials)
    spherical = any(t.unit_norm for t in trials)
    losses, norms, at_radius, projected = [], [], [], []
    weights = torch.where(on_sphere, unit_norm(weights), weights)
    for epoch, factor in enumerate(schedule):
        order = torch.randperm(images, generator=generator(seed, "second stage", epoch)).to(device)
        moved = torch.zeros(weights.shape[:2], dtype=torch.bool, device=device)
        view = embeddings[epoch % views]
        running = torch.zeros(len(trials), dtype=torch.float64, device=device)
        for first in range(0, images, batch_size):
            tick(epoch * images + first, len(schedule) * images)
            index = order[first : first + batch_size]
            x, y = view[index], labels[index]
            logits = (x @ weights.flatten(0, 1).T).view(len(index), *biases.shape).add_(biases)  # one product: (B, T, C)
            values, gradient = cross_entropy_with_gradient(logits, y, class_weights)
            if released:
                values[released], gradient[:, released] = balanced_binary_cross_entropy_with_gradient(
                    logits[:, released], y, class_weights[released]
                )
            gradients = ((gradient.flatten(1).T @ x).view_as(weights), gradient.sum(0))
            for parameter, slope, velocity in zip((weights, biases), gradients, momenta, strict=True):
                shape = (-1,) + (1,) * (parameter.dim() - 1)
                velocity.mul_(momentum).add_(slope).addcmul_(decay.view(shape), parameter)
                parameter.addcmul_((lr * -factor).view(shape), velocity)
            if constrained:
                found = row_norms(weights)
                moved |= found > each_step * BEYOND
                weights.mul_(max_norm_scale(found, each_step).unsqueeze(-1))
            if spherical:
                weights = torch.where(on_sphere, unit_norm(weights), weights)
            running += values.double() * len(index)
        moved |= row_norms(weights) > each_epoch * BEYOND
        weights = max_norm(weights, each_epoch)
        losses.append((running / images).cpu())
        norms.append(row_norms(weights).cpu())
        at_radius.append(_shares(row_norms(weights) >= radii * (1 - 1e-4), trials))
        projected.append(_shares(moved, trials))
        finite = torch.isfinite(losses[-1]) & torch.isfinite(norms[-1]).all(1) & torch.isfinite(biases).all(1).cpu()
        if not finite.all():
            worst = int((~finite).nonzero()[0])
            raise WbltrError(
                f"the classifier diverged in epoch {epoch + 1} of {len(schedule)} ({trials[worst]})",
                "lower classifier.lr or classifier.weight_decay, for example --set classifier.lr=0.001",
                "training",
            )
        report(
            {
                "epoch": epoch + 1,
                "epochs": len(schedule),
                "loss": float(losses[-1][0]),
                "lr": float(lr[0]) * factor,
                "norm_min": float(norms[-1][0].min()),
                "norm_max": float(norms[-1][0].max()),
                "at_radius": float(at_radius[-1][0]),
            }
        )
    return Heads(weights, biases, *(torch.stack(rows) for rows in (losses, norms, at_radius, projected)))
