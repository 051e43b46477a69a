"""Records: which object answered a request, and how it came to be. An index: the objects can do without it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from wbltr.regular import NotRegular, read_regular
from wbltr.store.files import disk_errors
from wbltr.store.keys import DIGEST, checked_digest, loose_json, too_deep
from wbltr.store.objects import Objects, Vanished

LARGEST_RECORD = 1 << 26  # bytes


class Records(Objects):
    """`records/cd/<key>.json`: a JSON object with at least `key` and `object`, an object id."""

    def record(self, key: str) -> dict[str, Any] | None:
        """The record of a key, or None for a miss: no such record, its object is gone, or the file is garbled.

        A garbled file is moved to `corrupt/`.
        """
        path = self.record_path(key)
        with disk_errors(path, "read"):
            try:
                seen = path.stat()
                data = read_regular(path, LARGEST_RECORD)
            except FileNotFoundError:
                return None
            except NotRegular:
                data = b""
        record = parse(data, key)
        if record is None:
            self.quarantine(path, seen)
            return None
        return record if self.has(record["object"]) else None

    def has_record(self, key: str) -> bool:
        """Whether anything lies where the record of a key would; `record` tells whether it is one."""
        return os.path.lexists(self.record_path(key))

    def write_record(self, key: str, record: Mapping[str, Any], *, force: bool = False) -> dict[str, Any]:
        """Record which object answered a key. The first writer wins: a readable record whose object is there is kept.

        Args:
            key: 64 hex digits.
            record: JSON with `object`, the id of a published object, and whatever tells how it came to be. `key` is
                added; NaN and the infinities become null.
            force: put this record in place of an earlier one, atomically.

        Returns:
            The record that the key has now: this one, or the earlier one.

        Raises:
            Vanished: the object is not in the store, so that the record would dangle.
            WbltrError: `disk` when it cannot be written, `bug` when it is not JSON.
        """
        path = self.record_path(key)
        object_id = str(record.get("object"))
        if not self.has(object_id):
            raise Vanished(object_id, self.root)
        data = loose_json({**record, "key": key}, indent=1)
        if not force:
            if self.put(path, data, replace=False):
                return _known(data)
            if earlier := self.record(key):
                return earlier
        # Forced, or what has the name dangles or was garbled.
        self.put(path, data, replace=True)
        return _known(data)

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every key with its record, sorted by key; those that `record` counts as a miss are left out."""
        for path in sorted((self.root / "records").glob("??/*.json")):
            if DIGEST.fullmatch(path.stem) and (record := self.record(path.stem)) is not None:
                yield path.stem, record

    def record_path(self, key: str) -> Path:
        """Where the record of a key lies, or would."""
        return self.root / "records" / checked_digest(key, "key")[:2] / f"{key}.json"


def _known(data: bytes) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(data)
    return record


def parse(data: bytes, key: str) -> dict[str, Any] | None:
    """The record of a key in the bytes of its file; None for what is none."""
    with suppress(ValueError, RecursionError):
        record = json.loads(data)
        if isinstance(record, dict) and isinstance(record.get("object"), str) and DIGEST.fullmatch(record["object"]):
            return record if record.get("key") == key and _is_plain(record) and not too_deep(record) else None
    return None


def _is_plain(record: dict[str, Any]) -> bool:
    """Whether what tells how an object came to be has the types that readers count on; others may have written it."""
    kinds = {"recipe": dict | None, "witness": dict, "metrics": dict, "parts": list}
    sound = all(isinstance(record[name], kind) for name, kind in kinds.items() if name in record)
    return sound and isinstance((record.get("recipe") or {}).get("name", ""), str)
