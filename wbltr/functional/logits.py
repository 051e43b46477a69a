"""What a head makes of embeddings, and the head whose logits are scaled and shifted: by kind, see `wbltr.methods.heads`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from wbltr.functional.prototypes import cosine_logits
from wbltr.methods.heads import KINDS
from wbltr.methods.settings import load

Head = Mapping[str, Tensor]


def head_kind(head: Mapping[str, object]) -> str:
    """Which kind of head these tensors are: each kind has a tensor that the others have not."""
    return next((name for name, kind in KINDS.items() if kind.mark in head), "linear")


def logits_of(head: Mapping[str, object]) -> Callable[[Head, Tensor], Tensor]:
    """The function that gives the logits of a head of this kind."""
    return load(KINDS[head_kind(head)].logits)


def head_logits(head: Head, embeddings: Tensor) -> Tensor:
    """Logits of a head of any kind.

    Args:
        head: `head.weight` `(C, D)`, `head.bias` `(C,)` and the tensors of its kind. Other tensors are not looked at.
        embeddings: x, `(…, D)`.

    Returns:
        `(…, C)`.

    >>> head = {"head.weight": torch.eye(2), "head.bias": torch.zeros(2)}
    >>> head_logits(head, torch.tensor([3.0, 4.0])).tolist()
    [3.0, 4.0]
    >>> head_logits(head | {"head.scale": torch.tensor(10.0)}, torch.tensor([3.0, 4.0])).tolist()
    [6.0, 8.0]
    """
    return logits_of(head)(head, embeddings)


def affine_head(head: Head, scale: Tensor, shift: Tensor) -> dict[str, Tensor]:
    """The head whose logits are those of `head` after `wbltr.functional.scaling.vector_scale`.

    z_k ← s_k · z_k + t_k

    Args:
        head: of any kind.
        scale: s, `(C,)`, or `()` for one of all classes.
        shift: t, `(C,)` or `()`.

    Returns:
        Tensors, shapes and dtypes of `head`; computed in the dtype of `scale` and `shift` where that is wider.

    Raises:
        ValueError: a scale for each class of a cosine head.

    Source: Guo et al., ICML 2017, section 4.2; for the gated head this project's own arithmetic.

    >>> head = {"head.weight": torch.eye(2), "head.bias": torch.ones(2)}
    >>> affine_head(head, torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0]))["head.bias"].tolist()
    [2.0, 4.0]
    """
    changed: dict[str, Tensor] = load(KINDS[head_kind(head)].affine)(head, scale, shift)
    return {**head, **{name: values.to(head[name].dtype) for name, values in changed.items()}}


def linear(head: Head, embeddings: Tensor) -> Tensor:
    """z = W x + b."""
    return embeddings @ head["head.weight"].T + head["head.bias"]


def linear_affine(head: Head, scale: Tensor, shift: Tensor) -> dict[str, Tensor]:
    """W ← s ∘ W,  b ← s ∘ b + t."""
    weight = scale.expand_as(head["head.bias"]).unsqueeze(1) * head["head.weight"]
    return {"head.weight": weight, "head.bias": scale * head["head.bias"] + shift}


def cosine(head: Head, embeddings: Tensor) -> Tensor:
    """z_k = σ · ⟨x, w_k⟩ / (‖x‖ · ‖w_k‖) + b_k, with `head.scale` σ `()`.

    Source: Gidaris & Komodakis, CVPR 2018, section 3.
    """
    return cosine_logits(embeddings, head["head.weight"]) * head["head.scale"] + head["head.bias"]


def cosine_affine(head: Head, scale: Tensor, shift: Tensor) -> dict[str, Tensor]:
    """σ ← s · σ,  b ← s · b + t, so s has to be the same for every class."""
    if scale.dim():
        raise ValueError("a cosine head has one scale for all classes")
    return {"head.scale": scale * head["head.scale"], "head.bias": scale * head["head.bias"] + shift}


def gated(head: Head, embeddings: Tensor) -> Tensor:
    """g · (α ∘ z + β) + (1 − g) · z,  z = W x + b,  g = σ(⟨v, x⟩ + c).

    `head.gate.weight` v `(D,)`, `head.gate.bias` c `()`, `head.gate.scale` α `(C,)`, `head.gate.shift` β `(C,)`.

    Source: Zhang et al. (DisAlign), CVPR 2021, section 3.3.
    """
    logits = linear(head, embeddings)
    gate = (embeddings @ head["head.gate.weight"] + head["head.gate.bias"]).sigmoid().unsqueeze(-1)
    return logits + gate * (head["head.gate.scale"] * logits + head["head.gate.shift"] - logits)


def gated_affine(head: Head, scale: Tensor, shift: Tensor) -> dict[str, Tensor]:
    """As a linear one, and β ← s ∘ β + (1 − α) ∘ t, since its logits are (g · α + 1 − g) ∘ (W x + b) + g · β."""
    moved = scale * head["head.gate.shift"] + (1 - head["head.gate.scale"]) * shift
    return {**linear_affine(head, scale, shift), "head.gate.shift": moved}


def gate(weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """A linear head `(C, D)`, `(C,)` with a gate that changes nothing yet."""
    return {
        "head.weight": weight,
        "head.bias": bias,
        "head.gate.weight": torch.zeros_like(weight[0]),
        "head.gate.bias": torch.zeros_like(bias[0]),
        "head.gate.scale": torch.ones_like(bias),
        "head.gate.shift": torch.zeros_like(bias),
    }
