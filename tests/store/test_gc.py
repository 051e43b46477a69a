"""Garbage collection: what a name reaches stays whole, also when somebody dies or works beside it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_stages import chain

from wbltr.errors import WbltrError
from wbltr.pipeline import Runtime, artifacts, materialize
from wbltr.store import Store, key_of
from wbltr.store.garbage import Piece, find_garbage, remove
from wbltr.store.keys import canonical_json, part_of
from wbltr.store.links import links_of
from wbltr.store.tensors import encode

Finish = Callable[..., str]
DAY = 86400.0

# Dies by SIGKILL at its nth step that touches the disk, for every n until one child gets to its end.
KILL_AT_EVERY_STEP = """
import os, shutil, signal, sys
from pathlib import Path
from wbltr.store import Store
from wbltr.store.garbage import find_garbage, remove
from wbltr.store.links import links_of

TOUCHING = {"open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.utime"}
steps, last = 0, -1

def step(event, arguments):
    global steps
    if event in TOUCHING:
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)

whole = links_of(Store.open(Path(sys.argv[1])))
for last in range(1, 5000):
    root = Path(sys.argv[2]) / str(last)
    shutil.copytree(sys.argv[1], root)
    store = Store.open(root)
    garbage = find_garbage(store, 0)
    child = os.fork()
    if child == 0:
        sys.addaudithook(step)
        list(remove(store, garbage))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    left = set(store.objects())
    assert len(list((root / "records").rglob("*.json"))) == len(dict(store.records()))
    assert all(whole.below[object_id] & whole.headers.keys() <= left for object_id in left)
    assert store.refs()["kept"] in left
    list(remove(store, find_garbage(store, 0)))
    assert set(store.objects()) == whole.reach([store.refs()["kept"]]) & whole.headers.keys()
    shutil.rmtree(root)
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
print(last)
"""


def put(store: Store, name: str, inputs: tuple[str, ...] = (), **more: Any) -> str:
    """An object of a request that nobody else makes, with its record."""
    header = request(name, inputs)
    object_id = store.publish({"a": np.frombuffer(name.encode(), np.uint8)}, header)
    store.write_record(key_of(header), {"schema": 1, "object": object_id, **header, **more})
    return object_id


def request(name: str, inputs: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"stage": "toy", "revision": 1, "config": {"name": name}, "inputs": {f"in{n}": i for n, i in enumerate(inputs)}}


def collect(store: Store, older_than: float = 0.0) -> list[Piece]:
    return list(remove(store, find_garbage(store, older_than)))


def make_old(store: Store, days: float = 100.0) -> None:
    """As if everything had been written long ago."""
    then = time.time() - days * DAY
    for path in store.root.rglob("*"):
        os.utime(path, (then, then))


def test_what_a_name_reaches_stays_and_the_rest_goes(store: Store) -> None:
    below = put(store, "below")
    head, other = put(store, "head", (below,)), put(store, "other", (below,))
    store.set_ref("mine/head", head)
    assert [(piece.kind, piece.name) for piece in collect(store)] == [("object", other)]
    assert set(store.objects()) == {record["object"] for _, record in store.records()} == {below, head}


def test_names_of_every_workspace_are_roots(store: Store) -> None:
    kept = put(store, "kept")
    Store(store.root, "0123456789abcdef").set_ref("latest/toy", kept)
    assert collect(store) == []
    Store(store.root, "0123456789abcdef").unset_ref("latest/toy")
    assert [piece.name for piece in collect(store)] == [kept]


def test_finding_garbage_removes_nothing(store: Store) -> None:
    put(store, "loose")
    before = sorted(store.root.rglob("*"))
    assert find_garbage(store, 0).pieces
    assert sorted(store.root.rglob("*")) == before


def test_what_is_young_stays_with_all_that_it_stands_on(store: Store) -> None:
    below, loose = put(store, "below"), put(store, "loose")
    make_old(store)
    young = put(store, "young", (below,))
    assert [piece.name for piece in collect(store, 14 * DAY)] == [loose]
    assert set(store.objects()) == {below, young}


def test_youth_is_told_by_the_clock_of_the_files_not_of_this_machine(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "young")
    now = time.time()
    for years in (-10, 10):
        monkeypatch.setattr(time, "time", lambda off=years: now + off * 365 * DAY)
        assert find_garbage(store, 14 * DAY).pieces == ()


def test_publishing_or_naming_an_old_object_again_makes_it_young(store: Store) -> None:
    for again in (lambda: put(store, "same"), lambda: store.set_ref("mine/same", put(store, "same"))):
        put(store, "same")
        make_old(store)
        again()
        store.unset_ref("mine/same")
        assert collect(store, 14 * DAY) == []


def test_what_a_running_computation_stands_on_stays_until_it_ends(store: Store) -> None:
    below = put(store, "below")
    given_to_it = put(store, "input", (below,))
    key = key_of(request("result", (given_to_it,)))
    with store.claim(key, inputs=[given_to_it]):
        store.save_checkpoint(key, 1, {"a": np.zeros(2)}, {})
        assert collect(store) == []
    assert {piece.name for piece in collect(store)} == {below, given_to_it, key}
    assert not store.run_folder(key).exists()


def test_parts_and_the_result_of_a_running_computation_stay_until_it_ends(store: Store) -> None:
    part = store.publish({"a": np.zeros(2)}, part_of(request("result"), "0-9"))
    with store.claim(key_of(request("result"))):
        assert collect(store) == []
        result = put(store, "result")
        assert collect(store) == []
    assert [piece.name for piece in collect(store) if piece.kind == "object"] == [result, part]


def test_a_chain_that_is_being_made_is_not_taken_apart(store: Store) -> None:
    materialize(store, chain(steps=2), Runtime())
    make_old(store)
    gone: list[Piece] = []
    materialize(store, chain(), Runtime(tick=lambda *_: gone.extend(collect(store))))
    assert len([piece for piece in gone if piece.kind == "object"]) == 2  # the squares and the total of the other chain
    assert sorted(made.stage for made in artifacts(store)) == ["numbers", "squares", "total"]
    assert all(store.path(object_id).stat().st_mtime > time.time() - DAY for object_id in store.objects())


def test_the_claim_of_a_dead_process_keeps_nothing(store: Store) -> None:
    loose = put(store, "loose")
    folder = store.run_folder("ab" * 32)
    folder.mkdir(parents=True)
    (folder / "claim.json").write_text(f'{{"who": "x", "since": 0, "inputs": ["{loose}"]}}')
    assert {(piece.kind, piece.name) for piece in collect(store)} == {("object", loose), ("run", "ab" * 32)}


def test_a_large_result_keeps_its_parts_even_when_its_record_is_lost_or_garbled(store: Store) -> None:
    parts = [store.publish({"a": np.full(3, n)}, part_of(request("whole"), str(n))) for n in range(3)]
    whole = put(store, "whole", parts=parts)
    store.set_ref("mine/whole", whole)
    record = store.record_path(key_of(request("whole")))
    for text in (record.read_bytes(), b"garbled", None):
        if text is None:
            record.unlink()
        else:
            record.write_bytes(text)
        assert collect(store) == []
    store.unset_ref("mine/whole")
    assert [piece.name for piece in collect(store)] == [whole, *sorted(parts)]


@pytest.mark.parametrize("end", [b"}", b""], ids=["of a later schema", "cut short"])
def test_whatever_a_record_names_stays_with_its_object(store: Store, end: bytes) -> None:
    named, kept = put(store, "named"), put(store, "kept")
    store.set_ref("kept", kept)
    key = key_of(request("kept"))
    text = f'{{"schema": 2, "object": "{kept}", "key": "{key}", "unheard-of": [{{"from": "{named}"}}]'.encode()
    store.record_path(key).write_bytes(text + end)
    assert collect(store) == []


def test_an_object_of_a_later_schema_stays_with_what_it_names(store: Store) -> None:
    below = put(store, "below")
    metadata = canonical_json({"schema": 2, "made of": [below]})
    object_id = store._keep(encode({"a": np.zeros(2)}, metadata))
    assert collect(store) == []
    assert set(store.objects()) == {below, object_id}


def test_what_is_used_after_it_was_found_stays_with_all_that_it_stands_on(store: Store) -> None:
    below = put(store, "below")
    loose, used = put(store, "loose"), put(store, "used", (below,))
    make_old(store)
    garbage = find_garbage(store, 14 * DAY)
    store.set_ref("mine/used", used)
    assert [piece.name for piece in remove(store, garbage)] == [loose]
    assert set(store.objects()) == {below, used}


def test_a_record_that_means_another_object_by_now_stays(store: Store) -> None:
    first = put(store, "x")
    make_old(store)
    garbage = find_garbage(store, 14 * DAY)
    second = store.publish({"a": np.zeros(7)}, request("x"))
    store.write_record(key_of(request("x")), {"object": second}, force=True)
    assert [piece.name for piece in remove(store, garbage)] == [first]
    assert (store.record(key_of(request("x"))) or {})["object"] == second


def test_nothing_goes_while_a_name_cannot_be_read(store: Store) -> None:
    put(store, "loose")
    store.set_ref("mine/head", put(store, "head"))
    path = store.root / "refs" / store.workspace / "mine" / "head"
    path.write_text("garbled")
    path.with_name(".nfs0001").write_text("what a file system puts there")
    with pytest.raises(WbltrError, match="expected an object id, found 'garbled'") as caught:
        find_garbage(store, 0)
    assert caught.value.code == "integrity"
    path.unlink()
    assert len(collect(store)) == 2


def test_records_without_an_object_abandoned_runs_and_downloads_go_when_they_are_old(store: Store) -> None:
    kept, gone = put(store, "kept"), put(store, "gone")
    store.set_ref("kept", kept)
    store.path(gone).unlink()
    finished, abandoned = key_of(request("kept")), key_of(request("never finished"))
    for key in (finished, abandoned):
        store.save_checkpoint(key, 1, {"a": np.zeros(2)}, {})
        store.append_metrics(key, {"epoch": 1})
    (store.root / "downloads").mkdir()
    (store.root / "downloads" / "archive.tar.gz").write_bytes(b"whole")
    (store.root / "downloads" / "archive.tar.gz.part").write_bytes(b"half")
    assert collect(store, 14 * DAY) == []
    assert {(piece.kind, piece.name) for piece in collect(store)} == {
        ("record", key_of(request("gone"))),
        ("checkpoints", finished),
        ("run", abandoned),
        ("download", "archive.tar.gz.part"),
    }
    assert [path.name for path in (store.root / "downloads").iterdir()] == ["archive.tar.gz"]
    assert [row["epoch"] for row in store.metrics(finished)] == [1]
    assert not store.run_folder(abandoned).exists()
    assert collect(store) == []


def test_a_sound_size_is_told(store: Store) -> None:
    loose = put(store, "loose")
    assert [piece.size for piece in find_garbage(store, 0).pieces] == [store.path(loose).stat().st_size]


def test_killed_at_any_step_no_record_and_no_object_misses_what_it_stands_on(
    store: Store, tmp_path: Path, finish: Finish
) -> None:
    kept = materialize(store, chain(), Runtime()).artifact.object_id
    materialize(store, chain(size=6), Runtime())
    materialize(store, chain(steps=2), Runtime())
    store.set_ref("kept", kept)
    (tmp_path / "copies").mkdir()
    assert int(finish(KILL_AT_EVERY_STEP, store.root, tmp_path / "copies")) > 20


def test_a_collected_chain_is_made_again_with_the_same_ids(store: Store) -> None:
    made = materialize(store, chain(), Runtime()).artifact
    assert len(collect(store)) == 3 + 3  # objects, and the runs' folders
    again = materialize(store, chain(), Runtime())
    assert (again.artifact.object_id, again.cached) == (made.object_id, False)


Choice = st.integers(0, 1000)
Operation = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 5), st.lists(Choice, min_size=1, max_size=3)),
    st.tuples(st.just("ref"), st.sampled_from(["one", "two", "latest/x"]), Choice),
    st.tuples(st.just("unref"), st.sampled_from(["one", "two", "latest/x"]), st.none()),
    st.tuples(st.just("gc"), st.none(), st.none()),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(Operation, min_size=10, max_size=20))
def test_after_any_sequence_whatever_a_name_reaches_is_whole_and_the_rest_goes(operations: list[tuple[str, Any, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "store")
        stands_on: dict[str, set[str]] = {}
        names: dict[str, str] = {}

        def reached() -> set[str]:
            found: set[str] = set()
            left = set(names.values())
            while left:
                found |= left
                left = {below for object_id in left for below in stands_on[object_id]} - found
            return found

        for operation, what, choice in [*operations, ("gc", None, None)]:
            there = sorted(store.objects())
            if operation == "put":
                inputs = tuple(there[number % len(there)] for number in choice) if there else ()
                stands_on[put(store, f"object {what}", inputs)] = set(inputs)
            elif operation == "ref" and there:
                names[what] = there[choice % len(there)]
                store.set_ref(what, names[what])
            elif operation == "unref":
                names.pop(what, None)
                store.unset_ref(what)
            elif operation == "gc":
                collect(store)
                assert set(store.objects()) == reached()
                assert {record["object"] for _, record in store.records()} == reached()
            assert all(store.verify(object_id) for object_id in reached())
            assert store.refs() == names
        assert set(links_of(store).headers) == reached()
