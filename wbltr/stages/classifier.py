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
from wbltr.machine import enough_memory, prepare
from wbltr.pipeline import Runtime
from wbltr.recipe import ClassifierConfig
from wbltr.stages._second_stage import fit_on_embeddings


def run(config: ClassifierConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Fit the last layer again on cached embeddings; see the module's docstring for the tensors."""
    device = prepare(runtime.device, runtime.threads)
    runtime.witness.update(device=str(device), threads=torch.get_num_threads())

    def report(metrics: Mapping[str, float]) -> None:
        runtime.report({name: value for name, value in metrics.items() if not math.isnan(value)})

    with enough_memory("use fewer embeddings.views or --device cpu"):
        heads, (trial,) = fit_on_embeddings([config], inputs, device, tick=runtime.tick, report=report)
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
