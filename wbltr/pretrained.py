"""Pretrained weights: torchvision's by name, or a state dict of torchvision or timm from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wbltr.errors import WbltrError
from wbltr.models import Network

LARGEST = 4 << 30  # bytes of a file
WRAPPERS = ("state_dict", "model", "state_dict_ema", "model_state_dict")  # keys below which others keep what counts
PREFIXES = ("module.", "model.", "backbone.", "_orig_mod.")
SHOWN = 3  # keys that a message names


def published_state(network: str, name: str) -> dict[str, Tensor]:
    """torchvision's weights of this name, downloaded where torch has not kept them.

    Raises:
        WbltrError: "network" where they cannot be had.
    """
    from torchvision.models import get_model_weights

    weights = get_model_weights({"resnext50": "resnext50_32x4d"}.get(network, network))[name]
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:  # no network, a full disk; other bytes than the name promises
        told = f"features.weights: {name}: cannot be downloaded: {error}"
        hint = f"fetch {weights.url} elsewhere, then --set features.weights=FILE"
        raise WbltrError(told, hint, "network") from None
    return state


def state_of_file(path: Path) -> dict[str, Tensor]:
    """A state dict from a `.safetensors` file, or one that torch has written; nothing but tensors is unpickled.

    Raises:
        WbltrError: "usage" for what is no state dict, "integrity" for a damaged file.
    """
    where = f"features.weights: {path}"
    try:
        if path.stat().st_size > LARGEST:
            raise WbltrError(f"{where}: larger than {LARGEST >> 30} GiB", "name a state dict of the network alone", "usage")
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except WbltrError:
        raise
    except Exception as error:  # whatever a file of strangers makes of the readers
        told = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WbltrError(f"{where}: cannot be read as weights: {told:.200}", "save model.state_dict()", "integrity") from None
    for _ in WRAPPERS:  # no more often: a mapping may hold itself
        if isinstance(found, Mapping) and (below := next((name for name in WRAPPERS if name in found), None)) is not None:
            found = found[below]
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise WbltrError(f"{where}: holds no state dict, which is names with tensors", "save model.state_dict()", "usage")
    return {str(name): value for name, value in found.items()}


def put_in(network: Network, state: Mapping[str, Tensor], name: str, where: str) -> None:
    """Give a network's backbone these weights.

    Args:
        state: of torchvision or timm, whose names are the same; its classifier `fc.` is left out.
        name: the network's, for messages.
        where: the state's, for messages.

    Raises:
        WbltrError: "usage" for the state of another network, its first names that differ told.
    """
    given = {_plain(key): value for key, value in state.items()}
    given = {key: value for key, value in given.items() if not key.startswith("fc.")}
    own = network.backbone.state_dict()
    counted = {key for key in own if key.endswith("num_batches_tracked")}  # older files have none
    missing = [key for key in own if key not in given and key not in counted]
    unknown = [key for key in given if key not in own]
    other = [key for key in own if key in given and own[key].shape != given[key].shape]
    told = [f"it has no {', '.join(missing[:SHOWN])}"] if missing else []
    told += [f"{name} has no {', '.join(unknown[:SHOWN])}"] if unknown else []
    told += [f"{key} is {tuple(given[key].shape)}, of {name} {tuple(own[key].shape)}" for key in other[:1]]
    if told:
        raise WbltrError(f"{where} is of another network: {'; '.join(told)}", "set features.network to what it is of", "usage")
    with torch.no_grad():
        for key, tensor in own.items():
            if key in given:
                tensor.copy_(given[key])


def _plain(key: str) -> str:
    """A name without what wrappers put before it."""
    while (prefix := next((word for word in PREFIXES if key.startswith(word)), None)) is not None:
        key = key.removeprefix(prefix)
    return key
