from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest

from wbltr.cli.console import BYTES, Console, age, harmless, json_line, number, with_deviation
from wbltr.cli.progress import Progress
from wbltr.methods.losses import LOSSES
from wbltr.methods.rows import ROWS, Row
from wbltr.recipe import Claim, FeaturesConfig, HeadSettings, PosthocConfig
from wbltr.recipe_file import load_recipe
from wbltr.report.caption import caption
from wbltr.report.results import Spread, eval_document, over_runs, spread
from wbltr.report.words import head_words, label, measures, words
from wbltr.stages import PosthocStageConfig


def tensors(**values: float) -> dict[str, Any]:
    shares = {"all": 0.5, "many": 0.75, "medium": 0.25, "few": float("nan"), "top5": 0.9, **values}
    return {f"accuracy.{name}": np.array(share) for name, share in shares.items()} | {
        "accuracy.per_class": np.array([0.75, 0.25, np.nan]),
        "norms": np.array([1.0, 0.5, 0.25], np.float32),
        "class_counts": np.array([200, 50, 40]),
        "confusion": np.array([[3, 1, 0], [3, 1, 0], [0, 0, 0]]),
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


def test_the_worst_class_is_named_and_precision_is_null_for_a_class_never_predicted() -> None:
    document = eval_document(tensors(), CONFIG)
    assert document["worst"] == {"class": "lynx", "accuracy": 25.0}
    assert document["precision"] == [50.0, 50.0, None]


def test_what_the_first_revision_did_not_measure_is_null_and_what_the_second_did_is_rounded() -> None:
    nothing = {"all": None, "many": None, "medium": None, "few": None}
    old = eval_document(tensors(), CONFIG)
    assert [old[name] for name in ("ece", "classwise_ece", "nll", "brier")] == [nothing] * 4
    assert [old[name] for name in ("auroc", "harmonic", "geometric")] == [None] * 3
    shares = {"auroc": 0.87654, "accuracy.harmonic": 0.0, "accuracy.geometric": 0.123456, "ece.all": 0.054321}
    measured = shares | {"ece.many": 0.01, "nll.all": 1.23456, "nll.few": float("inf"), "brier.all": 0.654321}
    new = eval_document(tensors() | {name: np.array(value) for name, value in measured.items()}, CONFIG, ("many", "few"))
    assert (new["auroc"], new["harmonic"], new["geometric"]) == (87.65, 0.0, 12.35)
    assert new["ece"] == {"all": 5.43, "many": 1.0, "few": None}
    assert (new["nll"]["all"], new["nll"]["few"], new["brier"]["all"]) == (1.2346, None, 0.6543)
    json.dumps(new, allow_nan=False)
    assert measures(new, "wbltr posthoc temperature") == (
        "top-5 90.0, macro-F1 40.0, AUROC 87.7; worst class lynx: 25.0; harmonic mean 0.0, geometric 12.3\n"
        "calibration: ECE 5.4 (many 1.0, few n/a), NLL 1.235, Brier 0.654; make it better: wbltr posthoc temperature"
    )
    assert "better" not in measures(new)


@pytest.mark.parametrize(
    ("settings", "metrics", "name", "said"),
    [
        ({"method": "l2"}, {"tau": 1.0}, "+ L2", "τ 1"),
        ({"method": "logit-adjust", "tau": "val"}, {"tau": 0.5, "val_accuracy": 0.5}, "+ logit adjustment (τ = 0.5)",
         "τ 0.5, best on validation (50.0)"),
        ({"method": "logit-adjust-mult", "tau": 0.65}, {}, "+ multiplicative logit adjustment (τ = 0.65)", ""),
        ({"method": "isotonic"}, {"norm_min": 0.5, "norm_max": 1.25}, "+ isotonic norms", "row norms 0.5..1.25"),
        ({"method": "isotonic", "direction": "increasing"}, {}, "+ isotonic norms, increasing", ""),
        ({"method": "temperature"}, {"temperature": 1.8312, "val_nll_before": 1.5, "val_nll": 1.25}, "+ temperature (T = 1.83)",
         "temperature 1.83, NLL on validation 1.500, now 1.250"),
        ({"method": "temperature"}, {}, "+ temperature", ""),
        ({"method": "vector"}, {"val_nll_before": 1.5, "val_nll": 1.25}, "+ vector scaling",
         "NLL on validation 1.500, now 1.250"),
        ({"method": "prior"}, {"prior": "uniform"}, "+ uniform prior", "uniform prior"),
        ({"method": "prior", "prior": {"cat": 1.0}}, {"prior": "given"}, "+ given prior", "given prior"),
    ],
)  # fmt: skip
def test_an_adjusted_head_is_named_by_its_method_and_what_was_chosen(
    settings: dict[str, Any], metrics: dict[str, Any], name: str, said: str
) -> None:
    config = PosthocStageConfig.of(PosthocConfig.model_validate(settings)).hashed()
    assert head_words("posthoc", config, metrics) == name
    assert words("posthoc", metrics) == said


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
    rows: tuple[Row, ...] = (
        "ce",
        "ce-wd",
        "ce-max",
        "ce-wd-max",
        "ce-l2",
        "cb",
        "cb-wd",
        "cb-max",
        "cb-wd-max",
        "cb-l2",
        "cb-wd-max-last2",
    )
    for row in rows:
        config = section.as_row(row, FeaturesConfig()).model_dump(mode="json")
        assert head_words("classifier", config, {}) == label(row), row
    for row in (name for name, entry in ROWS.items() if entry.sets is not None):
        own = HeadSettings(teacher="mine") if row == "distill" else None
        config = section.as_row(row, FeaturesConfig(), own).model_dump(mode="json")
        assert head_words("classifier", config, {}) == label(row), row
    for loss in LOSSES:
        head_words("classifier", section.model_copy(update={"loss": loss}).model_dump(mode="json"), {})
    assert all(label(row) for row in ROWS)
    exact = section.model_copy(update={"mode": "exact"}).as_row("cb-wd-max-last5", FeaturesConfig()).model_dump(mode="json")
    assert head_words("finetune", {"classifier": exact}, {}) == "+ CB & WD & MaxNorm, last 5 layers, batch-norm drifting"
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


def test_over_several_runs_the_mean_is_held_against_the_claim_and_the_seeds_are_named() -> None:
    claim = Claim(on="test", row="cb-wd", all=48.0, sd=0.5, seeds=5)
    recipe = load_recipe("cifar100-ir100").model_copy(update={"claim": claim})
    several = caption(recipe, CONFIG, tensors(), "+ CB & WD", {0: 47.0, 7: 50.0})
    assert "the recipe claims 48.0 ± 0.5 (n = 5); these 2 runs: 48.5 ± 2.1 (+0.5)" in several
    assert "mean ± standard deviation over n = 2 seeds: 0, 7" in several
    one = caption(recipe, CONFIG, tensors(), "+ CB & WD", {7: 50.0})
    assert one == caption(recipe, CONFIG, tensors(), "+ CB & WD")
    assert "±" in one, "of the claim only"
    assert "seeds" not in one


def test_a_spread_is_the_sample_standard_deviation_of_what_was_measured() -> None:
    assert spread([1.0, 2.0, 4.0]) == Spread(2.33, 1.53, 3)
    assert spread([None, 3.0, 5.0]) == Spread(4.0, 1.41, 2)
    assert spread([3.0]) == Spread(3.0, None, 1)
    assert spread([None, None]) == Spread(None, None, 0)
    first, second = ({"l2": {"accuracy": {"all": a, "few": None}}} for a in (50.0, 52.0))
    assert over_runs([first, second]) == {"l2": {"all": Spread(51.0, 1.41, 2), "few": Spread(None, None, 0)}}


def test_a_single_run_shows_no_deviation() -> None:
    assert (with_deviation(86.54, 0.75), with_deviation(86.54, None), with_deviation(None, None)) == (
        "86.5 ± 0.8",
        "86.5",
        "n/a",
    )


def test_a_record_that_says_less_gets_no_words() -> None:
    for stage in ("dataset", "features", "embeddings", "classifier", "posthoc", "eval", "unknown"):
        assert words(stage, {}) == ""


def test_control_characters_are_shown_not_sent() -> None:
    assert harmless("a\x1b[31mb\u202ec\nd") == "a\\x1b[31mb\\u202ec\\nd"
    assert harmless("τ-norm 猫 é") == "τ-norm 猫 é"
    assert harmless("می\u200cخواهم 👩\u200d💻") == "می\u200cخواهم 👩\u200d💻"


def test_a_pipe_gets_a_result_as_it_is_and_json_says_it_exactly(capsys: pytest.CaptureFixture[str]) -> None:
    text = "a\x1b[31mb\u202ec\nd\r"
    Console().result(text, one_line=True)
    assert capsys.readouterr().out == f"{text}\n"
    line = json_line({"path": f"{text}\udcff\U000e0067"})
    assert json.loads(line) == {"path": f"{text}\udcff\U000e0067"}
    assert line.isascii()


def test_bytes_of_a_name_are_written_as_they_are_and_what_an_encoding_lacks_as_codes() -> None:
    assert "a\udcff\udc80".encode("utf-8", BYTES) == b"a\xff\x80"
    assert "\ud800é".encode("utf-8", BYTES) == "\\ud800é".encode()
    assert json.loads('"é😀"'.encode("ascii", BYTES)) == "é😀"


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
    monkeypatch.setattr("wbltr.cli.progress.time.monotonic", lambda: now[0])
    progress = Progress(Console())
    progress.begin("features", False)
    for done in range(0, 4000, 100):
        now[0] += 1.0
        progress.report({"epoch": 1, "epochs": 2, "loss": 1.5, "accuracy": 0.25})
        progress.advance(done, 8000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[0] == "features: epoch 1/2, loss 1.500, accuracy 25.0, 100 images/s, 1 min left"


def test_several_runs_tell_which_one_each_line_is_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("wbltr.cli.progress.time.monotonic", lambda: now[0])
    console = Console()
    runs = [Progress(console, f"seed {seed}") for seed in (3, 5)]
    for run in runs:
        run.begin("features", False)
    for done in range(0, 2500, 100):
        now[0] += 1.0
        for run in runs:
            run.advance(done, 8000)
    runs[1].made("features", "ab" * 32, False, 12.0, None, "3 epochs")
    lines = capsys.readouterr().err.splitlines()
    assert [line[:17] for line in lines] == ["seed 3: features:", "seed 5: features:"] * 2 + ["seed 5: features "]
    assert lines[-1] == "seed 5: features   abababababab  12.0 s    3 epochs"


def test_lines_of_many_threads_stay_whole(capfd: pytest.CaptureFixture[str]) -> None:
    console = Console()
    lines = [f"{number} " + "x" * 200 for number in range(8)]

    def tell(line: str) -> None:
        for _ in range(200):
            console.notice(line)

    threads = [threading.Thread(target=tell, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = capfd.readouterr().err.splitlines()
    assert sorted(said) == sorted(lines * 200)


@pytest.mark.parametrize("columns", [44, 60, 66, 80, 120])
def test_a_table_with_deviations_fits_and_keeps_every_figure_whole_where_there_is_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    figures = ("74.7 ± 0.8", "100.0 ± 0.0", "89.8 ± 0.7", "47.0 ± 12.5")
    Console().table(("", "all", "many", "medium", "few"), [("+ CB & WD & MaxNorm", *figures)])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= columns
    assert "MaxNorm" in out
    assert all(figure in out for figure in figures) == (columns >= 60)
    for figure in figures:
        assert figure.split()[0] in out
        assert figure.split()[2] in out


def test_a_download_tells_rate_and_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("wbltr.cli.progress.time.monotonic", lambda: now[0])
    progress = Progress(Console())
    progress.begin("dataset", False)
    now[0] = 20.0
    progress.transfer(1_000_000, 169_000_000, 55_000.0)
    assert capsys.readouterr().err.strip() == "download: 1 of 169 MB, 55 kB/s, 51 min left"
