"""Embeddings: one part of the images through a network (the first stage's, or a finetuned one), batch-norm in eval mode.

Gives, for part p: `p.embeddings` float32 `(V, N, D)`, `p.labels` int64 `(N,)`; `class_counts` `(C,)`; `class_names`.
Train: V augmented views. Val and test: view 0 plain (of files: the centre), view 1 mirrored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from wbltr.machine import enough_memory, prepare
from wbltr.models import empty_network
from wbltr.pipeline import Runtime
from wbltr.stages import EmbeddingsStageConfig
from wbltr.stages._embed import embedded


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
    with enough_memory("try --device cpu"):
        embeddings = embedded(config, dataset, network, device, runtime)
    views, images, dimensions = embeddings.shape
    runtime.report({"part": config.part, "views": views, "images": images, "dimensions": dimensions})
    return {
        f"{config.part}.embeddings": embeddings,
        f"{config.part}.labels": dataset[f"{config.part}.labels"],
        "class_counts": dataset["class_counts"],
        "class_names": dataset["class_names"],
    }
