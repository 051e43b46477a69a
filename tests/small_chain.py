"""A chain on digits that takes a second: what the stages' tests begin with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from wbltr.pipeline import Runtime
from wbltr.recipe import Recipe

# Not a recipe of the package: those may be tuned, the numbers frozen in the tests may not.
RECIPE = Recipe.model_validate(
    {
        "dataset": {"source": "digits", "imbalance_factor": 50, "largest": 110},
        "features": {
            "network": "small", "epochs": 4, "batch_size": 32, "lr": 0.05, "precision": "fp32",
            "augment": "crop", "pad": 1, "mean": [0.306], "std": [0.377],
        },
    }
)  # fmt: skip
RUNTIME = Runtime(threads=1, device="cpu")
Tensors = Mapping[str, Any]


def as_arrays(tensors: Tensors) -> dict[str, np.ndarray[Any, Any]]:
    """What a stage would be handed after a trip through the store."""
    return {name: np.asarray(value).copy() for name, value in tensors.items()}
