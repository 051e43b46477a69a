"""Every command of the command line, on digits, with a fault at a random step that touches the store."""

from __future__ import annotations

import json
import random
import shutil
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from faults.audit import audit
from faults.counted import Counted
from faults.injected import FAULTS
from faults.nursery import SHORT, Nursery

RECIPE = ("--recipe", "digits-ir50", *SHORT)
OTHER = (*RECIPE, "--set", "classifier.lr=0.02")
# Where a command would find its work finished, `OTHER` and the like give it some.
COMMANDS = (
    ("run", *OTHER),
    ("tune", "classifier", *RECIPE, "--trials", "2", "--batch", "2"),
    ("tune", "features", *RECIPE, "--trials", "1"),
    ("tune", "tau", *RECIPE),
    ("compare", *RECIPE, "--heads", "l2,cb"),
    ("make-dataset", *RECIPE, "--set", "dataset.imbalance_factor=20"),
    ("train-features", *RECIPE, "--set", "features.epochs=1"),
    ("embed", "--part", "val", "--set", "embeddings.views=3"),
    ("train-classifier", *OTHER),
    ("posthoc", "tau", "--tau", "1.7"),
    ("posthoc", "l2", "--from", "latest/features"),
    ("eval", "--from", "latest/features"),
    ("report", "--table", "1"),
    ("diagnose",),
    ("rerun", "latest/dataset", "--check"),
    ("plot", "accuracy", "--out", "figure.svg"),
    ("status",),
    ("store", "ls"),
    ("store", "show", "latest/head"),
    ("store", "du"),
    ("store", "why", "latest/head", "latest/features"),
    ("store", "verify"),
    ("store", "verify", "--rebuild"),
    ("store", "gc", "--older-than", "0", "--yes"),
    ("store", "push", "elsewhere.wbltr", "latest/head"),
)


def outcome(command: tuple[str, ...], text: str) -> object:
    """What must be the same after a fault as without: ids, as far as a command tells any."""
    document: dict[str, Any] = json.loads(text)
    if command[0] == "tune":
        return document["stage"]  # a trial that was cut short is replaced by one of other draws, so another may win
    ids = document.get("artifact"), [stage["artifact"] for stage in document.get("stages", [])]
    return ids if any(ids) else sorted(document)


def survive(nursery: Nursery, finished: Path, folder: Path, command: tuple[str, ...], faults: int) -> int:
    """So many faults in one command: how many were met."""
    here, told = folder / "here", folder / "told"
    shutil.copytree(finished, here)
    words = (*command, "--json")
    ended = nursery.run("faults.injected:sampled", "EIO", 0, told, *words, folder=here)
    assert ended.code == 0, ended
    expected, steps = outcome(command, ended.out), int(told.read_text())
    draws = random.Random(" ".join(command))
    kinds = cycle(draws.sample(FAULTS, len(FAULTS)))
    for _ in range(faults):
        shutil.rmtree(here)
        shutil.copytree(finished, here)
        fault, nth = next(kinds), draws.randint(1, steps)
        ended = nursery.run("faults.injected:sampled", fault, nth, told, *words, folder=here)
        where = f"{fault} at step {nth} of {steps} of {' '.join(command)}: {ended}"
        if fault == "SIGKILL":
            assert ended.code == -9, where
        else:
            assert ended.code in (0, 6), where
            assert "Traceback" not in ended.err, where
        if ended.code == 6:
            assert ".wbltr" in json.loads(ended.out)["error"]["message"], where
            assert json.loads(ended.out)["error"]["hint"], where
        for store in (here / ".wbltr", here / "elsewhere.wbltr"):
            assert audit(store) == [], where
        again = nursery.run("faults.commands:wbltr", *words, folder=here)
        assert again.code == 0, f"{where}; again: {again}"
        assert outcome(command, again.out) == expected, where
        assert audit(here / ".wbltr") == [], where
    shutil.rmtree(here)
    return faults


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_two_faults_of_a_command(
    digits: Nursery, finished: Path, folder: Path, counted: Counted, command: tuple[str, ...]
) -> None:
    counted("faults of every command on digits", survive(digits, finished, folder, command, 2))


@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_ten_faults_of_a_command(
    digits: Nursery, finished: Path, folder: Path, counted: Counted, command: tuple[str, ...]
) -> None:
    counted("faults of every command on digits, long", survive(digits, finished, folder, command, 10))
