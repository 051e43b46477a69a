from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wbltr.data.splitting import ORDER, split_rows

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


def drawn(case: int, earlier: bool) -> NDArray[np.str_]:
    """One of many draws: labels, groups and shares by the case's number."""
    source = np.random.default_rng(case)
    labels = source.integers(0, 1 + case % 7, int(source.integers(1, 200)))
    groups = None if case % 3 == 0 else source.integers(0, int(source.integers(1, 100)), len(labels))
    shares = [SHARES, {"test": 0.2}, {"val": 0.3}, {}][case % 4]
    return split_rows(labels, groups, shares, case, [""] * len(labels) if earlier else None)


@pytest.mark.parametrize("earlier", [False, True], ids=["none", "all new"])
def test_where_no_row_had_a_part_the_draw_is_what_it_always_was(earlier: bool) -> None:
    digest = hashlib.sha256()
    for case in range(200):
        digest.update(",".join(drawn(case, earlier).tolist()).encode() + b"\n")
    assert digest.hexdigest() == "49a8d62b58672e16d97d2dde7fd8cf74a758698f7e5a2a2f5141dde2a47352f7"


@st.composite
def grown_sets(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str], int]:
    """Labels, groups, the part that each row had, and a seed; groups of known and new rows mix."""
    count = draw(st.integers(1, 80))
    labels = np.array(draw(st.lists(st.integers(0, 4), min_size=count, max_size=count)))
    groups = np.array(draw(st.lists(st.integers(0, 2 * count), min_size=count, max_size=count)))
    had = draw(st.lists(st.sampled_from(["", "", "train", "train", "val", "test"]), min_size=count, max_size=count))
    return np.unique(labels, return_inverse=True)[1], groups, had, draw(st.integers(0, 99))


@given(grown_sets())
@settings(max_examples=150, deadline=None)
def test_what_had_a_part_keeps_it_and_what_belongs_together_takes_the_latest(
    grown: tuple[NDArray[np.int64], NDArray[np.int64], list[str], int],
) -> None:
    labels, groups, had, seed = grown
    parts = split_rows(labels, groups, SHARES, seed, had)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        latest = max((had[row] for row in rows), key=ORDER.index)
        assert len(set(parts[rows])) == 1
        assert latest in ("", parts[rows[0]])
    for label in np.unique(labels):
        # Only what had another part can leave a class without training: a new row never takes the last place.
        free = [
            row
            for row in np.flatnonzero(labels == label)
            if not any(had[other] for other in np.flatnonzero(groups == groups[row]))
        ]
        assert "train" in parts[labels == label] or not free


@given(class_sizes, st.lists(st.integers(0, 30), min_size=8, max_size=8), st.integers(0, 99), st.sampled_from([0.1, 0.2, 0.5]))
@settings(max_examples=150, deadline=None)
def test_a_set_that_grows_moves_no_row_and_its_shares_stay_what_they_were(
    sizes: list[int], more: list[int], seed: int, share: float
) -> None:
    shares = {"test": share, "val": 0.1}
    before = np.repeat(np.arange(len(sizes)), sizes)
    first = split_rows(before, None, shares, seed)
    labels = np.concatenate((before, np.repeat(np.arange(len(sizes)), more[: len(sizes)])))
    parts = split_rows(labels, None, shares, seed, [*first.tolist(), *[""] * (len(labels) - len(before))])
    assert (parts[: len(before)] == first).all()
    for size, test in zip(np.bincount(labels).tolist(), by_class(labels, parts, "test"), strict=True):
        assert test == min(max(round(share * size), 1), size // 2)


def test_a_set_that_did_not_change_is_not_drawn_again() -> None:
    labels = np.repeat(np.arange(4), [100, 40, 9, 3])
    first = split_rows(labels, None, SHARES, 1)
    for seed in range(5):
        assert (split_rows(labels, None, SHARES, seed, first.tolist()) == first).all()


def test_a_part_that_is_not_asked_for_any_more_trains() -> None:
    labels = np.zeros(6, np.int64)
    parts = split_rows(labels, None, {"test": 0.2}, 0, ["val", "val", "train", "test", "", ""])
    assert parts.tolist()[:4] == ["train", "train", "train", "test"]
