"""`compare`: which rows it makes, what it tells, and what it leaves alone."""

from __future__ import annotations

from typing import get_args

import pytest
from conftest import SHORT, Wbltr

from wbltr.recipe import Row

LAST = ["--heads", "first stage,tau,cb,cb-max,cb-wd-max,cb-wd-max-last2"]


def test_rows_stand_in_the_papers_order_whatever_the_order_asked_for(copied: Wbltr) -> None:
    said = copied("compare", "--recipe", "digits-ir50", *SHORT, "--heads", "cb-wd-max,first stage,cb", "--json")
    assert list(said.document["rows"]) == ["first stage", "cb", "cb-wd-max"]


def test_a_row_is_the_same_artifact_as_run_makes(copied: Wbltr) -> None:
    rows = copied("run", "--recipe", "digits-ir50", *SHORT, "--json").document["rows"]
    compared = copied("compare", "--recipe", "digits-ir50", *SHORT, "--heads", ",".join(rows), "--json").document
    assert compared["rows"] == {row: rows[row] for row in get_args(Row) if row in rows}
    assert compared["cached"] is True


def refs(wbltr: Wbltr) -> list[list[str]]:
    return [line.split()[:2] for line in wbltr("status").out.splitlines() if line.strip().startswith("latest/")]


def test_it_moves_no_latest(copied: Wbltr) -> None:
    before = refs(copied)
    assert ["latest/head"] in [line[:1] for line in before]
    assert copied("compare", "--recipe", "digits-ir50", *SHORT, *LAST).code == 0
    assert refs(copied) == before


def test_a_head_without_randomness_is_one_measurement_for_all_seeds(copied: Wbltr) -> None:
    document = copied(
        "compare", "--recipe", "digits-ir50", *SHORT, "--heads", "tau,cb", "--seeds", "0,1,2", "--json"
    ).document  # fmt: skip
    assert document["n"] == {"tau": 1, "cb": 3}
    assert document["sd"]["tau"]["all"] is None
    assert document["sd"]["cb"]["all"] is not None
    assert len(document["heads"]["cb"]) == 3


def test_naive_rows_are_left_out_aloud_until_their_features_are_finished(copied: Wbltr) -> None:
    said = copied("compare", "--recipe", "digits-ir50", *SHORT, "-n")
    assert "the naive rows are left out" in said.err
    assert "--set features.weight_decay=0" in said.err
    naive = copied("train-features", "--recipe", "digits-ir50", *SHORT, "--set", "features.weight_decay=0", "-q").out.strip()
    rows = ["--heads", "naive,naive-tau,first stage", "--json"]
    found = copied("compare", "--recipe", "digits-ir50", *SHORT, *rows).document
    assert found["heads"]["naive"] == [naive]
    assert found["rows"]["naive"] != found["rows"]["first stage"]
    named = copied("compare", "--recipe", "digits-ir50", *SHORT, "--naive", naive[:12], *rows).document
    assert named["rows"] == found["rows"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--heads", "cb-wd-maxx"], 2, "Did you mean 'cb-wd-max'"),
        (["--heads", ","], 2, "name at least one"),
        (["--naive", "latest/dataset"], 2, "expected features, found dataset"),
        (["--naive", "latest/features"], 2, "were trained with weight decay 0.005"),
        (["--seeds", "0,0"], 2, "given twice"),
        (["--seeds", "0,1", "--set", "classifier.seed=1"], 2, "--seeds sets it"),
        (["--set", "classifier.weight_decay=0", "--heads", "cb-wd"], 2, "needs classifier.weight_decay"),
        (["--set", "heads={tau: {lr: 1.0}}"], 2, "heads.tau: lr cannot change this row"),
        (["--set", "heads.cb-wdd.lr=1.0"], 2, "Did you mean 'cb-wd'"),
        (["--set", "heads.cb-wd.radiu=1.0"], 2, "Did you mean 'radius'"),
        (["--set", "heads.cb-max.radius=0", "--set", "classifier.max_norm.relative=false", "--heads", "cb-max"], 2, "'cb-max'"),
        (["--set", "classifier.layers=2", "--heads", "cb"], 2, "is of the last layer"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(copied: Wbltr, arguments: list[str], code: int, words: str) -> None:
    said = copied("compare", "--recipe", "digits-ir50", *SHORT, *arguments)
    assert said.code == code
    assert words in said.err
    assert said.out == ""


def test_rows_that_the_recipe_has_no_settings_for_are_left_out_aloud(copied: Wbltr) -> None:
    said = copied("compare", "--recipe", "digits-ir50", *SHORT, "--set", "classifier.weight_decay=0", "-n")
    assert said.code == 0, said.err
    assert "left out: ce-wd, ce-wd-max, cb-wd, cb-wd-max" in said.err
    none = copied("compare", "--recipe", "digits-ir50", *SHORT, "--set", "dataset.val=none", "-n")
    assert "left out: naive-tau, tau; give it: --set posthoc.tau=1.0" in none.err


def test_naive_features_that_differ_in_more_are_refused(copied: Wbltr) -> None:
    fields = ("--set", "features.weight_decay=0", "--set", "features.epochs=1")
    other = copied("train-features", "--recipe", "digits-ir50", *SHORT, *fields, "-q").out.strip()
    said = copied("compare", "--recipe", "digits-ir50", *SHORT, "--naive", other[:12])
    assert said.code == 2
    assert "epochs 1 instead of 3" in said.err
    itself = copied("compare", "--from", other[:12], "--naive", other[:12])
    assert itself.code == 2
    assert "is naive itself" in itself.err


def test_a_constraint_that_never_bound_is_told_in_one_line_at_the_end(copied: Wbltr) -> None:
    wide = ["--set", "classifier.max_norm.radius=100", "--set", "classifier.max_norm.relative=false"]
    said = copied("compare", "--recipe", "digits-ir50", *SHORT, *wide, "--heads", "cb,cb-max,cb-wd-max")
    lines = said.err.splitlines()
    (place,) = [number for number, line in enumerate(lines) if "MaxNorm never moved a row of the classifier in:" in line]
    assert "CB & MaxNorm, CB & WD & MaxNorm" in lines[place]
    assert place >= len(lines) - 2
    run = copied("run", "--recipe", "digits-ir50", *SHORT, *wide)
    assert "MaxNorm never moved a row of the classifier in: CB & WD & MaxNorm" in run.err


def test_a_finished_comparison_imports_no_torch(copied: Wbltr) -> None:
    arguments = ["compare", "--recipe", "digits-ir50", *SHORT, "--heads", "first stage,cb-wd-max"]
    assert copied(*arguments).code == 0
    assert "starting torch" not in copied(*arguments).err


def test_the_papers_figure_and_the_difference_stand_beside_ours_on_its_sets_only(copied: Wbltr) -> None:
    table = copied("compare", "--recipe", "digits-ir50", *SHORT, "--heads", "first stage,cb-wd-max").out
    assert "paper" not in table
