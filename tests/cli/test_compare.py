"""`compare`: which rows it makes, what it tells, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import SHORT, Answer, Wbltr

from wbltr.methods.rows import ROWS
from wbltr.report.tables import rows_of

LAST = ["--heads", "first stage,tau,cb,cb-max,cb-wd-max,cb-wd-max-last2"]


def test_rows_stand_in_the_papers_order_whatever_the_order_asked_for(copied: Wbltr) -> None:
    said = copied("compare", "--recipe", "digits-ir50", *SHORT, "--heads", "cb-wd-max,first stage,cb", "--json")
    assert list(said.document["rows"]) == ["first stage", "cb", "cb-wd-max"]


def test_a_row_is_the_same_artifact_as_run_makes(copied: Wbltr) -> None:
    rows = copied("run", "--recipe", "digits-ir50", *SHORT, "--json").document["rows"]
    compared = copied("compare", "--recipe", "digits-ir50", *SHORT, "--heads", ",".join(rows), "--json").document
    assert compared["rows"] == {row: rows[row] for row in ROWS if row in rows}
    assert compared["cached"] is True


def refs(wbltr: Wbltr) -> list[list[str]]:
    return [line.split()[:2] for line in wbltr("status").out.splitlines() if line.strip().startswith("latest/")]


def test_it_moves_no_latest_and_says_first_what_takes_long(copied: Wbltr) -> None:
    before = refs(copied)
    assert ["latest/head"] in [line[:1] for line in before]
    said = copied("compare", "--recipe", "digits-ir50", *SHORT, *LAST)
    assert said.code == 0
    assert refs(copied) == before
    assert "through the network, 2 epochs each: cb-wd-max-last2; leave them out" in said.err
    assert "through the network" not in copied("compare", "--recipe", "digits-ir50", *SHORT, *LAST).err


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
        (["--heads", "all,cb"], 2, "no row 'all'"),
        (["--against", "cb-wdd"], 2, "--against: no row 'cb-wdd'. Did you mean 'cb-wd'"),
        (["--heads", "cb", "--against", "cb"], 2, "it is the only row"),
        (["--set", "classifier.weight_decay=0", "--against", "cb-wd"], 2, "needs classifier.weight_decay"),
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
    arguments = ["compare", "--recipe", "digits-ir50", *SHORT, "--heads", "first stage", "--against", "cb-wd-max"]
    said = copied(*arguments)
    assert said.code == 0, said.err
    blocked = "import sys; sys.modules['torch'] = None; from wbltr.cli.app import main; main()"
    again = subprocess.run([sys.executable, "-c", blocked, *arguments], check=True, capture_output=True, text=True)
    assert again.stdout == said.out


def planned(said: Answer) -> list[str]:
    assert said.code == 0, said.err
    return [line.split()[0] for line in said.out.splitlines() if line.strip()]


def test_by_default_it_makes_the_papers_rows_and_all_rows_where_asked(copied: Wbltr) -> None:
    default, paper, every = (
        planned(copied("compare", "--recipe", "digits-ir50", *SHORT, *heads, "-n"))
        for heads in ([], ["--heads", "paper"], ["--heads", "all"])
    )
    assert default == paper
    assert paper.count("eval") == len(rows_of(4, None)) - 2  # the naive ones wait for their features
    assert every.count("eval") > paper.count("eval")


def test_every_row_has_an_interval_around_its_accuracy_in_a_table_for_a_terminal(copied: Wbltr) -> None:
    arguments = ["compare", "--recipe", "digits-ir50", *SHORT, "--heads", "first stage,tau,cb,cb-wd-max"]
    document = copied(*arguments, "--json").document
    assert "paired" not in document
    for row, found in document["interval"].items():
        assert all(low <= document["rows"][row][column] <= high for column, (low, high) in found.items())
    low, high = document["interval"]["tau"]["all"]
    assert low < high
    table = copied(*arguments).out
    assert f"{document['rows']['tau']['all']:.1f} ({low:.1f}–{high:.1f})" in table
    assert max(map(len, table.splitlines())) <= 80


def test_rows_are_paired_seed_by_seed_and_heads_without_randomness_once(copied: Wbltr) -> None:
    arguments = [
        "compare",
        "--recipe",
        "digits-ir50",
        *SHORT,
        "--heads",
        "first stage,cb",
        "--against",
        "tau",
        "--seeds",
        "0,1",
    ]
    document = copied(*arguments, "--json").document
    assert list(document["paired"]) == ["first stage", "cb"]
    assert list(document["rows"]) == ["first stage", "tau", "cb"]
    assert {row: found["n"] for row, found in document["paired"].items()} == {"first stage": 1, "cb": 2}
    assert document["paired"]["first stage"]["over_seeds"] is None
    for row, found in document["paired"].items():
        ours, theirs = document["rows"][row], document["rows"]["tau"]
        assert found["against"] == "tau"
        assert found["difference"] == pytest.approx(ours["all"] - theirs["all"], abs=0.02)
        assert found["low"] <= found["difference"] <= found["high"]
        assert found["splits"]["medium"]["difference"] == pytest.approx(ours["medium"] - theirs["medium"], abs=0.02)
    said = copied(*arguments).out
    assert "first stage against tau: −" in said
    assert "t over 2 seeds" in said


def test_rows_that_predict_alike_are_said_to(copied: Wbltr) -> None:
    wide = ["--set", "classifier.max_norm.radius=100", "--set", "classifier.max_norm.relative=false"]
    said = copied("compare", "--recipe", "digits-ir50", *SHORT, *wide, "--heads", "cb-max,cb", "--against", "cb")
    assert "cb-max against cb: the same predictions" in said.out.splitlines()


def test_the_papers_figure_and_the_difference_stand_beside_ours_on_its_sets_only(copied: Wbltr) -> None:
    table = copied("compare", "--recipe", "digits-ir50", *SHORT, "--heads", "first stage,cb-wd-max").out
    assert "paper" not in table
