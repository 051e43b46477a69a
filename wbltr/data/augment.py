"""Augmentation as one batched function of uint8 images, and the draws that drive it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Augment = Literal["crop-flip", "crop", "none"]


@dataclass(frozen=True)
class Draws:
    """What one epoch (or one view) does to each image: `order (N,)`, `top (N,)`, `left (N,)` int64, `flip (N,)` bool.

    `order` is the permutation that batches are cut from; the others are indexed by image, not by place in the order.
    """

    order: Tensor
    top: Tensor
    left: Tensor
    flip: Tensor

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four, in this order."""
        return self.order, self.top, self.left, self.flip

    def to(self, device: torch.device) -> Draws:
        """The same draws on another device."""
        return Draws(*(t.to(device) for t in self.tensors()))


def draw(images: int, augment: Augment, pad: int, source: torch.Generator) -> Draws:
    """All random choices of an epoch or a view from one CPU generator: the same on every device and rank.

    Args:
        images: N.
        augment: which choices are made; the others are drawn all the same and set to the centre or to no flip,
            so that two runs with the same seed see the same order.
        pad: pixels added on each side before the crop; offsets lie in 0 … 2·pad.
        source: see `wbltr.randomness`.
    """
    order = torch.randperm(images, generator=source)
    offsets = torch.randint(0, 2 * pad + 1, (2, images), generator=source)
    flip = torch.rand(images, generator=source) < 0.5
    if augment == "none":
        offsets = torch.full_like(offsets, pad)
    if augment != "crop-flip":
        flip = torch.zeros_like(flip)
    return Draws(order, offsets[0], offsets[1], flip)


def padded(images: Tensor, pad: int) -> Tensor:
    """`(N, C, H, W)` uint8 → `(N, C, H + 2·pad, W + 2·pad)`, black borders: zeros before normalising."""
    return torch.nn.functional.pad(images, (pad, pad, pad, pad)) if pad else images


def crop_and_flip(images: Tensor, pad: int, index: Tensor, draws: Draws) -> Tensor:
    """Crops of the images at `index`, mirrored where drawn.

    Args:
        images: `(N, C, H + 2·pad, W + 2·pad)` uint8, from `padded`.
        pad: as given to `padded`.
        index: `(B,)` int64 image numbers.
        draws: of the epoch or view, on the images' device.

    Returns:
        `(B, C, H, W)` uint8.
    """
    height, width = images.shape[2] - 2 * pad, images.shape[3] - 2 * pad
    windows = images.unfold(2, height, 1).unfold(3, width, 1)  # a view: (N, C, 2·pad + 1, 2·pad + 1, H, W)
    crops = windows[index, :, draws.top[index], draws.left[index]]
    return torch.where(draws.flip[index].view(-1, 1, 1, 1), crops.flip(3), crops)


class AugmentedImages:
    """Training images on a device, augmented anew each epoch; every tensor stays where it is, for captured steps.

    Args:
        images: `(N, C, H, W)` uint8, on the device.
        labels: `(N,)` int64, there too.
        augment, pad: see `draw`.
        source: the generator of an epoch, see `wbltr.randomness`.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, augment: Augment, pad: int, source: Callable[[int], torch.Generator]
    ) -> None:
        self.labels, self.augment, self.pad, self.source = labels, augment, pad, source
        self.images = padded(images, pad)
        zeros = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        self.draws = Draws(zeros, zeros.clone(), zeros.clone(), zeros.bool())
        self.order = self.draws.order

    def draw(self, epoch: int) -> None:
        """Draw an epoch's order, crops and flips."""
        fresh = draw(len(self.images), self.augment, self.pad, self.source(epoch))
        for tensor, value in zip(self.draws.tensors(), fresh.tensors(), strict=True):
            tensor.copy_(value)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Image numbers `(B,)` → crops `(B, C, H, W)` uint8 as drawn for this epoch, labels `(B,)`."""
        return crop_and_flip(self.images, self.pad, index, self.draws), self.labels[index]
