"""Heads and losses beside the paper's, from the command line to the table."""

from __future__ import annotations

from typing import get_args

import pytest
from conftest import SHORT, Wbltr

from wbltr.methods.rows import ROWS, Table4Row


def test_every_other_row_is_trained_on_the_finished_features_and_measured(copied: Wbltr) -> None:
    rows = ", ".join(row for row in ROWS if row not in (*get_args(Table4Row), "distill"))
    asked: tuple[str, ...] = ("run", "--recipe", "digits-ir50", "--set", "features.epochs=3", "--set", "classifier.epochs=2")
    asked += ("--set", "embeddings.views=2", "--threads", "1", "--set", f"rows=[first stage, {rows}]", "--json")
    found = copied(*asked)
    assert found.code == 0, found.err
    document = found.document
    assert set(document["rows"]) == {"first stage", *rows.split(", ")}
    assert all(stage["cached"] for stage in document["stages"] if stage["stage"] in ("dataset", "features", "embeddings"))
    heads = {stage["inputs"]["head"] for stage in document["stages"] if stage["stage"] == "eval"}
    # balanced-softmax is the logit-adjusted loss at τ = 1: other bits may come from it, other figures may not
    assert document["rows"]["balanced-softmax"] == document["rows"]["logit-adjusted"]
    assert len(heads) >= len(document["rows"]) - 1
    again = copied(*asked)
    assert all(stage["cached"] for stage in again.document["stages"])


@pytest.mark.parametrize(
    "features",
    [
        "{loss: focal-cb}",
        "{loss: balanced-softmax}",
        "{loss: label-smooth, smoothing: 0.1}",
        "{loss: ldam, head: cosine, reweight_from: 2}",
    ],
)
def test_a_first_stage_is_trained_with_another_loss(wbltr: Wbltr, features: str) -> None:
    found = wbltr(
        "run", "--recipe", "digits-ir50", "--set", f"features={features}", "--set", "features.epochs=3",
        "--set", "rows=[first stage]", "--threads", "1", "--json",
    )  # fmt: skip
    assert found.code == 0, found.err
    assert found.document["accuracy"]["all"] > 30  # a tenth is chance


def test_a_teacher_is_named_by_id_or_name_and_teaches_either_stage(copied: Wbltr) -> None:
    short = ("--set", "features.epochs=2", "--set", "classifier.epochs=2", "--set", "embeddings.views=2", "--threads", "1")
    second = copied(
        "run", "--recipe", "digits-ir50", *short, "--set", "rows=[ce, distill]",
        "--set", "heads.distill.teacher=latest/features", "--json",
    )  # fmt: skip
    assert second.code == 0, second.err
    stages = {stage["artifact"]: stage for stage in second.document["stages"]}
    taught = [stage for stage in stages.values() if "teacher" in stage["inputs"]]
    assert [stage["stage"] for stage in taught] == ["classifier"]
    of_teacher = stages[taught[0]["inputs"]["teacher_embeddings"]]
    assert of_teacher["inputs"]["features"] == taught[0]["inputs"]["teacher"] != taught[0]["inputs"]["features"]
    assert second.document["rows"]["ce"] != second.document["rows"]["distill"]
    teacher = taught[0]["inputs"]["teacher"]
    first = copied(
        "train-features", "--recipe", "digits-ir50", "--set",
        f"features={{epochs: 4, loss: distill, teacher: {teacher[:12]}, temperature: 2.0}}", "--threads", "1", "--json",
    )  # fmt: skip
    assert first.code == 0, first.err
    assert first.document["inputs"]["teacher"] == teacher
    later = copied("eval", "--from", first.document["artifact"], "--json")
    assert later.code == 0, later.err
    assert later.document["accuracy"]["all"] > 25  # a tenth is chance


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("--set", "features.loss=distill"), "learns from a teacher"),
        (("--set", "features={loss: distill, teacher: latest/dataset}"), "is an artifact of dataset"),
        (("--set", "features={loss: distill, teacher: nobody}"), "nobody"),
        (("--set", "features.teacher=latest/features"), "teacher changes nothing of loss: ce"),
        (("--set", "rows=[distill]"), "row 'distill' needs a teacher"),
        (("--set", "features.loss=ldam"), "set head: cosine"),
        (("--set", "heads.crt.gamma=1.0"), "gamma cannot change this row"),
    ],
)
def test_what_is_missing_or_changes_nothing_is_one_clear_line(copied: Wbltr, settings: tuple[str, ...], words: str) -> None:
    found = copied("run", "--recipe", "digits-ir50", *settings)
    assert found.code in (2, 3), found.err
    assert words in " ".join(found.err.split())
    assert "Traceback" not in found.err


def test_tables_name_a_distilled_head_too(copied: Wbltr) -> None:
    said = copied(
        "compare", "--recipe", "digits-ir50", *SHORT, "--heads", "cb,distill", "--set",
        "heads.distill.teacher=latest/features",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert "+ distillation" in said.out


def test_rows_that_a_cosine_first_stage_cannot_have_are_refused_before_it_is_trained(copied: Wbltr) -> None:
    cosine = ("--recipe", "digits-ir50", *SHORT, "--set", "features={head: cosine, loss: ldam}")
    refused = copied("run", *cosine)
    assert refused.code == 2
    assert "posthoc l2 would change nothing on a cosine head" in refused.err
    assert "features" not in refused.err.split("error")[0]
    scaled = copied("run", *cosine, "--set", "rows=[lws]")
    assert scaled.code == 2
    assert "changes a linear head, the first stage's is cosine" in " ".join(scaled.err.split())
    some = copied("compare", *cosine, "--heads", "all", "-n")
    assert some.code == 0, some.err
    assert "left out: naive-tau, tau, l2, logit-adjust-mult, isotonic" in some.err
    assert "left out: lws, disalign" in some.err


def test_a_teacher_of_other_images_or_chosen_on_the_test_set_is_refused(copied: Wbltr) -> None:
    for settings, words in (
        (("--set", "dataset.order=shuffled"), "was trained on other images"),
        (("--set", "features.select=best-test"), "was chosen on the test set"),
    ):
        teacher = copied("train-features", "--recipe", "digits-ir50", *SHORT, *settings, "-q").out.strip()
        refused = copied("run", "--recipe", "digits-ir50", *SHORT, "--set", f"features={{loss: distill, teacher: {teacher}}}")
        assert refused.code == 2
        assert words in " ".join(refused.err.split())


def test_distilled_features_are_found_again_whatever_the_precision_says(copied: Wbltr) -> None:
    taught = ("--recipe", "digits-ir50", *SHORT, "--set", "features={loss: distill, teacher: teacher}")
    copied("train-features", "--recipe", "digits-ir50", *SHORT, "--name", "teacher")
    made = copied("train-features", *taught, "--set", "features.precision=fp32", "--json").document
    again = copied("train-features", *taught, "--set", "features.precision=auto", "--json").document
    assert (again["cached"], again["artifact"]) == (True, made["artifact"])


@pytest.mark.parametrize(("row", "code"), [("cb-wd-max", 2), ("ce", 0)])
def test_a_prior_is_not_corrected_twice(copied: Wbltr, row: str, code: int) -> None:
    head = copied("run", "--recipe", "digits-ir50", *SHORT, "--set", f"rows=[{row}]", "--json").document["inputs"]["head"]
    said = copied("posthoc", "prior", "--from", head)
    assert said.code == code, said.err
    assert ("was balanced already (CB)" in said.err) == bool(code)
    adjusted = copied("posthoc", "logit-adjust", "--tau", "1.0", "--from", head)
    assert adjusted.code == 0
    assert ("would count twice" in adjusted.err) == bool(code)
