from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
import pytest
from pydantic import create_model

from wbltr.config import Config, OneOf, Weights, added_later
from wbltr.methods.adjustments import ADJUSTMENTS
from wbltr.methods.heads import HEADS
from wbltr.methods.losses import LOSSES, SETTINGS
from wbltr.methods.rows import ROWS, Table4Row
from wbltr.recipe import FeaturesConfig, HeadSettings, MaxNormConfig, Recipe
from wbltr.recipe_file import load_recipe, recipe_names
from wbltr.report import field_words, protocol, provenance
from wbltr.report.field_words import network_name
from wbltr.report.provenance import (
    NO_DEPARTURE,
    OfRow,
    Origin,
    departures,
    document,
    network_words,
    of_table,
    other_settings,
)

RELEASED = "schedule stepped before each epoch"
LAST, FLIP, CACHED = "last epoch instead of the best on test", "no flip averaging", "cached second stage"
BACKBONE: dict[str, dict[str, Any]] = {
    "features": {"parameters": 472_756},
    "dataset": {"canonical": True, "fingerprint": "abc"},
}
SECTIONS = provenance.SECTIONS
OF_THE_PAPER = ("cifar100-ir100", "cifar100-ir50", "cifar100-ir10", "imagenet-lt", "inaturalist18")
OWN = {"source": "images", "profile": "natural", "imbalance_factor": None, "val": "holdout"}
EMBEDDED = {
    "name": "mine",
    "dataset": {**OWN, "source": "embeddings"},
    "features": {"network": "none"},
    "embeddings": {"views": 1},
    "embeddings_file": "some.npz",
}


def origin(*stages: str, **more: Any) -> Origin:
    return Origin({**BACKBONE, **{stage: {} for stage in stages}, **more})


def told(recipe: Recipe, behind: Origin | None = None) -> set[str]:
    """Everything that a caption says of how it was made."""
    return {*other_settings(recipe, behind), *(departures(recipe, behind) or [])}


# The published recipes


@pytest.mark.parametrize(
    ("recipe", "differing"),
    [
        ("cifar100-ir100", [LAST, FLIP, CACHED]),
        ("cifar100-ir50", [LAST, FLIP, CACHED]),
        ("cifar100-ir10", [LAST, FLIP, CACHED]),
        ("cifar100-ir100-resnet32", ["ResNet-32 instead of ResNet-34", LAST, FLIP, CACHED]),
        (
            "cifar100-ir100-released",
            [
                "320 epochs instead of 200",
                f"{RELEASED} in the first stage",
                "CB (BCE) loss in the second stage instead of CB",
                "MaxNorm once an epoch instead of at each step",
                f"{RELEASED} in the second stage",
            ],
        ),
        ("imagenet-lt", []),
        ("inaturalist18", [LAST, "validation images held out of the training part"]),
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
    ("recipe", "words"),
    [
        ("digits-ir50", ["small network", "60 epochs", "weight decay 0.005", "last epoch", FLIP]),
        ("cifar10-ir100", ["ResNet-32", "200 epochs", "weight decay 0.005", "last epoch", FLIP]),
        ("places-lt", ["ResNet-152", "224 x 224 pixels", "30 epochs", "weight decay 0.0005", "last epoch", FLIP]),
        ("imagenet-lt", ["ResNeXt-50", "224 x 224 pixels", "200 epochs", "weight decay 0.0005", "last epoch", FLIP]),
        ("inaturalist18", ["ResNet-50", "224 x 224 pixels", "200 epochs", "weight decay 0.0001", FLIP]),
        ("cifar100-ir100", ["ResNet-34", "200 epochs", "weight decay 0.005"]),
    ],
)
def test_a_published_recipe_tells_a_few_settings_and_not_each_number_that_is_usual_on_its_set(
    recipe: str, words: list[str]
) -> None:
    assert other_settings(load_recipe(recipe)) == words


@pytest.mark.parametrize("name", recipe_names())
def test_nothing_is_said_twice_and_the_selection_always(name: str) -> None:
    recipe = load_recipe(name)
    everything = [*other_settings(recipe), *(departures(recipe) or [])]
    assert len(set(everything)) == len(everything)
    for word in ("epochs", "weight decay", "flip averaging"):
        assert sum(word in one for one in everything) == 1, word
    assert sum("last epoch" in one or "on the test set" in one for one in everything) == 1


# Every field


def fields(section: type[Config], at: str) -> Iterator[tuple[str, Any]]:
    """Path and type of each field, with those of a nested section that the paper has."""
    for name, field in section.model_fields.items():
        path = f"{at}.{name}"
        if path == "classifier.max_norm":
            yield from fields(MaxNormConfig, path)
        named = next((one.names for one in field.metadata if isinstance(one, OneOf)), ())
        yield path, Literal[named] if named else field.annotation


FIELDS = dict(pair for name in SECTIONS for pair in fields(Recipe.model_fields[name].annotation, name))  # type: ignore[arg-type]
# What another value needs beside it, where it cannot stand alone or is of one kind of set.
BESIDE: dict[str, tuple[str, list[str]]] = {
    "dataset.imbalance_factor": ("cifar100-ir100", ["dataset.imbalance_factor=20"]),
    "dataset.profile": ("cifar100-ir100", ["dataset.profile=step"]),
    "dataset.order": ("cifar100-ir100", ["dataset.order=shuffled"]),
    "dataset.val": ("cifar100-ir100", ["dataset.val=holdout"]),
    "dataset.copy_side": ("imagenet-lt", ["dataset.copy_side=256"]),
    "dataset.side": ("images", ["dataset={side: 28, channels: 3}"]),
    "dataset.channels": ("images", ["dataset={side: 28, channels: 1}"]),
    "dataset.depth": ("images", ["dataset.depth=12"]),
    "dataset.normalize": ("embeddings", ["dataset.normalize=l2"]),
    "features.weights": ("imagenet-lt", ["features.weights=IMAGENET1K_V2"]),
    "features.frozen": ("imagenet-lt", ["features={weights: IMAGENET1K_V2, frozen: true}"]),
    "features.teacher": ("cifar100-ir100", ["features={loss: distill, teacher: mine}"]),
    "features.max_norm": ("cifar100-ir100", ["features.max_norm={radius: 0.5, relative: false}"]),
    "features.image_size": ("cifar100-ir100", ["features={augment: resized-crop-flip, image_size: 64}"]),
    "features.mean": ("cifar100-ir100", ["features.mean=[0.5, 0.5, 0.5]"]),
    "features.std": ("cifar100-ir100", ["features.std=[0.5, 0.5, 0.5]"]),
    "features.beta": ("cifar100-ir100", ["features={loss: cb, beta: 0.5}"]),
    "features.head": ("cifar100-ir100", ["features.head=cosine"]),
    "features.scale": ("cifar100-ir100", ["features={head: cosine, scale: 10.0}"]),
    "classifier.max_norm": ("cifar100-ir100", ["classifier.max_norm=null"]),
    "classifier.max_norm.on": ("cifar100-ir100", ["classifier={layers: 2, max_norm: {on: trained}}"]),
    "classifier.constraint": ("cifar100-ir100", ["classifier={max_norm: null, constraint: unit-norm}"]),
    "classifier.head": ("cifar100-ir100", ["classifier={max_norm: null, head: cosine}"]),
    "classifier.scale": ("cifar100-ir100", ["classifier={max_norm: null, head: cosine, scale: 10.0}"]),
    "classifier.teacher": ("cifar100-ir100", ["classifier={loss: distill, teacher: mine}"]),
    "posthoc.direction": ("cifar100-ir100", ["posthoc={method: isotonic, direction: increasing}"]),
    "posthoc.prior": ("cifar100-ir100", ["posthoc={method: prior, prior: {apple: 1.0}}"]),
}
# And which loss or form of head reads it.
LOSS_OF = {name: LOSSES.readers(name)[0] for name in LOSSES.settings() if name not in ("beta", "teacher", "scale")}
HEAD_OF = {name: HEADS.readers(name)[0] for name in HEADS.settings() if name != "scale"}


def base(name: str, settings: list[str] | tuple[str, ...] = ()) -> Recipe:
    if name not in ("images", "embeddings"):
        return load_recipe(name, [*settings])
    from wbltr.recipe_file import revise_recipe

    mine = EMBEDDED if name == "embeddings" else {"name": "mine", "dataset": OWN}
    return revise_recipe(Recipe.model_validate(mine), [*settings])


def others(annotation: Any, value: Any) -> list[Any]:
    """Other valid values of a field's type."""
    if get_origin(annotation) is Literal:
        return [one for one in get_args(annotation) if one != value]
    if get_origin(annotation) in (Union, UnionType):
        return [one for part in get_args(annotation) for one in others(part, value)]
    inner = get_args(annotation)[0] if get_args(annotation) else annotation
    if inner is bool or annotation is bool:
        return [not value]
    number = value or 0
    if inner is int:
        return [number + 8]
    return [number / 2 if number else 0.25] if inner is float else []


def changed(path: str) -> list[tuple[str, list[str]]]:
    """Recipes in which the field has another value: base and settings."""
    section, _, name = path.partition(".")
    if path in BESIDE:
        return [BESIDE[path]]
    if name in LOSS_OF:
        usual = load_recipe("cifar100-ir100")
        value = others(FIELDS[path], getattr(getattr(usual, section), name))[0]
        more = ", teacher: mine" if LOSS_OF[name] == "distill" else ", head: cosine" if LOSS_OF[name] == "ldam" else ""
        more += ", max_norm: null" if section == "classifier" else ""
        return [("cifar100-ir100", [f"{section}={{loss: {LOSS_OF[name]}, {name}: {value}{more}}}"])]
    if section == "posthoc" and name in ADJUSTMENTS.settings() and name != "tau":
        value = others(FIELDS[path], ADJUSTMENTS.settings()[name].default)[0]
        return [("cifar100-ir100", [f"posthoc={{method: {ADJUSTMENTS.readers(name)[0]}, {name}: {value}}}"])]
    if name in HEAD_OF:
        value = others(FIELDS[path], SETTINGS[name].default)[0]
        return [("cifar100-ir100", [f"{section}={{max_norm: null, head: {HEAD_OF[name]}, {name}: {value}}}"])]
    value = load_recipe("cifar100-ir100")
    for part in path.split("."):
        value = getattr(value, part)
    found = [f"{path}={str(one).lower() if isinstance(one, bool) else one}" for one in others(FIELDS[path], value)]
    if path == "features.network":
        found.remove("features.network=none")  # of embeddings alone
    if path == "classifier.mode":  # the paper's
        return [("cifar100-ir100-released", ["classifier={mode: cached, select: last}"])]
    if path == "classifier.select":
        found = ["classifier={mode: exact, select: best-test}"]
    if name == "augment":
        found = [setting for setting in found if "resized" not in setting]
    if name == "loss":  # those that stand alone
        found = [setting for setting in found if not setting.endswith(("distill", "ldam"))]
    return [("cifar100-ir100", [setting]) for setting in found]


def of_their_own(path: str) -> bool:
    """A field that every set of one's own has at a value of its own, and other sets have not."""
    section, _, name = path.partition(".")
    if section == "features" and name in HEAD_OF and not HEADS[HEAD_OF[name]].first_stage:
        return True
    return path in NO_DEPARTURE or (
        all(protocol.USUAL[source].get(path) is protocol.ANY for source in ("images", "embeddings"))
        and path not in BESIDE
        and path.startswith("dataset.")
    )


@pytest.mark.parametrize("path", [path for path in FIELDS if not of_their_own(path)])
def test_every_field_at_another_value_is_told(path: str) -> None:
    cases = changed(path)
    assert cases, f"no other value for {path}: add one to BESIDE"
    for name, settings in cases:
        usual, other = base(name), base(name, settings)
        more = told(other) - told(usual)
        assert more, f"{settings} changes nothing of what is told"
        assert not any(section in one for one in more for section in ("dataset.", "features.", "classifier.", "eval.")), (
            f"{settings} is told without words: {more}"
        )


@pytest.mark.parametrize("path", sorted(NO_DEPARTURE))
def test_what_is_never_told_is_a_field(path: str) -> None:
    assert path in FIELDS


def test_what_the_tables_name_are_fields() -> None:
    tables = [one for table in protocol.PAPER.values() for one in (table.says, table.open)] + [*protocol.USUAL.values()]
    named = {path for table in tables for path in table} | {*provenance.FIRST, *provenance.ALWAYS, *field_words.ALONE}
    assert named <= FIELDS.keys()
    both = {path.partition(".")[2] for path in FIELDS if path.startswith(("features.", "classifier."))}
    assert field_words.IN_A_STAGE.keys() <= both


def with_a_field_more(recipe: Recipe, section: str, value: Any, usual: Any) -> Recipe:
    """The recipe with a section of a type that has one field more."""
    own = getattr(recipe, section)
    larger = create_model("Larger", __base__=type(own), novelty=(type(usual), added_later(usual)))
    return recipe.model_copy(update={section: larger.model_validate({**dict(own), "novelty": value})})


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize(("value", "usual", "words"), [(3, 1, "3"), (True, False, "true"), ("warm", "cold", "warm")])
@pytest.mark.parametrize("name", [*OF_THE_PAPER, "digits-ir50", "images"])
def test_a_new_field_is_told_without_a_word_about_it(section: str, value: Any, usual: Any, words: str, name: str) -> None:
    recipe = base(name)
    for behind in (None, origin("embeddings", "classifier", "posthoc")):
        if section == "posthoc" and behind is None and name == "images":
            continue
        (more,) = told(with_a_field_more(recipe, section, value, usual), behind) - told(recipe, behind)
        assert more.startswith(f"{section}.novelty {words}")
        assert told(with_a_field_more(recipe, section, usual, usual), behind) == told(recipe, behind)
        if name in OF_THE_PAPER:
            assert more in (departures(with_a_field_more(recipe, section, value, usual), behind) or [])


def test_a_new_field_of_maxnorm_is_told() -> None:
    recipe = load_recipe("cifar100-ir100")
    larger = create_model("Larger", __base__=MaxNormConfig, novelty=(int, added_later(1)))
    classifier = recipe.classifier.model_copy(update={"max_norm": larger.model_validate({"novelty": 2})})
    changed = recipe.model_copy(update={"classifier": classifier})
    assert told(changed) - told(recipe) == {"classifier.max_norm.novelty 2 instead of 1"}


# Words


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("features.epochs=1", "1 epoch instead of 200"),
        ("features.batch_size=128", "batches of 128 instead of 64"),
        ("features.weight_decay=0", "weight decay 0 instead of 0.005"),
        ("features.loss=cb", "CB loss in the first stage instead of CE"),
        ("features.lr=0.5", "lr 0.5 in the first stage instead of 0.01"),
        ("features.augment=none", "no augmentation instead of crops and flips"),
        ("features.sampling=class-balanced", "class-balanced sampling in the first stage instead of instance"),
        ("features.constraint=unit-norm", "rows held at unit norm in the first stage"),
        ("features.micro_batch=32", "batch-norm over 32 images at once"),
        ("features.max_norm={radius: 0.5, relative: false}", "MaxNorm of radius 0.5 in the first stage"),
        ("features.stem=imagenet", "ImageNet stem instead of CIFAR stem"),
        ("classifier.epochs=300", "300 epochs in the second stage instead of 10"),
        ("classifier.momentum=0.0", "momentum 0 in the second stage instead of 0.9"),
        ("classifier.max_norm={radius: 1.0, relative: false}", "MaxNorm's radius absolute instead of relative to"),
        ("classifier.layers=2", "batch-norm standing still in the second stage"),
        ("classifier.loss=focal", "focal loss in the second stage instead of CB"),
        ("classifier.loss=ce", "CE loss in the second stage instead of CB"),
        ("classifier.max_norm=null", "no MaxNorm in the second stage"),
        ("posthoc.method=tau", "τ-normalisation"),
        ("eval.on=val", "measured on the val part instead of test"),
        ("eval.many=50", "Many above 50 instead of 100"),
        ("dataset.order=shuffled", "images of each class drawn at random instead of its first ones"),
    ],
)
def test_what_is_set_otherwise_is_one_more_departure(setting: str, words: str) -> None:
    usual = load_recipe("cifar100-ir100")
    (more,) = set(departures(load_recipe("cifar100-ir100", [setting])) or []) - set(departures(usual) or [])
    assert more.startswith(words)
    assert departures(load_recipe("digits-ir50", [setting])) is None


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("IMAGENET1K_V1", "from IMAGENET1K_V1 weights"),
        (Weights(origin="IMAGENET1K_V2", sha256="12345678"), "from IMAGENET1K_V2 weights"),
        (Weights(origin="file", sha256="abcdef012345" + "0" * 52), "from weights file abcdef012345"),
        ("~/secret/resnet.pth", "from a weights file"),
    ],
)
def test_weights_are_told_by_what_they_are_and_never_by_where_they_lie(weights: Any, words: str) -> None:
    for recipe in (base("images"), load_recipe("cifar100-ir100")):
        first = {"network": "resnet18", "stem": "imagenet", "weights": weights, "frozen": True}
        own = recipe.model_copy(update={"features": FeaturesConfig(**first)})
        everything = [*other_settings(own, origin()), *(departures(own, origin()) or [])]
        assert words in everything
        assert "frozen network" in everything
        assert network_words(own) == f"ResNet-18, {words}, frozen network"
        found = document(own, origin())
        assert found["frozen"] is True
        assert found["weights"] is not None
        assert {words, "frozen network"} <= {*found["settings"], *(found["departures"] or [])}


def test_what_changes_nothing_of_a_result_is_not_told() -> None:
    for name, settings in (
        ("cifar100-ir100", ["features.beta=0.5"]),  # cross entropy reads none
        ("cifar100-ir100", ["dataset.val=none"]),  # what was unused stays unused
        ("imagenet-lt", ["features.pad=8"]),  # of crops that are resized
        ("cifar100-ir100", ["classifier={mode: exact}", "embeddings.views=3"]),
    ):
        assert told(base(name, settings)) == told(base(name, settings[:-1])), settings


def test_what_the_paper_leaves_open_is_told_and_departs_from_nothing() -> None:
    for setting, words in (
        ("features.stem=cifar", "CIFAR stem"),
        ("features.mean=[0.5, 0.5, 0.5]", "mean of pixels 0.5, 0.5, 0.5"),
        ("features.image_size=64", "64 x 64 pixels"),
        ("embeddings.views=3", "3 views of each training image"),
        ("classifier.epochs=30", "30 epochs in the second stage"),
        ("classifier.mode=exact", "second stage through the network"),
        ("eval.flip=true", "flip averaging"),
    ):
        recipe = load_recipe("imagenet-lt", [setting])
        assert words in other_settings(recipe)
        assert departures(recipe) == []
    for setting, words in (
        ("features.lr=0.1", "lr 0.1 in the first stage instead of 0.01"),
        ("features.select=best-test", "best epoch on the test set (features)"),
        ("features.augment={augment: none, image_size: null}", "no augmentation instead of resized crops and flips"),
    ):
        setting = setting.replace("features.augment={", "features={")
        assert departures(load_recipe("imagenet-lt", [setting])) == [words]


@pytest.mark.parametrize("name", ["imagenet-lt", "cifar100-ir100"])
def test_a_second_stage_chosen_on_the_test_set_is_told_as_the_first_is(name: str) -> None:
    recipe = load_recipe(name, ["classifier={mode: exact, select: best-test}"])
    everything = told(recipe, origin("finetune"))
    assert sum("best epoch on the test set (classifier)" in one for one in everything) == 1
    assert not any("instead of the best on test" in one for one in everything)


@pytest.mark.parametrize("cut", ["imbalance_factor=20", "profile=step", "largest=100"])
def test_another_cut_of_the_papers_images_is_not_its_set(cut: str) -> None:
    recipe = load_recipe("cifar100-ir100", [f"dataset.{cut}"])
    assert departures(recipe) is None
    assert told(recipe) - told(load_recipe("cifar100-ir100")) >= {
        {"imbalance_factor=20": "imbalance factor 20", "profile=step": "step profile"}.get(cut, "largest class of 100 images")
    }


@pytest.mark.parametrize(("factor", "told_of"), [(10, True), (50, True), (100, False)])
def test_an_imbalance_factor_that_the_recipes_name_does_not_say_is_told(factor: int, told_of: bool) -> None:
    recipe = load_recipe("cifar100-ir100", [f"dataset.imbalance_factor={factor}"])
    assert (f"imbalance factor {factor}" in other_settings(recipe)) == told_of
    assert departures(recipe) is not None


# Results


def test_a_head_of_the_first_stage_is_not_held_against_the_second() -> None:
    recipe = load_recipe("cifar100-ir100-released")
    assert departures(recipe, origin()) == ["320 epochs instead of 200", f"{RELEASED} in the first stage"]
    assert departures(load_recipe("cifar100-ir100"), origin("posthoc")) == [LAST, FLIP]
    assert "best epoch on the test set (features)" in other_settings(recipe, origin())
    busy = ["classifier={loss: focal, lr: 0.5, max_norm: null}", "embeddings.views=3"]
    for behind in (origin(), origin("embeddings"), origin("posthoc")):
        assert told(load_recipe("cifar100-ir100", busy), behind) == told(load_recipe("cifar100-ir100"), behind)


def test_a_naive_first_stage_is_a_row_of_the_papers_and_a_second_stage_on_it_is_none() -> None:
    naive = load_recipe("cifar100-ir100", ["features.weight_decay=0"])
    for behind in (origin(), origin("posthoc")):
        assert departures(naive, behind) == [LAST, FLIP]
        assert "weight decay 0" in other_settings(naive, behind)
    assert "weight decay 0 instead of 0.005" in (departures(naive, origin("classifier")) or [])


@pytest.mark.parametrize("row", [row for row in get_args(Table4Row) if row.startswith(("ce-", "cb"))])
@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_every_head_of_the_papers_table_is_none_of_the_departures(name: str, row: Any) -> None:
    recipe = load_recipe(name)
    section = recipe.classifier.as_row(row, recipe.features)
    own = recipe.model_copy(update={"classifier": section})
    behind = origin("finetune" if section.through_network else "classifier")
    still = {CACHED, "batch-norm standing still in the second stage"}
    assert {*(departures(own, behind) or [])} - still == {*(departures(recipe) or [])} - still


@pytest.mark.parametrize("row", [row for row, entry in ROWS.items() if entry.sets is not None])
def test_a_head_beside_the_papers_departs_by_itself_and_is_said_by_its_name_in_a_table(row: Any) -> None:
    recipe = load_recipe("cifar100-ir100")
    settings = HeadSettings(teacher="mine") if row == "distill" else None
    own = recipe.model_copy(update={"classifier": recipe.classifier.as_row(row, recipe.features, settings)})
    more = {*(departures(own, origin("classifier")) or [])} - {*(departures(recipe) or [])}
    assert more, "no row of the paper"
    _, differing = of_table(recipe, {f"+ {row}": OfRow(own, origin("classifier"), [*(ROWS[row].sets or {})])})
    left = {*(differing or [])} - {LAST, FLIP, CACHED}
    assert not left & more or row in ("ldam", "distill"), "its name says it"


def test_in_a_table_what_some_rows_have_is_told_with_their_names_and_what_all_have_without() -> None:
    recipe = load_recipe("cifar100-ir100", ["features.epochs=10", "classifier.epochs=3"])

    def row(name: Any, lr: float | None, *stages: str) -> OfRow:
        section = recipe.classifier.as_row(name, recipe.features, HeadSettings(lr=lr))
        named = [*(ROWS[name].sets or {})]
        return OfRow(recipe.model_copy(update={"classifier": section}), origin(*stages), named)

    rows = {
        "first stage": OfRow(recipe, origin()),
        "+ LWS": row("lws", 0.2, "classifier"),
        "+ focal": row("focal", None, "classifier"),
        "+ CB & WD & MaxNorm": row("cb-wd-max", None, "classifier"),
    }
    settings, differing = of_table(recipe, rows)
    assert settings == ["ResNet-34", "weight decay 0.005"]
    assert differing == [
        "10 epochs instead of 200",
        LAST,
        FLIP,
        CACHED,
        "3 epochs in the second stage instead of 10",
        "lr 0.2 instead of 0.01 (LWS)",
    ]
    assert of_table(load_recipe("digits-ir50"), {"first stage": OfRow(load_recipe("digits-ir50"), origin())})[1] is None


def test_the_artifacts_add_the_number_of_parameters_and_the_fingerprint_of_other_images() -> None:
    found = departures(load_recipe("cifar100-ir100-resnet32"), origin("classifier")) or []
    assert found[0] == "ResNet-32 (0.47 M parameters) instead of ResNet-34"
    other = origin("classifier", dataset={"canonical": False, "fingerprint": "beef"})
    assert "other training images (fingerprint beef)" in (departures(load_recipe("cifar100-ir100"), other) or [])


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
    assert (found["weights"], found["frozen"]) == (None, False)


def test_networks_are_written_as_in_papers() -> None:
    assert [network_name(name) for name in ("resnet152", "resnext50", "small")] == ["ResNet-152", "ResNeXt-50", "small network"]


def test_a_table_of_several_rows_is_told_with_what_is_behind_any_of_them() -> None:
    several = [origin("classifier"), origin("posthoc")]
    assert Origin.of_all(several).second_stage
    recipe = load_recipe("cifar100-ir100")
    assert of_table(recipe, {str(k): OfRow(recipe, one) for k, one in enumerate(several)})[1] == [LAST, FLIP, CACHED]
