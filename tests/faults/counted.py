"""Counts the faults and hostile inputs that were tried: a table at the end of the run, which fails when a row fell short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import pytest

PROPERTY = "faults"
Counted = Callable[[str, int], None]


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: as printed, and as `counted` is told.
        file: whose tests count for it, below tests/faults.
        wanted: how many there must be.
        long: whether they stand under the marker `long`.
    """

    name: str
    file: str
    wanted: int
    long: bool = False


ROWS = (
    Row("every call of a publish", "test_publish.py", 250),
    Row("kill -9 of a command", "test_kills.py", 300),
    Row("kill -9 of a command on digits", "test_kills.py", 10),
    Row("kill -9 of a command on digits, long", "test_kills.py", 300, long=True),
    Row("stop signals", "test_signals.py", 40),
    Row("stop signals on digits", "test_signals.py", 6),
    Row("stop signals on digits, long", "test_signals.py", 40, long=True),
    Row("faults of every command on digits", "test_commands.py", 50),
    Row("faults of every command on digits, long", "test_commands.py", 250, long=True),
    Row("full disks, read-only stores, foreign owners, umasks", "test_disks.py", 30),
    Row("damaged objects", "test_corruption.py", 10_000),
    Row("puts of processes at once", "test_races.py", 20_000),
    Row("clocks", "test_clocks.py", 16),
    Row("steps of store and dictionary", "test_model.py", 5000),
    Row("recipes", "test_recipes.py", 1500),
    Row("lists, CSV, image files", "test_lists_and_images.py", 1500),
    Row("tables of images", "test_image_tables.py", 150),
    Row("layouts of folders", "test_layouts.py", 200),
    Row("hostile pickles, archives, artifacts", "test_hostile_files.py", 150),
    Row("mirrors", "test_mirrors.py", 25),
    Row("names", "test_names.py", 200),
    Row("tables and columns", "test_columns.py", 200),
)
BY_NAME = {row.name: row for row in ROWS}


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Counted:
    """Tell how many were tried: `counted("names", 40)`; the calls of all tests add up."""

    def count(name: str, number: int) -> None:
        row = BY_NAME[name]
        assert request.path.name == row.file, f"{name}: counted in {request.path.name}, its tests are in {row.file}"
        request.node.user_properties.append((PROPERTY, (name, number)))

    return count


class Test(NamedTuple):
    """The tests of one row."""

    file: str
    long: bool


class Counts:
    """The plugin: gathers from the tests' reports, which pytest-xdist sends from its workers, and judges at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._counts: Counter[str] = Counter()
        self._ran: set[Test] = set()
        self._skipped: set[Test] = set()
        self._partial = bool(config.option.keyword) or any("::" in argument for argument in config.args)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what one test counted."""
        folder, _, file = report.nodeid.partition("::")[0].rpartition("/")
        if not folder.endswith("faults"):
            return
        tests = Test(file, "long" in report.keywords)
        self._ran.add(tests)
        if report.skipped:
            self._skipped.add(tests)
        if report.when == "call":
            for name, value in report.user_properties:
                if name == PROPERTY and isinstance(value, list | tuple):  # a list where it came from a worker
                    self._counts[value[0]] += value[1]

    def short(self) -> list[Row]:
        """The rows whose tests all ran and counted too few."""
        return [row for row in ROWS if self._in_full(row) and self._counts[row.name] < row.wanted]

    def _in_full(self, row: Row) -> bool:
        tests = Test(row.file, row.long)
        return not self._partial and tests in self._ran and tests not in self._skipped

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run for a row that fell short."""
        if self.short() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table of the rows that had a test in this run."""
        rows = [row for row in ROWS if Test(row.file, row.long) in self._ran]
        if not rows:
            return
        width = max(len(row.name) for row in rows)
        short = self.short()
        terminalreporter.section("faults")
        terminalreporter.line(f"{'row':<{width}}  count  wanted")
        for row in rows:
            note = "  TOO FEW" if row in short else "" if self._in_full(row) else "  not all of it ran"
            terminalreporter.line(f"{row.name:<{width}} {self._counts[row.name]:6} {row.wanted:7}{note}", red=row in short)
