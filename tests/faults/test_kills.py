"""Whole commands are killed at random moments and begun again until one gets to its end: the id of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.audit import audit
from faults.counted import Counted
from faults.nursery import SHORT, Ended, Nursery

Answer = Callable[[Ended], str]


def survive(
    nursery: Nursery, folder: Path, store: Path, kills: int, call: str, arguments: tuple[object, ...], told: Answer
) -> None:
    """Kill a command `kills` times, at most three times on its way to one result, and compare its results."""
    moments = random.Random(0)
    begun = time.monotonic()
    expected = told(nursery.run(call, *arguments, folder=folder))
    seconds = time.monotonic() - begun
    killed = 0
    while killed < kills:
        shutil.rmtree(store, ignore_errors=True)
        for _ in range(3):
            pid = nursery.start(call, *arguments, folder=folder)
            time.sleep(moments.uniform(0, seconds))
            os.kill(pid, signal.SIGKILL)
            ended = nursery.wait(pid)
            killed += ended.code == -signal.SIGKILL
            assert ended.code in (0, -signal.SIGKILL), ended
            assert audit(store) == []
        assert told(nursery.run(call, *arguments, folder=folder)) == expected
        assert audit(store) == []


def ids(ended: Ended) -> str:
    """What a digits run came to: the id of every stage."""
    assert ended.code == 0, ended
    return str([(stage["stage"], stage["artifact"]) for stage in json.loads(ended.out)["stages"]])


def printed(ended: Ended) -> str:
    """What a toy command prints."""
    assert ended.code == 0, ended
    return ended.out


def on_digits(digits: Nursery, folder: Path, kills: int) -> None:
    command = ("run", "--recipe", "digits-ir50", *SHORT, "--json")
    survive(digits, folder, folder / ".wbltr", kills, "faults.commands:wbltr", command, ids)


def test_a_killed_command_begun_again_ends_in_the_undisturbed_object(toys: Nursery, folder: Path, counted: Counted) -> None:
    command = (folder / "store", 12, 5, "inf")  # a checkpoint after every step
    survive(toys, folder, folder / "store", 300, "faults.commands:make", command, printed)
    counted("kill -9 of a command", 300)


def test_a_killed_run_on_digits_begun_again_ends_in_the_undisturbed_objects(
    digits: Nursery, folder: Path, counted: Counted
) -> None:
    on_digits(digits, folder, 10)
    counted("kill -9 of a command on digits", 10)


@pytest.mark.long
def test_300_killed_runs_on_digits_end_in_the_undisturbed_objects(digits: Nursery, folder: Path, counted: Counted) -> None:
    on_digits(digits, folder, 300)
    counted("kill -9 of a command on digits, long", 300)
