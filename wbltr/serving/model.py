"""The model as one module: unsigned bytes in, logits and probabilities out, normalisation and temperature inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wbltr.errors import WbltrError
from wbltr.functional.logits import head_kind as head_kind
from wbltr.functional.logits import head_logits
from wbltr.models import Network, empty_network
from wbltr.serving.about import About

Predictor = Callable[[Tensor], Tensor]  # uint8 (B, C, H, W) → probabilities float32 (B, classes), both on the CPU


class Served(nn.Module):
    """A network with its head. It computes in float32, whatever it was trained in.

    Args:
        network: with its weights; it is put into eval mode.
        head: as `wbltr.functional.logits.head_logits` takes it; a temperature is in its weights already.
    """

    def __init__(self, network: Network, head: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network = network
        self.head_names = tuple(sorted(head))
        for name in self.head_names:
            self.register_buffer(_attribute(name), head[name].float().clone())
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`(B, C, H, W)` uint8 → logits and probabilities, both `(B, classes)` float32."""
        logits = head_logits(self.head(), self.network(images))
        return logits, logits.softmax(-1)

    def head(self) -> dict[str, Tensor]:
        """The head's tensors by their names in an artifact."""
        return {name: getattr(self, _attribute(name)) for name in self.head_names}

    def tensors(self) -> dict[str, Tensor]:
        """All weights by their names in artifacts: `network.…`, `head.…`."""
        return {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()} | self.head()


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
        network = empty_network(about.network, own.mean, own.std, about.stem, about.prelogit)
        network.load_state_dict({n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")})
        head = {name: tensor for name, tensor in tensors.items() if name.startswith("head.")}
        if head["head.weight"].shape != (size, network.embedding_size) or head["head.bias"].shape != (size,):
            raise ValueError(f"a head of {tuple(head['head.weight'].shape)}, expected {(size, network.embedding_size)}")
        return Served(network, head)
    except (RuntimeError, KeyError, ValueError, AttributeError) as error:
        told = f"{where}: its tensors are not those of {about.network} with {size} classes: {str(error).splitlines()[0]:.200}"
        raise WbltrError(told, "export or train it again", "integrity") from None


def predictor(model: Served, device: torch.device) -> Predictor:
    """The model on a device, as a function of batches on the CPU."""
    model.to(device)

    def probabilities(images: Tensor) -> Tensor:
        with torch.inference_mode():
            found: Tensor = model(images.to(device))[1]
            return found.cpu()

    return probabilities
