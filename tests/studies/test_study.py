from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from wbltr.errors import Stopped, WbltrError
from wbltr.studies.space import Interval
from wbltr.studies.study import Study, Trial, best

SPACE = {"x": Interval(-1.0, 1.0, log=False)}


def parabola(asked: Sequence[Mapping[str, Any]]) -> list[float]:
    return [1 - (values["x"] - 0.3) ** 2 for values in asked]


def open_study(folder: Path, seed: int = 0) -> Study:
    return Study("s", str(folder / "s.journal"), SPACE, seed)


def test_a_study_goes_on_where_it_was_and_finds_the_optimum(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    for _ in range(3):
        study.run(8, parabola)
    again = open_study(tmp_path)
    assert again.finished() == study.finished()
    again.run(16, parabola)
    assert [trial.number for trial in again.finished()] == list(range(40))
    assert best(again.finished()).values["x"] == pytest.approx(0.3, abs=0.15)


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


def test_two_processes_share_one_study(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); import test_study as t\n"
        "study = t.open_study(Path(sys.argv[1]), int(sys.argv[3]))\n"
        "for _ in range(4): study.run(2, t.parabola)"
    )
    open_study(tmp_path)
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent), str(seed)]) for seed in (1, 2)
    ]
    assert [process.wait(120) for process in running] == [0, 0]
    assert len(open_study(tmp_path).finished()) == 16


@pytest.mark.parametrize("storage", ["postgresql://nobody@127.0.0.1:1/none", "nonsense://x", "/proc/nowhere/s.journal"])
def test_a_storage_that_is_gone_is_one_clear_line(storage: str) -> None:
    with pytest.raises(WbltrError, match="cannot be used") as caught:
        Study("s", storage, SPACE, 0)
    assert caught.value.exit_code == 3
