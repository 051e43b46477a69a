"""Reads the lists of a set whose images are files: `path label` lines, or iNaturalist's JSON; every mistake at once.

A list is somebody else's text, so its paths are data: relative, below the image root, and written in one way only. They are
taken as they are, in whatever Unicode normal form, since that is how the file system knows them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from wbltr.data.listed import PARTS, ListedSet
from wbltr.errors import Code, WbltrError

SHOWN = 20  # problems of a run that are spelt out; the others are counted
LIKEWISE = 3  # further places of one problem that are named
LARGEST = 1 << 29  # bytes of a list
LONGEST = 4096  # characters of a path
LONGEST_LINE = 4 * LONGEST + 100  # bytes
ODD = re.compile("[\x00-\x1f\ud800-\udfff]")
LINE = re.compile(r"(.*\S)[ \t]+(\S+)")


@dataclass
class Problems:
    """What is wrong with a set of lists and the files they name, each with its place, in the order found.

    Attributes:
        places: kind → what is wrong, the first few places of it, and how many there are; of the first few kinds.
        count: how many there are, of every kind.
    """

    places: dict[str, tuple[str, list[str], int]] = field(default_factory=dict)
    count: int = 0

    def add(self, where: str, text: str, kind: str = "") -> None:
        """One problem.

        Args:
            kind: problems of one kind are told in one line, the text of the first; by default those of one text are.
        """
        self.count += 1
        kind = kind or text
        if kind in self.places or len(self.places) < SHOWN:
            first, some, count = self.places.get(kind, (text, [], 0))
            self.places[kind] = (first, some if len(some) > LIKEWISE else [*some, where], count + 1)

    @property
    def lines(self) -> list[str]:
        """A line for each kind."""
        told = []
        for text, (first, *others), count in self.places.values():
            more = f" and {count - 1 - len(others):,} more" if count > 1 + len(others) else ""
            told.append(f"{first}: {text}" + (f"; likewise {', '.join(others)}{more}" if others else ""))
        return told

    def settle(self, hint: str, code: Code = "missing") -> None:
        """Raise them together, if there are any.

        Raises:
            WbltrError: with this code.
        """
        if self.count:
            left = self.count - sum(count for _, _, count in self.places.values())
            raise WbltrError("\n".join([*self.lines, *([f"and {left:,} more"] if left else [])]), hint, code)


@dataclass(frozen=True)
class Listing:
    """One part's list: sound rows only, in file order.

    Attributes:
        part: train, val or test.
        file: where the list lies.
        paths: relative to the image root, with `/`.
        labels: at least 0.
        places: line numbers of a text list, numbers of the image in a JSON one; from 1.
        names: class names by label, where the list has them.
    """

    part: str
    file: Path
    paths: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    together: ClassVar[bool] = False  # whether problems of its files that are of one kind are told in one line

    def where(self, row: int) -> str:
        """A row's place, in words."""
        return _where(self.file, self.places[row])


def find_lists(known: ListedSet, given: Sequence[Path], folders: Sequence[Path]) -> dict[str, Path]:
    """Where each part's list lies.

    Args:
        known: the set.
        given: --list: folders that hold lists under the names that they are published under, or single lists, whose
            names then hold the word train, val or test.
        folders: where else to look for the published names.

    Raises:
        WbltrError: code "missing"; every list that is nowhere. Code "usage" for a file whose part cannot be told.
    """
    found: dict[str, Path] = {}
    for file in (path for path in given if not os.path.isdir(path)):  # noqa: PTH112 - pathlib's raises for what cannot be a path
        part = _part_of(known, file)
        if part in found:
            raise WbltrError(f"--list: two {part} lists, {found[part]} and {file}", "name one of each part", "usage")
        found[part] = file
    places = [*(path for path in given if os.path.isdir(path)), *folders]  # noqa: PTH112
    for part, names in known.files.items():
        hit = next((folder / name for folder in places for name in names if (folder / name).is_file()), None)
        if part not in found and hit is not None:
            found[part] = hit
    lacking = [f"{part} list ({' or '.join(names)})" for part, names in known.files.items() if part not in found]
    if lacking:
        searched = ", ".join(str(place) for place in places) or "no folder at all"
        raise WbltrError(
            f"{known.title} needs its {', '.join(lacking)}: not found in {searched}",
            "name the folder that holds the lists: --list DIR, or each of them: --list FILE",
            "missing",
        )
    return {part: found[part].resolve() for part in PARTS if part in found}


def _part_of(known: ListedSet, file: Path) -> str:
    if not os.path.isfile(file):  # noqa: PTH113
        raise WbltrError(f"--list {file}: no such file or folder", "name the folder that holds the lists", "missing")
    for part, names in known.files.items():
        if file.name in names:
            return part
    words = [word for word in PARTS if word in re.findall(r"[a-z]+", file.stem.lower())]
    if len(words) != 1 or words[0] not in known.files:
        parts = ", ".join(known.files)
        raise WbltrError(f"--list {file}: its name should hold one of the words {parts}", "rename the file", "usage")
    return words[0]


def read_lists(files: Mapping[str, Path], problems: Problems) -> list[Listing]:
    """Every part's list; what is wrong with rows, and with the lists together, goes to `problems`."""
    listings = []
    for part, file in files.items():
        listing = Listing(part, file)
        try:
            size = file.stat().st_size
            if size > LARGEST:
                problems.add(file.name, f"{size:,} bytes; a list has at most {LARGEST:,}")
                continue
            rows = _json_rows(listing, problems) if file.suffix == ".json" else _text_rows(listing, problems)
            for place, path, label in rows:
                listing.paths.append(path)
                listing.labels.append(label)
                listing.places.append(place)
        except OSError as error:
            problems.add(str(file), f"cannot be read: {error.strerror}")
        listings.append(listing)
    _compare(listings, problems)
    return listings


def unsafe(path: str) -> str:
    """Why a listed path is refused; empty for a sound one."""
    if not path or path.startswith("/") or re.match(r"[A-Za-z]:[\\/]", path):
        return "is absolute" if path else "is empty"
    if odd := ODD.search(path):
        return "holds a control character" if odd[0] < " " else "is no Unicode text"
    steps = path.split("/")
    if ".." in steps:
        return "leaves the image root"
    if "" in steps or "." in steps:
        return "holds an empty step or '.'"
    return "is too long" if len(path) > LONGEST else ""


def class_folder(path: str) -> str:
    """The folder of a class in a listed path: `n01440764` of `train/n01440764/x.JPEG`; empty where there is none."""
    return "/".join(path.split("/")[1:-1])


def class_names(listings: Sequence[Listing]) -> tuple[str, ...]:
    """A name for each label: the list's own, else its folder, else the number."""
    names: dict[int, str] = {}
    for listing in listings:
        for path, label in zip(listing.paths, listing.labels, strict=True):
            if label not in names:
                names[label] = listing.names.get(label) or class_folder(path) or str(label)
    return tuple(names[label] for label in sorted(names))


def _where(file: Path, place: int) -> str:
    return f"{file.name}: image {place}" if file.suffix == ".json" else f"{file.name}:{place}"


def _text_rows(listing: Listing, problems: Problems) -> Iterator[tuple[int, str, int]]:
    with listing.file.open("rb") as lines:
        for place, raw in enumerate(iter(partial(lines.readline, LONGEST_LINE), b""), 1):
            where = _where(listing.file, place)
            if len(raw) == LONGEST_LINE:  # what follows has no place of its own
                problems.add(where, f"a line of more than {LONGEST_LINE:,} bytes")
                return
            try:
                line = raw.decode("utf-8-sig" if place == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                problems.add(where, "not UTF-8 text")
                continue
            if not line.strip():
                continue
            match = LINE.fullmatch(line.rstrip())
            if match is None:
                problems.add(where, f"expected 'path label', found {line[:80]!r}")
                continue
            path, label = match.groups()
            if _sound(where, path, label, problems):
                yield place, path, int(label)


def _json_rows(listing: Listing, problems: Problems) -> Iterator[tuple[int, str, int]]:
    file = listing.file
    try:
        document: Any = json.loads(file.read_bytes())
        images, annotations = document["images"], document["annotations"]
        label_of = {row["image_id"]: row["category_id"] for row in annotations}
        rows = [(row["file_name"], label_of.get(row["id"])) for row in images]
        names = {row["id"]: row["name"] for row in document.get("categories", [])}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        told = f"{type(error).__name__}: {error}"
        problems.add(file.name, f"expected iNaturalist's JSON with images and annotations, found something else ({told:.80})")
        return
    if len(label_of) != len(annotations):
        problems.add(file.name, f"{len(annotations) - len(label_of)} images have several annotations")
    listing.names.update({key: name for key, name in names.items() if type(key) is int and isinstance(name, str)})
    for place, (path, label) in enumerate(rows, 1):
        where = _where(file, place)
        if label is None:
            problems.add(where, "has no annotation")
        elif not isinstance(path, str) or type(label) is not int:
            problems.add(where, f"expected a file name and a whole number, found {path!r:.80} and {label!r:.20}")
        elif _sound(where, path, str(label), problems):
            yield place, path, label


def _sound(where: str, path: str, label: str, problems: Problems) -> bool:
    """Whether a row can be used; if not, why goes to `problems`."""
    before = problems.count
    if why := unsafe(path):
        problems.add(where, f"the path {path[:200]!r} {why}")
    digits = label.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 10):
        problems.add(where, f"expected a whole number as label, found {label[:40]!r}")
    elif label != digits:
        problems.add(where, f"the label {label} is negative")
    return problems.count == before


def _compare(listings: Sequence[Listing], problems: Problems) -> None:
    """What no single row shows: paths named twice, folders and labels that disagree, classes without images."""
    seen: dict[str, str] = {}
    label_of: dict[str, tuple[int, str]] = {}
    folder_of: dict[int, tuple[str, str]] = {}
    for listing in listings:
        for row, (path, label) in enumerate(zip(listing.paths, listing.labels, strict=True)):
            where = listing.where(row)
            first = seen.setdefault(path, where)
            if first is not where:
                problems.add(where, f"{path!r} is named in {first} already")
            if folder := class_folder(path):
                other, there = label_of.setdefault(folder, (label, where))
                if other != label:
                    problems.add(where, f"label {label} for the folder {folder!r}, which has label {other} in {there}")
                name, there = folder_of.setdefault(label, (folder, where))
                if name != folder:
                    problems.add(where, f"folder {folder!r} for the label {label}, which has {name!r} in {there}")
    by_part = {listing.part: listing for listing in listings}
    if "train" not in by_part:
        return
    trained = set(by_part["train"].labels)
    if not trained:
        problems.add(by_part["train"].file.name, "names no images")
        return
    classes = 1 + max(trained)
    if len(trained) < classes:
        gaps = [label for label in range(min(classes, len(trained) + SHOWN)) if label not in trained]
        problems.add(
            by_part["train"].file.name, f"labels leave gaps: no training image of {_some(gaps, classes - len(trained))}"
        )
    for part, listing in by_part.items():
        for row, label in enumerate(listing.labels):
            if label not in trained:
                problems.add(listing.where(row), f"label {label} has no training image")
        if part == "test" and (without := sorted(trained.difference(listing.labels))):
            problems.add(listing.file.name, f"no test image of {_some(without, len(without))}")


def _some(labels: Sequence[int], count: int) -> str:
    shown = ", ".join(str(label) for label in labels[:SHOWN])
    return f"class {shown}" + (f" and {count - SHOWN:,} more" if count > SHOWN else "")
