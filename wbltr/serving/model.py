"""The model as one module: unsigned bytes in, logits and probabilities out, normalisation and temperature inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from wbltr.errors import WbltrError, sentence
from wbltr.functional.logits import head_kind as head_kind
from wbltr.functional.logits import logits_of
from wbltr.models import Network, Stem, empty_network, outline
from wbltr.serving.about import About, Input

AT_ONCE = 64  # images at most
SUM = 1e-3  # how far probabilities may be from adding up to 1
WIDEST = 1 << 29  # bytes that the widest layer may give for all of them
Predictor = Callable[[Tensor], Tensor]  # uint8 (B, C, H, W) → probabilities float32 (B, classes), both on the CPU


class Served(nn.Module):
    """A network with its head. It computes in float32, whatever it was trained in.

    Args:
        network: with its weights; it is put into eval mode.
        head: as `wbltr.functional.logits.head_logits` takes it; a temperature is in its weights already.
    """

    def __init__(self, network: Network, head: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network, self._logits = network, logits_of(head)
        self.head_names = tuple(sorted(head))
        for name in self.head_names:
            self.register_buffer(_attribute(name), head[name].float().clone())
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, C, H, W)` uint8 → logits and probabilities, both `(B, classes)` float32."""
        logits = self._logits(self.head(), self.network(images))
        return logits, logits.softmax(-1)

    def head(self) -> dict[str, Tensor]:
        """The head's tensors by their names in an artifact."""
        return {name: getattr(self, _attribute(name)) for name in self.head_names}

    def tensors(self) -> dict[str, Tensor]:
        """All weights by their names in artifacts: `network.…`, `head.…`."""
        return {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()} | self.head()


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        weights: bytes of all of them, with a head.
        widest: bytes that its widest layer gives for one image.
        multiplications: for one image.
    """

    weights: int
    widest: int
    multiplications: int

    @property
    def at_once(self) -> int:
        """How many images go through it together, so that memory does not grow with their size."""
        return max(1, min(AT_ONCE, WIDEST // self.widest))

    @property
    def most_bytes(self) -> int:
        """Of a file that holds it, in whatever format."""
        return 2 * self.weights + (8 << 20)


def cost(about: About) -> Cost:
    """What the network of a description costs, told from its shapes: nothing is computed."""
    return _cost(about.network, about.stem, about.prelogit, about.input, len(about.class_names))


@cache
def _cost(name: str, stem: Stem, prelogit: int | None, own: Input, classes: int) -> Cost:
    network = outline(name, own.mean, own.std, stem, prelogit)
    widest, multiplications = 1, 0

    def count(module: nn.Module, _: object, given: Tensor) -> None:
        nonlocal widest, multiplications
        widest = max(widest, 4 * given.numel())
        if isinstance(module, nn.Conv2d | nn.Linear):
            multiplications += given.numel() * module.weight[0].numel()

    for module in network.modules():
        module.register_forward_hook(count)
    with torch.inference_mode():
        network.eval()(torch.empty(1, own.channels, own.side, own.side, dtype=torch.uint8, device="meta"))
    head = 4 * (classes + 1) * (network.embedding_size + 4)
    return Cost(sum(4 * one.numel() for one in network.state_dict().values()) + head, widest, multiplications)


def _attribute(name: str) -> str:
    return name.replace(".", "_")


def as_tensors(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a store gives, for torch."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def served(about: About, tensors: Mapping[str, Tensor], where: str) -> Served:
    """Put a model together.

    Args:
        tensors: `network.…` and `head.…`; others are left alone.
        where: named in messages.

    Raises:
        WbltrError: code "integrity" where the tensors are not those of the network and head that `about` describes.
    """
    own, size = about.input, len(about.class_names)
    try:
        shapes = outline(about.network, own.mean, own.std, about.stem, about.prelogit)
        expected = {f"network.{name}": tensor for name, tensor in shapes.state_dict().items()}
        expected |= _head_shapes(about.head, size, shapes.embedding_size)
        if head_kind(tensors) != about.head:
            raise ValueError(f"a {head_kind(tensors)} head, expected {about.head}")
        _refuse_unfit(expected, tensors)
        network = empty_network(about.network, own.mean, own.std, about.stem, about.prelogit)
        network.load_state_dict({n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")})
        return Served(network, {name: tensors[name] for name in expected if name.startswith("head.")})
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        told = f"{where}: its tensors are not those of {about.network} with {size} classes: {sentence(error)}"
        raise WbltrError(told, "export or train it again", "integrity") from None


def _head_shapes(kind: str, classes: int, size: int) -> dict[str, Tensor]:
    """A head's tensors without their values."""
    shapes: dict[str, tuple[int, ...]] = {"head.weight": (classes, size), "head.bias": (classes,)}
    if kind == "cosine":
        shapes["head.scale"] = ()
    if kind == "gated":
        shapes |= {"head.gate.weight": (size,), "head.gate.bias": ()}
        shapes |= {"head.gate.scale": (classes,), "head.gate.shift": (classes,)}
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def _refuse_unfit(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not there, have other shapes, or hold what is no finite number.

    Raises:
        ValueError: in words.
    """
    for name, wanted in expected.items():
        if (found := tensors.get(name)) is None:
            raise ValueError(f"{name} is not there")
        if found.shape != wanted.shape or found.is_floating_point() != wanted.is_floating_point():
            kinds = [f"{tuple(one.shape)} of {str(one.dtype).removeprefix('torch.')}" for one in (found, wanted)]
            raise ValueError(f"{name} is {kinds[0]}, expected {kinds[1]}")
        if not found.isfinite().all():
            raise ValueError(f"{name} holds what is no finite number")


def guarded(model: Predictor, about: About, where: str) -> Predictor:
    """A model that is asked of as many images at once as memory has room for, and whose answers are looked at.

    Raises, when it is asked:
        WbltrError: code "integrity" where an answer is no probability of each class.
    """
    classes, at_once = len(about.class_names), cost(about).at_once

    def probabilities(images: Tensor) -> Tensor:
        found = torch.cat([model(images[first : first + at_once]) for first in range(0, len(images), at_once)])
        sound = found.shape == (len(images), classes) and found.is_floating_point()
        if not sound or not ((found >= 0).all() and ((found.sum(1) - 1).abs() < SUM).all()):  # NaN is no more than 0
            told = f"{where}: what it answers is no probability of each of {classes} classes"
            raise WbltrError(told, "its weights are damaged, or make no sense: export or train it again", "integrity")
        return found

    return probabilities


def predictor(model: Served, device: torch.device) -> Predictor:
    """The model on a device, as a function of batches on the CPU."""
    model.to(device)

    def probabilities(images: Tensor) -> Tensor:
        with torch.inference_mode():
            found: Tensor = model(images.to(device))[1]
            return found.cpu()

    return probabilities
