"""Machines whose clocks are off by hours and years, each by another: what is young stays, and `latest` is the last."""

from __future__ import annotations

import os
import time
from itertools import product
from pathlib import Path

import pytest

from faults.audit import audit
from faults.counted import Counted
from faults.nursery import Ended, Nursery
from wbltr.store import Store

HOUR, DAY = 3600.0, 86400.0
OFFSETS = (-10 * 365 * DAY, -HOUR, HOUR, 10 * 365 * DAY)


@pytest.mark.parametrize(("mine", "yours"), list(product(OFFSETS, OFFSETS)))
def test_young_things_stay_old_ones_go_and_latest_is_the_last_whatever_the_clocks_say(
    toys: Nursery, folder: Path, counted: Counted, mine: float, yours: float
) -> None:
    root = folder / ".wbltr"

    def on(clock: float, command: str, *arguments: object) -> Ended:
        ended = toys.run("faults.commands:clocked", clock, f"faults.commands:{command}", root, *arguments, folder=folder)
        assert ended.code == 0, ended
        return ended

    first = on(mine, "make", 3).out.strip()
    second = on(yours, "make", 4).out.strip()
    store = Store(root, "own")
    assert store.ref("latest/total") == second
    assert on(mine, "make", 3).out.strip() == first
    assert store.ref("latest/total") == first, "a cached result is the last one, too"
    assert 0 <= float(on(yours, "age", "latest/total").out) < HOUR / 2
    before = set(store.objects())
    on(yours, "collect", 14 * DAY, 1)
    on(mine, "collect", HOUR / 2, 1)
    assert set(store.objects()) == before
    for path in root.rglob("*"):
        os.utime(path, (time.time() - 15 * DAY,) * 2)
    on(yours, "collect", 14 * DAY, 1)
    assert second not in store.objects()
    assert first in store.objects()
    assert audit(root) == []
    counted("clocks", 1)
