from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbltr.functional.longtail import long_tail_counts


@pytest.mark.parametrize(
    ("factor", "images", "smallest", "splits"),
    [(100, 10847, 5, (35, 35, 30)), (50, 12608, 10, (41, 41, 18)), (10, 19573, 50, (69, 31, 0))],
)
def test_cifar100_lt_has_the_published_sizes(factor: float, images: int, smallest: int, splits: tuple[int, int, int]) -> None:
    counts = long_tail_counts(100, 500, factor)
    few = sum(n < 20 for n in counts)
    many = sum(n > 100 for n in counts)
    assert (sum(counts), counts[-1], (many, 100 - many - few, few)) == (images, smallest, splits)


def test_cifar10_lt_has_the_published_size() -> None:
    assert sum(long_tail_counts(10, 5000, 100)) == 12406


def test_a_step_profile_is_large_then_small() -> None:
    assert long_tail_counts(10, 500, 100, "step") == (500,) * 5 + (5,) * 5


@given(st.integers(1, 500), st.integers(1, 5000), st.floats(1, 1000), st.sampled_from(["exp", "step"]))
def test_counts_never_grow_start_at_the_largest_and_stay_positive(
    classes: int, largest: int, factor: float, profile: str
) -> None:
    counts = long_tail_counts(classes, largest, factor, profile)  # type: ignore[arg-type]
    assert len(counts) == classes
    assert all(a >= b >= 1 for a, b in itertools.pairwise(counts))
    if profile == "exp" or classes > 1:
        assert counts[0] == largest


def test_an_imbalance_factor_of_one_is_balanced() -> None:
    assert set(long_tail_counts(100, 500, 1)) == {500}
