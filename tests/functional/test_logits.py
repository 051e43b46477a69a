from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wbltr.functional.logits import head_kind, head_logits

SOURCE = torch.Generator().manual_seed(0)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=SOURCE)


HEADS: dict[str, dict[str, Tensor]] = {
    "linear": {"head.weight": normal(5, 3), "head.bias": normal(5)},
    "cosine": {"head.weight": normal(5, 3), "head.bias": normal(5), "head.scale": torch.tensor(16.0)},
    "gated": {
        "head.weight": normal(5, 3),
        "head.bias": normal(5),
        "head.gate.weight": normal(3),
        "head.gate.bias": torch.tensor(0.3),
        "head.gate.scale": normal(5),
        "head.gate.shift": normal(5),
    },
}


def slowly(kind: str, head: dict[str, Tensor], x: Tensor) -> list[float]:
    """One image, one class after another, in plain numbers."""
    w, b = head["head.weight"].tolist(), head["head.bias"].tolist()
    embedding = x.tolist()

    def product(first: list[float], second: list[float]) -> float:
        return sum(p * q for p, q in zip(first, second, strict=True))

    if kind == "cosine":
        scale = float(head["head.scale"])
        return [scale * product(row, embedding) / math.hypot(*row) / math.hypot(*embedding) + shift
                for row, shift in zip(w, b, strict=True)]  # fmt: skip
    logits = [product(row, embedding) + shift for row, shift in zip(w, b, strict=True)]
    if kind == "linear":
        return logits
    gate = 1 / (1 + math.exp(-product(head["head.gate.weight"].tolist(), embedding) - float(head["head.gate.bias"])))
    alpha, beta = head["head.gate.scale"].tolist(), head["head.gate.shift"].tolist()
    return [gate * (a * z + s) + (1 - gate) * z for z, a, s in zip(logits, alpha, beta, strict=True)]


@pytest.mark.parametrize("kind", HEADS)
def test_each_kind_gives_what_its_formula_gives_class_by_class(kind: str) -> None:
    x = normal(7, 3)
    expected = torch.tensor([slowly(kind, HEADS[kind], row) for row in x])
    assert head_kind(HEADS[kind]) == kind
    assert torch.allclose(head_logits(HEADS[kind], x), expected, atol=1e-5)


@pytest.mark.parametrize("kind", HEADS)
def test_views_may_lead(kind: str) -> None:
    x = normal(2, 7, 3)
    alone = torch.stack([head_logits(HEADS[kind], view) for view in x])
    assert torch.allclose(head_logits(HEADS[kind], x), alone, atol=1e-6)


def test_a_gate_that_is_shut_leaves_the_linear_head() -> None:
    head = HEADS["gated"] | {"head.gate.weight": torch.zeros(3), "head.gate.bias": torch.tensor(-100.0)}
    x = normal(7, 3)
    assert torch.equal(head_logits(head, x), head_logits({name: head[name] for name in ("head.weight", "head.bias")}, x))
