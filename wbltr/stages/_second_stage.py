"""A second stage on cached embeddings, alone or many at once: from configs and artifacts to what `fit_heads` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wbltr.functional.logits import head_logits
from wbltr.functional.losses import ClassLoss
from wbltr.functional.projections import relative_radius, row_norms
from wbltr.functional.sampling import image_weights
from wbltr.functional.schedules import cosine
from wbltr.head_forms import Fitted, fit_form, new_form
from wbltr.heads import Heads, Trial, fit_heads
from wbltr.models import new_head
from wbltr.recipe import ClassifierConfig, FeaturesConfig, MaxNormConfig

Images = tuple[Tensor, Tensor, Tensor]  # embeddings (V, N, D), labels (N,), class counts (C,)
Start = tuple[Tensor, Tensor]  # weight (C, D), bias (C,)


def absolute_radius(ball: MaxNormConfig | None, first_weight: Tensor) -> float | None:
    """MaxNorm's radius; a relative one lies between the norms of the first stage's rows `(C, D)`."""
    if ball is None:
        return None
    return relative_radius(row_norms(first_weight), ball.radius) if ball.relative else ball.radius


def trial_of(config: FeaturesConfig | ClassifierConfig, first_weight: Tensor) -> Trial:
    """The trial of a config, given the first stage's rows `(C, D)`, which a relative radius is measured by."""
    return Trial(
        loss=config.loss,
        settings=config.settings,
        lr=config.lr,
        weight_decay=config.weight_decay,
        radius=absolute_radius(config.max_norm, first_weight),
        per=config.max_norm.per if config.max_norm is not None else "step",
        unit_norm=config.constraint == "unit-norm",
    )


def fit_free(
    config: FeaturesConfig | ClassifierConfig,
    start: Start,
    trials: Sequence[Trial],
    images: Images,
    device: torch.device,
    **more: Any,
) -> Heads:
    """Fit linear heads that share their batches, by the batches of a config; `more` as `fit_heads` takes it."""
    embeddings, labels, counts = images
    weight, bias = (tensor.to(device) for tensor in start)
    return fit_heads(
        embeddings.to(device),
        labels.to(device),
        counts,
        weight,
        bias,
        trials,
        schedule=cosine(1.0, config.epochs, config.scheduler),
        batch_size=config.batch_size,
        momentum=config.momentum,
        seed=config.seed,
        weights=image_weights(labels, counts, config.sampling),
        **more,
    )


def fit_formed(
    config: FeaturesConfig | ClassifierConfig, start: Start, images: Images, device: torch.device, **more: Any
) -> Fitted:
    """Fit one head with constrained or extra parameters; `more` as `fit_form` takes it."""
    embeddings, labels, counts = images
    weight, bias = (tensor.to(device) for tensor in start)
    return fit_form(
        new_form(config.head, weight, bias, config.settings, config.seed),
        ClassLoss(config.loss, counts, config.settings, device),
        embeddings.to(device),
        labels.to(device),
        lrs=cosine(config.lr, config.epochs, config.scheduler),
        batch_size=config.batch_size,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        seed=config.seed,
        weights=image_weights(labels, counts, config.sampling),
        **more,
    )


def cached(inputs: Mapping[str, Any]) -> Images:
    """Embeddings `(V, N, D)` of the train part, labels `(N,)`, and class counts `(C,)`."""
    embeddings, labels, counts = (
        torch.from_numpy(inputs["embeddings"][name]) for name in ("train.embeddings", "train.labels", "class_counts")
    )
    return embeddings, labels, counts


def starting_head(config: ClassifierConfig, features: Mapping[str, Any]) -> Start:
    """Weight `(C, D)` and bias `(C,)` to start from: the first stage's, or fresh ones of their size."""
    weight, bias = (torch.from_numpy(features[f"head.{name}"]).clone() for name in ("weight", "bias"))
    return (weight, bias) if config.init == "features" else new_head(len(weight), weight.shape[1], config.seed)


def fit_on_embeddings(
    configs: Sequence[ClassifierConfig], inputs: Mapping[str, Any], device: torch.device, **more: Any
) -> tuple[Heads, list[Trial]]:
    """Fit the heads of configs that share their batches.

    Args:
        configs: alike in epochs, batch size, momentum, init, sampling, schedule and seed.
        inputs: `embeddings` of the train part, `features` with the first stage's head; to distill `teacher`, another's head,
            and `teacher_embeddings`, of the same views.
        more: as `fit_heads` takes it.
    """
    trials = [trial_of(config, torch.from_numpy(inputs["features"]["head.weight"])) for config in configs]
    teacher = _teacher(inputs, device) if "teacher" in inputs else None
    start = starting_head(configs[0], inputs["features"])
    return fit_free(configs[0], start, trials, cached(inputs), device, teacher=teacher, **more), trials


def _teacher(inputs: Mapping[str, Any], device: torch.device) -> Callable[[int, Tensor], Tensor]:
    """Logits of the teacher's head on its own embeddings of the same views."""
    views = torch.from_numpy(inputs["teacher_embeddings"]["train.embeddings"])
    head = {name: torch.from_numpy(array).to(device) for name, array in inputs["teacher"].items()}
    return lambda view, images: head_logits(head, views[view][images.cpu()].to(device))
