from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wbltr.functional.logits import affine_head, head_logits
from wbltr.functional.scaling import vector_scale

SOURCE = torch.Generator().manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=SOURCE)


LINEAR = {"head.weight": normal(5, 3), "head.bias": normal(5)}
COSINE = {**LINEAR, "head.scale": torch.tensor(16.0)}
GATED = {
    **LINEAR,
    "head.gate.weight": normal(3),
    "head.gate.bias": torch.tensor(0.3),
    "head.gate.scale": normal(5),
    "head.gate.shift": normal(5),
}


@pytest.mark.parametrize(
    ("head", "scale"),
    [(LINEAR, normal(5)), (GATED, normal(5)), *[(head, torch.tensor(0.7)) for head in (LINEAR, COSINE, GATED)]],
)
@pytest.mark.parametrize("shift", [normal(5), torch.tensor(0.0)])
def test_the_logits_of_the_new_head_are_those_of_the_old_scaled_and_shifted(
    head: dict[str, Tensor], scale: Tensor, shift: Tensor
) -> None:
    x = normal(7, 3)
    made = affine_head(head, scale.double(), shift.double())
    assert {name: (values.shape, values.dtype) for name, values in made.items()} == {
        name: (values.shape, values.dtype) for name, values in head.items()
    }
    torch.testing.assert_close(head_logits(made, x), vector_scale(head_logits(head, x), scale, shift), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("head", [LINEAR, COSINE, GATED])
def test_one_and_nothing_change_no_bit(head: dict[str, Tensor]) -> None:
    made = affine_head(head, torch.tensor(1.0), torch.zeros(5))
    assert all(torch.equal(made[name], head[name]) for name in head)


def test_a_cosine_head_takes_no_scale_for_each_class() -> None:
    with pytest.raises(ValueError, match="one scale"):
        affine_head(COSINE, torch.ones(5), torch.zeros(5))
