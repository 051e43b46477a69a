"""Names of somebody's own classes: which two nobody can tell apart, and in which order they count. No torch here."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

from wbltr.errors import WbltrError, shown

# A number as text: its sign, zeros in front of it, and the rest of it.
_NUMBER = re.compile(r"([+-]?)(0*(?=[0-9])|)([0-9]+\.?[0-9]*|\.[0-9]+)((?:[eE][+-]?[0-9]{1,4})?)", re.ASCII)
_JOINERS = "\u200c\u200d"  # they tell words apart, as in Persian and Hindi


def alike(names: Iterable[str]) -> tuple[str, str, str] | None:
    """Two names that mean one class, and in what they differ; None where there are no such two.

    Names that are all numbers are compared as numbers. Zeros in front count: they tell codes apart.

    >>> alike(["cat", "dog", " Cat"]), alike(["1", "2", "1.0"])
    (('cat', ' Cat', 'case or blanks alone'), ('1', '1.0', 'the spelling of one number'))
    >>> alike(["1", "01", "2"]), alike(["v1", "v1.0"])
    (None, None)
    """
    names = list(names)
    first: dict[str, str] = {}
    for name in names:
        if (twin := first.setdefault(_plain(name), name)) != name:
            seen_alike = " ".join(twin.split()).casefold() == " ".join(name.split()).casefold()
            return twin, name, "case or blanks alone" if seen_alike else "case, blanks or Unicode form alone"
    seen: dict[tuple[int, Decimal], str] = {}
    pair = None
    for name in names:
        if (number := _number(name)) is None:
            return None
        if (twin := seen.setdefault(number, name)) != name and pair is None:
            pair = twin, name, "the spelling of one number"
    return pair


def all_whole(names: Iterable[str]) -> bool:
    """Whether every name is a whole number, however it is written: 7, 07, 7.0.

    >>> all_whole(["0", "10", "2"]), all_whole(["0", "1.5"]), all_whole(["0", "cat"]), all_whole([])
    (True, False, False, False)
    """
    numbers = [_number(name) for name in names]
    return bool(numbers) and all(number is not None and number[1] == number[1].to_integral_value() for number in numbers)


def ordered(names: Iterable[str], order: Literal["text", "number"]) -> list[str]:
    """Distinct names in the order in which they count.

    Args:
        order: `text`: by code points; `number`: by the numbers that they are.

    Raises:
        WbltrError: "usage" for a name that is no number, by number.

    >>> ordered(["10", "9", "2", "9"], "text"), ordered(["10", "9", "2", "9"], "number")
    (['10', '2', '9'], ['2', '9', '10'])
    """
    found = sorted(set(names))
    if order == "text":
        return found
    numbers = {name: _number(name) for name in found}
    if (odd := next((name for name in found if numbers[name] is None), None)) is not None:
        told = f"dataset.class_order: number: the class {shown(odd)!r} is no number"
        raise WbltrError(told, "use --set dataset.class_order=text", "usage")
    return sorted(found, key=lambda name: ((numbers[name] or (0, Decimal()))[::-1], name))


def _plain(name: str) -> str:
    """A name without what nobody sees: case, blanks, marks of no width, Unicode's other forms."""
    if not name.isascii():
        kept = (c for c in unicodedata.normalize("NFC", name) if unicodedata.category(c) != "Cf" or c in _JOINERS)
        name = "".join(kept)
    return " ".join(name.split()).casefold()


def _number(name: str) -> tuple[int, Decimal] | None:
    """How many zeros stand in front of a number, and the number; None: it is none."""
    if len(name) > 100 or (found := _NUMBER.fullmatch(name.strip())) is None:
        return None
    sign, zeros, digits, exponent = found.groups()
    return len(zeros), Decimal(f"{sign}{digits}{exponent}")  # exact: nothing is rounded
