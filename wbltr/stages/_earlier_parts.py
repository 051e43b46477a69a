"""Which dataset the images of one's own keep their parts from. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from wbltr.dataset_config import DatasetConfig
from wbltr.errors import WbltrError
from wbltr.pipeline import Artifact, artifact, artifacts, look_up
from wbltr.stages._table import DATASET
from wbltr.store import Store

if TYPE_CHECKING:
    from wbltr.data.earlier_parts import EarlierParts
    from wbltr.data.own_images import OwnImages

DRAWN_BY = ("test_share", "val", "val_share", "seed", "classes")  # what says how parts are drawn, and of what
NULL = "dataset.parts_from=null"


def kept_from(store: Store, section: DatasetConfig, images: OwnImages) -> str | None:
    """The dataset whose parts these images keep: the newest that the store has of the same place, drawn alike.

    Where that one is of the very same images, it is the one whose parts that one keeps. What is written in a section holds,
    with what was made of it later.
    """
    if "test" in images.given and section.val != "holdout":
        return section.parts_from  # the set names its parts itself
    line, newest = {section.parts_from}, None
    for made in sorted(artifacts(store), key=_started):
        of_place = made.stage == "dataset" and made.config.get("source") == "images" and _place(made) == str(images.place)
        if not (of_place and _drawn(made.config) == _drawn(section.hashed()) and store.has(made.object_id)):
            continue
        if section.parts_from is None or made.config.get("parts_from") in line:
            line.add(made.object_id)
            newest = made
    if newest is None:
        return section.parts_from
    return newest.config.get("parts_from") if newest.inputs.get("source") == images.content else newest.object_id


def _drawn(section: Mapping[str, Any]) -> list[Any]:
    return [section.get(field) for field in DRAWN_BY]


def _started(made: Artifact) -> str:
    return str(made.record.get("witness", {}).get("started", ""))


def _place(made: Artifact) -> str:
    return str(made.record.get("witness", {}).get("place", ""))


def refuse_another_draw(store: Store, section: DatasetConfig, images: OwnImages, command: str) -> None:
    """Refuse to draw parts anew of images that had parts already: those that were tested on would be learned from.

    Args:
        command: what to type to keep the parts; empty: a setting.

    Raises:
        WbltrError: code "usage".
    """
    kept = kept_from(store, section, images)
    if kept is None or kept == section.parts_from or look_up(store, DATASET, section, {"source": images.content}):
        return
    told = f"{images.place}: holds other images than the dataset {kept[:12]}, whose parts these would not keep"
    command = command or f"--set dataset.parts_from={kept}"
    raise WbltrError(told, f"keep them, and draw those of new images: {command}; or draw all anew: --set {NULL}", "usage")


def with_earlier_parts(store: Store, images: OwnImages) -> OwnImages:
    """The same images, which can ask the store for the parts of a dataset."""
    return replace(images, earlier=partial(earlier_parts, store))


def earlier_parts(store: Store, object_id: str) -> EarlierParts:
    """The parts of a dataset of images of one's own.

    Raises:
        WbltrError: code "missing" where the store has it no more, "recipe" where it is another kind of artifact.
    """
    from wbltr.data.earlier_parts import PARTS, EarlierParts

    where = f"dataset.parts_from: {object_id[:12]}"
    if not store.has(object_id):
        hint = f"fetch it: wbltr store pull URL; name a store that has it: --store DIR; or draw all anew: --set {NULL}"
        raise WbltrError(f"{where}, from which images keep their parts, is not in this store", hint, "missing")
    made = artifact(store, object_id)
    if made.stage != "dataset" or made.config.get("source") != "images":
        hint = f"name a dataset: wbltr store ls; or draw all parts anew: --set {NULL}"
        raise WbltrError(f"{where} is no dataset of images of one's own", hint, "recipe")
    store.touch(object_id)
    side = made.config.get("side")
    wanted = ("digests",) if side is None else ("images", "index")
    tensors = store.load(object_id, tuple(f"{part}.{name}" for part in PARTS for name in wanted))
    return EarlierParts.load(tensors, None if side is None else (side, made.config["channels"], made.config.get("depth")))
