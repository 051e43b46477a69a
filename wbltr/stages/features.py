"""Features (first stage): the training images → a network and its head.

Gives: `network.*` (every weight and buffer), `head.weight` float32 `(C, D)`, `head.bias` `(C,)`; `history.loss`,
`history.accuracy` float64 `(E,)`, `history.norms` float32 `(E, C)`, `history.lr` float64 `(E,)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wbltr.data.augment import crop_and_flip, draw, padded
from wbltr.errors import WbltrError
from wbltr.functional.losses import class_balanced_weights, loss_of
from wbltr.functional.schedules import cosine
from wbltr.models import new_head, new_network, parameter_count
from wbltr.pipeline import Runtime
from wbltr.randomness import generator
from wbltr.recipe import FeaturesConfig
from wbltr.training import Take, enough_memory, fit, prepare


def run(config: FeaturesConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Train by SGD with momentum and weight decay on every parameter; see the module's docstring for the tensors."""
    saved = runtime.restore()
    # Other bits come from another number of threads, so a resumed run keeps the one it began with.
    device = prepare(runtime.device, runtime.threads or (saved[2].get("threads") if saved else None))
    runtime.witness.update(device=str(device), threads=torch.get_num_threads())
    images = torch.from_numpy(inputs["dataset"]["train.images"])
    if images.shape[1] != len(config.mean):
        raise WbltrError(
            f"features.mean has {len(config.mean)} channels, the images have {images.shape[1]}",
            f"give one mean and std a channel: --set 'features.mean={[0.5] * images.shape[1]}' and features.std",
            "recipe",
        )
    images = padded(images.to(device), config.pad)
    labels = torch.from_numpy(inputs["dataset"]["train.labels"]).to(device)
    counts = torch.from_numpy(inputs["dataset"]["class_counts"])
    weights = class_balanced_weights(counts, config.beta).float().to(device)
    network = new_network(config.network, config.mean, config.std, config.seed).to(device)
    weight, bias = (t.to(device) for t in new_head(len(counts), network.embedding_size, config.seed))

    def source(epoch: int) -> tuple[Tensor, Take]:
        draws = draw(len(images), config.augment, config.pad, generator(config.seed, "epoch", epoch)).to(device)
        return draws.order, lambda index: (crop_and_flip(images, config.pad, index, draws), labels[index])

    parameters = parameter_count(network) + weight.numel() + bias.numel()
    lrs = cosine(config.lr, config.epochs, config.scheduler)
    restored = {name: torch.from_numpy(value) for name, value in saved[1].items()} if saved else {}
    with enough_memory("use a smaller features.batch_size or network"):
        history = fit(
            network,
            weight,
            bias,
            source,
            lrs=lrs,
            batch_size=config.batch_size,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            loss=lambda logits, y: loss_of(config.loss, logits, y, weights),
            precision=config.precision,
            device=device,
            tick=runtime.tick,
            report=lambda metrics: runtime.report({**metrics, "parameters": parameters}),
            checkpoint=lambda step, state: runtime.checkpoint(step, lambda: _on_cpu(state())),
            restored=(saved[0], restored) if saved else None,
        )
    return {
        **_on_cpu({f"network.{name}": value for name, value in network.state_dict().items()}),
        "head.weight": weight.detach().cpu(),
        "head.bias": bias.detach().cpu(),
        "history.loss": history.loss,
        "history.accuracy": history.accuracy,
        "history.norms": history.norms,
        "history.lr": torch.tensor(lrs, dtype=torch.float64),
    }


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
