"""A first stage that starts from pretrained weights, and one that leaves them as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wbltr.config import Weights
from wbltr.errors import WbltrError
from wbltr.models import Network
from wbltr.pipeline import Runtime
from wbltr.pretrained import published_state, put_in, state_of_file
from wbltr.recipe import FeaturesConfig
from wbltr.stages import NETWORK_FIELDS, EmbeddingsStageConfig
from wbltr.stages._embed import embedded
from wbltr.stages._head_alone import fit_head_alone

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and std of the pixels that such weights were trained on


def pretrained(network: Network, config: FeaturesConfig, weights: Weights, runtime: Runtime) -> None:
    """Give a network the weights of its config.

    Raises:
        WbltrError: "missing" where their file is not known any more; what `wbltr.pretrained` raises.
    """
    if (config.mean, config.std) != IMAGENET:
        runtime.notice(f"features.mean and std are not ImageNet's, {list(IMAGENET[0])} and {list(IMAGENET[1])}")
    if weights.origin != "file":
        put_in(network, published_state(config.network, weights.origin), config.network, weights.origin)
        return
    if runtime.weights is None:
        told = f"features.weights: the file with the SHA-256 {weights.sha256[:12]}… is not where it was"
        raise WbltrError(told, "name it: --set features.weights=FILE", "missing")
    runtime.witness["weights"] = str(runtime.weights.absolute())
    if told := put_in(network, state_of_file(runtime.weights), config.network, f"features.weights: {runtime.weights}"):
        runtime.notice(told)


def frozen(
    config: FeaturesConfig, dataset: Mapping[str, Any], network: Network, device: torch.device, runtime: Runtime
) -> dict[str, Tensor]:
    """A head on the plain embeddings of a network that stays as it is; the features stage's tensors."""
    network.to(device).eval()
    fields = {name: getattr(config, name) for name in NETWORK_FIELDS} | {"augment": "none", "pad": 0}
    plain = EmbeddingsStageConfig.model_validate({**fields, "part": "train", "views": 1, "seed": 0})
    embeddings = embedded(plain, dataset, network, device, runtime)
    labels, counts = (torch.from_numpy(dataset[name]) for name in ("train.labels", "class_counts"))
    fitted = fit_head_alone(config, embeddings, labels, counts, device, runtime)
    return {**{f"network.{name}": value for name, value in network.state_dict().items()}, **fitted}
