from __future__ import annotations

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

from wbltr.functional import metrics

C = 6
pairs = st.lists(st.tuples(st.integers(0, C - 1), st.integers(0, C - 1)), min_size=1, max_size=60)


@given(pairs)
def test_confusion_and_macro_f1_equal_scikit_learn(values: list[tuple[int, int]]) -> None:
    labels, predictions = (torch.tensor(side) for side in zip(*values, strict=True))
    confusion = metrics.confusion_matrix(labels, predictions, C)
    assert confusion.tolist() == confusion_matrix(labels, predictions, labels=range(C)).tolist()
    seen = sorted(set(labels.tolist()) | set(predictions.tolist()))
    expected = f1_score(labels, predictions, average="macro", labels=seen, zero_division=0)
    assert float(metrics.macro_f1(confusion)) == pytest.approx(expected)


def test_mean_accuracy_equals_balanced_accuracy() -> None:
    labels = torch.tensor([0] * 8 + [1] * 2 + [2] * 4)
    predictions = torch.tensor([0] * 6 + [1] * 3 + [0] + [2] * 3 + [0])
    per_class = metrics.class_accuracy(metrics.confusion_matrix(labels, predictions, 3))
    assert float(metrics.mean_accuracy(per_class)) == pytest.approx(balanced_accuracy_score(labels, predictions))


def test_a_class_without_images_is_nan_and_left_out_of_the_mean() -> None:
    per_class = metrics.class_accuracy(metrics.confusion_matrix(torch.tensor([0, 0]), torch.tensor([0, 1]), 3))
    assert per_class[0] == 0.5
    assert per_class[1:].isnan().all()
    assert float(metrics.mean_accuracy(per_class)) == 0.5


def test_an_empty_split_is_nan_never_zero() -> None:
    assert math.isnan(float(metrics.mean_accuracy(torch.tensor([0.5, 1.0]), torch.tensor([False, False]))))


@given(st.lists(st.integers(0, 600), min_size=1, max_size=50), st.integers(0, 300), st.integers(0, 300))
def test_every_class_is_in_exactly_one_split(counts: list[int], many: int, few: int) -> None:
    masks = metrics.split_masks(torch.tensor(counts), many, min(few, many + 1))
    assert sum(mask.int() for mask in masks.values()).tolist() == [1] * len(counts)  # type: ignore[union-attr]


def test_the_thresholds_are_the_papers_many_above_100_few_below_20() -> None:
    masks = metrics.split_masks(torch.tensor([101, 100, 20, 19]), 100, 20)
    assert [masks[s].tolist() for s in metrics.SPLITS] == [
        [True, False, False, False],
        [False, True, True, False],
        [False, False, False, True],
    ]


def test_top_k_counts_a_label_among_the_k_largest() -> None:
    logits = torch.tensor([[0.1, 0.5, 0.4], [0.9, 0.05, 0.05]])
    assert metrics.top_k_correct(logits, torch.tensor([2, 2]), 2).tolist() == [True, False]
    assert metrics.top_k_correct(logits, torch.tensor([2, 2]), 5).tolist() == [True, True]


@given(pairs)
def test_recall_and_f1_equal_scikit_learns_with_nan_where_there_is_nothing(values: list[tuple[int, int]]) -> None:
    labels, predictions = (torch.tensor(side) for side in zip(*values, strict=True))
    confusion = metrics.confusion_matrix(labels, predictions, C)
    _, recall, f1, _ = precision_recall_fscore_support(labels, predictions, labels=range(C), zero_division=math.nan)
    assert metrics.class_accuracy(confusion).tolist() == pytest.approx(recall.tolist(), nan_ok=True)
    assert metrics.class_f1(confusion).tolist() == pytest.approx(f1.tolist(), nan_ok=True)
    assert torch.equal(metrics.class_f1(confusion).nanmean(), metrics.macro_f1(confusion))


@given(st.lists(st.floats(0.001, 1) | st.just(math.nan), min_size=1, max_size=20))
def test_means_equal_the_standard_librarys_and_stand_in_order(accuracies: list[float]) -> None:
    per_class = torch.tensor(accuracies, dtype=torch.float64)
    present = [a for a in accuracies if not math.isnan(a)]
    harmonic, geometric, worst, mean = (
        float(f(per_class))
        for f in (
            metrics.harmonic_mean_accuracy,
            metrics.geometric_mean_accuracy,
            metrics.worst_accuracy,
            metrics.mean_accuracy,
        )
    )
    if not present:
        assert all(math.isnan(value) for value in (harmonic, geometric, worst, mean))
        return
    assert harmonic == pytest.approx(statistics.harmonic_mean(present))
    assert geometric == pytest.approx(statistics.geometric_mean(present))
    assert worst == min(present)
    assert worst <= harmonic + 1e-9 <= geometric + 2e-9 <= mean + 3e-9


def test_a_class_that_is_never_right_takes_all_but_the_plain_mean_to_zero() -> None:
    per_class = torch.tensor([0.0, 1.0, math.nan, 0.5])
    assert float(metrics.harmonic_mean_accuracy(per_class)) == 0
    assert float(metrics.geometric_mean_accuracy(per_class)) == 0
    assert float(metrics.worst_accuracy(per_class)) == 0
    assert float(metrics.worst_accuracy(per_class, torch.tensor([False, True, True, True]))) == 0.5
