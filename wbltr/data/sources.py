"""Known image sets as arrays: scikit-learn's digits and the two CIFARs, each checked against its pinned content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wbltr.data.archives import Tick, locate, not_found, read_members
from wbltr.data.known import CONTENT, DIGITS_CLASS_NAMES, Archive, Member
from wbltr.data.unpickle import unpickle
from wbltr.errors import WbltrError

__all__ = ["Source", "content_digest", "load_cifar", "load_digits", "locate", "not_found"]

SHAPE = (3, 32, 32)  # of a CIFAR image; its bytes lie plane by plane, row by row
PIXELS = 3 * 32 * 32
TEST_DIGITS = 60  # images a class
HINT = "Delete it and download it again by dropping --root, or name another copy with --root DIR."


@dataclass(frozen=True)
class Source:
    """A labelled image set, whole.

    Args:
        train_images: uint8 `(N, C, H, W)`, 0 to 255.
        train_labels: int64 `(N,)`, 0 to the number of classes - 1.
        test_images: as `train_images`.
        test_labels: as `train_labels`.
        class_names: the classes in label order.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    class_names: tuple[str, ...]


def content_digest(source: Source) -> str:
    """SHA-256 of what a source holds, hexadecimal, whatever file it came from.

    The hashed bytes are a first line of JSON, `{"class_names": [...]}` without spaces and in ASCII; then for train_images,
    train_labels, test_images, test_labels in this order a line `<name> <dtype> <shape>`, such as
    `train_images uint8 50000x3x32x32`, and the array's bytes, row-major and little-endian. Lines end in a line feed.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps({"class_names": source.class_names}, separators=(",", ":")).encode() + b"\n")
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        array = np.asarray(getattr(source, name))
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        shape = "x".join(str(size) for size in array.shape)
        digest.update(f"{name} {array.dtype.name} {shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()


def load_digits() -> Source:
    """scikit-learn's handwritten digits: grey images, uint8 `(N, 1, 8, 8)`, 10 classes; 1197 to train, 600 to test.

    A pixel value v of 0 to 16 becomes floor((255 v + 8) / 16), which is 255 v / 16 rounded, halves upwards. The last 60
    images of every class, in file order, are the test part; the rest, in file order, is the train part.

    Raises:
        WbltrError: code `integrity`, where the installed scikit-learn ships other images than the pinned ones.
    """
    from sklearn import __version__
    from sklearn.datasets import load_digits as load

    bunch = load()
    images = ((bunch.data.astype(np.int64) * 255 + 8) // 16).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = bunch.target.astype(np.int64)
    test = np.zeros(len(labels), dtype=bool)
    for label in range(len(DIGITS_CLASS_NAMES)):
        test[np.flatnonzero(labels == label)[-TEST_DIGITS:]] = True
    source = Source(images[~test], labels[~test], images[test], labels[test], DIGITS_CLASS_NAMES)
    hint = "Install the scikit-learn release that an earlier run recorded, or report that this release changed its digits."
    _check_content(source, CONTENT["digits"], f"digits of scikit-learn {__version__}", hint)
    return source


def load_cifar(archive: Archive, location: Path, tick: Tick | None = None) -> Source:
    """An archive of the CIFAR layout as arrays, the same from each of its four forms.

    Args:
        archive: `known.CIFAR10` or `known.CIFAR100`.
        location: the unpacked python or binary folder or either `.tar.gz`, or a folder that holds one of them.
        tick: called every few MiB; may raise to stop.

    Returns:
        Images uint8 `(N, 3, 32, 32)` and labels int64 `(N,)` in file order; CIFAR-100's labels are the fine ones.

    Raises:
        WbltrError: code `missing`, nothing there; code `integrity`, something else than the pinned bytes.
    """
    parts = ("train", "test")
    counts = {part: sum(member.images for member in archive.python.members if member.part == part) for part in parts}
    images = {part: np.empty((count, *SHAPE), dtype=np.uint8) for part, count in counts.items()}
    labels = {part: np.empty(count, dtype=np.int64) for part, count in counts.items()}
    starts = {member: start for form in archive.forms for member, start in _starts(form.members).items()}
    for member, data in read_members(archive, location, tick):
        where = f"{location}: {member.name}"
        pixels, found = _read_batch(archive, member, data, where)
        if len(found) != member.images:
            raise _unexpected(where, f"{member.images} labels", f"{len(found)}")
        if found.min(initial=0) < 0 or found.max(initial=0) >= len(archive.class_names):
            limits = f"labels from 0 to {len(archive.class_names) - 1}"
            raise _unexpected(where, limits, f"{found.min()} to {found.max()}")
        place = slice(starts[member], starts[member] + member.images)
        images[member.part][place] = pixels.reshape(-1, *SHAPE)
        labels[member.part][place] = found
    source = Source(images["train"], labels["train"], images["test"], labels["test"], archive.class_names)
    if archive.content_digest is not None:
        _check_content(source, archive.content_digest, str(location), HINT)
    return source


def _starts(members: tuple[Member, ...]) -> dict[Member, int]:
    """The index of each member's first image within its part."""
    filled = {"train": 0, "test": 0}
    starts = {}
    for member in members:
        starts[member] = filled[member.part]
        filled[member.part] += member.images
    return starts


def _read_batch(archive: Archive, member: Member, data: bytearray, where: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels `(n, 3072)` and labels of one member in either form."""
    if member in archive.binary.members:
        width = archive.label_bytes + PIXELS
        if len(data) != member.images * width:
            raise _unexpected(where, f"{member.images} records of {width} bytes", f"{len(data)} bytes")
        records = np.frombuffer(data, dtype=np.uint8).reshape(member.images, width)
        return records[:, archive.label_bytes :], records[:, archive.label_bytes - 1].astype(np.int64)
    batch = unpickle(data, where)
    pixels, labels = batch.get("data"), batch.get(archive.label_key)
    if not isinstance(pixels, np.ndarray) or pixels.shape != (member.images, PIXELS):
        raise _unexpected(where, f"'data', an array ({member.images}, {PIXELS})", str(getattr(pixels, "shape", "none")))
    if type(labels) is not list or not all(type(label) is int for label in labels):
        raise _unexpected(where, f"'{archive.label_key}', a list of whole numbers", type(labels).__name__)
    return pixels, np.array(labels, dtype=np.int64)


def _check_content(source: Source, expected: str, where: str, hint: str) -> None:
    found = content_digest(source)
    if found != expected:
        raise WbltrError(f"{where}: expected images and labels with digest {expected}, found {found}", hint, "integrity")


def _unexpected(where: str, expected: str, found: str) -> WbltrError:
    return WbltrError(f"{where}: expected {expected}, found {found}", HINT, "integrity")
