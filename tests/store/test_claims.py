from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wbltr.errors import WbltrError
from wbltr.store import Store

Start = Callable[..., "subprocess.Popen[str]"]
KEY = "ab" * 32

HOLD = """
import sys, time
from pathlib import Path
from wbltr.store import Store
with Store.open(Path(sys.argv[1])).claim(sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""

COMPUTE = """
import os, sys, time, numpy
from pathlib import Path
from wbltr.store import Store, key_of
store = Store.open(Path(sys.argv[1]))
header = {"stage": "toy", "revision": 1, "config": {}, "inputs": {}}
key = key_of(header)
with store.claim(key):
    if store.record(key) is None:
        with open(sys.argv[2], "a") as file:
            file.write(f"{os.getpid()}\\n")
        time.sleep(0.2)
        store.write_record(key, {"object": store.publish({"a": numpy.zeros(3)}, header)})
print(store.record(key)["object"])
"""


class Stop(Exception):
    pass


def test_a_claim_tells_its_key_and_folder_and_says_who_holds_it(store: Store) -> None:
    with store.claim(KEY) as claim:
        assert (claim.key, claim.folder, claim.locked) == (KEY, store.root / "runs" / KEY, True)
        assert str(os.getpid()) in (claim.folder / "claim.json").read_text()
    assert not (claim.folder / "claim.json").exists()
    with store.claim(KEY) as again:
        assert again.locked


def test_of_eight_processes_on_one_key_exactly_one_computes(store: Store, start: Start, tmp_path: Path) -> None:
    processes = [start(COMPUTE, store.root, tmp_path / "computed") for _ in range(8)]
    printed = {process.communicate(timeout=60) for process in processes}
    assert len(printed) == 1
    assert len((tmp_path / "computed").read_text().splitlines()) == 1
    assert len(list(store.objects())) == 1


def test_a_waiter_learns_for_whom_and_for_how_long_and_can_stop(store: Store, start: Start) -> None:
    holder = start(HOLD, store.root, KEY)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    said: list[tuple[str, float]] = []
    ticks = iter(range(3))

    def tick() -> None:
        if next(ticks, None) is None:
            raise Stop

    with pytest.raises(Stop), store.claim(KEY, lambda who, seconds: said.append((who, seconds)), tick):
        pytest.fail("two processes hold one claim")
    assert len(said) == 1
    assert f"process {holder.pid}" in said[0][0]
    assert 0 <= said[0][1] < 3600


def test_a_killed_holder_releases(store: Store, start: Start) -> None:
    holder = start(HOLD, store.root, KEY)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    ticked = False

    def kill_then_wait() -> None:
        nonlocal ticked
        ticked = True
        holder.kill()
        holder.wait()

    with store.claim(KEY, tick=kill_then_wait) as claim:
        assert claim.locked
        assert str(os.getpid()) in (claim.folder / "claim.json").read_text()
    assert ticked


def test_a_failure_inside_releases(store: Store) -> None:
    with pytest.raises(Stop), store.claim(KEY):
        raise Stop
    with store.claim(KEY, tick=pytest.fail):
        pass


def test_claims_on_two_keys_do_not_wait_for_each_other(store: Store) -> None:
    with store.claim(KEY), store.claim("cd" * 32, tick=pytest.fail) as other:
        assert other.locked


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_where_the_filesystem_has_no_locks_the_work_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with store.claim(KEY) as claim, store.claim(KEY, tick=pytest.fail) as second:
        assert not claim.locked
        assert not second.locked


def test_a_run_that_cannot_be_kept_is_refused_before_it_is_computed(store: Store) -> None:
    (store.root / "runs").write_text("in the way")
    with pytest.raises(WbltrError, match="runs") as caught, store.claim(KEY):
        pytest.fail("claimed")
    assert caught.value.code == "disk"


def test_a_key_that_is_none_never_becomes_a_path(store: Store) -> None:
    with pytest.raises(WbltrError, match="key: expected 64 hex digits"), store.claim("../x"):
        pytest.fail("claimed")
