"""First stage against the plain way: `python tests/benchmarks/first_stage.py --root DIR --network resnet32`.

The plain way is what a careful person writes without thinking of speed: fp32, PIL transforms in a DataLoader, a worker a core,
the test set after each epoch. Both train on the same real CIFAR100-LT images from the same initialisation.
`--batches` and `--test-images` scale an epoch down (the figures are per whole epoch all the same).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import measure
import torch
from ours import BATCH, MEAN, STD, FirstStage, long_tailed_cifar
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from wbltr.errors import Stopped
from wbltr.machine import prepare
from wbltr.models import new_head, new_network
from wbltr.recipe import available_precision


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images through torchvision's transforms, one at a time."""

    def __init__(self, images: Any, labels: Any, transform: Any) -> None:
        from PIL import Image

        self.images = [Image.fromarray(image.transpose(1, 2, 0)) for image in images]
        self.labels = labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


class Plain:
    """The plain training loop."""

    def __init__(self, data: dict[str, Any], network: str, workers: int) -> None:
        from torchvision import transforms

        normalise = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        augment = transforms.Compose([transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), *normalise])
        train = PilImages(data["train.images"], data["train.labels"], augment)
        test = PilImages(data["test.images"], data["test.labels"], transforms.Compose(normalise))
        self.train = DataLoader(train, BATCH, shuffle=True, num_workers=workers)
        self.test = DataLoader(test, 100, num_workers=workers)
        self.backbone: nn.Module = new_network(network, MEAN, STD, 0).backbone.to(memory_format=torch.contiguous_format)
        weight, _ = new_head(100, new_network(network, MEAN, STD, 0).embedding_size, 0)
        self.head = nn.Linear(weight.shape[1], 100)
        parameters = [*self.backbone.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.SGD(parameters, 0.01, momentum=0.9, weight_decay=5e-3)

    def batches(self, loader: DataLoader[Any], count: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        for number, batch in enumerate(loader):
            if number == count:
                return
            yield batch

    def epoch_seconds(self, train_batches: int | None, test_batches: int | None) -> float:
        """Seconds of one epoch and its test pass, scaled up from the batches that ran."""
        begun, seen = time.perf_counter(), 0
        self.backbone.train()
        for images, labels in self.batches(self.train, train_batches):
            loss = nn.functional.cross_entropy(self.head(self.backbone(images)), labels)
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            self.optimizer.step()
            loss.item()
            seen += 1
        training = (time.perf_counter() - begun) * len(self.train) / seen
        begun, seen = time.perf_counter(), 0
        self.backbone.eval()
        with torch.no_grad():
            for images, labels in self.batches(self.test, test_batches):
                (self.head(self.backbone(images)).argmax(1) == labels).sum().item()
                seen += 1
        return training + (time.perf_counter() - begun) * len(self.test) / seen


def our_epoch_seconds(ours: FirstStage, train_batches: int | None) -> float:
    """Seconds of one epoch, scaled up from the batches that ran. Nothing is tested: the last epoch is kept."""

    def tick(done: int, total: int) -> None:
        if train_batches is not None and done >= train_batches * BATCH:
            raise Stopped("enough")

    begun = time.perf_counter()
    with suppress(Stopped):
        ours.fit(1, tick)
    whole = -(-len(ours.images) // BATCH)
    return (time.perf_counter() - begun) * whole / min(whole, train_batches or whole)


def main() -> None:
    """Measure one network."""
    parser = measure.arguments(__doc__ or "")
    parser.add_argument("--root", type=Path, required=True, help="folder that holds cifar-100-python")
    parser.add_argument("--network", default="resnet32")
    parser.add_argument("--batches", type=int, default=None, help="training batches of an epoch that are run; default: all")
    parser.add_argument("--test-images", type=int, default=None, help="test images that are run; default: all")
    given = parser.parse_args()
    prepare("cpu", given.threads)
    data = long_tailed_cifar(given.root)
    plain = Plain(data, given.network, workers=measure.machine()["cores"])
    precision = available_precision()
    ours = FirstStage(data, given.network, torch.device("cpu"), precision)
    test_batches = None if given.test_images is None else max(1, given.test_images // 100)
    our_epoch_seconds(ours, 10)  # warm-up of both
    plain.epoch_seconds(10, 1)
    figures = measure.in_turn(
        lambda: our_epoch_seconds(ours, given.batches),
        lambda: plain.epoch_seconds(given.batches, test_batches),
        given.repeats,
    )
    scaled = {"batches": given.batches, "test_images": given.test_images}
    measure.tell(f"first stage, {given.network}, one epoch", {**figures, "precision": precision, **scaled}, given.json)


if __name__ == "__main__":
    main()
