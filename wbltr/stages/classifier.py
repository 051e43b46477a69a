"""Classifier (second stage): train embeddings and the head to start from → one head.

Gives: `head.weight` float32 `(C, D)`, `head.bias` `(C,)`; `history.loss` float64 `(E,)`, `history.norms` float32 `(E, C)`,
`history.at_radius`, `history.projected` float64 `(E,)` (share of classes on the MaxNorm radius at the epoch's end, and share
that MaxNorm moved during it; NaN without); `radius` float64 `()` (NaN without).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from wbltr.constraints import what_max_norm_did
from wbltr.functional.sampling import image_weights
from wbltr.functional.schedules import cosine
from wbltr.heads import fit_heads
from wbltr.machine import enough_memory, prepare
from wbltr.models import new_head
from wbltr.pipeline import Runtime
from wbltr.recipe import ClassifierConfig
from wbltr.stages._trial import trial_of


def run(config: ClassifierConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Fit the last layer again on cached embeddings; see the module's docstring for the tensors."""
    device = prepare(runtime.device, runtime.threads)
    runtime.witness.update(device=str(device), threads=torch.get_num_threads())
    first_weight = torch.from_numpy(inputs["features"]["head.weight"])
    weight, bias = first_weight, torch.from_numpy(inputs["features"]["head.bias"])
    if config.init == "fresh":
        weight, bias = new_head(first_weight.shape[0], first_weight.shape[1], config.seed)
    trial = trial_of(config, first_weight)
    embeddings = inputs["embeddings"]
    labels, counts = (torch.from_numpy(embeddings[name]) for name in ("train.labels", "class_counts"))

    def report(metrics: Mapping[str, float]) -> None:
        runtime.report({name: value for name, value in metrics.items() if not math.isnan(value)})

    with enough_memory("use fewer embeddings.views or --device cpu"):
        heads = fit_heads(
            torch.from_numpy(embeddings["train.embeddings"]).to(device),
            labels.to(device),
            counts,
            weight.to(device),
            bias.to(device),
            [trial],
            schedule=cosine(1.0, config.epochs, config.scheduler),
            batch_size=config.batch_size,
            momentum=config.momentum,
            seed=config.seed,
            weights=image_weights(labels, counts, config.sampling),
            tick=runtime.tick,
            report=report,
        )
    if trial.radius is not None:
        runtime.notice(what_max_norm_did(heads.projected[:, 0].tolist(), trial.radius))
    return {
        "head.weight": heads.weight[0].cpu(),
        "head.bias": heads.bias[0].cpu(),
        "history.loss": heads.loss[:, 0],
        "history.norms": heads.norms[:, 0],
        "history.at_radius": heads.at_radius[:, 0],
        "history.projected": heads.projected[:, 0],
        "radius": torch.tensor(float("nan") if trial.radius is None else trial.radius, dtype=torch.float64),
    }
