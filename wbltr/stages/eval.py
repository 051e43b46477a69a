"""Eval: a head on the embeddings of one part → accuracies. Shares in [0, 1]; NaN where there is nothing to measure.

Gives: `accuracy.all`, `accuracy.many`, `accuracy.medium`, `accuracy.few`, `accuracy.top5`, `macro_f1` float64 `()`;
`accuracy.per_class` float64 `(C,)`; `confusion` int64 `(C, C)`; `norms` float32 `(C,)`; `class_counts` int64 `(C,)`;
`classes.many`, `classes.medium`, `classes.few` int64 `()` (how many classes); `class_names`; `images` int64 `()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from wbltr.functional import metrics
from wbltr.functional.projections import row_norms
from wbltr.machine import prepare
from wbltr.pipeline import Runtime
from wbltr.recipe import EvalConfig


def run(config: EvalConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Measure; with `flip`, the logits of an image and its mirror image are averaged."""
    runtime.witness.update(device=str(prepare("cpu", runtime.threads)), threads=torch.get_num_threads())
    part = inputs["embeddings"]
    weight = torch.from_numpy(inputs["head"]["head.weight"])
    bias = torch.from_numpy(inputs["head"]["head.bias"])
    views = torch.from_numpy(part[f"{config.on}.embeddings"])
    labels = torch.from_numpy(part[f"{config.on}.labels"])
    counts = torch.from_numpy(part["class_counts"])
    embeddings = views[:2].mean(0) if config.flip else views[0]  # logits are linear: their mean is the mean's logits
    logits = embeddings @ weight.T + bias
    confusion = metrics.confusion_matrix(labels, logits.argmax(1), len(weight))
    per_class = metrics.class_accuracy(confusion)
    top5 = metrics.top_k_correct(logits, labels, 5)
    top5_per_class = torch.bincount(labels[top5], minlength=len(weight)).double() / confusion.sum(1).double()
    sizes = {}
    results = {"accuracy.all": metrics.mean_accuracy(per_class)}
    for name, mask in metrics.split_masks(counts, config.many, config.few).items():
        results[f"accuracy.{name}"] = metrics.mean_accuracy(per_class, mask)
        sizes[f"classes.{name}"] = mask.sum()
    results["accuracy.top5"] = metrics.mean_accuracy(top5_per_class)
    results["macro_f1"] = metrics.macro_f1(confusion)
    runtime.report({n: float(v) for n, v in results.items() if not v.isnan()})
    return {
        **results,
        **sizes,
        "accuracy.per_class": per_class,
        "confusion": confusion,
        "norms": row_norms(weight),
        "class_counts": counts,
        "class_names": part["class_names"],
        "images": torch.tensor(len(labels)),
    }
