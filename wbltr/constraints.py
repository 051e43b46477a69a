"""Constraint: rows of trained layers held to a ball or a sphere, and what that did to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from wbltr.functional.projections import max_norm_scale, on_radius, was_moved


class Constraint:
    """Projects rows of some weights, in place, after each step or at each epoch's end (eq. 2 and eq. 5).

    A convolution's rows are its filters, `(outputs, …)` flattened.

    Args:
        weights: on their device; the first dimension counts the rows.
        radii: δ of each weight; 1 for unit norms.
        per: when to project.
        sphere: whether every row is brought to the radius (eq. 2), not only those outside (eq. 5).

    Attributes:
        moved: bool, one a row of all weights: whether it was shrunk since the last epoch's end.
    """

    def __init__(
        self, weights: Sequence[Tensor], radii: Sequence[float], per: Literal["step", "epoch"] = "step", sphere: bool = False
    ) -> None:
        self.weights = [weight.detach() for weight in weights]
        self.radii, self.per, self.sphere = tuple(radii), per, sphere
        self.moved = torch.zeros(sum(map(len, self.weights)), dtype=torch.bool, device=self.weights[0].device)

    @classmethod
    def unit_norm(cls, weight: Tensor) -> Constraint:
        """Rows of unit norm after every step, and from the start (Fig. 2b)."""
        sphere = cls([weight], [1.0], sphere=True)
        sphere.project()
        sphere.moved.zero_()
        return sphere

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint needs."""
        return {"constraint.moved": self.moved}

    def project(self) -> None:
        """Bring every row to its place now."""
        moved = []
        for weight, radius in zip(self.weights, self.radii, strict=True):
            scale = max_norm_scale(_norms(weight), radius, math.inf if self.sphere else 1.0)
            weight.mul_(scale.view(-1, *[1] * (weight.dim() - 1)))
            moved.append(was_moved(scale))
        self.moved |= torch.cat(moved)

    def after_step(self) -> None:
        """Project, where the constraint holds at each step."""
        if self.per == "step":
            self.project()

    def after_epoch(self) -> tuple[float, float]:
        """Project where it holds at each epoch's end; the share of rows on the radius, and of those moved in the epoch."""
        if self.per == "epoch":
            self.project()
        on = [on_radius(_norms(w), radius) for w, radius in zip(self.weights, self.radii, strict=True)]
        shares = float(torch.cat(on).double().mean()), float(self.moved.double().mean())
        self.moved.zero_()
        return shares


def _norms(weight: Tensor) -> Tensor:
    """`(rows, …)` → `(rows,)`; not flattened first, which would copy a convolution that lies channels last."""
    norms: Tensor = torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.dim())))
    return norms


def what_max_norm_did(projected: Sequence[float], radius: float, of: str = "classes") -> str:
    """One line on a constraint: whether it ever moved a row, and until when."""
    moving = [epoch + 1 for epoch, share in enumerate(projected) if share > 0]
    if not moving:
        return f"MaxNorm never did anything: every row stayed inside the radius {radius:.4g}"
    if moving[-1] < len(projected):
        return f"MaxNorm (radius {radius:.4g}) moved no row after epoch {moving[-1]} of {len(projected)}"
    return f"MaxNorm (radius {radius:.4g}) moved {100 * projected[-1]:.0f} % of the {of} in the last epoch"
