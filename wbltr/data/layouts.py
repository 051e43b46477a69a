"""How a tree of folders is to be read: which of its levels are parts, which are classes. Pure: no disk, no torch.

Folders that hold an image, at whatever depth, decide; others never do. Words for parts decide where class folders lie below
them (PART/CLASS/…), or where they lie below every class (CLASS/…/PART); where a tree can be read in two ways it is refused.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from wbltr.errors import WbltrError

Steps = tuple[str, ...]  # the names of folders, from the root downwards; empty: the root

PART_OF = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "devel", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
AROUND = (  # what people write around a part's word
    *("set", "sets", "split", "splits", "part", "subset", "data", "dataset", "datasets", "folder", "dir", "seg", "cropped"),
    *("image", "images", "img", "imgs", "pic", "pics", "picture", "pictures", "photo", "photos", "sample", "samples", "file"),
    *("files", "jpg", "jpeg", "png", "resized", "original", "orig", "raw", "processed", "final", "full"),
    *("the", "my", "new", "x", "px", "v"),
)
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")  # TrainSet is two words
_GLUE = "|".join(word for word in AROUND if len(word) > 2)
GLUED = re.compile(f"(?:{_GLUE})*({'|'.join(PART_OF)})(?:{_GLUE})*")  # trainset, testimages; never trainer or contest
A_CLASS = "class-"  # in front of a name: it means a class, whatever words are in it
SHOWN = 5  # names that a message has


@dataclass(frozen=True)
class Layout:
    """How a tree is read.

    Attributes:
        homes: each folder that holds images of a class → the class's name, and the part, or "" where none is given.
        above: the folders above the class folders; what lies right in them belongs to no class.
        empty: folders beside those of classes and parts that hold no image, joined by `/`.
        said: lines for the user; the first says how the tree is read.
    """

    homes: Mapping[Steps, tuple[str, str]]
    above: frozenset[Steps]
    empty: tuple[str, ...]
    said: tuple[str, ...]


@functools.lru_cache(1 << 16)
def spelt(name: str) -> tuple[str, Steps]:
    """The part that a folder's name means, or "", and the other words of the name.

    >>> spelt("01_Train-Images"), spelt("TestSet"), spelt("asl_alphabet_dev"), spelt("trainer")
    (('train', ()), ('test', ()), ('val', ('asl', 'alphabet')), ('', ('trainer',)))
    """
    if name.startswith(A_CLASS):
        return "", (name,)
    parts, others = [], []
    for word in (found.lower() for found in WORD.findall(name)):
        if match := GLUED.fullmatch(word):
            parts.append(PART_OF[match[1]])
        elif word not in AROUND and not word.isdecimal():
            others.append(word)
    if parts == ["train", "val"]:  # both together, to be trained on
        parts = ["train"]
    return (parts[0] if len(parts) == 1 else ""), tuple(others)


def parts_among(names: Iterable[str]) -> dict[str, str]:
    """Of folders side by side those that are named as parts → train, val or test.

    Other words in a name are allowed where they are the same around several parts: `birds_train`, `birds_test`.

    >>> parts_among(["train", "Validation", "cat"]), parts_among(["birds_train", "birds_test"]), parts_among(["training shoes"])
    ({'train': 'train', 'Validation': 'val'}, {'birds_train': 'train', 'birds_test': 'test'}, {})
    """
    found = {name: spelt(name) for name in names}
    around: dict[Steps, set[str]] = {}
    for part, rest in found.values():
        around.setdefault(rest, set()).update([part] if part else [])
    return {name: part for name, (part, rest) in found.items() if part and (not rest or _splits(around[rest]))}


def decide(folders: Mapping[Steps, int], classes: str, place: str) -> Layout:
    """How a tree is read.

    Args:
        folders: every folder → how many images lie right in it.
        classes: which folders are classes below the parts: outermost, the first ones, or innermost, those that images lie in.
        place: the root, for messages.

    Raises:
        WbltrError: code "missing" for a tree without images, without class folders or without a folder to train on;
            "recipe" for one that can be read in two ways, or is one class.
    """
    tree = _Tree(folders, classes, place)
    if not tree.holding:
        raise WbltrError(f"{place}: has no images", _hint(place), "missing")
    if not tree.within(()):
        told = f"{place}: has {_images(folders[()])}, but no folder a class"
        raise WbltrError(told, _hint(place), "missing")
    base = tree.base()
    names = tree.within(base)
    parts = parts_among(names) or tree.extended(base)
    _one_word_a_class(tree, base, parts)
    layout = _parts(tree, base, parts) if tree.are_parts(base, parts) else _classes(tree, base, [*parts])
    if len(labels := {label for label, _ in layout.homes.values()}) == 1:
        (label,) = labels
        inner = (*base, label)
        hint = "a classifier tells at least two classes apart"
        hint += f"; if its folders are the classes: --images '{'/'.join((place, *inner))}'" if tree.within(inner) else ""
        raise WbltrError(f"{place}: only one class, {label!r}", hint, "recipe")
    return layout


class _Tree:
    """A tree of folders, with what is asked of it often."""

    def __init__(self, folders: Mapping[Steps, int], classes: str, place: str) -> None:
        self.classes, self.place = classes, place
        self.holding = sorted(steps for steps, images in folders.items() if images)
        live: dict[Steps, set[str]] = {}
        for steps in self.holding:
            for depth in range(len(steps) - 1, -1, -1):
                inner = live.setdefault(steps[:depth], set())
                if steps[depth] in inner:
                    break
                inner.add(steps[depth])
        self.live = {steps: sorted(names) for steps, names in live.items()}
        self.images = {steps: folders[steps] for steps in self.holding}
        self.inside: dict[Steps, list[str]] = {}  # every folder in it
        for steps in sorted(folders):
            if steps:
                self.inside.setdefault(steps[:-1], []).append(steps[-1])

    def within(self, steps: Steps) -> list[str]:
        """The folders in one that hold an image, at whatever depth."""
        return self.live.get(steps, [])

    def base(self) -> Steps:
        """Below the folders that only wrap what matters."""
        base: Steps = ()
        while len(self.within(base)) == 1:
            (name,) = self.within(base)
            only = (*base, name)
            inner = parts_among(self.within(only))
            wrapped = not spelt(name)[0] or spelt(name)[1] or _splits(inner.values())
            if only in self.images or not wrapped:
                break
            base = only
        return base

    def extended(self, base: Steps) -> dict[str, str]:
        """Folders named after one beside them with a part's word added, with folders of the same names inside → the part.

        `rps`, `rps-test-set`: those without a word are no parts, so that this can be read in two ways.
        """
        found = {name: spelt(name) for name in self.within(base)}
        inner = {name: {own.casefold() for own in self.within(self.unwrapped((*base, name)))} for name in found}
        after: dict[Steps, list[str]] = {}
        for name, (_, rest) in found.items():
            after.setdefault(rest, []).append(name)
        return {
            name: part
            for name, (part, rest) in found.items()
            if part and any(inner[name] & inner[other] for other in after[rest] if found[other][0] != part)
        }

    def are_parts(self, base: Steps, parts: Mapping[str, str]) -> bool:
        """Whether folders named as parts are parts; raises where that cannot be told."""
        names = self.within(base)
        others = [name for name in names if name not in parts]
        split = [name for name in parts if self.within(self.unwrapped((*base, name)))]  # with class folders inside
        train = [name for name in split if parts[name] == "train"]
        if not parts:
            return False
        if not split and (not others or _splits(parts.values())):
            told = f"{self.place}: {_listed(parts)} hold images, but no folder a class: {self.example(base, parts)}"
            hint = f"a folder a class in each: {next(iter(parts))}/CLASS/image.jpg; or a table: --csv FILE"
            raise WbltrError(told, hint, "missing")
        if not others:
            return True
        inner = {name.casefold() for part in split for name in self.within(self.unwrapped((*base, part)))}
        alike = [
            name
            for name in others
            if name.casefold() in inner or any(own.casefold() in inner for own in self.within((*base, name)))
        ]
        if alike or (train and len(inner) > 1 and not _splits(parts.values())):
            self.refuse_two_readings(base, split, alike or others, sorted(inner))
        return bool(train) and _splits(parts.values())

    def example(self, base: Steps, names: Iterable[str]) -> str:
        """How many images each has."""
        return ", ".join(f"{self.count({(*base, name)}):,} in {name}/" for name in names)

    def count(self, tops: Collection[Steps]) -> int:
        """How many images lie in some folders of one depth, at whatever depth."""
        depth = len(next(iter(tops), ()))
        return sum(images for steps, images in self.images.items() if steps[:depth] in tops)

    def refuse_two_readings(self, base: Steps, parts: Sequence[str], others: Sequence[str], inner: Sequence[str]) -> NoReturn:
        """Parts beside what may be a class or may be nothing."""
        where = "/".join((self.place, *base))
        told = (
            f"{where}: two readings: {len(inner):,} classes ({_listed(inner)}) in {_listed(parts)} as parts, {_listed(others)} "
            f"left out; or {len(self.within(base)):,} classes ({_listed(self.within(base))})"
        )
        if any(spelt(part)[0] == "train" for part in parts):
            as_parts = f"hide {'the other' if len(others) == 1 else 'the others'}, {_moved(where, others, '.')}"
        elif others[0].casefold() in inner:
            listed = " ".join(f"'{where}/{name}'" for name in others[:SHOWN])
            as_parts = f"mkdir '{where}/train' && mv {listed} '{where}/train/'{_likewise(others)}"
        else:
            renamed = {others[0]: "train"} | {part: spelt(part)[0] for part in parts if spelt(part)[1]}
            as_parts = " && ".join(f"mv '{where}/{name}' '{where}/{part}'" for name, part in renamed.items())
            as_parts += "".join(f" && {_moved(where, others[1:], '.')}" for _ in others[1:2])
        as_classes = _moved(where, parts, A_CLASS)
        raise WbltrError(told, f"parts: {as_parts}; classes: {as_classes}; or a table: --csv FILE", "recipe")

    def unwrapped(self, part: Steps) -> Steps:
        """A part's folder, or the one of the same meaning that alone lies in it: `seg_train/seg_train`."""
        while len(self.within(part)) == 1:
            (name,) = self.within(part)
            if not spelt(name)[0] or spelt(name) != spelt(part[-1]):
                break
            part = (*part, name)
        return part

    def dead(self, home: Steps) -> list[str]:
        """Folders right in one that hold no image at any depth; deeper ones where the innermost are the classes."""
        nodes = [home]
        if self.classes == "innermost":
            nodes += [node for node in self.live if len(node) > len(home) and node[: len(home)] == home]
        hollow = [(node, {*self.inside.get(node, ())} - {*self.within(node)}) for node in nodes]
        return ["/".join((*node, name)) for node, names in hollow for name in sorted(names)]

    def said_level(self, paths: Sequence[Steps], count: int) -> list[str]:
        """Which level was taken for classes, where there is another.

        Args:
            paths: of the folders with images, from the class level down.
            count: classes.
        """
        deeper = len({path[0] for path in paths if len(path) == 1}) < len({path[0] for path in paths})
        if not deeper:
            return []
        if self.classes == "innermost":
            outermost = len({path[0] for path in paths})
            return [f"classes are the {count:,} innermost folders; the outermost would be {outermost:,}: --classes outermost"]
        innermost = len({*_innermost(paths).values()})
        first = _listed(sorted({path[0] for path in paths}))
        return [
            f"classes are the {count:,} outermost folders, {first}; the innermost would be {innermost:,}: --classes innermost"
        ]

    def labels(self, paths: Iterable[Steps]) -> dict[Steps, str]:
        """The class of each folder with images, by its path from the class level down."""
        return _innermost(paths) if self.classes == "innermost" else {path: path[0] for path in paths}


def _classes(tree: _Tree, base: Steps, words: Sequence[str]) -> Layout:
    """CLASS/…, or CLASS/…/PART where below every class parts are named.

    Args:
        words: classes that are named as parts.
    """
    level = _part_level(tree, base)
    paths = [steps[len(base) :] for steps in tree.holding if len(steps) > len(base) and steps[: len(base)] == base]
    part_of: dict[Steps, str] = dict.fromkeys(paths, "")
    name_of: dict[Steps, Steps] = {path: path for path in paths}
    told = f"a folder a class, {_listed(words)} too" if words else "a folder a class"
    if level:
        parts: dict[str, str] = {}
        for path in paths:
            parts[path[level]] = part_of[path] = parts_among(tree.within((*base, *path[:level])))[path[level]]
            name_of[path] = (*path[:level], *path[level + 1 :])
        told = f"a folder a class, the parts inside: {_parts_told(parts)}"
    labels = tree.labels(sorted({*name_of.values()}))
    homes = {(*base, *path): (labels[name_of[path]], part_of[path]) for path in paths}
    count = len({*labels.values()})
    above = frozenset(base[:depth] for depth in range(len(base) + 1))
    empty = tree.dead(base)
    for name in tree.within(base) if tree.classes == "outermost" else ():  # an empty part of a class
        empty += [inner for inner in tree.dead((*base, name)) if spelt(inner.rpartition("/")[2])[0]]
    said = _read_as(tree, base, count, told), *tree.said_level([*name_of.values()], count)
    return Layout(homes, above, tuple(dict.fromkeys(empty)), said)


def _part_level(tree: _Tree, base: Steps) -> int:
    """At which level below the base every folder is named as a part; 0: at none.

    Raises:
        WbltrError: code "recipe" where some classes have parts inside and others have not, or the parts have class folders
            inside themselves.
    """
    split = [node for node in sorted(tree.live) if len(node) > len(base) and _splits(parts_among(tree.within(node)).values())]
    split = [node for node in split if node[: len(base)] == base]
    if not split:
        return 0
    level = len(split[0]) - len(base)
    where = "/".join(split[0])
    for node in split:
        parts = parts_among(tree.within(node))
        _one_word_a_part(tree, node, parts)
        several = [set(tree.within((*node, name))) for name in parts]
        shared = {name for own in several for name in own if sum(name in other for other in several) > 1}
        if shared:
            told = (
                f"{tree.place}: {'/'.join(node)}/ has parts, {_listed(parts)}, with folders of the same names inside "
                f"({_listed(sorted(shared))}), and lies beside other folders: it may be a class, or hold all classes"
            )
            raise WbltrError(
                told, f"all classes: --images '{'/'.join((tree.place, *node))}'; else a table: --csv FILE", "recipe"
            )
    for steps in tree.holding:
        if steps[: len(base)] != base or steps == base:
            continue
        above = steps[: len(base) + level]
        if len(steps) <= len(base) + level or steps[len(above)] not in parts_among(tree.within(above)):
            parts = parts_among(tree.within(split[0]))
            told = f"{tree.place}: {where}/ has parts inside, {_listed(parts)}, and {'/'.join(steps)}/ holds images beside any"
            hint = "give every class the parts, or hide those folders from all (.train is passed over); or a table: --csv FILE"
            raise WbltrError(told, hint, "recipe")
        _one_word_a_part(tree, above, parts_among(tree.within(above)))
    return level


def _parts(tree: _Tree, base: Steps, parts: Mapping[str, str]) -> Layout:
    """PART/CLASS/…"""
    _one_word_a_part(tree, base, parts)
    homes_of = {name: home for name in parts if tree.within(home := tree.unwrapped((*base, name)))}
    train = next((name for name in homes_of if parts[name] == "train"), "")
    if not train:
        hollow = [name for name in tree.inside[base] if spelt(name) == ("train", ()) and name not in homes_of]
        but = f"{hollow[0]}/ holds no class folder with an image" if hollow else "no folder train"
        told = f"{'/'.join((tree.place, *base))}: has {_listed(homes_of)}, but {but}"
        hint = f"add it: train/CLASS/…; or are these no parts: --images '{'/'.join((tree.place, *base, next(iter(homes_of))))}'"
        raise WbltrError(told, hint, "missing")
    while len({name for home in homes_of.values() for name in tree.within(home)}) == 1:
        deeper = (*homes_of[train], *tree.within(homes_of[train]))  # train/images/cat, test/images/cat
        if deeper in tree.images:
            break
        homes_of = {part: (*home, deeper[-1]) for part, home in homes_of.items()}
    found: dict[Steps, tuple[Steps, str]] = {}  # folder with images → its path from the class level down, and its part
    for part, home in homes_of.items():
        for steps in tree.holding:
            if steps[: len(home)] == home and steps != home:
                found[steps] = steps[len(home) :], parts[part]
    labels = tree.labels(sorted({path for path, _ in found.values()}))
    homes = {steps: (labels[path], part) for steps, (path, part) in found.items()}
    count = len({*labels.values()})
    taken = {steps[len(base)] for steps in homes}
    shown = {"/".join(home[len(base) :]): parts[part] for part, home in homes_of.items() if part in taken}
    said = [_read_as(tree, base, count, f"in {_parts_told(shown)}")]
    said += tree.said_level([path for path, _ in found.values()], count)
    passed = [name for name in tree.within(base) if name not in taken]
    if passed:
        images = _images(tree.count({(*base, name) for name in passed}))
        said.append(f"passing over {_listed(passed)} with {images}: not named as a part, or without class folders")
    above = {home[:depth] for home in homes_of.values() for depth in range(len(home) + 1)}
    above |= {steps for steps in tree.holding if steps not in homes}
    known = {label for label, _ in homes.values()}
    empty = {name for home in homes_of.values() for name in tree.dead(home) if name.rpartition("/")[2] not in known}
    return Layout(homes, frozenset(above), tuple(sorted({*tree.dead(base), *empty})), tuple(said))


def _one_word_a_part(tree: _Tree, base: Steps, parts: Mapping[str, str]) -> None:
    """Refuse two folders that mean one part."""
    first: dict[str, str] = {}
    for name, part in parts.items():
        if (other := first.setdefault(part, name)) != name:
            where = "/".join((tree.place, *base))
            told = f"{where}: {other}/ and {name}/ both mean the part {part}"
            raise WbltrError(told, f"put them together, or hide one: mv '{where}/{name}' '{where}/.{name}'", "recipe")


def _one_word_a_class(tree: _Tree, base: Steps, parts: Mapping[str, str]) -> None:
    """Refuse names that hold class and part: `cat_train`, `cat_test`, `dog_train`, `dog_test`."""
    several = sorted({spelt(name)[1] for name in parts})
    if len(several) > 1 and all(several):
        told = f"{'/'.join((tree.place, *base))}: the folders' names hold a class and a part each: {_listed(parts)}"
        raise WbltrError(told, "a folder a part, in it a folder a class: train/CLASS/…; or a table: --csv FILE", "recipe")


def _splits(parts: Iterable[str]) -> bool:
    """Whether parts are named that belong together: one to train on, and another."""
    return {"train"} < {*parts}


def _innermost(paths: Iterable[Steps]) -> dict[Steps, str]:
    """A name for each path: its last step, with as many before it as tell it from others of that name.

    >>> _innermost([("Apple", "Red"), ("Pear", "Red"), ("Pear", "Green")])
    {('Pear', 'Green'): 'Green', ('Apple', 'Red'): 'Apple/Red', ('Pear', 'Red'): 'Pear/Red'}
    """
    names: dict[Steps, str] = {}
    left, length = [*dict.fromkeys(paths)], 1
    while left:
        by_end: dict[str, list[Steps]] = {}
        for path in left:
            end = unicodedata.normalize("NFC", "/".join(path[-length:])).casefold()
            by_end.setdefault(end, []).append(path)
        for several in by_end.values():
            for path in several if len(several) == 1 else [path for path in several if len(path) <= length]:
                names[path] = "/".join(path[-length:])
        left = [path for path in left if path not in names]
        length += 1
    return names


def _moved(where: str, names: Sequence[str], mark: str) -> str:
    """The command that puts a mark before some folders' names."""
    return " && ".join(f"mv '{where}/{name}' '{where}/{mark}{name}'" for name in names[:SHOWN]) + _likewise(names)


def _likewise(names: Sequence[str]) -> str:
    return f" and likewise the other {len(names) - SHOWN:,}" if len(names) > SHOWN else ""


def _read_as(tree: _Tree, base: Steps, count: int, how: str) -> str:
    below = f" below {'/'.join(base)}/" if base else ""
    return f"reading {tree.place}: {count:,} class{'es' if count != 1 else ''}{below}, {how}"


def _parts_told(parts: Mapping[str, str]) -> str:
    """`Training/ (train) and test/`."""
    order = sorted(parts, key=lambda name: ("train", "val", "test").index(parts[name]))
    shown = [f"{name}/" + ("" if name.lower() == parts[name] else f" ({parts[name]})") for name in order]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _listed(names: Iterable[str]) -> str:
    """`cat/, dog/ …`."""
    every = [*names]
    return ", ".join(f"{name}/" for name in every[:SHOWN]) + (f" and {len(every) - SHOWN:,} more" if len(every) > SHOWN else "")


def _images(count: int) -> str:
    return f"{count:,} image{'s' if count != 1 else ''}"


def _hint(place: str) -> str:
    return f"put each class's images into a folder of its name: {place}/CLASS/image.jpg"
