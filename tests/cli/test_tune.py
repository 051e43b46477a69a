"""`tune` on digits and the pictures of its studies, as users type it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from conftest import SHORT, Wbltr
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

TUNE = ("tune", "classifier", "--recipe", "digits-ir50", *SHORT)


def test_the_winner_is_a_plain_classifier_under_a_name_of_its_own(copied: Wbltr) -> None:
    document = copied(*TUNE, "--trials", "8", "--batch", "4", "--json").document
    assert (document["stage"], document["trials"], document["diverged"]) == ("classifier", 8, 0)
    assert document["ref"] == "tuned/digits-ir50"
    assert document["artifact"] in copied("store", "show", "tuned/digits-ir50").out
    assert document["best"]["val"] == pytest.approx(document["val"], abs=1.0)
    values = document["best"]["values"]
    settings = ["--set", f"classifier.weight_decay={values['weight_decay']!r}"]
    settings += ["--set", f"classifier.max_norm.radius={values['radius']!r}"]
    alone = copied("train-classifier", "--recipe", "digits-ir50", *SHORT, *settings, "-q").out.strip()
    assert alone == document["artifact"]


def test_the_same_command_goes_on_and_a_finished_study_answers_at_once(copied: Wbltr) -> None:
    first = copied(*TUNE, "--trials", "4", "--batch", "4", "--json").document
    more = copied(*TUNE, "--trials", "12", "--batch", "4")
    assert "goes on after 4 trials" in more.err
    done = copied(*TUNE, "--trials", "12", "--batch", "4", "--json").document
    assert done["study"] == first["study"]
    assert done["trials"] == 12
    assert done["artifact"] == more.out.strip()


def test_another_question_is_another_study(copied: Wbltr) -> None:
    names = {
        copied(*TUNE, "--trials", "2", "--batch", "2", *more, "--json").document["study"]
        for more in (
            (),
            ("--range", "radius=0..0.5"),
            ("--set", "classifier.lr=0.01"),
            ("--set", "classifier.weight_decay=0.2"),
        )
    }
    assert len(names) == 3, "the weight decay of the recipe is what is searched for"


def test_it_moves_no_latest_and_opens_no_test_part(copied: Wbltr) -> None:
    before = copied("store", "show", "latest/head").out
    said = copied(*TUNE, "--trials", "2", "--batch", "2")
    assert said.code == 0, said.err
    assert "which opens the test set" in said.err
    assert copied("store", "show", "latest/head").out == before
    assert "test:" not in said.err


def test_trials_that_diverge_are_left_out_and_counted(copied: Wbltr) -> None:
    said = copied(*TUNE, "--trials", "8", "--batch", "8", "--range", "lr=1e-3..1e30", "--json").document
    assert 0 < said["diverged"] < 8


def test_a_range_in_which_all_diverge_ends_in_the_exit_code_of_training(copied: Wbltr) -> None:
    said = copied(*TUNE, "--trials", "2", "--batch", "2", "--range", "lr=1e29..1e30")
    assert said.code == 8
    assert "all 2 trials diverged" in said.err


def test_lengths_and_losses_can_be_tried_side_by_side(copied: Wbltr) -> None:
    said = copied(*TUNE, "--trials", "6", "--batch", "6", "--range", "epochs=1,2", "--range", "loss=ce,cb", "--json")
    assert said.code == 0, said.err
    assert set(said.document["best"]["values"]) == {"weight_decay", "radius", "epochs", "loss"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--range", "radios=0..1"], 2, "Did you mean 'radius'"),
        (["--set", "dataset.val=none"], 2, "no validation part"),
        (["--set", "classifier.layers=2"], 2, "cached embeddings"),
        (["--set", "classifier={head: cosine, max_norm: null}"], 2, "cached embeddings"),
        (["--set", "classifier={loss: distill, teacher: latest/features}"], 2, "cached embeddings"),
        (["--storage", "postgresql://nobody@127.0.0.1:1/none"], 3, "cannot be used"),
        (["--trials", "0"], 2, "--trials"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(copied: Wbltr, arguments: list[str], code: int, words: str) -> None:
    said = copied(*TUNE, *arguments)
    assert said.code == code, said.err
    assert words in said.err
    assert said.out == ""


def test_a_plan_makes_no_study(copied: Wbltr) -> None:
    assert copied(*TUNE, "-n").code == 0
    assert not Path(".wbltr/studies").exists()


FEATURES = ("tune", "features", "--recipe", "digits-ir50", *SHORT)


def test_the_winner_of_a_first_stage_is_a_plain_artifact_judged_on_validation(copied: Wbltr) -> None:
    document = copied(*FEATURES, "--trials", "2", "--json").document
    assert (document["stage"], document["trials"]) == ("features", 2)
    assert document["ref"] == "tuned/digits-ir50-features"
    assert document["best"]["val"] == document["val"]
    decay = document["best"]["values"]["weight_decay"]
    settings = ["--set", f"features.weight_decay={decay!r}", "-q"]
    assert copied("train-features", "--recipe", "digits-ir50", *SHORT, *settings).out.strip() == document["artifact"]


def test_a_range_in_which_every_first_stage_diverges_ends_after_ten(copied: Wbltr) -> None:
    said = copied(*FEATURES, "--set", "features.epochs=1", "--trials", "40", "--range", "lr=1e30..1e31")
    assert said.code == 8
    assert "all 10 trials diverged" in said.err
    assert "--range lr=" in said.err


def states(name: str) -> list[str]:
    import optuna

    (journal,) = Path(".wbltr/studies").glob(f"{name}*.journal")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lock = JournalFileOpenLock(str(journal))
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))
        trials = optuna.load_study(study_name=journal.stem, storage=storage).trials
    return [trial.state.name for trial in trials]


def test_two_processes_share_a_study_and_one_that_is_killed_loses_its_running_trial(
    copied: Wbltr, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*FEATURES, "--set", "features.epochs=40", "--range", "weight_decay=1e-5..1e-3"]
    running = [
        subprocess.Popen([sys.executable, "-m", "wbltr.cli.app", *command, "--trials", "5", "-q"], stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    killed, other = running
    for _ in range(1200):
        time.sleep(0.1)
        if not list(Path(".wbltr/studies").glob("features*.journal")):
            continue
        killed.send_signal(signal.SIGSTOP)
        if states("features").count("RUNNING") == 2 and "COMPLETE" in states("features"):
            break
        killed.send_signal(signal.SIGCONT)
    killed.kill()
    assert killed.wait(60) == -signal.SIGKILL
    assert other.wait(180) == 0
    left = states("features")
    assert left.count("RUNNING") == 1, "the trial of the process that was killed"
    assert len(left) == 6

    monkeypatch.setattr("wbltr.studies.study.SILENT", 0.0)  # seconds until a process is taken for dead
    more = copied(*command, "--trials", "6")
    assert more.code == 0, more.err
    assert "goes on after 5 trials" in more.err
    resumed = states("features")
    assert resumed.count("FAIL") == 1
    assert "RUNNING" not in resumed
    assert len(resumed) == 7


def test_tau_is_swept_on_validation_of_the_head_that_the_recipe_names(copied: Wbltr) -> None:
    said = copied("tune", "tau", "--recipe", "digits-ir50", *SHORT)
    assert said.code == 0, said.err
    assert "τ on CB & WD & MaxNorm, validation" in said.err
    document = copied("tune", "tau", "--recipe", "digits-ir50", *SHORT, "--json").document
    assert document["artifact"] == said.out.strip()
    assert document["sweep"]["tau"] == [round(0.1 * step, 1) for step in range(31)]
    assert document["val"] == max(document["sweep"]["val"])
    assert document["tau"] == document["sweep"]["tau"][document["sweep"]["val"].index(document["val"])]
    assert document["artifact"] in copied("store", "show", "tuned/digits-ir50-tau").out


def test_tau_of_the_first_stage_is_what_posthoc_makes(copied: Wbltr) -> None:
    before = copied("store", "show", "latest/head").out
    first = copied("tune", "tau", "--recipe", "digits-ir50", *SHORT, "--set", "posthoc.of=features", "-q").out
    assert copied("tune", "tau", "--from", "latest/features", "--threads", "1", "-q").out == first
    assert copied("store", "show", "latest/head").out == before
    assert copied("posthoc", "tau", "--recipe", "digits-ir50", *SHORT, "-q").out == first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "digits-ir50", "--set", "posthoc.tau=1.0"], "the command itself says so"),
        (["--from", "latest/features", "--set", "posthoc.of=features"], "names the head already"),
        (["--recipe", "digits-ir50", "--set", "dataset.val=none"], "no validation part"),
    ],
)
def test_what_tau_cannot_be_told_is_one_line(copied: Wbltr, arguments: list[str], words: str) -> None:
    said = copied("tune", "tau", *arguments)
    assert said.code == 2, said.err
    assert words in said.err
    assert said.out == ""


def test_a_study_of_another_recipe_stays_as_it_is_and_is_told_of(copied: Wbltr) -> None:
    copied(*TUNE, "--trials", "2", "--batch", "2", "--storage", "shared.journal")
    other = copied(
        *TUNE, "--set", "classifier.lr=0.01", "--trials", "3", "--batch", "3", "--storage", "shared.journal", "--json"
    )
    assert other.document["trials"] == 3
    assert "new, beside 1 of other recipes" in other.err
    again = copied(*TUNE, "--trials", "2", "--batch", "2", "--storage", "shared.journal", "--json")
    assert again.document["trials"] == 2


@pytest.mark.parametrize("target", ["features", "classifier"])
def test_a_study_is_drawn_from_what_it_keeps(copied: Wbltr, target: str) -> None:
    tuned = copied("tune", target, "--recipe", "digits-ir50", *SHORT, "--trials", "3", "--json").document
    document = copied("plot", "study", "--out", "study.png", "--json").document
    assert Path("study.png").read_bytes()[:4] == b"\x89PNG"
    assert document["series"]["accuracy"]["shape"] == [3]
    assert document["series"]["accuracy"]["max"] == pytest.approx(tuned["best"]["val"], abs=0.01)
    assert "digits-ir50: small network, 3 epochs" in document["caption"]
    said = copied("plot", "study", "--recipe", "digits-ir50", "--study", tuned["study"], "-n")
    assert (said.code, said.out) == (0, "")
    assert tuned["study"] in said.err


def test_a_study_that_is_not_there_is_one_line(copied: Wbltr) -> None:
    def refused(*arguments: str) -> tuple[int, str]:
        said = copied("plot", *arguments)
        assert (said.out, said.err.count("error:")) == ("", 1), said.err
        return said.code, said.err

    assert refused("study")[0] == 3
    assert "wbltr tune features" in refused("study")[1]
    copied(*TUNE, "--trials", "2", "--batch", "2")
    assert "no such study" in refused("study", "--study", "features")[1]
    assert "no study is of it" in refused("study", "--recipe", "cifar10-ir100")[1]
    assert "no such file" in refused("study", "--storage", "gone.journal")[1]
    assert "does not read it" in refused("study", "--set", "features.epochs=1")[1]
    assert "belongs to plot study" in refused("norms", "--study", "x")[1]
    assert not Path("gone.journal").exists()
