"""How often a head is right at each confidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from wbltr.functional.calibration import Reliability, reliability_diagram
from wbltr.functional.logits import head_logits

Array = np.ndarray[Any, Any]


def reliability(head: Mapping[str, Array], views: Array, labels: Array, *, flip: bool) -> Reliability:
    """A reliability diagram of 15 bins, from the logits as `eval` has them.

    Args:
        head: its tensors.
        views: `(V, N, D)` float32 embeddings.
        labels: `(N,)` int64.
        flip: whether the logits of an image and its mirror image are averaged.
    """
    seen = torch.from_numpy(views)[: 2 if flip else 1]
    logits = head_logits({name: torch.from_numpy(values) for name, values in head.items()}, seen).mean(0)
    return reliability_diagram(logits, torch.from_numpy(labels))
