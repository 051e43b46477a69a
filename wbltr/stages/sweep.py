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
from wbltr.functional.sampling import image_weights
from wbltr.functional.schedules import cosine
from wbltr.heads import fit_heads
from wbltr.machine import enough_memory, prepare
from wbltr.models import new_head
from wbltr.pipeline import Runtime
from wbltr.stages import SweepConfig
from wbltr.stages._trial import trial_of


def run(config: SweepConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Fit every trial in the same batch order and measure it; see the module's docstring for the tensors."""
    device = prepare(runtime.device, runtime.threads)
    runtime.witness.update(device=str(device), threads=torch.get_num_threads())
    train, val = inputs["embeddings"], inputs["validation"]
    first_weight, bias = (torch.from_numpy(inputs["features"][f"head.{name}"]) for name in ("weight", "bias"))
    labels, counts = (torch.from_numpy(train[name]) for name in ("train.labels", "class_counts"))
    shared = config.trials[0]
    weight = first_weight
    if shared.init == "fresh":
        weight, bias = new_head(len(weight), weight.shape[1], shared.seed)
    with enough_memory("use fewer trials at once: --batch N"):
        heads = fit_heads(
            torch.from_numpy(train["train.embeddings"]).to(device),
            labels.to(device),
            counts,
            weight.to(device),
            bias.to(device),
            [trial_of(trial, first_weight) for trial in config.trials],
            schedule=cosine(1.0, shared.epochs, shared.scheduler),
            batch_size=shared.batch_size,
            momentum=shared.momentum,
            seed=shared.seed,
            weights=image_weights(labels, counts, shared.sampling),
            precision=config.precision,
            tolerant=True,
            tick=runtime.tick,
        )
    measured, tested = torch.from_numpy(val["val.embeddings"][0]), torch.from_numpy(val["val.labels"])
    if not len(tested):
        raise WbltrError("nothing to choose by: the validation part is empty", "see dataset.val", "missing")
    per_class = torch.full((len(config.trials), len(weight)), torch.nan, dtype=torch.float64)
    for number in range(len(config.trials)):
        runtime.tick(-1, -1)
        if heads.loss[-1, number].isfinite() and heads.norms[-1, number].isfinite().all():
            predicted = (measured @ heads.weight[number].cpu().T + heads.bias[number].cpu()).argmax(1)
            per_class[number] = class_accuracy(confusion_matrix(tested, predicted, len(weight)))
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
