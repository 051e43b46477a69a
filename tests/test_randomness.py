from __future__ import annotations

from typing import get_args

import torch

from wbltr.randomness import Purpose, generator


def test_the_same_request_draws_the_same_numbers() -> None:
    one, two = (torch.rand(5, generator=generator(3, "epoch", 7)) for _ in range(2))
    assert torch.equal(one, two)


def test_seed_purpose_and_number_each_change_the_stream() -> None:
    draws = {
        tuple(torch.rand(4, generator=generator(seed, purpose, number)).tolist())
        for seed in range(5)
        for purpose in get_args(Purpose)
        for number in range(20)
    }
    assert len(draws) == 5 * len(get_args(Purpose)) * 20


def test_the_first_draw_is_frozen() -> None:
    """Another stream under the same seed would be another result under the same key."""
    assert torch.randint(0, 1000, (3,), generator=generator(0, "epoch", 0)).tolist() == FROZEN


FROZEN = [803, 516, 881]
