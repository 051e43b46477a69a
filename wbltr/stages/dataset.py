"""Dataset: a known set of images → its long-tailed training part, a validation part and the test part.

Gives: `train.images` uint8 `(N, C, H, W)`, `train.labels` int64 `(N,)`, `train.index` int64 `(N,)` (place in the source's
training set), likewise `val.` and `test.`; `class_counts` int64 `(C,)`; `class_names` uint8 (JSON text); `fingerprint`
uint8 `(32,)` of the training part; `canonical` bool `()`: whether the training part is the benchmark's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from wbltr.data.archives import locate, not_found
from wbltr.data.download import download
from wbltr.data.known import CIFAR10, CIFAR100
from wbltr.data.sources import Source, load_cifar, load_digits
from wbltr.errors import WbltrError
from wbltr.functional.longtail import long_tail_counts
from wbltr.pipeline import Runtime
from wbltr.recipe import DatasetConfig

VALIDATION_PER_CLASS = 20  # `unused`: images taken of what the long tail left out
HELD_OUT = 0.1  # `holdout`: share of a class's training images
MOST_WITHOUT = 0.05  # `unused`: classes that may go without validation images

Picks = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], bool]  # train index, validation index, nothing held out


def read_source(config: DatasetConfig, runtime: Runtime) -> Source:
    """The source's own training and test images, from where they lie or downloaded."""
    if config.source == "digits":
        return load_digits()
    archive = CIFAR100 if config.source == "cifar100" else CIFAR10
    location = locate(archive, runtime.roots)
    if location is None:
        if runtime.downloads is None:
            raise not_found(archive, runtime.roots)
        location = download(
            archive,
            runtime.downloads,
            report=runtime.transfer,
            notice=runtime.notice,
            tick=lambda: runtime.tick(-1, -1),
        )
    runtime.witness["location"] = str(location.resolve())
    runtime.notice(f"reading {archive.name} from {location}")
    return load_cifar(archive, location, tick=lambda: runtime.tick(-1, -1))


def pick(labels: np.ndarray[Any, Any], classes: int, config: DatasetConfig, where: str) -> Picks:
    """Which training images the long tail keeps and which validate.

    Args:
        labels: `(N,)` labels of the source's training images.
        classes: C.
        config: profile, order and kind of validation.
        where: named in messages.

    Returns:
        Indices of the training and of the validation images, each by class and then in the order of choice;
        whether the training part stayed whole.

    Raises:
        WbltrError: code "recipe" when a class has fewer images than the profile asks for.
    """
    generator = np.random.default_rng(config.seed)
    of_class = [np.flatnonzero(labels == k) for k in range(classes)]
    if config.order == "shuffled":
        of_class = [generator.permutation(index) for index in of_class]
    have = [len(index) for index in of_class]
    largest = config.largest or min(have)
    wanted = long_tail_counts(classes, largest, config.imbalance_factor, config.profile)
    for k, (found, asked) in enumerate(zip(have, wanted, strict=True)):
        if found < asked:
            raise WbltrError(
                f"{where}: class {k} has {found} images, the profile asks for {asked}",
                f"use --set dataset.largest={min(have)} or less",
                "recipe",
            )
    train = [index[:n] for index, n in zip(of_class, wanted, strict=True)]
    if config.val == "none":
        return np.concatenate(train), np.empty(0, np.int64), True
    held: list[np.ndarray[Any, Any]]
    if config.val == "holdout":
        held = [index[len(index) - _held_out(len(index)) :] for index in train]
    else:
        held = [index[n : n + VALIDATION_PER_CLASS] for index, n in zip(of_class, wanted, strict=True)]
        without = [k for k, index in enumerate(held) if not len(index)]
        if len(without) <= MOST_WITHOUT * classes:
            return np.concatenate(train), np.concatenate(held), True
        for k in without:
            held[k] = train[k][len(train[k]) - _held_out(len(train[k])) :]
    train = [np.setdiff1d(index, out, assume_unique=True) for index, out in zip(train, held, strict=True)]
    return np.concatenate(train), np.concatenate(held), False


def _held_out(images: int) -> int:
    """A tenth, at least one, but never the last training image."""
    return min(max(1, int(images * HELD_OUT)), images - 1)


def fingerprint(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> bytes:
    """SHA-256 over shape, pixels and labels of a training part: equal exactly when the images, labels and order are."""
    digest = hashlib.sha256(json.dumps(images.shape).encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(labels.astype("<i8").tobytes())
    return digest.digest()


def run(config: DatasetConfig, _: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Cut the long tail; see the module's docstring for the tensors."""
    source = read_source(config, runtime)
    classes = len(source.class_names)
    train, val, whole = pick(source.train_labels, classes, config, config.source)
    canonical = whole and config.order == "file"
    images, labels = source.train_images[train], source.train_labels[train]
    counts = np.bincount(labels, minlength=classes).astype(np.int64)
    mark = fingerprint(images, labels)
    missing = classes - len(np.unique(source.train_labels[val]))
    runtime.report(
        {
            "source": config.source,
            "classes": classes,
            "train": len(train),
            "val": len(val),
            "test": len(source.test_labels),
            "largest": int(counts.max()),
            "smallest": int(counts.min()),
            "canonical": canonical,
            "classes_without_val": missing if len(val) else classes,
            "fingerprint": mark.hex()[:12],
        }
    )
    return {
        "train.images": images,
        "train.labels": labels,
        "train.index": train.astype(np.int64),
        "val.images": source.train_images[val],
        "val.labels": source.train_labels[val],
        "val.index": val.astype(np.int64),
        "test.images": source.test_images,
        "test.labels": source.test_labels,
        "class_counts": counts,
        "class_names": np.frombuffer(json.dumps(list(source.class_names), ensure_ascii=False).encode(), np.uint8),
        "fingerprint": np.frombuffer(mark, np.uint8),
        "canonical": np.array(canonical),
    }
