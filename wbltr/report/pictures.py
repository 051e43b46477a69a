"""Images of a dataset artifact as small PNGs for a page."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wbltr.errors import WbltrError

SIDE = 96  # pixels that the longer side has at most


def drawn_from(dataset: Mapping[str, Any], part: str, labels: Any, roots: Sequence[Path]) -> Callable[[int], bytes | None]:
    """Who gives an image of a part as PNG by its place; None for one that is not to be had.

    Args:
        dataset: tensors of the part, with an image's pixels or an index of files.
        part: train, val or test.
        labels: `(N,)`, of the images in the order that is asked by; in a dataset of other images there are no pictures.
        roots: folders that the files may lie in.
    """
    if f"{part}.labels" not in dataset or not np.array_equal(dataset[f"{part}.labels"], labels):
        return lambda _: None
    if f"{part}.images" in dataset:
        images = dataset[f"{part}.images"]
        return lambda place: png(images[place])
    if f"{part}.paths" not in dataset:
        return lambda _: None
    return _files(dataset, part, roots)


def _files(dataset: Mapping[str, Any], part: str, roots: Sequence[Path]) -> Callable[[int], bytes | None]:
    from wbltr.data.decode import BadImage
    from wbltr.data.index import Index

    index = Index.load(dataset, part)

    def picture(place: int) -> bytes | None:
        try:
            return png(index.pixels(index.root(roots), place, verify=True).numpy())
        except (WbltrError, BadImage):  # gone, or another file by now: a page without it is still a page
            return None

    return picture


def png(pixels: Any) -> bytes:
    """An image as PNG, its longer side at most `SIDE` pixels.

    Args:
        pixels: uint8 `(1, H, W)` or `(3, H, W)`.
    """
    grey = len(pixels) == 1
    image = Image.fromarray(np.ascontiguousarray(pixels[0] if grey else np.moveaxis(pixels, 0, -1)))
    image.thumbnail((SIDE, SIDE))
    written = io.BytesIO()
    image.save(written, "png", optimize=True)
    return written.getvalue()
