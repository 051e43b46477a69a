"""Keys, and what the store has for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wbltr.config import Config
from wbltr.errors import WbltrError
from wbltr.pipeline.terms import Artifact, Node, Stage
from wbltr.store import Store, key_of


def header(stage: Stage, config: Config, inputs: Mapping[str, Artifact | str]) -> dict[str, Any]:
    """What the key is hashed from and the object carries."""
    ids = {name: given if isinstance(given, str) else given.object_id for name, given in inputs.items()}
    return {"stage": stage.name, "revision": stage.revision, "config": config.hashed(), "inputs": ids}


def artifact(store: Store, object_id: str) -> Artifact:
    """An object of the store with its record; without a record, what its own header says."""
    own = store.header(object_id)
    key = store.key_of_object(object_id)
    record = store.record(key)
    if record is None or record["object"] != object_id or not is_whole(record):
        record = {k: own[k] for k in ("stage", "revision", "config", "inputs")} | {"key": key, "object": object_id}
    return Artifact(object_id, record)


def look_up(store: Store, stage: Stage, config: Config, inputs: Mapping[str, Artifact | str]) -> Artifact | None:
    """The finished artifact of this request, if the store has it."""
    key = key_of(header(stage, config, inputs))
    record = store.record(key)
    return Artifact(record["object"], record) if record is not None and answers(store, key, record) else None


def is_whole(record: Mapping[str, Any]) -> bool:
    """Whether a record says what an artifact needs; one written by other hands may not."""
    whole = isinstance(record.get("stage"), str) and all(isinstance(record.get(name), dict) for name in ("config", "inputs"))
    return whole and all(isinstance(digest, str) for digest in record["inputs"].values())


def answers(store: Store, key: str, record: Mapping[str, Any]) -> bool:
    """Whether a record's object was made for this key, as its own header says, and the parts that it is kept in are there."""
    try:
        whole = is_whole(record) and all(store.has(part) for part in record.get("parts", []))
        return whole and store.key_of_object(record["object"]) == key
    except WbltrError:  # a damaged header; whoever makes the object again sets the damaged one aside
        return False


def artifacts(store: Store) -> Iterator[Artifact]:
    """Every finished artifact of the store, by key."""
    for _, record in store.records():
        if is_whole(record):
            yield Artifact(record["object"], record)


def planned(store: Store, node: Node) -> list[tuple[Node, Artifact | None]]:
    """What `materialize` would go through, inputs first: nodes with the finished artifact, or None for what would run."""
    steps: list[tuple[Node, Artifact | None]] = []
    inputs: dict[str, Artifact | str] = {}
    for name, given in node.inputs.items():
        if isinstance(given, Node):
            below = planned(store, given)
            steps += [step for step in below if all(step[0] is not earlier for earlier, _ in steps)]
            if below[-1][1] is not None:
                inputs[name] = below[-1][1]
        else:
            inputs[name] = given
    ready = len(inputs) == len(node.inputs)
    found = look_up(store, node.stage, node.settled(inputs), inputs) if ready else None
    return [*steps, (node, found)]
