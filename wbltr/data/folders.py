"""Pictures in a folder for each class: which there are, of which class and part. Nothing is opened here; no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wbltr.data.imagefiles import below
from wbltr.data.lists import ODD
from wbltr.errors import WbltrError

PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
PART_OF = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
SHOWN = 3


@dataclass(frozen=True)
class OwnRow:
    """One picture.

    Attributes:
        path: relative to the root, with `/`.
        label: the class's name, as it is written.
        part: train, val or test; empty: whoever uses the set may choose.
        group: rows of one group stay in one part; empty: by itself.
        place: where it was named, for messages.
    """

    path: str
    label: str
    part: str = ""
    group: str = ""
    place: str = ""


@dataclass
class PassedOver:
    """What lies in a folder and is not taken: how many, and the first few.

    Attributes:
        names: relative to the root.
        count: how many there are.
    """

    names: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, name: str) -> None:
        """One more."""
        self.count += 1
        if len(self.names) < SHOWN:
            self.names.append(name)

    def __str__(self) -> str:
        """`12: a.txt, b.txt, c.txt …`."""
        return f"{self.count:,}: {', '.join(self.names)}{' …' if self.count > SHOWN else ''}"


def read_folder(
    root: Path, notice: Callable[[str], None] = lambda _: None, tick: Callable[[], None] = lambda: None
) -> list[OwnRow]:
    """Every picture below `root/CLASS/`, or below `root/PART/CLASS/` where all first folders are named as parts.

    Hidden files are passed over in silence; with a word, files that are no pictures by their ending, and links that leave the
    root or that are folders.

    Args:
        root: resolved.
        tick: called for every folder; may raise to stop.

    Raises:
        WbltrError: code "missing" where there are no class folders, no pictures, or no folder `train` beside `test`.
    """
    strange, links = PassedOver(), PassedOver()
    parts = {name: PART_OF.get(name.lower(), "") for name in _folders(root, root, links)}
    split = bool(parts) and all(parts.values())
    if split and "train" not in parts.values():
        raise WbltrError(f"{root}: has {', '.join(sorted(parts))}, but no folder train", "add it: train/CLASS/…", "missing")
    if split:
        homes = [(f"{top}/{name}", name, part) for top, part in parts.items() for name in _folders(root / top, root, links)]
    else:
        homes = [(name, name, "") for name in parts]
    rows: list[OwnRow] = []
    for home, label, part in sorted(homes):
        rows += [OwnRow(path, label, part) for path in _pictures(root, home, strange, links, tick)]
    outside = PassedOver()
    for top in ["", *parts] if split else [""]:
        for entry in os.scandir(root / top):
            if not entry.is_dir() and not entry.name.startswith("."):
                outside.add(f"{top}/{entry.name}".lstrip("/"))
    if not rows:
        found = f"{outside.count:,} files, but no folder a class" if outside.count and not homes else "no pictures"
        hint = f"put each class's pictures into a folder of its name: {root}/CLASS/picture.jpg"
        raise WbltrError(f"{root}: has {found}", hint, "missing")
    for passed, what in ((strange, "files that are no pictures"), (outside, "files outside the class folders")):
        if passed.count:
            notice(f"passing over {what}, {passed}")
    if links.count:
        notice(f"passing over links that leave {root} or are folders, {links}")
    return rows


def _folders(home: Path, root: Path, links: PassedOver) -> list[str]:
    """Names of the folders right below, sorted; links to folders are not followed."""
    try:
        entries = [entry for entry in os.scandir(home) if not entry.name.startswith(".") and entry.is_dir()]
    except OSError as error:
        raise WbltrError(f"{home}: cannot be read: {error.strerror}", "check its permissions", "missing") from None
    for entry in entries:
        if entry.is_symlink():
            links.add(os.path.relpath(entry.path, root))
    return sorted(entry.name for entry in entries if not entry.is_symlink())


def _pictures(root: Path, home: str, strange: PassedOver, links: PassedOver, tick: Callable[[], None]) -> Iterator[str]:
    """Paths of a class's pictures relative to the root, at any depth."""
    real = os.path.realpath(root)

    def refuse(error: OSError) -> None:
        raise WbltrError(f"{error.filename}: cannot be read: {error.strerror}", "check its permissions", "missing")

    for folder, inner, names in os.walk(root / home, onerror=refuse):
        tick()
        relative = os.path.relpath(folder, root)
        for name in [name for name in inner if os.path.islink(f"{folder}/{name}")]:  # noqa: PTH114 - of many files
            links.add(f"{relative}/{name}")
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            path = f"{relative}/{name}"
            if name.startswith("."):
                continue
            if not name.lower().endswith(PICTURES) or ODD.search(path):
                strange.add(path)
            elif os.path.islink(f"{folder}/{name}") and not below(f"{folder}/{name}", real):  # noqa: PTH114
                links.add(path)
            else:
                yield path
