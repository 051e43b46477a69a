"""A first stage of a head alone, on embeddings that do not change: one's own, or those of a network that stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wbltr.constraints import what_max_norm_did
from wbltr.functional.logits import head_logits
from wbltr.functional.schedules import cosine
from wbltr.methods.heads import HEADS
from wbltr.models import new_head
from wbltr.pipeline import Runtime
from wbltr.recipe import FeaturesConfig
from wbltr.stages._second_stage import fit_formed, fit_free, trial_of

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
    start, images = new_head(len(counts), embeddings.shape[2], config.seed), (embeddings, labels, counts)
    more: dict[str, Tensor] = {}
    if HEADS[config.head].form:
        fitted = fit_formed(config, start, images, device, tick=runtime.tick, report=runtime.report)
        head, loss, norms = fitted.head, fitted.loss, fitted.norms
    else:
        trial = trial_of(config, start[0])

        def report(metrics: Mapping[str, float]) -> None:
            runtime.report({name: value for name, value in metrics.items() if value == value})

        heads = fit_free(config, start, [trial], images, device, tick=runtime.tick, report=report)
        head = {"head.weight": heads.weight[0].cpu(), "head.bias": heads.bias[0].cpu()}
        loss, norms = heads.loss[:, 0], heads.norms[:, 0]
        if trial.radius is not None:
            runtime.notice(what_max_norm_did(heads.projected[:, 0].tolist(), trial.radius))
        if trial.radius is not None or trial.unit_norm:
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
