"""A store in a fresh folder, and Python processes beside this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wbltr.store
from wbltr.store import Store

SOURCE = Path(wbltr.store.__file__).parents[2]

Start = Callable[..., "subprocess.Popen[str]"]
Finish = Callable[..., str]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("WBLTR_STORE", raising=False)
    return Store.open(tmp_path / "store")


@pytest.fixture
def start() -> Iterator[Start]:
    """Start `python -c code arguments…`; whatever still runs at the end of the test is killed."""
    running: list[subprocess.Popen[str]] = []

    def begin(code: str, *arguments: object, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OPENBLAS_NUM_THREADS": "1"}
        command = [*prefix, sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def finish(start: Start) -> Finish:
    """Run `python -c code arguments…` to its end, which must be a good one, and give what it printed."""

    def run(code: str, *arguments: object, prefix: tuple[str, ...] = ()) -> str:
        process = start(code, *arguments, prefix=prefix)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        return out

    return run
