"""What the children of a nursery do: whole commands on a toy chain, through the pipeline, the store and the one `answer`."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import toy_stages as toy

from faults.nursery import called
from wbltr.cli.answer import answer, stoppable
from wbltr.cli.console import Console
from wbltr.cli.maker import Maker
from wbltr.cli.request import Request
from wbltr.pipeline import Runtime
from wbltr.recipe import Recipe
from wbltr.stages import Lineage
from wbltr.store import Store, key_of, objects
from wbltr.store.garbage import find_garbage, remove

HEADER = {"stage": "toy", "revision": 1, "config": {}, "inputs": {}}
KEY = key_of(HEADER)
RECIPE = Recipe.model_validate({"dataset": {"source": "digits", "imbalance_factor": 50}})  # read by no toy stage


def _answered(work: Callable[[], None]) -> None:
    import typer

    try:
        answer("toy", Request(), work)
    except typer.Exit as leaving:
        sys.exit(leaving.exit_code)


def publish(root: str, large: str = "") -> None:
    """What `published` does, in a store that somebody has opened; prints the object's id."""
    if large:
        objects.WRITE_ABOVE = 0
    _answered(lambda: print(published(Store(Path(root), "own"), bool(large))))


def published(store: Store, large: bool) -> str:
    """One object, and unless `large` its record and its name."""
    object_id = store.publish({"a": np.arange(1000)}, HEADER)
    if not large:
        store.write_record(KEY, {"object": object_id, **HEADER})
        store.set_ref("latest/toy", object_id)
    return object_id


def make(root: str, steps: str = "4", size: str = "5", share: str = "0.01", log: str = "") -> None:
    """The toy chain, as a command makes a chain; prints the id of its end.

    Args:
        share: of the time, spent on checkpoints.
    """

    def work() -> None:
        console = Console(quiet=True)
        store = Store.open(Path(root))
        maker = Maker(store, console, RECIPE, Lineage(), Runtime(checkpoint_share=float(share)))
        with stoppable():
            made = maker.make(toy.chain(log, int(size), int(steps)))
        print(made.artifact.object_id)

    _answered(work)


def wbltr(*arguments: str) -> None:
    """The command line itself."""
    from wbltr.cli.app import main

    sys.argv = ["wbltr", *arguments]
    main()


def no_locks() -> None:
    """As on a file system without locks."""
    import errno
    import fcntl

    def refused(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    fcntl.flock = refused


def race(root: str, who: str, puts: str, keys: str, locks: str) -> None:
    """Put `puts` times: each process has an answer of its own to each key, and notes which one it was told.

    Notes go to a file beside the store: `computed KEY` and `told KEY ID`.
    """
    if not locks:
        no_locks()
    store = Store(Path(root), "own")
    draws = random.Random(int(who))
    with Path(root).with_name(f"notes-{who}").open("a", buffering=1) as notes:
        for _ in range(int(puts)):
            header = {"stage": "toy", "revision": 1, "config": {"key": draws.randrange(int(keys))}, "inputs": {}}
            key = key_of(header)
            record = store.record(key) if locks else None
            if record is None:
                with store.claim(key) if locks else nullcontext():
                    record = store.record(key) if locks else None
                    if record is None:
                        object_id = store.publish({"a": np.full(3, int(who))}, header)
                        record = store.write_record(key, {"object": object_id, **header})
                        notes.write(f"computed {key} {object_id}\n")
            store.load(record["object"])
            notes.write(f"told {key} {record['object']}\n")


def collect(root: str, older_than: str, rounds: str) -> None:
    """Garbage collection, again and again."""
    store = Store(Path(root), "own")
    for _ in range(int(rounds)):
        list(remove(store, find_garbage(store, float(older_than))))


def mount(place: str, options: str) -> None:
    """A file system in memory, seen by this process and its children."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True, capture_output=True)


def another(umask: str, call: str, *arguments: str) -> None:
    """Call as another user, who owns nothing."""
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    masked(umask, call, *arguments)


def masked(umask: str, call: str, *arguments: str) -> None:
    """Call under another umask."""
    os.umask(int(umask, 8))
    called(call, arguments)


def clocked(offset: str, call: str, *arguments: str) -> None:
    """Call on a machine whose clock is off by so many seconds; that of the file server is right."""
    right = time.time
    time.time = lambda: right() + float(offset)
    called(call, arguments)


def age(root: str, name: str) -> None:
    """How long ago a name was set, in seconds."""
    print(Store(Path(root), "own").ref_age(name))
