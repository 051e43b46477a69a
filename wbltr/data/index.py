"""The index of a part whose images stay where they are: what a dataset artifact holds of it, and how a file is read by it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wbltr.data.decode import BadImage, decode, jpeg_decoder
from wbltr.data.digests import Seen, bytes_as_hashed, in_threads
from wbltr.data.imagefiles import Files, ListedImages, expanded, is_folder
from wbltr.data.lists import unsafe
from wbltr.errors import WbltrError


@dataclass(frozen=True)
class Index:
    """One part's images, by number.

    Attributes:
        paths: uint8 `(bytes,)`, the paths one after another in UTF-8, relative to the image root.
        offsets: int64 `(N + 1,)`, where each path begins in it.
        sizes: int64 `(N,)`, bytes of each file.
        digests: uint8 `(N, 32)`, SHA-256 of each file.
        shapes: int32 `(N, 2)`, height and width in pixels.
        labels: int64 `(N,)`.
        depth: bits that files of 16 use, see `wbltr.data.decode.decode`; None: 16. A tensor `()` where it is not None.
    """

    paths: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    digests: NDArray[np.uint8]
    shapes: NDArray[np.int32]
    labels: NDArray[np.int64]
    depth: int | None = None

    @classmethod
    def of(cls, files: Files, shapes: NDArray[np.int32], chosen: NDArray[np.int64], depth: int | None = None) -> Index:
        """The chosen images of a part, in this order."""
        paths = [files.paths[number].encode() for number in chosen]
        offsets = np.zeros(len(paths) + 1, np.int64)
        np.cumsum([len(path) for path in paths], out=offsets[1:])
        digests = b"".join(files.digests[number] for number in chosen)
        return cls(
            np.frombuffer(b"".join(paths), np.uint8),
            offsets,
            np.array(files.sizes, np.int64)[chosen],
            np.frombuffer(digests, np.uint8).reshape(-1, 32),
            shapes[chosen],
            np.array(files.labels, np.int64)[chosen],
            depth,
        )

    @classmethod
    def load(cls, dataset: Mapping[str, Any], part: str) -> Index:
        """A part of a dataset artifact."""
        depth = dataset.get(f"{part}.depth")
        return cls(**{name: dataset[f"{part}.{name}"] for name in ARRAYS}, depth=None if depth is None else int(depth))

    def tensors(self, part: str) -> dict[str, NDArray[Any]]:
        """What a dataset artifact holds of it."""
        depth = {} if self.depth is None else {f"{part}.depth": np.array(self.depth, np.uint8)}
        return {f"{part}.{name}": getattr(self, name) for name in ARRAYS} | depth

    def __len__(self) -> int:
        """Images."""
        return len(self.labels)

    def path(self, number: int) -> str:
        """Where an image lies, relative to the image root."""
        return bytes(self.paths[self.offsets[number] : self.offsets[number + 1]]).decode()

    def root(self, roots: Sequence[Path]) -> Path:
        """The first folder that has the first image and the last one.

        Raises:
            WbltrError: code "missing".
        """
        ends = [self.path(number) for number in (0, len(self) - 1)] if len(self) else []
        for root in map(expanded, roots):
            if is_folder(root) and all((root / path).is_file() for path in ends):
                return root.resolve()
        places = ", ".join(str(root) for root in roots) or "no folder at all"
        hint = "name the folder that the images lie in: --root DIR"
        raise WbltrError(f"the dataset's images are not here: looked for {' and '.join(ends)} in {places}", hint, "missing")

    def read(self, root: Path, number: int, *, verify: bool) -> bytes:
        """An image's file: its size is always checked, its digest on request.

        Raises:
            WbltrError: code "missing" for a file that cannot be read, "integrity" for one that is not the indexed one.
        """
        path = self.path(number)
        if why := unsafe(path):
            raise WbltrError(f"the dataset's index is damaged: {path[:200]!r} {why}", "make it again", "integrity")
        try:
            with (root / path).open("rb") as file:
                data = file.read(int(self.sizes[number]) + 1)
        except OSError as error:
            hint = "put it back, or name the folder that the images lie in: --root DIR"
            raise WbltrError(f"{root / path}: cannot be read: {error.strerror}", hint, "missing") from None
        if len(data) != self.sizes[number] or (verify and hashlib.sha256(data).digest() != bytes(self.digests[number])):
            hint = "put the original back, or make the dataset again: wbltr make-dataset"
            raise WbltrError(f"{root / path}: changed since the dataset was made", hint, "integrity")
        return data

    def pixels(self, root: Path, number: int, *, verify: bool) -> Tensor:
        """An image decoded: `(3, H, W)` uint8.

        Raises:
            WbltrError: as `read` raises.
            BadImage: it cannot be decoded.
        """
        return decode(self.read(root, number, verify=verify), self.depth)

    def fingerprint(self) -> bytes:
        """SHA-256 over paths, digests, labels and the depth: equal exactly when the images, their order and labels are."""
        digest = hashlib.sha256(self.offsets.astype("<i8").tobytes())
        for array in (self.paths, self.digests, self.labels.astype("<i8")):
            digest.update(np.ascontiguousarray(array).data)
        digest.update(b"" if self.depth is None else bytes([self.depth]))
        return digest.digest()


ARRAYS = tuple(field.name for field in fields(Index) if field.name != "depth")


def examine(
    images: ListedImages, part: str, workers: int, tick: Callable[[int], None]
) -> tuple[NDArray[np.int32], list[tuple[int, str]]]:
    """Decode every image of a part once, as far as the cache does not know its size already.

    Args:
        tick: called with images done; may raise to stop.

    Returns:
        `(N, 2)` height and width in pixels, 0 where it cannot be decoded; number and reason of each of those.

    Raises:
        WbltrError: code "integrity" for a file that changed since it was hashed.
    """
    files = images.parts[part]
    shapes = np.zeros((len(files.paths), 2), np.int32)
    bad: list[tuple[int, str]] = []

    def shape_of(number: int) -> tuple[os.stat_result, Seen | str]:
        path = images.root / files.paths[number]
        try:
            own = path.stat()
            seen = images.cache.get(str(path), own)
            if seen is not None and seen.height and seen.digest == files.digests[number]:
                return own, seen
        except OSError as error:
            raise WbltrError(f"{path}: cannot be read: {error.strerror}", "check the disk", "missing") from None
        data = bytes_as_hashed(path, files.digests[number])
        try:
            _, height, width = decode(data).shape
        except BadImage as error:
            return own, str(error)
        return own, Seen(files.digests[number], height, width)

    jpeg_decoder()
    try:
        for number, (own, found) in enumerate(in_threads(shape_of, range(len(files.paths)), workers)):
            if isinstance(found, str):
                bad.append((number, found))
            else:
                shapes[number] = found.height, found.width
                images.cache.put(f"{images.root}/{files.paths[number]}", own, found)
            tick(number + 1)
    finally:
        images.cache.save()
    return shapes, bad
