"""Images of anybody's, brought to what a model takes: found, read, decoded and cut in threads, some ahead."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wbltr.data.crops import centre, fitted, grey
from wbltr.data.decode import MOST_PIXELS, BadImage, decode, jpeg_decoder
from wbltr.data.digests import in_threads
from wbltr.data.folders import is_hidden
from wbltr.data.imagefiles import MOST_BYTES
from wbltr.data.index import Index
from wbltr.data.signatures import looked_at, unread
from wbltr.data.stream import is_index
from wbltr.errors import WbltrError
from wbltr.regular import read_regular
from wbltr.serving.about import Input

BATCH = 64

Read = tuple[str, Tensor | str]  # a path with its pixels, or with why there are none


def below(folder: str, passed_over: Callable[[str], None], linked: Callable[[str], None] = lambda _: None) -> Iterator[str]:
    """Images in a folder and the folders in it, in the order of their names; hidden ones are skipped.

    Images of a kind that cannot be read are among them. A folder that cannot be listed stands for itself, so that whoever
    reads it says why.

    Args:
        passed_over: told of files that are no images.
        linked: told of links to folders, which are not followed.
    """
    closed: list[str] = []
    for here, folders, files in os.walk(folder, onerror=lambda error: closed.append(str(error.filename))):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for path in (os.path.join(here, name) for name in folders):  # noqa: PTH118 - as often as there are images
            if os.path.islink(path):  # noqa: PTH114
                linked(path)
        for name in sorted(files):
            if not is_hidden(name):
                path = os.path.join(here, name)  # noqa: PTH118
                if looked_at(path) is not None:
                    yield path
                else:
                    passed_over(path)
    yield from closed


def read(path: str) -> bytes:
    """A regular file's bytes.

    Raises:
        BadImage: in words, why not.
    """
    try:
        return read_regular(path, MOST_BYTES)
    except OSError as error:
        raise BadImage(error.strerror or str(error)) from None
    except ValueError as error:
        raise BadImage(str(error)) from None


def prepared(pixels: Tensor, wanted: Input) -> Tensor:
    """`(3, H, W)` uint8 as the model takes it: `(C, side, side)` uint8.

    Raises:
        BadImage: so long and thin that its resized form would not fit in memory.
    """
    height, width = pixels.shape[1:]
    if wanted.shorter_side**2 * max(height, width) > MOST_PIXELS * min(height, width):
        raise BadImage(f"{width:,} x {height:,} pixels: too long and thin")
    if wanted.shorter_side == wanted.side:
        return fitted(pixels, wanted.side, wanted.channels)
    square = centre(pixels, wanted.side)
    return grey(square) if wanted.channels == 1 else square


def batches(paths: Iterable[str], wanted: Input, workers: int) -> Iterator[list[Read]]:
    """Every path in order, by blocks of up to `BATCH`; memory does not grow with their number."""
    jpeg_decoder()

    def one(path: str) -> Read:
        try:
            data = read(path)
            if why := unread(data, path):
                return path, why
            return path, prepared(decode(data, wanted.depth), wanted)
        except BadImage as error:
            return path, str(error)

    done = in_threads(one, paths, workers, BATCH, partial(torch.set_num_threads, 1))
    while block := [*islice(done, BATCH)]:
        yield block


def samples(dataset: Mapping[str, Any], roots: Sequence[Path], wanted: Input, most: int) -> Tensor:
    """Up to `most` training images of a dataset, evenly spread, as the model takes them: `(N, C, side, side)` uint8.

    Args:
        dataset: the artifact's `train.` tensors.
        roots: folders that may hold its files.

    Raises:
        WbltrError: code "missing" where its files are not there, "integrity" for one that cannot be read.
    """
    count = len(dataset["train.labels"])
    numbers = sorted({number * count // most for number in range(most)})
    if not is_index(dataset, "train"):
        return torch.from_numpy(dataset["train.images"][numbers])
    index = Index.load(dataset, "train")
    root = index.root(roots)
    found = [one for block in batches([str(root / index.path(n)) for n in numbers], wanted, 1) for one in block]
    for path, what in found:
        if isinstance(what, str):
            raise WbltrError(f"{path}: {what}", "put the original back", "integrity")
    return torch.stack([what for _, what in found if isinstance(what, Tensor)])
