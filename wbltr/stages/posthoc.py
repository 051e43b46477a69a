"""Posthoc: a head with its rows rescaled; τ given, or chosen on the validation embeddings.

Gives: `head.weight` float32 `(C, D)`, `head.bias` `(C,)`; `tau` float64 `()`; `sweep.tau`, `sweep.accuracy` float64 `(S,)`
(the sweep on the validation part, empty where τ was given).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wbltr.errors import WbltrError
from wbltr.functional.adjustments import l2_normalize, tau_normalize, tau_sweep
from wbltr.functional.metrics import class_accuracy, confusion_matrix, mean_accuracy
from wbltr.functional.projections import row_norms
from wbltr.machine import prepare
from wbltr.pipeline import Runtime
from wbltr.stages import PosthocStageConfig

SWEEP = tuple(round(0.1 * step, 1) for step in range(31))  # 0, 0.1 … 3


def sweep(weight: Tensor, bias: Tensor, embeddings: Tensor, labels: Tensor) -> Tensor:
    """Mean per-class accuracy on `embeddings (N, D)` at each τ of `SWEEP`: `(S,)` float64."""
    predictions = tau_sweep(embeddings @ weight.T, row_norms(weight), bias, SWEEP)
    return torch.stack([mean_accuracy(class_accuracy(confusion_matrix(labels, p, len(weight)))) for p in predictions])


def run(config: PosthocStageConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Rescale the rows: L2 is τ = 1; of several best τ the smallest is taken."""
    runtime.witness.update(device=str(prepare("cpu", runtime.threads)), threads=torch.get_num_threads())
    weight = torch.from_numpy(inputs["head"]["head.weight"])
    bias = torch.from_numpy(inputs["head"]["head.bias"])
    accuracy = torch.empty(0, dtype=torch.float64)
    if config.tau == "val":
        labels = torch.from_numpy(inputs["embeddings"]["val.labels"])
        if not len(labels):
            raise WbltrError("τ cannot be chosen: the validation part is empty", "give it: --tau 1.0", "missing")
        without = len(weight) - len(torch.unique(labels))
        if without:
            runtime.notice(f"τ: {without} of {len(weight)} classes have no validation images and are left out of the mean")
        accuracy = sweep(weight, bias, torch.from_numpy(inputs["embeddings"]["val.embeddings"][0]), labels)
        tau = SWEEP[int(accuracy.argmax())]
    else:
        tau = config.tau
    runtime.report({"tau": tau} | ({"val_accuracy": float(accuracy.max())} if len(accuracy) else {}))
    return {
        "head.weight": l2_normalize(weight) if config.method == "l2" else tau_normalize(weight, tau),
        "head.bias": bias,
        "tau": torch.tensor(tau, dtype=torch.float64),
        "sweep.tau": torch.tensor(SWEEP if len(accuracy) else [], dtype=torch.float64),
        "sweep.accuracy": accuracy,
    }
