from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Wbltr

from wbltr.cli.posthoc import posthoc

VERBS = [str(command.name) for command in posthoc.registered_commands]


def test_every_method_makes_a_head_that_eval_measures_under_its_name(copied: Wbltr) -> None:
    names = {
        "logit-adjust": "+ logit adjustment (τ = 1.0)", "logit-adjust-mult": "+ multiplicative logit adjustment (τ = 0.5)",
        "isotonic": "+ isotonic norms", "temperature": "+ temperature (T = ", "vector": "+ vector scaling",
        "prior": "+ uniform prior",
    }  # fmt: skip
    given = {"logit-adjust": ("--tau", "1.0"), "logit-adjust-mult": ("--tau", "0.5")}
    assert set(VERBS) >= {"l2", "tau", *names}
    for method, name in names.items():
        made = copied("posthoc", method, *given.get(method, ()), "--json")
        assert made.code == 0, made.out + made.err
        measured = copied("eval")
        assert name in measured.out, measured.out
        assert f"using posthoc {made.document['artifact'][:12]}" in measured.err


@pytest.mark.parametrize("method", VERBS)
def test_help_begins_with_an_example(wbltr: Wbltr, method: str) -> None:
    assert f"Example:  wbltr posthoc {method}" in wbltr("posthoc", method, "--help").out


def test_tau_of_logit_adjustment_is_chosen_on_validation(copied: Wbltr) -> None:
    metrics = copied("posthoc", "logit-adjust", "--json").document["metrics"]
    assert 0 <= metrics["tau"] <= 3
    assert 0 <= metrics["val_accuracy"] <= 1


def test_eval_tells_how_to_be_calibrated_and_after_it_no_more(copied: Wbltr) -> None:
    before = copied("eval").out
    assert "top-5 " in before
    assert "; worst class " in before
    assert "calibration: ECE " in before
    head = copied("eval", "--json").document["inputs"]["head"]
    assert f"wbltr posthoc temperature --from {head[:12]}" in " ".join(before.split())
    assert copied("posthoc", "temperature", "--from", head[:12]).code == 0
    assert "make it better" not in copied("eval").out


def test_the_document_of_eval_has_every_measure(copied: Wbltr) -> None:
    document = copied("eval", "--splits", "few", "--json").document
    for name in ("accuracy", "ece", "classwise_ece", "nll", "brier"):
        assert set(document[name]) == {"all", "few"}, name
    assert len(document["precision"]) == 10
    assert 50 < document["auroc"] <= 100
    assert document["worst"]["class"] in {str(digit) for digit in range(10)}
    assert document["harmonic"] <= document["geometric"] <= document["accuracy"]["all"]


def test_a_prior_is_read_by_class_name_and_two_spellings_of_it_are_one_request(copied: Wbltr) -> None:
    shares = {str(digit): 1.0 + digit for digit in range(10)}
    Path("prior.json").write_text(json.dumps(shares))
    Path("prior.yaml").write_text("".join(f"{name}: {share}\n" for name, share in reversed(shares.items())))
    one, two = (copied("posthoc", "prior", "--prior", f"prior.{kind}", "--json").document for kind in ("json", "yaml"))
    assert (one["cached"], two["cached"], one["artifact"]) == (False, True, two["artifact"])
    record = copied("store", "show", one["artifact"], "--json").document["record"]
    assert record["recipe"]["posthoc"]["prior"] == shares
    assert "+ given prior" in copied("eval").out


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file"),
        ("cat", "expected class names with a share each"),
        ("0: -1\n", "0: expected a share above 0, found -1"),
        ("0: much\n", "0: expected a share above 0, found 'much'"),
        ("0: 1\n0: 2\n", "given twice"),
        ("0: 1\nseven: 2\n", "9 of 10 classes have no share: 1, 2, 3, 4, 5, …; no class 'seven'."),
        ("0: [1\n", "prior.yaml:"),
        ("\udcff", "not UTF-8 text"),
    ],
)
def test_a_prior_that_cannot_be_read_is_one_clear_line(copied: Wbltr, text: str | None, told: str) -> None:
    if text is not None:
        Path("prior.yaml").write_bytes(text.encode(errors="surrogateescape"))
    said = copied("posthoc", "prior", "--prior", "prior.yaml")
    assert said.code == 2, said.out
    assert told in said.err
    assert sum(line.startswith("error:") for line in said.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["isotonic", "--direction", "up"], "posthoc.direction"),
        (["logit-adjust", "--tau", "11"], "posthoc.tau"),
        (["temperature", "--set", "posthoc.tau=1"], "the command itself says so"),
        (["isotonic", "--set", "posthoc.direction=increasing"], "wbltr posthoc isotonic --help"),
    ],
)
def test_bad_settings_are_refused(copied: Wbltr, arguments: list[str], told: str) -> None:
    said = copied("posthoc", *arguments)
    assert said.code == 2, said.out
    assert told in said.err
