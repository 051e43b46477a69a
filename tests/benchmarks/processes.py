"""torchrun's processes against one that runs the same half-batches in turn: `python tests/benchmarks/processes.py --root DIR`.

ResNet-32 in fp32, one thread a process, batch 64 in two halves (`micro_batch: 32`), on real images. The loss of each step is
compared, and the time of a step once both are warm.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import measure
from device import first
from ours import BATCH, long_tailed_cifar

from wbltr.distributed import team
from wbltr.pipeline import Runtime
from wbltr.recipe import FeaturesConfig
from wbltr.stages import features

HALVES = FeaturesConfig(network="resnet32", precision="fp32", batch_size=BATCH, micro_batch=BATCH // 2, epochs=1)


def work(root: Path, steps: int, out: Path) -> None:
    """One process: train and, as the leader, write each step's loss and end."""
    ends: list[float] = []
    data = long_tailed_cifar(root)
    batch = first(data, BATCH) | {"class_counts": data["class_counts"]}  # one batch is one epoch: the history has every step
    runtime = Runtime(device="cpu", threads=1, report=lambda _: ends.append(time.perf_counter()))
    tensors = features.run(HALVES.model_copy(update={"epochs": steps}), {"dataset": batch}, runtime)
    if team().leads:
        out.write_text(json.dumps({"losses": tensors["history.loss"].tolist(), "ends": ends}))


def started(command: list[str], given: Any) -> dict[str, Any]:
    """Start processes and read what their leader wrote: losses, and seconds of a step."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.json")
        arguments = ["--root", str(given.root), "--steps", str(given.steps), "--work", str(out)]
        subprocess.run([sys.executable, *command, __file__, *arguments], check=True)
        told: dict[str, Any] = json.loads(out.read_text())
    seconds = sorted(after - before for before, after in pairwise(told["ends"][3:]))
    return {"losses": told["losses"], "seconds": seconds[len(seconds) // 2]}


def main() -> None:
    """Compare, or be one of the processes."""
    parser = measure.arguments(__doc__ or "")
    parser.add_argument("--root", type=Path, required=True, help="folder that holds cifar-100-python")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--work", type=Path, default=None, help="be one process, and write here")
    given = parser.parse_args()
    if given.work is not None:
        work(given.root, given.steps, given.work)
        return
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(given.processes)]
    differences = []

    def both(command: list[str]) -> float:
        told = started(command, given)
        differences.append(told["losses"])
        return float(told["seconds"])

    figures = measure.in_turn(lambda: both(torchrun), lambda: both([]), given.repeats)
    apart = [
        max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
        for ours, theirs in zip(differences[::2], differences[1::2], strict=True)
    ]
    told = {**figures, "largest_difference_of_a_loss": max(apart), "steps": given.steps, "processes": given.processes}
    measure.tell("a step by several processes under torchrun, ResNet-32", told, given.json)


if __name__ == "__main__":
    main()
