"""τ sweep with the full report at each τ: `python tests/benchmarks/tau_sweep.py --dimensions 512`.

21 values on 10,000 made test embeddings: predictions, confusion, accuracy per class and per split, macro-F1. Against the plain
way: the rows rescaled and the product taken anew for each τ. Flip averaging: the mean of two views' embeddings, as eval does.
"""

from __future__ import annotations

from typing import Any

import measure
import torch
from second_stage import CLASSES, made_embeddings
from torch import Tensor

from wbltr.functional import metrics
from wbltr.functional.adjustments import tau_normalize, tau_sweep
from wbltr.functional.longtail import long_tail_counts
from wbltr.functional.projections import row_norms
from wbltr.machine import prepare
from wbltr.models import new_head

TAUS = [round(0.1 * step, 1) for step in range(21)]


def report(labels: Tensor, predictions: Tensor, masks: dict[str, Tensor]) -> dict[str, Any]:
    """What eval says of one head, without top-5."""
    confusion = metrics.confusion_matrix(labels, predictions, CLASSES)
    per_class = metrics.class_accuracy(confusion)
    splits = {name: float(metrics.mean_accuracy(per_class, mask)) for name, mask in masks.items()}
    overall = {"all": float(metrics.mean_accuracy(per_class)), "macro_f1": float(metrics.macro_f1(confusion))}
    return {"confusion": confusion, "per_class": per_class, **splits, **overall}


def main() -> None:
    """Measure a sweep."""
    parser = measure.arguments(__doc__ or "")
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--images", type=int, default=10_000)
    given = parser.parse_args()
    prepare("cpu", given.threads)
    masks = metrics.split_masks(torch.tensor(long_tail_counts(CLASSES, 500, 100)), 100, 20)
    views, labels = made_embeddings(torch.full((CLASSES,), given.images // CLASSES), given.dimensions, 2, seed=2)
    weight, bias = new_head(CLASSES, given.dimensions, 0)
    weight *= torch.linspace(0.5, 2.0, CLASSES).unsqueeze(1)

    def ours() -> list[dict[str, Any]]:
        embeddings = views.mean(0)
        predictions = tau_sweep(embeddings @ weight.T, row_norms(weight), bias, TAUS)
        return [report(labels, of_one, masks) for of_one in predictions]

    def plain() -> list[dict[str, Any]]:
        embeddings = views.mean(0)
        return [report(labels, (embeddings @ tau_normalize(weight, tau).T + bias).argmax(1), masks) for tau in TAUS]

    largest = max(abs(a["all"] - b["all"]) for a, b in zip(ours(), plain(), strict=True))  # a warm-up, too
    figures = measure.in_turn(lambda: measure.seconds(ours), lambda: measure.seconds(plain), given.repeats)
    about = {"values": len(TAUS), "images": len(labels), "dimensions": given.dimensions, "largest_difference": largest}
    measure.tell("tau sweep with reports", {**figures, "target_seconds": 0.3, "stretch_seconds": 0.1, **about}, given.json)


if __name__ == "__main__":
    main()
