from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wbltr.constraints import Constraint, what_max_norm_did
from wbltr.functional.projections import max_norm, unit_norm


def weights() -> list[Tensor]:
    source = torch.Generator().manual_seed(0)
    return [torch.randn(6, 4, generator=source) * 2, torch.randn(3, 2, 3, 3, generator=source)]


def test_each_weight_is_held_to_its_own_ball_filter_by_filter() -> None:
    linear, convolution = weights()
    expected = max_norm(linear, 2.0), max_norm(convolution.flatten(1), 0.5).view_as(convolution)
    convolution = convolution.to(memory_format=torch.channels_last)
    Constraint([linear, convolution], [2.0, 0.5]).after_step()
    torch.testing.assert_close(linear, expected[0])
    torch.testing.assert_close(convolution, expected[1])


def test_a_sphere_stretches_too_and_leaves_zero_rows() -> None:
    linear, _ = weights()
    linear[2] = 0
    expected = unit_norm(linear)
    Constraint([linear], [1.0], sphere=True).after_step()
    torch.testing.assert_close(linear, expected)


@pytest.mark.parametrize(("per", "moves"), [("step", (True, False)), ("epoch", (False, True))])
def test_it_projects_when_it_says(per: str, moves: tuple[bool, bool]) -> None:
    linear, _ = weights()
    constraint = Constraint([linear], [0.1], per)  # type: ignore[arg-type]
    for act, moved in zip((constraint.after_step, constraint.after_epoch), moves, strict=True):
        before = linear.clone()
        act()
        assert (not torch.equal(linear, before)) == moved


def test_shares_are_of_the_rows_on_the_radius_and_of_those_moved_in_the_epoch() -> None:
    linear = torch.tensor([[3.0, 0.0], [0.5, 0.0], [0.0, 1.0], [0.0, 0.2]])
    constraint = Constraint([linear], [1.0])
    constraint.after_step()
    linear[0] *= 0.5  # it shrinks by itself afterwards
    assert constraint.after_epoch() == (0.25, 0.25)  # row 2 lies on the radius and was never moved
    assert constraint.after_epoch() == (0.25, 0.0)


def test_rounding_on_the_radius_is_not_a_move() -> None:
    linear, _ = weights()
    constraint = Constraint([linear], [0.3])
    constraint.after_step()
    constraint.after_epoch()
    for _ in range(5):
        constraint.after_step()
    assert constraint.after_epoch() == (1.0, 0.0)


@pytest.mark.parametrize(
    ("projected", "words"),
    [([0.0, 0.0], "never did anything"), ([0.4, 0.0], "no row after epoch 1 of 2"), ([0.0, 0.5], "moved 50 % of the classes")],
)
def test_one_line_says_what_max_norm_did(projected: list[float], words: str) -> None:
    assert words in what_max_norm_did(projected, 0.5)
