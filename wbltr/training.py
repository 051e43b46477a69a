"""fit(): the one loop that trains networks. Loss, schedule and images are arguments; it knows no store and no clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from wbltr.constraints import Constraint
from wbltr.distributed import ALONE, Team
from wbltr.errors import Code, Diverged, Stopped
from wbltr.functional.projections import row_norms
from wbltr.machine import Precision, autocast, captured, own_stream
from wbltr.models import Classifier
from wbltr.watchers import Watcher

Checkpoint = Callable[..., None]  # steps done, what to save if it is time to, `now`: save it in any case
LAYOUT = 2  # of what a checkpoint holds
IMAGES = 2  # place in a step's sums; after it come the wishes to stop
LISTEN_EVERY = 16  # steps between looks at whether another process was asked to stop


class Images(Protocol):
    """Training images on a device. The tensors that `take` reads stay where they are from epoch to epoch."""

    def __len__(self) -> int:
        """Images of an epoch."""

    def draw(self, epoch: int, steps: Sequence[Sequence[range]]) -> None:
        """Draw the epoch's order and augmentation, in place.

        Args:
            epoch: its number.
            steps: for each step to come, the places in the epoch's order that it will take, part by part.
        """

    def fetch(self) -> None:
        """Have the images of the next step at hand."""

    def take(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Places `(B,)` int64 in the epoch's order, of the step at hand → images `(B, C, H, W)` uint8, labels `(B,)` int64."""


def batches(images: int, batch_size: int, shards: int = 1) -> list[int]:
    """Sizes of an epoch's batches. Batch-norm needs two images a shard: a last batch with less joins the one before."""
    sizes = [min(batch_size, images - first) for first in range(0, images, batch_size)]
    if len(sizes) > 1 and sizes[-1] < 2 * shards:
        last = sizes.pop()
        sizes[-1] += last
    return sizes


@dataclass
class Epochs:
    """History of a training run; row e is epoch e."""

    loss: Tensor  # (E,) float64, mean over the epoch's images, as trained (augmented)
    accuracy: Tensor  # (E,) float64, share of images right as trained
    norms: Tensor  # (E, C) float32, row norms of the classifier at the epoch's end
    at_radius: Tensor  # (E,) float64, share of constrained rows on the radius at the epoch's end; NaN without a constraint
    projected: Tensor  # (E,) float64, share of them that a projection moved during the epoch

    @classmethod
    def empty(cls, epochs: int, classes: int) -> Epochs:
        """A history in which nothing has happened yet: NaN."""
        nan = float("nan")
        running = torch.full((epochs,), nan, dtype=torch.float64)
        return cls(running, running.clone(), torch.full((epochs, classes), nan), running.clone(), running.clone())


class _RunningStatistics:
    """Batch-norm's running statistics over shards that all start from the same values: their mean, counted as one batch."""

    def __init__(self, model: nn.Module) -> None:
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        self.running = [t for norm in norms for t in (norm.running_mean, norm.running_var) if t is not None]
        self.tracked = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
        self.before: list[Tensor] = []
        self.total = torch.empty(0)

    def remember(self) -> None:
        """Keep what every shard starts from."""
        self.before = [t.clone() for t in (*self.running, *self.tracked)]
        self.total = torch.zeros_like(self._flat())

    def collect(self) -> None:
        """Add what a shard left to the total, and go back."""
        self.total += self._flat()
        for tensor, earlier in zip((*self.running, *self.tracked), self.before, strict=True):
            tensor.copy_(earlier)

    def settle(self, shards: int, team: Team) -> None:
        """Take the mean over the shards of the whole team."""
        mean = team.sum_(self.total) / shards
        values = torch.split(mean, [t.numel() for t in self.running])
        for tensor, value in zip(self.running, values, strict=True):
            tensor.copy_(value)
        for count in self.tracked:
            count += 1

    def _flat(self) -> Tensor:
        return torch.cat(self.running)


class Step:
    """One step of SGD on the next images of the epoch, on tensors that stay where they are.

    It asks the device nothing and takes nothing from the host, so that a CUDA graph can repeat it. The batch is cut into
    shards, which a team shares: batch-norm sees one at a time; gradients are the mean over the images, running statistics that
    over the shards.

    Attributes:
        lr: `()` float32.
        sums: `(5,)` float64: loss · images, images right and images of the epoch so far; how many times a process wished to
            stop by Ctrl-C, and by another signal.
        wish: `(2,)`, this process's own wishes, told to the others with every step.
        place: `()` int64, images of the epoch's order that are done.
    """

    def __init__(
        self,
        model: Classifier,
        images: Images,
        shards: int,
        momentum: float,
        weight_decay: float,
        loss: Callable[..., Tensor],
        precision: Precision,
        team: Team,
        constraint: Constraint | None = None,
        teacher: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.device = model.weight.device
        self.model, self.images, self.shards, self.loss = model, images, shards, loss
        self.precision, self.team, self.constraint, self.teacher = precision, team, constraint, teacher
        self.through = team.averaging(model, self.device)
        self.statistics = _RunningStatistics(model)
        every = [*model.network.parameters(), model.weight, model.bias]
        self.parameters = [parameter for parameter in every if parameter.requires_grad]
        self.lr = torch.zeros((), device=self.device)
        fused = self.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.SGD(self.parameters, self.lr, momentum, weight_decay=weight_decay, fused=fused)
        # From zeros a first step is torch's own first step, and a captured one finds the addresses.
        self.momenta = [torch.zeros_like(parameter) for parameter in self.parameters] if momentum else []
        for parameter, buffer in zip(self.parameters, self.momenta, strict=False):
            self.optimizer.state[parameter]["momentum_buffer"] = buffer
        precise = torch.float32 if self.device.type == "mps" else torch.float64
        self.sums = torch.zeros(IMAGES + 3, dtype=precise, device=self.device)
        self.place = torch.zeros((), dtype=torch.int64, device=self.device)
        self.wish = torch.zeros(2, device=self.device)
        self._offsets = torch.arange(len(images), device=self.device)

    def parts(self, first: int, size: int) -> list[range]:
        """Places in the epoch's order that this process takes of a batch, one range a shard."""
        larger = size % self.shards  # shards that take one image more
        cuts = [first + number * (size // self.shards) + min(number, larger) for number in range(self.shards + 1)]
        return [range(start, stop) for start, stop in pairwise(cuts)][self.team.rank :: self.team.size]

    def __call__(self, size: int) -> None:
        """Learn from the next `size` images."""
        self.optimizer.zero_grad()
        if self.shards > 1:
            self.statistics.remember()
        seen = torch.zeros_like(self.sums)
        seen[IMAGES + 1 :] = self.wish
        mine = [self._offsets[part.start : part.stop] for part in self.parts(0, size)]
        for number, part in enumerate(mine):
            images, labels = self.images.take(self.place + part)
            with self.team.quiet(self.through) if number < len(mine) - 1 else nullcontext():
                with autocast(self.device, self.precision):
                    logits = self.through(images)
                    taught = () if self.teacher is None else (self.teacher(images),)
                value = self.loss(logits, labels, *taught)
                # The team takes the mean over its members, a batch the mean over its images.
                torch.autograd.backward(value * (len(part) * self.team.size / size))
            seen[0] += value.detach().to(seen.dtype) * len(part)
            seen[1] += (logits.detach().argmax(1) == labels).sum()
            seen[IMAGES] += len(part)
            if self.shards > 1:
                self.statistics.collect()
        if self.shards > 1:
            self.statistics.settle(self.shards, self.team)
        self.optimizer.step()
        if self.constraint is not None:
            self.constraint.after_step()
        self.sums += self.team.sum_(seen)
        self.place += size

    def changed(self) -> list[Tensor]:
        """Every tensor that a step writes to."""
        own = [*(p.detach() for p in self.parameters), *self.momenta, *self.model.buffers(), self.sums, self.place]
        return [*own, *(self.constraint.state().values() if self.constraint is not None else ())]

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint needs to go on to the same bits; the tensors themselves, not copies."""
        tensors = {f"network.{name}": value for name, value in self.model.network.state_dict().items()}
        tensors |= {"head.weight": self.model.weight.detach(), "head.bias": self.model.bias.detach(), "sums": self.sums}
        tensors |= {f"momentum.{number}": buffer for number, buffer in enumerate(self.momenta)}
        return tensors | (self.constraint.state() if self.constraint is not None else {})


def fit(
    model: Classifier,
    images: Images,
    *,
    lrs: Sequence[float],
    batch_size: int,
    shards: int = 1,
    momentum: float,
    weight_decay: float,
    loss: Callable[..., Tensor],
    precision: Precision,
    tick: Callable[[int, int], None],
    report: Callable[[Mapping[str, float]], None],
    checkpoint: Checkpoint,
    restored: tuple[int, Mapping[str, Tensor]] | None,
    team: Team = ALONE,
    begin: Callable[[int], None] = lambda _: None,
    teacher: Callable[[Tensor], Tensor] | None = None,
    constraint: Constraint | None = None,
    watchers: Sequence[Watcher] = (),
) -> Epochs:
    """Train in place, by SGD, what of a network and its head requires a gradient; weight decay on all of that.

    On one CPU with one thread count, a run that is stopped at any step and restored gives the bits of an undisturbed one.
    On a CUDA device, without a team, each step is one captured graph, with a twin for the short last batch.

    Args:
        model: on its device; changed in place.
        images: on the same device; an epoch's order and augmentation. At least two a shard.
        lrs: one learning rate per epoch.
        shards: parts that a batch is cut into, each with its own batch-norm statistics; a multiple of the team's size.
        loss: logits `(B, C)`, labels `(B,)`, and with a teacher its logits → mean over the batch.
        tick: called before each step with images done and images in all; may raise `Stopped`.
        report: called after each epoch.
        checkpoint: called after each step, and with `now=True` before a stop; on the leader only.
        restored: a step and what the checkpoint held (see `usable`); the leader's counts for all.
        team: the processes that share the work; see `wbltr.distributed`.
        begin: called with each epoch, from 0, before its first step; the loss may have to change.
        teacher: images → logits that the loss learns from; it gives no gradient.
        constraint: projects rows after each step or epoch.
        watchers: look at the model after each step and epoch, and keep what they will.

    Raises:
        Stopped: what `tick` raised before a step; with a team, a few steps later and on all of its processes.
        Diverged: when the loss or a weight is no longer finite.
    """
    with own_stream(model.weight.device):
        step = Step(model, images, shards, momentum, weight_decay, loss, precision, team, constraint, teacher)
        history = Epochs.empty(len(lrs), len(model.weight))
        layout = torch.tensor(LAYOUT)
        done = torch.zeros((), dtype=torch.int64)  # steps

        def state() -> dict[str, Tensor]:
            rows = {"loss": history.loss, "accuracy": history.accuracy, "norms": history.norms}
            if constraint is not None:
                rows |= {"at_radius": history.at_radius, "projected": history.projected}
            for watcher in watchers:
                rows |= watcher.state()
            return step.state() | rows | {"layout": layout}

        if restored is not None:
            done.fill_(restored[0])
            with torch.no_grad():
                for name, tensor in state().items():
                    tensor.copy_(restored[1][name])
            step.sums[IMAGES + 1 :] = 0  # that wish was granted
        team.follow([*state().values(), done])

        sizes = batches(len(images), batch_size, shards)
        first = int(done)
        run: dict[int, Callable[[], None]] = {}  # by size of batch: the usual one, and the twin for the last
        model.train()
        for epoch, lr in enumerate(lrs):
            skipped = max(0, first - epoch * len(sizes))
            if skipped >= len(sizes):
                continue
            begin(epoch)
            images.draw(epoch, [step.parts(sum(sizes[:n]), sizes[n]) for n in range(skipped, len(sizes))])
            step.lr.fill_(lr)
            step.place.fill_(sum(sizes[:skipped]))
            for number, size in enumerate(sizes[skipped:], skipped):
                try:
                    tick(epoch * len(images) + sum(sizes[:number]), len(lrs) * len(images))
                except Stopped as stop:
                    if team.size == 1:
                        checkpoint(int(done), state, now=True)
                        raise
                    step.wish[int(stop.code == "terminated")] = 1
                images.fetch()
                if size not in run:
                    work = partial(step, size)
                    run[size] = captured(work, step.changed(), step.device) if team.size == 1 else work
                run[size]()
                done += 1
                if number == len(sizes) - 1 and constraint is not None:
                    history.at_radius[epoch], history.projected[epoch] = constraint.after_epoch()
                for watcher in watchers:
                    watcher.after_step(int(done))
                if number == len(sizes) - 1:
                    _close(step, history, epoch, lrs, watchers, report)
                # All stop after the same step, or those that go on would wait for the others.
                stop_now = team.size > 1 and int(done) % LISTEN_EVERY == 0 and bool(step.sums[IMAGES + 1 :].any())
                if team.leads:
                    checkpoint(int(done), state, now=stop_now)
                if stop_now:
                    raise _stopped(step)
        # Asked to stop in the last step: nothing is left to stop, and what is done is to be kept.
        with suppress(Stopped):
            tick(len(lrs) * len(images), len(lrs) * len(images))
        return history


def usable(saved: Mapping[str, Any]) -> bool:
    """Whether `fit` can go on from what a checkpoint held."""
    return int(saved.get("layout", 0)) == LAYOUT


def _stopped(step: Step) -> Stopped:
    code: Code = "interrupted" if step.sums[IMAGES + 1] > 0 else "terminated"
    return Stopped("stopped; what is done is kept", "start the same processes again: they go on from there", code)


def _close(
    step: Step,
    history: Epochs,
    epoch: int,
    lrs: Sequence[float],
    watchers: Sequence[Watcher],
    report: Callable[[Mapping[str, float]], None],
) -> None:
    """Write an epoch's row: the one moment in which the device is asked."""
    mean_loss, accuracy = (step.sums[:IMAGES] / step.sums[IMAGES]).tolist()
    step.sums[: IMAGES + 1] = 0
    # The loss of an epoch's last step was taken before that step: look at what it left, too.
    finite = torch.stack([torch.isfinite(p).all() for p in step.parameters]).all()
    if not math.isfinite(mean_loss) or not finite:
        found = "a weight is no longer finite" if math.isfinite(mean_loss) else f"the loss is {mean_loss}"
        raise Diverged(epoch + 1, len(lrs), found)
    history.loss[epoch], history.accuracy[epoch] = mean_loss, accuracy
    history.norms[epoch] = row_norms(step.model.weight.detach()).cpu()
    told = {"epoch": epoch + 1, "epochs": len(lrs), "loss": mean_loss, "accuracy": accuracy, "lr": lrs[epoch]}
    if step.constraint is not None:
        told["at_radius"] = float(history.at_radius[epoch])
    for watcher in watchers:
        told |= watcher.after_epoch(epoch)
    report(told)


@torch.inference_mode()
def flip_averaged_accuracy(model: Classifier, images: Tensor, labels: Tensor, precision: Precision) -> float:
    """Share of images right, by the mean logits of an image and its mirror image, as the released code measures.

    Args:
        model: in eval mode.
        images: `(N, C, H, W)` uint8 on the model's device; labels `(N,)` there, too.
    """
    right = 0
    for batch, y in zip(torch.split(images, 500), torch.split(labels, 500), strict=True):
        with autocast(images.device, precision):
            logits = model(batch) + model(batch.flip(3))
        right += int((logits.argmax(1) == y).sum())
    return right / len(labels)
