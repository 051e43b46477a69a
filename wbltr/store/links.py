"""What stands on what, as the headers and records of a whole store say."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from wbltr.errors import WbltrError
from wbltr.regular import NotRegular, read_regular
from wbltr.store.files import disk_errors
from wbltr.store.keys import key_of, whole_of
from wbltr.store.objects import Corrupt, Vanished
from wbltr.store.records import LARGEST_RECORD, parse
from wbltr.store.store import Store
from wbltr.store.tensors import read_header

ID = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True)
class Links:
    """The links of a store at one moment.

    Attributes:
        headers: object id → the request that it answers; None for an object of a later schema.
        made: key → the objects that answer it; `--force` may have made several.
        parts: key → the objects that its result is kept in beside its own; the result itself may not be there yet.
        records: key → the object that its record means, which may be gone; without damaged records.
        below: object id → what it stands on: every id in its header and its records, and the parts that it is kept in.
    """

    headers: Mapping[str, Mapping[str, Any] | None]
    made: Mapping[str, list[str]]
    parts: Mapping[str, list[str]]
    records: Mapping[str, str]
    below: Mapping[str, set[str]]

    def reach(self, roots: Iterable[str]) -> set[str]:
        """The roots and all that they stand on, near and far."""
        reached: set[str] = set()
        left = set(roots)
        while left:
            reached |= left
            left = {named for object_id in left for named in self.below.get(object_id, ())} - reached
        return reached

    def above(self, object_id: str) -> list[str]:
        """The objects that stand directly on this one, sorted."""
        return sorted(other for other in self.headers if other != object_id and object_id in self.below.get(other, ()))


def links_of(store: Store) -> Links:
    """Read every header and record; an object with a damaged header is moved to `corrupt/`.

    Ids are taken from the bytes, whatever stands around them: neither a later schema nor a damaged record loses a link.

    Raises:
        WbltrError: `disk` for what cannot be read.
    """
    headers: dict[str, dict[str, Any] | None] = {}
    made: dict[str, list[str]] = defaultdict(list)
    below: dict[str, set[str]] = defaultdict(set)
    for object_id in store.objects():
        with suppress(Corrupt, Vanished, FileNotFoundError):
            try:
                headers[object_id] = header = store.header(object_id)
                made[key_of(header)].append(object_id)
            except WbltrError as error:
                if error.code != "newer":
                    raise
                headers[object_id] = None
            with disk_errors(store.path(object_id), "read"):
                below[object_id] = ids_in(read_header(store.path(object_id)))
    parts: dict[str, list[str]] = defaultdict(list)
    for object_id, request in headers.items():
        if request is not None and (whole := whole_of(request)) is not None:
            parts[key_of(whole)].append(object_id)
    for key, kept in parts.items():
        for object_id in made.get(key, ()):
            below[object_id].update(kept)
    records: dict[str, str] = {}
    for path in sorted((store.root / "records").glob("??/*.json")):
        with disk_errors(path, "read"), suppress(FileNotFoundError, NotRegular):
            text = read_regular(path, LARGEST_RECORD)
            if record := parse(text, path.stem):
                records[path.stem] = record["object"]
            for object_id in [record["object"]] if record else made.get(path.stem, ()):
                below[object_id] |= ids_in(text)
    return Links(headers, made, parts, records, below)


def ids_in(data: bytes) -> set[str]:
    """Every object id, or what looks like one, in a header or record: of its inputs, and of what its config names."""
    return {found.decode() for found in ID.findall(data)}
