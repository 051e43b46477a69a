"""Images of a dataset artifact as PNGs."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wbltr.report.pictures import SIDE, drawn_from, png


def opened(data: bytes) -> np.ndarray[Any, Any]:
    return np.array(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 5, 96), (1, 1, 7)])
def test_a_small_image_keeps_its_pixels(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    expected = pixels[0] if shape[0] == 1 else pixels.transpose(1, 2, 0)
    assert np.array_equal(opened(png(pixels)), expected)


def test_a_large_one_is_brought_down_and_keeps_its_form() -> None:
    assert opened(png(np.zeros((3, 300, 600), np.uint8))).shape == (SIDE // 2, SIDE, 3)


def test_of_a_set_of_pixels_the_image_at_the_place_is_shown() -> None:
    images = np.arange(3, dtype=np.uint8).repeat(16).reshape(3, 1, 4, 4)
    labels = np.array([0, 1, 1])
    picture = drawn_from({"test.images": images, "test.labels": labels}, "test", labels, [])
    assert [opened(picture(place) or b"").max() for place in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    "dataset", [{}, {"test.labels": np.array([0, 1])}, {"test.labels": np.array([1, 1]), "test.images": 0}]
)
def test_other_labels_or_no_images_give_no_picture(dataset: dict[str, Any]) -> None:
    assert drawn_from(dataset, "test", np.array([0, 1]), [])(0) is None


def test_files_are_decoded_and_a_changed_one_is_left_out(tmp_path: Path) -> None:
    written = [np.full((4, 4, 3), value, np.uint8) for value in (10, 200)]
    for name, pixels in zip("ab", written, strict=True):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    data = [(tmp_path / f"{name}.png").read_bytes() for name in "ab"]
    dataset = {
        "test.paths": np.frombuffer(b"a.pngb.png", np.uint8),
        "test.offsets": np.array([0, 5, 10]),
        "test.sizes": np.array([len(one) for one in data]),
        "test.digests": np.frombuffer(b"".join(hashlib.sha256(one).digest() for one in data), np.uint8).reshape(2, 32),
        "test.shapes": np.full((2, 2), 4, np.int32),
        "test.labels": np.array([0, 1]),
    }
    picture = drawn_from(dataset, "test", dataset["test.labels"], [tmp_path / "elsewhere", tmp_path])
    assert [opened(picture(place) or b"").max() for place in (0, 1)] == [10, 200]
    (tmp_path / "b.png").write_bytes(data[0])
    assert picture(1) is None
    (tmp_path / "a.png").unlink()
    assert picture(0) is None
