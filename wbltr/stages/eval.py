"""Eval: a head on the embeddings of one part → how good it is. Shares in [0, 1]; NaN where there is nothing to measure.

Gives: `accuracy.all`, `accuracy.many`, `accuracy.medium`, `accuracy.few`, `accuracy.top5`, `accuracy.harmonic`,
`accuracy.geometric`, `accuracy.worst`, `macro_f1`, `auroc` float64 `()`; `ece.S`, `classwise_ece.S`, `nll.S` (nats), `brier.S`
float64 `()` for S all, many, medium, few; `accuracy.per_class` float64 `(C,)`; `confusion` int64 `(C, C)`; `norms` float32
`(C,)`; `class_counts` int64 `(C,)`; `classes.many`, `classes.medium`, `classes.few` int64 `()` (how many classes);
`class_names`; `images` int64 `()`; `predictions`, `labels` int32 `(N,)`; with `flip` also `accuracy.unflipped` float64 `()`.

Accuracies, macro-F1 and AUROC are means over classes; calibration is over images, as its definitions have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wbltr.functional import calibration, metrics
from wbltr.functional.logits import head_logits
from wbltr.functional.projections import row_norms
from wbltr.functional.ranking import auroc
from wbltr.machine import prepare
from wbltr.pipeline import Runtime
from wbltr.recipe import EvalConfig


def run(config: EvalConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Measure; with `flip`, the logits of an image and its mirror image are averaged."""
    runtime.witness.update(device=str(prepare("cpu", runtime.threads)), threads=torch.get_num_threads())
    part = inputs["embeddings"]
    head = {name: torch.from_numpy(values) for name, values in inputs["head"].items()}
    views = torch.from_numpy(part[f"{config.on}.embeddings"])[: 2 if config.flip else 1]
    labels = torch.from_numpy(part[f"{config.on}.labels"])
    counts = torch.from_numpy(part["class_counts"])
    of_views = head_logits(head, views)
    logits = of_views.mean(0)
    predictions = logits.argmax(1)
    confusion = metrics.confusion_matrix(labels, predictions, len(counts))
    per_class = metrics.class_accuracy(confusion)
    top5 = metrics.top_k_correct(logits, labels, 5)
    top5_per_class = torch.bincount(labels[top5], minlength=len(counts)).double() / confusion.sum(1).double()
    splits = metrics.split_masks(counts, config.many, config.few)
    results = {
        "accuracy.top5": metrics.mean_accuracy(top5_per_class),
        "accuracy.harmonic": metrics.harmonic_mean_accuracy(per_class),
        "accuracy.geometric": metrics.geometric_mean_accuracy(per_class),
        "accuracy.worst": metrics.worst_accuracy(per_class),
        "macro_f1": metrics.macro_f1(confusion),
        "auroc": auroc(logits.double().softmax(1), labels).nanmean(),
    }
    if config.flip:
        plain = metrics.confusion_matrix(labels, of_views[0].argmax(1), len(counts))
        results["accuracy.unflipped"] = metrics.mean_accuracy(metrics.class_accuracy(plain))
    everywhere: dict[str, Tensor | None] = {"all": None, **splits}
    for name, mask in everywhere.items():
        results[f"accuracy.{name}"] = metrics.mean_accuracy(per_class, mask)
        results[f"ece.{name}"] = calibration.expected_calibration_error(logits, labels, mask=mask)
        results[f"classwise_ece.{name}"] = calibration.classwise_calibration_error(logits, labels, mask=mask)
        results[f"nll.{name}"] = calibration.negative_log_likelihood(logits, labels, mask)
        results[f"brier.{name}"] = calibration.brier_score(logits, labels, mask)
    runtime.report({name: float(value) for name, value in results.items() if value.isfinite()})
    return {
        **results,
        **{f"classes.{name}": mask.sum() for name, mask in splits.items()},
        "accuracy.per_class": per_class,
        "confusion": confusion,
        "norms": row_norms(head["head.weight"]),
        "class_counts": counts,
        "class_names": part["class_names"],
        "images": torch.tensor(len(labels)),
        "predictions": predictions.int(),
        "labels": labels.int(),
    }
