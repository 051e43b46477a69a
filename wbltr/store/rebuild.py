"""Records remade from the objects, which can do without them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from wbltr.store.files import disk_errors
from wbltr.store.links import Links, links_of
from wbltr.store.store import Store

SCHEMA = 1


def unrecorded(store: Store, links: Links) -> list[str]:
    """The keys that objects answer and no sound record tells of, sorted; a record that contradicts them is set aside."""
    return [key for key in sorted(links.made) if not _is_recorded(store, links, key)]


def rebuild(store: Store) -> list[str]:
    """Write the records that are missing, from the objects' headers; of several objects of a key the newest is meant.

    Such a record says `"rebuilt": true`. It has no recipe, no metrics and no witness: those were in the lost one alone.

    Returns:
        The keys.

    Raises:
        WbltrError: `disk` when a record cannot be written.
    """
    links = links_of(store)
    keys = []
    for key in unrecorded(store, links):
        sound = [object_id for object_id in links.made[key] if store.has(object_id) and store.verify(object_id)]
        if not sound:
            continue
        newest = max(sound, key=lambda object_id: (store.path(object_id).stat().st_mtime, object_id))
        record: dict[str, Any] = {"schema": SCHEMA, "object": newest, **(links.headers[newest] or {}), "rebuilt": True}
        if parts := links.parts.get(key):
            record["parts"] = sorted(parts)
        store.write_record(key, record)
        keys.append(key)
    return keys


def _is_recorded(store: Store, links: Links, key: str) -> bool:
    record = store.record(key)
    if record is None:
        return False
    header = links.headers.get(record["object"]) or {}
    if record["object"] in links.made[key] and all(record.get(name) == value for name, value in header.items()):
        return True
    path = store.record_path(key)
    with disk_errors(path, "read"), suppress(FileNotFoundError):
        store.quarantine(path, path.stat())
    return False
