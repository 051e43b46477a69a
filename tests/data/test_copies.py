from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wbltr.data import copies
from wbltr.data.copies import Copy, copied_shapes, pack, shard_bounds
from wbltr.data.crops import resized

SHAPES = np.array([[30, 40], [90, 60], [64, 64], [200, 33], [5, 700]], np.int32)


def pictures() -> Iterator[torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    for height, width in SHAPES.tolist():
        yield torch.randint(0, 256, (3, height, width), generator=source, dtype=torch.uint8)


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), min_size=1, max_size=30), st.integers(8, 1024))
def test_a_copys_shorter_side_is_at_most_what_was_asked_and_nothing_is_enlarged(
    sizes: list[tuple[int, int]], side: int
) -> None:
    before = np.array(sizes, np.int32)
    after = copied_shapes(before, side)
    assert (after.min(1) == np.minimum(before.min(1), side)).all()
    assert (after <= before).all()
    assert (after >= 1).all()
    wide = before[:, 1] / before[:, 0] * after[:, 0]
    assert (np.abs(after[:, 1] - wide) <= np.maximum(1, before[:, 1] / before[:, 0])).all(), "the ratio stays"


def test_shards_hold_every_image_once_and_no_more_than_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "SHARD", 30_000)
    shapes = np.random.default_rng(0).integers(10, 90, (200, 2)).astype(np.int32)
    bounds = shard_bounds(shapes)
    assert bounds[0] == 0
    assert bounds[-1] == 200
    sizes = 3 * shapes[:, 0].astype(int) * shapes[:, 1]
    held = [sizes[first:end].sum() for first, end in pairwise(bounds)]
    assert min(held) > 0
    assert max(held) <= 30_000
    assert shard_bounds(np.array([[900, 900], [1, 1]], np.int32)).tolist() == [0, 1, 2], "an image too large has its own"
    assert shard_bounds(np.empty((0, 2), np.int32)).tolist() == [0]


def test_a_shard_is_far_below_what_an_object_may_be() -> None:
    assert copies.SHARD <= 10**9


def test_what_was_packed_is_read_again(tmp_path: Path) -> None:
    for number, (first, end) in enumerate(((0, 2), (2, 5))):
        several = [*pictures()][first:end]
        (tmp_path / str(number)).write_bytes(b"header" + pack(iter(several), SHAPES[first:end]).tobytes())
    asked: list[str] = []

    def span(object_id: str, name: str) -> tuple[Path, int]:
        asked.append(object_id)
        assert name == "pixels"
        return tmp_path / object_id, 6

    copy = Copy(SHAPES, ["0", "1"], np.array([0, 2, 5]), span)
    for number, picture in enumerate(pictures()):
        assert torch.equal(copy.pixels(number), picture)
    assert torch.equal(copy.pixels(0), next(pictures()))
    assert asked == ["0", "1"], "a shard is checked once"
    copy.close()


def test_packing_brings_images_to_the_copys_shapes() -> None:
    shapes = copied_shapes(SHAPES, 32)
    packed = torch.from_numpy(pack(pictures(), shapes))
    first = 0
    for picture, (height, width) in zip(pictures(), shapes.tolist(), strict=True):
        size = 3 * height * width
        assert torch.equal(packed[first : first + size].view(3, height, width), resized(picture, height, width))
        first += size
    assert first == len(packed)
