"""Images that are decoded as they are needed: threads read, decode and crop some batches ahead; memory does not grow with N.

Threads rather than processes: the decoders and the resizing let go of the interpreter, nothing is copied between address
spaces, and a stop or a failure needs no other process to be told. A crop is cut and resized where its pixels were decoded, so
that it has the same bits whatever the device; flips, normalisation and all that follows happen on the device, by the batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wbltr.data.augment import Augment, AugmentedImages
from wbltr.data.copies import Copy, Span
from wbltr.data.crops import centre, cut, random_boxes
from wbltr.data.decode import BadImage, jpeg_decoder
from wbltr.data.digests import in_threads
from wbltr.data.index import Index
from wbltr.errors import WbltrError
from wbltr.randomness import epoch_order

Box = tuple[int, int, int, int]
BLOCK = 64  # images whose views go through a network together


@dataclass
class ImageFiles:
    """The images of an index, read from their files; a file's digest is checked when it is read first.

    Args:
        index: of one part.
        roots: folders that may be the image root.
        size: pixels a side of every crop.
        workers: threads.
        copy: a decoded copy of the images; None: their files are decoded each time.
    """

    index: Index
    roots: Sequence[Path]
    size: int
    workers: int
    copy: Copy | None = None
    root: Path = field(init=False)  # of no meaning with a copy
    verified: bytearray = field(init=False)

    def __post_init__(self) -> None:
        self.root = self.index.root(self.roots) if self.copy is None else Path()
        self.verified = bytearray(len(self.index))
        jpeg_decoder()

    def pixels(self, number: int) -> Tensor:
        """`(3, H, W)` uint8.

        Raises:
            WbltrError: code "missing" or "integrity", naming the file.
        """
        if self.copy is not None:
            return self.copy.pixels(number)
        try:
            pixels = self.index.pixels(self.root, number, verify=not self.verified[number])
        except BadImage as error:
            path = self.root / self.index.path(number)
            raise WbltrError(f"{path}: cannot be decoded: {error}", "put the original back", "integrity") from None
        self.verified[number] = 1
        if pixels.shape[1:] != tuple(self.index.shapes[number]):
            path = self.root / self.index.path(number)
            raise WbltrError(f"{path}: changed since the dataset was made", "put the original back", "integrity")
        return pixels

    def crop(self, number: int, box: Box) -> Tensor:
        """A box of an image: `(3, S, S)` uint8."""
        return cut(self.pixels(number), box, self.size)

    def in_order(self, work: Callable[[int], Tensor], numbers: Iterator[int] | range, ahead: int) -> Iterator[Tensor]:
        """`work` of each number, done in threads some ahead."""
        return in_threads(work, numbers, self.workers, max(ahead, 2 * self.workers), partial(torch.set_num_threads, 1))

    def views(self, boxes: Tensor | None) -> Iterator[Tensor]:
        """Every image once, in order, by blocks of up to `BLOCK`.

        Args:
            boxes: `(V, N, 4)`; None: the centre, one view.

        Yields:
            `(V, B, 3, S, S)` uint8.
        """

        def crops(number: int) -> Tensor:
            pixels = self.pixels(number)
            if boxes is None:
                return centre(pixels, self.size)[None].clone()
            return torch.stack([cut(pixels, box, self.size) for box in boxes[:, number].tolist()])

        done = self.in_order(crops, range(len(self.index)), BLOCK)
        while block := [*islice(done, BLOCK)]:
            yield torch.stack(block, 1)


class StreamedImages:
    """Training images as `wbltr.training.Images` wants them: random-resized crops and flips, drawn by the epoch's generator.

    Args:
        files: where they come from.
        device: where batches go.
        source: the generator of an epoch, see `wbltr.randomness`.
        weights: `(N,)`, on the CPU, how likely each image is drawn; None: each once.
        rows: images of the largest step.
        mirror: whether images are mirrored every other time; what is drawn is the same.

    Attributes:
        waited: seconds that steps of this epoch have waited for their images.
    """

    def __init__(
        self,
        files: ImageFiles,
        device: torch.device,
        source: Callable[[int], torch.Generator],
        weights: Tensor | None,
        rows: int,
        mirror: bool = True,
    ) -> None:
        self.mirror = mirror
        self.files, self.source, self.weights, self.device = files, source, weights, device
        self.labels = torch.from_numpy(files.index.labels)
        self.shapes = torch.from_numpy(files.index.shapes)
        shape = (rows, 3, files.size, files.size)
        self.images = torch.zeros(shape, dtype=torch.uint8, device=device)
        # Label, flip and place in the epoch's order of each row; rows that are not in use have a place beyond all others.
        self.facts = torch.zeros(3, rows, dtype=torch.int64, device=device)
        self._slots = [_Slot(shape, device) for _ in range(2 if device.type == "cuda" else 1)]
        self._steps: Iterator[Sequence[range]] = iter(())
        self._crops: Iterator[Tensor] = iter(())
        self._order = np.empty(0, np.int64)
        self._flip = torch.empty(0, dtype=torch.bool)
        self._began = time.monotonic()
        self.waited = 0.0

    def __len__(self) -> int:
        """Images of an epoch."""
        return len(self.labels)

    def draw(self, epoch: int, steps: Sequence[Sequence[range]]) -> None:
        """Draw an epoch's order, boxes and flips; its images are read as soon as the first step asks for them."""
        self.close()
        source = self.source(epoch)
        order = epoch_order(len(self), source, self.weights)
        boxes = random_boxes(self.shapes[order], source).numpy()
        self._flip = (torch.rand(len(self), generator=source) < 0.5) & self.mirror
        self._order = order.numpy()

        def crop(place: int) -> Tensor:
            return self.files.crop(int(self._order[place]), tuple(boxes[place].tolist()))

        places = chain.from_iterable(chain.from_iterable(steps))
        self._crops = self.files.in_order(crop, places, len(self.images) + 2 * self.files.workers)
        self._steps = iter(steps)
        self._began, self.waited = time.monotonic(), 0.0

    def fetch(self) -> None:
        """Wait for the crops of the next step and bring them to the device."""
        places = torch.tensor([*chain.from_iterable(next(self._steps))])
        slot = self._slots[0]
        self._slots.reverse()
        slot.settle()
        began = time.monotonic()
        for row, crop in enumerate(islice(self._crops, len(places))):
            slot.images[row] = crop
        self.waited += time.monotonic() - began
        slot.facts[2] = len(self)
        slot.facts[:, : len(places)] = torch.stack((self.labels[self._order[places]], self._flip[places].long(), places))
        self.images[: len(places)].copy_(slot.images[: len(places)], non_blocking=True)
        self.facts.copy_(slot.facts, non_blocking=True)
        slot.sent()

    def take(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Places `(B,)` of the step at hand → crops `(B, 3, S, S)` uint8, labels `(B,)`."""
        rows = torch.searchsorted(self.facts[2], places)
        images, (labels, flip, _) = self.images.index_select(0, rows), self.facts.index_select(1, rows)
        return torch.where(flip.bool().view(-1, 1, 1, 1), images.flip(3), images), labels

    @property
    def share(self) -> float:
        """Share of this epoch's time so far that was spent waiting for images."""
        return self.waited / max(time.monotonic() - self._began, 1e-9)

    def close(self) -> None:
        """Stop reading ahead."""
        close = getattr(self._crops, "close", None)
        if close is not None:
            close()


class _Slot:
    """Memory in which a step's images wait for the device; on a CUDA device it may be written again once they are there."""

    def __init__(self, shape: tuple[int, int, int, int], device: torch.device) -> None:
        pinned = device.type == "cuda"
        self.images = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        self.facts = torch.zeros(3, shape[0], dtype=torch.int64, pin_memory=pinned)
        self._event = torch.cuda.Event() if pinned else None  # type: ignore[no-untyped-call]

    def sent(self) -> None:
        """The copies to the device are on their way."""
        if self._event is not None:
            self._event.record()

    def settle(self) -> None:
        """Wait until they have arrived."""
        if self._event is not None:
            self._event.synchronize()


@contextmanager
def training_images(
    dataset: Mapping[str, Any],
    *,
    augment: Augment,
    pad: int,
    image_size: int | None,
    device: torch.device,
    source: Callable[[int], torch.Generator],
    weights: Tensor | None,
    roots: Sequence[Path],
    span: Span,
    workers: int,
    rows: int,
) -> Iterator[AugmentedImages | StreamedImages]:
    """The training images of a dataset, whether it holds their pixels or an index of their files.

    Args:
        dataset: the artifact's tensors.
        augment, pad, image_size: a recipe's, of its first stage.
        device, source, weights, rows: see `StreamedImages`.
        roots, workers: see `ImageFiles`.
        span: see `Copy`.
    """
    if not is_index(dataset, "train"):
        check_augment(augment, image_size, files=False)
        pixels, labels = (torch.from_numpy(dataset[f"train.{name}"]).to(device) for name in ("images", "labels"))
        yield AugmentedImages(pixels, labels, augment, pad, source, weights)
        return
    size = check_augment(augment, image_size, files=True)
    with image_files(dataset, "train", roots, span, size, workers) as files:
        images = StreamedImages(files, device, source, weights, rows, augment != "resized-crop")
        try:
            yield images
        finally:
            images.close()


@contextmanager
def image_files(
    dataset: Mapping[str, Any], part: str, roots: Sequence[Path], span: Span, size: int, workers: int
) -> Iterator[ImageFiles]:
    """A part of a dataset that is an index, whether it has a decoded copy or not; see `ImageFiles`."""
    copy = Copy.load(dataset, part, span)
    try:
        yield ImageFiles(Index.load(dataset, part), roots, size, workers, copy)
    finally:
        if copy is not None:
            copy.close()


def is_index(dataset: Mapping[str, Any], part: str) -> bool:
    """Whether a dataset artifact holds an index of files in place of a part's pixels."""
    return f"{part}.paths" in dataset


def check_augment(augment: Augment, image_size: int | None, *, files: bool) -> int:
    """The size of the crops of images of different sizes; 0 for images that are all of one size.

    Raises:
        WbltrError: code "recipe" when the augmentation is the other kind's.
    """
    if files and image_size is None:
        hint = "--set features.augment=resized-crop-flip --set features.image_size=224"
        raise WbltrError(f"features.augment: {augment}: the dataset's images have different sizes", hint, "recipe")
    if not files and image_size is not None:
        hint = "--set features.augment=crop-flip --set features.image_size=null"
        raise WbltrError(f"features.augment: {augment}: the dataset's images have one size already", hint, "recipe")
    return image_size or 0
