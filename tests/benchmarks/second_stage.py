"""Second-stage sweep on cached embeddings: `python tests/benchmarks/second_stage.py --dimensions 64 --trials 64`.

T heads at once against one after another, both by fit_heads(); 10 epochs of batch 64 on embeddings of CIFAR100-LT's size.
"""

from __future__ import annotations

import time

import measure
import torch

from wbltr.functional.longtail import long_tail_counts
from wbltr.functional.schedules import cosine
from wbltr.heads import Trial, fit_heads
from wbltr.models import new_head
from wbltr.training import prepare


def main() -> None:
    """Measure trials per second."""
    parser = measure.arguments(__doc__ or "")
    parser.add_argument("--dimensions", type=int, default=64)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--one-by-one", type=int, default=3, help="trials of the baseline")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    device = prepare(given.device, given.threads)
    counts = torch.tensor(long_tail_counts(100, 500, 100))
    labels = torch.repeat_interleave(torch.arange(100), counts)
    source = torch.Generator().manual_seed(0)
    centres = torch.randn(100, given.dimensions, generator=source)
    noise = torch.randn(2, len(labels), given.dimensions, generator=source)
    embeddings = (centres[labels] + noise).relu().to(device)
    weight, bias = (t.to(device) for t in new_head(100, given.dimensions, 0))
    grid = [Trial(weight_decay=0.1 * n / given.trials, radius=0.5 + n / given.trials) for n in range(given.trials)]

    def trials_per_second(groups: list[list[Trial]]) -> float:
        begun = time.perf_counter()
        for group in groups:
            fit_heads(
                embeddings, labels.to(device), counts, weight, bias, group,
                schedule=cosine(1.0, 10), batch_size=64, momentum=0.9, seed=0,
            )  # fmt: skip
        return sum(map(len, groups)) / (time.perf_counter() - begun)

    together, alone = [], []
    for _ in range(given.repeats):
        together.append(trials_per_second([grid]))
        alone.append(trials_per_second([[trial] for trial in grid[: given.one_by_one]]))
    figures = {
        "trials_per_second": measure.spread(together),
        "one_by_one": measure.spread(alone),
        "ratio": measure.spread([a / b for a, b in zip(together, alone, strict=True)]),
        "trials": given.trials,
        "dimensions": given.dimensions,
    }
    measure.tell("second-stage sweep", figures, given.json)


if __name__ == "__main__":
    main()
