"""Records are an index: lost or damaged ones come back from the objects. And why two requests are two."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_stages import TOTAL, TotalConfig, chain

from wbltr.pipeline import Runtime, look_up, materialize
from wbltr.store import Store, key_of
from wbltr.store.keys import part_of, whole_of
from wbltr.store.links import links_of
from wbltr.store.rebuild import rebuild, unrecorded
from wbltr.store.why import differences


def request(name: str, inputs: dict[str, str] | None = None) -> dict[str, Any]:
    return {"stage": "toy", "revision": 1, "config": {"name": name}, "inputs": inputs or {}}


def publish(store: Store, header: dict[str, Any], value: float = 0.0) -> str:
    return store.publish({"a": np.full(3, value)}, header)


def test_a_lost_index_is_made_again_and_the_chain_is_answered_from_the_store(store: Store) -> None:
    made = materialize(store, chain(), Runtime()).artifact
    before = dict(store.records())
    shutil.rmtree(store.root / "records")
    assert rebuild(store) == sorted(before)
    for key, record in store.records():
        assert record["rebuilt"] is True
        assert {name: record[name] for name in ("key", "object", "stage", "revision", "config", "inputs")} == {
            name: before[key][name] for name in ("key", "object", "stage", "revision", "config", "inputs")
        }
        assert not {"metrics", "witness", "recipe"} & record.keys()
    again = materialize(store, chain(), Runtime())
    assert (again.artifact.object_id, again.cached) == (made.object_id, True)
    assert rebuild(store) == []


def test_sound_records_are_left_as_they_are(store: Store) -> None:
    materialize(store, chain(), Runtime())
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    assert rebuild(store) == []
    assert {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("damage", ["garbled", "dangling", "of another request", "incomplete"])
def test_a_damaged_record_is_set_aside_and_made_again(store: Store, damage: str) -> None:
    header = request("x")
    key, object_id = key_of(header), publish(store, header)
    store.write_record(key, {"object": object_id, **header})
    path = store.record_path(key)
    other = publish(store, request("other"))
    path.write_text(
        {
            "garbled": "garbled",
            "dangling": json.dumps({"key": key, "object": "ab" * 32}),
            "of another request": json.dumps({"key": key, "object": other, **request("other")}),
            "incomplete": json.dumps({"key": key, "object": object_id}),
        }[damage]
    )
    assert key in unrecorded(store, links_of(store))
    assert key in rebuild(store)
    record = store.record(key)
    assert record is not None
    assert (record["object"], record["config"], record["rebuilt"]) == (object_id, {"name": "x"}, True)
    assert (store.root / "corrupt").exists() == (damage != "dangling")


def test_of_several_objects_of_a_request_the_newest_is_meant(store: Store) -> None:
    ids = [publish(store, request("x"), value) for value in (1.0, 2.0, 3.0)]
    for age, object_id in zip((10, 30, 20), ids, strict=True):
        os.utime(store.path(object_id), (age, age))
    assert rebuild(store) == [key_of(request("x"))]
    assert (store.record(key_of(request("x"))) or {})["object"] == ids[1]


def test_a_damaged_object_gets_no_record_and_is_set_aside(store: Store) -> None:
    object_id = publish(store, request("x"))
    path = store.path(object_id)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    assert rebuild(store) == []
    assert not store.has(object_id)
    assert [kept.read_bytes() for kept in (store.root / "corrupt").iterdir()] == [data]


def test_a_rebuilt_record_knows_the_parts_of_its_object(store: Store) -> None:
    parts = sorted(publish(store, part_of(request("x"), f"{n}-{n + 1}"), n) for n in range(3))
    whole = publish(store, request("x"))
    assert len(rebuild(store)) == 4
    record = store.record(key_of(request("x"))) or {}
    assert (record["object"], record["parts"]) == (whole, parts)


def test_the_whole_of_a_part_is_what_it_is_a_part_of() -> None:
    assert whole_of(part_of(request("x"), "0-9")) == request("x")
    assert whole_of(request("x")) is None
    assert whole_of(request("x") | {"config": {"part": "test"}}) is None


def test_a_rebuilt_record_answers_the_request_it_was_lost_for(store: Store) -> None:
    made = materialize(store, chain(), Runtime()).artifact
    store.record_path(made.key).unlink()
    given = dict(made.inputs)
    assert look_up(store, TOTAL, TotalConfig(), given) is None
    rebuild(store)
    found = look_up(store, TOTAL, TotalConfig(), given)
    assert found is not None
    assert found.object_id == made.object_id


def test_why_follows_inputs_to_the_field_that_differs(store: Store) -> None:
    one, other = (materialize(store, chain(size=size), Runtime()).artifact.object_id for size in (5, 6))
    assert differences(store, one, other) == [("squares.numbers.config.size", 5, 6)]
    assert differences(store, one, one) == []


def test_why_tells_a_cause_that_is_met_on_two_ways_once(store: Store) -> None:
    below = [publish(store, request(name)) for name in ("a", "b")]
    middle = [publish(store, request("middle", {"in": below[n]})) for n in range(2)]
    top = [publish(store, request("top", {"in": below[n], "middle": middle[n]})) for n in range(2)]
    assert differences(store, *top) == [("in.config.name", "a", "b")]


def test_why_tells_other_stages_types_and_inputs_that_are_not_there(store: Store) -> None:
    one = publish(store, {"stage": "a", "revision": 1, "config": {"x": 1, "y": {"z": True}}, "inputs": {"in": "ab" * 32}})
    other = publish(store, {"stage": "b", "revision": 2, "config": {"x": 1.0, "y": {}}, "inputs": {"more": "words"}})
    assert differences(store, one, other) == [
        ("stage", "a", "b"),
        ("revision", 1, 2),
        ("config.x", 1, 1.0),
        ("config.y.z", True, "-"),
        ("inputs.in", "ab" * 32, "-"),
        ("inputs.more", "-", "words"),
    ]


def test_a_folder_that_is_no_store_of_objects_has_no_links(tmp_path: Path) -> None:
    empty = links_of(Store.open(tmp_path / "empty"))
    assert (dict(empty.headers), dict(empty.records), empty.reach(["ab" * 32])) == ({}, {}, {"ab" * 32})
