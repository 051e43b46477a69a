from __future__ import annotations

import math

import pytest
import torch

from wbltr.functional.losses import cross_entropy, focal

SOURCE = torch.Generator().manual_seed(0)
LOGITS = 3 * torch.randn(23, 4, generator=SOURCE, dtype=torch.float64)
LABELS = torch.randint(0, 4, (23,), generator=SOURCE)
WEIGHTS = torch.tensor([0.1, 0.4, 1.0, 2.5])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_equals_the_slow_loop(gamma: float) -> None:
    total = 0.0
    for z, y in zip(LOGITS, LABELS.tolist(), strict=True):
        p = float(z.softmax(0)[y])
        total += float(WEIGHTS[y]) * (1 - p) ** gamma * -math.log(p)
    assert float(focal(LOGITS, LABELS, gamma, WEIGHTS)) == pytest.approx(total / 23, rel=1e-9)


def test_an_image_the_head_is_sure_of_counts_for_less_the_sharper_the_focus() -> None:
    sure, unsure = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.5, 0.0]])
    label = torch.tensor([0])
    shares = [float(focal(sure, label, g) / focal(unsure, label, g)) for g in (0.0, 1.0, 2.0, 5.0)]
    assert shares == sorted(shares, reverse=True)
    assert all(float(focal(LOGITS[[i]], LABELS[[i]])) <= float(cross_entropy(LOGITS[[i]], LABELS[[i]])) for i in range(23))
