"""SIGTERM, SIGINT and SIGUSR1 in every phase of a command: its exit code, and the same id when it is begun again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import pytest
from made_images import write_set

from faults.audit import audit
from faults.counted import Counted
from faults.nursery import SHORT, Ended, Nursery

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 143}
RUN = ("run", "--recipe", "digits-ir50", *SHORT, "--set", "features.epochs=20", "--set", "classifier.epochs=40", "--json")
TUNE = ("tune", "classifier", "--recipe", "digits-ir50", *SHORT, "--trials", "12", "--batch", "2", "--json")
PHASES = {"data": "dataset", "train": "features", "embed": "embeddings", "classifier": "classifier", "eval": "eval"}
ATTEMPTS = 400


class Work(NamedTuple):
    """A command and its undisturbed outcome.

    Attributes:
        keys: stage → the keys that its artifacts answer.
    """

    arguments: tuple[object, ...]
    ids: str
    keys: dict[str, list[str]]
    seconds: float


def ids(ended: Ended) -> str:
    """What a command came to."""
    assert ended.code == 0, ended
    document = json.loads(ended.out)
    if "trials" in document:  # a trial that was cut short is replaced by one of other draws, so another may win
        return f"{document['stage']} of {document['trials']} trials"
    return str([(stage["stage"], stage["artifact"]) for stage in document.get("stages", [document])])


def undisturbed(nursery: Nursery, folder: Path, *arguments: object) -> Work:
    begun = time.monotonic()
    ended = nursery.run("faults.commands:wbltr", *arguments, folder=folder)
    seconds = time.monotonic() - begun
    keys: dict[str, list[str]] = {}
    for path in (folder / ".wbltr" / "records").rglob("*.json"):
        keys.setdefault(json.loads(path.read_bytes())["stage"], []).append(path.stem)
    shutil.rmtree(folder / ".wbltr")
    return Work(arguments, ids(ended), keys, seconds)


def stopped(
    nursery: Nursery,
    folder: Path,
    number: signal.Signals,
    begun: list[Path],
    wait: float,
    call: str,
    *arguments: object,
) -> Ended:
    """Begin a command, and send it a signal `wait` seconds after `begun()` became true."""
    pid = nursery.start(call, *arguments, folder=folder)
    ends = time.monotonic() + 10
    while begun and not any(map(Path.exists, begun)) and time.monotonic() < ends:
        time.sleep(0.0005)
    time.sleep(wait)
    os.kill(pid, number)
    return nursery.wait(pid)


def on_digits(nursery: Nursery, folder: Path, wanted: int) -> None:
    """Stop `wanted` commands, in all phases by turns. A signal that came too early or too late for its phase is none."""
    write_set(folder / "images", train=(400, 200, 100, 50), val=20, test=20, side=8)
    listed = ("make-dataset", "--recipe", "imagenet-lt", "--root", folder / "images", "--json")
    works = {"tune": undisturbed(nursery, folder, *TUNE), "hash": undisturbed(nursery, folder, *listed)}
    works |= dict.fromkeys(PHASES, undisturbed(nursery, folder, *RUN))
    turns = cycle([(phase, number) for number in CODES for phase in works])
    moments = random.Random(0)
    met: Counter[signal.Signals] = Counter()
    for _ in range(ATTEMPTS):
        phase, number = next(turns)
        work = works[phase]
        runs = [folder / ".wbltr" / "runs" / key for key in work.keys.get(PHASES.get(phase, ""), [])]
        wait = moments.uniform(0, 0.02) if runs else moments.uniform(0.4, 0.9) * work.seconds
        ended = stopped(nursery, folder, number, runs, wait, "faults.commands:wbltr", *work.arguments)
        assert ended.code in (0, CODES[number], -number), ended
        assert audit(folder / ".wbltr") == []
        if ended.code == CODES[number]:
            assert json.loads(ended.out)["error"]["hint"].startswith(f"go on with: wbltr {work.arguments[0]}"), ended
            met[number] += 1
        assert ids(nursery.run("faults.commands:wbltr", *work.arguments, folder=folder)) == work.ids, (phase, number)
        shutil.rmtree(folder / ".wbltr")
        if met.total() >= wanted and set(met) == set(CODES):
            return
    raise AssertionError(f"too few signals met their phase: {met}")


def test_a_stopped_chain_begun_again_ends_in_the_undisturbed_object(toys: Nursery, folder: Path, counted: Counted) -> None:
    command = ("faults.commands:make", folder / "store", 100)
    expected = toys.run(*command)
    moments = random.Random(0)
    numbers: Iterator[signal.Signals] = cycle(CODES)
    met: Counter[signal.Signals] = Counter()
    for _ in range(ATTEMPTS):
        shutil.rmtree(folder / "store")
        number = next(numbers)
        ended = stopped(toys, folder, number, [folder / "store" / "runs"], moments.uniform(0, 0.05), *command)
        assert ended.code in (0, CODES[number], -number), ended
        assert audit(folder / "store") == []
        if ended.code == CODES[number]:
            assert "go on with: wbltr" in ended.err
            met[number] += 1
        assert toys.run(*command).out == expected.out
        if met.total() >= 40 and set(met) == set(CODES):
            break
    assert set(met) == set(CODES)
    counted("stop signals", met.total())


def test_a_stopped_command_on_digits_begun_again_ends_in_the_undisturbed_objects(
    digits: Nursery, folder: Path, counted: Counted
) -> None:
    on_digits(digits, folder, 6)
    counted("stop signals on digits", 6)


@pytest.mark.long
def test_40_stopped_commands_on_digits_end_in_the_undisturbed_objects(digits: Nursery, folder: Path, counted: Counted) -> None:
    on_digits(digits, folder, 40)
    counted("stop signals on digits, long", 40)
