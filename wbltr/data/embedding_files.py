"""Embeddings of one's own: `.npz`, `.safetensors` and `.parquet` files as tables that are read a block of rows at a time.

A file has `embeddings` `(N, D)` and `labels` `(N,)`, perhaps `split` `(N,)`; or `train_embeddings`, `train_labels`, likewise
`val_` and `test_`. Perhaps also `class_names` `(C,)`, which labels that are numbers count from 0.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from wbltr.data.embedding_tables import (
    BLOCK,
    LARGEST_COLUMN,
    PARTS,
    Array,
    OwnEmbeddings,
    Table,
    assembled,
    check_size,
    refused,
)
from wbltr.errors import WbltrError

LONGEST = 1000  # characters of a label


@dataclass(frozen=True)
class _Member:
    """An array of a file before it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    blocks: Callable[[int], Iterator[Array]]  # of so many rows

    @property
    def row_bytes(self) -> int:
        return max(1, self.dtype.itemsize * math.prod(self.shape[1:]))

    def whole(self) -> Array:
        """All of it."""
        return np.concatenate([np.empty((0, *self.shape[1:]), self.dtype), *self.blocks(max(1, self.shape[0]))])


def read_tables(path: Path) -> tuple[list[Table], list[str] | None]:
    """The tables of a file and its class names, if it has any. Labels and splits are read, embeddings are not.

    Raises:
        WbltrError: "missing" where there is no such file, "integrity" for a damaged one, "usage" for one of another form.
    """
    if not path.is_file():
        raise WbltrError(f"{path}: no such file", "name a .npz, .safetensors or .parquet file", "missing")
    match path.suffix.lower():
        case ".npz":
            members = _npz_members(path)
        case ".safetensors":
            members = _safetensors_members(path)
        case ".parquet":
            from wbltr.data.embedding_parquet import parquet_table

            return [parquet_table(path)], None
        case other:
            raise refused(str(path), f"files '{other}' are not read", "write .npz, .safetensors or .parquet")
    names = _class_names(path, members)
    prefixes = [part for part in PARTS if f"{part}_embeddings" in members]
    if ("embeddings" in members) == bool(prefixes):
        raise refused(str(path), f"holds {', '.join(sorted(members)[:10]) or 'nothing'}")
    return [_table(path, members, part) for part in prefixes or [""]], names


def _table(path: Path, members: Mapping[str, _Member], part: str) -> Table:
    """One table of a file of arrays."""
    name = f"{part}_embeddings" if part else "embeddings"
    label_name = f"{part}_labels" if part else "labels"
    where, rows = f"{path}: {name}", members[name]
    if len(rows.shape) != 2:
        raise refused(where, f"expected (N, D), found the shape {rows.shape}")
    count, dimensions = rows.shape
    check_size(where, count, dimensions, rows.dtype)
    if label_name not in members:
        raise refused(str(path), f"has {name}, but no {label_name}")
    labels = _column(f"{path}: {label_name}", members[label_name], count)
    parts: Array | str | None = part or None
    if not part and "split" in members:
        parts = _column(f"{path}: split", members["split"], count)
    return Table(where, (count, dimensions), lambda: rows.blocks(max(1, BLOCK // rows.row_bytes)), labels, parts)


def _column(where: str, member: _Member, count: int) -> Array:
    """Labels or splits, `(N,)`."""
    if member.shape != (count,):
        raise refused(where, f"expected one a row of {count:,}, found the shape {member.shape}", "give every row a label")
    if member.dtype.kind not in "iuUS":
        hint = "save integers or text: labels.astype(str)"
        raise refused(where, f"expected integers or text, found {member.dtype}", hint)
    if member.dtype.itemsize > 4 * LONGEST or member.row_bytes * count > LARGEST_COLUMN:
        raise refused(where, f"{member.row_bytes * count:,} bytes are more than is read", "use shorter names")
    found = member.whole()
    try:
        return np.char.decode(found, "utf-8") if found.dtype.kind == "S" else found
    except UnicodeDecodeError:
        raise refused(where, "not UTF-8 text", "save text: labels.astype(str)") from None


def _class_names(path: Path, members: Mapping[str, _Member]) -> list[str] | None:
    """`class_names` as text, or as the UTF-8 bytes of a JSON list, since safetensors has no text."""
    member = members.get("class_names")
    if member is None:
        return None
    where = f"{path}: class_names"
    if len(member.shape) != 1 or member.row_bytes * member.shape[0] > LARGEST_COLUMN:
        raise refused(where, f"expected (C,), found the shape {member.shape}")
    if member.dtype != np.uint8:
        return [str(name) for name in _column(where, member, member.shape[0])]
    try:
        found = json.loads(bytes(member.whole()))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise refused(where, "expected text, or the bytes of a JSON list of names")
    return found


# npz


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise WbltrError(f"{path}: cannot be read: {error}", "save it again: numpy.savez(...)", "integrity") from None


def _npz_members(path: Path) -> dict[str, _Member]:
    """The arrays of an `.npz` by their headers. Nothing is unpickled; what a header promises has to be what the file has."""
    found = {}
    with _damage_told(path), zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name not in _KNOWN:
                continue
            with archive.open(info) as file:
                shape, fortran, dtype = _npy_header(file)
                begin = file.tell()
            if dtype.hasobject:
                hint = "save numbers or text: array.astype(str)"
                raise refused(f"{path}: {name}", "holds pickled Python objects, which are not read", hint)
            if fortran and len(shape) > 1:
                raise refused(f"{path}: {name}", "lies in Fortran order", "save numpy.ascontiguousarray(array)")
            if begin + dtype.itemsize * math.prod(shape) != info.file_size:
                raise ValueError(f"{name} is cut short")
            found[name] = _Member(shape, dtype, _NpyBlocks(path, info.filename, begin, shape, dtype))
    return found


_KNOWN = {f"{part}{name}" for part in ("", *(f"{p}_" for p in PARTS)) for name in ("embeddings", "labels")}
_KNOWN |= {"split", "class_names"}


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"an array of format {version}")


@dataclass(frozen=True)
class _NpyBlocks:
    """Rows of an array in an `.npz`, some at a time."""

    path: Path
    name: str
    begin: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __call__(self, rows: int) -> Iterator[Array]:
        one = self.dtype.itemsize * math.prod(self.shape[1:])
        with _damage_told(self.path), zipfile.ZipFile(self.path) as archive, archive.open(self.name) as file:
            file.read(self.begin)
            for first in range(0, self.shape[0], rows):
                count = min(rows, self.shape[0] - first)
                data = file.read(count * one)
                if len(data) != count * one:
                    raise EOFError(f"{self.name} is cut short")
                yield np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])


# safetensors


def _safetensors_members(path: Path) -> dict[str, _Member]:
    from safetensors import SafetensorError, safe_open

    types = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "U8": np.uint8, "I8": np.int8, "U16": np.uint16}
    types |= {"I16": np.int16, "I32": np.int32, "U32": np.uint32, "I64": np.int64, "U64": np.uint64}
    found: dict[str, _Member] = {}
    try:
        with safe_open(path, framework="np") as file:
            for name in sorted(_KNOWN & set(file.keys())):
                piece = file.get_slice(name)
                if piece.get_dtype() not in types:
                    raise refused(f"{path}: {name}", f"numbers of type {piece.get_dtype()} are not read", "save it as float32")
                shape = tuple(piece.get_shape())
                found[name] = _Member(shape, np.dtype(types[piece.get_dtype()]), _Slices(path, name, shape))
    except SafetensorError as error:
        raise WbltrError(f"{path}: cannot be read: {error}", "save it again", "integrity") from None
    return found


@dataclass(frozen=True)
class _Slices:
    """Rows of a tensor in a `.safetensors` file, some at a time."""

    path: Path
    name: str
    shape: tuple[int, ...]

    def __call__(self, rows: int) -> Iterator[Array]:
        from safetensors import safe_open

        with safe_open(self.path, framework="np") as file:
            piece = file.get_slice(self.name)
            for first in range(0, self.shape[0], rows):
                yield piece[first : min(first + rows, self.shape[0])]


def look(path: Path) -> OwnEmbeddings:
    """What a file holds; raises as `read_tables` and `assembled` do."""
    return assembled(*read_tables(path))
