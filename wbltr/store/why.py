"""Why two requests are two: the fields in which they differ, down to the first cause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wbltr.store.keys import DIGEST
from wbltr.store.store import Store

ABSENT = "-"  # stands for a field that only the other request has


def differences(store: Store, first: str, second: str) -> list[tuple[str, Any, Any]]:
    """(field, first value, second value) for every field in which the requests of two objects differ.

    Inputs that differ are followed where both are objects of one stage, since what differs in them is the cause:
    `features.dataset.config.seed` instead of two ids. Two inputs that meet again on another way are told once.

    Raises:
        WbltrError: as `Store.header`.
    """
    return list(_between_objects(store, first, second, "", set()))


def _between_objects(
    store: Store, first: str, second: str, where: str, seen: set[tuple[str, str]]
) -> Iterator[tuple[str, Any, Any]]:
    one, other = store.header(first), store.header(second)
    for field in ("stage", "revision", "config"):
        yield from _between_values(one[field], other[field], where + field)
    for name in sorted(one["inputs"].keys() | other["inputs"].keys()):
        pair = (one["inputs"].get(name, ABSENT), other["inputs"].get(name, ABSENT))
        if pair[0] == pair[1] or pair in seen:
            continue
        seen.add(pair)
        stages = {store.header(given)["stage"] if DIGEST.fullmatch(given) and store.has(given) else given for given in pair}
        if len(stages) == 1:
            yield from _between_objects(store, *pair, f"{where}{name}.", seen)
        else:
            yield f"{where}inputs.{name}", *pair


def _between_values(one: Any, other: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in sorted(one.keys() | other.keys()):
            yield from _between_values(one.get(name, ABSENT), other.get(name, ABSENT), f"{where}.{name}")
    elif one != other or type(one) is not type(other):
        yield where, one, other
