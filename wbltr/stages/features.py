"""Features (first stage): the training images → a network and its head.

Gives: `network.*` (every weight and buffer), `head.weight` float32 `(C, D)`, `head.bias` `(C,)`; `history.loss`,
`history.accuracy` float64 `(E,)`, `history.norms` float32 `(E, C)`, `history.lr` float64 `(E,)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wbltr.cores import these_cores
from wbltr.data.augment import AugmentedImages
from wbltr.distributed import Team, team
from wbltr.errors import WbltrError
from wbltr.functional.losses import class_balanced_weights, loss_of
from wbltr.functional.schedules import cosine
from wbltr.machine import enough_memory, prepare
from wbltr.models import Classifier, new_head, new_network, parameter_count
from wbltr.pipeline import Runtime
from wbltr.randomness import generator
from wbltr.recipe import FeaturesConfig
from wbltr.training import Epochs, fit, usable


def run(config: FeaturesConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Train by SGD with momentum and weight decay on every parameter; see the module's docstring for the tensors.

    Under torchrun every process runs this, and the leader's result is the one that counts.
    """
    us = team()
    if config.shards % us.size:
        raise WbltrError(
            f"{us.size} processes cannot share {config.shards} parts of a batch: features.micro_batch is {config.micro_batch}",
            f"--set features.micro_batch={max(2, config.batch_size // us.size)}",
            "usage",
        )
    saved = runtime.restore(usable)
    # Other bits come from another number of threads, so a resumed run keeps the one it began with.
    alike = saved is not None and (saved[2].get("processes") or 1) == us.size
    threads = runtime.threads or (saved[2].get("threads") if saved and alike else None)
    device = prepare(runtime.device, threads, us.beside, us.place)
    runtime.witness.update(device=str(device), threads=torch.get_num_threads(), processes=us.size)
    if threads is None and device.type == "cpu" and (busy := str(these_cores())):
        runtime.notice(f"features: {busy}")
    images = torch.from_numpy(inputs["dataset"]["train.images"])
    if images.shape[1] != len(config.mean):
        raise WbltrError(
            f"features.mean has {len(config.mean)} channels, the images have {images.shape[1]}",
            f"give one mean and std a channel: --set 'features.mean={[0.5] * images.shape[1]}' and features.std",
            "recipe",
        )
    if len(images) < 2 * config.shards:
        raise WbltrError(
            f"features.micro_batch={config.micro_batch} cuts {len(images)} images into {config.shards} parts; "
            "batch-norm needs two images in each",
            f"--set features.micro_batch={min(config.batch_size, len(images))}",
            "recipe",
        )
    lrs = cosine(config.lr, config.epochs, config.scheduler)
    with us.connected(device), enough_memory("use a smaller features.batch_size or network"):
        us.begin(str(config.hashed()))
        torch.set_num_threads(us.agree(torch.get_num_threads()))
        model, history = _train(config, inputs["dataset"], runtime, device, us, lrs, saved)
    return {
        **_on_cpu({f"network.{name}": value for name, value in model.network.state_dict().items()}),
        **_on_cpu({"head.weight": model.weight, "head.bias": model.bias}),
        "history.loss": history.loss,
        "history.accuracy": history.accuracy,
        "history.norms": history.norms,
        "history.lr": torch.tensor(lrs, dtype=torch.float64),
    }


def _train(
    config: FeaturesConfig,
    dataset: Mapping[str, Any],
    runtime: Runtime,
    device: torch.device,
    us: Team,
    lrs: Sequence[float],
    saved: tuple[int, Mapping[str, Any], Mapping[str, Any]] | None,
) -> tuple[Classifier, Epochs]:
    counts = torch.from_numpy(dataset["class_counts"])
    weights = class_balanced_weights(counts, config.beta).float().to(device)
    images = AugmentedImages(
        torch.from_numpy(dataset["train.images"]).to(device),
        torch.from_numpy(dataset["train.labels"]).to(device),
        config.augment,
        config.pad,
        lambda epoch: generator(config.seed, "epoch", epoch),
    )
    network = new_network(config.network, config.mean, config.std, config.seed)
    model = Classifier(network, *new_head(len(counts), network.embedding_size, config.seed)).to(device)
    parameters = parameter_count(model)
    history = fit(
        model,
        images,
        lrs=lrs,
        batch_size=config.batch_size,
        shards=config.shards,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        loss=lambda logits, y: loss_of(config.loss, logits, y, weights),
        precision=config.precision,
        tick=runtime.tick,
        report=lambda metrics: runtime.report({**metrics, "parameters": parameters}),
        checkpoint=lambda step, state, now: runtime.checkpoint(step, lambda: _on_cpu(state()), now=now),
        restored=(saved[0], {name: torch.from_numpy(value) for name, value in saved[1].items()}) if saved else None,
        team=us,
    )
    return model, history


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
