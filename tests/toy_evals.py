"""What an eval artifact holds, from given predictions."""

from __future__ import annotations

from typing import Any

import numpy as np


def measured(labels: list[int], predictions: list[int], counts: list[int], many: int, few: int) -> dict[str, Any]:
    """What an eval artifact has of these predictions."""
    classes = len(counts)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, predictions), 1)
    return {
        "confusion": confusion,
        "labels": np.array(labels, np.int32),
        "predictions": np.array(predictions, np.int32),
        "class_counts": np.array(counts),
        "classes.many": np.array(sum(n > many for n in counts)),
        "classes.few": np.array(sum(n < few for n in counts)),
    }
