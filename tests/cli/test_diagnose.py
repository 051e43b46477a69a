"""`wbltr diagnose`, end to end on the built-in digits."""

from __future__ import annotations

import pytest
from conftest import SHORT, Wbltr

from wbltr.store import Store

FIRST = ["weight decay, first stage", "constraint, first stage"]
SECOND = ["weight decay, second stage", "constraint, second stage", "batch-norm drift"]
HEAD = ["embeddings", "row norms", "predicted prior"]


def test_the_latest_head_is_diagnosed_and_no_latest_moves(copied: Wbltr) -> None:
    refs = Store.open(create=False).refs()
    said = copied("diagnose")
    assert said.code == 0, said.err
    assert "using classifier" in said.err
    for name in (*FIRST, *SECOND, *HEAD):
        assert name in said.out
    assert "the second stage did not run the network" in " ".join(said.out.split())
    assert Store.open(create=False).refs() == refs
    assert list(copied("diagnose", "--json").document["diagnosis"]) == FIRST + SECOND + HEAD


def test_a_head_of_the_first_stage_has_no_second(copied: Wbltr) -> None:
    assert list(copied("diagnose", "--from", "latest/features", "--json").document["diagnosis"]) == FIRST + HEAD


def test_a_recipe_is_made_first_and_a_loose_radius_is_warned_of(copied: Wbltr) -> None:
    asked = ("diagnose", "--recipe", "digits-ir50", *SHORT, "--set", "classifier.max_norm={radius: 100.0, relative: false}")
    assert not all(step["cached"] for step in copied(*asked, "-n", "--json").document["steps"])
    said = copied(*asked)
    assert said.code == 0, said.err
    assert "warning: MaxNorm does nothing here" in said.out
    assert all(step["cached"] for step in copied(*asked, "-n", "--json").document["steps"])


@pytest.mark.parametrize("mode", ["exact", "cached"])
def test_a_second_stage_through_the_network_tells_its_drift(copied: Wbltr, mode: str) -> None:
    through = ("--set", f"classifier.mode={mode}", "--set", "classifier.layers=2", "--set", "classifier.epochs=1")
    made = copied("train-classifier", *through, "-q").out.strip()
    drift = copied("diagnose", "--from", made, "--json").document["diagnosis"]["batch-norm drift"]
    assert drift["means"]["whole"] > 0
    assert drift["means"]["worst"] >= drift["means"]["whole"]


def test_without_a_validation_part_the_training_images_are_looked_at(wbltr: Wbltr) -> None:
    told = wbltr(
        "diagnose", "--recipe", "digits-ir50", *SHORT, "--set", "dataset.val=none", "--set", "features.weight_decay=0", "--json"
    ).document["diagnosis"]
    assert told["embeddings"]["part"] == "training part, one view"
    assert "naive" in told[FIRST[0]]["warning"]


def test_nothing_to_start_from_says_what_to_type(wbltr: Wbltr) -> None:
    said = wbltr("diagnose")
    assert said.code == 3
    assert "make it first" in said.err
