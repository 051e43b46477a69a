"""A dataset of somebody's own pictures: their parts, and their pixels or an index of their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wbltr.cores import free_cores
from wbltr.data.duplicates import Twins, contradictions, find_twins, group_rows
from wbltr.data.splitting import split_rows
from wbltr.dataset_config import DatasetConfig
from wbltr.errors import WbltrError
from wbltr.pipeline import Runtime
from wbltr.stages._dataset_parts import as_json, copied, fingerprint, judge, tell

if TYPE_CHECKING:
    from wbltr.data.earlier_parts import Had
    from wbltr.data.own_images import OwnImages
    from wbltr.data.pictures import Pictures

PARTS = ("train", "val", "test")
SHOWN = 3  # examples of duplicates
NAMED = 10  # classes that a message names


@dataclass(frozen=True)
class OwnParts:
    """Which picture is in which part.

    Attributes:
        rows: part → numbers of its pictures, sorted.
        labels: `(N,)` int64, of every picture.
        counts: `(C,)` int64, training pictures of each class.
        class_names: in label order; a class without an image that can be decoded is left out.
        earlier: how many images were known from an earlier dataset, are new, had another part, are gone; empty: there is none.
    """

    rows: Mapping[str, NDArray[np.int64]]
    labels: NDArray[np.int64]
    counts: NDArray[np.int64]
    class_names: tuple[str, ...]
    earlier: Mapping[str, int]


def choose_parts(images: OwnImages, pictures: Pictures, config: DatasetConfig, earlier: Had | None = None) -> OwnParts:
    """The parts that the set names itself, and by class and seed those that it does not.

    Where parts are drawn, pictures of equal pixels and those of one group stay together.

    Args:
        earlier: of each image the part that it had, and how many are gone, which it keeps; see `OwnImages.had`.

    Raises:
        WbltrError: code "recipe" where the section asks for parts that are not there, or a class is left without training.
    """
    images = images.without({number for number, _ in pictures.bad})
    given = np.array(images.given, "<U5")
    labels = np.array(images.files.labels, np.int64)
    sound = np.ones(len(labels), bool)
    sound[[number for number, _ in pictures.bad]] = False
    _check_parts(config, set(given.tolist()), str(images.place))
    shares = {} if "test" in given else {"test": config.test_share}
    if config.val == "holdout":
        shares["val"] = config.val_share
    pool = np.flatnonzero(sound & ((given == "train") | (given == ""))).tolist()
    groups = group_rows([pictures.marks[row] for row in pool], [images.groups[row] for row in pool])
    parts = given.copy()
    had = None if earlier is None else [earlier.parts[row] for row in pool]
    parts[pool] = split_rows(labels[pool], groups, shares, config.seed, had)
    if config.val == "none":
        parts[parts == "val"] = ""
    rows = {part: np.flatnonzero(sound & (parts == part)) for part in PARTS}
    counts = np.bincount(labels[rows["train"]], minlength=len(images.class_names)).astype(np.int64)
    counted = _counted(earlier, parts, sound)
    if not counts.all():
        lacking = np.flatnonzero(counts == 0)
        shown = ", ".join(images.class_names[label] for label in lacking[:NAMED])
        if earlier is not None and np.isin(lacking, labels[sound]).all():
            told = (
                f"{images.place}: no training image is left of {shown}: its images, equal ones or their group had other parts"
            )
            raise WbltrError(
                told,
                "add some, or draw all parts anew: wbltr make-dataset --recipe FILE --set dataset.parts_from=null",
                "recipe",
            )
        raise WbltrError(
            f"{images.place}: no training picture can be decoded of {shown}", "repair them, or leave the class out", "integrity"
        )
    if not len(rows["test"]):
        hint = "repair them" if "test" in given else "give dataset.test_share more, or two pictures or more to a class"
        raise WbltrError(f"{images.place}: no picture to test on", hint, "recipe")
    return OwnParts(rows, labels, counts, images.class_names, counted)


def _counted(earlier: Had | None, parts: NDArray[np.str_], sound: NDArray[np.bool_]) -> dict[str, int]:
    if earlier is None:
        return {}
    had = np.array(earlier.parts, "<U5")
    known = sound & (had != "")
    moved = known & (had != parts)
    return {"known": int(known.sum()), "new": int((sound & ~known).sum()), "moved": int(moved.sum()), "gone": earlier.gone}


def judge_own(config: DatasetConfig, images: OwnImages, pictures: Pictures, runtime: Runtime) -> None:
    """Refuse images that cannot be decoded, or say that they are skipped; counted by class."""
    lines = [(str(images.root / images.files.paths[number]), why) for number, why in pictures.bad]
    judge(config, lines, runtime, [images.class_names[images.files.labels[number]] for number, _ in pictures.bad])


def _check_parts(config: DatasetConfig, given: set[str], place: str) -> None:
    if config.val == "list" and "val" not in given:
        raise WbltrError(f"dataset.val: list: {place} has no validation part", "--set dataset.val=holdout", "recipe")
    if config.val == "holdout" and "val" in given:
        raise WbltrError(f"dataset.val: holdout: {place} has a validation part", "--set dataset.val=list", "recipe")
    if "test" not in given and config.test_share == 0:
        hint = "--set dataset.test_share=0.2"
        raise WbltrError(f"dataset.test_share: 0, and {place} has no test part: nothing could be measured", hint, "recipe")


def run_own(config: DatasetConfig, runtime: Runtime) -> dict[str, Any]:
    """The dataset's tensors."""
    images: OwnImages | None = runtime.listed
    if images is None:
        raise WbltrError("dataset.source: images: nobody has looked at them", "name them: --images DIR", "missing")
    runtime.witness.update(location=str(images.root), place=str(images.place))
    workers = runtime.threads or free_cores()
    had = images.had(config.parts_from, workers, runtime.tick)  # first: it may look at them with another depth
    pictures = images.seen(config.side, config.channels, workers, runtime.tick, config.depth)
    judge_own(config, images, pictures, runtime)
    every, images = images, images.without({number for number, _ in pictures.bad})
    if lost := [name for name in every.class_names if name not in {*images.class_names}]:
        shown = ", ".join(lost[:NAMED]) + (f" and {len(lost) - NAMED:,} more" if len(lost) > NAMED else "")
        runtime.notice(f"classes without an image that can be decoded, which are left out: {shown}")
    parts = choose_parts(images, pictures, config, had)
    chosen = np.concatenate([parts.rows[part] for part in PARTS])
    names = np.repeat(PARTS, [len(parts.rows[part]) for part in PARTS])
    twins = find_twins([pictures.marks[row] for row in chosen], pictures.hashes[chosen], pictures.thumbnails[chosen], names)
    more = {
        "skipped": len(pictures.bad),
        "unmeasured": _unmeasured(parts),
        **({"earlier": parts.earlier} if parts.earlier else {}),
        **depths(pictures, config.depth),
        **_duplicates(images, pictures, parts, chosen, twins),
    }
    for line in remarks(more):
        runtime.notice(line)
    skipped = np.zeros(3, np.int64)
    for number, _ in pictures.bad:
        skipped[PARTS.index(images.given[number] or "train")] += 1
    tensors, mark = _held(pictures, parts) if config.side is not None else _streamed(config, images, pictures, parts, runtime)
    tell(runtime, config, parts.counts, mark, False, parts.labels[parts.rows["val"]], len(parts.rows["test"]), more)
    return {
        **tensors,
        "class_counts": parts.counts,
        "class_names": as_json(images.class_names),
        "fingerprint": np.frombuffer(mark, np.uint8),
        "canonical": np.array(False),
        "skipped": skipped,
    }


def remarks(metrics: Mapping[str, Any]) -> list[str]:
    """What a user should know of such a dataset, by its metrics: a line each."""
    found = metrics["duplicates"]
    lines = []
    for kind, what in (
        ("exact", "pictures of val or test that are in an earlier part, too, pixel by pixel"),
        ("near", "pictures of val or test that look much like one of an earlier part"),
        ("labels", "pictures that are there under another class, too, pixel by pixel"),
    ):
        if count := found[kind]["images"]:
            examples = ", ".join(f"{one} = {other}" for one, other in found[kind]["examples"])
            lines.append(f"{what}: {count:,} ({examples}{' …' if count > SHOWN else ''})")
    if not found["complete"]:
        lines.append("so many pictures look alike that not all were compared")
    if earlier := metrics.get("earlier"):
        known, new, gone, moved = (f"{earlier[name]:,}" for name in ("known", "new", "gone", "moved"))
        lines.append(f"{known} images are known and keep their parts, {new} are new, {gone} are gone")
        if earlier["moved"]:
            lines.append(f"images that moved to another part, beside equal ones or their group: {moved}")
    lines += used(metrics.get("bits", {}), metrics.get("depth"), metrics.get("clipped", 0))
    if count := metrics["unmeasured"]:
        lines.append(f"classes without a test picture, which are learned and never measured: {count:,}")
    return lines


def depths(pictures: Pictures, depth: int | None) -> dict[str, Any]:
    """How many images of 16 bits use how many of them, and how many are cut at white; empty where there are none."""
    used, counts = np.unique(pictures.bits[pictures.bits > 0], return_counts=True)
    if not len(used):
        return {}
    bits = {str(bits): int(count) for bits, count in zip(used, counts, strict=True)}
    return {"bits": bits, "depth": depth, "clipped": int((pictures.bits > (depth or 16)).sum())}


def used(bits: Mapping[str, int], depth: int | None, clipped: int) -> list[str]:
    """What a user should know of images of 16 bits."""
    if not bits:
        return []
    most, several = max(map(int, bits)), ", ".join(f"{count:,} use {own}" for own, count in bits.items())
    told = f"{sum(bits.values()):,} images of 16 bits use {most} of them"
    lines = [told if len(bits) == 1 else f"{told} at most: {several}"]
    if clipped:
        lines.append(f"images with values of more than {depth} bits, which are white there: {clipped:,}")
    if depth is None and most < 16:
        lines.append(f"they come out dark, at most {(1 << most) - 1 >> 8} of 255: --set dataset.depth={most}")
    return lines


def _held(pictures: Pictures, parts: OwnParts) -> tuple[dict[str, Any], bytes]:
    """Pixels and labels of each part, and the training part's fingerprint."""
    assert pictures.squares is not None
    tensors: dict[str, Any] = {}
    for part, rows in parts.rows.items():
        tensors |= {f"{part}.images": pictures.squares[rows], f"{part}.labels": parts.labels[rows], f"{part}.index": rows}
    return tensors, fingerprint(tensors["train.images"], tensors["train.labels"])


def _streamed(
    config: DatasetConfig, images: OwnImages, pictures: Pictures, parts: OwnParts, runtime: Runtime
) -> tuple[dict[str, Any], bytes]:
    """An index of each part, with a decoded copy if that is asked for, and the training part's fingerprint."""
    from wbltr.data.index import Index

    indices = {part: Index.of(images.files, pictures.shapes, rows, config.depth) for part, rows in parts.rows.items()}
    tensors = {name: tensor for part, index in indices.items() for name, tensor in index.tensors(part).items()}
    if config.copy_side is not None:
        for part, index in indices.items():
            tensors |= copied(part, index, images.root, config.copy_side, runtime.threads or free_cores(), runtime)
    return tensors, indices["train"].fingerprint()


def _unmeasured(parts: OwnParts) -> int:
    """Classes without a test picture: they are learned and never measured."""
    return len(parts.counts) - len(np.unique(parts.labels[parts.rows["test"]]))


def _duplicates(
    images: OwnImages, pictures: Pictures, parts: OwnParts, chosen: NDArray[np.int64], twins: Twins
) -> dict[str, Any]:
    """What is there more than once, counted, with a few pairs of paths."""
    paths = images.files.paths
    against = contradictions([pictures.marks[row] for row in chosen], parts.labels[chosen].tolist())

    def told(pairs: Sequence[Any] | NDArray[np.int64]) -> dict[str, Any]:
        return {"images": len(pairs), "examples": [[paths[chosen[a]], paths[chosen[b]]] for a, b in pairs[:SHOWN]]}

    return {
        "duplicates": {
            "exact": told(twins.exact),
            "near": told(twins.near),
            "complete": twins.complete,
            "labels": told(against),
        }
    }
