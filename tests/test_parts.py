"""Parts of a large result are objects of their own, kept as each is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wbltr.config import Config
from wbltr.errors import Stopped
from wbltr.pipeline import Made, Runtime, Stage, make
from wbltr.store import Store

RAN: list[int] = []
LARGE = Stage("large", 1, "test_parts:large")


class LargeConfig(Config):
    parts: int = 4
    seed: int = 0


def part(number: int, seed: int) -> dict[str, Any]:
    RAN.append(number)
    return {"values": np.full(10, number + seed)}


def large(config: LargeConfig, _: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """An index of parts, between two of which it may be stopped."""
    ids = []
    for number in range(config.parts):
        runtime.tick(number, config.parts)
        ids.append(runtime.keep(str(number), partial(part, number, config.seed)))
    path, begin = runtime.span(ids[-1], "values")
    last = np.frombuffer(path.read_bytes(), np.int64, 10, begin)
    return {"ids": np.array([[*bytes.fromhex(own)] for own in ids], np.uint8), "last": last}


@pytest.fixture
def making(tmp_path: Path) -> Callable[..., Made]:
    RAN.clear()
    store = Store.open(tmp_path / "store")

    def made(runtime: Runtime | None = None, **values: int) -> Made:
        return make(store, LARGE, LargeConfig(**values), {"source": "a" * 64}, runtime or Runtime())

    return made


def stop_at(number: int, done: int, _: int) -> None:
    if done == number:
        raise Stopped("stopped", "", "interrupted")


def test_a_broken_make_goes_on_at_the_next_part_and_gives_what_an_undisturbed_one_gives(
    making: Callable[..., Made], tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        making(Runtime(tick=partial(stop_at, 2)))
    assert RAN == [0, 1]
    made = making()
    assert RAN == [0, 1, 2, 3]
    other = make(Store.open(tmp_path / "other"), LARGE, LargeConfig(), {"source": "a" * 64}, Runtime())
    assert other.artifact.object_id == made.artifact.object_id


def test_parts_belong_to_one_config(making: Callable[..., Made]) -> None:
    one, two = making(parts=1), making(parts=1, seed=1)
    assert RAN == [0, 0]
    assert one.artifact.object_id != two.artifact.object_id


def test_a_part_that_is_gone_is_made_again(making: Callable[..., Made], tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    made = making(parts=2)
    first = bytes(store.load(made.artifact.object_id)["ids"][0]).hex()
    store.path(first).unlink()
    make(store, LARGE, LargeConfig(parts=2), {"source": "a" * 64}, Runtime(), force=True)
    assert RAN == [0, 1, 0]
    assert store.has(first)
