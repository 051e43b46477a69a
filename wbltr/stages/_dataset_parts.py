"""What a dataset of any source is made of and told by."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wbltr.data.lists import Problems
from wbltr.dataset_config import DatasetConfig
from wbltr.errors import WbltrError
from wbltr.pipeline import Runtime

if TYPE_CHECKING:
    from wbltr.data.index import Index

SHOWN = 20  # images that cannot be decoded and are named
REASONS = 3  # why not, in one line


def fingerprint(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> bytes:
    """SHA-256 over shape, pixels and labels of a training part: equal exactly when the images, labels and order are."""
    digest = hashlib.sha256(json.dumps(images.shape).encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(labels.astype("<i8").tobytes())
    return digest.digest()


def as_json(names: Sequence[str]) -> np.ndarray[Any, Any]:
    """Names as the bytes of a JSON text."""
    return np.frombuffer(json.dumps(list(names), ensure_ascii=False).encode(), np.uint8)


def tell(
    runtime: Runtime,
    config: DatasetConfig,
    counts: np.ndarray[Any, Any],
    mark: bytes,
    canonical: bool,
    val_labels: np.ndarray[Any, Any],
    test: int,
    more: Mapping[str, Any],
) -> None:
    """Report what the dataset is."""
    runtime.report(
        {
            "source": config.source,
            "classes": len(counts),
            "train": int(counts.sum()),
            "val": len(val_labels),
            "test": test,
            "largest": int(counts.max()),
            "smallest": int(counts.min()),
            "canonical": canonical,
            "classes_without_val": len(counts) - len(np.unique(val_labels)),
            "fingerprint": mark.hex()[:12],
            **more,
        }
    )


def copied(part: str, index: Index, root: Path, side: int, workers: int, runtime: Runtime) -> dict[str, Any]:
    """Where a part's decoded copy lies: each shard is an object of its own, made one after the other and kept as it is done."""
    from wbltr.data.copies import copied_shapes, pack, shard_bounds
    from wbltr.data.stream import ImageFiles

    shapes = copied_shapes(index.shapes, side)
    bounds = shard_bounds(shapes)
    files = ImageFiles(index, [root], side, workers)

    def decoded(first: int, end: int) -> Iterator[Any]:
        for number, pixels in enumerate(files.in_order(files.pixels, iter(range(first, end)), 0), first):
            runtime.tick(number, len(index))
            yield pixels

    def shard(first: int, end: int) -> dict[str, Any]:
        return {"pixels": pack(decoded(first, end), shapes[first:end])}

    pairs = list(pairwise(bounds.tolist()))
    kept = [runtime.keep(f"{part}-{first}-{end}", partial(shard, first, end)) for first, end in pairs]
    digests = np.frombuffer(bytes.fromhex("".join(kept)), np.uint8).reshape(-1, 32)
    return {f"{part}.shards": digests, f"{part}.bounds": bounds, f"{part}.shapes": shapes}


def judge(config: DatasetConfig, bad: Sequence[tuple[str, str]], runtime: Runtime, labels: Sequence[str] = ()) -> None:
    """Refuse images that cannot be decoded, or say that they are skipped.

    Args:
        bad: of each its file, and why.
        labels: of each, its class, to be counted, of somebody's own images; these are told in one line, those of a published
            set in a line each. `--json` has every one.
    """
    if not bad:
        return
    shown = [f"{file}: {why}" for file, why in bad[:SHOWN]]
    shown += [f"and {len(bad) - SHOWN:,} more"] if len(bad) > SHOWN else []
    counts = Counter(labels).most_common()
    by_class = ", ".join(f"{label} {count:,}" for label, count in counts[:SHOWN])
    by_class += f" and {len(counts) - SHOWN:,} more classes" if len(counts) > SHOWN else ""
    if config.on_bad_image == "fail":
        hint = "repair or convert them, or leave them out: --on-bad-image skip"
        details = {"unreadable": dict(bad)}
        if not labels:
            raise WbltrError("\n".join(shown), hint, "integrity", details)
        problems = Problems()
        for file, why in bad:
            problems.add(file, why)
        told = "; ".join(problems.lines[:REASONS]) + ("; and for other reasons" if len(problems.lines) > REASONS else "")
        counted = f"{len(bad):,} images cannot be decoded: " if len(bad) > 1 else ""
        raise WbltrError(f"{counted}{told}", f"by class: {by_class}; {hint}", "integrity", details)
    for line in (
        f"skipping {len(bad):,} image{'s' if len(bad) > 1 else ''} that cannot be decoded{by_class and f': {by_class}'}",
        *shown,
    ):
        runtime.notice(line)
