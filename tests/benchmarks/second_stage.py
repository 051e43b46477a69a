"""Second-stage sweep on cached embeddings: `python tests/benchmarks/second_stage.py --dimensions 64 --trials 64`.

T heads at once against one after another, both by fit_heads(), the latter in fp32 as the classifier stage does; 10 epochs of
batch 64 on made embeddings of CIFAR100-LT's size.
"""

from __future__ import annotations

import time

import measure
import torch
from torch import Tensor

from wbltr.functional.longtail import long_tail_counts
from wbltr.functional.schedules import cosine
from wbltr.heads import Precision, Trial, fit_heads
from wbltr.machine import prepare
from wbltr.models import new_head
from wbltr.recipe import available_precision

CLASSES = 100
TARGETS = {64: (40, 80), 512: (10, 15)}  # trials a second on two cores: target, stretch


def made_embeddings(counts: Tensor, dimensions: int, views: int, seed: int) -> tuple[Tensor, Tensor]:
    """`(V, N, D)` and labels `(N,)`: a class's centre (always the same) and noise, rectified as a network's embeddings are."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), counts)
    centres = torch.randn(len(counts), dimensions, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(views, len(labels), dimensions, generator=torch.Generator().manual_seed(seed))
    return (centres[labels] + noise).relu(), labels


def main() -> None:
    """Measure trials per second."""
    parser = measure.arguments(__doc__ or "")
    parser.add_argument("--dimensions", type=int, default=64)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--one-by-one", type=int, default=3, help="trials of the baseline")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default=available_precision(), help="of the sweep's products")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    device = prepare(given.device, given.threads)
    counts = torch.tensor(long_tail_counts(CLASSES, 500, 100))
    embeddings, labels = (t.to(device) for t in made_embeddings(counts, given.dimensions, 2, seed=1))
    weight, bias = (t.to(device) for t in new_head(CLASSES, given.dimensions, 0))
    grid = [Trial(weight_decay=0.1 * n / given.trials, radius=0.5 + n / given.trials) for n in range(given.trials)]

    def trials_per_second(groups: list[list[Trial]], precision: Precision) -> float:
        begun = time.perf_counter()
        for group in groups:
            fit_heads(
                embeddings, labels, counts, weight, bias, group,
                schedule=cosine(1.0, 10), batch_size=64, momentum=0.9, seed=0, precision=precision,
            )  # fmt: skip
        return sum(map(len, groups)) / (time.perf_counter() - begun)

    together, alone = [], []
    for _ in range(given.repeats):
        together.append(trials_per_second([grid], given.precision))
        alone.append(trials_per_second([[trial] for trial in grid[: given.one_by_one]], "fp32"))
    target, stretch = TARGETS.get(given.dimensions, (None, None)) if device.type == "cpu" else (1000, 5000)
    figures = {
        "trials_per_second": measure.spread(together),
        "one_by_one": measure.spread(alone),
        "ratio": measure.spread([a / b for a, b in zip(together, alone, strict=True)]),
        "target": target,
        "stretch": stretch,
        "trials": given.trials,
        "dimensions": given.dimensions,
        "precision": given.precision,
    }
    measure.tell("second-stage sweep", figures, given.json)


if __name__ == "__main__":
    main()
