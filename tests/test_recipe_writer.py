"""The recipe that is written for somebody's own set."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbltr.errors import WbltrError
from wbltr.recipe import EvalConfig, Recipe
from wbltr.recipe_file import load_recipe
from wbltr.recipe_writer import (
    Choices,
    OwnSet,
    dataset_choices,
    recipe_of,
    recipe_text,
    said,
    thresholds,
    training_choices,
)

SMALL = OwnSet(pictures=6000, short=28, grey=True, given=())
LARGE = OwnSet(pictures=20_000, short=300, grey=False, given=("train", "val", "test"))
COUNTS = (3000, 500, 50, 9)


def chosen(own: OwnSet, *settings: str, counts: tuple[int, ...] = COUNTS) -> tuple[Recipe, Choices]:
    choices = dataset_choices(own)
    section = recipe_of("mine", "x", "", choices, settings).dataset
    mean = [0.5] * section.channels if section.channels else []
    choices |= training_choices(section, own, counts, 40, mean, mean)
    return recipe_of("mine", "x", "", choices, settings), choices


def test_small_pictures_are_held_and_large_ones_streamed() -> None:
    small, _ = chosen(SMALL)
    assert (small.dataset.side, small.dataset.channels, small.dataset.val) == (28, 1, "holdout")
    assert (small.features.network, small.features.augment, small.features.mean) == ("resnet32", "crop-flip", (0.5,))
    large, _ = chosen(LARGE)
    assert (large.dataset.side, large.dataset.val, large.dataset.test_share) == (None, "list", 0.2)
    assert (large.features.network, large.features.stem, large.features.image_size) == ("resnet18", "imagenet", 224)
    many, _ = chosen(LARGE, counts=(30_000, 2))
    assert many.features.network == "resnet50"
    assert many.embeddings.views == 4, "training embeddings stay below a gigabyte"


def test_what_is_written_is_read_as_what_was_chosen(tmp_path: Path) -> None:
    for own, settings in ((SMALL, ["features.lr=0.05", "eval.flip=true"]), (LARGE, ["dataset.on_bad_image=skip"])):
        recipe, choices = chosen(own, *settings)
        file = tmp_path / "mine.yaml"
        file.write_text(recipe_text(recipe, choices, "for 6,000 pictures", "no: a folder", "~"))
        read = load_recipe(str(file))
        assert read.model_copy(update={"images": "x", "root": ""}) == recipe
        assert read.images == str(tmp_path / "no: a folder")


def test_reasons_stand_beside_values_and_what_was_set_is_said_to_be(tmp_path: Path) -> None:
    recipe, choices = chosen(SMALL, "features.epochs=3")
    text = recipe_text(recipe, choices, "title", "x", "")
    assert "  epochs: 3  # as you set it\n" in text
    assert "  side: 28  # pixels" in text
    lines = said(recipe, choices)
    assert "features.epochs: 3 (as you set it)" in lines
    assert any(line.startswith("features.network: resnet32 (for 3,559 training pictures") for line in lines)
    assert all("as you set it" not in line for line in lines if "epochs" not in line)


def test_a_setting_that_is_no_field_is_refused() -> None:
    with pytest.raises(WbltrError, match=r"features\.epoch: no such field"):
        chosen(SMALL, "features.epoch=3")


@given(st.lists(st.integers(1, 5000), min_size=2, max_size=30))
def test_thresholds_leave_neither_many_nor_few_empty_unless_all_classes_are_alike(counts: list[int]) -> None:
    many, few, _ = thresholds(counts)
    EvalConfig(many=many, few=few)
    for split in (any(n > many for n in counts), any(n < few for n in counts)):
        assert split == (len(set(counts)) > 1)
    assert not any(n > many and n < few for n in counts)


def test_the_usual_thresholds_are_kept_where_every_split_has_a_class() -> None:
    assert thresholds([500, 100, 50, 5])[:2] == (100, 20)
    assert thresholds([500, 400, 300, 200, 150, 120])[:2] == (300, 200)
    assert thresholds([7, 7])[:2] == (7, 7)
    assert thresholds([10, 20])[:2] == (10, 11)
