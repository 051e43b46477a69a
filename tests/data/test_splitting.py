from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wbltr.data.splitting import split_rows

SHARES = {"test": 0.2, "val": 0.1}
PARTS = ("train", "val", "test")
class_sizes = st.lists(st.integers(1, 60), min_size=1, max_size=8)


def by_class(labels: NDArray[np.int64], parts: NDArray[np.str_], part: str) -> list[int]:
    counts: list[int] = np.bincount(labels[parts == part], minlength=int(labels.max()) + 1).tolist()
    return counts


def test_a_part_has_its_share_of_each_class_and_rare_classes_are_learned_first() -> None:
    labels = np.repeat(np.arange(7), [1000, 50, 10, 4, 3, 2, 1])
    parts = split_rows(labels, None, SHARES, 0)
    assert by_class(labels, parts, "test") == [200, 10, 2, 1, 1, 1, 0]
    assert by_class(labels, parts, "val") == [100, 5, 1, 1, 1, 0, 0]
    assert by_class(labels, parts, "train") == [700, 35, 7, 2, 1, 1, 1]


def test_the_test_part_is_the_same_whether_or_not_one_validates() -> None:
    labels = np.repeat(np.arange(3), [40, 20, 5])
    alone, beside = split_rows(labels, None, {"test": 0.2}, 7), split_rows(labels, None, SHARES, 7)
    assert (alone == "test").tolist() == (beside == "test").tolist()


@given(class_sizes, st.integers(0, 99), st.data())
@settings(max_examples=60, deadline=None)
def test_groups_stay_whole_and_every_class_keeps_a_training_row(sizes: list[int], seed: int, data: st.DataObject) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    groups = np.array(data.draw(st.lists(st.integers(0, 12), min_size=len(labels), max_size=len(labels))))
    parts = split_rows(labels, groups, SHARES, seed)
    assert set(parts) <= set(PARTS)
    for group in np.unique(groups):
        assert len(set(parts[groups == group])) == 1
    assert min(by_class(labels, parts, "train")) >= 1


@given(class_sizes, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_without_groups_every_share_is_met_exactly(sizes: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    parts = split_rows(labels, None, SHARES, seed)
    for size, test in zip(sizes, by_class(labels, parts, "test"), strict=True):
        assert test == min(max(round(0.2 * size), 1), size // 2)


def test_the_seed_decides_which_rows_and_the_share_how_many() -> None:
    labels = np.repeat(np.arange(3), 40)
    first = split_rows(labels, None, SHARES, 0)
    assert (split_rows(labels, None, SHARES, 0) == first).all()
    other = split_rows(labels, None, SHARES, 1)
    assert not (other == first).all()
    assert by_class(labels, other, "test") == by_class(labels, first, "test") == [8, 8, 8]
    assert (split_rows(labels, None, {"val": 0.0}, 0) == "train").all()
    assert not len(split_rows(labels[:0], None, SHARES, 0))


def test_large_groups_still_give_every_class_something_to_be_measured_on() -> None:
    labels, groups = np.repeat([0, 1], 30), np.arange(60) // 10
    parts = split_rows(labels, groups, SHARES, 3)
    assert min(by_class(labels, parts, "test")) == 10
    assert min(by_class(labels, parts, "train")) >= 10
