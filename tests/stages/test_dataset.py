from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from wbltr.dataset_config import DatasetConfig
from wbltr.errors import WbltrError
from wbltr.pipeline import Runtime
from wbltr.recipe_file import load_recipe
from wbltr.stages._dataset_parts import fingerprint
from wbltr.stages.dataset import pick, run

BALANCED = np.tile(np.arange(10), 50)  # 50 images of each of 10 classes, interleaved


def config(**values: object) -> DatasetConfig:
    return DatasetConfig.model_validate({"source": "digits", "imbalance_factor": 10, **values})


def picked(**values: object) -> tuple[np.ndarray, np.ndarray, bool]:
    return pick(BALANCED, 10, config(**values), "made")


def test_file_order_keeps_the_first_images_of_each_class() -> None:
    train, _, _ = picked(val="none")
    for k in range(10):
        mine = train[BALANCED[train] == k]
        assert mine.tolist() == np.flatnonzero(k == BALANCED)[: len(mine)].tolist()


def test_unused_validates_on_what_the_long_tail_left_out() -> None:
    train, val, canonical = picked(val="unused", imbalance_factor=1, largest=40)
    assert canonical
    assert not set(train) & set(val)
    assert np.bincount(BALANCED[val]).tolist() == [10] * 10
    assert train.tolist() == picked(val="none", imbalance_factor=1, largest=40)[0].tolist()


def test_unused_takes_at_most_twenty_of_a_class() -> None:
    _, val, _ = picked(val="unused")
    assert np.bincount(BALANCED[val], minlength=10).max() == 20


def test_one_class_in_twenty_may_go_without_validation_images() -> None:
    labels = np.tile(np.arange(20), 50)
    train, val, canonical = pick(labels, 20, config(val="unused", imbalance_factor=100), "made")
    assert canonical
    assert np.bincount(labels[val], minlength=20)[0] == 0
    assert (np.bincount(labels[val], minlength=20)[1:] > 0).all()
    assert np.bincount(labels[train])[0] == 50


def test_where_more_go_without_a_tenth_of_their_training_images_is_held_out() -> None:
    train, val, canonical = picked(val="unused", profile="step")
    assert not canonical
    assert np.bincount(BALANCED[train], minlength=10).tolist() == [45] * 5 + [5] * 5
    assert np.bincount(BALANCED[val], minlength=10).tolist() == [5] * 5 + [20] * 5
    assert not set(train) & set(val)


def test_holdout_keeps_at_least_one_training_image_of_the_rarest_class() -> None:
    train, val, canonical = picked(val="holdout", imbalance_factor=50)
    assert not canonical
    assert (np.bincount(BALANCED[train], minlength=10) >= 1).all()
    assert sorted([*train, *val]) == sorted(picked(val="none", imbalance_factor=50)[0])


def test_a_shuffled_order_depends_on_its_seed_and_keeps_the_counts() -> None:
    one, again, other = (picked(order="shuffled", val="none", seed=s)[0] for s in (1, 1, 2))
    assert one.tolist() == again.tolist()
    assert one.tolist() != other.tolist()
    assert np.bincount(BALANCED[one]).tolist() == np.bincount(BALANCED[other]).tolist()


def test_a_profile_that_asks_for_more_than_there_is_says_how_many_there_are() -> None:
    with pytest.raises(WbltrError, match="class 0 has 50 images, the profile asks for 51") as caught:
        picked(largest=51)
    assert "dataset.largest=50" in caught.value.hint
    assert caught.value.exit_code == 2


def test_digits_ir50_is_the_set_that_its_recipe_describes() -> None:
    told: list[object] = []
    tensors = run(load_recipe("digits-ir50").dataset, {}, Runtime(report=told.append))
    assert tensors["class_counts"].tolist() == [110, 71, 46, 29, 19, 12, 8, 5, 3, 2]
    assert np.bincount(tensors["test.labels"]).tolist() == [60] * 10
    assert (np.bincount(tensors["val.labels"], minlength=10) > 0).all()
    assert tensors["train.images"].dtype == np.uint8
    assert tensors["train.images"].shape == (305, 1, 8, 8)
    assert tensors["train.images"].max() > 200
    assert json.loads(bytes(tensors["class_names"])) == [str(k) for k in range(10)]
    assert told[0]["canonical"] is True  # type: ignore[index]
    run(load_recipe("digits-ir50", ["dataset.order=shuffled"]).dataset, {}, Runtime(report=told.append))
    assert told[1]["canonical"] is False  # type: ignore[index]


def test_the_fingerprint_changes_with_pixels_labels_and_order() -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    labels = np.array([0, 1])
    marks = {
        fingerprint(images, labels),
        fingerprint(images[::-1], labels),
        fingerprint(images, labels[::-1]),
        fingerprint(images.reshape(2, 3, 4, 1), labels),
        fingerprint(images + 1, labels),
    }
    assert len(marks) == 5
    assert fingerprint(images.copy(), labels.astype(np.int32)) == fingerprint(images, labels)


needs_cifar100 = pytest.mark.skipif(
    "WBLTR_TEST_CIFAR100" not in os.environ, reason="WBLTR_TEST_CIFAR100 names no folder that holds cifar-100-python"
)


@needs_cifar100
@pytest.mark.parametrize(("recipe", "sizes"), [("cifar100-ir100", (10847, 500, 5)), ("cifar100-ir10", (19573, 500, 50))])
def test_cifar100_lt_has_the_published_counts_on_the_real_images(recipe: str, sizes: tuple[int, int, int]) -> None:
    section = load_recipe(recipe).dataset
    tensors = run(section, {}, Runtime(roots=(Path(os.environ["WBLTR_TEST_CIFAR100"]),)))
    counts = tensors["class_counts"]
    assert (len(tensors["train.labels"]), counts.max(), counts.min()) == sizes
    if recipe == "cifar100-ir100":
        assert len(tensors["val.labels"]) == 1980
        assert [(counts > 100).sum(), ((counts <= 100) & (counts >= 20)).sum(), (counts < 20).sum()] == [35, 35, 30]
        assert bytes(tensors["fingerprint"]).hex()[:12] == "884f5fef8fe0"
        assert json.loads(bytes(tensors["class_names"]))[0] == "apple"


def test_a_set_that_is_nowhere_is_missing_with_where_was_looked(tmp_path: Path) -> None:
    section = load_recipe("cifar100-ir100").dataset
    with pytest.raises(WbltrError) as caught:
        run(section, {}, Runtime(roots=(tmp_path,)))
    assert caught.value.exit_code == 3
    assert str(tmp_path) in caught.value.message
    assert "--root" in caught.value.hint
