"""Sweep: many second stages at once on the same embeddings → what each of them gives on the validation part.

Batched bits may differ from those of one head alone, so no head is kept: whoever wins is made as a plain `classifier`.

Gives, for T trials: `accuracy` float64 `(T,)` and `accuracy.per_class` `(T, C)`, shares on the validation part, NaN where a
trial diverged; of the last epoch `loss` float64 `(T,)`, `norms` float32 `(T, C)`, and `at_radius`, `projected` float64 `(T,)`,
NaN without MaxNorm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from wbltr.errors import WbltrError
from wbltr.functional.metrics import class_accuracy, confusion_matrix, mean_accuracy
from wbltr.machine import enough_memory, prepare
from wbltr.pipeline import Runtime
from wbltr.stages import SweepConfig
from wbltr.stages._second_stage import fit_on_embeddings


def run(config: SweepConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Fit every trial in the same batch order and measure it; see the module's docstring for the tensors."""
    device = prepare(runtime.device, runtime.threads)
    runtime.witness.update(device=str(device), threads=torch.get_num_threads())
    val, classes = inputs["validation"], len(inputs["features"]["head.bias"])
    with enough_memory("use fewer trials at once: --batch N"):
        heads, _ = fit_on_embeddings(
            config.trials, inputs, device, precision=config.precision, tolerant=True, tick=runtime.tick
        )
    measured, tested = torch.from_numpy(val["val.embeddings"][0]), torch.from_numpy(val["val.labels"])
    if not len(tested):
        raise WbltrError("nothing to choose by: the validation part is empty", "see dataset.val", "missing")
    per_class = torch.full((len(config.trials), classes), torch.nan, dtype=torch.float64)
    for number in range(len(config.trials)):
        runtime.tick(-1, -1)
        if heads.loss[-1, number].isfinite() and heads.norms[-1, number].isfinite().all():
            predicted = (measured @ heads.weight[number].cpu().T + heads.bias[number].cpu()).argmax(1)
            per_class[number] = class_accuracy(confusion_matrix(tested, predicted, classes))
    accuracy = torch.stack([mean_accuracy(row) for row in per_class])
    runtime.report({"trials": len(config.trials), "best": float(accuracy.nan_to_num(0).max())})
    return {
        "accuracy": accuracy,
        "accuracy.per_class": per_class,
        "loss": heads.loss[-1],
        "norms": heads.norms[-1],
        "at_radius": heads.at_radius[-1],
        "projected": heads.projected[-1],
    }
