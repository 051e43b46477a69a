"""Every test here may count what it tried, in a folder where thousands of syncs take no time."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.counted import counted
from faults.nursery import DIGITS, TOYS, Nursery

__all__ = ["counted"]
MEMORY = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A fresh folder that every user can reach; in memory where there is such a place."""
    place = Path(tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
    place.chmod(0o755)
    yield place.resolve()
    shutil.rmtree(place)


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Where the commands of a toy chain are born."""
    nursery = Nursery(tmp_path_factory.mktemp("toys"), *TOYS)
    for root in (tmp_path_factory.mktemp("warm"), os.devnull):  # a failure has words that are imported late, too
        nursery.warm("faults.commands:make", root)
        nursery.warm("faults.commands:publish", root)
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory, finished: Path) -> Iterator[Nursery]:
    """Where commands of the real command line are born, torch imported but not yet used."""
    nursery = Nursery(tmp_path_factory.mktemp("digits"), *DIGITS)
    for words in ("status", "store ls", "store verify", "report --table 1"):  # none of them uses torch
        nursery.warm("faults.commands:wbltr", *words.split(), "--store", finished / ".wbltr")
    yield nursery
    nursery.close()
