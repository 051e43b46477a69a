"""A chain without torch for tests of the pipeline: numbers → squares → total. What runs is written to a log file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wbltr.config import Config
from wbltr.errors import Stopped
from wbltr.pipeline import Node, Runtime, Stage


class NumbersConfig(Config):
    size: int = 5
    log: str = ""


class SquaresConfig(Config):
    steps: int = 4
    log: str = ""


class TotalConfig(Config):
    log: str = ""


def _ran(log: str, name: str) -> None:
    if log:
        with Path(log).open("a") as file:
            file.write(f"{name}\n")


def numbers(config: NumbersConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    _ran(config.log, "numbers")
    runtime.report({"size": config.size})
    return {"train.x": np.arange(config.size, dtype=np.float64), "test.x": np.full(2, 7.0), "count": np.array(config.size)}


def squares(config: SquaresConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Squares by repeated steps, each of which may be checkpointed."""
    _ran(config.log, "squares")
    assert set(inputs["numbers"]) == {"train.x", "count"}, sorted(inputs["numbers"])
    x = inputs["numbers"]["train.x"]
    found = runtime.restore()
    done, total = (found[0], found[1]["total"].copy()) if found else (0, np.zeros_like(x))
    for step in range(done, config.steps):
        try:
            runtime.tick(step, config.steps)
        except Stopped:
            runtime.checkpoint(step, partial(dict, total=total), now=True)
            raise
        total += x * x / config.steps
        runtime.report({"epoch": step + 1, "epochs": config.steps})
        runtime.checkpoint(step + 1, partial(dict, total=total))
    return {"train.x": total}


def total(config: TotalConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    _ran(config.log, "total")
    value = inputs["squares"]["train.x"].sum()
    runtime.report({"total": float(value)})
    return {"total": np.array(value)}


NUMBERS = Stage("numbers", 1, "toy_stages:numbers")
SQUARES = Stage("squares", 1, "toy_stages:squares", lambda _: {"numbers": ("train.", "count")})
TOTAL = Stage("total", 1, "toy_stages:total", lambda _: {"squares": ("train.",)})


def chain(log: str = "", size: int = 5, steps: int = 4) -> Node:
    first = Node(NUMBERS, NumbersConfig(size=size, log=log), {"source": "0" * 64})
    second = Node(SQUARES, SquaresConfig(steps=steps, log=log), {"numbers": first})
    return Node(TOTAL, TotalConfig(log=log), {"squares": second})
