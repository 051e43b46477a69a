from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import postgresql
import pytest
from test_study import SPACE, parabola

from wbltr.errors import WbltrError
from wbltr.studies.storage import Storage
from wbltr.studies.study import Study, past

SHARE = """
import sys
sys.path.insert(0, sys.argv[1])
from test_storage import SPACE, Storage, Study, parabola
study = Study("s", Storage(sys.argv[2]), SPACE, int(sys.argv[3]))
for _ in range(4):
    study.run(2, parabola)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[postgresql.Server]:
    pytest.importorskip("psycopg", reason="PostgreSQL's driver is not installed: pip install 'wbltr[postgresql]'")
    if not postgresql.PROGRAMS:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with postgresql.running() as server:
        yield server


@pytest.mark.parametrize("kind", ["journal", "sqlite", "postgresql"])
def test_two_processes_share_one_study(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    places = {"journal": str(tmp_path / "s.journal"), "sqlite": f"sqlite:///{tmp_path / 's.db'}"}
    place = places.get(kind) or request.getfixturevalue("server").url
    study = Study("s", Storage(place), SPACE, 0, facts={"recipe": "r"})
    running = [subprocess.Popen([sys.executable, "-c", SHARE, str(Path(__file__).parent), place, str(seed)]) for seed in (1, 2)]
    assert [process.wait(120) for process in running] == [0, 0]
    assert [trial.number for trial in study.finished()] == list(range(16))
    (found,) = past(Storage(place))
    assert (found.name, found.facts, list(found.trials)) == ("s", {"recipe": "r"}, study.finished())


def test_a_database_that_goes_away_is_one_line_and_loses_the_running_trials_only(server: postgresql.Server) -> None:
    study = Study("gone", Storage(server.url), SPACE, 0)
    study.run(2, parabola)

    def stopped(asked: Sequence[Mapping[str, Any]]) -> list[float]:
        server.stop()
        return parabola(asked)

    try:
        with pytest.raises(WbltrError, match="cannot be used") as caught:
            study.run(2, stopped)
    finally:
        server.start()
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.message
    again = Study("gone", Storage(server.url), SPACE, 0)
    assert len(again.finished()) == 2
    again.run(2, parabola)
    assert len(again.finished()) == 4


def test_a_password_is_never_shown(server: postgresql.Server) -> None:
    assert "secret" in server.url
    assert "secret" not in Storage(server.url).shown
    for place in ("postgresql://wbltr:secret@127.0.0.1:1/none", "postgresql://wbltr:se:cr@et@127.0.0.1:port/none"):
        with pytest.raises(WbltrError, match=r"wbltr:\*\*\*@127.0.0.1:.*cannot be used") as caught:
            Storage(place)
        assert not re.search("secret|se:|cr@|et@", caught.value.message)


@pytest.mark.parametrize("place", ["postgresql://nobody@127.0.0.1:1/none", "nonsense://x", "/proc/nowhere/s.journal"])
def test_a_storage_that_is_gone_is_one_clear_line(place: str) -> None:
    with pytest.raises(WbltrError, match="cannot be used") as caught:
        Storage(place)
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.message


def test_a_locked_database_is_one_clear_line(tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path / 's.db'}?timeout=0.1"
    study = Study("s", Storage(place), SPACE, 0)
    study.run(1, parabola)
    other = sqlite3.connect(tmp_path / "s.db")
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(WbltrError, match="database is locked") as caught:
            study.run(1, parabola)
    finally:
        other.close()
    assert caught.value.exit_code == 3
    study.run(1, parabola)
    assert len(study.finished()) == 2


@pytest.mark.parametrize("replaced", [False, True])
def test_a_journal_that_is_removed_while_it_is_used_is_told_and_not_begun_anew(tmp_path: Path, replaced: bool) -> None:
    journal = tmp_path / "s.journal"
    study = Study("s", Storage(str(journal)), SPACE, 0)

    def removed(asked: Sequence[Mapping[str, Any]]) -> list[float]:
        journal.rename(tmp_path / "elsewhere")
        if replaced:
            journal.touch()
        return parabola(asked)

    with pytest.raises(WbltrError, match="was removed or replaced") as caught:
        study.run(2, removed)
    assert caught.value.exit_code == 3
    assert journal.exists() == replaced
    assert not replaced or journal.stat().st_size == 0


def test_a_file_that_is_no_journal_is_one_clear_line_and_left_as_it_is(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("not a journal\n")
    with pytest.raises(WbltrError, match="cannot be used"):
        Study("s", Storage(str(notes)), SPACE, 0)
    assert notes.read_text() == "not a journal\n"


@pytest.mark.parametrize("kind", ["", "sqlite:///"])
def test_looking_begins_no_file(tmp_path: Path, kind: str) -> None:
    with pytest.raises(WbltrError, match="no such file"):
        Storage(f"{kind}{tmp_path / 's'}", create=False)
    assert list(tmp_path.iterdir()) == []
