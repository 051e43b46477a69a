"""Objects damaged in every way that disks, proxies and people find: each is refused, kept as evidence, and made again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import toy_stages as toy

from faults.audit import audit
from faults.counted import Counted
from wbltr.pipeline import Artifact, Runtime, load_made, materialize
from wbltr.store import Corrupt, Store, key_of

HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in to the network.</body></html>\n"


def header(number: int) -> dict[str, object]:
    return {"stage": "toy", "revision": 1, "config": {"number": number}, "inputs": {}}


def damages(whole: bytes, other: bytes, draws: random.Random, number: int) -> Iterator[bytes]:
    """So many damaged forms of a file: mostly flipped bits, then cuts, zeroed tails, another object's bytes, a web page."""
    for index in range(number):
        place = draws.randrange(len(whole))
        match index % 10:
            case 0:
                yield whole[:place]
            case 1:
                tail = len(whole) - draws.randrange(1, len(whole))
                yield whole[:tail] + bytes(len(whole) - tail)
            case 2:
                yield other if index % 20 == 2 else HTML
            case _:
                flipped = bytearray(whole)
                flipped[place] ^= 1 << draws.randrange(8)
                yield bytes(flipped)


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_every_damage_is_refused_by_whoever_reads_and_repaired_by_whoever_makes_it_again(
    folder: Path, counted: Counted
) -> None:
    store, draws = Store.open(folder / "store"), random.Random(0)
    tensors = {n: {"a": np.random.default_rng(n).standard_normal(20 + 30 * n)} for n in (1, 2)}
    ids = {n: store.publish(tensors[n], header(n)) for n in tensors}
    whole = {n: store.path(ids[n]).read_bytes() for n in tensors}
    tried = 0
    for n, other in ((1, 2), (2, 1)):
        path = store.path(ids[n])
        for damaged in damages(whole[n], whole[other], draws, 5000):
            overwrite(path, damaged)
            if tried % 3 == 0:
                with pytest.raises(Corrupt):
                    store.load(ids[n])
            elif tried % 3 == 1:
                assert not store.verify(ids[n])
            # Every third is met by the one who publishes.
            assert store.publish(tensors[n], header(n)) == ids[n]
            assert path.read_bytes() == whole[n]
            tried += 1
    assert len(list((store.root / "corrupt").iterdir())) == tried, "each is kept as evidence"
    counted("damaged objects", tried)


def test_a_chain_with_a_damaged_object_is_made_whole_by_a_rerun(folder: Path, counted: Counted) -> None:
    store, draws = Store.open(folder / "store"), random.Random(1)
    made: list[Artifact] = []
    materialize(store, toy.chain(), Runtime(), done=lambda m: made.append(m.artifact))
    for attempt in range(60):
        damaged, other = made[attempt % 3], made[(attempt + 1) % 3]
        path = store.path(damaged.object_id)
        whole, others = path.read_bytes(), store.path(other.object_id).read_bytes()
        overwrite(path, list(damages(whole, others, draws, 10))[attempt % 10])
        if attempt % 2:  # the end is lost, so that what it stands on is read
            store.path(made[2].object_id).unlink()
            store.record_path(made[2].key).unlink()
        again, tensors = load_made(store, lambda: materialize(store, toy.chain(), Runtime()))
        assert again.artifact.object_id == made[2].object_id
        assert float(tensors["total"]) == 30.0
        for object_id in list(store.objects()):  # as `wbltr store verify` does: what nobody read is met here
            store.verify(object_id)
        assert materialize(store, toy.chain(), Runtime()).artifact.object_id == made[2].object_id
        assert all(store.verify(found.object_id) for found in made)
        assert audit(store.root, corrupt=True) == []
    counted("damaged objects", 60)


def test_a_garbled_record_is_a_miss_and_written_again(folder: Path, counted: Counted) -> None:
    store, draws = Store.open(folder / "store"), random.Random(2)
    made = materialize(store, toy.chain(), Runtime()).artifact
    path = store.record_path(made.key)
    whole = path.read_bytes()
    for damaged in damages(whole, b"{}", draws, 100):
        path.write_bytes(damaged)
        assert materialize(store, toy.chain(), Runtime()).artifact.object_id == made.object_id
        record = store.record(made.key)
        assert record is not None
        assert key_of(store.header(record["object"])) == made.key
        path.write_bytes(whole)
    counted("damaged objects", 100)
