"""Push and pull: objects, then records, then refs go from one store to another, each thing with what it stands on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from wbltr.errors import WbltrError
from wbltr.store.keys import DIGEST, canonical_json, key_of, loose_json
from wbltr.store.links import ids_in
from wbltr.store.remote import Remote
from wbltr.store.store import Store

Told = Callable[[int, int], None]  # bytes moved so far, and of all objects; what it raises ends the transfer


@dataclass(frozen=True)
class Transfer:
    """What is to be moved.

    Attributes:
        objects: id → bytes, of those that are not there yet.
        there: ids of the others that are meant, which are there already.
        records: key → record, of keys that have none there.
        refs: name → object id, to be set there.
        kept: names that mean something else there, and stay so.
        unread: what lies where this comes from and cannot be used, so that it is left out: `record KEY`, `ref NAME`.
    """

    objects: Mapping[str, int]
    there: Sequence[str]
    records: Mapping[str, Mapping[str, Any]]
    refs: Mapping[str, str]
    kept: Sequence[str] = ()
    unread: Sequence[str] = ()


def plan_push(store: Store, remote: Remote, names: Sequence[str] = ()) -> Transfer:
    """What a push would send.

    Args:
        names: refs, and first digits of ids or keys; none: whatever a ref of this workspace means.

    Raises:
        WbltrError: `missing` for a name that means nothing, `usage` for a ref that cannot be set there.
    """
    wanted, refs = _asked(store, names)
    taken = remote.refs()
    for name in refs:
        if any(f"{other}/".startswith(f"{name}/") or f"{name}/".startswith(f"{other}/") for other in taken if other != name):
            raise WbltrError(f"ref '{name}': it and another ref at {remote.url} would need the same path", "rename it", "usage")
    reached, unread = _reached(store, wanted, store.header)
    # A file of another size is what a broken upload left.
    objects = {i: size for i in reached if (size := store.size(i)) != remote.objects.get(i)}
    records = {key: record for key, record in reached.values() if record is not None and remote.record(key) is None}
    there = [object_id for object_id in reached if object_id not in objects]
    return Transfer(objects, there, records, {n: i for n, i in refs.items() if taken.get(n) != i}, (), unread)


def push(store: Store, remote: Remote, plan: Transfer, told: Told) -> None:
    """Send what was planned. Cut off at any point, whole objects are there, and nothing that dangles.

    Raises:
        WbltrError: `integrity` for an object that is damaged here, `network` or `disk` for what cannot be sent.
    """
    remote.begin()
    _move(plan.objects, lambda object_id, so_far: remote.put_object(object_id, store, so_far), told)
    for key, record in plan.records.items():
        remote.put_record(key, loose_json({**record, "key": key}, indent=1))
    for name, object_id in plan.refs.items():
        remote.put_ref(name, object_id)


def plan_pull(store: Store, remote: Remote, names: Sequence[str] = ()) -> Transfer:
    """What a pull would fetch.

    Args:
        names: refs, and first digits of ids or keys; none: whatever a ref there means.

    Raises:
        WbltrError: `missing` for a name that means nothing there, `usage` for a ref that cannot be set here, `integrity` for
            an object with a damaged header.
    """
    if remote.empty:
        raise WbltrError(f"{remote.url}: no store here", "send something there first: wbltr store push URL", "missing")
    wanted, refs = _asked(remote, names)
    kept = []
    for name, object_id in refs.items():
        if names:
            store.check_ref(name)
        elif not _free(store, name, object_id):
            kept.append(name)
    reached, unread = _reached(remote, wanted, lambda i: store.header(i) if store.has(i) else remote.header(i))
    if not names:
        gone = [name for name, object_id in remote.refs().items() if not remote.has(object_id)]
        unread += [f"ref {name}" for name in sorted([*remote.unreadable_refs, *gone])]
    objects = {object_id: remote.objects[object_id] for object_id in reached if not store.has(object_id)}
    records = {key: record for key, record in reached.values() if record is not None and store.record(key) is None}
    new = {n: i for n, i in refs.items() if n not in kept and store.ref(n) != i}
    there = [object_id for object_id in reached if object_id not in objects]
    return Transfer(objects, there, records, new, kept, unread)


def pull(store: Store, remote: Remote, plan: Transfer, told: Told) -> None:
    """Fetch what was planned. Cut off at any point, whole objects are here, and nothing that dangles.

    Raises:
        WbltrError: `integrity` for an object or a record that is not what its name says, `newer` for an object of a later
            schema, `network` or `disk` for what cannot be fetched.
    """
    for object_id in plan.there:
        store.touch(object_id)
    _move(plan.objects, lambda object_id, so_far: remote.get_object(object_id, store, so_far), told)
    for key, record in plan.records.items():
        if (found := store.key_of_object(record["object"])) != key:
            hint = "nothing of it was published; mend it there, or get it from elsewhere"
            raise WbltrError(f"{remote.url}: the record {key} means an object that answers {found}", hint, "integrity")
        if any(record.get(name, value) != value for name, value in store.header(record["object"]).items()):
            hint = "nothing of it was published; mend it there, or get it from elsewhere"
            raise WbltrError(f"{remote.url}: the record {key} says otherwise than its object", hint, "integrity")
        store.write_record(key, record)
    for name, object_id in plan.refs.items():
        store.set_ref(name, object_id)


def _asked(place: Store | Remote, names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The objects that are meant, and the refs among the names."""
    refs = place.refs()
    if not names:
        refs = {name: object_id for name, object_id in refs.items() if place.has(object_id)}
        return list(refs.values()), refs
    wanted = {name: place.resolve(name) for name in names}
    return list(wanted.values()), {name: object_id for name, object_id in wanted.items() if name in refs}


def _reached(
    place: Store | Remote, wanted: Iterable[str], header: Callable[[str], dict[str, Any]]
) -> tuple[dict[str, tuple[str, dict[str, Any] | None]], list[str]]:
    """These objects, what they stand on and the parts that they are kept in, as far as they are there: id → key and record.

    A record that means another object is none of this one's. Also the records that lie there and cannot be used.
    """
    unread: dict[str, None] = {}
    found: dict[str, tuple[str, dict[str, Any] | None]] = {}
    waiting = list(wanted)
    while waiting:
        object_id = waiting.pop()
        if object_id in found or not place.has(object_id):
            continue
        request = header(object_id)
        key = key_of(request)
        there = place.has_record(key)  # asked first: one that is garbled is moved away
        record = place.record(key)
        if there and record is None:
            unread[f"record {key}"] = None
        own = record if record is not None and record["object"] == object_id else None
        found[object_id] = (key, own)
        parts = own.get("parts") if own is not None else None
        below = [*sorted(ids_in(canonical_json(request))), *(parts if isinstance(parts, list) else [])]
        waiting += [other for other in below if isinstance(other, str) and DIGEST.fullmatch(other)]
    return found, list(unread)


def _free(store: Store, name: str, object_id: str) -> bool:
    """Whether a ref from elsewhere can be set without taking a name from another object."""
    try:
        store.check_ref(name)
    except WbltrError:
        return False
    mine = store.ref(name)
    return mine is None or mine == object_id or not store.has(mine)


def _move(objects: Mapping[str, int], one: Callable[[str, Callable[[int], None]], None], told: Told) -> None:
    total, before = sum(objects.values()), 0
    for object_id, size in objects.items():
        told(before, total)
        one(object_id, partial(_so_far, told, before, total))
        before += size
    told(before, total)


def _so_far(told: Told, before: int, total: int, moved: int) -> None:
    told(before + moved, total)
