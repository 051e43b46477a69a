from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wbltr.recipe import Recipe
from wbltr.recipe_file import load_recipe, recipe_names
from wbltr.report.provenance import Origin, departures, document, network_name, other_settings

SCHEDULER = "scheduler released"
LAST, FLIP, CACHED = "last epoch instead of the best on test", "no flip averaging", "cached second stage"
BACKBONE: dict[str, dict[str, Any]] = {
    "features": {"parameters": 472_756},
    "dataset": {"canonical": True, "fingerprint": "abc"},
}


def origin(*stages: str, **more: Any) -> Origin:
    return Origin({**BACKBONE, **{stage: {} for stage in stages}, **more})


@pytest.mark.parametrize(
    ("recipe", "differing"),
    [
        ("cifar100-ir100", [LAST, FLIP, CACHED]),
        ("cifar100-ir10", [LAST, FLIP, CACHED]),
        ("cifar100-ir100-resnet32", ["ResNet-32 instead of ResNet-34", LAST, FLIP, CACHED]),
        (
            "cifar100-ir100-released",
            [
                "320 epochs instead of 200",
                f"{SCHEDULER} in the first stage instead of paper",
                f"{SCHEDULER} in the second stage instead of paper",
                "CB (BCE) instead of CB",
                "MaxNorm once an epoch instead of at each step",
            ],
        ),
        ("imagenet-lt", []),
        ("inaturalist18", [LAST]),
        ("digits-ir50", None),
        ("cifar10-ir100", None),
        ("places-lt", None),
    ],
)
def test_each_recipe_says_what_separates_it_from_the_paper_and_nothing_of_sets_that_the_paper_has_not(
    recipe: str, differing: list[str] | None
) -> None:
    assert departures(load_recipe(recipe)) == differing


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("features.epochs=1", "1 epoch instead of 200"),
        ("features.batch_size=128", "batches of 128 instead of 64"),
        ("features.weight_decay=0", "weight decay 0 instead of 0.005"),
        ("features.loss=cb", "cb loss in the first stage instead of ce"),
        ("classifier.max_norm={radius: 1.0, relative: false}", "MaxNorm's radius absolute instead of relative to"),
        ("classifier.layers=2", "batch-norm standing still in the second stage"),
    ],
)
def test_what_is_set_otherwise_is_one_more_departure(setting: str, words: str) -> None:
    usual = load_recipe("cifar100-ir100")
    (more,) = set(departures(load_recipe("cifar100-ir100", [setting])) or []) - set(departures(usual) or [])
    assert more.startswith(words)


@pytest.mark.parametrize("cut", ["imbalance_factor=20", "profile=step", "largest=100"])
def test_another_cut_of_the_papers_images_is_not_its_set(cut: str) -> None:
    assert departures(load_recipe("cifar100-ir100", [f"dataset.{cut}"])) is None


def test_a_head_of_the_first_stage_is_not_held_against_the_second() -> None:
    recipe = load_recipe("cifar100-ir100-released")
    assert departures(recipe, origin()) == ["320 epochs instead of 200", f"{SCHEDULER} in the first stage instead of paper"]
    assert departures(load_recipe("cifar100-ir100"), origin("posthoc")) == [LAST, FLIP]
    assert "best epoch on the test set (features)" in other_settings(recipe, origin())


def test_the_artifacts_add_the_number_of_parameters_and_the_fingerprint_of_other_images() -> None:
    told = departures(load_recipe("cifar100-ir100-resnet32"), origin("classifier")) or []
    assert told[0] == "ResNet-32 (0.47 M parameters) instead of ResNet-34"
    other = origin("classifier", dataset={"canonical": False, "fingerprint": "beef"})
    assert "other training images (fingerprint beef)" in (departures(load_recipe("cifar100-ir100"), other) or [])


@pytest.mark.parametrize("name", recipe_names())
def test_nothing_is_said_twice_and_the_selection_always(name: str) -> None:
    recipe = load_recipe(name)
    everything = [*other_settings(recipe), *(departures(recipe) or [])]
    assert len(set(everything)) == len(everything)
    for word in ("epochs", "weight decay", "flip averaging"):
        assert sum(word in one for one in everything) == 1, word
    assert sum("last epoch" in one or "on the test set" in one for one in everything) == 1


def test_the_best_epoch_is_told_in_points_over_the_last() -> None:
    flattered = Origin(BACKBONE, {"features": np.array([0.25, 0.5, 0.4925])})
    assert flattered.best_over_last() == {"features": 0.75}
    found = document(load_recipe("cifar100-ir100-released"), flattered)
    assert found["best_over_last"] == {"features": 0.75}
    assert (found["parameters"], found["fingerprint"], found["second_stage"]) == (472_756, "abc", None)


def test_the_document_of_a_second_stage_has_its_section() -> None:
    recipe: Recipe = load_recipe("digits-ir50")
    found = document(recipe, origin("classifier"))
    assert found["second_stage"]["weight_decay"] == recipe.classifier.weight_decay
    assert found["departures"] is None


def test_networks_are_written_as_in_papers() -> None:
    assert [network_name(name) for name in ("resnet152", "resnext50", "small")] == ["ResNet-152", "ResNeXt-50", "small network"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("features.lr=0.5", "lr 0.5 in the first stage instead of 0.01"),
        ("features.augment=none", "augment none in the first stage instead of crop-flip"),
        ("features.sampling=class-balanced", "sampling class-balanced in the first stage instead of instance"),
        ("features.constraint=unit-norm", "constraint unit-norm in the first stage instead of none"),
        ("features.micro_batch=32", "micro batch 32 in the first stage"),
        ("classifier.epochs=300", "epochs 300 in the second stage instead of 10"),
        ("classifier.momentum=0.0", "momentum 0 in the second stage instead of 0.9"),
        ("features={loss: distill, teacher: mine}", "teacher mine in the first stage"),
    ],
)
def test_any_setting_that_the_paper_has_by_default_is_a_departure_where_it_is_another(setting: str, words: str) -> None:
    assert words in (departures(load_recipe("cifar100-ir100-resnet32", [setting])) or [])
    assert departures(load_recipe("digits-ir50", [setting])) is None


def test_a_table_of_several_rows_is_told_with_what_is_behind_any_of_them() -> None:
    several = [origin("classifier"), origin("posthoc")]
    assert Origin.of_all(several).second_stage
    assert departures(load_recipe("cifar100-ir100"), Origin.of_all(several)) == [LAST, FLIP, CACHED]
