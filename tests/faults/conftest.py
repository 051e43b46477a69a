"""Every test here may count what it tried, in a folder where thousands of syncs take no time."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.counted import counted

__all__ = ["counted"]
MEMORY = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A fresh folder that every user can reach; in memory where there is such a place."""
    place = Path(tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
    place.chmod(0o755)
    yield place.resolve()
    shutil.rmtree(place)
