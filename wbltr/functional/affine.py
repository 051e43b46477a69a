"""A head whose logits are scaled and shifted class by class: what temperature, vector scaling, priors and counts come to."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from wbltr.functional.logits import head_kind


def affine_head(head: Mapping[str, Tensor], scale: Tensor, shift: Tensor) -> dict[str, Tensor]:
    """The head whose logits are those of `head` after `wbltr.functional.scaling.vector_scale`.

    z_k ← s_k · z_k + t_k

    linear: W ← s ∘ W,  b ← s ∘ b + t
    cosine: its scale and b instead, so s has to be the same for every class
    gated:  W ← s ∘ W,  b ← s ∘ b + t,  β ← s ∘ β + (1 − α) ∘ t,  since its logits are (g · α + 1 − g) ∘ (W x + b) + g · β

    Args:
        head: of any kind, see `wbltr.functional.logits`.
        scale: s, `(C,)`, or `()` for one of all classes.
        shift: t, `(C,)` or `()`.

    Returns:
        Tensors, shapes and dtypes of `head`; computed in the dtype of `scale` and `shift` where that is wider.

    Raises:
        ValueError: a scale for each class of a cosine head.

    Source: Guo et al., ICML 2017, section 4.2; for the gated head this project's own arithmetic.

    >>> import torch
    >>> head = {"head.weight": torch.eye(2), "head.bias": torch.ones(2)}
    >>> affine_head(head, torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0]))["head.bias"].tolist()
    [2.0, 4.0]
    """
    kind = head_kind(head)
    if kind == "cosine" and scale.dim():
        raise ValueError("a cosine head has one scale for all classes")
    changed = {"head.bias": scale * head["head.bias"] + shift}
    if kind == "cosine":
        changed["head.scale"] = scale * head["head.scale"]
    else:
        changed["head.weight"] = scale.expand_as(head["head.bias"]).unsqueeze(1) * head["head.weight"]
    if kind == "gated":
        changed["head.gate.shift"] = scale * head["head.gate.shift"] + (1 - head["head.gate.scale"]) * shift
    return {**head, **{name: values.to(head[name].dtype) for name, values in changed.items()}}
