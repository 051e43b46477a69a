"""fit_heads(): T linear heads at once on the same cached embeddings, in the same batch order (paired comparisons)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Event

import torch
from torch import Tensor

from wbltr.errors import Diverged
from wbltr.functional.projections import on_radius
from wbltr.head_group import HeadGroup, Precision, Trial
from wbltr.randomness import epoch_order, generator

__all__ = ["Heads", "Precision", "Trial", "fit_heads"]
Walk = Callable[[Tensor, Tensor, float, Tensor | None, bool], None]
LARGEST = 2**19  # numbers in a group's matrix on a CPU: what a step touches stays in the cache
GATHERED = 2**26  # numbers of embeddings that are brought into an epoch's order at once, so that memory does not grow with N


@dataclass(frozen=True)
class Heads:
    """T heads and how they came to be."""

    weight: Tensor  # (T, C, D)
    bias: Tensor  # (T, C)
    loss: Tensor  # (E, T) float64, mean over the epoch
    norms: Tensor  # (E, T, C) row norms at the epoch's end
    at_radius: Tensor  # (E, T) float64, share of classes on the MaxNorm radius at the epoch's end, NaN without MaxNorm
    projected: Tensor  # (E, T) float64, share of classes that MaxNorm moved during the epoch, NaN without


@torch.no_grad()
def fit_heads(
    embeddings: Tensor,
    labels: Tensor,
    counts: Tensor,
    weight: Tensor,
    bias: Tensor,
    trials: Sequence[Trial],
    *,
    schedule: Sequence[float],
    batch_size: int,
    momentum: float,
    seed: int,
    weights: Tensor | None = None,
    teacher: Callable[[int, Tensor], Tensor] | None = None,
    precision: Precision = "fp32",
    tolerant: bool = False,
    tick: Callable[[int, int], None] = lambda _done, _total: None,
    report: Callable[[Mapping[str, float]], None] = lambda _: None,
) -> Heads:
    """Fit T heads by SGD with momentum, each with its own loss, learning rate, weight decay and constraint.

    Epoch e learns from view e mod V. Weight decay acts on weights and biases. Constraints are projections of the rows after
    each step (or epoch); only a unit-norm head also starts projected.

    On a CPU the heads are shared out to as many threads as torch has; one head alone takes one, unless it is huge. How many
    heads are fitted together changes roundings: in fp32 a head among others equals the head alone to 1e-5, and in bf16 the
    head in fp32 to 1e-2 of its size.

    Args:
        embeddings: `(V, N, D)` float32, V augmented views of N training images.
        labels: `(N,)` int64.
        counts: `(C,)` int64 training images per class.
        weight, bias: `(C, D)` and `(C,)`, where every head starts; not changed.
        trials: T descriptions.
        schedule: one factor of each trial's learning rate per epoch.
        seed: of the batch order, which all heads share.
        weights: `(N,)`, how likely each image is drawn, with replacement; None: each once an epoch.
        teacher: view, images `(N,)` int64 → logits `(N, C)` to learn from; where the loss has a teacher.
        precision: of the two matrix products of a step; weights, losses and updates are float32 all the same.
        tolerant: whether a head that diverges is left to itself, with a loss that is not finite, instead of ending all of them.
        tick: called before each batch (20 times a second while threads are at work) with images done and images in all; may
            raise to stop.
        report: called after each epoch with the first head's metrics.

    Raises:
        Diverged: when a head's loss is no longer finite, unless `tolerant`.
    """
    views, images, dimensions = embeddings.shape
    device, classes = embeddings.device, len(weight)
    on_cpu = device.type == "cpu"
    threads = torch.get_num_threads() if on_cpu else 1
    shares = _shared_out(trials, threads, LARGEST // ((dimensions + 1) * classes) if on_cpu else len(trials))
    largest_batch = min(batch_size, images)
    groups = [
        HeadGroup([trials[n] for n in share], counts, weight, bias, largest_batch, momentum, precision) for share in shares
    ]
    place = torch.tensor([n for share in shares for n in share]).argsort().to(device)

    def of_all(parts: Sequence[Tensor]) -> Tensor:
        """What each group says of its heads, in the order of the trials: `(T, …)`."""
        return torch.cat([part.view(len(share), -1) for part, share in zip(parts, shares, strict=True)])[place]

    radii = torch.tensor([[math.nan if t.radius is None else t.radius] for t in trials], dtype=torch.float64)
    stretch = max(1, GATHERED // (batch_size * dimensions)) * batch_size  # whole batches
    products = torch.bfloat16 if precision == "bf16" else torch.float32
    x = torch.ones(min(stretch, images), dimensions + 1, dtype=products, device=device)
    losses, norms, at_radius, projected = [], [], [], []
    begun = 0

    def note(done: int) -> None:
        tick(begun + done, len(schedule) * images)

    with _side_by_side(groups, min(len(groups), threads), note) as walk:
        for epoch, factor in enumerate(schedule):
            order = epoch_order(images, generator(seed, "second stage", epoch), weights).to(device)
            taught = None if teacher is None else teacher(epoch % views, order)
            for group in groups:
                group.begin_epoch()
            for first in range(0, images, stretch):
                begun, part = epoch * images + first, slice(first, min(first + stretch, images))
                here = x[: part.stop - first]
                here[:, :-1] = embeddings[epoch % views][order[part]]
                walk(here, labels[order[part]], factor, None if taught is None else taught[part], part.stop == images)
            losses.append((of_all([g.losses for g in groups]) / images).cpu().flatten())
            norms.append(of_all([g.norms() for g in groups]).cpu())
            at_radius.append(_part(on_radius(norms[-1], radii), radii))
            projected.append(_part(of_all([g.moved for g in groups]).cpu(), radii))
            biases = of_all([g.matrix[-1] for g in groups]).cpu()
            finite = torch.isfinite(losses[-1]) & torch.isfinite(norms[-1]).all(1) & torch.isfinite(biases).all(1)
            if not finite.all() and not tolerant:
                raise Diverged(epoch + 1, len(schedule))
            report(
                {
                    "epoch": epoch + 1,
                    "epochs": len(schedule),
                    "loss": float(losses[-1][0]),
                    "lr": trials[0].lr * factor,
                    "norm_min": float(norms[-1][0].min()),
                    "norm_max": float(norms[-1][0].max()),
                    "at_radius": float(at_radius[-1][0]),
                }
            )
    all_weights = torch.empty(len(trials), classes, dimensions, device=device)
    all_biases = torch.empty(len(trials), classes, device=device)
    for share, group in zip(shares, groups, strict=True):
        columns = group.matrix.view(-1, len(share), classes)
        all_weights[share], all_biases[share] = columns[:-1].permute(1, 2, 0), columns[-1]
    return Heads(all_weights, all_biases, *(torch.stack(values) for values in (losses, norms, at_radius, projected)))


def _part(columns: Tensor, radii: Tensor) -> Tensor:
    """`(T, C)` bool → `(T,)` float64 share of classes, NaN for heads without MaxNorm."""
    return torch.where(radii.squeeze(1).isnan(), math.nan, columns.double().mean(1))


def _shared_out(trials: Sequence[Trial], threads: int, most: int) -> list[list[int]]:
    """Numbers of the trials of each group: one family of losses, no more than a thread's share, no more than `most`."""
    families: dict[object, list[int]] = {}
    for number, trial in enumerate(trials):
        families.setdefault(trial.family, []).append(number)
    shares = []
    for family in families.values():
        size = max(1, min(math.ceil(len(family) / threads), most))
        shares += [family[first : first + size] for first in range(0, len(family), size)]
    return shares


@contextmanager
def _side_by_side(groups: Sequence[HeadGroup], workers: int, tick: Callable[[int], None]) -> Iterator[Walk]:
    """A function that walks every group through images of an epoch; its arguments are those of `HeadGroup.walk`.

    With several workers each group has its own thread, where torch's operators run on one core and wait for nobody; they let
    go of the interpreter's lock while they compute. `tick` gets the images done and is called from the caller's thread.
    """
    threads = torch.get_num_threads()
    progress = [0] * len(groups)
    stop = Event()

    def note(number: int, done: int) -> None:
        if stop.is_set():
            raise CancelledError
        progress[number] = done

    def at_once(embeddings: Tensor, labels: Tensor, factor: float, teacher: Tensor | None, last: bool) -> None:
        progress[:] = [0] * len(groups)
        futures = [
            pool.submit(group.walk, embeddings, labels, factor, partial(note, number), teacher, last=last)
            for number, group in enumerate(groups)
        ]
        while not all(future.done() for future in futures):
            tick(sum(progress) // len(groups))
            wait(futures, timeout=0.05)
        for future in futures:
            future.result()

    def tell(number: int, done: int) -> None:
        note(number, done)
        tick(sum(progress) // len(groups))

    def in_turn(embeddings: Tensor, labels: Tensor, factor: float, teacher: Tensor | None, last: bool) -> None:
        progress[:] = [0] * len(groups)

        for number, group in enumerate(groups):
            group.walk(embeddings, labels, factor, partial(tell, number), teacher, last=last)

    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))  # starts no thread before it has to
    try:
        if groups[0].matrix.numel() <= LARGEST:
            torch.set_num_threads(1)  # to share out so little costs more than it saves
        yield in_turn if workers == 1 else at_once
    finally:
        stop.set()
        pool.shutdown()
        torch.set_num_threads(threads)  # also what threads to come begin with, whatever a worker has set
