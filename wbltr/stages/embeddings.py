"""Embeddings: one part of the images through a network (the first stage's, or a finetuned one), batch-norm in eval mode.

Gives, for part p: `p.embeddings` float32 `(V, N, D)`, `p.labels` int64 `(N,)`; `class_counts` `(C,)`; `class_names`.
Train: V augmented views. Val and test: view 0 plain (of files: the centre), view 1 mirrored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wbltr.cores import free_cores
from wbltr.data.augment import crop_and_flip, draw, padded
from wbltr.data.crops import random_boxes
from wbltr.data.stream import BLOCK, check_augment, image_files, is_index
from wbltr.machine import autocast, enough_memory, prepare
from wbltr.models import Network, empty_network
from wbltr.pipeline import Runtime
from wbltr.randomness import generator
from wbltr.stages import EmbeddingsStageConfig
from wbltr.stages._room import room

BATCH = 500  # images; part of the revision, since kernels may differ by batch size


def run(config: EmbeddingsStageConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Run every view of every image through the network once."""
    device = prepare(runtime.device, runtime.threads)
    runtime.witness.update(device=str(device), threads=torch.get_num_threads())
    network = empty_network(config.network, config.mean, config.std, config.stem, config.prelogit)
    network.load_state_dict(
        {n.removeprefix("network."): torch.from_numpy(v) for n, v in inputs.get("finetune", inputs.get("features", {})).items()}
    )
    network.to(device).eval()
    dataset = inputs["dataset"]
    with torch.inference_mode(), enough_memory("try --device cpu"):
        through = _files if is_index(dataset, config.part) else _pixels
        embeddings = through(config, dataset, network, device, runtime)
    views, images, dimensions = embeddings.shape
    runtime.report({"part": config.part, "views": views, "images": images, "dimensions": dimensions})
    return {
        f"{config.part}.embeddings": embeddings,
        f"{config.part}.labels": dataset[f"{config.part}.labels"],
        "class_counts": dataset["class_counts"],
        "class_names": dataset["class_names"],
    }


def _pixels(
    config: EmbeddingsStageConfig, dataset: Mapping[str, Any], network: Network, device: torch.device, runtime: Runtime
) -> Tensor:
    """`(V, N, D)` of images that the dataset holds."""
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
    train = config.part == "train"
    size = check_augment(config.augment if train else "none", config.image_size, files=True)
    if images == 0:
        return embeddings
    if train:
        shapes = torch.from_numpy(dataset["train.shapes"])
        sources = [generator(config.seed, "view", view) for view in range(config.views)]
        boxes = torch.stack([random_boxes(shapes, source) for source in sources])
        flips = torch.stack([torch.rand(images, generator=source) < 0.5 for source in sources])
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
