"""HeadGroup: heads that are trained as one matrix. What a step of the second stage costs is decided here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from wbltr.functional.gradients import loss_with_gradient
from wbltr.functional.losses import ClassLoss, class_weights
from wbltr.functional.projections import max_norm_scale, was_moved
from wbltr.methods.losses import LOSSES, LossSettings
from wbltr.methods.settings import load

Precision = Literal["bf16", "fp32"]


@dataclass(frozen=True)
class Trial:
    """What may differ between heads that are fitted together."""

    loss: str = "cb"  # an entry of `wbltr.methods.losses`
    settings: LossSettings = field(default_factory=LossSettings)
    lr: float = 0.01
    weight_decay: float = 0.0
    radius: float | None = None  # MaxNorm's, absolute; None: no constraint
    per: Literal["step", "epoch"] = "step"
    unit_norm: bool = False

    @property
    def family(self) -> object:
        """Trials of one family can be a group: those of one closed form differ in their class weights, others in nothing."""
        return self.closed_form or (self.loss, self.settings)

    @property
    def closed_form(self) -> str:
        """The function that gives its loss with the gradient; empty where automatic differentiation has to."""
        return LOSSES[self.loss].gradient if self.settings.reweight_from is None else ""


class HeadGroup:
    """T heads side by side, of one kind of loss: one product gives all their logits, one more all their gradients.

    Column t·C + k of `matrix (D + 1, T·C)` is class k of head t: its weights and, in the last row, its bias, as if each
    embedding had one more coordinate, 1. A step allocates nothing large, and reads nothing back from a GPU.

    Attributes:
        matrix, velocity: `(D + 1, T·C)` float32.
        losses: `(T,)` float64, sum over the images of the epoch.
        moved: `(T·C,)` bool, which columns a projection moved in the epoch.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        counts: Tensor,
        weight: Tensor,
        bias: Tensor,
        batch_size: int,
        momentum: float,
        precision: Precision,
    ) -> None:
        """Start every head from `weight (C, D)` and `bias (C,)`; the trials are of one family."""
        heads, classes, device = len(trials), len(weight), weight.device

        def per_column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, device=device).repeat_interleave(classes)

        self.momentum = momentum
        self.matrix = torch.cat((weight.detach().T, bias.detach().unsqueeze(0))).repeat(1, heads)
        self.velocity = torch.zeros_like(self.matrix)
        self.losses = torch.zeros(heads, dtype=torch.float64, device=device)
        self.moved = torch.zeros(heads * classes, dtype=torch.bool, device=device)
        self._weights = self.matrix[:-1]
        self._squares = torch.empty_like(self._weights)
        self._batch_size, self._batches = batch_size, dict[int, _Batch]()
        # bf16 copies of the matrix and of its gradient
        self._narrow = [torch.empty_like(self.matrix, dtype=torch.bfloat16) for _ in range(2)] if precision == "bf16" else None
        self._loss = ClassLoss(trials[0].loss, counts, trials[0].settings, device)
        closed = trials[0].closed_form
        self._closed_form = load(closed) if closed else None
        self._epoch = 0
        self._class_weights = torch.stack([class_weights(t.loss, counts, t.settings) for t in trials], 1).to(device)  # (C, T)
        self._lr = per_column([t.lr for t in trials])
        self._decay = per_column([t.weight_decay for t in trials])
        self._decays = any(t.weight_decay for t in trials)
        # One rule for every constraint: a ball only shrinks a column, the unit sphere stretches it, too.
        self._stretch = per_column([math.inf if t.unit_norm else 1.0 for t in trials])
        start, step, epoch = ([_radius(t, moment) for t in trials] for moment in ("start", "step", "epoch"))
        self._step_radii, self._epoch_radii = per_column(step), per_column(epoch)
        self._constrained = any(math.isfinite(radius) for radius in step)
        self._project(per_column(start))

    def begin_epoch(self) -> None:
        """An epoch is to begin: what is summed over it starts anew."""
        self.losses.zero_()
        self.moved.zero_()
        self._loss.begin(self._epoch)
        self._epoch += 1

    @torch.no_grad()
    def walk(
        self,
        embeddings: Tensor,
        labels: Tensor,
        factor: float,
        tick: Callable[[int], None],
        teacher: Tensor | None = None,
        *,
        last: bool = True,
    ) -> None:
        """Walk once over images of this epoch, in the order given.

        Args:
            embeddings: `(N, D + 1)`, the last column ones, in the precision of the products.
            labels: `(N,)` int64.
            factor: of each head's learning rate.
            tick: called before each batch with images done; may raise to stop.
            teacher: `(N, C)`, logits of the teacher, where the loss has one.
            last: whether the epoch ends with them; if not, N is a multiple of the batch size.
        """
        lr = self._lr * -factor
        full = len(labels) // self._batch_size * self._batch_size
        shares = self._class_weights[labels]
        shares[:full] /= self._batch_size
        shares[full:] /= max(1, len(labels) - full)
        done = 0
        batches = (torch.split(tensor, self._batch_size) for tensor in (embeddings, labels, shares))
        for x, y, share in zip(*batches, strict=True):
            tick(done)
            self._step(x, y, share, lr, () if teacher is None else (teacher[done : done + len(x)],))
            done += len(x)
        if last:
            self._project(self._epoch_radii)

    def norms(self) -> Tensor:
        """`(T·C,)`, L2 norm of each column's weights."""
        # Squared and summed by hand: on a CPU torch's own norm is ten times slower over a first dimension.
        return torch.mul(self._weights, self._weights, out=self._squares).sum(0).sqrt_()

    def _step(self, x: Tensor, labels: Tensor, shares: Tensor, lr: Tensor, taught: tuple[Tensor, ...]) -> None:
        """SGD with momentum and weight decay on one batch `x (B, D + 1)`, then the constraints."""
        if len(x) not in self._batches:
            self._batches[len(x)] = _Batch(x, *self._class_weights.shape)
        batch = self._batches[len(x)]
        self._multiply(x, batch)
        losses = self._learn(batch, labels, shares, taught)
        self.losses.add_(losses, alpha=len(x))
        self._accelerate(x, batch)
        if self._decays:
            self.velocity.addcmul_(self._decay, self.matrix)
        self.matrix.addcmul_(lr, self.velocity)
        if self._constrained:
            self._project(self._step_radii)

    def _learn(self, batch: _Batch, labels: Tensor, shares: Tensor, taught: tuple[Tensor, ...]) -> Tensor:
        """Losses `(T,)` of the batch's logits; gradient ← theirs."""
        if self._closed_form is not None:
            losses: Tensor = self._closed_form(batch.logits, labels, shares, batch.gradient)[0]
            return losses
        return loss_with_gradient(lambda z, y: self._loss(z, y, *taught), batch.logits, labels, batch.gradient)[0]

    def _multiply(self, x: Tensor, batch: _Batch) -> None:
        """logits ← x · matrix."""
        if self._narrow is None:
            torch.mm(x, self.matrix, out=batch.flat_logits)
        else:
            matrix, _ = self._narrow
            batch.flat_logits.copy_(torch.mm(x, matrix.copy_(self.matrix), out=batch.narrow))

    def _accelerate(self, x: Tensor, batch: _Batch) -> None:
        """velocity ← momentum · velocity + xᵀ · gradient."""
        if self._narrow is None:
            self.velocity.addmm_(x.T, batch.flat_gradient, beta=self.momentum)
        else:
            _, slope = self._narrow
            torch.mm(x.T, batch.narrow.copy_(batch.flat_gradient), out=slope)
            torch.add(slope, self.velocity, alpha=self.momentum, out=self.velocity)

    def _project(self, radii: Tensor) -> None:
        """Bring the columns to their ball or sphere `(T·C,)`; an infinite radius is no constraint."""
        scale = max_norm_scale(self.norms(), radii, self._stretch)
        self.moved |= was_moved(scale)
        self._weights.mul_(scale)


class _Batch:
    """Where a batch of B images is worked on, `(B, T, C)` and flat; made once, as beside another thread every call costs."""

    def __init__(self, x: Tensor, classes: int, heads: int) -> None:
        self.logits, self.gradient = (torch.empty(len(x), heads, classes, device=x.device) for _ in range(2))
        self.flat_logits, self.flat_gradient = self.logits.flatten(1), self.gradient.flatten(1)
        self.narrow = torch.empty_like(self.flat_logits, dtype=x.dtype)  # of the products; used where that is not float32


def _radius(trial: Trial, moment: Literal["start", "step", "epoch"]) -> float:
    """What a head's norms are held to at this moment; infinite for nothing."""
    if trial.unit_norm:
        return 1.0
    return trial.radius if trial.radius is not None and trial.per == moment else math.inf
