"""The second stage through the network, on digits: what moves, what stands still, and how it meets the cached one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from small_chain import RECIPE, RUNTIME, Tensors, as_arrays

from wbltr.errors import Stopped
from wbltr.pipeline import Runtime
from wbltr.recipe import ClassifierConfig, FeaturesConfig, MaxNormConfig
from wbltr.stages import NETWORK_FIELDS, FinetuneStageConfig, features, finetune

FROZEN = ("network.backbone.layers.0.", "network.backbone.layers.1.")  # the first convolution and its batch-norm


def section(**values: Any) -> FinetuneStageConfig:
    own = {field: getattr(RECIPE.features, field) for field in NETWORK_FIELDS}
    second = ClassifierConfig.model_validate({"epochs": 2, "batch_size": 32, **values})
    return FinetuneStageConfig.model_validate({**own, "classifier": second})


def tuned(images: Tensors, first: Tensors, runtime: Runtime = RUNTIME, **values: Any) -> Tensors:
    return as_arrays(finetune.run(section(**values), {"dataset": images, "features": first}, runtime))


def moved(before: Tensors, after: Tensors) -> set[str]:
    return {name for name in after if name in before and not np.array_equal(before[name], after[name])}


def test_the_last_two_layers_are_the_classifier_and_one_convolution_with_its_batch_norm(
    images: Tensors, first: Tensors
) -> None:
    changed = {name for name in moved(first, tuned(images, first, layers=2)) if name.startswith(("network.", "head."))}
    convolution, norm = "network.backbone.layers.6.", "network.backbone.layers.7."
    buffers = {"running_mean", "running_var", "num_batches_tracked"}
    expected = {convolution + "weight", *(norm + name for name in ("weight", "bias", *buffers)), "head.weight", "head.bias"}
    assert changed == expected


def test_exact_mode_moves_the_head_and_batch_norms_statistics_alone(images: Tensors, first: Tensors) -> None:
    changed = moved(first, tuned(images, first, mode="exact"))
    network = {name for name in changed if name.startswith("network.")}
    assert {name.rsplit(".", 1)[1] for name in network} == {"running_mean", "running_var", "num_batches_tracked"}
    assert len(network) == 9
    assert {"head.weight", "head.bias"} <= changed


def test_frozen_layers_are_left_as_they_are_bit_for_bit(images: Tensors, first: Tensors) -> None:
    changed = moved(first, tuned(images, first, layers=2))
    assert not any(name.startswith(FROZEN) for name in changed)


def test_max_norm_is_relative_to_the_first_stages_head_and_told_per_epoch(images: Tensors, first: Tensors) -> None:
    norms = np.linalg.norm(first["head.weight"], axis=1)
    ball = MaxNormConfig(radius=0.1).model_dump()
    made = tuned(images, first, layers=2, max_norm=ball)
    assert float(made["radius"]) == pytest.approx(norms.min() + 0.1 * (norms.max() - norms.min()), rel=1e-5)
    assert np.linalg.norm(made["head.weight"], axis=1).max() <= float(made["radius"]) * (1 + 1e-5)
    assert made["history.at_radius"][0] > 0
    assert made["history.projected"][0] > 0


def test_max_norm_on_trained_layers_holds_their_filters_each_layer_by_its_own_radius(images: Tensors, first: Tensors) -> None:
    made = tuned(images, first, layers=2, max_norm=MaxNormConfig(radius=0.2, on="trained").model_dump())
    for name in ("head.weight", "network.backbone.layers.6.weight"):
        before, after = (np.linalg.norm(t[name].reshape(len(t[name]), -1), axis=1) for t in (first, made))
        radius = before.min() + 0.2 * (before.max() - before.min())
        assert before.max() > radius
        assert after.max() <= radius * (1 + 1e-5), name


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (lambda: ClassifierConfig(max_norm=MaxNormConfig(on="trained")), "trains the classifier alone"),
        (lambda: FeaturesConfig(max_norm=MaxNormConfig(relative=False, on="trained")), "a radius for each layer"),
    ],
)
def test_filters_are_held_only_where_there_is_a_radius_for_them(config: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config()


def test_unit_norm_rows_are_of_unit_norm_in_every_epoch(images: Tensors, first: Tensors) -> None:
    made = tuned(images, first, layers=2, constraint="unit-norm")
    np.testing.assert_allclose(made["history.norms"], 1, rtol=1e-5)


def test_the_best_epoch_on_test_is_what_is_kept(images: Tensors, first: Tensors) -> None:
    made = tuned(images, first, mode="exact", select="best-test", epochs=3, scheduler="released")
    assert int(made["selected"]) == int(np.argmax(made["history.test_accuracy"]))
    np.testing.assert_allclose(
        np.linalg.norm(made["head.weight"], axis=1), made["history.norms"][int(made["selected"])], rtol=1e-5
    )


def test_a_stopped_finetuning_goes_on_to_the_same_bits(images: Tensors, first: Tensors) -> None:
    values: dict[str, Any] = {"layers": 2, "max_norm": MaxNormConfig(per="epoch").model_dump(), "sampling": "square-root"}
    whole = tuned(images, first, **values)
    saved: list[tuple[int, dict[str, Any], Mapping[str, Any]]] = []

    def checkpoint(step: int, state: Any, now: bool = False) -> None:
        if now:
            saved.append((step, {name: np.asarray(tensor).copy() for name, tensor in state().items()}, {}))

    def tick(done: int, total: int) -> None:
        if done > total // 3 and not saved:
            raise Stopped("enough")

    with pytest.raises(Stopped):
        tuned(images, first, Runtime(threads=1, device="cpu", tick=tick, checkpoint=checkpoint), **values)
    resumed = Runtime(threads=1, device="cpu", restore=lambda usable: saved[0])
    again = tuned(images, first, resumed, **values)
    assert not {name for name in moved(whole, again) if not np.array_equal(whole[name], again[name], equal_nan=True)}


def first_stage(images: Tensors, **values: Any) -> Tensors:
    changes = RECIPE.features.model_dump() | {"epochs": 2} | values
    config = type(RECIPE.features).model_validate(changes)
    return as_arrays(features.run(config, {"dataset": images}, RUNTIME))


def test_a_first_stage_under_unit_norm_keeps_it_from_the_first_epoch_on(images: Tensors) -> None:
    made = first_stage(images, constraint="unit-norm")
    np.testing.assert_allclose(made["history.norms"], 1, rtol=1e-5)


def test_a_first_stage_under_max_norm_never_leaves_the_ball(images: Tensors) -> None:
    free = first_stage(images, weight_decay=0.0)
    radius = float(np.median(free["history.norms"][-1]))
    made = first_stage(images, weight_decay=0.0, max_norm={"radius": radius, "relative": False})
    assert free["history.norms"].max() > radius
    assert made["history.norms"].max() <= radius * (1 + 1e-5)
    assert made["history.at_radius"][-1] > 0


def test_snapshots_begin_with_the_fresh_head_and_end_with_the_last_step(images: Tensors) -> None:
    made = first_stage(images, prelogit=2, snapshot_every=5)
    assert made["snapshots.steps"].tolist() == [0, 5, 10, 15, 20]  # 305 images: 10 steps an epoch
    assert made["snapshots.weight"].shape == (5, 10, 2)
    assert np.array_equal(made["snapshots.weight"][-1], made["head.weight"])


def test_best_on_test_is_the_epoch_that_the_history_names(images: Tensors) -> None:
    made = first_stage(images, epochs=3, select="best-test")
    best = int(made["selected"])
    assert best == int(np.argmax(made["history.test_accuracy"]))
    np.testing.assert_allclose(np.linalg.norm(made["head.weight"], axis=1), made["history.norms"][best], rtol=1e-5)


def test_class_balanced_sampling_helps_the_rare_class_to_be_seen(images: Tensors) -> None:
    plain, balanced = (first_stage(images, sampling=sampling, epochs=1) for sampling in ("instance", "class-balanced"))
    rarest = [made["head.bias"][9] - made["head.bias"][0] for made in (plain, balanced)]
    assert rarest[1] > rarest[0]
