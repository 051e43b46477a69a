"""What a head makes of embeddings. The one place that knows the three kinds of heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from wbltr.functional.prototypes import cosine_logits

Kind = Literal["linear", "cosine", "gated"]


def head_kind(head: Mapping[str, object]) -> Kind:
    """Which kind of head these tensors are: each kind has tensors that the others have not."""
    if "head.scale" in head:
        return "cosine"
    return "gated" if "head.gate.weight" in head else "linear"


def head_logits(head: Mapping[str, Tensor], embeddings: Tensor) -> Tensor:
    """Logits of a head of any kind.

    linear: z = W x + b
    cosine: z_k = s · ⟨x, w_k⟩ / (‖x‖ · ‖w_k‖) + b_k
    gated:  g · (α ⊙ z + β) + (1 − g) · z,  z = W x + b,  g = σ(⟨v, x⟩ + c)

    Args:
        head: `head.weight` W `(C, D)` and `head.bias` b `(C,)`; a cosine head also has `head.scale` s `()`; a gated one
            `head.gate.weight` v `(D,)`, `head.gate.bias` c `()`, `head.gate.scale` α `(C,)`, `head.gate.shift` β `(C,)`.
            Other tensors are not looked at.
        embeddings: x, `(…, D)`.

    Returns:
        `(…, C)`.

    Source: cosine: Gidaris & Komodakis, CVPR 2018, section 3; gated: Zhang et al. (DisAlign), CVPR 2021, section 3.3.

    >>> import torch
    >>> head = {"head.weight": torch.eye(2), "head.bias": torch.zeros(2)}
    >>> head_logits(head, torch.tensor([3.0, 4.0])).tolist()
    [3.0, 4.0]
    >>> head_logits(head | {"head.scale": torch.tensor(10.0)}, torch.tensor([3.0, 4.0])).tolist()
    [6.0, 8.0]
    """
    weight, bias = head["head.weight"], head["head.bias"]
    kind = head_kind(head)
    if kind == "cosine":
        return cosine_logits(embeddings, weight) * head["head.scale"] + bias
    logits = embeddings @ weight.T + bias
    if kind == "linear":
        return logits
    gate = (embeddings @ head["head.gate.weight"] + head["head.gate.bias"]).sigmoid().unsqueeze(-1)
    return logits + gate * (head["head.gate.scale"] * logits + head["head.gate.shift"] - logits)
