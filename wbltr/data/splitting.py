"""The parts of a set that has none of its own: drawn by class, so that rare classes are both learned and measured.

What had a part keeps it when others are added: an image that was tested on would otherwise be learned from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

ORDER = ("", "train", "val", "test")  # of parts: rows that belong together take the latest that one of them had


def split_rows(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    shares: Mapping[str, float],
    seed: int,
    earlier: Sequence[str] | None = None,
) -> NDArray[np.str_]:
    """A part for each row: of every class its share, as near as whole groups allow, and the rest for training.

    From a class of n rows a part of share s wants round(s·n), at least one, but never more than half of what is left. So two
    rows of a class are one to train and one to test, and a single one trains. What a part has already counts for its share.

    Args:
        labels: `(N,)`, class numbers from 0.
        groups: `(N,)`; rows of one number stay together; None: each row by itself.
        shares: part → share of the rows, in [0, 1), in the order in which the parts choose; `train` takes the rest.
        seed: draws the order in which groups are asked, whichever parts ask.
        earlier: of each row the part that it had, which it keeps; empty: it is new. A group takes the latest of train, val,
            test that a row of it had; a part without a share is train. None: all are new.

    Returns:
        `(N,)` names of parts. Every class keeps a training row, if it has any row that may train.
    """
    parts = np.full(len(labels), "train", "<U5")
    if not len(labels):
        return parts
    members = _members(labels, np.arange(len(labels)) if groups is None else groups)
    order = np.random.default_rng([seed, 1]).permutation(len(members)).tolist()
    sizes = np.bincount(labels).tolist()
    left = list(sizes)  # rows that train, or may
    chosen: set[int] = set()
    kept = {part: [0] * len(sizes) for part in shares}
    if earlier is not None:
        for group, (rows, counts) in enumerate(members):
            had = max((earlier[row] for row in rows), key=ORDER.index)
            if had:
                chosen.add(group)
            if had in shares:
                parts[rows] = had
                for label, count in counts:
                    kept[had][label] += count
                    left[label] -= count
    for part, share in shares.items():
        # Each part asks of what those before it have left; what it has itself, or a later one, it does not take from training.
        waiting = [*shares][[*shares].index(part) :]
        rest = [left[label] + sum(kept[other][label] for other in waiting) for label in range(len(sizes))]
        wanted = [min(max(round(share * size), int(share > 0)), most // 2) for size, most in zip(sizes, rest, strict=True)]
        lacking = [wants - has for wants, has in zip(wanted, kept[part], strict=True)]
        # First what brings the part nearer to what it wants; then, for classes that it has none of, the smallest group at all.
        for only_missing in (False, True):
            if only_missing and not any(lacks == wants > 0 for lacks, wants in zip(lacking, wanted, strict=True)):
                continue
            for group in sorted(order, key=lambda one: len(members[one][0])) if only_missing else order:
                rows, counts = members[group]
                if group in chosen or any(left[label] <= count for label, count in counts):
                    continue
                nearer = sum(abs(lacking[label]) - abs(lacking[label] - count) for label, count in counts) > 0
                if any(lacking[label] == wanted[label] > 0 for label, _ in counts) if only_missing else nearer:
                    chosen.add(group)
                    for row in rows:
                        parts[row] = part
                    for label, count in counts:
                        lacking[label] -= count
                        left[label] -= count
    return parts


def _members(labels: NDArray[np.int64], groups: NDArray[np.int64]) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """For each group, in the order of its number: its rows, and how many there are of each of its classes."""
    order = np.argsort(groups, kind="stable")
    rows, of_row = order.tolist(), labels[order].tolist()
    bounds = [*np.flatnonzero(np.diff(groups[order], prepend=groups[order[0]] - 1)).tolist(), len(order)]
    return [(rows[first:end], [*Counter(of_row[first:end]).items()]) for first, end in pairwise(bounds)]
