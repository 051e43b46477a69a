"""What a file of embeddings holds, whatever its format: tables of rows, their classes, and the parts they are of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wbltr.errors import WbltrError, closest, shown

PARTS = ("train", "val", "test")
ALSO = {"valid": "val", "validation": "val"}
BLOCK = 1 << 25  # bytes that are read at once
LARGEST = 1 << 38  # bytes of embeddings
LARGEST_COLUMN = 1 << 30  # bytes of labels, of splits
WIDEST = 1 << 20  # dimensions, columns
EXPECTED = "expected embeddings (N, D) and labels (N,), or train_embeddings, train_labels and likewise val_ and test_"

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Table:
    """Rows of one file that lie together.

    Attributes:
        where: names the rows in messages.
        shape: N and D.
        blocks: the rows in order, `(n, D)` of any real dtype; reads the file anew.
        labels: `(N,)` integers or text.
        parts: `(N,)` text as the file has it, or one part for all; None: it says nothing.
    """

    where: str
    shape: tuple[int, int]
    blocks: Callable[[], Iterator[Array]]
    labels: Array
    parts: Array | str | None


def refused(where: str, why: str, hint: str = "") -> WbltrError:
    """What is wrong with a file, and where."""
    return WbltrError(f"{where}: {why}", hint or EXPECTED, "usage")


def check_size(where: str, count: int, dimensions: int, dtype: np.dtype[Any]) -> None:
    """Refuse what is empty, too large, or no numbers; nothing of it has been read yet."""
    if not count or not dimensions:
        raise refused(where, f"nothing in it: the shape is ({count}, {dimensions})")
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise refused(where, f"expected numbers in 64 bits or fewer, found {dtype}", "save it as float32")
    if dimensions > WIDEST or count * dimensions * 4 > LARGEST:
        raise refused(where, f"{count:,} rows of {dimensions:,} dimensions are more than is read", "bring fewer")


@dataclass(frozen=True)
class OwnEmbeddings:
    """A file's rows, the tables one after another.

    Attributes:
        tables: whose embeddings are still to be read.
        labels: `(N,)` int64.
        class_names: C, in label order.
        parts: `(N,)` text: train, val or test, or nothing where the file does not say.
    """

    tables: Sequence[Table]
    labels: Array
    class_names: Sequence[str]
    parts: Array


def assembled(tables: Sequence[Table], names: Sequence[str] | None) -> OwnEmbeddings:
    """Tables as one set.

    Args:
        names: of the classes; None: the labels are these names.

    Raises:
        WbltrError: "usage" for tables that do not fit together, and for labels that are no classes.
    """
    first, *others = tables
    for other in others:
        if other.shape[1] != first.shape[1]:
            why = f"{other.shape[1]} dimensions, {first.where} has {first.shape[1]}"
            raise refused(other.where, why, "embed all parts with one network")
        if (other.labels.dtype.kind == "U") != (first.labels.dtype.kind == "U"):
            raise refused(other.where, f"its labels are {other.labels.dtype}, those of {first.where} {first.labels.dtype}")
    labels = np.concatenate([table.labels for table in tables])
    if labels.dtype.kind == "f":  # what NumPy makes of int64 beside uint64
        labels = np.concatenate([table.labels.astype(np.int64) for table in tables])
    numbers, class_names = _classes(first.where, labels, names)
    return OwnEmbeddings(tables, numbers, class_names, np.concatenate([_parts(table) for table in tables]))


def _parts(table: Table) -> Array:
    """`(N,)` train, val, test or nothing."""
    if table.parts is None or isinstance(table.parts, str):
        return np.full(len(table.labels), table.parts or "", "<U5")
    found, places = np.unique(table.parts.astype(str), return_inverse=True)
    meant = [ALSO.get(word, word) for word in (str(text).strip().lower() for text in found)]
    for text, word in zip(found, meant, strict=True):
        if word not in PARTS:
            row = int(np.flatnonzero(table.parts == table.parts.dtype.type(text))[0])
            raise refused(table.where, f"row {row} (counted from 0): split {shown(str(text))!r}", "one of train, val, test")
    chosen: Array = np.array(meant, "<U5")[places]
    return chosen


def _classes(where: str, labels: Array, names: Sequence[str] | None) -> tuple[Array, list[str]]:
    """Class numbers `(N,)` int64 and the classes' names."""
    found, numbers = np.unique(labels, return_inverse=True)
    texts = [str(value) for value in found]
    if names is None:
        _refuse_alike(where, texts)
    elif labels.dtype.kind == "U":
        _refuse_alike(where, names)
        for text in texts:
            if text not in names:
                raise refused(where, f"label {shown(text)!r} is not among class_names.{closest(text, list(names))}", "add it")
        numbers = np.array([list(names).index(text) for text in texts])[numbers]
    else:
        _refuse_alike(where, names)
        if found[0] < 0 or found[-1] >= len(names):
            wrong = found[0] if found[0] < 0 else found[-1]
            raise refused(where, f"label {wrong}, but class_names has {len(names)} names", "labels count them from 0")
        numbers = labels
    classes = texts if names is None else list(names)
    if len(classes) < 2:
        raise refused(where, f"only one class: {shown(classes[0])!r}", "a classifier needs two or more")
    return numbers.astype(np.int64), classes


def _refuse_alike(where: str, names: Sequence[str]) -> None:
    """Names that nobody can tell apart, and empty ones."""
    seen: dict[str, str] = {}
    for name in names:
        plain = " ".join(name.split()).casefold()
        if not plain:
            raise refused(where, f"a label is empty: {name!r}", "give every row a label")
        if plain in seen:
            told = f"labels {shown(seen[plain])!r} and {shown(name)!r} differ in case or blanks alone"
            raise refused(where, told, "write one of them everywhere")
        seen[plain] = name
