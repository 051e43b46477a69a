from __future__ import annotations

import pytest
import torch

from wbltr.functional.sampling import Sampling, image_weights

COUNTS = torch.tensor([64, 16, 4, 1])
LABELS = torch.arange(4).repeat_interleave(COUNTS)


@pytest.mark.parametrize(("sampling", "power"), [("class-balanced", 0.0), ("square-root", 0.5)])
def test_a_class_is_drawn_with_a_power_of_its_size(sampling: Sampling, power: float) -> None:
    weights = image_weights(LABELS, COUNTS, sampling)
    assert weights is not None
    of_class = torch.bincount(LABELS, weights)
    expected = COUNTS.double() ** power
    torch.testing.assert_close(of_class / of_class.sum(), expected / expected.sum())


def test_instance_sampling_draws_each_image_once() -> None:
    assert image_weights(LABELS, COUNTS, "instance") is None
