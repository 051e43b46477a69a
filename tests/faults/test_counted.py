"""The table itself: every row has its tests, and one that falls short fails the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from faults.counted import ROWS

HERE = Path(__file__).parent
SHORT_OF_ONE = """
import pytest
from faults.counted import ROWS, Counts, counted

def pytest_configure(config):
    config.pluginmanager.register(Counts(config), "counts")
"""
TEST = """
def test_it(counted):
    counted("clocks", {number})
"""


def run(folder: Path, number: int, *more: str) -> subprocess.CompletedProcess[str]:
    """A run of its own, in which the row of the clocks counts so many."""
    (folder / "faults").mkdir(exist_ok=True)
    (folder / "conftest.py").write_text(SHORT_OF_ONE)
    (folder / "faults" / "test_clocks.py").write_text(TEST.format(number=number))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        "/dev/null",
        "--rootdir",
        ".",
        "-p",
        "no:cacheprovider",
        *(more or ["faults"]),
    ]
    environment = {"PYTHONPATH": str(HERE.parent), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_every_row_has_its_file_and_every_file_its_rows() -> None:
    files = {path.name for path in HERE.glob("test_*.py")} - {Path(__file__).name}
    assert {row.file for row in ROWS} == files


def test_a_row_that_counts_too_few_fails_the_run_unless_only_a_part_of_it_was_asked_for(tmp_path: Path) -> None:
    assert run(tmp_path, 16).returncode == 0
    few = run(tmp_path, 15)
    assert few.returncode == 1
    assert "TOO FEW" in few.stdout
    part = run(tmp_path, 15, "faults/test_clocks.py::test_it")
    assert part.returncode == 0
    assert "not all of it ran" in part.stdout
