"""Watchers: what looks at a model while it is trained and keeps something of it; checkpoints carry what they keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from wbltr.machine import Precision, autocast
from wbltr.models import Classifier


class Watcher(Protocol):
    """Called by `fit`."""

    def after_step(self, done: int) -> None:
        """`done` steps are done."""

    def after_epoch(self, epoch: int) -> dict[str, float]:
        """An epoch is done; what to report of it."""

    def state(self) -> dict[str, Tensor]:
        """What it keeps, for checkpoints: the tensors themselves."""


class Snapshots:
    """The head every so many steps, from before the first.

    Attributes:
        steps: `(S,)` int64, 0, n, 2n …
        weights: `(S, C, D)` float32, on the CPU; NaN until the step is reached.
    """

    def __init__(self, model: Classifier, every: int, steps: int) -> None:
        self.model, self.every = model, every
        self.steps = torch.arange(0, steps + 1, every)
        self.weights = torch.full((len(self.steps), *model.weight.shape), float("nan"))
        self.after_step(0)

    def after_step(self, done: int) -> None:
        """Keep the head, if it is time to."""
        if done % self.every == 0:
            self.weights[done // self.every] = self.model.weight.detach().cpu()

    def after_epoch(self, epoch: int) -> dict[str, float]:  # noqa: ARG002
        """Nothing to report."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """The snapshots."""
        return {"snapshots": self.weights}


class Probe:
    """Lets somebody outside look at the model after each epoch; who looks changes nothing, and may raise to end the training.

    Args:
        model: watched.
        look: called with epochs done and `predict`: images `(B, C, H, W)` uint8 on any device → logits `(B, classes)`
            float32 on the CPU, in eval mode.
        precision: of the prediction.
    """

    def __init__(
        self, model: Classifier, look: Callable[[int, Callable[[Tensor], Tensor]], None], precision: Precision
    ) -> None:
        self.model, self.look, self.precision = model, look, precision

    def after_step(self, done: int) -> None:
        """Nothing to do."""

    def after_epoch(self, epoch: int) -> dict[str, float]:
        """Let them look."""
        self.model.eval()
        try:
            self.look(epoch + 1, self._predict)
        finally:
            self.model.train()
        return {}

    def state(self) -> dict[str, Tensor]:
        """Nothing is kept."""
        return {}

    @torch.inference_mode()
    def _predict(self, images: Tensor) -> Tensor:
        device = self.model.weight.device
        with autocast(device, self.precision):
            return torch.cat([self.model(part.to(device)).float().cpu() for part in torch.split(images, 500)])


class BestEpoch:
    """The model of the epoch that measured best; of several, the first.

    Measured on the test set this is the released code's protocol, and it flatters: the maximum over noise is no estimate.

    Args:
        model: watched, and at last set to what is kept.
        measure: accuracy of the model as it stands, in eval mode.
        epochs: how many there will be.

    Attributes:
        accuracy: `(E,)` float64, NaN until the epoch is done.
    """

    def __init__(self, model: Classifier, measure: Callable[[], float], epochs: int) -> None:
        self.model, self.measure = model, measure
        self.accuracy = torch.full((epochs,), float("nan"), dtype=torch.float64)
        self._kept = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @property
    def epoch(self) -> int:
        """The best so far, from 0."""
        return int(self.accuracy.nan_to_num(-1).argmax())

    def after_step(self, done: int) -> None:
        """Nothing to do."""

    def after_epoch(self, epoch: int) -> dict[str, float]:
        """Measure, and keep the model if it is the best so far."""
        self.model.eval()
        value = self.measure()
        self.model.train()
        self.accuracy[epoch] = value
        if self.epoch == epoch:
            for name, tensor in self.model.state_dict().items():
                self._kept[name].copy_(tensor.detach())
        return {"measured": value}

    def settle(self) -> None:
        """Set the model to the best epoch's."""
        with torch.no_grad():
            for name, tensor in self.model.state_dict().items():
                tensor.copy_(self._kept[name])

    def state(self) -> dict[str, Tensor]:
        """What is kept, and what each epoch measured."""
        return {"measured": self.accuracy} | {f"best.{name}": tensor for name, tensor in self._kept.items()}
