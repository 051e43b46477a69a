"""One look at every picture of a set: its size, a digest of its pixels, a perceptual hash, and if asked for it a square."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wbltr.data.crops import fitted, grey, resized
from wbltr.data.decode import MOST_PIXELS, REFUSALS, BadImage, jpeg_decoder, opened, shifted, values
from wbltr.data.digests import bytes_as_hashed, in_threads
from wbltr.data.imagefiles import Files
from wbltr.data.signatures import unread

GREY = ("1", "L", "LA", "I", "F")  # Pillow's modes without colour; those of 16 bits begin with I;16
WEIGHTS = 1 << np.arange(64, dtype=np.uint64)


@dataclass(frozen=True)
class Pictures:
    """What was seen.

    Attributes:
        shapes: int32 `(N, 2)`, height and width in pixels; 0 where it cannot be decoded.
        marks: of each, a digest of its pixels; empty where it cannot be decoded.
        hashes: uint64 `(N,)`, see `difference_hash`.
        thumbnails: uint8 `(N, 256)`, grey, 16 x 16.
        squares: uint8 `(N, C, S, S)`, see `fitted`; None where no side was asked for.
        bits: uint8 `(N,)`, how many bits the values of an image of 16 bits use, 8 to 16; of others 0.
        bad: number and reason of those that cannot be decoded.
    """

    shapes: NDArray[np.int32]
    marks: list[bytes]
    hashes: NDArray[np.uint64]
    thumbnails: NDArray[np.uint8]
    squares: NDArray[np.uint8] | None
    bits: NDArray[np.uint8]
    bad: list[tuple[int, str]] = field(default_factory=list)


def survey(root: Path, files: Files, tick: Callable[[int, int], None]) -> tuple[int, bool]:
    """The median of the shorter sides in pixels, and whether all pictures are grey, by their headers; 0 where none has one."""
    sides, coloured = [], False
    for number, path in enumerate(files.paths):
        tick(number, len(files.paths))
        try:
            with opened(root / path) as image:
                sides.append(min(image.size))
                coloured |= image.mode not in GREY and not image.mode.startswith("I;16")
        except REFUSALS:
            continue
    return (int(np.median(sides)) if sides else 0), not coloured


def see(
    root: Path,
    files: Files,
    side: int | None,
    channels: int | None,
    workers: int,
    tick: Callable[[int, int], None],
    depth: int | None = None,
    known: Pictures | None = None,
) -> Pictures:
    """Decode every picture once.

    Args:
        side, channels: of the squares; None: none are kept.
        workers: threads.
        tick: called with pictures done and pictures in all; may raise to stop.
        depth: see `wbltr.data.decode.decode`.
        known: what was seen with another depth and is not needed any more: pictures of 8 bits are not decoded again.

    Raises:
        WbltrError: code "integrity" for a file that changed since it was hashed, "missing" for one that cannot be read.
    """
    total = len(files.paths)
    seen = known or Pictures(
        np.zeros((total, 2), np.int32),
        [b""] * total,
        np.zeros(total, np.uint64),
        np.zeros((total, 256), np.uint8),
        None if side is None else np.zeros((total, channels or 3, side, side), np.uint8),
        np.zeros(total, np.uint8),
    )
    squares = seen.squares
    wanted = range(total) if known is None else np.flatnonzero(known.bits).tolist()

    def look(number: int) -> str:
        path = root / files.paths[number]
        data = bytes_as_hashed(path, files.digests[number])
        if why := unread(data, path.name):
            return why
        try:
            found = values(data)
        except BadImage as error:
            return str(error)
        pixels = found if isinstance(found, Tensor) else shifted(found, depth)
        if side is not None and side**2 * max(pixels.shape[1:]) > MOST_PIXELS * min(pixels.shape[1:]):
            return f"{pixels.shape[1]:,} x {pixels.shape[2]:,} pixels: too long and thin for a square"
        if not isinstance(found, Tensor):
            seen.bits[number] = max(8, int(found.max(initial=0)).bit_length())
        seen.shapes[number] = pixels.shape[1:]
        digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
        digest.update(pixels.contiguous().numpy().data)
        seen.marks[number], seen.hashes[number] = digest.digest(), difference_hash(pixels)
        seen.thumbnails[number] = grey(resized(pixels, 16, 16)).reshape(-1).numpy()
        if side is not None and squares is not None:
            squares[number] = fitted(pixels, side, squares.shape[1]).numpy()
        return ""

    jpeg_decoder()
    done = in_threads(look, wanted, workers, begin=partial(torch.set_num_threads, 1))
    for place, (number, why) in enumerate(zip(wanted, done, strict=True)):
        tick(place + 1, len(wanted))
        if why:
            seen.bad.append((number, why))
    return seen


def difference_hash(pixels: Tensor) -> int:
    """Whether each point of a grey 8 x 9 picture is darker than its right neighbour: `(3, H, W)` uint8 → 64 bits.

    Source: N. Krawetz, "Kind of Like That", 2013.
    """
    small = resized(grey(pixels), 8, 9)[0].numpy()
    return int(WEIGHTS[(small[:, :-1] < small[:, 1:]).reshape(-1)].sum())


def channel_statistics(squares: NDArray[np.uint8], rows: Sequence[int] | NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over some squares, of pixels in [0, 1], with four digits; at least 0.0001."""
    histograms = [np.bincount(squares[rows, channel].reshape(-1), minlength=256) for channel in range(squares.shape[1])]
    levels = np.arange(256) / 255
    means = [float(h @ levels / h.sum()) for h in histograms]
    variances = [float(h @ (levels - mean) ** 2 / h.sum()) for h, mean in zip(histograms, means, strict=True)]
    return [round(mean, 4) for mean in means], [max(round(variance**0.5, 4), 1e-4) for variance in variances]
