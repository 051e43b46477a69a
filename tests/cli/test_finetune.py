"""A second stage through the network, by the commands that users type."""

from __future__ import annotations

import pytest
from conftest import SHORT, Wbltr

TWO = ("--set", "classifier.layers=2", "--set", "classifier.weight_decay=0.001", "--set", "classifier.epochs=2")


def test_train_classifier_with_more_layers_makes_a_network_that_eval_posthoc_and_embed_start_from(copied: Wbltr) -> None:
    made = copied("train-classifier", *TWO, "--json").document
    assert made["stage"] == "finetune"
    table = copied("eval")
    assert table.code == 0, table.err
    assert f"using finetune {made['artifact'][:12]}" in table.err
    assert "+ CB & WD & MaxNorm, last 2 layers" in table.out
    adjusted = copied("posthoc", "tau", "--from", made["artifact"][:12], "--json").document
    assert adjusted["inputs"]["head"] == made["artifact"]
    document = copied("eval", "--json").document
    assert document["inputs"]["head"] == adjusted["artifact"]
    embeddings = copied("store", "show", document["inputs"]["embeddings"]).out
    assert made["artifact"] in embeddings
    assert copied("eval").out.count("last 2 layers, + τ-norm") == 1
    part = copied("embed", "--part", "test", "--from", made["artifact"][:12], "-q").out.strip()
    assert part == document["inputs"]["embeddings"]


def test_exact_mode_says_that_batch_norm_drifts(copied: Wbltr) -> None:
    made = copied("train-classifier", "--set", "classifier.mode=exact", "--set", "classifier.epochs=1")
    assert made.code == 0, made.err
    assert "batch-norm drifting" in copied("eval").out


def test_a_finetuned_row_of_run_is_the_artifact_of_train_classifier(copied: Wbltr) -> None:
    rows = ["--set", "rows=[first stage, cb-wd-max-last2]"]
    document = copied("run", "--recipe", "digits-ir50", *SHORT, *TWO[2:], *rows, "--json").document
    (finetune,) = [stage for stage in document["stages"] if stage["stage"] == "finetune"]
    latest = copied("train-classifier", *TWO, "--from", finetune["inputs"]["features"], "-q").out.strip()
    assert latest == finetune["artifact"]


def test_best_on_test_is_refused_where_nothing_but_a_head_is_trained(copied: Wbltr) -> None:
    said = copied("train-classifier", "--set", "classifier.select=best-test")
    assert said.code == 2
    assert "needs mode: exact" in said.err


def test_the_released_protocol_says_what_flatters(wbltr: Wbltr) -> None:
    released = ["--set", "features.select=best-test", "--set", "classifier.select=best-test", "--set", "classifier.mode=exact"]
    rows = ["--set", "rows=[first stage, cb-wd-max]", "--set", "eval.flip=true"]
    said = wbltr("run", "--recipe", "digits-ir50", *SHORT, *released, *rows)
    assert said.code == 0, said.err
    words = " ".join(said.out.split())
    assert "best epoch on the test set (features and classifier), flip averaging" in words
    document = wbltr("run", "--recipe", "digits-ir50", *SHORT, *released, *rows, "--json").document
    gains = document["provenance"]["best_over_last"]
    assert set(gains) == {"features", "finetune"}
    assert all(gain >= 0 for gain in gains.values())
    told = ", ".join(f"{gain:.2f} points in {stage}" for stage, gain in gains.items())
    assert f"is no estimate; over the last one it gains {told}" in words.partition("this flatters")[2]
    plain = wbltr("eval", "--set", "eval.flip=false", "--json").document["accuracy"]["all"]
    added = float(words.partition("flip averaging adds ")[2].split()[0])
    assert added == pytest.approx(document["accuracy"]["all"] - plain, abs=0.011)


def test_a_first_stage_takes_constraints_sampling_and_a_prelogit_layer(wbltr: Wbltr) -> None:
    for settings in (
        ["features.constraint=unit-norm"],
        ["features.max_norm={radius: 0.5, relative: false}", "features.weight_decay=0"],
        ["features.prelogit=2", "features.snapshot_every=5"],
        ["features.sampling=class-balanced"],
    ):
        fields = [word for setting in settings for word in ("--set", setting)]
        said = wbltr("run", "--recipe", "digits-ir50", *SHORT, "--set", "features.epochs=1", *fields, "--json")
        assert said.code == 0, said.err


def test_a_relative_radius_in_the_first_stage_is_refused(wbltr: Wbltr) -> None:
    said = wbltr("train-features", "--recipe", "digits-ir50", "--set", "features.max_norm.radius=0.5")
    assert said.code == 2
    assert "no earlier head to be relative to" in said.err
