"""Processes that put at once, some of them killed, beside a garbage collection that never rests."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import defaultdict
from pathlib import Path

import pytest

from faults.audit import audit
from faults.counted import Counted
from faults.nursery import Nursery
from wbltr.store import Store

HOUR = 3600.0


@pytest.mark.parametrize("locks", ["locks", ""])
@pytest.mark.parametrize("keys", [1, 100])
@pytest.mark.parametrize("processes", [2, 8])
def test_no_key_has_two_answers_and_is_computed_twice_only_without_locks(
    toys: Nursery, folder: Path, counted: Counted, processes: int, keys: int, locks: str
) -> None:
    root = Store.open(folder / "store").root
    each = 2500 // processes
    collector = toys.start("faults.commands:collect", root, HOUR, 10**9)
    running = [toys.start("faults.commands:race", root, who, each, keys, locks) for who in range(processes)]
    # Those that are killed on the way come on top.
    victims = [toys.start("faults.commands:race", root, 100 + who, 10**9, keys, locks) for who in range(processes // 2)]
    draws = random.Random(processes * keys)
    for victim in victims:
        time.sleep(draws.uniform(0.02, 0.2))
        os.kill(victim, signal.SIGKILL)
        assert toys.wait(victim).code == -signal.SIGKILL
    for pid in running:
        ended = toys.wait(pid)
        assert ended.code == 0, ended
    os.kill(collector, signal.SIGKILL)
    assert toys.wait(collector).code == -signal.SIGKILL, "the collection failed"
    told: dict[str, set[str]] = defaultdict(set)
    computed: dict[str, int] = defaultdict(int)
    puts = 0
    for notes in folder.glob("notes-*"):
        for line in notes.read_text().splitlines():
            match line.split():
                case ["told", key, object_id]:
                    told[key].add(object_id)
                    puts += 1
                case ["computed", key, _]:
                    computed[key] += 1
    assert len(told) == keys
    assert {len(answers) for answers in told.values()} == {1}
    if locks:
        assert set(computed.values()) == {1}
    assert audit(root) == []
    store = Store(root, "own")
    assert {key: {record["object"]} for key, record in store.records()} == told
    counted("puts of processes at once", puts)
