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
        settings=config.settings,
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
        inputs: `embeddings` of the train part, `features` with the first stage's head; to distill `teacher`, another's head,
            and `teacher_embeddings`, of the same views.
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
        teacher=_teacher(inputs, device) if "teacher" in inputs else None,
        precision=precision,
        tolerant=tolerant,
        tick=tick,
        report=report,
    )
    return heads, trials


def _teacher(inputs: Mapping[str, Any], device: torch.device) -> Callable[[int, Tensor], Tensor]:
    """Logits of the teacher's head on its own embeddings of the same views."""
    views = torch.from_numpy(inputs["teacher_embeddings"]["train.embeddings"])
    head = {name: torch.from_numpy(array).to(device) for name, array in inputs["teacher"].items()}
    return lambda view, images: head_logits(head, views[view][images.cpu()].to(device))


def fit_form_on_embeddings(
    config: ClassifierConfig,
    inputs: Mapping[str, Any],
    device: torch.device,
    *,
    tick: Callable[[int, int], None],
    report: Callable[[Mapping[str, float]], None],
) -> Fitted:
    """Fit one head with constrained or extra parameters; arguments as in `fit_on_embeddings`."""
    train = inputs["embeddings"]
    labels, counts = (torch.from_numpy(train[name]) for name in ("train.labels", "class_counts"))
    weight, bias = (tensor.to(device) for tensor in starting_head(config, inputs["features"]))
    return fit_form(
        new_form(config.head, weight, bias, config.settings, config.seed),
        ClassLoss(config.loss, counts, config.settings, device),
        torch.from_numpy(train["train.embeddings"]).to(device),
        labels.to(device),
        lrs=cosine(config.lr, config.epochs, config.scheduler),
        batch_size=config.batch_size,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        seed=config.seed,
        weights=image_weights(labels, counts, config.sampling),
        tick=tick,
        report=report,
    )
