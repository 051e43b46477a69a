"""What stands on what, what each stage is handed, and keys that must not move by accident."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from wbltr.config import Config, OneOf, Teacher, Weights
from wbltr.data.known import CONTENT
from wbltr.dataset_config import DatasetConfig
from wbltr.errors import WbltrError
from wbltr.methods.adjustments import ADJUSTMENTS
from wbltr.methods.losses import SETTINGS
from wbltr.methods.rows import ROWS
from wbltr.pipeline import Artifact, Node, Runtime, header, make
from wbltr.recipe import (
    ClassifierConfig,
    EvalConfig,
    FeaturesConfig,
    HeadSettings,
    MaxNormConfig,
    Part,
    PosthocConfig,
    Recipe,
)
from wbltr.recipe_file import load_recipe, recipe_names
from wbltr.stages import (
    CLASSIFIER,
    DATASET,
    EMBEDDINGS,
    EVAL,
    FEATURES,
    FINETUNE,
    NETWORK_FIELDS,
    POSTHOC,
    STAGES,
    Chain,
    EmbeddingsStageConfig,
    FinetuneStageConfig,
    Lineage,
    PosthocStageConfig,
    SweepConfig,
    settle_precision,
    settle_shards,
    sharing_hint,
    source_roots,
)
from wbltr.store import Store, key_of

RECIPE = load_recipe("cifar100-ir100").with_features(precision="fp32")


def embeddings_of(part: Part) -> EmbeddingsStageConfig:
    return EmbeddingsStageConfig(
        part=part, network="resnet34", mean=(0.5,), std=(0.5,), precision="fp32", augment="none", pad=0, views=2, seed=0
    )


def finetuned(**changes: Any) -> FinetuneStageConfig:
    own = {field: getattr(RECIPE.features, field) for field in NETWORK_FIELDS}
    section = ClassifierConfig(mode="exact").model_copy(update=changes)
    return FinetuneStageConfig.model_validate({**own, "classifier": section})


def every_adjustment() -> list[PosthocConfig]:
    """Every post-hoc method, τ given and chosen."""
    return [PosthocConfig(method=method, tau=tau) for method in ADJUSTMENTS for tau in (1.0, "val")]


def every_config() -> list[tuple[str, Any]]:
    """Every stage with every config that changes what it reads."""
    return [
        ("dataset", RECIPE.dataset),
        ("features", RECIPE.features),
        ("features", RECIPE.features.model_copy(update={"select": "best-test"})),
        ("finetune", finetuned()),
        ("finetune", finetuned(select="best-test")),
        *[("embeddings", embeddings_of(part)) for part in get_args(Part)],
        ("classifier", ClassifierConfig()),
        ("sweep", SweepConfig(trials=(ClassifierConfig(), ClassifierConfig(lr=0.1)), precision="fp32")),
        *[("posthoc", PosthocStageConfig.of(section)) for section in every_adjustment()],
        *[("eval", EvalConfig(on=on)) for on in ("val", "test")],
    ]


def test_the_list_above_covers_every_stage() -> None:
    assert {name for name, _ in every_config()} == set(STAGES)


def test_only_recipes_named_released_select_on_test() -> None:
    for name in recipe_names():
        recipe = load_recipe(name)
        selecting = "best-test" in (recipe.features.select, recipe.classifier.select)
        assert selecting == name.endswith("-released"), name


def literals(annotation: Any) -> list[Any]:
    """The words that a field may be set to."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [value for inner in get_args(annotation) for value in literals(inner)]


def variants(config: Config) -> Iterator[Config]:
    """The config with any two of its choices set to any of their words, whether that makes sense or not."""
    fields = type(config).model_fields
    named = {name: [n for one in field.metadata if isinstance(one, OneOf) for n in one.names] for name, field in fields.items()}
    words = {name: {getattr(config, name), *named[name], *literals(field.annotation)} for name, field in fields.items()
             if named[name] or literals(field.annotation)}  # fmt: skip
    words = {name: values - {"none"} if name == "method" else values for name, values in words.items()}
    yield config
    for names in combinations(words, min(2, len(words))):
        for values in product(*(words[name] for name in names)):
            yield config.model_copy(update=dict(zip(names, values, strict=True)))
    for name in fields:
        if isinstance(inner := getattr(config, name), Config):
            yield from (config.model_copy(update={name: other}) for other in variants(inner))


def test_nothing_but_eval_and_best_on_test_is_handed_a_test_tensor_and_embed_passes_on_only_its_own_part() -> None:
    readers = set()
    for name, config in every_config():
        for other in variants(config):
            prefixes = tuple(p for wanted in STAGES[name].reads(other).values() for p in wanted)
            assert "" not in prefixes, f"{name} would be handed everything"
            if any(p.startswith("test") or "test.".startswith(p) for p in prefixes):
                select = getattr(getattr(other, "classifier", other), "select", None)
                readers.add((name, getattr(other, "part", getattr(other, "on", select))))
    assert readers == {("features", "best-test"), ("finetune", "best-test"), ("embeddings", "test"), ("eval", "test")}


def test_embeddings_of_the_test_part_are_handed_to_eval_alone() -> None:
    teacher = Teacher(artifact="0" * 64, network="small", mean=(0.5,), std=(0.5,))
    recipe = RECIPE.model_copy(update={"heads": {"distill": HeadSettings(teacher=teacher)}})
    chain = Chain(recipe, Lineage(teachers={"0" * 64: Artifact("0" * 64, {"stage": "features"})}))
    heads = [chain.row(row) for row in ROWS]
    heads += [chain.posthoc(section, heads[-1]) for section in every_adjustment()]
    made = {"features": RECIPE.features.hashed(), "finetune": finetuned().hashed()}
    readers, seen = set(), set()
    waiting: list[Any] = [chain.evaluation(head) for head in heads]
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(node, Node):
            continue
        seen.add(id(node))
        waiting.extend(node.inputs.values())
        for below in node.inputs.values():
            if isinstance(below, Node) and below.stage is EMBEDDINGS:
                config = below.settled({name: Artifact("0" * 64, {"config": own}) for name, own in made.items()})
                assert isinstance(config, EmbeddingsStageConfig)
                readers.add((node.stage.name, config.part))
    assert {stage for stage, part in readers if part == "test"} == {"eval"}
    assert ("posthoc", "val") in readers


GOLDEN = {
    "dataset": "e2ef4c3c620bbb313ef5fbc3eed91eeda0b2c6d95044d9e8e23062a325b0b6c5",
    "features": "da249239ecf55cd428881e0caba60ab2058feacd9f8835ae610fb020347ef3f0",
    "embeddings": "e824b73983e71235880fba392166182a05789628721e354e8158b9ced38b0e9f",
    "classifier": "ccedb243abc2781725d60aaca012e222f26eaf7660da92436d9dd2a7f6502e6d",
    "finetune": "0058a23d5587eb3f4969f67641d389212241478e8a9b5ec356b5d8a91c01599d",
    "posthoc": "94f7961b1414950371a8933b1203b9e9cbccd5897f86092593df99cc2759afb7",
    "eval": "f809ef8fd9c78cdc34c890761249ae7c207cd54fdc7d0a5f6388eec0086e159d",
}


def test_golden_keys_do_not_move() -> None:
    """A key that moves makes every finished artifact of a lab unreachable: bump nothing by accident."""
    source = {"source": CONTENT["cifar100"]}
    one, two = (Artifact(c * 64, {}) for c in "ab")
    keys = {
        "dataset": key_of(header(DATASET, DatasetConfig(source="cifar100"), source)),
        "features": key_of(header(FEATURES, FeaturesConfig(precision="fp32"), {"dataset": one})),
        "embeddings": key_of(header(EMBEDDINGS, embeddings_of("train"), {"dataset": one, "features": two})),
        "classifier": key_of(header(CLASSIFIER, ClassifierConfig(), {"embeddings": one, "features": two})),
        "finetune": key_of(header(FINETUNE, finetuned(), {"dataset": one, "features": two})),
        "posthoc": key_of(header(POSTHOC, PosthocStageConfig(method="tau", tau=1.9), {"head": one})),
        "eval": key_of(header(EVAL, EvalConfig(), {"head": one, "embeddings": two})),
    }
    assert keys == GOLDEN


def test_every_field_of_every_section_moves_its_key() -> None:
    """Flip each field in turn: all of them can change a number."""
    teacher = Teacher(artifact="a" * 64, network="small", mean=(0.5,), std=(0.5,))
    other = {"natural": 3, "teacher": teacher}
    of_the_loss = {name: other.get(s.kind) or s.default / 2 for name, s in SETTINGS.items()} | {
        "head": "cosine",
        "methods_file": "b" * 64,
    }
    changed: dict[str, dict[str, Any]] = {
        "features": {
            "network": "resnet32", "epochs": 1, "batch_size": 2, "micro_batch": 2, "lr": 1.0, "momentum": 0.5,
            "weight_decay": 0.0, "loss": "cb", "beta": 0.5, "scheduler": "released", "precision": "bf16", "augment": "none",
            "pad": 1, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "seed": 1, "constraint": "unit-norm",
            "max_norm": MaxNormConfig(radius=1.0, relative=False), "sampling": "square-root", "select": "best-test",
            "stem": "imagenet", "prelogit": 2, "image_size": 224, "snapshot_every": 10, "frozen": True,
            "weights": Weights(origin="IMAGENET1K_V1", sha256="f37072fd"), **of_the_loss,
        },
        "classifier": {
            "loss": "ce", "beta": 0.5, "epochs": 1, "batch_size": 1, "lr": 1.0, "momentum": 0.5, "weight_decay": 0.5,
            "max_norm": None, "constraint": "unit-norm", "init": "fresh", "scheduler": "released", "seed": 1,
            "mode": "exact", "layers": 2, "sampling": "class-balanced", "select": "best-test", **of_the_loss,
        },
        "eval": {"on": "val", "many": 1, "few": 1, "flip": True},
        "dataset": {"source": "digits", "imbalance_factor": 2.0, "profile": "step", "largest": 9, "order": "shuffled",
                    "val": "none", "seed": 3, "on_bad_image": "skip", "copy_side": 256,
                    "normalize": "l2", "test_share": 0.3, "val_share": 0.2, "side": 32, "channels": 1,
                    "columns": ("f0",), "class_order": "number", "classes": "innermost", "depth": 12, "parts_from": "a" * 64},
    }  # fmt: skip
    for name, values in changed.items():
        section = getattr(RECIPE, name)
        assert set(type(section).model_fields) <= set(values), name
        hashes = [str(section.hashed())] + [str(section.model_copy(update={k: v}).hashed()) for k, v in values.items()]
        assert len(set(hashes)) == len(hashes), name


def test_a_head_is_measured_on_the_network_that_it_is_for() -> None:
    chain = Chain(RECIPE)
    for row, stage in (("cb-wd-max", FEATURES), ("cb-wd-max-last2", FINETUNE), ("naive", FEATURES)):
        node = chain.measured(row)
        head, embeddings = node.inputs["head"], node.inputs["embeddings"]
        assert isinstance(embeddings, Node)
        (network,) = (given for name, given in embeddings.inputs.items() if name != "dataset")
        assert isinstance(network, Node)
        assert network.stage is stage
        assert network is head or stage is FEATURES
        assert (network is chain.features) == (row == "cb-wd-max")
    adjusted = chain.posthoc(PosthocConfig(method="tau"), chain.row("cb-wd-max-last2"))
    assert chain.network_of(adjusted) is adjusted.inputs["head"]


def test_naive_rows_differ_from_the_first_stage_in_its_weight_decay_alone() -> None:
    chain = Chain(RECIPE)
    naive = chain.row("naive")
    assert isinstance(naive, Node)
    assert naive.config == RECIPE.features.model_copy(update={"weight_decay": 0.0})
    assert naive.inputs["dataset"] is chain.dataset
    already = Chain(RECIPE.with_features(weight_decay=0.0))
    assert already.row("naive") is already.features


@pytest.mark.parametrize(
    ("batch_size", "processes", "hint"),
    [
        (64, 2, "micro_batch=32"),
        (64, 3, "micro_batch=22"),
        (33, 2, "micro_batch=17"),
        (9, 4, "batch_size=12"),
        (2, 3, "batch_size=6"),
    ],
)
def test_a_hint_on_sharing_a_batch_is_one_that_works(batch_size: int, processes: int, hint: str) -> None:
    assert sharing_hint(batch_size, processes).startswith(f"--set features.{hint}")
    size = int(hint.partition("=")[2])
    changes = {"micro_batch": size} if "micro" in hint else {"batch_size": size, "micro_batch": size // processes}
    section = FeaturesConfig.model_validate({"batch_size": batch_size, **changes})
    assert section.shards % processes == 0


def test_a_batch_that_cannot_be_shared_is_refused_before_the_work() -> None:
    with pytest.raises(WbltrError, match="3 processes cannot share a batch of 2"):
        settle_shards(RECIPE.with_features(batch_size=2), 3, Runtime())


def test_trials_of_a_sweep_share_their_batches_and_are_hashed_as_they_would_be_alone() -> None:
    one, two = ClassifierConfig(), ClassifierConfig(weight_decay=0.1, max_norm=MaxNormConfig(radius=0.3))
    assert SweepConfig(trials=(one, two), precision="fp32").hashed()["trials"] == [one.hashed(), two.hashed()]
    for other in (ClassifierConfig(epochs=3), ClassifierConfig(seed=1), ClassifierConfig(layers=2)):
        with pytest.raises(ValueError, match="sweep"):
            SweepConfig(trials=(one, other), precision="fp32")
    with pytest.raises(ValueError, match="sweep"):
        SweepConfig(trials=(), precision="fp32")


def test_l2_is_the_same_request_whatever_tau_says() -> None:
    chain = Chain(RECIPE)
    one = chain.posthoc(PosthocConfig(method="l2", tau=1.9, of="features"))
    two = chain.posthoc(PosthocConfig(method="l2", of="features"))
    assert one.config == two.config


def test_a_chain_that_starts_from_an_artifact_does_not_make_it_again() -> None:
    features = Artifact("a" * 64, {"stage": "features", "config": RECIPE.features.hashed(), "inputs": {}})
    chain = Chain(RECIPE, Lineage({"features": features}))
    assert chain.features is features
    node = chain.classifier()
    assert isinstance(node, Node)
    assert node.inputs["features"] is features


def test_precision_auto_is_settled_before_the_key(tmp_path: Path) -> None:
    auto = load_recipe("cifar100-ir100")
    assert auto.features.precision == "auto"
    assert settle_precision(Store.open(tmp_path / "s"), auto, Runtime()).features.precision in ("bf16", "fp32")


def test_precision_auto_takes_what_is_finished_and_says_so(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s")
    recipe = Recipe.model_validate({"dataset": {"source": "digits"}})
    best = settle_precision(store, recipe, Runtime()).features.precision
    other = "fp32" if best == "bf16" else "bf16"
    source = {"source": CONTENT["digits"]}
    asked = header(DATASET, recipe.dataset, source)
    dataset_id = store.publish({"x": [1.0]}, asked)
    store.write_record(key_of(asked), {"object": dataset_id, **asked})
    dataset = Artifact(dataset_id, {})
    for precision in (other, best):
        made = recipe.with_features(precision=precision)
        asked = header(FEATURES, made.features, {"dataset": dataset})
        object_id = store.publish({"x": [2.0]}, asked)
        store.write_record(key_of(asked), {"object": object_id, **asked})
        said: list[str] = []
        assert settle_precision(store, recipe, Runtime(notice=said.append)).features.precision == precision
        assert bool(said) == (precision == other)


def test_roots_are_looked_at_in_the_documented_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(tmp_path / "s")
    asked = header(DATASET, RECIPE.dataset, {"source": CONTENT["cifar100"]})
    object_id = store.publish({"x": [1.0]}, asked)
    store.write_record(key_of(asked), {"object": object_id, **asked, "witness": {"location": "/earlier"}})
    monkeypatch.setenv("WBLTR_DATA", "/data")
    assert source_roots(store, "cifar100", Path("/given")) == (
        Path("/given"), Path("/data"), Path("/earlier"), store.root / "downloads",
    )  # fmt: skip
    monkeypatch.delenv("WBLTR_DATA")
    assert source_roots(store, "cifar10", None) == (store.root / "downloads",)


def test_an_adjustment_is_keyed_by_the_settings_that_its_method_has_and_no_others() -> None:
    kinds = {"number": 0.3, "word": "increasing", "shares": {"cat": 1.0}}
    other = {name: kinds[setting.kind] for name, setting in ADJUSTMENTS.settings().items()}
    for method in ADJUSTMENTS:
        plain = PosthocConfig(method=method)
        own = PosthocStageConfig.of(plain)
        moved = {k for k, v in other.items() if PosthocStageConfig.of(plain.model_copy(update={k: v})) != own}
        assert moved == {setting.name for setting in ADJUSTMENTS[method].settings}, method
        assert set(own.hashed()) == {"method", *moved, *ADJUSTMENTS[method].fixed}


def test_posthoc_none_and_what_is_fitted_without_validation_are_refused() -> None:
    with pytest.raises(WbltrError, match="none leaves nothing to do"):
        Chain(RECIPE).posthoc(PosthocConfig())
    without = RECIPE.model_copy(update={"dataset": RECIPE.dataset.model_copy(update={"val": "none"})})
    with pytest.raises(WbltrError, match="no validation part"):
        Chain(without).row("tau")
    for method in ("temperature", "vector", "logit-adjust"):
        with pytest.raises(WbltrError, match="no validation part"):
            Chain(without).posthoc(PosthocConfig(method=method))
    assert Chain(without).posthoc(PosthocConfig(method="logit-adjust", tau=1.0)).inputs.keys() == {"head", "dataset"}


def test_a_sound_stage_of_each_name_can_be_imported() -> None:
    for stage in STAGES.values():
        assert callable(stage.function())
    assert make is not None
