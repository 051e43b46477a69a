"""Crops of images of different sizes: which box, drawn by a generator, and the box as a square of a fixed size."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SCALE = (0.08, 1.0)  # share of the image's area
RATIO = (3 / 4, 4 / 3)  # width / height
TRIES = 10
LARGER = 256 / 224  # the shorter side of a tested image before its centre is taken, in sides of the crop


def random_boxes(shapes: Tensor, source: torch.Generator) -> Tensor:
    """A random-resized crop of each image, by torchvision's rule: the first of ten random boxes that fits, else the centre.

    Which numbers are drawn does not depend on the shapes, so the generator's stream does not, either.

    Args:
        shapes: `(N, 2)` int, height and width of each image.
        source: a CPU generator.

    Returns:
        `(N, 4)` int32: top, left, height, width.
    """
    height, width = shapes.to(torch.float64).unbind(1)
    # The fall-back: as much of the image's centre as the ratios allow.
    ratio = width / height
    box_height = torch.where(ratio < RATIO[0], (width / RATIO[0]).round(), height)
    box_width = torch.where(ratio > RATIO[1], (height * RATIO[1]).round(), width)
    top, left = ((height - box_height) / 2).floor(), ((width - box_width) / 2).floor()
    waiting = torch.ones(len(shapes), dtype=torch.bool)
    for _ in range(TRIES):
        share, lean, down, right = torch.rand(4, len(shapes), generator=source, dtype=torch.float64)
        area = height * width * (SCALE[0] + (SCALE[1] - SCALE[0]) * share)
        aspect = torch.exp(math.log(RATIO[0]) + (math.log(RATIO[1]) - math.log(RATIO[0])) * lean)
        tall, wide = (area / aspect).sqrt().round(), (area * aspect).sqrt().round()
        taken = waiting & (tall >= 1) & (tall <= height) & (wide >= 1) & (wide <= width)
        box_height, box_width = torch.where(taken, tall, box_height), torch.where(taken, wide, box_width)
        top = torch.where(taken, (down * (height - tall + 1)).floor(), top)
        left = torch.where(taken, (right * (width - wide + 1)).floor(), left)
        waiting &= ~taken
    return torch.stack((top, left, box_height, box_width), 1).to(torch.int32)


def cut(pixels: Tensor, box: tuple[int, int, int, int], size: int) -> Tensor:
    """A box of an image as a square, bilinear with anti-aliasing.

    Args:
        pixels: `(3, H, W)` uint8, on the CPU.
        box: top, left, height, width.
        size: S, pixels a side.

    Returns:
        `(3, S, S)` uint8.
    """
    top, left, height, width = box
    return resized(pixels[:, top : top + height, left : left + width], size, size)


def centre(pixels: Tensor, size: int) -> Tensor:
    """The centre of an image whose shorter side is first brought to 256/224 of the square's: `(3, S, S)` uint8."""
    height, width = pixels.shape[1:]
    short = round(size * LARGER)
    if height <= width:
        tall, wide = short, int(short * width / height)
    else:
        tall, wide = int(short * height / width), short
    top, left = round((tall - size) / 2), round((wide - size) / 2)
    return resized(pixels, tall, wide)[:, top : top + size, left : left + size]


def fitted(pixels: Tensor, side: int, channels: int) -> Tensor:
    """A whole picture as a small square: the shorter side brought to `side`, the centre taken.

    Args:
        pixels: `(3, H, W)` uint8.
        side: pixels of the square.
        channels: 3, or 1 for grey.

    Returns:
        `(channels, side, side)` uint8.
    """
    height, width = pixels.shape[1:]
    tall, wide = (side, max(side, side * width // height)) if height <= width else (max(side, side * height // width), side)
    top, left = (tall - side) // 2, (wide - side) // 2
    square = resized(pixels, tall, wide)[:, top : top + side, left : left + side]
    return grey(square) if channels == 1 else square


def grey(pixels: Tensor) -> Tensor:
    """`(3, H, W)` uint8 → `(1, H, W)`: luma by ITU-R 601, as Pillow has it; what is grey already keeps its values."""
    red, green, blue = pixels.int()
    luma: Tensor = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16
    return luma.to(torch.uint8)[None]


def resized(pixels: Tensor, height: int, width: int) -> Tensor:
    """`(3, H, W)` uint8 → `(3, height, width)`, bilinear with anti-aliasing."""
    if pixels.shape[1:] == (height, width):
        return pixels
    return torch.nn.functional.interpolate(pixels[None], (height, width), mode="bilinear", antialias=True)[0]
