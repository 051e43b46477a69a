"""Pictures that are there more than once: equal pixels, and pictures that look alike by a perceptual hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

NEAR = 4  # bits of 64 in which the hashes of two pictures that look alike may differ
BANDS = ((0, 13), (13, 13), (26, 13), (39, 13), (52, 12))  # first bit, bits: one of five is equal where four bits differ
MOST_COMPARED = 2 * 10**8  # pairs; sets of pictures that all look alike would take for ever
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Twins:
    """Held-out pictures that are in an earlier part, too; the parts in the order train, val, test.

    Attributes:
        exact: `(n, 2)` row of the held-out picture, row of its twin: equal pixels.
        near: likewise: alike by their hashes, and not equal.
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


def find_twins(marks: Sequence[bytes], hashes: NDArray[np.uint64], parts: NDArray[np.str_]) -> Twins:
    """Pictures in more than one part.

    Args:
        marks: of each row, a digest of its pixels.
        hashes: `(N,)`, 64 bits each; see `difference_hash`.
        parts: `(N,)`, train, val or test.
    """
    rank = np.array([PARTS.index(part) for part in parts.tolist()], np.int64)
    order = np.argsort(rank, kind="stable").tolist()
    first: dict[bytes, int] = {}
    exact = [(row, there) for row in order if rank[there := first.setdefault(marks[row], row)] < rank[row]]
    twin, complete = _near(hashes, rank)
    held = np.setdiff1d(np.flatnonzero(twin >= 0), [row for row, _ in exact])
    return Twins(np.array(exact, np.int64).reshape(-1, 2), np.stack((held, twin[held]), 1), complete)


def _near(hashes: NDArray[np.uint64], rank: NDArray[np.int64]) -> tuple[NDArray[np.int64], bool]:
    """For each row one of a lower rank with a hash of at most `NEAR` other bits, or -1; whether all were compared."""
    # One row stands for all with its hash and rank; of a hash in several parts every later one has found its twin.
    _, rows, copies = np.unique(np.stack((hashes, rank.astype(np.uint64)), 1), axis=0, return_index=True, return_inverse=True)
    best = np.full(len(rows), -1, np.int64)
    some, ranks = hashes[rows], rank[rows]
    compared = 0
    for shift, bits in BANDS:
        key = (some >> np.uint64(shift)) & np.uint64((1 << bits) - 1)
        order = np.argsort(key, kind="stable")
        bounds = [0, *(1 + np.flatnonzero(np.diff(key[order]))).tolist(), len(order)]
        for begin, end in pairwise(bounds):
            bucket = order[begin:end]
            later = bucket[(ranks[bucket] > 0) & (best[bucket] < 0)]
            earlier = bucket[ranks[bucket] < 2]
            if not len(later) or not len(earlier):
                continue
            compared += len(later) * len(earlier)
            if compared > MOST_COMPARED:
                return best[copies.reshape(-1)], False
            for one in later.tolist():
                alike = _bits(some[earlier] ^ some[one]) <= NEAR
                if len(found := earlier[alike & (ranks[earlier] < ranks[one])]):
                    best[one] = rows[found[0]]
    return best[copies.reshape(-1)], True


def _bits(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How many bits are set in each."""
    counts: NDArray[np.int64] = BITS_OF[np.ascontiguousarray(words).view(np.uint8).reshape(-1, 8)].sum(1)
    return counts


BITS_OF = np.array([byte.bit_count() for byte in range(256)], np.int64)
