"""Embeddings: one part of the images through a network (the first stage's, or a finetuned one), batch-norm in eval mode.

Gives, for part p: `p.embeddings` float32 `(V, N, D)`, `p.labels` int64 `(N,)`; `class_counts` `(C,)`; `class_names`.
Train: V augmented views. Val and test: view 0 plain, view 1 mirrored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wbltr.data.augment import crop_and_flip, draw, padded
from wbltr.machine import autocast, enough_memory, prepare
from wbltr.models import empty_network
from wbltr.pipeline import Runtime
from wbltr.randomness import generator
from wbltr.stages import EmbeddingsStageConfig

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
    images = padded(torch.from_numpy(dataset[f"{config.part}.images"]).to(device), config.pad)
    embeddings = torch.empty(config.views, len(images), network.embedding_size)
    with torch.inference_mode(), enough_memory("try --device cpu"):
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
    runtime.report({"part": config.part, "views": config.views, "images": len(images), "dimensions": network.embedding_size})
    return {
        f"{config.part}.embeddings": embeddings,
        f"{config.part}.labels": dataset[f"{config.part}.labels"],
        "class_counts": dataset["class_counts"],
        "class_names": dataset["class_names"],
    }
