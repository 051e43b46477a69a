"""A first stage of a head alone, on embeddings that do not change: one's own, or those of a network that stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wbltr.constraints import what_max_norm_did
from wbltr.functional.logits import head_logits
from wbltr.functional.losses import ClassLoss
from wbltr.functional.sampling import image_weights
from wbltr.functional.schedules import cosine
from wbltr.head_forms import fit_form, new_form
from wbltr.heads import Trial, fit_heads
from wbltr.methods.heads import HEADS
from wbltr.models import new_head
from wbltr.pipeline import Runtime
from wbltr.recipe import FeaturesConfig

BLOCK = 4096  # embeddings that are measured at once


def fit_head_alone(
    config: FeaturesConfig, embeddings: Tensor, labels: Tensor, counts: Tensor, device: torch.device, runtime: Runtime
) -> dict[str, Tensor]:
    """Fit a fresh head by the first stage's settings.

    Args:
        embeddings: `(1, N, D)` float32.
        labels: `(N,)` int64.
        counts: `(C,)` int64.

    Returns:
        `head.*` and `history.*` as the features stage names them. Of `history.accuracy` only the last epoch is measured, with
        the finished head; NaN before.
    """
    weight, bias = (tensor.to(device) for tensor in new_head(len(counts), embeddings.shape[2], config.seed))
    drawn = image_weights(labels, counts, config.sampling)
    there, of_them = embeddings.to(device), labels.to(device)
    more: dict[str, Tensor] = {}
    if HEADS[config.head].form:
        fitted = fit_form(
            new_form(config.head, weight, bias, config.settings, config.seed),
            ClassLoss(config.loss, counts, config.settings, device),
            there,
            of_them,
            lrs=cosine(config.lr, config.epochs, config.scheduler),
            batch_size=config.batch_size,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            seed=config.seed,
            weights=drawn,
            tick=runtime.tick,
            report=runtime.report,
        )
        head, loss, norms = fitted.head, fitted.loss, fitted.norms
    else:
        ball = config.max_norm
        trial = Trial(
            config.loss,
            config.settings,
            config.lr,
            config.weight_decay,
            None if ball is None else ball.radius,
            "step" if ball is None else ball.per,
            config.constraint == "unit-norm",
        )
        heads = fit_heads(
            there,
            of_them,
            counts,
            weight,
            bias,
            [trial],
            schedule=cosine(1.0, config.epochs, config.scheduler),
            batch_size=config.batch_size,
            momentum=config.momentum,
            seed=config.seed,
            weights=drawn,
            tick=runtime.tick,
            report=lambda metrics: runtime.report({name: value for name, value in metrics.items() if value == value}),
        )
        head = {"head.weight": heads.weight[0].cpu(), "head.bias": heads.bias[0].cpu()}
        loss, norms = heads.loss[:, 0], heads.norms[:, 0]
        if ball is not None:
            runtime.notice(what_max_norm_did(heads.projected[:, 0].tolist(), ball.radius))
        if ball is not None or config.constraint != "none":
            more = {"history.at_radius": heads.at_radius[:, 0], "history.projected": heads.projected[:, 0]}
    accuracy = torch.full((config.epochs,), torch.nan, dtype=torch.float64)
    accuracy[-1] = _accuracy(head, embeddings[0], labels)
    told = {"epoch": config.epochs, "epochs": config.epochs, "loss": float(loss[-1]), "accuracy": float(accuracy[-1])}
    runtime.report({**told, "parameters": sum(tensor.numel() for tensor in head.values())})
    lrs = torch.tensor(cosine(config.lr, config.epochs, config.scheduler), dtype=torch.float64)
    history = {"history.loss": loss, "history.accuracy": accuracy, "history.norms": norms, "history.lr": lrs}
    return {**head, **history, **more}


def _accuracy(head: Mapping[str, Tensor], embeddings: Tensor, labels: Tensor) -> float:
    """Share of `(N, D)` that the head gets right."""
    blocks = zip(torch.split(embeddings, BLOCK), torch.split(labels, BLOCK), strict=True)
    return float(sum(int((head_logits(head, x).argmax(1) == y).sum()) for x, y in blocks)) / len(labels)


def of_own_embeddings(
    config: FeaturesConfig, dataset: Mapping[str, Any], device: torch.device, runtime: Runtime
) -> dict[str, Tensor]:
    """`features.network: none`: the head of the dataset's own embeddings."""
    embeddings, labels, counts = (
        torch.from_numpy(dataset[name]) for name in ("train.embeddings", "train.labels", "class_counts")
    )
    return fit_head_alone(config, embeddings, labels, counts, device, runtime)
