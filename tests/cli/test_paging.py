"""`wbltr report`: a page of what is finished, end to end on the built-in digits; nothing is made."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import SHORT, Wbltr
from html_reader import Page

from wbltr.pipeline import artifacts
from wbltr.recipe_file import load_recipe
from wbltr.store import Store

SHORT_RECIPE = ("--recipe", "digits-ir50", *(word for word in SHORT if word not in ("--threads", "1")))
ROWS = ["first stage", "+ τ-norm", "+ L2", "+ CB & WD & MaxNorm"]


def read(path: str = "report.html") -> Page:
    return Page(Path(path).read_text(encoding="utf-8"))


def everything() -> list[tuple[Path, bytes]]:
    return [(path, path.read_bytes()) for path in sorted(Path(".wbltr").rglob("*")) if path.is_file()]


def test_the_page_has_the_figures_of_compare_and_eval_and_nothing_is_made(copied: Wbltr) -> None:
    before = everything()
    said = copied("report")
    assert (said.code, said.out) == (0, "report.html\n"), said.err
    assert everything() == before
    page = read()
    compared = copied("compare", *SHORT_RECIPE, "--heads", "first stage,tau,l2,cb-wd-max", "--json").document
    measured = copied("eval", "--json").document
    head, *rows = page.rows("Results")
    assert [row[0] for row in rows] == ROWS
    for (_, *cells), of, sure in zip(rows, compared["rows"].values(), compared["interval"].values(), strict=True):
        for column, cell in zip(head[1:], cells, strict=True):
            low, high = sure[column.lower()]
            assert cell == f"{of[column.lower()]:.1f} ({low:.1f}–{high:.1f})"
    head, *rows = page.rows("Classes")
    shown = {row[0]: row[head.index("accuracy")] for row in rows}
    assert shown == {name: f"{share:.1f}" for name, share in zip(measured["classes"], measured["per_class"], strict=True)}
    head, *rows = page.rows("Calibration")
    assert {row[0].lower(): row[1] for row in rows} == {name: f"{value:.1f}" for name, value in measured["ece"].items()}
    diagnosis = copied("diagnose", "--json").document["diagnosis"]
    assert {row[0]: row[1].partition("Warning")[0] for row in page.rows("Diagnosis")[1:]} == {
        name: finding["words"] for name, finding in diagnosis.items()
    }


def test_pictures_of_the_tail_are_those_that_the_head_took_for_another(copied: Wbltr) -> None:
    assert copied("report", *SHORT_RECIPE, "-q").code == 0
    store = Store.open(create=False)
    latest = store.ref("latest/eval")
    assert latest is not None
    tensors = store.load(latest)
    pictures = [image for image in read().all("img") if "image/png" in image.attributes["src"]]
    assert pictures
    for image in pictures:
        words = image.attributes["alt"].split()  # image 17 of the test part: 9, taken for 5
        place, true, predicted = int(words[1]), int(words[6].rstrip(",")), int(words[-1])
        assert (tensors["labels"][place], tensors["predictions"][place]) == (true, predicted)
        assert tensors["class_counts"][true] < 10


def test_named_by_recipe_or_by_artifact_it_is_the_same_page_but_for_the_command(copied: Wbltr) -> None:
    document = copied("report", *SHORT_RECIPE, "--out", "a.html", "--json").document
    assert (document["file"], document["missing"]) == ("a.html", [])
    assert document["accuracy"] == document["rows"]["cb-wd-max"]
    assert copied("report", "--from", document["artifact"][:12], "--out", "b.html").out == "b.html\n"
    pages = [[element.text for element in read(name).all("section")] for name in ("a.html", "b.html")]
    assert pages[0][:-1] == pages[1][:-1]
    assert f"wbltr report --from {document['artifact'][:12]}" in pages[1][-1]


def test_what_the_page_says_to_type_finds_everything_finished(copied: Wbltr) -> None:
    assert copied("report", *SHORT_RECIPE).code == 0
    whole, again, *others = [shlex.split(pre.text) for pre in read().all("pre")[1:]]
    assert all(step["cached"] for step in copied(*whole[1:], "-n", "--json").document["steps"])
    assert copied(*again[1:]).code == 0
    for command in others:
        assert copied(*command[1:]).code == 0, command


def test_the_recipe_in_the_page_comes_to_the_same_artifacts(copied: Wbltr) -> None:
    assert copied("report").code == 0
    recipe, whole, *_ = [pre.text for pre in read().all("pre")]
    command = shlex.split(whole, comments=True)
    Path(command[-1]).write_text(recipe)
    assert all(step["cached"] for step in copied(*command[1:], "-n", "--json").document["steps"])
    assert load_recipe(command[-1]).features.epochs == 3


def test_a_temperature_stands_beside_the_head_that_it_was_fitted_to(copied: Wbltr) -> None:
    head = copied("report", *SHORT_RECIPE, "-q").code
    assert head == 0
    assert len(read().rows("Calibration")[0]) == 4
    fitted = copied("posthoc", "temperature", "--from", "latest/head", "-q").out.strip()
    assert copied("eval", "--from", fitted, "-q").code == 0
    assert copied("report", *SHORT_RECIPE, "-q").code == 0
    assert read().rows("Calibration")[0] == ["split", "ECE", "ECE with T", "NLL", "NLL with T", "Brier", "Brier with T"]
    assert copied("report", "-q").code == 0, "and measured last it has a page of its own"
    assert [row[0] for row in read().rows("Results")[1:-1]] == ROWS
    assert "temperature (T = " in read().rows("Results")[-1][0]


def test_what_the_store_has_lost_is_left_out(copied: Wbltr) -> None:
    assert copied("report", "--out", "whole.html").code == 0
    store = Store.open(create=False)
    for made in list(artifacts(store)):
        if made.stage in ("embeddings", "dataset"):
            store.path(made.object_id).unlink()
    said = copied("report")
    assert said.code == 0, said.err
    whole, less = read("whole.html"), read()
    assert len(less.all("img")) < len(whole.all("img"))
    accuracy = [
        [dict(zip(head, row, strict=True))["accuracy"] for row in rows]
        for head, *rows in (less.rows("Classes"), whole.rows("Classes"))
    ]
    assert accuracy[0] == accuracy[1]


def test_rows_of_the_recipe_that_are_missing_are_told_with_what_makes_them(copied: Wbltr) -> None:
    said = copied("report", *SHORT_RECIPE, "--set", "rows=[first stage, cb]")
    assert said.code == 0
    assert "1 row not finished (cb); make them: wbltr run --recipe digits-ir50" in " ".join(said.err.split())


def test_names_of_classes_are_text(copied: Wbltr) -> None:
    assert copied("report", *SHORT_RECIPE, "--set", "paper=<script>alert(1)</script>", "-q").code == 0
    assert len(read().all("script")) == 1
    assert "<script>alert(1)</script>" in read().all("dl")[0].text


def test_embeddings_of_ones_own_have_a_page_without_pictures_and_a_table(wbltr: Wbltr) -> None:
    source = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), (60, 30, 15, 8))
    np.savez("mine.npz", embeddings=source.normal(size=(len(labels), 5)).astype(np.float32) + labels[:, None], labels=labels)
    assert wbltr("embed", "--import", "mine.npz", "-q").code == 0
    asked = ("--recipe", "./mine.yaml", "--set", "features.epochs=2", "--set", "classifier.epochs=2")
    assert wbltr("run", *asked, "--threads", "1", "-q").code == 0
    said = wbltr("report", *asked)
    assert said.code == 0, said.err
    assert [image.attributes["src"].partition(";")[0] for image in read().all("img")] == ["data:image/svg+xml"] * 3
    finished = wbltr("report", *asked, "--json").document["rows"]
    table = wbltr("report", "--table", "1", *asked, "--json").document["rows"]
    ours = {row["row"]: row["ours"]["all"]["mean"] for row in table if row["ours"]}
    assert ours == {row: finished[row]["all"] for row in ("first stage", "tau", "l2", "cb-wd-max")}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 3, ["nothing to start from", "wbltr run --recipe digits-ir50"]),
        (["--recipe", "digits-ir50"], 3, ["nothing of it is measured", "wbltr run --recipe digits-ir50"]),
        (["--recipe", "digits-ir5"], 2, ["Did you mean 'digits-ir50'?"]),
        (["--out", "page.htm"], 2, ["'.htm'", ".html"]),
        (["--out", "no/such/page.html"], 6, ["no/such"]),
        (["--seeds", "0,1"], 2, ["one run", "--table"]),
        (["--format", "pdf"], 2, ["which table"]),
        (["--table", "1", "--format", "html"], 2, ["leave --table out"]),
        (["--table", "1", "--from", "latest/eval"], 2, ["--from", "--table"]),
        (["--format", "markdown"], 2, ["which table"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_what_cannot_be_told_is_one_clear_line_and_no_store_is_made(
    wbltr: Wbltr, arguments: list[str], code: int, words: list[str]
) -> None:
    said = wbltr("report", *arguments)
    assert said.code == code, said.err
    assert all(word in said.err for word in words), said.err
    assert list(Path().iterdir()) == []


def test_an_artifact_that_is_no_measurement_is_refused(copied: Wbltr) -> None:
    said = copied("report", "--from", "latest/features")
    assert said.code == 2
    assert "report starts from eval" in said.err
    said = copied("report", "--set", "eval.on=val")
    assert said.code == 2
    assert "--recipe NAME" in said.err
