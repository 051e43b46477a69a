"""The command line as a process of its own, on real images: killed, stopped, resumed, and the effect itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

WBLTR = [sys.executable, "-m", "wbltr.cli.app"]
TRAIN = ["train-features", "--recipe", "digits-ir50", "--threads", "1", "--set", "features.epochs=40"]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.run([*WBLTR, *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    """The features' id, and how long the command takes."""
    started = time.monotonic()
    said = run(tmp_path_factory.mktemp("undisturbed"), *TRAIN)
    assert said.returncode == 0, said.stderr
    return said.stdout.strip(), time.monotonic() - started


def begun(folder: Path, seconds: float) -> subprocess.Popen[str]:
    """The training command, left alone for so many seconds."""
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen([*WBLTR, *TRAIN], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)])
def test_a_signal_stops_resumably_with_its_exit_code(
    tmp_path: Path, undisturbed: tuple[str, float], number: signal.Signals, code: int
) -> None:
    expected, seconds = undisturbed
    folder = tmp_path / "stopped"
    process = begun(folder, 0)
    steps = folder / ".wbltr" / "runs"
    deadline = time.monotonic() + 10 * seconds + 10
    while not list(steps.glob("*/step-*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == code, err
    assert out == ""
    assert "go on with: wbltr train-features --recipe digits-ir50" in err
    again = run(folder, *TRAIN, "--json")
    document = json.loads(again.stdout)
    assert document["artifact"] == expected
    assert document["resumed_from"] > 0


@pytest.mark.parametrize("after", ["eval", "posthoc"])
def test_a_signal_between_two_stages_of_a_run_is_not_swallowed(tmp_path: Path, after: str) -> None:
    command = [*WBLTR, "run", "--recipe", "digits-ir50", "--threads", "1", "--set", "features.epochs=2"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(after):
            process.send_signal(signal.SIGINT)
            break
    out, _ = process.communicate()
    assert process.returncode == 130
    assert out == ""


def accuracies(folder: Path, *arguments: str) -> dict[str, Any]:
    said = run(folder, "run", "--recipe", "digits-ir50", "--json", *arguments)
    assert said.returncode == 0, said.stderr
    rows: dict[str, Any] = json.loads(said.stdout)["rows"]
    return rows


def test_weight_balancing_lifts_the_few_classes_of_digits(tmp_path: Path) -> None:
    balanced = accuracies(tmp_path)
    naive = accuracies(tmp_path, "--set", "features.weight_decay=0", "--set", "rows=[first stage]")
    assert balanced["cb-wd-max"]["few"] > naive["first stage"]["few"] + 3
    assert balanced["cb-wd-max"]["all"] > naive["first stage"]["all"] + 1


def test_the_installed_command_finds_its_recipes_from_any_directory(tmp_path: Path) -> None:
    said = run(tmp_path, "recipe", "list")
    assert "digits-ir50" in said.stdout


def test_narrow_and_wide_terminals_and_a_pipe_get_the_same_figures(tmp_path: Path, finished: Path) -> None:
    texts = []
    for columns in ("40", "80", "200"):
        environment = {**os.environ, "COLUMNS": columns}
        said = subprocess.run([*WBLTR, "eval"], cwd=finished, env=environment, capture_output=True, text=True, check=True)
        assert "\x1b" not in said.stdout
        assert max(len(line) for line in said.stdout.splitlines() if "first" in line or "+" in line) <= int(columns)
        texts.append([word for word in said.stdout.split() if word.replace(".", "").isdigit()])
    assert texts[0] == texts[1] == texts[2]
