from __future__ import annotations

import json

import numpy as np
import pytest

from wbltr.recipe import ClassifierConfig, FeaturesConfig, MaxNormConfig
from wbltr.report import diagnosis

BALL = MaxNormConfig(radius=0.5, relative=False)
DECAYED = ClassifierConfig(max_norm=BALL, weight_decay=0.1)


def shares(*values: float) -> np.ndarray:
    return np.array(values)


@pytest.mark.parametrize("config", [DECAYED, ClassifierConfig(max_norm=BALL)])
def test_a_constraint_that_never_moved_a_row_is_a_knob_that_does_nothing(config: ClassifierConfig) -> None:
    still = {"history.at_radius": shares(0, 0), "history.projected": shares(0, 0), "radius": np.array(0.5)}
    found = diagnosis.constraint("second stage", config, still)
    assert found.words.endswith("it never moved a row")
    assert found.warning.startswith("MaxNorm does nothing here")
    assert ("weight decay 0.1" in found.warning) == bool(config.weight_decay)
    assert found.figures["last_moving_epoch"] == 0


def test_a_constraint_that_moved_rows_tells_the_shares_and_until_when() -> None:
    tensors = {"history.at_radius": shares(1, 0.5, 0.25), "history.projected": shares(1, 0.1, 0), "radius": np.array(0.7)}
    found = diagnosis.constraint("second stage", DECAYED, tensors)
    assert not found.warning
    assert "MaxNorm (radius 0.7): 100 % of the rows at it after the first epoch, 25 % after the last" in found.words
    assert found.words.endswith("it moved rows until epoch 2 of 3")
    assert found.figures["at_radius"] == [1, 0.5, 0.25]


def test_without_a_constraint_nothing_is_read() -> None:
    assert diagnosis.constraint("first stage", FeaturesConfig(), {}).words == "none"
    assert "unit norm" in diagnosis.constraint("second stage", ClassifierConfig(constraint="unit-norm"), {}).words


@pytest.mark.parametrize(
    ("norms", "words"),
    [
        ([3.0, 2.0, 1.0], "rise with the training images (Spearman's correlation +1.00); 1 to 3, the largest 3.0 times"),
        ([1.0, 2.0, 4.0], "fall with the training images (Spearman's correlation -1.00)"),
        ([2.0, 2.000001, 2.0], "all rows have the norm 2"),
        ([1.0, 0.5, 0.0], "0 to 1"),
    ],
)
def test_norms_are_held_against_the_training_images(norms: list[float], words: str) -> None:
    found = diagnosis.norms_by_count(np.array(norms, np.float32), np.array([100, 10, 1]))
    assert words in found.words
    json.dumps(found.document(), allow_nan=False)


def test_classes_that_lie_far_apart_have_a_large_ratio_and_a_small_cosine() -> None:
    source = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 50)
    noise, corners = source.normal(size=(150, 3)), 10 * np.eye(3)[labels]
    near, far = (diagnosis.geometry(noise + shift, labels, 3, "val").figures for shift in (5 + 0.1 * corners, corners))
    assert far["fisher"] > 10 * near["fisher"]
    assert far["cosine"] < 0.2 < 0.9 < near["cosine"]


def test_the_classes_predicted_most_too_often_are_named_the_worst_first() -> None:
    confusion = np.array([[10, 0, 0, 0], [3, 7, 0, 0], [0, 1, 9, 0], [5, 2, 3, 0]])
    found = diagnosis.prior(confusion, ["ant", "bee", "cow", "dog"], "test part")
    assert "too often: ant (45 %, not 25 %), cow (30 %, not 25 %)" in found.words
    assert "bee" not in found.words, "as often as it comes"
    assert found.figures["total_variation"] == 0.25
    assert "too often" not in diagnosis.prior(np.eye(4, dtype=np.int64), ["ant", "bee", "cow", "dog"], "test part").words


def test_batch_norm_drift_names_the_layer_that_moved_most_and_is_none_for_cached_heads() -> None:
    first = {
        f"network.backbone.{layer}.{what}": np.ones(4, np.float32)
        for layer in ("bn1", "layer4.bn2")
        for what in ("running_mean", "running_var")
    }
    second = {**first, "network.backbone.layer4.bn2.running_mean": np.full(4, 1.5, np.float32)}
    found = diagnosis.batch_norm(first, second)
    assert found.figures["means"] == {"whole": pytest.approx(0.5 / 2**0.5, abs=1e-6), "worst": 0.5, "layer": "layer4.bn2"}
    assert found.figures["variances"]["whole"] == 0
    assert "at most 50 % in layer4.bn2" in found.words
    assert diagnosis.batch_norm(first, None).words == "none: the second stage did not run the network"


def test_a_weight_decay_too_small_to_matter_is_warned_of_and_one_that_matters_is_not() -> None:
    strong, weak = (
        diagnosis.weight_decay("second stage", ClassifierConfig(weight_decay=decay), 10_847) for decay in (0.1, 1e-5)
    )
    assert not strong.warning
    assert strong.figures["left"] < 0.01
    assert strong.figures["lr_times_weight_decay"] == pytest.approx(1e-3)
    assert weak.warning == "weight decay 1e-05 does nothing here: raise it, or leave it out"


def test_no_weight_decay_is_a_warning_in_the_first_stage_alone() -> None:
    assert "naive" in diagnosis.weight_decay("first stage", FeaturesConfig(weight_decay=0), 100).warning
    assert not diagnosis.weight_decay("second stage", ClassifierConfig(), 100).warning
