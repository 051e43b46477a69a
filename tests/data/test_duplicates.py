from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_images import encoded, picture
from numpy.typing import NDArray
from PIL import Image

from wbltr.data import duplicates
from wbltr.data.crops import grey, resized
from wbltr.data.decode import decode
from wbltr.data.duplicates import NEAR, contradictions, find_twins, group_rows
from wbltr.data.pictures import difference_hash


def seen(*files: bytes) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Hashes and thumbnails."""
    pixels = [decode(data) for data in files]
    hashes = np.array([difference_hash(one) for one in pixels], np.uint64)
    return hashes, np.stack([grey(resized(one, 16, 16)).reshape(-1).numpy() for one in pixels])


def test_rows_of_equal_pixels_and_of_one_group_are_joined_and_so_is_what_they_join() -> None:
    groups = group_rows([b"a", b"b", b"a", b"c", b"d"], ["", "p", "p", "", ""])
    assert groups[0] == groups[1] == groups[2]
    assert len({groups[0], groups[3], groups[4]}) == 3


def test_equal_pixels_under_two_labels_are_told() -> None:
    assert contradictions([b"a", b"b", b"a", b"a"], [0, 1, 1, 0]) == [(2, 0)]


def test_a_picture_written_again_and_resized_is_near_and_another_is_not() -> None:
    first, other = picture(1, 1, 80), picture(4, 2, 80)
    files = [encoded(first), encoded(first, quality=60), encoded(first.resize((90, 70))), encoded(other)]
    parts = np.array(["train", "test", "val", "test"])
    twins = find_twins([b"0", b"1", b"2", b"3"], *seen(*files), parts)
    assert twins.near[:, 0].tolist() == [1, 2]
    assert (twins.near[:, 1] == [0, 0]).all() or twins.near.tolist() == [[1, 2], [2, 0]]
    assert not len(twins.exact)


def test_equal_pixels_are_exact_and_not_near_as_well() -> None:
    files = [encoded(picture(1, 1), "PNG"), encoded(picture(1, 1), "PNG"), encoded(picture(2, 2), "PNG")]
    twins = find_twins([b"a", b"a", b"b"], *seen(*files), np.array(["test", "train", "train"]))
    assert twins.exact.tolist() == [[0, 1]]
    assert not len(twins.near)
    assert not len(find_twins([b"a", b"a", b"b"], *seen(*files), np.array(["train"] * 3)).exact), "within a part"


@given(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 63), max_size=8))
@settings(max_examples=200, deadline=None)
def test_hashes_that_differ_in_few_bits_are_found_wherever_these_are(word: int, bits: set[int]) -> None:
    other = word ^ sum(1 << bit for bit in bits)
    twins = find_twins(
        [b"a", b"b"], np.array([word, other], np.uint64), np.zeros((2, 256), np.uint8), np.array(["train", "test"])
    )
    assert (len(twins.near) == 1) == (len(bits) <= NEAR)
    assert twins.complete


def test_a_set_whose_pictures_all_look_alike_is_not_compared_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MOST_COMPARED", 1000)
    rows = 200
    parts = np.array(["train", "test"] * (rows // 2))
    noise = np.random.default_rng(0).integers(0, 256, (rows, 256)).astype(np.uint8)
    twins = find_twins([bytes([n]) for n in range(rows)], np.zeros(rows, np.uint64), noise, parts)
    assert not twins.complete


def test_grey_is_what_pillow_makes_of_it() -> None:
    image = picture(3, 3)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert (grey(pixels)[0].numpy() == np.array(image.convert("L"))).all()
    flat = Image.open(io.BytesIO(encoded(image.convert("L"), "PNG")))
    repeated = torch.from_numpy(np.array(flat)).expand(3, -1, -1)
    assert (grey(repeated)[0] == repeated[0]).all(), "what is grey already keeps its values"
