"""Several processes on one run: real ones, started by torchrun, connected by gloo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from wbltr.distributed import ALONE, Team, team
from wbltr.store import Store

# A batch is all 305 images, cut in halves: each of the epochs is one step, and the history has every loss.
STEPS = 20
COMMAND = (
    *("train-features", "--recipe", "digits-ir50", "--threads", "1"),
    *("--set", "features.batch_size=1000", "--set", f"features.epochs={STEPS}", "--set", "features.precision=fp32"),
)
HALVES = ("--set", "features.micro_batch=500")
WBLTR = ("-m", "wbltr.cli.app")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def environment(store: Path) -> dict[str, str]:
    return {**os.environ, "WBLTR_STORE": str(store), "OMP_NUM_THREADS": "1"}


def run(store: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], env=environment(store), capture_output=True, text=True, check=False, timeout=240
    )


@contextmanager
def started(store: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    """torchrun at work, once the first checkpoint lies there; nobody is left behind."""
    torchrun = subprocess.Popen(
        [sys.executable, *command], env=environment(store), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 120
        while not list(store.glob("runs/*/step-*")) and time.monotonic() < deadline and torchrun.poll() is None:
            time.sleep(0.02)
        yield torchrun
    finally:
        torchrun.kill()
        torchrun.communicate()


def features(store: Path, object_id: str) -> Mapping[str, np.ndarray]:
    return Store.open(store).load(object_id.strip())


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert team() is ALONE
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert team() is ALONE, "a scheduler's variable alone is no team"
    for name, value in (("RANK", "5"), ("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    assert team() == Team(rank=5, size=8, place=1, beside=4)
    assert not team().leads


def test_a_process_alone_needs_no_connection() -> None:
    model, value = torch.nn.Linear(2, 2), torch.tensor([1.0, 2.0])
    with ALONE.connected(torch.device("cpu")):
        ALONE.begin("anything")
        ALONE.follow([value])
        ALONE.dismiss()
        assert ALONE.sum_(value) is value
        assert ALONE.agree(3) == 3
        assert ALONE.averaging(model, torch.device("cpu")) is model
    assert value.tolist() == [1.0, 2.0]
    assert not torch.distributed.is_initialized()


def test_two_processes_give_the_losses_of_one_that_runs_the_halves_in_turn(tmp_path: Path) -> None:
    one = run(tmp_path / "one", *WBLTR, *COMMAND, *HALVES)
    two = run(tmp_path / "two", *TORCHRUN, *WBLTR, *COMMAND)
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    assert "2 processes: features.micro_batch=500" in two.stderr
    assert len(two.stdout.split()) == 1, "the leader alone says what came of it"
    alone, together = features(tmp_path / "one", one.stdout), features(tmp_path / "two", two.stdout)
    np.testing.assert_allclose(together["history.loss"], alone["history.loss"], rtol=1e-5)
    assert len(together["history.loss"]) == STEPS
    for name, values in alone.items():
        np.testing.assert_allclose(together[name], values, rtol=1e-4, atol=1e-5, err_msg=name)

    again = run(tmp_path / "two", *TORCHRUN, *WBLTR, *COMMAND)
    assert (again.returncode, again.stdout) == (0, two.stdout)
    assert "cached" in again.stderr

    other = run(tmp_path / "two", *TORCHRUN, *WBLTR, "eval", "--json")
    assert other.returncode != 0
    assert "eval does its work in one process" in json.loads(other.stdout)["error"]["message"]


def test_processes_that_wait_for_another_maker_of_the_same_answer_a_signal(tmp_path: Path) -> None:
    long = (*COMMAND, *HALVES, "--set", "features.epochs=100000")
    with started(tmp_path, *WBLTR, *long), started(tmp_path, *TORCHRUN, *WBLTR, *long) as torchrun:
        said: list[str] = []
        assert torchrun.stderr is not None
        while "waiting for" not in "".join(said):
            line = torchrun.stderr.readline()
            assert line, said
            said.append(line)
        time.sleep(3)  # the other process, too, has come to where it waits
        torchrun.send_signal(signal.SIGTERM)
        torchrun.communicate(timeout=20)  # torchrun itself kills after 30 s those that do not answer
    assert torchrun.returncode != 0


@pytest.mark.parametrize("variables", [{"RANK": "0", "WORLD_SIZE": "abc"}, {"RANK": "0", "WORLD_SIZE": "2"}])
def test_an_environment_that_is_none_of_torchruns_is_a_usage_error(tmp_path: Path, variables: dict[str, str]) -> None:
    said = subprocess.run(
        [sys.executable, *WBLTR, *COMMAND],
        env={**environment(tmp_path), **variables}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert said.returncode == 2, said.stderr
    assert "torchrun" in said.stderr


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find the worker")
def test_a_killed_worker_and_a_restart_finish_the_run(tmp_path: Path) -> None:
    long = (*COMMAND, "--set", "features.batch_size=32", "--set", "features.micro_batch=16")
    whole = run(tmp_path / "whole", *WBLTR, *long)
    assert whole.returncode == 0, whole.stderr
    store = tmp_path / "killed"
    with started(store, *TORCHRUN, "--max-restarts", "2", *WBLTR, *long) as torchrun:
        os.kill(_worker(store, rank=1), signal.SIGKILL)
        out, err = torchrun.communicate(timeout=150)
    assert torchrun.returncode == 0, err
    assert "resumed from step" in err
    alone, together = features(tmp_path / "whole", whole.stdout), features(store, out)
    np.testing.assert_allclose(together["history.loss"], alone["history.loss"], rtol=1e-4)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find the worker")
def test_a_signal_to_one_worker_stops_all_after_the_same_step_and_the_same_command_goes_on(tmp_path: Path) -> None:
    command = (*TORCHRUN, *WBLTR, *COMMAND, "--set", "features.epochs=400")  # one step an epoch
    with started(tmp_path, *command) as torchrun:
        os.kill(_worker(tmp_path, rank=1), signal.SIGTERM)
        _, err = torchrun.communicate(timeout=150)
    assert torchrun.returncode != 0
    assert err.count("stopped; what is done is kept") == 2, err
    assert "exitcode  : 143" in err
    stopped = max(int(path.name.split("-")[1]) for path in tmp_path.glob("runs/*/step-*"))
    assert stopped % 16 == 0
    assert stopped < 400
    resumed = run(tmp_path, *command, "--json")
    assert json.loads(resumed.stdout)["resumed_from"] == stopped


def _worker(store: Path, rank: int) -> int:
    """The process of that rank which works on this store."""
    wanted = {f"RANK={rank}".encode(), f"WBLTR_STORE={store}".encode()}
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and wanted <= set((process / "environ").read_bytes().split(b"\0")):
                return int(process.name)
        except OSError:
            continue
    raise AssertionError("no such worker")
