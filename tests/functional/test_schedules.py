from __future__ import annotations

import pytest
import torch

from wbltr.functional.schedules import cosine


@pytest.mark.parametrize("scheduler", ["paper", "released"])
def test_the_schedule_equals_torchs_stepped_after_or_before_each_epoch(scheduler: str) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.01)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    expected = []
    for _ in range(20):
        if scheduler == "released":
            optimizer.step()
            reference.step()
        expected.append(reference.get_last_lr()[0])
        if scheduler == "paper":
            optimizer.step()
            reference.step()
    assert cosine(0.01, 20, scheduler) == pytest.approx(expected, abs=1e-12)  # type: ignore[arg-type]


def test_the_released_schedule_ends_at_zero_and_the_papers_above_it() -> None:
    assert cosine(0.01, 200, "released")[-1] == 0.0
    assert 0 < cosine(0.01, 200)[-1] < 1e-5
    assert cosine(0.01, 200)[0] == 0.01
