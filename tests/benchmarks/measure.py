"""How a figure is stated: several runs in turn with the baseline, median and spread, the machine, as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def machine() -> dict[str, Any]:
    """What a figure depends on: processor, threads, versions."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else ""
    return {
        "cpu": model or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def in_turn(ours: Callable[[], float], baseline: Callable[[], float], repeats: int) -> dict[str, Any]:
    """Measure two things alternately: figures of each, and the ratio baseline / ours pair by pair."""
    pairs = [(ours(), baseline()) for _ in range(repeats)]
    return {
        "ours_seconds": spread([pair[0] for pair in pairs]),
        "baseline_seconds": spread([pair[1] for pair in pairs]),
        "ratio": spread([pair[1] / pair[0] for pair in pairs]),
    }


def spread(values: list[float]) -> dict[str, float | int]:
    """Median, smallest and largest of n values."""
    rounded = [round(v, 4) for v in (statistics.median(values), min(values), max(values))]
    return {"median": rounded[0], "min": rounded[1], "max": rounded[2], "n": len(values)}


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side, in turn")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; default: the cores that are free to use")
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file, too")
    return parser


def tell(name: str, figures: dict[str, Any], target: Path | None) -> None:
    """Print the figures as JSON, and keep them where asked."""
    text = json.dumps({"benchmark": name, **figures, "machine": machine()}, indent=1)
    print(text)
    if target is not None:
        target.write_text(text + "\n")
