from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from wbltr.errors import Stopped, WbltrError
from wbltr.studies.space import Interval
from wbltr.studies.storage import Storage
from wbltr.studies.study import Study, Trial, best, hopeless

SPACE = {"x": Interval(-1.0, 1.0, log=False)}


def parabola(asked: Sequence[Mapping[str, Any]]) -> list[float]:
    return [1 - (values["x"] - 0.3) ** 2 for values in asked]


def open_study(folder: Path, seed: int = 0) -> Study:
    return Study("s", Storage(str(folder / "s.journal")), SPACE, seed)


def test_a_study_goes_on_where_it_was_and_finds_the_optimum(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    for _ in range(3):
        study.run(8, parabola)
    again = open_study(tmp_path)
    assert again.finished() == study.finished()
    again.run(16, parabola)
    assert [trial.number for trial in again.finished()] == list(range(40))
    assert best(again.finished()).values["x"] == pytest.approx(0.3, abs=0.15)


def test_no_two_trials_share_their_draws_whichever_process_asks(tmp_path: Path) -> None:
    one, other = open_study(tmp_path), open_study(tmp_path)
    drawn: list[float] = []

    def within(asked: Sequence[Mapping[str, Any]]) -> list[float]:
        drawn.append(asked[0]["x"])
        return parabola(asked)

    for study in (one, other, one, other):
        study.run(1, within)
    assert len(set(drawn)) == 4
    (tmp_path / "alone").mkdir()
    alone = open_study(tmp_path / "alone")
    alone.run(4, parabola)
    assert [trial.values["x"] for trial in alone.finished()] == drawn


def test_a_trial_that_diverged_is_kept_as_such_and_never_wins(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    told = study.run(4, lambda asked: [float("nan"), 0.2, float("inf"), 0.1])
    assert [trial.accuracy for trial in told] == [None, 0.2, None, 0.1]
    assert [trial.accuracy for trial in open_study(tmp_path).finished()] == [None, 0.2, None, 0.1]
    assert best(study.finished()).number == 1


def test_all_diverged_is_an_error_with_what_to_do() -> None:
    with pytest.raises(WbltrError, match="all 2 trials diverged or were stopped") as caught:
        best([Trial(0, {}, None), Trial(1, {}, None)])
    assert caught.value.exit_code == 8


def test_of_equal_trials_the_first_is_best() -> None:
    assert best([Trial(0, {}, 0.1), Trial(1, {}, 0.5), Trial(2, {}, 0.5)]).number == 1


def test_a_stop_leaves_no_trial_that_counts(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    study.run(2, parabola)

    def stopped(_: Sequence[Mapping[str, Any]]) -> list[float]:
        raise Stopped("enough")

    with pytest.raises(Stopped):
        study.run(4, stopped)
    assert len(open_study(tmp_path).finished()) == 2


def test_a_killed_process_loses_the_running_trials_only(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); import test_study as t\n"
        "study = t.open_study(Path(sys.argv[1])); study.run(3, t.parabola)\n"
        "study.run(3, lambda asked: os._exit(9))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)], check=False)
    assert done.returncode == 9
    study = open_study(tmp_path)
    assert len(study.finished()) == 3
    study.run(3, parabola)
    assert len(study.finished()) == 6


def test_a_trial_of_a_dead_process_is_given_up_and_one_that_lives_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_study(tmp_path)
    other = open_study(tmp_path, 1)
    monkeypatch.setattr("wbltr.studies.study.BEAT", 0.05)
    monkeypatch.setattr("wbltr.studies.study.SILENT", 1.0)

    def slow(asked: Sequence[Mapping[str, Any]]) -> list[float]:
        time.sleep(1.5)
        other.run(1, parabola)  # gives up whom it takes for dead
        return parabola(asked)

    study.run(2, slow)
    assert len(study.finished()) == 3
    monkeypatch.setattr("wbltr.studies.study.BEAT", 60.0)
    study.run(1, slow)
    assert len(study.finished()) == 4, "silent for longer than allowed: it was given up, and what it gave came too late"


def test_a_trial_that_was_given_up_ends_when_it_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, other = open_study(tmp_path), open_study(tmp_path, 1)
    monkeypatch.setattr("wbltr.studies.study.SILENT", 0.0)
    reported = []

    def slow(values: Mapping[str, Any], report: Callable[[int, float], None]) -> float:
        other.run(1, parabola)
        reported.append(1)
        report(1, 0.5)
        reported.append(2)
        return 0.5

    study.run_one(slow)
    assert reported == [1]
    assert len(study.finished()) == 1


def test_a_study_in_which_all_diverge_is_given_up_early() -> None:
    diverged = [Trial(number, {}, None) for number in range(10)]
    assert hopeless(diverged)
    assert not hopeless(diverged[:9])
    assert not hopeless([*diverged, Trial(10, {}, 0.1)])
    assert not hopeless([*diverged, Trial(10, {}, None, {1: 0.1})]), "a stopped trial has not diverged"
