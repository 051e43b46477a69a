"""`run --seeds`: several runs of a recipe at once, as if they had run one after another."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import SHORT, Answer, Wbltr
from hypothesis import given
from hypothesis import strategies as st

from wbltr.cli.seeds import share
from wbltr.cores import Cores, these_cores

RUN = ("run", "--recipe", "digits-ir50", *SHORT)
WBLTR = [sys.executable, "-m", "wbltr.cli.app"]
SPLITS = ("all", "many", "medium", "few")


def objects() -> list[str]:
    return sorted(path.stem for path in Path(".wbltr/objects").rglob("*.safetensors"))


def latest(wbltr: Wbltr) -> dict[str, str]:
    return {row["ref"]: row["artifact"] for row in wbltr("status", "--json").document["latest"]}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which seeds 0 and 1 have run at once."""
    folder = tmp_path_factory.mktemp("both")
    subprocess.run([*WBLTR, *RUN, "--seeds", "0,1", "-q"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def seeded(both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wbltr: Wbltr) -> Wbltr:
    """`wbltr` in a copy of that folder."""
    shutil.copytree(both, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return wbltr


def test_seeds_at_once_leave_the_store_of_seeds_one_after_another(
    seeded: Wbltr, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, refs = objects(), latest(seeded)
    shutil.copytree(finished, tmp_path / "in turn")
    monkeypatch.chdir(tmp_path / "in turn")
    assert seeded(*RUN, "--seed", "1", "-q").code == 0
    assert objects() == at_once
    assert latest(seeded) == refs


def test_latest_is_of_the_last_seed_named_whatever_finished_last(seeded: Wbltr) -> None:
    last = latest(seeded)
    assert seeded(*RUN, "--seeds", "1,0", "-q").code == 0
    first = latest(seeded)
    assert {ref for ref in last if first[ref] == last[ref]} == {"latest/dataset"}
    assert seeded(*RUN, "--seed", "0", "-q").code == 0
    assert latest(seeded) == first


def test_the_document_has_every_seed_their_means_and_deviations_and_each_artifact_once(seeded: Wbltr) -> None:
    alone = {str(seed): seeded(*RUN, "--seed", seed, "--json").document for seed in (0, 1)}
    document = seeded(*RUN, "--seeds", "0,1", "--json").document
    assert document["seeds"] == [0, 1]
    assert document["per_seed"] == {seed: one["rows"] for seed, one in alone.items()}
    for row in ("first stage", "l2", "tau", "cb-wd-max"):
        for split in SPLITS:
            values = [one["rows"][row][split] for one in alone.values()]
            assert document["rows"][row][split] == pytest.approx(statistics.fmean(values), abs=0.006)
            assert document["sd"][row][split] == pytest.approx(statistics.stdev(values), abs=0.006)
    for field in ("artifact", "key", "stage", "command", "accuracy", "per_class", "on", "n"):
        assert document[field] == alone["1"][field], field
    listed = [stage["artifact"] for stage in document["stages"]]
    assert sorted(listed) == objects()


def test_the_table_has_mean_and_deviation_and_says_over_which_seeds(seeded: Wbltr) -> None:
    said = seeded(*RUN, "--seeds", "0,1")
    rows = seeded(*RUN, "--seeds", "0,1", "--json").document
    mean, deviation = (rows[name]["tau"]["many"] for name in ("rows", "sd"))
    assert f"{mean:.1f} ± {deviation:.1f}" in next(line for line in said.out.splitlines() if "τ-norm" in line)
    assert "mean ± standard deviation over n = 2 seeds: 0, 1" in said.out
    assert said.err.count("dataset ") == 1
    assert sum(line.startswith("seed 0: ") for line in said.err.splitlines()) == 11
    assert sum(line.startswith("seed 1: ") for line in said.err.splitlines()) == 11


def test_one_seed_in_a_list_is_that_seed_alone(seeded: Wbltr) -> None:
    listed, alone = seeded(*RUN, "--seeds", "1"), seeded(*RUN, "--seed", "1")
    assert listed.out == alone.out
    assert "±" not in listed.out
    assert seeded(*RUN, "--seeds", "1", "--json").document["sd"]["tau"]["all"] is None


def test_it_is_said_how_the_machine_is_shared_and_every_artifact_tells_its_threads(wbltr: Wbltr) -> None:
    said = wbltr(*RUN, "--seeds", "0,1,2", "--set", "rows=[first stage]")
    assert said.code == 0, said.err
    assert "3 seeds, " in said.err
    assert " at once, 1 thread each" in said.err
    for row in wbltr("store", "ls", "--json").document["artifacts"]:
        witness = wbltr("store", "show", row["artifact"], "--json").document["record"]["witness"]
        assert witness.get("threads", 1) == 1


def test_the_dataset_is_the_same_for_every_seed_and_planned_once(wbltr: Wbltr) -> None:
    steps = wbltr(*RUN, "--seeds", "0,1,2", "-n", "--json").document["steps"]
    assert [(step["seed"], step["stage"]) for step in steps if step["seed"] is None] == [(None, "dataset")]
    assert [step["seed"] for step in steps].count(2) == 11
    assert len(steps) == 34
    plan = wbltr(*RUN, "--seeds", "0,1", "-n")
    assert "would run" in plan.out
    assert objects() == []


def test_force_computes_every_seed_again_to_the_same_objects_and_the_dataset_once(seeded: Wbltr) -> None:
    before = objects()
    document = seeded(*RUN, "--seeds", "0,1", "--force", "--json").document
    assert objects() == before
    assert [stage["stage"] for stage in document["stages"]].count("dataset") == 1
    assert not any(stage["cached"] for stage in document["stages"])


def test_a_name_is_given_to_each_seeds_result(seeded: Wbltr) -> None:
    assert seeded(*RUN, "--seeds", "0,1", "--name", "mine", "-q").code == 0
    for seed in (0, 1):
        made = seeded(*RUN, "--seed", seed, "--json").document["artifact"]
        assert seeded("store", "show", f"mine/seed-{seed}", "--json").document["record"]["object"] == made


def test_a_name_that_cannot_be_is_refused_before_the_work(seeded: Wbltr) -> None:
    assert seeded("posthoc", "l2", "--name", "taken", "-q").code == 0
    before = objects()
    for name in ("taken", "latest", "../up"):
        assert seeded(*RUN, "--seeds", "2,3", "--name", name).code == 2
    assert objects() == before


def one_clear_line(said: Answer, *words: str) -> None:
    assert said.code == 2, said.err
    assert said.out == ""
    errors = [line for line in said.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, said.err
    for word in words:
        assert word in said.err, said.err


@pytest.mark.parametrize(
    "text", ["1,1", "a", "", ",", "1,,2", "-1", "1.5", "0,-2", "²", "00,0", "99999999999", "2147483648", "0-4", "1 2"]
)
def test_a_list_that_is_none_gets_one_clear_line_with_the_form(wbltr: Wbltr, text: str) -> None:
    one_clear_line(wbltr(*RUN, f"--seeds={text}"), "--seeds", "0,1,2")
    assert not Path(".wbltr").exists()


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (("--seed", "3"), "--seed 3"),
        (("--set", "features.seed=3"), "features.seed"),
        (("--set", "classifier.seed = 3"), "classifier.seed"),
        (("--set", "features={seed: 3}"), "features"),
    ],
)
def test_two_sources_of_a_seed_are_refused(wbltr: Wbltr, more: tuple[str, ...], word: str) -> None:
    one_clear_line(wbltr(*RUN, "--seeds", "0,1", *more), "--seeds", word)


def test_several_seeds_are_refused_under_torchrun(wbltr: Wbltr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    one_clear_line(wbltr(*RUN, "--seeds", "0,1"), "torchrun", "by itself")


def test_a_device_that_is_not_there_is_told_once(wbltr: Wbltr) -> None:
    one_clear_line(wbltr(*RUN, "--seeds", "0,1,2", "--device", "toaster"), "toaster", "--device cpu")


def test_only_run_takes_seeds(wbltr: Wbltr) -> None:
    one_clear_line(wbltr("train-features", "--recipe", "digits-ir50", "--seeds", "0,1"), "--seeds")


def test_a_seed_that_fails_is_named_and_the_others_are_finished_and_kept(wbltr: Wbltr, tmp_path: Path) -> None:
    elsewhere = ("--store", tmp_path / "elsewhere")
    features = wbltr("train-features", "--recipe", "digits-ir50", *SHORT, "--seed", "1", *elsewhere, "--json").document["key"]
    in_the_way = Path(".wbltr/runs") / features
    assert wbltr("make-dataset", "--recipe", "digits-ir50").code == 0
    in_the_way.parent.mkdir(exist_ok=True)
    in_the_way.write_text("a file where a folder must be")
    said = wbltr(*RUN, "--seeds", "0,1,2", "--name", "kept")
    assert (said.code, said.out) == (6, "")
    for seed, code in ((0, 0), (1, 3), (2, 0)):
        assert wbltr("store", "show", f"kept/seed-{seed}").code == code
    errors = [line for line in said.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert errors[0].startswith("error: seed 1: ")
    assert features in errors[0]
    assert "go on without: --seeds 0,2" in said.err
    for seed in (2, 0):
        assert wbltr(*RUN, "--seed", seed, "--json").document["cached"] is True
    in_the_way.unlink()
    again = wbltr(*RUN, "--seeds", "0,1,2", "--json").document
    assert {stage["cached"] for stage in again["stages"] if stage["stage"] == "features"} == {True, False}


def test_seeds_that_diverge_end_in_the_exit_code_of_training(wbltr: Wbltr) -> None:
    said = wbltr(*RUN, "--seeds", "4,5", "--set", "features.lr=1e30")
    assert (said.code, said.out) == (8, "")
    errors = [line for line in said.err.splitlines() if line.startswith("error:")]
    assert all("diverged" in line for line in errors)
    for seed in (4, 5):
        assert any(str(seed) in line.partition("training")[0] for line in errors)


def test_finished_seeds_never_import_torch(both: Path) -> None:
    blocked = "import sys; sys.modules['torch'] = None; from wbltr.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", blocked, *RUN, "--seeds", "0,1"], cwd=both, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


LONG = (*WBLTR, "run", "--recipe", "digits-ir50", "--seeds", "0,1,2", "--threads", "1", "--set", "rows=[first stage]")
LONG = (*LONG, "--set", "features.epochs=40", "--json")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The artifacts of that command."""
    said = subprocess.run(LONG, cwd=tmp_path_factory.mktemp("undisturbed"), check=True, capture_output=True, text=True)
    return [stage["artifact"] for stage in json.loads(said.stdout)["stages"]]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)])
def test_a_signal_stops_every_run_with_a_checkpoint_and_the_same_command_resumes_them_all(
    tmp_path: Path, undisturbed: list[str], number: signal.Signals, code: int
) -> None:
    process = subprocess.Popen(LONG, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def begun() -> set[Path]:
        return {path.parent for path in tmp_path.glob(".wbltr/runs/*/step-*")}

    deadline = time.monotonic() + 120
    at_once = min(3, these_cores().allowed)
    while len(begun()) < at_once and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == code, err
    assert "go on with: wbltr run --recipe digits-ir50 --seeds 0,1,2" in json.loads(out)["error"]["hint"]
    again = json.loads(subprocess.run(LONG, cwd=tmp_path, check=True, capture_output=True, text=True).stdout)
    assert [stage["artifact"] for stage in again["stages"]] == undisturbed
    resumed = [stage["resumed_from"] for stage in again["stages"] if stage["stage"] == "features"]
    assert sum(step is not None and step > 0 for step in resumed) == at_once


WAITING = """
import time
from wbltr.cli.answer import stoppable
from wbltr.pipeline import make_many
def deaf():
    print("begun", flush=True)
    time.sleep(600)
with stoppable():
    make_many([deaf], 1)
"""


def test_a_second_ctrl_c_leaves_at_once_though_a_run_does_not_listen() -> None:
    process = subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    while "Ctrl-C again leaves at once" not in process.stderr.readline():
        pass
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    process.communicate()


def test_on_a_terminal_every_run_at_once_has_a_bar_with_its_seed(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    command = [*WBLTR, *RUN, "--seeds", "0,7", "--set", "features.epochs=20", "--set", "rows=[first stage]"]
    environment = {**os.environ, "COLUMNS": "60", "TERM": "xterm"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=follower)
    os.close(follower)
    said = b""
    while True:
        try:
            more = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not more:
            break
        said += more
    assert process.wait() == 0
    assert b"seed 0 features" in said
    assert b"seed 7 features" in said
    assert said.rindex(b"\x1b[?25h") > said.rindex(b"\x1b[?25l"), "the cursor is back"


runs = st.integers(1, 40)
counts = st.integers(1, 64)


@given(runs, st.sampled_from(["cpu", "cuda", "mps"]), st.none() | counts, counts, counts)
def test_runs_never_ask_for_more_cores_than_there_are_unless_the_user_does(
    runs: int, device: str, threads: int | None, free: int, more: int
) -> None:
    cores = Cores(free + more - 1, free)
    found = share(runs, device, threads, cores)
    assert 1 <= found.at_once <= runs
    if threads is not None:
        assert found.threads == threads
        assert device == "cuda" or found.at_once == 1 or found.at_once * threads <= cores.allowed
    elif found.threads is not None:
        assert found.threads >= 1
        assert device == "cuda" or found.at_once * found.threads <= cores.free


@pytest.mark.parametrize(
    ("asked", "at_once", "threads"),
    [
        ((4, "cpu", None, Cores(2, 2)), 2, 1),
        ((4, "cpu", None, Cores(16, 16)), 4, 4),
        ((3, "cpu", None, Cores(8, 8)), 3, 2),
        ((4, "cpu", None, Cores(8, 1)), 1, 1),
        ((4, "cpu", 2, Cores(8, 1)), 4, 2),
        ((4, "cpu", 4, Cores(8, 8)), 2, 4),
        ((4, "cpu", 9, Cores(8, 8)), 1, 9),
        ((1, "cpu", None, Cores(8, 8)), 1, None),
        ((4, "cuda", None, Cores(16, 16)), 4, 4),
        ((20, "cuda", None, Cores(4, 4)), 8, 1),
        ((4, "mps", None, Cores(8, 8)), 1, None),
    ],
)
def test_the_machine_is_divided_between_the_seeds(
    asked: tuple[int, str, int | None, Cores], at_once: int, threads: int | None
) -> None:
    found = share(*asked)
    assert (found.at_once, found.threads) == (at_once, threads)


def test_it_is_said_that_others_keep_cores_busy_unless_the_user_chose() -> None:
    assert str(share(4, "cpu", None, Cores(2, 2))) == "4 seeds, 2 at once, 1 thread each"
    busy = str(share(4, "cpu", None, Cores(2, 1)))
    assert busy == "4 seeds, 1 at once, 1 thread each (1 of 2 cores; the others are busy; --threads N to choose)"
    assert str(share(4, "cpu", 2, Cores(8, 1))) == "4 seeds, 4 at once, 2 threads each"
