"""The card of an exported model, as text."""

from __future__ import annotations

from typing import Any

import pytest

from wbltr.report.model_card import model_card, plain

ABOUT: dict[str, Any] = {
    "format": "safetensors",
    "recipe": "mine",
    "artifacts": {"head": "a" * 64},
    "network": "small",
    "input": {"channels": 3, "shorter_side": 32, "side": 32, "mean": [0.5], "std": [0.2]},
    "preprocessing": "The image's shorter side …",
    "head": "linear",
    "head_words": "+ CB & WD",
    "class_names": ["ant", "<script>alert(1)</script>", "a | b\n# c", "`x` [y](z)"],
    "calibrated": False,
    "calibration": "none",
    "outputs": {"takes": "images: uint8 (B, 3, 32, 32), any B", "logits": "float32", "probabilities": "float32"},
    "versions": {"wbltr": "0.1.0"},
    "checked": None,
}
RECIPE = {"name": "mine", "dataset": {"source": "images"}}
COUNTS = [10, 5, 2, 1]


def card(**changes: Any) -> str:
    return model_card(ABOUT | changes, RECIPE, {"fingerprint": "abc", "val": 3, "test": 4}, COUNTS, [])


def test_names_of_strangers_mean_nothing_in_the_card() -> None:
    text = card()
    rows = text.partition("## Classes\n\n")[2].splitlines()
    assert len(rows) == 2 + len(COUNTS), "a line for each class"
    assert all(row.replace("\\|", "").count("|") == 3 for row in rows)
    assert "<script>" not in text
    assert "\n# c" not in text
    assert r"\`x\` \[y\](z)" in text


def test_a_name_cannot_end_the_block_that_the_recipe_stands_in() -> None:
    recipe = RECIPE | {"name": f"{'a' * 90} ``` {'b' * 90}"}
    text = model_card(ABOUT, recipe, {}, COUNTS, [])
    block = text.partition("```yaml\n")[2].partition("\n## Classes")[0]
    assert sum(line.strip().startswith("```") for line in block.splitlines()) == 1


@pytest.mark.parametrize("text", ["plain", "two words", "ümlaut", "a-b.c"])
def test_plain_words_stay_as_they_are(text: str) -> None:
    assert plain(text) == text


def test_what_is_not_known_is_said() -> None:
    text = card()
    assert "no measurement of this head" in text
    assert "Its probabilities are not calibrated." in text
    assert (
        "18 training images of 4 classes, 10 of the largest and 1 of the smallest; 3 images for validation, 4 to test" in text
    )
    assert "learned from 1 image:" in text


def test_a_thousand_classes_do_not_make_the_card_endless() -> None:
    names = [f"class {number}" for number in range(1000)]
    text = model_card(ABOUT | {"class_names": names}, RECIPE, {}, [1] * 1000, [])
    assert text.count("\n| class ") == 201
    assert "and 800 more, in `model.json`." in text
