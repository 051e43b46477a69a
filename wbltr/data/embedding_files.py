"""Embeddings of one's own: `.npz`, `.safetensors` and `.parquet` files as tables that are read a block of rows at a time.

A file has `embeddings` `(N, D)` and `labels` `(N,)`, perhaps `split` `(N,)`; or `train_embeddings`, `train_labels`, likewise
`val_` and `test_`. Perhaps also `class_names` `(C,)`, which labels that are numbers count from 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wbltr.data.embedding_hints import elsewhere, hint_of_labels, hint_of_shape, other_names
from wbltr.data.embedding_tables import (
    BLOCK,
    LARGEST_COLUMN,
    LONGEST,
    MOST_CLASSES,
    PARTS,
    Array,
    Coded,
    Coder,
    Order,
    OwnEmbeddings,
    Table,
    assembled,
    check_size,
    refused,
)
from wbltr.data.layouts import PART_OF
from wbltr.errors import WbltrError, shown

# The arrays that are read.
KNOWN = {f"{part}{name}" for part in ("", *(f"{p}_" for p in PARTS)) for name in ("embeddings", "labels")}
KNOWN |= {"split", "class_names"}
LARGEST_LIST = 1 << 25  # bytes of class names as JSON


@dataclass(frozen=True)
class Member:
    """An array of a file before it is read.

    Attributes:
        problem: why it cannot be read, and what to do, where its header says so.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    blocks: Callable[[int], Iterator[Array]]  # of so many rows
    problem: tuple[str, str] | None = None

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return max(1, self.dtype.itemsize * math.prod(self.shape[1:]))

    @property
    def size(self) -> int:
        """Bytes of all."""
        return self.row_bytes * self.shape[0] if self.shape else self.dtype.itemsize

    def in_blocks(self) -> Iterator[Array]:
        """All of it, some rows at a time."""
        return self.blocks(max(1, BLOCK // self.row_bytes))


def read_tables(path: Path, columns: Sequence[str] | None = None) -> tuple[list[Table], list[str] | None]:
    """The tables of a file and its class names, if it has any. Labels and splits are read, embeddings are not.

    Args:
        columns: of a parquet file, those that are the embeddings; None: every column of numbers, as it was at first.

    Raises:
        WbltrError: "missing" where there is no such file, "integrity" for a damaged one, "usage" for one of another form.
    """
    if not path.is_file():
        raise elsewhere(path)
    suffix = path.suffix.lower()
    if columns is not None and suffix in (".npz", ".safetensors"):
        raise refused(str(path), "has arrays, no columns", "leave out --columns and --drop, or dataset.columns: null")
    match suffix:
        case ".npz":
            from wbltr.data.embedding_npz import npz_members

            members = npz_members(path)
        case ".safetensors":
            from wbltr.data.embedding_safetensors import safetensors_members

            members = safetensors_members(path)
        case ".parquet":
            from wbltr.data.embedding_parquet import parquet_table

            return [parquet_table(path, columns)], None
        case other:
            raise other_ending(path, other)
    prefixes = [part for part in PARTS if f"{part}_embeddings" in members]
    if ("embeddings" in members) == bool(prefixes):
        raise other_names(path, members)
    for name in members:  # of a part in other words
        word = name.removesuffix("_embeddings").lower()
        if name not in KNOWN and name.endswith("_embeddings") and word in PART_OF:
            raise other_names(path, members, f"{name} is not read, but {PART_OF[word]}_embeddings is")
    names = _class_names(path, members)
    return [_table(path, members, part) for part in prefixes or [""]], names


def other_ending(path: Path, ending: str) -> WbltrError:
    """A file of another kind, and how it becomes one that is read."""
    place = str(path.with_suffix(".npz").name)
    ways = {
        ".npy": f"beside its labels: numpy.savez({place!r}, embeddings=numpy.load({path.name!r}), labels=labels)",
        ".csv": f"pandas.read_csv({path.name!r}).to_parquet({path.with_suffix('.parquet').name!r})",
        ".tsv": f"pandas.read_csv({path.name!r}, sep='\\t').to_parquet({path.with_suffix('.parquet').name!r})",
        ".pt": f"numpy.savez({place!r}, embeddings=embeddings.float().numpy(), labels=labels.numpy())",
    }
    ways |= {".pth": ways[".pt"]}
    return refused(str(path), f"files {shown(ending)!r} are not read", ways.get(ending, "write .npz, .safetensors or .parquet"))


def _readable(where: str, member: Member) -> None:
    if member.problem is not None:
        raise refused(where, *member.problem)


def _table(path: Path, members: Mapping[str, Member], part: str) -> Table:
    """One table of a file of arrays."""
    name = f"{part}_embeddings" if part else "embeddings"
    label_name = f"{part}_labels" if part else "labels"
    where, rows = f"{path}: {name}", members[name]
    _readable(where, rows)
    if len(rows.shape) != 2:
        raise refused(where, f"expected (N, D), found the shape {rows.shape}", hint_of_shape(name, rows.shape))
    count, dimensions = rows.shape
    check_size(where, count, dimensions, rows.dtype)
    if label_name not in members:
        raise other_names(path, members, f"has {name}, but no {label_name}")
    labels = _column(f"{path}: {label_name}", label_name, members[label_name], count)
    parts: Coded | str | None = part or None
    if not part and "split" in members:
        parts = _column(f"{path}: split", "split", members["split"], count)
    return Table(where, (count, dimensions), rows.in_blocks, labels, parts)


def _column(where: str, name: str, member: Member, count: int) -> Coded:
    """Labels or splits of so many rows."""
    _readable(where, member)
    if member.shape != (count,):
        hint = hint_of_labels(name, member, count)
        raise refused(where, f"expected one a row of {count:,}, found the shape {member.shape}", hint)
    if member.dtype.kind not in "iuUS":
        raise refused(where, f"expected integers or text, found {member.dtype}", hint_of_labels(name, member, count))
    _bounded(where, member)
    coder = Coder(where)
    for block in member.in_blocks():
        coder.add_array(_text(where, block))
    return coder.done()


def _bounded(where: str, member: Member) -> None:
    if not member.dtype.itemsize:
        raise refused(where, "a label is empty: ''", "give every row a label")
    if member.dtype.itemsize > 4 * LONGEST or member.size > LARGEST_COLUMN:
        raise refused(where, f"{member.size:,} bytes are more than is read", "use shorter names")


def _text(where: str, block: Array) -> Array:
    """Bytes as text; integers and text as they are."""
    try:
        return np.char.decode(block, "utf-8") if block.dtype.kind == "S" else block
    except UnicodeDecodeError:
        raise refused(where, "not UTF-8 text", "save text: labels.astype(str)") from None


def _class_names(path: Path, members: Mapping[str, Member]) -> list[str] | None:
    """`class_names` as text, or as the UTF-8 bytes of a JSON list, since safetensors has no text."""
    member = members.get("class_names")
    if member is None:
        return None
    where = f"{path}: class_names"
    _readable(where, member)
    if len(member.shape) != 1:
        raise refused(where, f"expected (C,), found the shape {member.shape}", "give every class one name")
    most = LARGEST_LIST if member.dtype == np.uint8 else MOST_CLASSES
    if member.shape[0] > most:
        raise refused(where, f"{member.shape[0]:,} of them are more than is read", "name the classes, not the rows")
    if not member.shape[0]:
        raise refused(where, "is empty", "leave it out, or name the classes")
    if member.dtype != np.uint8:
        if member.dtype.kind not in "iuUS":
            raise refused(where, f"expected text, found {member.dtype}", "save text: class_names.astype(str)")
        _bounded(where, member)
        coder, names = Coder(where), list[str]()
        for block in member.in_blocks():
            coder.add_array(text := _text(where, block))  # what is no text is refused there
            names += map(str, text.tolist())
        return names
    try:
        found = json.loads(b"".join(block.tobytes() for block in member.in_blocks()))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise refused(
            where, "expected text, or the bytes of a JSON list of names", "numpy.frombuffer(json.dumps(names).encode(), 'u1')"
        )
    Coder(where).add(found, np.arange(len(found)))
    return found


def look(path: Path, columns: Sequence[str] | None = None, order: Order = "text") -> OwnEmbeddings:
    """What a file holds; takes what `read_tables` and `assembled` take, and raises as they do."""
    return assembled(*read_tables(path, columns), order)
