"""`tune classifier` on digits, as users type it."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import SHORT, Wbltr

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
