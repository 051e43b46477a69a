from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy import stats

from wbltr.errors import WbltrError
from wbltr.functional.metrics import split_masks
from wbltr.functional.statistics import Array
from wbltr.report.uncertainty import COLUMNS, Tensors, document, in_words, intervals, paired, paired_document, signed

COUNTS = np.array([300, 101, 100, 40, 20, 19, 3])  # training images: two Many, three Medium, two Few
IMAGES = np.array([40, 40, 30, 30, 20, 20, 10])
LABELS = np.repeat(np.arange(7), IMAGES)


def evaluation(predictions: Array, labels: Array = LABELS, counts: Array = COUNTS) -> dict[str, Array]:
    """What an eval artifact holds of these predictions."""
    classes = len(counts)
    confusion = np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)
    with np.errstate(invalid="ignore"):
        per_class = confusion.diagonal() / confusion.sum(1)
    sizes = {f"classes.{name}": mask.sum().numpy() for name, mask in split_masks(torch.tensor(counts), 100, 20).items()}
    return {
        "accuracy.per_class": per_class, "confusion": confusion, "class_counts": counts, **sizes,
        "predictions": predictions.astype(np.int32), "labels": labels.astype(np.int32),
    }  # fmt: skip


def guesses(right: float, seed: int, labels: Array = LABELS) -> Array:
    """Predictions of which this share is right, the others the next class."""
    wrong = np.random.default_rng(seed).random(len(labels)) >= right
    found: Array = (labels + wrong) % 7
    return found


def better(predictions: Array, images: int, seed: int = 9) -> Array:
    """The same with so many of the wrong ones put right."""
    wrong = np.random.default_rng(seed).permutation(np.flatnonzero(predictions != LABELS))[:images]
    found = predictions.copy()
    found[wrong] = LABELS[wrong]
    return found


def estimates(tensors: Tensors) -> dict[str, float]:
    """The accuracies, by the thresholds themselves."""
    masks = split_masks(torch.tensor(tensors["class_counts"]), 100, 20)
    chosen = {"all": slice(None), **{name: mask.numpy() for name, mask in masks.items()}}
    return {name: 100 * float(np.nanmean(tensors["accuracy.per_class"][mask])) for name, mask in chosen.items()}


@pytest.mark.parametrize("order", [range(7), (6, 2, 0, 4, 1, 5, 3)])
def test_each_split_has_its_own_classes_though_counts_lie_at_the_thresholds(order: list[int]) -> None:
    tensors = evaluation(guesses(0.7, 0), counts=COUNTS[list(order)])
    found = intervals(tensors)
    assert {column: one.estimate for column, one in found.items()} == pytest.approx(estimates(tensors), abs=0.005)
    assert all(one.low < one.estimate < one.high for one in found.values())
    assert found["all"].high - found["all"].low < min(found[name].high - found[name].low for name in COLUMNS[1:])


def test_an_evaluation_without_predictions_has_the_same_intervals_and_they_are_repeatable() -> None:
    tensors = evaluation(guesses(0.7, 0))
    older = {name: value for name, value in tensors.items() if name not in ("predictions", "labels")}
    assert intervals(older) == intervals(tensors)


def test_an_empty_split_and_a_class_without_images_have_no_bounds_and_spoil_no_others() -> None:
    labels = LABELS[LABELS < 5]
    tensors = evaluation(guesses(0.7, 0, labels), labels)
    told = document(intervals(tensors))
    assert told["few"] is None
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    difference = paired([(tensors, evaluation(guesses(0.6, 1, labels), labels))])
    assert math.isnan(difference.differences["few"].estimate)
    assert "few" not in in_words("cb", "ce", difference)
    assert paired_document("ce", difference)["splits"]["few"] is None
    many = evaluation(LABELS, counts=np.full(7, 500))
    assert document(intervals(many)) == {"all": [100.0, 100.0], "many": [100.0, 100.0], "medium": None, "few": None}


def test_runs_of_several_seeds_are_pooled_so_that_their_spread_shows() -> None:
    low, high = evaluation(guesses(0.3, 0)), evaluation(guesses(0.9, 1))
    alone, other, pooled = intervals(low)["all"], intervals(high)["all"], intervals(low, high)["all"]
    assert pooled.estimate == pytest.approx((alone.estimate + other.estimate) / 2)
    assert (pooled.low, pooled.high) == pytest.approx((alone.low, other.high), abs=1.5)


def test_the_difference_is_that_of_the_accuracies() -> None:
    one, other = evaluation(guesses(0.7, 0)), evaluation(guesses(0.5, 1))
    found = paired([(one, other)]).differences
    ours, theirs = estimates(one), estimates(other)
    assert tuple(found) == COLUMNS
    assert {c: d.estimate for c, d in found.items()} == pytest.approx({c: ours[c] - theirs[c] for c in COLUMNS})


def test_its_bounds_are_those_of_drawing_the_same_images_for_both_one_by_one() -> None:
    base = guesses(0.6, 0)
    first, second = better(base, 12, 1), better(base, 6, 2)
    source = np.random.default_rng(5)
    gains = (first == LABELS).astype(float) - (second == LABELS)
    per_class = [source.choice(gains[k == LABELS], (20_000, IMAGES[k])).mean(1) for k in range(7)]
    found = paired([(evaluation(first), evaluation(second))]).differences
    for column, classes, step in (("all", range(7), 0.5), ("many", (0, 1), 1.25), ("few", (5, 6), 2.5)):  # a step: one image
        slow = 100 * np.quantile(np.mean([per_class[k] for k in classes], axis=0), [0.025, 0.975])
        assert (found[column].low, found[column].high) == pytest.approx(tuple(slow), abs=step), column


def test_mcnemar_counts_the_images_that_one_head_alone_has_right() -> None:
    pairs = [(guesses(0.7, seed), guesses(0.6, seed + 10)) for seed in range(3)]
    only = [((a == LABELS) & (b != LABELS), (b == LABELS) & (a != LABELS)) for a, b in pairs]
    each = [float(stats.binomtest(int(a.sum()), int(a.sum() + b.sum())).pvalue) for a, b in only]
    measured = [(evaluation(a), evaluation(b)) for a, b in pairs]
    assert [paired([pair]).mcnemar_p for pair in measured] == pytest.approx(each)
    assert paired(measured).mcnemar_p == pytest.approx(max(each))


def test_over_seeds_it_is_students_interval_of_the_paired_differences() -> None:
    pairs = [(evaluation(guesses(0.7, seed)), evaluation(guesses(0.6, seed + 10))) for seed in range(4)]
    found = paired(pairs)
    ours, theirs = ([estimates(side)["all"] for side in sides] for sides in zip(*pairs, strict=True))
    bounds = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert found.over_seeds == pytest.approx((np.mean(ours) - np.mean(theirs), bounds.low, bounds.high))
    assert found.over_seeds.estimate == pytest.approx(found.differences["all"].estimate)
    assert found.n == 4
    assert math.isnan(paired(pairs[:1]).over_seeds.low)
    assert paired_document("ce", paired(pairs[:1]))["over_seeds"] is None


def test_more_seeds_narrow_the_interval_over_seeds_but_not_the_pooled_one() -> None:
    pairs = [(evaluation(guesses(0.7, seed)), evaluation(guesses(0.65, seed + 20))) for seed in range(3)]
    few, many = paired(pairs), paired(pairs * 5)
    width = few.differences["all"].high - few.differences["all"].low
    assert many.differences["all"].high - many.differences["all"].low == pytest.approx(width, rel=0.05)
    assert many.over_seeds.high - many.over_seeds.low < 0.3 * (few.over_seeds.high - few.over_seeds.low)


@pytest.mark.parametrize(("gained", "lost", "verdict"), [(30, 0, "higher"), (0, 30, "lower"), (8, 7, "not distinguishable")])
def test_a_difference_is_one_where_its_bounds_leave_out_zero(gained: int, lost: int, verdict: str) -> None:
    base = guesses(0.6, 0)
    found = paired([(evaluation(better(base, gained, 1)), evaluation(better(base, lost, 2)))])
    assert found.verdict == verdict
    assert (found.mcnemar_p < 0.05) == (verdict != "not distinguishable")


def test_heads_that_predict_alike_are_said_to_and_heads_that_are_as_often_right_are_not() -> None:
    base = guesses(0.6, 0)
    found = paired([(evaluation(base), evaluation(base))])
    assert in_words("cb-max", "cb", found) == "cb-max against cb: the same predictions"
    told = paired_document("cb", found)
    assert (told["difference"], told["low"], told["high"], told["mcnemar_p"]) == (0.0, 0.0, 0.0, 1.0)
    assert told["verdict"] == "the same predictions"
    elsewhere = np.where(base == LABELS, base, (base + 1) % 7)  # wrong on the same images, in another way
    assert (elsewhere != LABELS).sum() == (base != LABELS).sum()
    assert paired([(evaluation(base), evaluation(elsewhere))]).verdict == "not distinguishable"


def test_a_difference_in_words() -> None:
    base = guesses(0.6, 0)
    found = paired([(evaluation(better(base, 40)), evaluation(base))])
    d = {c: f"{signed(one.estimate)} ({signed(one.low)} to {signed(one.high)})" for c, one in found.differences.items()}
    assert in_words("cb-wd-max", "cb-wd", found).splitlines() == [
        f"cb-wd-max against cb-wd: {d['all']}, higher",
        f"  many {d['many']}, medium {d['medium']}, few {d['few']}",
        "  McNemar p < 0.001",
    ]
    several = paired([(evaluation(better(base, 5, seed)), evaluation(base)) for seed in range(2)])
    assert in_words("cb", "ce", several).splitlines()[-1] == (
        f"  McNemar p ≤ 0.062; t over 2 seeds: {signed(several.over_seeds.low)} to {signed(several.over_seeds.high)}"
    )


def test_signs_are_those_of_print_and_zero_is_not_negative() -> None:
    assert [signed(x) for x in (0.44, -0.26, -0.04, 12.0)] == ["+0.4", "−0.3", "+0.0", "+12.0"]


def test_what_cannot_be_paired_is_refused() -> None:
    one = evaluation(guesses(0.6, 0))
    older = {name: value for name, value in one.items() if name not in ("predictions", "labels")}
    for pair in ((one, older), (older, one)):
        with pytest.raises(WbltrError, match="no predictions to pair") as caught:
            paired([pair])
        assert caught.value.code == "missing"
    with pytest.raises(WbltrError, match="different images"):
        paired([(one, evaluation(guesses(0.6, 0)[::-1], LABELS[::-1]))])
