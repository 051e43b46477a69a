from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from wbltr.config import Config
from wbltr.dataset_config import DatasetConfig
from wbltr.errors import WbltrError
from wbltr.methods.rows import ROWS, Row
from wbltr.recipe import ClassifierConfig, EvalConfig, FeaturesConfig, HeadSettings, MaxNormConfig, Recipe

FULL = ClassifierConfig(weight_decay=0.1, max_norm=MaxNormConfig())
FIRST = FeaturesConfig(weight_decay=5e-3)


def test_a_row_keeps_only_the_parts_it_names() -> None:
    assert FULL.as_row("cb-wd-max", FIRST) == FULL
    assert FULL.as_row("cb-wd", FIRST) == FULL.model_copy(update={"max_norm": None})
    assert FULL.as_row("cb-max", FIRST) == FULL.model_copy(update={"weight_decay": 0.0})
    assert FULL.as_row("cb", FIRST) == FULL.model_copy(update={"weight_decay": 0.0, "max_norm": None})
    assert FULL.as_row("ce", FIRST).loss == "ce"
    assert FULL.as_row("cb-l2", FIRST).constraint == "unit-norm"
    assert FULL.as_row("cb-max-default-wd", FIRST) == FULL.model_copy(update={"weight_decay": 5e-3})
    assert FULL.as_row("cb-wd-max-last5", FIRST) == FULL.model_copy(update={"layers": 5})


def test_a_row_takes_what_the_recipe_says_of_it_alone() -> None:
    own = HeadSettings(weight_decay=0.5, radius=0.7, lr=0.1)
    row = FULL.as_row("cb-wd-max", FIRST, own)
    assert (row.weight_decay, row.max_norm, row.lr) == (0.5, MaxNormConfig(radius=0.7), 0.1)
    assert FULL.as_row("cb", FIRST, own) == FULL.model_copy(update={"weight_decay": 0.0, "max_norm": None, "lr": 0.1})
    assert ClassifierConfig().as_row("cb-max", FIRST, HeadSettings(radius=0.7)).max_norm == MaxNormConfig(radius=0.7)


def test_a_cb_row_keeps_the_recipes_variant_of_the_class_balanced_loss() -> None:
    assert FULL.model_copy(update={"loss": "cb-bce"}).as_row("cb-wd", FIRST).loss == "cb-bce"


@pytest.mark.parametrize(("row", "field"), [("cb-max", "max_norm"), ("cb-wd", "weight_decay")])
def test_a_row_that_needs_what_the_recipe_lacks_says_what_to_set(row: str, field: str) -> None:
    with pytest.raises(WbltrError, match=field) as caught:
        ClassifierConfig().as_row(row, FIRST)
    assert "--set classifier." in caught.value.hint


def test_the_first_stages_defaults_are_the_papers_settings() -> None:
    section = FeaturesConfig()
    assert (section.epochs, section.batch_size, section.lr, section.momentum) == (200, 64, 0.01, 0.9)
    assert (section.network, section.weight_decay, section.scheduler) == ("resnet34", 5e-3, "paper")


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (FeaturesConfig, {"lr": 0}),
        (FeaturesConfig, {"lr": float("nan")}),
        (FeaturesConfig, {"lr": float("inf")}),
        (FeaturesConfig, {"weight_decay": -1}),
        (FeaturesConfig, {"epochs": 0}),
        (FeaturesConfig, {"epochs": True}),
        (FeaturesConfig, {"epochs": 1.5}),
        (FeaturesConfig, {"weight_decay": True}),
        (FeaturesConfig, {"weight_decay": "1e-4"}),
        (FeaturesConfig, {"mean": [0.5], "std": [0.5, 0.5]}),
        (FeaturesConfig, {"std": [0.0, 1.0, 1.0]}),
        (DatasetConfig, {"source": "cifar100", "imbalance_factor": 0.5}),
        (DatasetConfig, {"source": "mnist"}),
        (EvalConfig, {"many": 10, "few": 20}),
        (EvalConfig, {"flip": "yes"}),
        (ClassifierConfig, {"constraint": "unit-norm", "max_norm": {}}),
        (MaxNormConfig, {"relative": False, "radius": 0}),
        (FeaturesConfig, {"micro_batch": 65}),
        (FeaturesConfig, {"micro_batch": 1}),
        (Recipe, {"dataset": {"source": "digits"}, "rows": []}),
        (Recipe, {"dataset": {"source": "digits"}, "name": "../escape"}),
    ],
)
def test_a_value_out_of_range_is_refused(section: type[FeaturesConfig], values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        section.model_validate(values)


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        FULL.lr = 1.0


def test_the_head_of_a_recipe_is_not_hashed_but_every_section_field_is() -> None:
    for section in (FeaturesConfig(), FULL, DatasetConfig(source="digits"), EvalConfig()):
        later = {n for n, f in type(section).model_fields.items() if isinstance(f.json_schema_extra, dict)}
        assert set(section.hashed()) == set(type(section).model_fields) - later


def test_micro_batches_cut_a_batch_into_equal_parts_as_far_as_it_goes() -> None:
    assert FeaturesConfig().shards == 1
    assert [FeaturesConfig(batch_size=64, micro_batch=size).shards for size in (64, 32, 30, 2)] == [1, 2, 3, 32]


def test_a_row_beside_the_papers_drops_what_is_not_its_own() -> None:
    first, section = FeaturesConfig(), FULL.model_copy(update={"loss": "cb-bce", "lr": 0.02, "epochs": 20})
    for row in (name for name, entry in ROWS.items() if entry.sets is not None):
        made = section.as_row(row, first, HeadSettings(teacher="mine") if row == "distill" else None)
        assert (made.weight_decay, made.max_norm, made.constraint) == (0.0, None, "none"), row
        assert made.lr == (0.01 if row == "ncm" else 0.02), row
    crt = section.as_row("crt", first)
    assert (crt.loss, crt.init, crt.sampling, crt.head) == ("ce", "fresh", "class-balanced", "linear")
    ldam = section.as_row("ldam", first)
    assert (ldam.head, ldam.reweight_from) == ("cosine", 16)
    assert section.as_row("ncm", first) == section.model_copy(update={"seed": 3}).as_row("ncm", first)
    own = HeadSettings.model_validate({"weight_decay": 0.1, "lr": 0.5, "gamma": 1.0})
    focal = section.as_row("focal", first, own)
    assert (focal.weight_decay, focal.lr, focal.settings.gamma) == (0.1, 0.5, 1.0)


@pytest.mark.parametrize(
    ("row", "values", "idle"),
    [
        ("ncm", {"lr": 0.1, "weight_decay": 0.1}, ["weight_decay", "lr"]),
        ("focal", {"gamma": 1.0, "smoothing": 0.5}, ["smoothing"]),
        ("etf", {"scale": 10.0, "radius": 1.0}, ["radius"]),
        ("logit-adjust", {"tau": 1.0, "lr": 0.1}, ["lr"]),
        ("logit-adjusted", {"tau": 1.0}, []),
        ("cb", {"tau": 1.0, "lr": 0.1}, ["tau"]),
        ("cb-max-default-wd", {"weight_decay": 0.1, "radius": 0.5}, ["weight_decay"]),
    ],
)
def test_a_setting_that_cannot_change_its_row_is_named(row: Row, values: dict[str, float], idle: list[str]) -> None:
    assert HeadSettings.model_validate(values).idle(row) == idle
    if idle:
        with pytest.raises(ValidationError, match=f"heads.{row}: {', '.join(idle)} cannot change this row"):
            Recipe.model_validate({"dataset": {"source": "digits"}, "heads": {row: values}})


@pytest.mark.parametrize(
    ("section", "values", "match"),
    [
        (FeaturesConfig, {"gamma": 1.0}, "gamma changes nothing of loss: ce; it belongs to focal, focal-cb"),
        (ClassifierConfig, {"smoothing": 0.5}, "it belongs to label-smooth"),
        (ClassifierConfig, {"scale": 5.0}, "scale changes nothing of a linear head"),
        (FeaturesConfig, {"loss": "ldam"}, "set head: cosine"),
        (FeaturesConfig, {"head": "gated"}, "a first stage trains a linear or a cosine one"),
        (ClassifierConfig, {"head": "cosine", "constraint": "unit-norm"}, "takes no constraint"),
        (ClassifierConfig, {"head": "scaled", "layers": 2}, "needs mode: cached and layers: 1"),
        (ClassifierConfig, {"head": "means", "lr": 0.3, "loss": "focal"}, "is not trained: leave out loss, lr"),
        (ClassifierConfig, {"head": "gated", "init": "fresh"}, "begins from the first stage's head"),
        (ClassifierConfig, {"reweight_from": 0}, "0 changes nothing"),
        (FeaturesConfig, {"loss": "distill"}, "give the id or name of a finished first stage"),
    ],
)
def test_a_loss_and_a_form_of_head_refuse_what_they_do_not_read(
    section: type[Config], values: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValidationError, match=match):
        section.model_validate(values)


@pytest.mark.parametrize("name", ["images", "root"])
def test_pictures_of_ones_own_are_not_named_in_a_recipe_of_another_set(name: str) -> None:
    with pytest.raises(ValidationError, match="digits has images of its own"):
        Recipe.model_validate({name: "pictures", "dataset": {"source": "digits"}})
