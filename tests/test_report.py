from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from wbltr.cli.console import Console, age, harmless, number
from wbltr.recipe import Claim
from wbltr.recipe_file import load_recipe
from wbltr.report.results import eval_document
from wbltr.report.words import caption, head_words, label, words


def tensors(**values: float) -> dict[str, Any]:
    shares = {"all": 0.5, "many": 0.75, "medium": 0.25, "few": float("nan"), "top5": 0.9, **values}
    return {f"accuracy.{name}": np.array(share) for name, share in shares.items()} | {
        "accuracy.per_class": np.array([0.75, 0.25, np.nan]),
        "norms": np.array([1.0, 0.5, 0.25], np.float32),
        "class_counts": np.array([200, 50, 40]),
        "class_names": np.frombuffer(json.dumps(["cat", "lynx", "[red]\x1b[31m"]).encode(), np.uint8),
        "macro_f1": np.array(0.4),
        "images": np.array(10_000),
        "classes.many": np.array(1),
        "classes.medium": np.array(2),
        "classes.few": np.array(0),
    }


CONFIG = {"on": "test", "many": 100, "few": 20, "flip": False}


def test_an_empty_split_is_null_and_its_class_is_counted_as_left_out() -> None:
    document = eval_document(tensors(), CONFIG)
    assert document["accuracy"] == {"all": 50.0, "many": 75.0, "medium": 25.0, "few": None}
    assert document["per_class"] == [75.0, 25.0, None]
    assert document["classes_left_out"] == 1
    assert json.loads(json.dumps(document, allow_nan=False)) == document


@pytest.mark.parametrize(
    ("row", "loss", "text"),
    [
        ("first stage", "cb", "first stage"),
        ("l2", "cb", "+ L2"),
        ("tau", "cb", "+ τ-norm"),
        ("cb-wd-max", "cb", "+ CB & WD & MaxNorm"),
        ("cb-l2", "ce", "+ CB & L2"),
        ("cb-wd", "cb-bce", "+ CB (BCE) & WD"),
        ("ce-wd", "cb-bce", "+ CE & WD"),
    ],
)
def test_rows_are_named_as_in_the_paper_with_the_loss_that_was_used(row: str, loss: str, text: str) -> None:
    assert label(row, loss) == text


def test_a_head_is_named_as_the_row_that_it_is() -> None:
    section = load_recipe("cifar100-ir100").classifier
    for row in ("ce", "ce-wd", "ce-max", "ce-wd-max", "ce-l2", "cb", "cb-wd", "cb-max", "cb-wd-max", "cb-l2"):
        config = section.as_row(row).model_dump(mode="json")
        assert head_words("classifier", config, {}) == label(row), row
    assert head_words("features", {}, {}) == "first stage"
    assert head_words("posthoc", {"method": "tau", "tau": "val"}, {"tau": 1.3}) == "+ τ-norm (τ = 1.3)"


def test_a_caption_compares_with_the_claim_of_the_same_row_and_part_only() -> None:
    claim = Claim(on="test", row="cb-wd", all=48.0, sd=0.5, seeds=5)
    recipe = load_recipe("cifar100-ir100").model_copy(update={"claim": claim})
    assert "the recipe claims 48.0 ± 0.5 (n = 5); this run: 50.0 (+2.0)" in caption(recipe, CONFIG, tensors(), "+ CB & WD")
    assert "left out of every mean: 1 of 3 classes, which have no test images" in caption(recipe, CONFIG, tensors(), "")
    assert "claims" not in caption(recipe, CONFIG, tensors(), "+ CB")
    assert "claims" not in caption(recipe, {**CONFIG, "on": "val"}, tensors(), "+ CB & WD")
    assert "Many: 1 classes (> 100 training images), Medium: 2 (20–100), Few: 0 (< 20)" in caption(
        recipe, CONFIG, tensors(), ""
    )


def test_a_record_that_says_less_gets_no_words() -> None:
    for stage in ("dataset", "features", "embeddings", "classifier", "posthoc", "eval", "unknown"):
        assert words(stage, {}) == ""


def test_control_characters_are_shown_not_sent() -> None:
    assert harmless("a\x1b[31mb\u202ec\nd") == "a\\x1b[31mb\\u202ec\\nd"
    assert harmless("τ-norm 猫 é") == "τ-norm 猫 é"


def test_a_missing_figure_is_na_never_zero() -> None:
    assert (number(None), number(0.0), number(48.25)) == ("n/a", "0.0", "48.2")


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s old"), (600, "10 min old"), (9000, "2 h old"), (500_000, "6 days old")])
def test_ages_are_told_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_a_table_shows_hostile_cells_harmlessly_and_figures_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table(("name", "all"), [("[bold]x\x1b[31m", "7.5"), ("y", "12.5")])
    out = capsys.readouterr().out
    assert "[bold]x\\x1b[31m" in out
    assert "\x1b" not in out
    assert [line.rstrip()[-4:] for line in out.splitlines() if "." in line] == [" 7.5", "12.5"]


def test_progress_off_a_terminal_is_a_plain_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("wbltr.cli.console.time.monotonic", lambda: now[0])
    console = Console()
    console.begin("features", False)
    for done in range(0, 4000, 100):
        now[0] += 1.0
        console.report({"epoch": 1, "epochs": 2, "loss": 1.5, "accuracy": 0.25})
        console.advance(done, 8000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[0] == "features: epoch 1/2, loss 1.500, accuracy 25.0, 100 images/s, 1 min left"


def test_a_download_tells_rate_and_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("wbltr.cli.console.time.monotonic", lambda: now[0])
    console = Console()
    console.begin("dataset", False)
    now[0] = 20.0
    console.transfer(1_000_000, 169_000_000, 55_000.0)
    assert capsys.readouterr().err.strip() == "download: 1 of 169 MB, 55 kB/s, 51 min left"
