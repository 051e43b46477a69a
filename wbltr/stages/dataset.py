"""Dataset: a known set of images → its long-tailed training part, a validation part and the test part.

Gives: `train.images` uint8 `(N, C, H, W)`, `train.labels` int64 `(N,)`, `train.index` int64 `(N,)` (place in the source's
training set), likewise `val.` and `test.`; `class_counts` int64 `(C,)`; `class_names` uint8 (JSON text); `fingerprint`
uint8 `(32,)` of the training part; `canonical` bool `()`: whether the training part is the benchmark's own.

Of a set whose images are files, in place of `p.images` and `p.index` for each part p an index of them: `p.paths` uint8
`(bytes,)`, `p.offsets` int64 `(N + 1,)`, `p.sizes` int64 `(N,)`, `p.digests` uint8 `(N, 32)`, `p.shapes` int32 `(N, 2)`, as
`wbltr.data.index` has them; and `skipped` int64 `(3,)`: images of train, val and test that could not be decoded.
Of embeddings of one's own: see `wbltr.stages._own_embeddings`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from wbltr.cores import free_cores
from wbltr.data.archives import locate, not_found
from wbltr.data.download import download
from wbltr.data.known import CIFAR10, CIFAR100
from wbltr.data.sources import Source, load_cifar, load_digits
from wbltr.dataset_config import DatasetConfig
from wbltr.errors import WbltrError
from wbltr.functional.longtail import long_tail_counts
from wbltr.pipeline import Runtime
from wbltr.stages._dataset_parts import SHOWN, as_json, copied, fingerprint, judge, tell

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
    wanted: Sequence[int] = have
    if config.profile != "natural" and config.imbalance_factor is not None:
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
    if config.val in ("none", "list"):
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


def run(config: DatasetConfig, _: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Cut the long tail; see the module's docstring for the tensors."""
    if config.source == "images":
        from wbltr.stages._own_images import run_own

        return run_own(config, runtime)
    if config.listed:
        return _indexed(config, runtime)
    if config.source == "embeddings":
        from wbltr.stages._own_embeddings import own_embeddings

        return own_embeddings(config, runtime)
    source = read_source(config, runtime)
    classes = len(source.class_names)
    train, val, whole = pick(source.train_labels, classes, config, config.source)
    canonical = whole and config.order == "file"
    images, labels = source.train_images[train], source.train_labels[train]
    counts = np.bincount(labels, minlength=classes).astype(np.int64)
    mark = fingerprint(images, labels)
    tell(runtime, config, counts, mark, canonical, source.train_labels[val], len(source.test_labels), {})
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
        "class_names": as_json(source.class_names),
        "fingerprint": np.frombuffer(mark, np.uint8),
        "canonical": np.array(canonical),
    }


def _indexed(config: DatasetConfig, runtime: Runtime) -> dict[str, Any]:
    """An index of the images that the lists name, every one of them decoded once."""
    from wbltr.data.index import Index, examine

    images = runtime.listed
    if images is None:
        raise WbltrError(f"{config.source}: nobody has looked at its lists", "name its images: --root DIR", "missing")
    runtime.witness.update(location=str(images.root), lists=[str(path) for path in images.lists.values()])
    total = sum(len(files.paths) for files in images.parts.values())
    workers, before = runtime.threads or free_cores(), 0
    shapes, sound, skipped, bad = {}, {}, np.zeros(3, np.int64), []
    for part, files in images.parts.items():
        shapes[part], found = examine(images, part, workers, partial(_advance, runtime, before, total))
        before += len(files.paths)
        sound[part] = np.setdiff1d(np.arange(len(files.paths)), [number for number, _ in found])
        skipped[("train", "val", "test").index(part)] = len(found)
        bad += [(str(images.root / files.paths[number]), why) for number, why in found]
    judge(config, bad, runtime)
    labels = {part: np.array(files.labels, np.int64)[sound[part]] for part, files in images.parts.items()}
    classes = len(images.class_names)
    for part in ("train", "test"):
        if len(without := np.setdiff1d(np.arange(classes), labels[part])):
            shown = ", ".join(images.class_names[label] for label in without[:SHOWN])
            raise WbltrError(f"no {part} image can be decoded of {len(without)} classes: {shown}", "repair them", "integrity")
    train, val, whole = pick(labels["train"], classes, config, config.source)
    chosen = {"train": sound["train"][np.sort(train)], "val": sound["train"][np.sort(val)], "test": sound["test"]}
    places = {"train": "train", "val": "train", "test": "test"}
    if config.val == "list":
        chosen["val"], places["val"] = sound["val"], "val"
    parts = {part: Index.of(images.parts[places[part]], shapes[places[part]], chosen[part]) for part in chosen}
    departures = [*images.departures]
    departures += [f"{len(bad)} images cannot be decoded"] if bad else []
    departures += [] if whole else ["validation images are held out of the training part"]
    counts, mark = np.bincount(parts["train"].labels, minlength=classes), parts["train"].fingerprint()
    if departures:
        runtime.notice(f"not the benchmark's own set: {'; '.join(departures)}")
    more = {"skipped": len(bad), "departures": departures}
    tell(runtime, config, counts, mark, not departures, parts["val"].labels, len(parts["test"]), more)
    tensors = {name: tensor for part, index in parts.items() for name, tensor in index.tensors(part).items()}
    if config.copy_side is not None:
        for part, index in parts.items():
            tensors |= copied(part, index, images.root, config.copy_side, workers, runtime)
    return {
        **tensors,
        "class_counts": counts.astype(np.int64),
        "class_names": as_json(images.class_names),
        "fingerprint": np.frombuffer(mark, np.uint8),
        "canonical": np.array(not departures),
        "skipped": skipped,
    }


def _advance(runtime: Runtime, before: int, total: int, done: int) -> None:
    runtime.tick(before + done, total)
