"""Classifier (second stage): train embeddings and the head to start from → one head.

Gives: `head.weight` float32 `(C, D)`, `head.bias` `(C,)`, and for a cosine or gated head what `wbltr.functional.logits` says;
`history.loss` float64 `(E,)`, `history.norms` float32 `(E, C)`, `history.at_radius`, `history.projected` float64 `(E,)` (share
of classes on the MaxNorm radius at the epoch's end, and share that MaxNorm moved during it; NaN without); `radius` float64 `()`
(NaN without). Class means are not trained: E is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from wbltr.constraints import what_max_norm_did
from wbltr.machine import enough_memory, prepare
from wbltr.methods.heads import HEADS
from wbltr.methods.settings import load
from wbltr.pipeline import Runtime
from wbltr.recipe import ClassifierConfig
from wbltr.stages._diverged import diverging
from wbltr.stages._second_stage import cached, fit_formed, fit_on_embeddings, starting_head

NOTHING = torch.tensor(math.nan, dtype=torch.float64)


def run(config: ClassifierConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Fit the last layer again on cached embeddings; see the module's docstring for the tensors."""
    device = prepare(runtime.device, runtime.threads)
    runtime.witness.update(device=str(device), threads=torch.get_num_threads())
    with enough_memory("use fewer embeddings.views or --device cpu"), diverging(config, runtime.section):
        entry = HEADS[config.head]
        if entry.fit:
            return _fitted(load(entry.fit), inputs, runtime, device)
        if not entry.form:
            return _linear(config, inputs, runtime, device)
        start = starting_head(config, inputs["features"])
        fitted = fit_formed(config, start, cached(inputs), device, tick=runtime.tick, report=runtime.report)
        return fitted.head | _history(fitted.loss, fitted.norms)


def _linear(config: ClassifierConfig, inputs: Mapping[str, Any], runtime: Runtime, device: torch.device) -> dict[str, Any]:
    def report(metrics: Mapping[str, float]) -> None:
        runtime.report({name: value for name, value in metrics.items() if not math.isnan(value)})

    heads, (trial,) = fit_on_embeddings([config], inputs, device, tick=runtime.tick, report=report)
    if trial.radius is not None:
        runtime.notice(what_max_norm_did(heads.projected[:, 0].tolist(), trial.radius))
    return {
        "head.weight": heads.weight[0].cpu(),
        "head.bias": heads.bias[0].cpu(),
        **_history(heads.loss[:, 0], heads.norms[:, 0]),
        "history.at_radius": heads.at_radius[:, 0],
        "history.projected": heads.projected[:, 0],
        "radius": NOTHING if trial.radius is None else torch.tensor(trial.radius, dtype=torch.float64),
    }


def _fitted(
    fit: Callable[..., tuple[Tensor, Tensor]], inputs: Mapping[str, Any], runtime: Runtime, device: torch.device
) -> dict[str, Any]:
    """A head of all views that is not trained."""
    runtime.tick(-1, -1)
    views = torch.from_numpy(inputs["embeddings"]["train.embeddings"]).to(device)
    labels = torch.from_numpy(inputs["embeddings"]["train.labels"]).to(device)
    weight, bias = fit(views.flatten(0, 1), labels.repeat(len(views)), len(inputs["embeddings"]["class_counts"]))
    empty = torch.empty(0, dtype=torch.float64)
    return {"head.weight": weight.cpu(), "head.bias": bias.cpu(), **_history(empty, torch.empty(0, len(weight)))}


def _history(loss: Tensor, norms: Tensor) -> dict[str, Tensor]:
    """The history of a head under no constraint."""
    none = torch.full_like(loss, math.nan)
    return {
        "history.loss": loss,
        "history.norms": norms,
        "history.at_radius": none,
        "history.projected": none.clone(),
        "radius": NOTHING,
    }
