"""The networks: uint8 images in, embeddings out, normalisation inside; and their initialisation from one generator.

A network ends before the classifier. What turns its embedding into logits is a head: `weight (C, D)`, `bias (C,)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from wbltr.errors import WbltrError
from wbltr.functional.prototypes import cosine_logits
from wbltr.randomness import generator

Stem = Literal["cifar", "imagenet"]
DEPTH_OF = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9, "resnet110": 18}  # blocks a stage


class CifarBlock(nn.Module):
    """Two 3x3 convolutions with a parameter-free shortcut (He et al., CVPR 2016, section 4.2, option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.extra = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """`(B, inputs, H, W)` → `(B, outputs, H / stride, W / stride)`."""
        y = torch.relu_(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride > 1 or self.extra:
            x = x[:, :, :: self.stride, :: self.stride]
            x = nn.functional.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        return torch.relu_(y.add_(x))


class CifarResNet(nn.Module):
    """ResNet of depth 6n + 2 for 32x32 images: three stages of n blocks, 16-32-64 channels (He et al., section 4.2)."""

    def __init__(self, blocks: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        layers: list[nn.Module] = []
        inputs = 16
        for outputs, stride in ((16, 1), (32, 2), (64, 2)):
            for block in range(blocks):
                layers.append(CifarBlock(inputs, outputs, stride if block == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, channels, H, W)` → `(B, 64)`."""
        x = torch.relu_(self.bn1(self.conv1(x)))
        return torch.mean(self.blocks(x), (2, 3))


class SmallNet(nn.Module):
    """Three 3x3 convolutions for images of about 8x8: 32, 64, 64 channels, the second with stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((channels, 32, 1), (32, 64, 2), (64, 64, 1)):
            convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, channels, H, W)` → `(B, 64)`."""
        return torch.mean(self.layers(x), (2, 3))


def _torchvision_resnet(name: str, channels: int, stem: Stem) -> tuple[nn.Module, int]:
    """torchvision's ResNet or ResNeXt; with the CIFAR stem as in the paper's released code: 3x3, stride 1, no max-pool."""
    try:
        from torchvision.models import resnet
    except RuntimeError as error:  # "operator torchvision::nms does not exist"
        raise WbltrError(
            f"torch {torch.__version__} and the installed torchvision do not belong together ({error})",
            "install both from the same index, for example: pip install --force-reinstall torch torchvision",
            "missing",
        ) from None
    network = getattr(resnet, {"resnext50": "resnext50_32x4d"}.get(name, name))()
    embedding_size = network.fc.in_features
    if stem == "cifar":
        network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    elif channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    network.fc = nn.Identity()
    return network, embedding_size


class Network(nn.Module):
    """A backbone with its normalisation: `(B, C, H, W)` uint8 → embeddings `(B, D)`.

    Args:
        name, stem, prelogit: a recipe's `features.network`, `stem` and `prelogit`.
        mean, std: per channel, of pixels in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, name: str, mean: Sequence[float], std: Sequence[float], stem: Stem = "cifar", prelogit: int | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))
        channels = len(mean)
        self.backbone: nn.Module
        self.embedding_size = 64
        if name == "small":
            self.backbone = SmallNet(channels)
        elif name in DEPTH_OF:
            self.backbone = CifarResNet(DEPTH_OF[name], channels)
        else:
            self.backbone, self.embedding_size = _torchvision_resnet(name, channels, stem)
        if prelogit is not None:
            self.backbone = nn.Sequential(self.backbone, nn.Linear(self.embedding_size, prelogit))
            self.embedding_size = prelogit

    def forward(self, images: Tensor) -> Tensor:
        """`(B, C, H, W)` uint8 → `(B, D)`; under autocast the embeddings come in its dtype."""
        x = (images.float() / 255 - self.mean) / self.std
        embeddings: Tensor = self.backbone(x.contiguous(memory_format=torch.channels_last))
        return embeddings

    def last_layers(self, layers: int) -> list[nn.Module]:
        """The last convolutions, or a pre-logit layer, each with the batch-norm after it; shortcuts are left out."""
        found: list[nn.Module] = []
        following: nn.Module | None = None
        counted = 0
        for name, module in reversed(list(self.named_modules())):
            if "downsample" in name or counted == layers:
                continue
            if isinstance(module, nn.BatchNorm2d):
                following = module
            elif isinstance(module, nn.Conv2d | nn.Linear):
                found += [module, *([following] if following is not None else [])]
                following = None
                counted += 1
        return found


class Classifier(nn.Module):
    """A network with its head: `(B, C, H, W)` uint8 → logits `(B, classes)`; the head computes in fp32 always.

    Args:
        network: on its device.
        weight, bias: `(classes, D)` and `(classes,)` on the same device; trained in place.
        scale: s of a cosine head, whose bias is 0 and not trained; None: a linear one.
    """

    def __init__(self, network: Network, weight: Tensor, bias: Tensor, scale: float | None = None) -> None:
        super().__init__()
        self.network, self.scale = network, scale
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias if scale is None else torch.zeros_like(bias), requires_grad=scale is None)
        self._drifts: Callable[[nn.Module], bool] = lambda _: True

    def finetune(self, layers: int, *, drift: bool) -> None:
        """Train only the last layers from now on: the classifier, and `layers` - 1 convolutions with their batch-norms.

        Args:
            layers: how many, with the classifier.
            drift: whether the other batch-norms still follow the batches' statistics, as in the released code.
        """
        trained = self.network.last_layers(layers - 1) if layers > 1 else []
        self.network.requires_grad_(False)
        for module in trained:
            module.requires_grad_(True)
        if not drift:
            self._drifts = lambda module: any(module is one for one in trained)

    def train(self, mode: bool = True) -> Classifier:
        """Batch-norm in training mode, but for those that stand still."""
        super().train(mode)
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train(mode and self._drifts(module))
        return self

    def forward(self, images: Tensor) -> Tensor:
        """`(B, C, H, W)` uint8 → `(B, classes)` float32."""
        embeddings = self.network(images)
        with torch.autocast(embeddings.device.type, enabled=False):
            if self.scale is not None:
                return cosine_logits(embeddings.float(), self.weight, self.scale)
            logits: Tensor = embeddings.float() @ self.weight.T + self.bias
        return logits

    def head(self) -> dict[str, Tensor]:
        """The head alone, as `wbltr.functional.logits.head_logits` takes it."""
        head = {"head.weight": self.weight.detach(), "head.bias": self.bias.detach()}
        return head if self.scale is None else head | {"head.scale": torch.tensor(self.scale)}


def outline(
    name: str, mean: Sequence[float], std: Sequence[float], stem: Stem = "cifar", prelogit: int | None = None
) -> Network:
    """A network's shapes alone, on torch's `meta` device: they take no memory, and computing with them no time."""
    with torch.device("meta"):
        return Network(name, mean, std, stem, prelogit)


def empty_network(
    name: str, mean: Sequence[float], std: Sequence[float], stem: Stem = "cifar", prelogit: int | None = None
) -> Network:
    """A network whose weights are still to be set: made without touching any global generator."""
    network = outline(name, mean, std, stem, prelogit)
    network.to_empty(device="cpu")
    network.mean.copy_(torch.tensor(mean).view(1, -1, 1, 1))
    network.std.copy_(torch.tensor(std).view(1, -1, 1, 1))
    return network.to(memory_format=torch.channels_last)


def initialise(network: Network, source: torch.Generator) -> None:
    """Convolutions by He et al. (ICCV 2015), fan-out; batch-norm at 1 and 0; a pre-logit layer as torch's linear layer has
    it, uniform in ±1/√D; in the order of `modules()`.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=source)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            nn.init.uniform_(module.weight, -bound, bound, generator=source)
            nn.init.uniform_(module.bias, -bound, bound, generator=source)


def new_network(
    name: str, mean: Sequence[float], std: Sequence[float], seed: int, stem: Stem = "cifar", prelogit: int | None = None
) -> Network:
    """A freshly initialised network; the same seed gives the same bits."""
    network = empty_network(name, mean, std, stem, prelogit)
    initialise(network, generator(seed, "network"))
    return network


def new_head(classes: int, embedding_size: int, seed: int) -> tuple[Tensor, Tensor]:
    """A fresh linear head: weight `(C, D)` and bias `(C,)`, both uniform in ±1/√D as torch's linear layer has them."""
    source = generator(seed, "head")
    bound = 1 / math.sqrt(embedding_size)
    weight = torch.empty(classes, embedding_size).uniform_(-bound, bound, generator=source)
    return weight, torch.empty(classes).uniform_(-bound, bound, generator=source)


def parameter_count(network: nn.Module) -> int:
    """Number of trainable values; a head adds C·(D + 1)."""
    return sum(p.numel() for p in network.parameters())
