"""wbltr's fit() on real images, as the features stage calls it: what the benchmarks of the first stage time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from wbltr.data.augment import AugmentedImages
from wbltr.functional.losses import cross_entropy
from wbltr.models import Classifier, new_head, new_network
from wbltr.pipeline import Runtime
from wbltr.randomness import generator
from wbltr.recipe_file import load_recipe
from wbltr.stages.dataset import run as make_dataset
from wbltr.training import Epochs, fit

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
BATCH = 64


def long_tailed_cifar(root: Path) -> dict[str, Any]:
    """CIFAR100-LT, imbalance factor 100, from the folder that holds cifar-100-python."""
    return make_dataset(load_recipe("cifar100-ir100").dataset, {}, Runtime(roots=(root,)))


class FirstStage:
    """A network on its device with its images."""

    def __init__(self, data: Mapping[str, Any], network: str, device: torch.device, precision: Any) -> None:
        images, labels = (torch.from_numpy(data[f"train.{name}"]).to(device) for name in ("images", "labels"))
        self.images = AugmentedImages(images, labels, "crop-flip", 4, lambda epoch: generator(0, "epoch", epoch))
        backbone = new_network(network, MEAN, STD, 0)
        self.model = Classifier(backbone, *new_head(100, backbone.embedding_size, 0)).to(device)
        self.precision = precision

    def fit(
        self,
        epochs: int,
        tick: Callable[[int, int], None] = lambda *_: None,
        report: Callable[[Mapping[str, float]], None] = lambda _: None,
    ) -> Epochs:
        """Train at a constant learning rate."""
        return fit(
            self.model, self.images,
            lrs=[0.01] * epochs, batch_size=BATCH, momentum=0.9, weight_decay=5e-3, loss=cross_entropy,
            precision=self.precision, tick=tick, report=report, checkpoint=lambda *_, **__: None, restored=None,
        )  # fmt: skip
