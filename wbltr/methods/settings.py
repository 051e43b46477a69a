"""What the tables of methods are made of: settings, entries by name, and the functions that entries name by dotted path."""

from __future__ import annotations

import importlib
import inspect
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

OF_A_FILE: set[str] = set()  # names of the settings that a file of one's own has added


@dataclass(frozen=True)
class Setting:
    """A number or word that a method leaves open; a field of the recipe's section.

    Attributes:
        name: of the field, and of the argument of the functions that take it.
        default: of the field.
        help: one line: what it is, with its unit.
        symbol: as papers write it.
        kind: `number`; `natural`: whole, from 0, or null; `word`: one of `words`; `shares`: class name → share, or a word;
            `teacher`: a finished first stage, or null.
        ge, gt, le, lt: bounds of a number, as pydantic names them.
        words: what it may be instead of a number.
        told: what differs from the paper where it is {}, in words; empty: its symbol or name and the value.
        original: it is in every key since the first release, and may be set where it changes nothing.
    """

    name: str
    default: Any
    help: str
    symbol: str = ""
    kind: Literal["number", "natural", "word", "shares", "teacher"] = "number"
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    words: tuple[str, ...] = ()
    told: str = ""
    original: bool = False

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that it has."""
        return {name: bound for name in ("ge", "gt", "le", "lt") if (bound := getattr(self, name)) is not None}

    @property
    def range(self) -> str:
        """Its bounds in words: `0 or more, below 1`."""
        words = {"ge": "{:g} or more", "gt": "above {:g}", "le": "at most {:g}", "lt": "below {:g}"}
        return ", ".join(words[name].format(bound) for name, bound in self.bounds.items())

    def holds(self, number: float) -> bool:
        """Whether a number is finite and within its bounds."""
        return math.isfinite(number) and all(getattr(operator, name)(number, bound) for name, bound in self.bounds.items())


@dataclass(frozen=True)
class Method:
    """What every entry says.

    Attributes:
        name: as in recipes and messages.
        label: as in tables.
        words: one line: what it does.
        source: the reference, with section or equation.
        settings: that it reads.
    """

    name: str
    label: str
    words: str
    source: str
    settings: tuple[Setting, ...] = ()
    alias: str = ""  # what recipes, keys, records and exports hold instead of the name, where that is older

    @property
    def value(self) -> str:
        """What is hashed and kept."""
        return self.alias or self.name

    def has(self, setting: str) -> bool:
        """Whether it has the setting of this name."""
        return any(own.name == setting for own in self.settings)


Entry = TypeVar("Entry", bound=Method)


class Table(Mapping[str, Entry]):
    """Entries by the value that is kept; an entry is found by its name, too."""

    def __init__(self, kind: str, words: str, *entries: Entry) -> None:
        self.kind, self.words = kind, words
        self._entries: dict[str, Entry] = {}
        self._values: dict[str, str] = {}
        self.files: dict[str, str] = {}  # value → SHA-256 of the file of one's own that added the entry
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """One entry more.

        Raises:
            ValueError: where its name is taken.
        """
        if entry.name in self or entry.value in self:
            raise ValueError(f"there is a {self.kind} {entry.name} already")
        self._entries[entry.value], self._values[entry.name] = entry, entry.value

    def __getitem__(self, name: str) -> Entry:
        return self._entries[self._values.get(name, name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def settings(self) -> dict[str, Setting]:
        """Every setting of its entries, by name."""
        return {setting.name: setting for entry in self.values() for setting in entry.settings}

    def readers(self, setting: str) -> list[str]:
        """The entries that read the setting of this name."""
        return [value for value, entry in self.items() if entry.has(setting)]


def sentence(words: str) -> str:
    """Words as a sentence; a symbol stays small."""
    return f"{words[0].upper() if words[0].isascii() else words[0]}{words[1:]}."


def load(path: str) -> Callable[..., Any]:
    """The function or class of a dotted path `module:name`, imported now."""
    module, _, name = path.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def taken(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that the function has an argument for."""
    return {name: values[name] for name in inspect.signature(function).parameters if name in values}
