"""Augmentation as one batched function of uint8 images, and the draws that drive it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from wbltr.randomness import epoch_order

# Those with `resized` are for images of different sizes.
Augment = Literal["crop-flip", "crop", "none", "resized-crop-flip", "resized-crop"]


@dataclass(frozen=True)
class Draws:
    """What one epoch (or one view) does to each image: `order (N,)`, `top (N,)`, `left (N,)` int64, `flip (N,)` bool.

    `order` is what batches are cut from; `draw` indexes the others by image, `AugmentedImages` by place in the order.
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


def draw(images: int, augment: Augment, pad: int, source: torch.Generator, weights: Tensor | None = None) -> Draws:
    """All random choices of an epoch or a view from one CPU generator: the same on every device and rank.

    Args:
        images: N.
        augment: which choices are made; the others are drawn all the same and set to the centre or to no flip,
            so that two runs with the same seed see the same order.
        pad: pixels added on each side before the crop; offsets lie in 0 … 2·pad.
        source: see `wbltr.randomness`.
        weights: `(N,)` of the images, which are then drawn with replacement; None: each once.
    """
    order = epoch_order(images, source, weights)
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


def crop_and_flip(images: Tensor, pad: int, index: Tensor, top: Tensor, left: Tensor, flip: Tensor) -> Tensor:
    """Crops of the images at `index`, mirrored where drawn.

    Args:
        images: `(N, C, H + 2·pad, W + 2·pad)` uint8, from `padded`.
        pad: as given to `padded`.
        index: `(B,)` int64 image numbers.
        top, left, flip: `(B,)` int64 and bool, what is done to each of these images; on the images' device.

    Returns:
        `(B, C, H, W)` uint8.
    """
    height, width = images.shape[2] - 2 * pad, images.shape[3] - 2 * pad
    windows = images.unfold(2, height, 1).unfold(3, width, 1)  # a view: (N, C, 2·pad + 1, 2·pad + 1, H, W)
    crops = windows[index, :, top, left]
    return torch.where(flip.view(-1, 1, 1, 1), crops.flip(3), crops)


class AugmentedImages:
    """Training images on a device, augmented anew each epoch; every tensor stays where it is, for captured steps.

    Args:
        images: `(N, C, H, W)` uint8, on the device.
        labels: `(N,)` int64, there too.
        augment, pad: see `draw`.
        source: the generator of an epoch, see `wbltr.randomness`.
        weights: `(N,)`, on the CPU; see `draw`.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        augment: Augment,
        pad: int,
        source: Callable[[int], torch.Generator],
        weights: Tensor | None = None,
    ) -> None:
        self.labels, self.augment, self.pad, self.source, self.weights = labels, augment, pad, source, weights
        self.images = padded(images, pad)
        zeros = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        self.draws = Draws(zeros, zeros.clone(), zeros.clone(), zeros.bool())

    def __len__(self) -> int:
        """Images of an epoch."""
        return len(self.images)

    def draw(self, epoch: int, steps: Sequence[Sequence[range]] = ()) -> None:  # noqa: ARG002
        """Draw an epoch's order, crops and flips."""
        fresh = draw(len(self.images), self.augment, self.pad, self.source(epoch), self.weights)
        if self.weights is None:
            # By place in the order; with replacement they are so already, as an image drawn twice has two crops.
            fresh = Draws(fresh.order, *(values[fresh.order] for values in fresh.tensors()[1:]))
        for tensor, value in zip(self.draws.tensors(), fresh.tensors(), strict=True):
            tensor.copy_(value)

    def fetch(self) -> None:
        """They are all here."""

    def take(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Places in the epoch's order `(B,)` → crops `(B, C, H, W)` uint8 as drawn for it, labels `(B,)`."""
        order, *drawn = (values.index_select(0, places) for values in self.draws.tensors())
        return crop_and_flip(self.images, self.pad, order, *drawn), self.labels[order]
