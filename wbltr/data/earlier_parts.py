"""The parts that images of one's own had in an earlier dataset: known by content, whatever their files are called by now."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wbltr.data.splitting import ORDER

PARTS = ORDER[1:]


@dataclass(frozen=True)
class Had:
    """What images had in an earlier dataset.

    Attributes:
        parts: of each image its part; empty: it is new.
        gone: how many images of the earlier dataset are not among them.
    """

    parts: Sequence[str]
    gone: int


@dataclass(frozen=True)
class EarlierParts:
    """Which part each image was in.

    Attributes:
        parts: content → the parts of the images that have it, in the order of their files.
        squares: side, channels and depth of the squares that contents are digests of; None: they are digests of files.
    """

    parts: Mapping[bytes, Sequence[str]]
    squares: tuple[int, int, int | None] | None

    @classmethod
    def load(cls, dataset: Mapping[str, Any], squares: tuple[int, int, int | None] | None) -> EarlierParts:
        """Out of a dataset's tensors: of each part `digests` of its files, or `images` and `index`."""
        rows: list[tuple[int, bytes, str]] = []
        for part in PARTS:
            if squares is None:
                rows += [(0, bytes(content), part) for content in dataset[f"{part}.digests"]]
            else:
                places, contents = dataset[f"{part}.index"].tolist(), digests(dataset[f"{part}.images"])
                rows += [(place, content, part) for place, content in zip(places, contents, strict=True)]
        parts: dict[bytes, list[str]] = defaultdict(list)
        for _, content, part in sorted(rows, key=lambda row: row[0]):
            parts[content].append(part)
        return cls(parts, squares)

    def of(self, contents: Sequence[bytes]) -> Had:
        """Which part each image had.

        Images of one content keep their parts one by one where they are as many as they were. Otherwise nobody knows which of
        them is new, and all take the latest of train, val, test.
        """
        rows = defaultdict(list)
        for row, content in enumerate(contents):
            rows[content].append(row)
        found = [""] * len(contents)
        for content, own in rows.items():
            had = self.parts.get(content, ())
            latest = max(had, key=ORDER.index, default="")
            for row, part in zip(own, had if len(had) == len(own) else [latest] * len(own), strict=True):
                found[row] = part
        return Had(found, sum(max(0, len(had) - len(rows.get(content, ()))) for content, had in self.parts.items()))


def digests(images: Iterable[NDArray[np.uint8]]) -> list[bytes]:
    """One of each image's pixels."""
    return [hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in images]
