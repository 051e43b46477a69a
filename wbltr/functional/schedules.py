"""Learning rates, one per epoch."""

from __future__ import annotations

import math
from typing import Literal


def cosine(lr: float, epochs: int, scheduler: Literal["paper", "released"] = "paper") -> tuple[float, ...]:
    """Half a cosine from `lr` towards 0, constant within an epoch.

    lr_e = lr · (1 + cos(π · e / E)) / 2,  e = 0 … E − 1

    `released` uses e + 1: the paper's released code steps before each epoch, so its last epoch has learning rate 0.

    Source: Loshchilov & Hutter, ICLR 2017, eq. 5; Alshammari et al., CVPR 2022, section 4.

    >>> [round(x, 4) for x in cosine(0.01, 4)]
    [0.01, 0.0085, 0.005, 0.0015]
    """
    first = 1 if scheduler == "released" else 0
    return tuple(lr * (1 + math.cos(math.pi * (epoch + first) / epochs)) / 2 for epoch in range(epochs))
