from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wbltr.errors import WbltrError
from wbltr.store import Store, Vanished, key_of

HEADER: dict[str, Any] = {"stage": "toy", "revision": 1, "config": {}, "inputs": {}}
KEY = key_of(HEADER)


def publish(store: Store, value: int) -> str:
    return store.publish({"a": np.full(3, value)}, HEADER)


def record_file(store: Store) -> Path:
    return store.root / "records" / KEY[:2] / f"{KEY}.json"


def test_a_record_comes_back_with_its_key(store: Store) -> None:
    object_id = publish(store, 1)
    written = store.write_record(KEY, {"object": object_id, "recipe": {"lr": 0.1}, "threads": (1, 2)})
    assert written == store.record(KEY) == {"key": KEY, "object": object_id, "recipe": {"lr": 0.1}, "threads": [1, 2]}
    assert list(store.records()) == [(KEY, written)]


def test_an_unknown_key_is_a_miss(store: Store) -> None:
    assert store.record(KEY) is None
    assert list(store.records()) == []


def test_the_first_writer_wins(store: Store) -> None:
    first, second = publish(store, 1), publish(store, 2)
    store.write_record(KEY, {"object": first})
    assert store.write_record(KEY, {"object": second})["object"] == first
    assert store.record(KEY) == {"key": KEY, "object": first}


def test_force_repoints_the_record_and_keeps_both_objects(store: Store) -> None:
    first, second = publish(store, 1), publish(store, 2)
    store.write_record(KEY, {"object": first})
    assert store.write_record(KEY, {"object": second}, force=True)["object"] == second
    assert store.record(KEY) == {"key": KEY, "object": second}
    assert store.has(first)


def test_a_record_whose_object_is_gone_is_a_miss_and_gives_way(store: Store) -> None:
    first, second = publish(store, 1), publish(store, 2)
    store.write_record(KEY, {"object": first})
    store.path(first).unlink()
    assert store.record(KEY) is None
    assert store.write_record(KEY, {"object": second})["object"] == second


def test_a_record_that_would_dangle_is_not_written(store: Store) -> None:
    with pytest.raises(Vanished):
        store.write_record(KEY, {"object": "ab" * 32})
    with pytest.raises(WbltrError, match="64 hex digits"):
        store.write_record(KEY, {"recipe": {}})
    assert not record_file(store).exists()


@pytest.mark.parametrize(
    "garbled",
    [b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"object": 3}', b'{"object": "../x"}', b"[" * 100_000, b"\0" * 50],
)
def test_a_garbled_record_is_a_miss_kept_as_evidence_and_gives_way(store: Store, garbled: bytes) -> None:
    object_id = publish(store, 1)
    store.write_record(KEY, {"object": object_id})
    record_file(store).write_bytes(garbled)
    assert store.record(KEY) is None
    assert [path.read_bytes() for path in (store.root / "corrupt").iterdir()] == [garbled]
    assert store.write_record(KEY, {"object": object_id}) == store.record(KEY)


def test_writing_over_a_garbled_record_needs_no_force(store: Store) -> None:
    object_id = publish(store, 1)
    store.write_record(KEY, {"object": object_id})
    record_file(store).write_bytes(b"garbled")
    store.write_record(KEY, {"object": object_id})
    assert store.record(KEY) == {"key": KEY, "object": object_id}


def test_a_record_under_the_key_of_another_is_a_miss(store: Store) -> None:
    object_id = publish(store, 1)
    store.write_record(KEY, {"object": object_id})
    other = key_of({**HEADER, "revision": 2})
    (store.root / "records" / other[:2]).mkdir(exist_ok=True)
    (store.root / "records" / other[:2] / f"{other}.json").write_bytes(record_file(store).read_bytes())
    assert store.record(other) is None
    assert store.record(KEY) is not None


def test_a_witness_with_nan_or_undecodable_arguments_is_still_written(store: Store) -> None:
    object_id = publish(store, 1)
    store.write_record(KEY, {"object": object_id, "loss": math.nan, "argv": ["data-\udcff"]})
    assert json.loads(record_file(store).read_bytes())["loss"] is None
    assert store.record(KEY) == {"key": KEY, "object": object_id, "loss": None, "argv": ["data-\udcff"]}


def test_a_key_that_is_none_never_becomes_a_path(store: Store) -> None:
    for key in ("../x", "", "AB" * 32):
        with pytest.raises(WbltrError, match="key: expected 64 hex digits"):
            store.record(key)
