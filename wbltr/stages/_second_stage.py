"""A second stage on cached embeddings, alone or many at once: from configs and artifacts to what `fit_heads` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wbltr.functional.projections import relative_radius, row_norms
from wbltr.functional.sampling import image_weights
from wbltr.functional.schedules import cosine
from wbltr.heads import Heads, Precision, Trial, fit_heads
from wbltr.models import new_head
from wbltr.recipe import ClassifierConfig, MaxNormConfig


def absolute_radius(ball: MaxNormConfig | None, first_weight: Tensor) -> float | None:
    """MaxNorm's radius; a relative one lies between the norms of the first stage's rows `(C, D)`."""
    if ball is None:
        return None
    return relative_radius(row_norms(first_weight), ball.radius) if ball.relative else ball.radius


def trial_of(config: ClassifierConfig, first_weight: Tensor) -> Trial:
    """The trial of a config, given the first stage's rows `(C, D)`."""
    return Trial(
        loss=config.loss,
        beta=config.beta,
        lr=config.lr,
        weight_decay=config.weight_decay,
        radius=absolute_radius(config.max_norm, first_weight),
        per=config.max_norm.per if config.max_norm is not None else "step",
        unit_norm=config.constraint == "unit-norm",
    )


def starting_head(config: ClassifierConfig, features: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Weight `(C, D)` and bias `(C,)` to start from: the first stage's, or fresh ones of their size."""
    weight, bias = (torch.from_numpy(features[f"head.{name}"]).clone() for name in ("weight", "bias"))
    return (weight, bias) if config.init == "features" else new_head(len(weight), weight.shape[1], config.seed)


def fit_on_embeddings(
    configs: Sequence[ClassifierConfig],
    inputs: Mapping[str, Any],
    device: torch.device,
    *,
    precision: Precision = "fp32",
    tolerant: bool = False,
    tick: Callable[[int, int], None],
    report: Callable[[Mapping[str, float]], None] = lambda _: None,
) -> tuple[Heads, list[Trial]]:
    """Fit the heads of configs that share their batches.

    Args:
        configs: alike in epochs, batch size, momentum, init, sampling, schedule and seed.
        inputs: `embeddings` of the train part, `features` with the first stage's head.
        precision, tolerant, tick, report: see `fit_heads`.
    """
    shared, train = configs[0], inputs["embeddings"]
    weight, bias = starting_head(shared, inputs["features"])
    labels, counts = (torch.from_numpy(train[name]) for name in ("train.labels", "class_counts"))
    trials = [trial_of(config, torch.from_numpy(inputs["features"]["head.weight"])) for config in configs]
    heads = fit_heads(
        torch.from_numpy(train["train.embeddings"]).to(device),
        labels.to(device),
        counts,
        weight.to(device),
        bias.to(device),
        trials,
        schedule=cosine(1.0, shared.epochs, shared.scheduler),
        batch_size=shared.batch_size,
        momentum=shared.momentum,
        seed=shared.seed,
        weights=image_weights(labels, counts, shared.sampling),
        precision=precision,
        tolerant=tolerant,
        tick=tick,
        report=report,
    )
    return heads, trials
