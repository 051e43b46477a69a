"""What a file of embeddings holds, whatever its format: tables of rows, their classes, and the parts they are of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from wbltr.data.class_names import alike, ordered
from wbltr.data.layouts import spelt
from wbltr.errors import WbltrError, closest, shown

PARTS = ("train", "val", "test")
BLOCK = 1 << 25  # bytes that are read at once
LARGEST = 1 << 38  # bytes of embeddings
LARGEST_COLUMN = 1 << 30  # bytes of labels, of splits
WIDEST = 1 << 20  # dimensions, columns
MOST_CLASSES = 1 << 20
LONGEST = 1000  # characters of a label
MOST_LETTERS = 0x10FFFF  # the last code point of Unicode; numpy's text may hold more
EXPECTED = "expected embeddings (N, D) and labels (N,), or train_embeddings, train_labels and likewise val_ and test_"

Array = np.ndarray[Any, Any]
Order = Literal["text", "number"]


@dataclass(frozen=True)
class Coded:
    """A column of labels or of parts, each of its values kept once.

    Attributes:
        values: K distinct ones, sorted: all integers, or all text.
        codes: `(N,)` int32: which of them each row has.
    """

    values: Sequence[int] | Sequence[str]
    codes: Array

    @property
    def text(self) -> bool:
        """Whether they are text."""
        return isinstance(self.values[0], str)


class Coder:
    """Gathers a column from blocks of rows; what it keeps is as large as its distinct values and four bytes a row.

    Args:
        where: names the column.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._places: dict[int | str, int] = {}
        self._codes: list[Array] = []

    def add(self, values: Sequence[int] | Sequence[str], places: Array) -> None:
        """The next rows: `places` `(n,)` says which of `values` each has.

        Raises:
            WbltrError: "usage" for more values than there can be classes, and for text that is none.
        """
        for value in values:
            if isinstance(value, str) and value not in self._places:
                if len(value) > LONGEST:
                    told = f"a label of {len(value):,} characters, {shown(value, 40)!r}, is more than is read"
                    raise refused(self._where, told, f"use names of at most {LONGEST:,} characters")
                if not value.isascii() and re.search("[\ud800-\udfff]", value):
                    raise refused(self._where, f"{shown(value, 40)!r} is no Unicode text", "save text: labels.astype(str)")
            self._places.setdefault(value, len(self._places))
        if len(self._places) > MOST_CLASSES:
            told = f"more than {MOST_CLASSES:,} different labels"
            raise refused(self._where, told, "labels name classes, of which rows have the same")
        self._codes.append(np.array([self._places[value] for value in values], np.int32)[places])

    def add_array(self, block: Array) -> None:
        """The next rows as they are: integers or text."""
        found, places = np.unique(block, return_inverse=True)
        if found.dtype.kind == "U":
            letters = np.frombuffer(found.tobytes(), np.dtype("u4").newbyteorder(found.dtype.byteorder))
            if (letters > MOST_LETTERS).any():
                raise refused(self._where, "holds what is no text", "save text: labels.astype(str)")
        self.add(found.tolist(), places)

    def done(self) -> Coded:
        """The whole column; it has a row."""
        values = sorted(self._places)
        place = {value: k for k, value in enumerate(values)}
        rank = np.array([place[value] for value in self._places], np.int32)
        return Coded(cast("Sequence[int] | Sequence[str]", values), rank[np.concatenate(self._codes)])


@dataclass(frozen=True)
class Table:
    """Rows of one file that lie together.

    Attributes:
        where: names the rows in messages.
        shape: N and D.
        blocks: the rows in order, `(n, D)` of any real dtype; reads the file anew.
        labels: of the N rows.
        parts: likewise, as the file has them, or one part for all; None: it says nothing.
        columns: what the dimensions are called, where they have names.
    """

    where: str
    shape: tuple[int, int]
    blocks: Callable[[], Iterator[Array]]
    labels: Coded
    parts: Coded | str | None
    columns: tuple[str, ...] = ()


def refused(where: str, why: str, hint: str = "") -> WbltrError:
    """What is wrong with a file, and where."""
    return WbltrError(f"{where}: {why}", hint or EXPECTED, "usage")


def damaged(where: object, error: Exception, hint: str = "save it again") -> WbltrError:
    """A file that cannot be read, and what its library says of it, on one line that holds nothing but what prints."""
    told = " ".join(str(error).split()) or type(error).__name__
    return WbltrError(f"{where}: cannot be read: {shown(told, 500)}", hint, "integrity")


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
        named: whether the file says itself which classes there are, and in which order.
    """

    tables: Sequence[Table]
    labels: Array
    class_names: Sequence[str]
    parts: Array
    named: bool = False


def assembled(tables: Sequence[Table], names: Sequence[str] | None, order: Order = "text") -> OwnEmbeddings:
    """Tables as one set.

    Args:
        names: of the classes; None: the labels are these names.
        order: in which text labels count, where there are no names.

    Raises:
        WbltrError: "usage" for tables that do not fit together, and for labels that are no classes.
    """
    first, *others = tables
    for other in others:
        if other.shape[1] != first.shape[1]:
            why = f"{other.shape[1]} dimensions, {first.where} has {first.shape[1]}"
            raise refused(other.where, why, "embed all parts with one network")
        if other.labels.text != first.labels.text:
            kinds = ["text" if table.labels.text else "integers" for table in (other, first)]
            raise refused(other.where, f"its labels are {kinds[0]}, those of {first.where} {kinds[1]}", "save both alike")
    class_of, class_names = _classes(first, {value for table in tables for value in table.labels.values}, names, order)
    labels = [np.array([class_of[value] for value in table.labels.values], np.int64)[table.labels.codes] for table in tables]
    parts = np.concatenate([_parts(table) for table in tables])
    return OwnEmbeddings(tables, np.concatenate(labels), class_names, parts, names is not None)


def _parts(table: Table) -> Array:
    """`(N,)` train, val, test or nothing."""
    if table.parts is None or isinstance(table.parts, str):
        return np.full(len(table.labels.codes), table.parts or "", "<U5")
    spelled = [spelt(str(text)) for text in table.parts.values]
    meant = ["" if others else part for part, others in spelled]
    for place, (text, word) in enumerate(zip(table.parts.values, meant, strict=True)):
        if not word:
            row = int(np.argmax(table.parts.codes == place))
            hint = "one of train, val, test" + ("" if table.parts.text else ": numpy.where(split == 0, 'train', 'test')")
            raise refused(table.where, f"row {row} (counted from 0): split {shown(str(text))!r}", hint)
    chosen: Array = np.array(meant, "<U5")[table.parts.codes]
    return chosen


def _classes(
    first: Table, found: set[int | str], names: Sequence[str] | None, order: Order
) -> tuple[dict[int | str, int], list[str]]:
    """Which class each label is, and the classes' names."""
    where = first.where
    if names is not None:
        _refuse_alike(where, names)
        classes = list(names)
        class_of: dict[int | str, int] = {name: k for k, name in enumerate(names)} if first.labels.text else {}
        for label in sorted(found, key=str) if first.labels.text else sorted(cast("set[int]", found)):
            if isinstance(label, str) and label not in class_of:
                raise refused(where, f"label {shown(label)!r} is not among class_names.{closest(label, classes)}", "add it")
            if isinstance(label, int) and not 0 <= label < len(names):
                hint = "labels count them from 0" + (": save labels - 1" if min(cast("set[int]", found)) == 1 else "")
                raise refused(where, f"label {label}, but class_names has {len(names)} names", hint)
            class_of.setdefault(label, cast("int", label))
    else:
        values: Sequence[int | str] = (
            ordered(cast("set[str]", found), order) if first.labels.text else sorted(cast("set[int]", found))
        )
        classes = [str(value) for value in values]
        if first.labels.text:
            _refuse_alike(where, classes)
        class_of = {value: k for k, value in enumerate(values)}
    if len(classes) < 2:
        raise refused(where, f"only one class: {shown(classes[0])!r}", "a classifier needs two or more")
    return class_of, classes


def _refuse_alike(where: str, names: Sequence[str]) -> None:
    """Names that nobody can tell apart, and empty ones."""
    if (empty := next((name for name in names if not name.strip()), None)) is not None:
        raise refused(where, f"a label is empty: {empty!r}", "give every row a label")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise refused(where, f"class_names has {shown(twice)!r} more than once", "name every class once")
    if (pair := alike(names)) is not None:
        told = f"labels {shown(pair[0])!r} and {shown(pair[1])!r} differ in {pair[2]}"
        raise refused(where, told, "write one of them everywhere")
