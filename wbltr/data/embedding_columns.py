"""Which columns of somebody's table are the embeddings: a pure choice by names and kinds. No torch, no file here.

A column is taken because of what it is, never because it is left over: one column of lists, or one numbered family
(`f0 … f63`, `0 … 63`, `PC1 … PC8`, `pixel_0_0 … pixel_7_7`), or columns of floats alone. What could be an id, an index or
the label in another form is refused by name, and the user decides.
"""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import escape
from itertools import product, takewhile
from typing import Literal

from wbltr.errors import WbltrError, closest, shown

LISTS = ("embedding", "embeddings")  # what a column of lists is called, where there are several
MOST_NAMED = 20_000  # columns that a recipe can name
FEWEST_ROWS_GRID = 3  # of a grid of numbers: two are two families
FEWEST_OF_GAPS = 3  # columns that look like a family with some left out
ELLIPSIS = ["NAME", "…"]  # names that are the user's to give
_INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+(\.\d+)*|", re.ASCII)  # what pandas calls a row's number; in CSV, nothing
_LABEL_LIKE = re.compile(
    r"(label|target|class|pred|prob|logit|softmax|one_?hot|y_(true|pred|hat)).*", re.IGNORECASE
)  # what tells the label, by its name
_RUNS = re.compile(r"[0-9]{1,9}")
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")  # what a recipe's text cannot hold
_RANGE = re.compile(r"(.+?)(?:\.\.\.?|…)(.+)")


@dataclass(frozen=True)
class Column:
    """A column of a table as its schema tells it.

    Attributes:
        kind: `list`: of numbers.
        type: what the file calls it.
        index: whether the file says that it numbers the rows.
    """

    name: str
    kind: Literal["float", "integer", "list", "other"]
    type: str = ""
    index: bool = False


@dataclass(frozen=True)
class Choice:
    """What is taken.

    Attributes:
        taken: names, in the order of the dimensions.
        left: the other columns but label and split.
        sure: whether the user named them, or one is a list called embedding: nothing more is to be looked at.
        family: whether they are one numbered family.
    """

    taken: tuple[str, ...]
    left: tuple[str, ...]
    sure: bool = False
    family: bool = False

    def told(self) -> str:
        """For the user: `64 columns taken: f0, f1 … f63; left: image_id`."""
        count = f"{len(self.taken):,} columns" if len(self.taken) > 1 else "one column"
        return f"{count} taken: {listed(self.taken)}" + (f"; left: {listed(self.left)}" if self.left else "")


def listed(names: Sequence[str]) -> str:
    """Names as a message has them, the middle of a long list left out."""
    short = [shown(name) if name.strip() else repr(name) for name in (names if len(names) <= 8 else [*names[:2], names[-1]])]
    return ", ".join(short) if len(names) <= 8 else f"{short[0]}, {short[1]} … {short[2]}"


def words(option: str, text: str | None) -> list[str]:
    """The names that an option has between its commas; one that holds a comma stands in double quotes.

    Raises:
        WbltrError: "usage" where there are none.

    >>> words("--drop", 'f0, f1,"a,b"'), words("--drop", None)
    (['f0', 'f1', 'a,b'], [])
    """
    if text is None:
        return []
    found = [word for word in next(csv.reader([text], skipinitialspace=True), []) if word.strip()]
    if not found:
        raise WbltrError(f"{option}: names no column", f"names between commas: {option} NAME,…", "usage")
    return found


def choose(
    where: str, columns: Sequence[Column], own: Collection[str], asked: Sequence[str] = (), drop: Sequence[str] = ()
) -> Choice:
    """The columns of the embeddings.

    Args:
        where: names the file.
        own: label and split, which are none.
        asked: what the user takes: names, patterns (`f*`), ranges in the file's order (`f0..f63`).
        drop: what the user leaves, likewise.

    Raises:
        WbltrError: "usage": the columns that leave it open, by name, and the flags that decide.
    """
    names = [column.name for column in columns]
    free = [column for column in columns if column.name not in own]
    dropped = {name for word in drop for name in _meant(where, word, free, "--drop")}
    if asked:
        taken = [name for word in asked for name in _meant(where, word, free, "--columns") if name not in dropped]
        taken = list(dict.fromkeys(taken))
        _refuse_no_numbers(where, [column for name in taken for column in free if column.name == name])
        choice = Choice(tuple(taken), (), sure=True)
    else:
        choice = _found(where, free, dropped)
    twice = {name for name in (*choice.taken, *own) if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise _refused(where, f"more than one column is called {shown(min(twice))!r}", "give each a name of its own")
    if odd := next((name for name in choice.taken if _ODD.search(name)), None):
        raise _refused(where, f"the column name {shown(odd)!r} holds a control character", "rename it")
    kept = {*choice.taken, *own}
    return Choice(choice.taken, tuple(name for name in names if name not in kept), choice.sure, choice.family)


def _refused(where: str, why: str, hint: str) -> WbltrError:
    return WbltrError(f"{where}: {why}", hint, "usage")


def flag(name: str, names: Iterable[str]) -> str:
    """A flag with names as it is typed."""
    if (names := list(names)) == ELLIPSIS or "" in names:  # which no word means
        return f"{name} {','.join(ELLIPSIS)}"
    return f"{name} {shlex.quote(','.join(map(_word, names)))}"


def _word(name: str) -> str:
    """A name as `words` and `_meant` read it back, in letters that can be typed."""
    if not name.isprintable():
        name = "".join(letter if letter.isprintable() else "?" for letter in escape(name))
    quoted = chr(34) + name.replace(chr(34), 2 * chr(34)) + chr(34)
    return quoted if "," in name or name.startswith(chr(34)) or name != name.strip() else name


def _meant(where: str, word: str, free: Sequence[Column], option: str) -> list[str]:
    """The names that one word of a flag stands for, in the file's order."""
    names = [column.name for column in free]
    if found := [one for one in dict.fromkeys((word, word.strip())) if one in names]:
        return found[:1]
    word = word.strip()
    if any(mark in word for mark in "*?["):
        found = [
            column.name for column in free if fnmatchcase(column.name, word) and (option == "--drop" or column.kind != "other")
        ]
    elif (ends := _RANGE.fullmatch(word)) and ends[1].strip() in names and ends[2].strip() in names:
        found = names[names.index(ends[1].strip()) : names.index(ends[2].strip()) + 1]
    else:
        found = []
    if not found:
        raise _refused(where, f"{option}: no column {shown(word)!r}.{closest(word, names)}", f"it has: {listed(names)}")
    return found


def _refuse_no_numbers(where: str, taken: Sequence[Column]) -> None:
    """What the user names is one column of lists, or columns of numbers."""
    if not taken:
        raise _refused(where, "no column is left to take", "name some: --columns NAME,…")
    if other := next((column for column in taken if column.kind == "other"), None):
        raise _refused(
            where, f"column {shown(other.name)!r} holds no numbers, but {shown(other.type)}", "name others: --columns NAME,…"
        )
    if len(taken) > 1 and (lists := [column.name for column in taken if column.kind == "list"]):
        why = f"{shown(lists[0])!r} is a column of lists, and {len(taken) - 1:,} more are named"
        raise _refused(where, why, f"name it alone: {flag('--columns', lists[:1])}")


def _found(where: str, free: Sequence[Column], dropped: Collection[str]) -> Choice:
    """By the rule of this module's docstring."""
    here = [
        column
        for column in free
        if column.name not in dropped and not column.index and (column.kind == "list" or not _INDEX.fullmatch(column.name))
    ]
    lists = [column for column in here if column.kind == "list"]
    numbers = [column for column in here if column.kind in ("float", "integer")]
    named = [column for column in lists if column.name in LISTS]
    families = _families([column for column in free if column.kind != "list"], numbers, dropped)
    if len(named) == 1:
        return Choice((named[0].name,), (), sure=True)
    if len(lists) > 1:
        raise _undecided(where, "several columns hold lists of numbers", [[column.name] for column in lists])
    if lists and any(len(family.names) > 1 for family in families):
        told = "a column of lists stands beside numbered columns"
        raise _undecided(where, told, [[lists[0].name], *(family.names for family in families)])
    if lists and numbers and _LABEL_LIKE.fullmatch(lists[0].name):
        told = "a column of lists with a label's name stands beside columns of numbers"
        raise _undecided(where, told, [[lists[0].name], [column.name for column in numbers]])
    if lists:
        return Choice((lists[0].name,), ())
    if text := next((column for column in here if column.name in LISTS and column.kind == "other"), None):
        raise _refused(where, f"column {text.name!r} holds {shown(text.type)}, no lists of numbers", "save lists of float32")
    if not here and (passed := [column.name for column in free if column.kind != "other"]):
        why = f"no column is left to take; rows' numbers, or dropped: {listed(passed)}"
        raise _refused(where, why, f"where they are the embeddings: {flag('--columns', _pattern(passed, ()))}")
    if not numbers:
        held = ", ".join(f"{shown(column.name)} ({shown(column.type)})" for column in here[:8]) or "nothing but label and split"
        raise _refused(where, f"no column holds numbers or lists of them; found {held}", "save the embeddings as float32")
    return _of_numbers(where, numbers, families)


def _of_numbers(where: str, numbers: Sequence[Column], families: Sequence[_Family]) -> Choice:
    """One family, or floats alone."""
    floats = [column.name for column in numbers if column.kind == "float"]
    integers = [column.name for column in numbers if column.kind == "integer"]
    whole = [family for family in families if family.complete]
    if floats and integers:
        told = f"{_columns(integers)} integers beside columns of floats: ids, labels or rows' numbers are no embedding"
        if len(whole) == 1 and len(whole[0].names) > 1 and set(whole[0].names) <= {*integers}:
            raise _refused(where, told, f"take the numbered: {flag('--columns', _pattern(whole[0].names, floats))}")
        raise refused_beside(where, told, integers, (*floats, *integers))
    if len(whole) > 1 or (whole and len(families) > 1):
        raise _undecided(where, "several numbered families of columns", [family.names for family in families])
    if whole:
        family = whole[0]
        if family.odd:
            told = f"column {shown(family.odd)!r} belongs to {listed(family.names)} and holds no numbers"
            raise _refused(where, told, f"mend it, or leave it: {flag('--drop', [family.odd])}")
        others = [name for name in (*floats, *integers) if name not in family.names]
        if others and (integers or len(others) > 2 * len(family.names) or _LABEL_LIKE.fullmatch(family.names[0])):
            told = f"{listed(family.names)} are numbered, {listed(others)} stand{'s' * (len(others) == 1)} beside them"
            hint = f"take the numbered: {flag('--columns', _pattern(family.names, others))}; or name others: --columns NAME,…"
            raise _refused(where, told, hint)
        return Choice(tuple(family.names), (), family=True)
    if integers:
        told = f"{_columns(integers)} integers and no numbered family: ids, labels or rows' numbers are no embedding"
        raise _refused(where, told, f"where they are one: {flag('--columns', integers[:8])}")
    if families and FEWEST_OF_GAPS <= len(families[0].names) < len(floats) <= 2 * len(families[0].names):
        others = [name for name in floats if name not in families[0].names]
        told = "numbered columns, of which some are not there, stand beside others"
        raise _undecided(where, told, [families[0].names, others])
    alone = {"y", "Y"} if "x" not in map(str.lower, floats) else set()  # y beside x is a place
    like = [name for name in floats if _LABEL_LIKE.fullmatch(name) or name in alone]
    if like and len(like) < len(floats):
        raise refused_beside(
            where,
            f"{'column' if len(like) == 1 else 'columns'} {listed(like)}, named as labels are, beside columns of floats",
            like,
            floats,
        )
    return Choice(tuple(floats), ())


def refused_beside(where: str, told: str, names: Sequence[str], among: Sequence[str]) -> WbltrError:
    """Columns that may be no part of the embedding among those that would be taken, and the flags that decide."""
    few, rest = flag("--drop", names[:8]), _pattern([name for name in among if name not in names], names)
    if not rest:
        return _refused(where, told, f"where they are the embeddings: {flag('--columns', names[:8])}")
    return _refused(where, told, f"leave them: {few}; or name what to take: {flag('--columns', rest)}")


def _columns(names: Sequence[str]) -> str:
    return f"column {shown(names[0])} holds" if len(names) == 1 else f"columns {listed(names)} hold"


def _undecided(where: str, what: str, groups: Sequence[Sequence[str]]) -> WbltrError:
    """Several readings, and how each is typed."""
    told = "; ".join(listed(group) for group in groups[:5]) + ("; …" if len(groups) > 5 else "")
    rest = [[name for other in groups if other is not group for name in other] for group in groups[:2]]
    ways = " or ".join(flag("--columns", _pattern(group, others)) for group, others in zip(groups, rest, strict=False))
    return _refused(where, f"{what}: {told}", f"name what to take: {ways}")


def _pattern(names: Sequence[str], others: Iterable[str]) -> Sequence[str]:
    """A few names as they are, a long family as a pattern that none of the others fits."""
    if len(names) <= 8:
        return names
    alike = sum(1 for _ in takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False)))
    start = names[0][:alike].rstrip("0123456789")
    pattern = f"{escape(start)}[0-9]*"
    fits = all(fnmatchcase(name, pattern) for name in names) and not any(fnmatchcase(name, pattern) for name in others)
    return [pattern] if fits else ELLIPSIS


# Families


@dataclass(frozen=True)
class _Family:
    """Columns whose names differ in a number.

    Attributes:
        names: those that hold numbers and are not dropped, in the file's order.
        complete: whether the numbers begin at 0 or 1 and none is left out.
        odd: a column of the family that holds no numbers, or nothing.
    """

    names: list[str]
    complete: bool
    odd: str


def _families(free: Sequence[Column], numbers: Sequence[Column], dropped: Collection[str]) -> list[_Family]:
    """Families among columns, the largest first.

    Args:
        free: all columns that could belong to one; those that were dropped fill their places.
        numbers: of these, those that could be taken.
    """
    names, groups = {column.name for column in free}, dict[str, list[tuple[str, Column]]]()
    for column in free:
        # What pandas makes of columns of one name: x, x.1, x.2.
        name = f"{column.name}.0" if f"{column.name}.1" in names and f"{column.name}.0" not in names else column.name
        if _RUNS.search(name):
            groups.setdefault(_RUNS.sub("0", name), []).append((name, column))
    kept = {column.name for column in numbers}
    found = []
    for group in groups.values():
        for members, complete in _split(group):
            own = [column.name for column in members if column.name in kept]
            odd = next((c.name for c in members if c.kind == "other" and c.name not in dropped), "")
            if own and (complete or len(own) >= FEWEST_OF_GAPS):
                found.append(_Family(own, complete, odd))
    found.sort(key=lambda family: -len(family.names))
    # `f0` alone is a family of one; beside another it is a column like any.
    return [family for family in found if len(family.names) > 1] or found[:1] * (len(found) == 1)


def _split(named: Sequence[tuple[str, Column]]) -> list[tuple[list[Column], bool]]:
    """Columns of one form, such as `layer#_#`, as families, and whether each is complete.

    Args:
        named: with the name by which each is counted.
    """
    group = [column for _, column in named]
    numbers = [tuple(map(int, _RUNS.findall(name))) for name, _ in named]
    varying = [place for place in range(len(numbers[0])) if len({number[place] for number in numbers}) > 1]
    keys = [tuple(number[place] for place in varying) for number in numbers]
    if len(varying) <= 1:
        own = [key[0] if key else numbers[0][-1] for key in keys]
        # A single column is a family of one where it is the first: f0.
        complete = _counts(own) if varying else len(own) == 1 and own[0] == 0
        return [(list(group), complete)]
    first = _RUNS.split(named[0][0])[varying[0]]
    sides = [sorted({key[place] for key in keys}) for place in range(len(varying))]
    size = 1
    for side in sides:
        size *= len(side)
    grid = len(sides[0]) >= FEWEST_ROWS_GRID and not first[-1:].isalpha() and all(map(_counts, sides))
    if grid and size == len(keys) and set(keys) == set(product(*sides)):
        return [(list(group), True)]
    parts: dict[tuple[int, ...], list[tuple[int, Column]]] = {}
    for key, column in zip(keys, group, strict=True):
        parts.setdefault(key[:-1], []).append((key[-1], column))
    return [([column for _, column in part], _counts([number for number, _ in part])) for part in parts.values()]


def _counts(numbers: Sequence[int]) -> bool:
    """Whether numbers are 0 … n-1 or 1 … n, in any order."""
    least = min(numbers)
    return least in (0, 1) and sorted(numbers) == list(range(least, least + len(numbers)))
