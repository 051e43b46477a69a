"""`wbltr rerun`: computed again, compared bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_stages as toy
from conftest import Wbltr

from wbltr.cli.rerunning import as_made
from wbltr.config import Config
from wbltr.pipeline import Node, Runtime, Stage, artifact, make, materialize
from wbltr.stages import POSTHOC, PosthocStageConfig
from wbltr.store import Store, key_of

# Torch-free: the pipeline, and what is refused before anything is computed


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


CALLS = count()


def counted(config: Config, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Other bytes every time, and a part of its own."""
    call = next(CALLS)
    runtime.keep("first", lambda: {"a": np.array(-call)})
    return {"a": np.array(call)}


def test_what_is_made_aside_leaves_the_records_as_they_are_and_keeps_both_objects(store: Store) -> None:
    stage = Stage("counted", 1, f"{__name__}:counted")
    first = make(store, stage, Config(), {}, Runtime()).artifact
    recorded = dict(store.records())
    second = make(store, stage, Config(), {}, Runtime(), force=True, aside=True).artifact
    assert dict(store.records()) == recorded
    assert recorded[first.key]["object"] == first.object_id != second.object_id
    assert second.record["parts"] != first.record["parts"]
    assert second.record["witness"]["host"] == first.record["witness"]["host"]
    ids = {first.object_id, second.object_id, *first.record["parts"], *second.record["parts"]}
    assert set(store.objects()) == ids
    third = make(store, stage, Config(), {}, Runtime(), force=True).artifact
    assert dict(store.records())[first.key]["object"] == third.object_id


def test_the_same_bytes_made_aside_are_the_same_object(store: Store) -> None:
    first = materialize(store, toy.chain(), Runtime()).artifact
    node = toy.chain()
    assert isinstance(node.inputs["squares"], Node)
    inputs = {"squares": artifact(store, first.inputs["squares"])}
    again = make(store, node.stage, node.settled({}), inputs, Runtime(), force=True, aside=True)
    assert (again.artifact.object_id, again.cached) == (first.object_id, False)


def adjusted(store: Store, **changes: Any) -> str:
    """A head adjusted from one that is there."""
    below = store.publish({"head.weight": np.ones((3, 2))}, {"stage": "f", "revision": 1, "config": {}, "inputs": {}})
    config = PosthocStageConfig(method="l2", tau=1.0).hashed()
    header = {"stage": "posthoc", "revision": POSTHOC.revision, "config": config, "inputs": {"head": below}, **changes}
    object_id = store.publish({"head.weight": np.ones((3, 2))}, header)
    store.write_record(key_of(header), {"object": object_id, **header})
    return object_id


def test_an_artifact_is_read_back_as_the_request_it_answers(store: Store) -> None:
    node = as_made(store, artifact(store, adjusted(store)))
    assert node.stage is POSTHOC
    assert node.config == PosthocStageConfig(method="l2", tau=1.0)


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"inputs": {"head": "ab" * 32}}, 3, "the head abababababab that it was made from is not in this store"),
        ({"revision": POSTHOC.revision + 1}, 5, f"made by revision {POSTHOC.revision + 1}"),
        ({"revision": POSTHOC.revision - 1}, 2, f"this wbltr has {POSTHOC.revision}"),
        ({"stage": "dataset-part"}, 2, "no stage of that name"),
        ({"config": {"method": "l2", "tau": 1.0, "of another version": 1}}, 2, "reads its config otherwise"),
    ],
    ids=["input gone", "newer", "older", "part", "config"],
)
def test_what_cannot_be_computed_again_is_said_in_a_line(wbltr: Wbltr, changes: dict[str, Any], code: int, says: str) -> None:
    object_id = adjusted(Store.open(), **changes)
    for check in ([], ["--check"]):
        said = wbltr("rerun", object_id[:12], *check)
        assert said.code == code
        assert says in said.err
        assert said.err.count("error:") == 1
    assert len(list(Store.open().objects())) == 2


def test_a_damaged_artifact_is_not_compared(store: Store, wbltr: Wbltr) -> None:
    object_id = adjusted(store)
    path = store.path(object_id)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    said = wbltr("rerun", "--check", object_id[:12], "--store", store.root)
    assert said.code == 4
    assert f"object {object_id}: damaged" in said.err


# On digits


def test_a_second_stage_computed_again_has_the_same_bytes_and_another_machine_s_differences_are_named(copied: Wbltr) -> None:
    store = Store.open()
    first = artifact(store, store.resolve("latest/classifier"))
    said = copied("rerun", "--check", "latest/classifier")
    assert said.code == 0, said.err
    assert said.out == f"classifier {first.object_id[:12]}: the same bytes again\n"
    assert store.record(first.key) == first.record

    # As another machine would have made it.
    tensors = store.load(first.object_id)
    tensors["head.weight"][0, :2] += np.float32(0.5)
    elsewhere = store.publish(tensors, store.header(first.object_id))
    witness = {**first.record["witness"], "host": "elsewhere", "threads": 7}
    record = store.write_record(first.key, {**first.record, "object": elsewhere, "witness": witness}, force=True)
    said = copied("rerun", "--check", elsewhere[:12], "--threads", "1")
    assert said.code == 4
    assert f"classifier {elsewhere[:12]}: computed again, it is {first.object_id[:12]}" in said.err
    assert "head.weight: 2 of" in said.err
    assert "by at most 0.5 (relative:" in said.err
    assert "host elsewhere and" in said.err
    assert "threads 7 and 1" in said.err
    assert store.record(first.key) == record
    assert store.verify(elsewhere)
    document = copied("rerun", "--check", elsewhere[:12], "--threads", "1", "--json").document
    assert (document["error"]["code"], document["equal"], document["again"]) == ("integrity", False, first.object_id)
    assert [difference["tensor"] for difference in document["tensors"]] == ["head.weight"]
    assert document["witness"]["threads"] == [7, 1]

    again = copied("rerun", elsewhere[:12], "--threads", "1", "-q")
    assert again.out == f"{first.object_id}\n"
    assert (store.record(first.key) or {})["object"] == first.object_id
    assert store.ref("latest/classifier") == store.ref("latest/head") == first.object_id
    assert store.has(elsewhere)
