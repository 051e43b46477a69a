"""A decoded copy of an index's images: their shorter side brought to a size, kept as plain pixels in shards of bounded size."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wbltr.data.crops import resized

SHARD = 1 << 28  # bytes; a shard being made lies in memory a few times over
Span = Callable[[str, str], tuple[Path, int]]  # object id, tensor → file, and where in it the tensor's bytes begin


def copied_shapes(shapes: NDArray[np.int32], side: int) -> NDArray[np.int32]:
    """Heights and widths `(N, 2)` once the shorter one is brought down to `side`; smaller images stay as they are."""
    short = shapes.min(1, keepdims=True).astype(np.int64)
    shrunk = np.maximum(shapes.astype(np.int64) * side // np.maximum(short, 1), 1)
    return np.where(short > side, shrunk, shapes).astype(np.int32)


def shard_bounds(shapes: NDArray[np.int32]) -> NDArray[np.int64]:
    """`(S + 1,)`: the first image of each shard, and N. A shard holds as many images as fit, at least one."""
    bounds, held = [0], 0
    for number, size in enumerate(_sizes(shapes).tolist()):
        if held and held + size > SHARD:
            bounds.append(number)
            held = 0
        held += size
    return np.array([*bounds, len(shapes)] if len(shapes) else [0], np.int64)


def pack(images: Iterator[Tensor], shapes: NDArray[np.int32]) -> NDArray[np.uint8]:
    """One shard: the pixels of its images one after another, each `(3, H, W)`, brought to these shapes on the way."""
    sizes = _sizes(shapes).tolist()
    packed = np.empty(sum(sizes), np.uint8)
    first = 0
    for pixels, size, (height, width) in zip(images, sizes, shapes.tolist(), strict=True):
        packed[first : first + size] = resized(pixels, height, width).numpy().reshape(-1)
        first += size
    return packed


def _sizes(shapes: NDArray[np.int32]) -> NDArray[np.int64]:
    sizes: NDArray[np.int64] = 3 * shapes[:, 0].astype(np.int64) * shapes[:, 1]
    return sizes


@dataclass
class Copy:
    """The pixels of one part, read from its shards as they are asked for.

    Args:
        shapes: `(N, 2)`, height and width of each image.
        shards: object ids.
        bounds: see `shard_bounds`.
        span: says where an object's tensor lies; checks the object's digest.
    """

    shapes: NDArray[np.int32]
    shards: Sequence[str]
    bounds: NDArray[np.int64]
    span: Span
    starts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.starts = np.concatenate(([0], np.cumsum(_sizes(self.shapes))))
        self._files: dict[int, tuple[int, int]] = {}
        self._opening = threading.Lock()

    @classmethod
    def load(cls, dataset: Mapping[str, Any], part: str, span: Span) -> Copy | None:
        """A part of a dataset artifact, if it has a copy."""
        if f"{part}.shards" not in dataset:
            return None
        shards = [bytes(row).hex() for row in dataset[f"{part}.shards"]]
        return cls(dataset[f"{part}.shapes"], shards, dataset[f"{part}.bounds"], span)

    def pixels(self, number: int) -> Tensor:
        """`(3, H, W)` uint8; every thread may ask."""
        shard = int(np.searchsorted(self.bounds, number, "right")) - 1
        file, begin = self._opened(shard)
        height, width = self.shapes[number].tolist()
        size = 3 * height * width
        # Read, not mapped: mapped pages count as this process's memory, and there are many.
        data = bytearray(os.pread(file, size, begin + int(self.starts[number] - self.starts[self.bounds[shard]])))
        return torch.frombuffer(data, dtype=torch.uint8).view(3, height, width)

    def _opened(self, shard: int) -> tuple[int, int]:
        if shard not in self._files:
            with self._opening:
                if shard not in self._files:
                    path, begin = self.span(self.shards[shard], "pixels")
                    self._files[shard] = (os.open(path, os.O_RDONLY), begin)
        return self._files[shard]

    def close(self) -> None:
        """Close the files."""
        for file, _ in self._files.values():
            os.close(file)
        self._files.clear()
