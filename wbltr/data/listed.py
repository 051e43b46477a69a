"""The long-tailed sets that are published as lists, as facts: file names, sizes, digests. Nothing to import.

ImageNet-LT and Places-LT: Liu et al., Large-Scale Long-Tailed Recognition in an Open World (CVPR 2019), lists `path label`.
iNaturalist 2018: Van Horn et al. (CVPR 2018), `train2018.json` and `val2018.json`; as lists of the same kind in the code of
Kang et al. (ICLR 2020). It has no published test labels, so its validation list is the test part, as in the literature.

A list is known by SHA-256 over its lines `<path> <label>` sorted by path, each ended by a line feed; the training list of
ImageNet-LT by its class counts in label order (SHA-256 over the numbers, a blank between them); that of iNaturalist 2018 by
its totals only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class ListedSet:
    """A set whose parts are lists of image files.

    Args:
        name: the name recipes use.
        title: the name people use.
        files: for each part that has a list, the names it is published under, the first to be preferred.
        classes: how many there are.
        images: how many each list names.
        lists: for each part whose list is pinned, its digest.
        counts: digest of the training list's class counts; empty where they are not known.
    """

    name: str
    title: str
    files: Mapping[str, tuple[str, ...]]
    classes: int
    images: Mapping[str, int]
    lists: Mapping[str, str] = field(default_factory=dict)
    counts: str = ""

    def departures(self, part: str, rows: Sequence[tuple[str, int]]) -> list[str]:
        """In what a part's list differs from the published one; empty where it does not, as far as that is known.

        Args:
            part: train, val or test.
            rows: paths with labels, sorted by path.
        """
        if len(rows) != self.images[part]:
            return [f"its {part} list names {len(rows):,} images, the published one {self.images[part]:,}"]
        if part in self.lists and list_digest(rows) != self.lists[part]:
            return [f"its {part} list names other images or labels than the published one"]
        if part == "train":
            counts = [0] * (1 + max((label for _, label in rows), default=-1))
            for _, label in rows:
                counts[label] += 1
            if len(counts) != self.classes:
                return [f"its train list has {len(counts):,} classes, the published one {self.classes:,}"]
            if self.counts and counts_digest(counts) != self.counts:
                return ["its train list has other class counts than the published one"]
        return []


def list_digest(rows: Sequence[tuple[str, int]]) -> str:
    """SHA-256 of a list's lines, sorted by path."""
    return hashlib.sha256("".join(f"{path} {label}\n" for path, label in rows).encode()).hexdigest()


def counts_digest(counts: Sequence[int]) -> str:
    """SHA-256 of class counts in label order."""
    return hashlib.sha256(" ".join(map(str, counts)).encode()).hexdigest()


LISTED: dict[str, ListedSet] = {
    "imagenet-lt": ListedSet(
        name="imagenet-lt",
        title="ImageNet-LT",
        files={part: (f"ImageNet_LT_{part}.txt",) for part in PARTS},
        classes=1000,
        images={"train": 115_846, "val": 20_000, "test": 50_000},
        lists={
            "val": "dd2bcf4af2184acb672c7da83ece901f856e7ab97f06f1fdcff2499ab5dc3122",
            "test": "228cdfbc8dd6ef299c9e36bb52b952dacdd470c1e0160c3acdba92ac47ec1603",
        },
        counts="b8b7c69111e4ef5a6a24b3887752f1adf37c64bf89ddf4e9643ba851071d7f97",
    ),
    "places-lt": ListedSet(
        name="places-lt",
        title="Places-LT",
        files={part: (f"Places_LT_{part}.txt",) for part in PARTS},
        classes=365,
        images={"train": 62_500, "val": 7_300, "test": 36_500},
        lists={
            "train": "558666ff4f14756ee4dde6e6cd58218c8b1709488fe91f6b9fa1bb4e093f4d20",
            "val": "ad6888c16dc2c0139cef017b58066dc91b071632424c859d5222f818a114583f",
            "test": "2086598e29b44f7aef2cafa69310674832961c864ee76019341b625bb756bfac",
        },
        counts="9e1621aeb7faef16be145cc13930511b381ba3eb392516722c1ce3d59ddf7fce",
    ),
    "inaturalist18": ListedSet(
        name="inaturalist18",
        title="iNaturalist 2018",
        files={"train": ("iNaturalist18_train.txt", "train2018.json"), "test": ("iNaturalist18_val.txt", "val2018.json")},
        classes=8142,
        images={"train": 437_513, "test": 24_426},
        lists={"test": "8a02b74fac386e8f6abfe301158c63a0afd2fe13275f332fcfe109ae67e5edad"},
    ),
}
