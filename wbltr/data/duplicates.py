"""Pictures that are there more than once: equal pixels, and pictures that look alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

NEAR = 4  # bits of 64 in which the hashes of two pictures that look alike may differ
BANDS = ((0, 13), (13, 13), (26, 13), (39, 13), (52, 12))  # first bit, bits: one of five is equal where four bits differ
APART = 3  # levels of 255 by which their grey thumbnails may differ in the mean
MOST_COMPARED = 10**8  # pairs; sets of pictures that all look alike would take for ever
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Twins:
    """Held-out pictures that are in an earlier part, too; the parts in the order train, val, test.

    Attributes:
        exact: `(n, 2)` row of the held-out picture, row of its twin: equal pixels.
        near: likewise: alike by hash and thumbnail, and not equal.
        complete: whether every pair was compared that could be alike.
    """

    exact: NDArray[np.int64]
    near: NDArray[np.int64]
    complete: bool


def group_rows(marks: Sequence[bytes], groups: Sequence[str]) -> NDArray[np.int64]:
    """A number for each row: rows of equal pixels or of one named group, and what these join, have the same.

    Args:
        marks: of each row, a digest of its pixels.
        groups: of each row, the name of its group; empty: none.
    """
    above = list(range(len(marks)))

    def top(row: int) -> int:
        while above[row] != row:
            above[row] = row = above[above[row]]
        return row

    first: dict[bytes | str, int] = {}
    for row in range(len(marks)):
        above[top(row)] = top(first.setdefault(marks[row], row))
        if groups[row]:
            above[top(row)] = top(first.setdefault(groups[row], row))
    return np.array([top(row) for row in range(len(marks))], np.int64)


def contradictions(marks: Sequence[bytes], labels: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of rows with equal pixels and different labels: each such row with the first of its pixels."""
    first: dict[bytes, int] = {}
    return [(row, there) for row, mark in enumerate(marks) if labels[there := first.setdefault(mark, row)] != labels[row]]


def find_twins(
    marks: Sequence[bytes], hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8], parts: NDArray[np.str_]
) -> Twins:
    """Pictures in more than one part.

    Args:
        marks: of each row, a digest of its pixels.
        hashes: `(N,)`, 64 bits each; see `wbltr.data.pictures.difference_hash`.
        thumbnails: `(N, P)`, a few grey pixels of each.
        parts: `(N,)`, train, val or test.
    """
    rank = np.array([PARTS.index(part) for part in parts.tolist()], np.int64)
    order = np.argsort(rank, kind="stable").tolist()
    first: dict[bytes, int] = {}
    exact = [(row, there) for row in order if rank[there := first.setdefault(marks[row], row)] < rank[row]]
    twin, complete = _near(hashes, thumbnails, rank)
    held = np.setdiff1d(np.flatnonzero(twin >= 0), [row for row, _ in exact])
    return Twins(np.array(exact, np.int64).reshape(-1, 2), np.stack((held, twin[held]), 1), complete)


def _near(hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8], rank: NDArray[np.int64]) -> tuple[NDArray[np.int64], bool]:
    """For each row one of a lower rank that is alike, or -1; whether all were compared."""
    twin = np.full(len(hashes), -1, np.int64)
    compared = 0
    for shift, bits in BANDS:
        key = (hashes >> np.uint64(shift)) & np.uint64((1 << bits) - 1)
        order = np.argsort(key, kind="stable")
        bounds = [0, *(1 + np.flatnonzero(np.diff(key[order]))).tolist(), len(order)]
        for begin, end in pairwise(bounds):
            bucket = order[begin:end]
            later, earlier = bucket[(rank[bucket] > 0) & (twin[bucket] < 0)], bucket[rank[bucket] < 2]
            compared += len(later) * len(earlier)
            if compared > MOST_COMPARED:
                return twin, False
            for one in later.tolist() if len(earlier) else []:
                alike = earlier[(_bits(hashes[earlier] ^ hashes[one]) <= NEAR) & (rank[earlier] < rank[one])]
                # Plain pictures of one kind often have one hash: the pixels have the last word.
                apart = np.abs(thumbnails[alike].astype(np.int16) - thumbnails[one]).mean(1)
                if len(alike) and apart.min() <= APART:
                    twin[one] = alike[apart.argmin()]
    return twin, True


def _bits(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How many bits are set in each."""
    counts: NDArray[np.int64] = BITS_OF[np.ascontiguousarray(words).view(np.uint16).reshape(-1, 4)].sum(1)
    return counts


BITS_OF = np.array([word.bit_count() for word in range(1 << 16)], np.uint8)
