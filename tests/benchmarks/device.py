"""One device against the CPU, and how fast it is: `python tests/benchmarks/device.py --root DIR --device cuda`.

First stage on real CIFAR100-LT images. Correctness: the loss of 50 steps in fp32, batch 64, against the CPU. Capture: how many
kernels and graphs the host launches a step. Speed: whole epochs after the first, alone and `--packed` at once, with capture
apart. On `--device cpu` all of it runs in its un-captured form.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import measure
import torch
from ours import BATCH, FirstStage, long_tailed_cifar

from wbltr.machine import prepare
from wbltr.recipe import available_precision
from wbltr.training import Epochs


def train(data: dict[str, Any], network: str, device: torch.device, precision: Any, epochs: int) -> tuple[list[float], Epochs]:
    """Seconds from the start to the end of each epoch, and the history."""
    ends: list[float] = []
    begun = time.perf_counter()
    stage = FirstStage(data, network, device, precision)
    return ends, stage.fit(epochs, report=lambda _: ends.append(time.perf_counter() - begun))


def first(data: dict[str, Any], images: int | None) -> dict[str, Any]:
    """So many training images of all classes, always the same ones."""
    order = torch.randperm(len(data["train.labels"]), generator=torch.Generator().manual_seed(0))[:images].numpy()
    return {name: data[name][order] for name in ("train.images", "train.labels")}


def launches(data: dict[str, Any], network: str, device: torch.device) -> dict[str, float] | None:
    """Launches by the host per step, on a CUDA device."""
    if device.type != "cuda":
        return None
    from torch.profiler import ProfilerActivity, profile

    counts = []
    for epochs in (2, 6):  # both capture; the difference is what steps cost
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            train(first(data, 10 * BATCH), network, device, "bf16", epochs)
        events = {event.key: event.count for event in profiler.key_averages()}
        counts.append([events.get(name, 0) for name in ("cudaGraphLaunch", "cudaLaunchKernel")])
    per_step = [(after - before) / 40 for before, after in zip(*counts, strict=True)]
    return {"graphs": per_step[0], "kernels": per_step[1]}


def main() -> None:
    """Measure one network on one device."""
    parser = measure.arguments(__doc__ or "")
    parser.add_argument("--root", type=Path, required=True, help="folder that holds cifar-100-python")
    parser.add_argument("--network", default="resnet32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=50, help="of the comparison with the CPU")
    parser.add_argument("--epochs", type=int, default=5, help="that are timed")
    parser.add_argument("--images", type=int, default=None, help="training images; default: all")
    parser.add_argument("--packed", type=int, default=8, help="runs at once")
    given = parser.parse_args()
    device = prepare(given.device, given.threads)
    precision = "bf16" if device.type == "cuda" else available_precision()
    data = long_tailed_cifar(given.root)
    # One batch is one epoch: the history has every step's loss.
    batch = first(data, BATCH)
    curves = [train(batch, given.network, d, "fp32", given.steps)[1].loss for d in (torch.device("cpu"), device)]
    chosen = first(data, given.images)
    ends, _ = train(chosen, given.network, device, precision, given.epochs)
    begun = time.perf_counter()
    with ThreadPoolExecutor(given.packed) as pool:
        runs = [pool.submit(train, chosen, given.network, device, precision, given.epochs) for _ in range(given.packed)]
        together = [run.result() for run in runs]
    packed = time.perf_counter() - begun
    epochs = [after - before for before, after in pairwise(ends)]
    figures = {
        "loss_relative_difference": float(((curves[1] - curves[0]) / curves[0]).abs().max()),
        "steps": given.steps,
        "launches_per_step": launches(data, given.network, device),
        "epoch_seconds": measure.spread(epochs),
        "first_epoch_seconds_with_capture": ends[0],
        "packed_runs": given.packed,
        "packed_seconds_per_run_and_epoch": packed / given.packed / given.epochs,
        "packed_losses_agree": all(torch.equal(h.loss, together[0][1].loss) for _, h in together),
        "images": given.images or len(data["train.labels"]),
        "precision": precision,
    }
    measure.tell(f"first stage on {device}, {given.network}", figures, given.json)


if __name__ == "__main__":
    main()
