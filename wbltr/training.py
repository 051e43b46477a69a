"""fit(): the one loop that trains networks. Loss, schedule and images are arguments; it knows no store and no clock."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from wbltr.errors import Stopped, WbltrError
from wbltr.functional.projections import row_norms
from wbltr.models import Network

Take = Callable[[Tensor], tuple[Tensor, Tensor]]  # image numbers (B,) -> images (B, C, H, W) uint8, labels (B,)
EpochSource = Callable[[int], tuple[Tensor, Take]]  # epoch -> order of images (N,), and how to take a batch of them
Checkpoint = Callable[[int, Callable[[], Mapping[str, Tensor]]], None]  # steps done, what to save if it is time to


def prepare(device: str, threads: int | None) -> torch.device:
    """Set the number of threads and choose the device.

    Args:
        device: `auto` (an NVIDIA device if there is one, else the CPU), `cpu`, `cuda`, `cuda:1`, `mps`.
        threads: CPU threads; None: the cores this process may use.

    Raises:
        WbltrError: code "usage" for a device that is not there.
    """
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(threads or free or 1)
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise WbltrError(f"--device {device}: {str(error).splitlines()[0]}", "try --device cpu", "usage") from None
    return chosen


@contextmanager
def enough_memory(advice: str) -> Iterator[None]:
    """Turn torch's out-of-memory errors into one line with advice (code "training")."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise WbltrError(f"out of memory: {str(error).splitlines()[0]:.200}", advice, "training") from error
        raise


def autocast(device: torch.device, precision: Literal["auto", "bf16", "fp32"]) -> torch.autocast:
    """bf16 arithmetic with fp32 weights and statistics, or plain fp32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def batches(order: Tensor, batch_size: int) -> list[Tensor]:
    """Cut an order of images into batches; a last batch of one image joins the one before (batch-norm needs two)."""
    parts = list(torch.split(order, batch_size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


@dataclass
class Epochs:
    """History of a training run; row e is epoch e."""

    loss: Tensor  # (E,) float64, mean over the epoch's images, as trained (augmented)
    accuracy: Tensor  # (E,) float64, share of images right as trained
    norms: Tensor  # (E, C) float32, row norms of the classifier at the epoch's end

    @classmethod
    def empty(cls, epochs: int, classes: int) -> Epochs:
        """A history in which nothing has happened yet: NaN."""
        nan = float("nan")
        running = torch.full((epochs,), nan, dtype=torch.float64)
        return cls(running, running.clone(), torch.full((epochs, classes), nan))


def fit(
    network: Network,
    weight: Tensor,
    bias: Tensor,
    source: EpochSource,
    *,
    lrs: Sequence[float],
    batch_size: int,
    momentum: float,
    weight_decay: float,
    loss: Callable[[Tensor, Tensor], Tensor],
    precision: Literal["auto", "bf16", "fp32"],
    device: torch.device,
    tick: Callable[[int, int], None],
    report: Callable[[Mapping[str, float]], None],
    checkpoint: Checkpoint,
    restored: tuple[int, Mapping[str, Tensor]] | None,
) -> Epochs:
    """Train a network and its head in place by SGD, weight decay on every parameter.

    The head computes in fp32; everything below it in `precision`. On one CPU with one thread count, a run that is
    stopped at any step and restored gives the bits of an undisturbed one.

    Args:
        network, weight `(C, D)`, bias `(C,)`: on `device`; changed in place.
        source: draws an epoch's order and crops.
        lrs: one learning rate per epoch.
        loss: logits `(B, C)`, labels `(B,)` → mean over the batch.
        tick: called before each step with images done and images in all; may raise `Stopped`.
        report: called after each epoch.
        checkpoint: called after each step, and before a stop.
        restored: a step and what the checkpoint held.

    Raises:
        WbltrError: code "training" when the loss or a weight is no longer finite.
    """
    weight.requires_grad_()
    bias.requires_grad_()
    parameters = [*network.parameters(), weight, bias]
    fused = device.type in ("cpu", "cuda")
    optimizer = torch.optim.SGD(parameters, lrs[0], momentum=momentum, weight_decay=weight_decay, fused=fused)
    history = Epochs.empty(len(lrs), len(weight))
    sums = torch.zeros(3, dtype=torch.float64, device=device)  # of the running epoch: loss, correct, images

    def state() -> dict[str, Tensor]:
        tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
        tensors |= {"head.weight": weight.detach(), "head.bias": bias.detach(), "sums": sums}
        tensors |= {"loss": history.loss, "accuracy": history.accuracy, "norms": history.norms}
        for number, parameter in enumerate(parameters):
            buffer = optimizer.state[parameter].get("momentum_buffer") if momentum else None
            if buffer is not None:
                tensors[f"momentum.{number}"] = buffer
        return tensors

    step = 0
    if restored is not None:
        step, saved = restored
        network.load_state_dict({n.removeprefix("network."): t for n, t in saved.items() if n.startswith("network.")})
        with torch.no_grad():
            weight.copy_(saved["head.weight"])
            bias.copy_(saved["head.bias"])
            sums.copy_(saved["sums"])
        history = Epochs(saved["loss"].clone(), saved["accuracy"].clone(), saved["norms"].clone())
        for number, parameter in enumerate(parameters):
            if f"momentum.{number}" in saved:
                buffer = torch.empty_like(parameter).copy_(saved[f"momentum.{number}"])  # in the parameter's own layout
                optimizer.state[parameter]["momentum_buffer"] = buffer

    network.train()
    done = 0
    for epoch, lr in enumerate(lrs):
        order, take = source(epoch)
        parts = batches(order, batch_size)
        total = len(order) * len(lrs)
        if step >= (epoch + 1) * len(parts):
            done += len(order)
            continue
        for group in optimizer.param_groups:
            group["lr"] = lr
        for number, index in enumerate(parts):
            done += len(index)
            if step > epoch * len(parts) + number:
                continue
            try:
                tick(done - len(index), total)
            except Stopped:
                checkpoint(step, state)
                raise
            images, labels = take(index)
            with autocast(device, precision):
                embeddings = network(images)
            logits = embeddings.float() @ weight.T + bias
            value = loss(logits, labels)
            optimizer.zero_grad()
            torch.autograd.backward(value)
            optimizer.step()
            right = (logits.detach().argmax(1) == labels).sum()
            sums += torch.stack(
                [value.detach().double() * len(index), right.double(), torch.tensor(float(len(index)), device=device)]
            )
            step += 1
            if number == len(parts) - 1:
                mean_loss, accuracy = (sums[:2] / sums[2]).tolist()
                sums.zero_()
                # The loss of an epoch's last step was taken before that step: look at what it left, too.
                if not math.isfinite(mean_loss) or not all(bool(torch.isfinite(p).all()) for p in parameters):
                    raise WbltrError(
                        f"training diverged in epoch {epoch + 1} of {len(lrs)}: "
                        f"the loss is {mean_loss:.3g}, or a weight is no longer finite",
                        "lower features.lr or features.weight_decay, for example --set features.lr=0.001",
                        "training",
                    )
                history.loss[epoch], history.accuracy[epoch] = mean_loss, accuracy
                history.norms[epoch] = row_norms(weight.detach()).cpu()
                report({"epoch": epoch + 1, "epochs": len(lrs), "loss": mean_loss, "accuracy": accuracy, "lr": lr})
            checkpoint(step, state)
    tick(done, done)
    return history
