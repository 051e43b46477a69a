"""Pictures of one's own seen for the first time: what they are, their parts, and a recipe that suits them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from wbltr.cores import free_cores
from wbltr.data.class_names import all_whole
from wbltr.data.own_images import OwnImages, look_at_own
from wbltr.pipeline import Runtime
from wbltr.recipe import Recipe
from wbltr.recipe_writer import Choices, OwnSet, dataset_choices, depth_choice, parts_choice, recipe_of, training_choices
from wbltr.stages import files_seen
from wbltr.stages._earlier_parts import kept_from, with_earlier_parts
from wbltr.store import Store

if TYPE_CHECKING:
    from wbltr.stages._own_images import OwnParts

DEPTHS = 3  # tries at a depth that is that of the training images that it leads to


@dataclass(frozen=True)
class Suited:
    """What was found and chosen.

    Attributes:
        images: every picture.
        parts: which is in which part.
        recipe: for them, --set laid on it.
        choices: what it was made of, with reasons.
    """

    images: OwnImages
    parts: OwnParts
    recipe: Recipe
    choices: Choices


def suited(store: Store, place: Path, root: Path | None, name: str, settings: Sequence[str], runtime: Runtime) -> Suited:
    """Look at every picture, draw the parts, and choose.

    Args:
        place, root: as `wbltr.data.own_images.look_at_own` has them.
        name: of the recipe.
        settings: --set; those of the dataset hold for the parts already.

    Raises:
        WbltrError: what is wrong with the pictures, the table or the settings.
    """
    of_dataset = [text for text in settings if text.partition("=")[0].partition(".")[0].strip() == "dataset"]
    asked = recipe_of(name, str(place), "", dataset_choices(OwnSet(1, 8, False, ())), of_dataset).dataset
    known, order = files_seen(store, place), _order(of_dataset)
    found = look_at_own(place, root, known, runtime.tick, runtime.notice, asked.classes, asked.on_bad_image, order)
    images = with_earlier_parts(store, found)
    if "torch" not in sys.modules:
        runtime.notice("starting torch …")
    from wbltr.data.pictures import channel_statistics, survey
    from wbltr.stages._own_images import choose_parts, judge_own

    runtime.begin("images", False)
    own = OwnSet(
        len(images.files.paths),
        *survey(images.root, images.files, runtime.tick),
        frozenset(images.given),
        all_whole(images.class_names),
    )
    choices = dataset_choices(own)
    where = (name, str(images.place), "")
    section = recipe_of(*where, choices, of_dataset).dataset
    if section.parts_from is None and (kept := kept_from(store, section, images)) is not None:
        choices |= parts_choice(kept)
        section = recipe_of(*where, choices, of_dataset).dataset
    workers = runtime.threads or free_cores()
    had = images.had(section.parts_from, workers, runtime.tick)  # first: it may look at them with another depth
    seen = images.seen(section.side, section.channels, workers, runtime.tick, section.depth)
    if section.on_bad_image == "fail":
        judge_own(section, images, seen, runtime)
    parts, learned = None, np.flatnonzero(np.isin(images.given, ("", "train")))  # from what training images are drawn
    for _ in range(1 + DEPTHS):  # a depth may make images equal, which then are in one part
        before, choices = section, {**choices, **depth_choice(int(seen.bits[learned].max(initial=0)))}
        section = recipe_of(*where, choices, of_dataset).dataset
        if section.depth != before.depth:
            seen = images.seen(section.side, section.channels, workers, runtime.tick, section.depth)
        elif parts is not None:  # found, or as the user set it
            break
        parts = choose_parts(images, seen, section, had)
        learned = parts.rows["train"]
    assert parts is not None
    if choices["dataset.depth"] == (None, ""):
        del choices["dataset.depth"]
    mean, std = ([], []) if seen.squares is None else channel_statistics(seen.squares, parts.rows["train"])
    choices |= training_choices(section, own, parts.counts.tolist(), len(parts.rows["val"]), mean, std)
    return Suited(images, parts, recipe_of(*where, choices, settings), choices)


def _order(settings: Sequence[str]) -> Literal["text", "number"] | None:
    """The order of the classes that is set; None: none is, and their names decide."""
    base = dataset_choices(OwnSet(1, 8, False, ()))
    orders: tuple[Literal["text"], Literal["number"]] = ("text", "number")
    found = {
        recipe_of("own", "", "", base | {"dataset.class_order": (order, "")}, settings).dataset.class_order for order in orders
    }
    return found.pop() if len(found) == 1 else None
