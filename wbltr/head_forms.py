"""Heads with constrained or extra parameters (cosine, ETF, LWS, DisAlign), fitted one at a time on cached embeddings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from wbltr.errors import Diverged
from wbltr.functional.logits import head_logits
from wbltr.functional.losses import ClassLoss
from wbltr.functional.projections import row_norms, unit_norm
from wbltr.functional.prototypes import cosine_logits, simplex_etf
from wbltr.methods.heads import HEADS
from wbltr.methods.losses import LossSettings
from wbltr.methods.settings import load, taken
from wbltr.randomness import epoch_order, generator


class Form(Protocol):
    """A head as it is trained.

    Attributes:
        parameters: what is trained, in place.
    """

    parameters: list[Tensor]

    def logits(self, embeddings: Tensor) -> Tensor:
        """`(B, D)` → `(B, C)`, as the loss sees them."""

    def head(self) -> dict[str, Tensor]:
        """The tensors of `wbltr.functional.logits.head_logits`."""


class Cosine:
    """Logits are scaled cosines: what counts is the direction of an embedding and of a row.

    Source: Gidaris & Komodakis, CVPR 2018, section 3; with a fixed scale as Cao et al., NeurIPS 2019.
    """

    def __init__(self, weight: Tensor, scale: float) -> None:
        self.weight, self.scale = weight.clone(), scale
        self.parameters = [self.weight]

    def logits(self, embeddings: Tensor) -> Tensor:
        """s · cos(x, w_k)."""
        return cosine_logits(embeddings, self.weight, self.scale)

    def head(self) -> dict[str, Tensor]:
        """A cosine head without bias."""
        scale = torch.tensor(self.scale, device=self.weight.device)
        return {"head.weight": self.weight, "head.bias": torch.zeros_like(self.weight[:, 0]), "head.scale": scale}


class Simplex:
    """A fixed simplex equiangular tight frame E above a trained linear map A: s · cos(A x, e_k), whatever D is.

    The norm of A x is the same for every class, so the linear head s · E A / (mean norm of A x, in the last batch) predicts
    alike; its confidences differ, as its logits grow with that norm.

    Source: Yang et al., NeurIPS 2022, section 4 (a fixed frame, normalised features); the map is this project's, as the
    embeddings are fixed.
    """

    def __init__(self, weight: Tensor, scale: float, seed: int) -> None:
        classes = len(weight)
        self.frame = simplex_etf(classes, classes - 1, generator(seed, "simplex")).to(weight.device)
        self.map = self.frame.T @ weight * (classes - 1) / classes  # so that E A begins as the first stage's centred rows
        self.scale, self.parameters = scale, [self.map]
        self._norm = torch.ones((), device=weight.device)

    def logits(self, embeddings: Tensor) -> Tensor:
        """s · cos(A x, e_k)."""
        mapped = embeddings @ self.map.T
        self._norm = row_norms(mapped.detach()).mean()
        return self.scale * unit_norm(mapped) @ self.frame.T

    def head(self) -> dict[str, Tensor]:
        """The linear head that predicts alike."""
        weight = self.scale / self._norm * self.frame @ self.map
        return {"head.weight": weight, "head.bias": torch.zeros_like(weight[:, 0])}


class Scaled:
    """The first stage's logits, each times a learned factor: LWS, learnable weight scaling.

    Source: Kang et al., ICLR 2020, section 4.1, whose classifier has the bias scaled, too.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight, bias
        self.factors = torch.ones_like(bias)
        self.parameters = [self.factors]

    def logits(self, embeddings: Tensor) -> Tensor:
        """f_k · (⟨w_k, x⟩ + b_k)."""
        return self.factors * (embeddings @ self.weight.T + self.bias)

    def head(self) -> dict[str, Tensor]:
        """A linear head."""
        return {"head.weight": self.factors.unsqueeze(1) * self.weight, "head.bias": self.factors * self.bias}


class Kept:
    """A head that is trained as it is kept: some of its tensors, while the others stay."""

    def __init__(self, head: dict[str, Tensor], trains: str) -> None:
        self._head = head
        self.parameters = [tensor for name, tensor in head.items() if name.startswith(trains)]

    def logits(self, embeddings: Tensor) -> Tensor:
        """As the head will give them."""
        return head_logits(self._head, embeddings)

    def head(self) -> dict[str, Tensor]:
        """All its tensors."""
        return self._head


def new_form(name: str, weight: Tensor, bias: Tensor, settings: LossSettings, seed: int) -> Form:
    """A form before its first step; see `wbltr.methods.heads`.

    Args:
        weight, bias: `(C, D)` and `(C,)`, the head to start from; not changed.
        settings: what it leaves open.
        seed: of what is drawn.
    """
    entry = HEADS[name]
    begin, own = load(entry.form), {setting.name: getattr(settings, setting.name) for setting in entry.settings}
    begun: Form | dict[str, Tensor] = begin(**taken(begin, {"weight": weight, "bias": bias, "seed": seed, **own}))
    return Kept(begun, entry.trains) if isinstance(begun, dict) else begun


@dataclass(frozen=True)
class Fitted:
    """A fitted head and how it came to be."""

    head: dict[str, Tensor]  # as `wbltr.functional.logits.head_logits` takes it
    loss: Tensor  # (E,) float64, mean over the epoch
    norms: Tensor  # (E, C) float32, row norms at the epoch's end


def fit_form(
    form: Form,
    loss: ClassLoss,
    embeddings: Tensor,
    labels: Tensor,
    *,
    lrs: Sequence[float],
    batch_size: int,
    momentum: float,
    weight_decay: float,
    seed: int,
    weights: Tensor | None = None,
    tick: Callable[[int, int], None] = lambda _done, _total: None,
    report: Callable[[Mapping[str, float]], None] = lambda _: None,
) -> Fitted:
    """Fit one head by SGD with momentum, weight decay on what is trained; batches in the order of `fit_heads`.

    Args:
        form: trained in place.
        embeddings: `(V, N, D)` float32; epoch e learns from view e mod V.
        labels: `(N,)` int64.
        lrs: one learning rate per epoch.
        seed: of the batch order.
        weights: `(N,)`, how likely each image is drawn, with replacement; None: each once an epoch.
        tick: called before each batch with images done and images in all; may raise to stop.
        report: called after each epoch.

    Raises:
        Diverged: when the loss is no longer finite.
    """
    views, images, _ = embeddings.shape
    for parameter in form.parameters:
        parameter.requires_grad_()
    optimizer = torch.optim.SGD(form.parameters, lr=lrs[0], momentum=momentum, weight_decay=weight_decay)
    losses, norms = [], []
    for epoch, lr in enumerate(lrs):
        loss.begin(epoch)
        optimizer.param_groups[0]["lr"] = lr
        order = epoch_order(images, generator(seed, "second stage", epoch), weights).to(labels.device)
        view = embeddings[epoch % views]
        total = torch.zeros((), dtype=torch.float64, device=labels.device)
        for number, places in enumerate(torch.split(order, batch_size)):
            tick(epoch * images + number * batch_size, len(lrs) * images)
            value = loss(form.logits(view[places]), labels[places])
            optimizer.zero_grad()
            torch.autograd.backward(value)
            optimizer.step()
            total += value.detach() * len(places)
        with torch.no_grad():
            norms.append(row_norms(form.head()["head.weight"]).cpu())
        losses.append(float(total) / images)
        if not math.isfinite(losses[-1]) or not norms[-1].isfinite().all():
            raise Diverged(epoch + 1, len(lrs))
        told = {"epoch": epoch + 1, "epochs": len(lrs), "loss": losses[-1], "lr": lr}
        report(told | {"norm_min": float(norms[-1].min()), "norm_max": float(norms[-1].max())})
    head = {name: tensor.detach().cpu().contiguous() for name, tensor in form.head().items()}
    return Fitted(head, torch.tensor(losses, dtype=torch.float64), torch.stack(norms))
