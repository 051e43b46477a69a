"""Somebody's own pictures as they are when they are looked at: which there are, of which class, their digests. No torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wbltr.data.class_names import alike, all_whole, ordered
from wbltr.data.digests import StatCache
from wbltr.data.folders import OwnRow, read_folder
from wbltr.data.imagefiles import Files, Tick, checked, expanded, is_folder
from wbltr.data.lists import ODD, Listing, Problems
from wbltr.data.tables import is_table, read_table
from wbltr.errors import WbltrError

if TYPE_CHECKING:
    from wbltr.data.earlier_parts import EarlierParts, Had
    from wbltr.data.pictures import Pictures

SHOWN = 10  # classes that a message names
CORRECT = "correct the table, or name the folder that its paths start from: --root DIR"


@dataclass(frozen=True)
class OwnImages:
    """Pictures in class folders or named by a table.

    Attributes:
        place: the folder, or the table.
        root: what paths are relative to.
        files: every picture, sorted by path.
        given: of each, the part that the set itself says; empty where it says none.
        groups: of each, the group that stays in one part; empty where it has none.
        class_names: in label order.
        cache: what is known of the files.
        looks: what `seen` found, by side, channels and depth.
        earlier: gives the parts of a dataset by its id, where there is a store to ask.
    """

    place: Path
    root: Path
    files: Files
    given: Sequence[str]
    groups: Sequence[str]
    class_names: tuple[str, ...]
    cache: StatCache
    looks: dict[tuple[int | None, ...], Pictures] = field(default_factory=dict)
    earlier: Callable[[str], EarlierParts] | None = None

    def without(self, bad: Collection[int]) -> OwnImages:
        """With the classes left out whose every image is bad; rows keep their numbers, labels do not.

        Raises:
            WbltrError: code "integrity" where fewer than two classes are left.
        """
        sound = {label for number, label in enumerate(self.files.labels) if number not in bad}
        if len(sound) == len(self.class_names):
            return self
        if len(sound) < 2:
            told = f"{self.place}: images that can be decoded are there of {len(sound)} class{'' if len(sound) == 1 else 'es'}"
            raise WbltrError(told, "repair or convert the others: a classifier tells at least two classes apart", "integrity")
        new = {label: number for number, label in enumerate(sorted(sound))}
        files = replace(self.files, labels=[new.get(label, 0) for label in self.files.labels])
        return replace(self, files=files, class_names=tuple(self.class_names[label] for label in new))

    def had(self, dataset: str | None, workers: int, tick: Tick) -> Had | None:
        """Which part each image had in an earlier dataset; None: there is none. See `seen`, which may be called for it."""
        if dataset is None or self.earlier is None:
            return None
        from wbltr.data.earlier_parts import digests

        earlier = self.earlier(dataset)
        if earlier.squares is None:
            return earlier.of(self.files.digests)
        side, channels, depth = earlier.squares
        pictures = self.seen(side, channels, workers, tick, depth)
        assert pictures.squares is not None
        contents = digests(pictures.squares)
        for number, _ in pictures.bad:
            contents[number] = b""
        return earlier.of(contents)

    def seen(self, side: int | None, channels: int | None, workers: int, tick: Tick, depth: int | None = None) -> Pictures:
        """Every picture decoded; once for each side and channels, and for another depth those of 16 bits once more.

        What was found with the depth before is overwritten. See `wbltr.data.pictures.see`.
        """
        asked = (side, channels, depth)
        if asked not in self.looks:
            from wbltr.data.pictures import see  # torch

            before = next((other for other in self.looks if other[:2] == asked[:2]), None)
            known = None if before is None else self.looks.pop(before)
            self.looks[asked] = see(self.root, self.files, side, channels, workers, tick, depth, known)
        return self.looks[asked]

    @cached_property
    def content(self) -> str:
        """What goes into keys: SHA-256 over the class names and each picture's label, part, group, digest and path, sorted."""
        digest = hashlib.sha256(json.dumps(self.class_names, ensure_ascii=False).encode() + b"\n")
        files = self.files
        for row in zip(files.labels, self.given, self.groups, map(bytes.hex, files.digests), files.paths, strict=True):
            digest.update(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        return digest.hexdigest()


def look_at_own(
    place: Path,
    root: Path | None,
    cache: StatCache,
    tick: Tick = lambda done, total: None,
    notice: Callable[[str], None] = lambda _: None,
    classes: str = "outermost",
    on_bad_image: str = "fail",
    order: Literal["text", "number"] | None = "text",
) -> OwnImages:
    """Read the class folders or the table, check every picture's file and class, and hash those that the cache does not know.

    Args:
        place: a folder of class folders, or a table.
        root: what a table's paths are relative to; None: the table's own folder. In place of a folder of class folders.
        tick: called with files hashed and files in all; may raise to stop.
        notice: one line for the user.
        classes, on_bad_image: of folders; see `wbltr.data.folders.read_folder`.
        order: of the classes, as `dataset.class_order` has it; None: by number where all names are whole numbers.

    Raises:
        WbltrError: code "missing" for what is not there, "recipe" for classes and tables that cannot be used, "integrity" for
            images in folders that cannot be read.
    """
    place = expanded(place)
    problems = Problems()
    if is_table(place):
        if not place.is_file():
            raise WbltrError(f"{place}: no such table", "name it: --images FILE, or for make-dataset --csv FILE", "missing")
        home = _folder(expanded(root) if root is not None else place.parent, CORRECT)
        rows = read_table(place, home, problems, notice)
        problems.settle(CORRECT, "recipe")
        if not rows:
            raise WbltrError(f"{place}: names no pictures", "a line for each: path,label", "missing")
    else:
        place = home = _folder(expanded(root) if root is not None else place)
        rows = read_folder(home, notice, lambda: tick(-1, -1), classes, on_bad_image)
    class_names = _class_names(rows, place, order)
    label_of = {name: label for label, name in enumerate(class_names)}
    listing = _Listing("all", place, [row.path for row in rows], [label_of[row.label] for row in rows])
    listing.rows = rows
    (files,) = checked([listing], home, cache, tick, problems, CORRECT if is_table(place) else "check the folder")
    row_of = {row.path: row for row in rows}
    found = [row_of[path] for path in files.paths]
    return OwnImages(
        place.resolve(), home, files, [row.part for row in found], [row.group for row in found], class_names, cache
    )


class _Listing(Listing):
    """Rows that know themselves where they were named."""

    rows: Sequence[OwnRow] = ()
    together = True  # often all are missing

    def where(self, row: int) -> str:
        """A row's place, in words; of an image in a class folder its file."""
        return self.rows[row].place or f"{self.file}/{self.paths[row]}"


def _folder(path: Path, hint: str = "name the folder of the class folders: --images DIR") -> Path:
    if not is_folder(path):
        why = "is no folder that can be read" if os.path.lexists(path) else "no such folder"
        raise WbltrError(f"{path}: {why}", hint, "missing")
    return path.resolve()


def _class_names(rows: Sequence[OwnRow], place: Path, order: Literal["text", "number"] | None) -> tuple[str, ...]:
    """Class names in label order, none like another, each with something to learn from."""
    places: dict[str, str] = {}
    trained: set[str] = set()
    for row in rows:
        places.setdefault(row.label, row.place)
        if row.part in ("", "train"):
            trained.add(row.label)
    for name in sorted(places):
        if not name.strip() or ODD.search(name) or len(name) > 200:
            told = "is empty" if not name.strip() else "holds a control character" if ODD.search(name) else "is too long"
            raise WbltrError(f"{places[name] or place}: the class name {name[:40]!r} {told}", "rename the class", "recipe")
    if (pair := alike(sorted(places))) is not None:
        one, other, what = pair
        there, here = (f" in {places[name]}" if places[name] else "" for name in (one, other))
        told = f"{place}: the classes {one!r}{there} and {other!r}{here} differ in {what}"
        raise WbltrError(told, "give them one name, or two that differ", "recipe")
    names = ordered(places, order or ("number" if all_whole(places) else "text"))
    if len(names) < 2:
        hint = "a classifier tells at least two classes apart"
        raise WbltrError(f"{place}: only one class, {names[0]!r}", hint, "recipe")
    if without := [name for name in names if name not in trained]:
        shown = ", ".join(map(repr, without[:SHOWN])) + (f" and {len(without) - SHOWN:,} more" if len(without) > SHOWN else "")
        raise WbltrError(f"{place}: no training picture of {shown}", "add some, or leave the class out", "recipe")
    return tuple(names)
