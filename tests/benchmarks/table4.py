"""The 14 last-layer rows of the paper's Table 4: `python tests/benchmarks/table4.py --dimensions 512`.

From a finished weight-decay stage: its own head, τ and L2 after training, and eleven heads trained again at once by
fit_heads(); then each of the 14 is evaluated on 10,000 test embeddings. Embeddings are made (right sizes, CIFAR100-LT's
counts), so the embedding pass is not in the time and accuracies mean nothing. Baseline: the eleven one after another.
"""

from __future__ import annotations

from typing import Any

import measure
import numpy as np
import torch
from second_stage import CLASSES, made_embeddings
from torch import Tensor

from wbltr.functional.adjustments import l2_normalize, tau_normalize
from wbltr.functional.longtail import long_tail_counts
from wbltr.functional.projections import relative_radius, row_norms
from wbltr.functional.schedules import cosine
from wbltr.heads import Precision, Trial, fit_heads
from wbltr.machine import prepare
from wbltr.models import new_head
from wbltr.pipeline import Runtime
from wbltr.recipe import EvalConfig, available_precision
from wbltr.stages.eval import run as evaluate

TAU, DEFAULT_DECAY, DECAY = 1.9, 5e-3, 0.1  # of the paper and its released code


def trained_again(radius: float) -> dict[str, Trial]:
    """The rows whose head is trained again; `default-wd` is the first stage's weight decay."""
    return {
        "ce & l2norm": Trial("ce", unit_norm=True),
        "ce & wd": Trial("ce", weight_decay=DECAY),
        "ce & max": Trial("ce", radius=radius),
        "ce & max & default-wd": Trial("ce", radius=radius, weight_decay=DEFAULT_DECAY),
        "ce & max & wd": Trial("ce", radius=radius, weight_decay=DECAY),
        "cb": Trial("cb"),
        "cb & l2norm": Trial("cb", unit_norm=True),
        "cb & wd": Trial("cb", weight_decay=DECAY),
        "cb & max": Trial("cb", radius=radius),
        "cb & max & default-wd": Trial("cb", radius=radius, weight_decay=DEFAULT_DECAY),
        "cb & wd & max": Trial("cb", radius=radius, weight_decay=DECAY),
    }


def main() -> None:
    """Measure the table."""
    parser = measure.arguments(__doc__ or "")
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default=available_precision(), help="of the sweep's products")
    given = parser.parse_args()
    prepare("cpu", given.threads)
    counts = torch.tensor(long_tail_counts(CLASSES, 500, 100))
    embeddings, labels = made_embeddings(counts, given.dimensions, 10, seed=1)
    tested, test_labels = made_embeddings(torch.full((CLASSES,), 100), given.dimensions, 2, seed=2)
    part = {
        "test.embeddings": tested.numpy(),
        "test.labels": test_labels.numpy(),
        "class_counts": counts.numpy(),
        "class_names": np.zeros(0, np.uint8),
    }
    weight, bias = new_head(CLASSES, given.dimensions, 0)
    trials = trained_again(relative_radius(row_norms(weight), 0.1))
    parts: dict[str, list[float]] = {"fit": [], "evaluate": []}

    def fit(rows: list[Trial], precision: Precision) -> list[tuple[Tensor, Tensor]]:
        heads = fit_heads(
            embeddings, labels, counts, weight, bias, rows,
            schedule=cosine(1.0, 10), batch_size=64, momentum=0.9, seed=0, precision=precision,
        )  # fmt: skip
        return list(zip(heads.weight, heads.bias, strict=True))

    def table(one_by_one: bool) -> float:
        heads = {
            "wd": (weight, bias),
            "wd + tau": (tau_normalize(weight, TAU), bias),
            "wd + l2norm": (l2_normalize(weight), bias),
        }

        def second_stage() -> None:
            rows = list(trials.values())
            again = [fit([row], "fp32")[0] for row in rows] if one_by_one else fit(rows, given.precision)
            heads.update(zip(trials, again, strict=True))

        def evaluation() -> None:
            runtime = Runtime(threads=torch.get_num_threads())
            results: list[Any] = [
                evaluate(
                    EvalConfig(), {"head": {"head.weight": w.numpy(), "head.bias": b.numpy()}, "embeddings": part}, runtime
                )
                for w, b in heads.values()
            ]
            assert len(results) == 14

        fitted, evaluated = measure.seconds(second_stage), measure.seconds(evaluation)
        if not one_by_one:
            parts["fit"].append(fitted)
            parts["evaluate"].append(evaluated)
        return fitted + evaluated

    figures = measure.in_turn(lambda: table(False), lambda: table(True), given.repeats)
    about = {f"{name}_seconds": measure.spread(values) for name, values in parts.items()}
    targets = {"target_seconds": 60, "stretch_seconds": 30}
    about |= {"dimensions": given.dimensions, "precision": given.precision}
    measure.tell("Table 4, 14 last-layer rows, without the embedding pass", {**figures, **targets, **about}, given.json)


if __name__ == "__main__":
    main()
