"""Where every random choice comes from: one CPU generator for each seed, purpose and number."""

from __future__ import annotations

import hashlib
from typing import Literal

import torch

Purpose = Literal["network", "head", "epoch", "view", "second stage", "simplex"]


def generator(seed: int, purpose: Purpose, number: int = 0) -> torch.Generator:
    """A fresh CPU generator; no two (seed, purpose, number) share a stream.

    Args:
        seed: the recipe's.
        purpose: what is drawn.
        number: epoch or view, so that any of them can be drawn again without those before it.
    """
    digest = hashlib.sha256(f"{purpose} {seed} {number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def epoch_order(images: int, source: torch.Generator, weights: torch.Tensor | None = None) -> torch.Tensor:
    """The images of an epoch in the order of learning: `(N,)` int64.

    Args:
        images: N.
        source: see `generator`.
        weights: `(N,)`, how likely each image is drawn, with replacement; None: a permutation.
    """
    if weights is None:
        return torch.randperm(images, generator=source)
    return torch.multinomial(weights, images, replacement=True, generator=source)
