"""Which classes are taken for which, against the slow obvious loop."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from toy_evals import measured

from wbltr.report.confusions import in_the_tail, largest, split_of


@st.composite
def evaluations(draw: st.DrawFn) -> dict[str, Any]:
    classes = draw(st.integers(2, 6))
    of_class = st.integers(0, classes - 1)
    pairs = draw(st.lists(st.tuples(of_class, of_class), max_size=40))
    counts = draw(st.lists(st.integers(1, 30), min_size=classes, max_size=classes))
    return measured([a for a, _ in pairs], [b for _, b in pairs], counts, 20, 10)


@given(evaluations())
def test_splits_are_those_of_the_thresholds(tensors: dict[str, Any]) -> None:
    assert split_of(tensors).tolist() == [0 if n > 20 else 2 if n < 10 else 1 for n in tensors["class_counts"]]


@given(evaluations())
def test_the_largest_shares_come_first_and_none_is_forgotten(tensors: dict[str, Any]) -> None:
    found = largest(tensors, 100)
    pairs = list(zip(tensors["labels"].tolist(), tensors["predictions"].tolist(), strict=True))
    wrong = {pair: pairs.count(pair) for pair in pairs if pair[0] != pair[1]}
    assert {(one.true, one.predicted): one.images for one in found} == wrong
    assert all(one.of == tensors["labels"].tolist().count(one.true) for one in found)
    shares = [one.images / one.of for one in found]
    assert shares == sorted(shares, reverse=True)
    assert largest(tensors, 2) == found[:2]


@given(evaluations())
def test_the_tail_is_the_rarest_split_that_has_classes_and_examples_are_of_the_pair(tensors: dict[str, Any]) -> None:
    splits = split_of(tensors)
    name, found = in_the_tail(tensors, 100, 2)
    assert ("many", "medium", "few").index(name) == max(splits)
    assert {one.true for one in found} <= set(np.flatnonzero(splits == max(splits)).tolist())
    for one in found:
        assert len(one.examples) == min(2, one.images)
        for place in one.examples:
            assert (tensors["labels"][place], tensors["predictions"][place]) == (one.true, one.predicted)


def test_an_evaluation_of_an_older_version_has_no_examples() -> None:
    tensors = measured([0, 1], [1, 1], [30, 5], 20, 10)
    del tensors["predictions"], tensors["labels"]
    assert [one.examples for one in largest(tensors, 3)] == [()]
