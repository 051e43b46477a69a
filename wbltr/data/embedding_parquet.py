"""Embeddings of one's own in a `.parquet` file, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wbltr.data.embedding_tables import BLOCK, LARGEST_COLUMN, WIDEST, Array, Table, check_size, refused
from wbltr.errors import WbltrError


def parquet_table(path: Path) -> Table:
    """Columns `label` and perhaps `split`, and either one column `embedding` of lists or columns of numbers."""
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        hint = "install it: pip install 'wbltr[parquet]'"
        raise WbltrError(f"{path}: to read parquet files, pyarrow is needed", hint, "missing") from None
    expected = "expected the columns label, perhaps split, and embedding (lists) or columns of numbers"
    try:
        file = parquet.ParquetFile(path, memory_map=True)
    except (arrow.ArrowException, OSError) as error:
        raise WbltrError(f"{path}: cannot be read: {str(error).splitlines()[0]}", "save it again", "integrity") from None
    with file:
        schema, count = file.schema_arrow, file.metadata.num_rows
        if len(schema.names) > WIDEST:
            raise refused(str(path), f"{len(schema.names):,} columns are more than is read", expected)
        label = next((name for name in ("label", "labels") if name in schema.names), None)
        listed = next((name for name in ("embedding", "embeddings") if name in schema.names), None)
        if label is None:
            raise refused(str(path), "has no column label", expected)
        split = "split" if "split" in schema.names else None
        columns = [listed] if listed else [name for name in schema.names if name not in (label, split)]
        odd = [name for name in columns if not listed and not _is_number(schema.field(name).type)]
        if odd or not columns or not count:
            why = f"column {odd[0]!r} holds no numbers" if odd else "there is nothing in it"
            raise refused(str(path), why, expected)
        wanted = [name for name in (label, split) if name]
        if sum(_column_bytes(file, name) for name in wanted) > LARGEST_COLUMN:
            raise refused(str(path), f"{' and '.join(wanted)} are more than is read", "use shorter names")
        told = {name: _texts_or_integers(path, name, file.read([name]).column(0)) for name in wanted}
    dimensions = len(columns)
    blocks = _ParquetBlocks(path, tuple(columns), bool(listed))
    if listed:
        dimensions = next(iter(blocks())).shape[1]
    check_size(str(path), count, dimensions, np.dtype(np.float32))
    return Table(str(path), (count, dimensions), blocks, told[label], told.get("split"))


def _is_number(kind: Any) -> bool:
    import pyarrow as arrow

    return bool(arrow.types.is_floating(kind) or arrow.types.is_integer(kind))


def _column_bytes(file: Any, name: str) -> int:
    """Uncompressed size of a flat column."""
    place = file.schema_arrow.names.index(name) if len(file.schema_arrow.names) == file.metadata.num_columns else None
    if place is None:
        place = next(i for i in range(file.metadata.num_columns) if file.schema.column(i).path == name)
    groups = range(file.metadata.num_row_groups)
    return sum(file.metadata.row_group(group).column(place).total_uncompressed_size for group in groups)


def _texts_or_integers(path: Path, name: str, column: Any) -> Array:
    """A column as `(N,)` integers or text."""
    import pyarrow as arrow

    if arrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count:
        row = column.to_pylist().index(None)
        raise refused(f"{path}: {name}", f"row {row} (counted from 0) has none", "give every row a label")
    if arrow.types.is_integer(column.type):
        found: Array = column.to_numpy()
        return found
    if not (arrow.types.is_string(column.type) or arrow.types.is_large_string(column.type)):
        raise refused(f"{path}: {name}", f"expected integers or text, found {column.type}", "save integers or text")
    return np.array(column.to_pylist(), dtype=str)


@dataclass(frozen=True)
class _ParquetBlocks:
    """Rows of a parquet file's embeddings, some at a time."""

    path: Path
    columns: tuple[str, ...]
    listed: bool

    def __call__(self) -> Iterator[Array]:
        import pyarrow as arrow
        import pyarrow.parquet as parquet

        first, dimensions = 0, None
        try:
            with parquet.ParquetFile(self.path, memory_map=True) as file:
                rows = 8192 if self.listed else max(1, BLOCK // (8 * len(self.columns)))
                for batch in file.iter_batches(rows, columns=list(self.columns)):
                    if self.listed:
                        dimensions = dimensions or len(batch.column(0)[0] or [])
                        yield self._lists(batch.column(0), first, dimensions)
                    else:
                        yield np.stack([column.to_numpy(zero_copy_only=False) for column in batch.columns], 1)
                    first += len(batch)
        except (arrow.ArrowException, OSError) as error:
            told = str(error).splitlines()[0]
            raise WbltrError(f"{self.path}: cannot be read: {told}", "save it again", "integrity") from None

    def _lists(self, column: Any, first: int, dimensions: int) -> Array:
        import pyarrow.compute as compute

        lengths = compute.list_value_length(column).to_numpy(zero_copy_only=False)
        if (wrong := np.flatnonzero(lengths != dimensions)).size:
            row = int(wrong[0])
            found = "none" if np.isnan(lengths[row]) else f"{int(lengths[row])}"
            why = f"row {first + row} (counted from 0) has {found} dimensions, the first row has {dimensions}"
            raise refused(str(self.path), why, "give every row as many")
        values: Array = column.flatten().to_numpy(zero_copy_only=False)
        return values.reshape(len(column), dimensions)
