from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wbltr.report.differences import tensor_differences, witness_differences


@pytest.mark.parametrize(
    "array",
    [np.array([0.0, -0.0, np.nan, np.inf]), np.arange(6, dtype=np.uint8).reshape(2, 3), np.array(True), np.zeros((0, 3))],
    ids=lambda array: str(array.dtype),
)
def test_a_tensor_does_not_differ_from_its_copy(array: np.ndarray[Any, Any]) -> None:
    assert tensor_differences({"a": array}, {"a": array.copy()}) == []


def test_a_difference_counts_values_and_tells_the_largest() -> None:
    first = np.array([[1.0, -2.0], [4.0, 0.0]], dtype=np.float32)
    second = np.array([[1.0, -2.5], [3.0, 0.0]], dtype=np.float32)
    (found,) = tensor_differences({"w": first, "same": first}, {"w": second, "same": first})
    assert (found.tensor, found.differing, found.values, found.absolute, found.relative) == ("w", 2, 4, 1.0, 0.25)
    assert found.words() == "w: 2 of 4 values differ, by at most 1 (relative: 0.25)"


def test_zero_and_minus_zero_differ_by_nothing() -> None:
    (found,) = tensor_differences({"w": np.array([0.0])}, {"w": np.array([-0.0])})
    assert (found.differing, found.absolute, found.relative) == (1, 0.0, 0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_no_longer_finite_is_said(value: float) -> None:
    (found,) = tensor_differences({"w": np.array([1.0, 2.0])}, {"w": np.array([1.5, value])})
    assert (found.differing, found.absolute, found.relative) == (2, None, None)
    assert "whether they are finite" in found.words()


def test_integers_booleans_and_complex_numbers_are_compared_as_numbers() -> None:
    pairs = [(np.array([250], np.uint8), np.array([5], np.uint8), 245.0), (np.array([True]), np.array([False]), 1.0)]
    pairs.append((np.array([3 + 4j], np.complex64), np.array([0j], np.complex64), 5.0))
    for first, second, gap in pairs:
        (found,) = tensor_differences({"a": first}, {"a": second})
        assert found.absolute == gap


def test_what_is_missing_or_of_another_kind_is_named() -> None:
    first: dict[str, Any] = {"gone": np.zeros(2), "shape": np.zeros(2), "dtype": np.zeros(2)}
    second: dict[str, Any] = {"new": np.zeros(2), "shape": np.zeros(3), "dtype": np.zeros(2, np.float32)}
    assert [found.words() for found in tensor_differences(first, second)] == [
        "dtype: float64 (2,), now float32 (2,)",
        "gone: float64 (2,), now missing",
        "new: missing, now float64 (2,)",
        "shape: float64 (2,), now float64 (3,)",
    ]


def test_witnesses_differ_in_what_both_tell_and_not_in_what_every_run_has_anew() -> None:
    first = {"pid": 1, "seconds": 2.0, "host": "a", "threads": 2, "versions": {"torch": "2.6", "numpy": "2.0"}}
    second = {"pid": 2, "seconds": 3.0, "host": "a", "threads": 4, "device": "cpu", "versions": {"torch": "2.7"}}
    assert witness_differences(first, second) == {"threads": (2, 4), "torch": ("2.6", "2.7")}
    assert witness_differences({}, second) == {}
