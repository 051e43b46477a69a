"""Images through a network, batch-norm in eval mode: for the embeddings stage, and for the head of a frozen network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wbltr.cores import free_cores
from wbltr.data.augment import crop_and_flip, draw, padded
from wbltr.data.crops import random_boxes
from wbltr.data.stream import BLOCK, check_augment, image_files, is_index
from wbltr.machine import autocast
from wbltr.models import Network
from wbltr.pipeline import Runtime
from wbltr.randomness import generator
from wbltr.stages import EmbeddingsStageConfig
from wbltr.stages._room import room

BATCH = 500  # images; part of the revision, since kernels may differ by batch size


@torch.no_grad()
def embedded(
    config: EmbeddingsStageConfig, dataset: Mapping[str, Any], network: Network, device: torch.device, runtime: Runtime
) -> Tensor:
    """`(V, N, D)` float32 of one part, by a network in eval mode; with `augment: none` view 0 of the training part is plain."""
    through = _files if is_index(dataset, config.part) else _pixels
    return through(config, dataset, network, device, runtime)


def _pixels(
    config: EmbeddingsStageConfig, dataset: Mapping[str, Any], network: Network, device: torch.device, runtime: Runtime
) -> Tensor:
    """`(V, N, D)` of images that the dataset holds, in the size that they have there."""
    check_augment(config.augment, config.image_size, files=False)
    images = padded(torch.from_numpy(dataset[f"{config.part}.images"]).to(device), config.pad)
    embeddings = torch.empty(config.views, len(images), network.embedding_size)
    for view in range(config.views):
        draws = draw(len(images), config.augment, config.pad, generator(config.seed, "view", view)).to(device)
        for first in range(0, len(images), BATCH):
            runtime.tick(view * len(images) + first, config.views * len(images))
            index = torch.arange(first, min(first + BATCH, len(images)), device=device)
            batch: Tensor = crop_and_flip(images, config.pad, index, draws.top[index], draws.left[index], draws.flip[index])
            if config.part != "train" and view == 1:
                batch = batch.flip(3)
            with autocast(device, config.precision):
                embeddings[view, first : first + BATCH] = network(batch).float().cpu()
    return embeddings


def _files(
    config: EmbeddingsStageConfig, dataset: Mapping[str, Any], network: Network, device: torch.device, runtime: Runtime
) -> Tensor:
    """`(V, N, D)` of images that lie in files: each is decoded once for all its views, a block of them at a time."""
    images = len(dataset[f"{config.part}.labels"])
    embeddings = torch.from_numpy(room(config.views, images, network.embedding_size, runtime))
    flips, boxes = torch.zeros(config.views, images, dtype=torch.bool), None
    drawn = config.part == "train" and config.augment != "none"
    size = check_augment(config.augment if drawn else "none", config.image_size, files=True)
    if images == 0:
        return embeddings
    if drawn:
        shapes = torch.from_numpy(dataset["train.shapes"])
        sources = [generator(config.seed, "view", view) for view in range(config.views)]
        boxes = torch.stack([random_boxes(shapes, source) for source in sources])
        flips = torch.stack([torch.rand(images, generator=source) < 0.5 for source in sources])
        flips &= config.augment != "resized-crop"
    else:
        flips[1:] = True
    workers = runtime.threads or free_cores()
    with image_files(dataset, config.part, runtime.roots, runtime.span, size, workers) as files:
        for number, block in enumerate(files.views(boxes)):
            runtime.tick(number * BLOCK, images)
            place = slice(number * BLOCK, number * BLOCK + block.shape[1])
            for view in range(config.views):
                batch = block[view % len(block)].to(device)
                batch = torch.where(flips[view, place].to(device).view(-1, 1, 1, 1), batch.flip(3), batch)
                with autocast(device, config.precision):
                    embeddings[view, place] = network(batch).float().cpu()
    return embeddings
