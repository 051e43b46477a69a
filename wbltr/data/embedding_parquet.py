"""Embeddings of one's own in a `.parquet` file: its columns as a schema, and a block of rows at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wbltr.data.embedding_columns import LISTS, MOST_NAMED, Choice, Column, choose, flag, listed, refused_beside
from wbltr.data.embedding_tables import (
    BLOCK,
    LARGEST_COLUMN,
    WIDEST,
    Array,
    Coded,
    Coder,
    Table,
    check_size,
    damaged,
    refused,
)
from wbltr.errors import WbltrError, closest, shown

EXPECTED = "expected the columns label, perhaps split, and embedding (lists) or columns of numbers"
LABELS = ("label", "labels")
OTHER_LABELS = re.compile(r"label.*|target.*|y|class(_?name)?|classes|species|category", re.IGNORECASE)
ROWS = 8192  # of lists, at once at the most
CHECKED = 4096  # rows that are looked at first, for columns that go with the labels
LEAST_EVIDENCE = 3  # rows more than classes: with fewer, any column goes with the labels
TABLE_BYTES = 1 << 28  # of values by class, for such columns
BOMB = 1 << 30  # bytes of lists from which on they may not be a thousand times the file
PIECE = 1 << 26  # the same of a piece as it is encoded, which is read whole
TIMES = 1000
TIMES_TEXT = 100  # of labels, beside which embeddings stand


@dataclass(frozen=True)
class _Opened:
    """A file whose label column is there.

    Attributes:
        file: a `pyarrow.parquet.ParquetFile`.
        columns: of the top level.
        own: label, and split where there is one.
    """

    path: Path
    file: Any
    columns: list[Column]
    own: list[str]

    @property
    def count(self) -> int:
        """Rows."""
        return int(self.file.metadata.num_rows)


@contextmanager
def _opened(path: Path) -> Iterator[_Opened]:
    """The file; whatever Arrow makes of a stranger's bytes is told as one line."""
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        hint = "install it: pip install 'wbltr[parquet]'"
        raise WbltrError(f"{path}: to read parquet files, pyarrow is needed", hint, "missing") from None
    try:
        metadata = parquet.read_metadata(path, memory_map=True)
        if metadata.num_columns > WIDEST:
            raise refused(str(path), f"{metadata.num_columns:,} columns are more than is read", EXPECTED)
        flat = {metadata.schema.column(k).path for k in range(metadata.num_columns)}
        coded = [name for name in (*LABELS, "split") if name in flat]  # their texts are read once each
        with parquet.ParquetFile(path, metadata=metadata, memory_map=True, read_dictionary=coded) as file:
            schema = file.schema_arrow
            indices = _pandas_indices(schema.metadata or {})
            columns = [_column(field.name, field.type, field.name in indices) for field in schema]
            names = [column.name for column in columns]
            label = next((name for name in LABELS if name in names), None)
            if label is None:
                near = next((name for name in names if OTHER_LABELS.fullmatch(name.strip())), None)
                hint = f"rename it: df.rename(columns={{{near!r}: 'label'}})" if near else EXPECTED
                raise refused(str(path), f"has no column label; it has {listed(names) or 'none'}", hint)
            own = [label, *(["split"] if "split" in names else [])]
            if twice := next((name for name in own if names.count(name) > 1), None):
                raise refused(str(path), f"more than one column is called {twice!r}", "give each a name of its own")
            if not file.metadata.num_rows:
                raise refused(str(path), "there is nothing in it", EXPECTED)
            yield _Opened(path, file, columns, own)
    except (arrow.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError, RecursionError) as error:
        raise damaged(path, error) from None


def _pandas_indices(metadata: dict[bytes, bytes]) -> set[str]:
    """The columns that pandas wrote as its index."""
    try:
        told = json.loads(metadata.get(b"pandas", b"{}")).get("index_columns", [])
        return {name for name in told if isinstance(name, str)}
    except (ValueError, AttributeError, TypeError, RecursionError):
        return set()


def _column(name: str, kind: Any, index: bool) -> Column:
    import pyarrow as arrow

    of = arrow.types
    inner = getattr(kind, "storage_type", kind)
    if of.is_floating(inner):
        return Column(name, "float", str(kind), index)
    if of.is_integer(inner):
        return Column(name, "integer", str(kind), index)
    lists = of.is_list(inner) or of.is_large_list(inner) or of.is_fixed_size_list(inner)
    numbers = lists and (of.is_floating(inner.value_type) or of.is_integer(inner.value_type))
    return Column(name, "list" if numbers else "other", str(kind)[:200], index)


def columns_of(path: Path, asked: Sequence[str] = (), drop: Sequence[str] = ()) -> Choice:
    """Which columns of a file are its embeddings.

    Raises:
        WbltrError: what `wbltr.data.embedding_columns.choose` raises; "usage" for columns that tell the label, by name.
    """
    with _opened(path) as opened:
        choice = choose(str(path), opened.columns, opened.own, asked, drop)
        if not choice.sure:
            _refuse_telling(opened, choice)
        if len(choice.taken) > MOST_NAMED and choice.taken != first_rule(opened.columns, opened.own):
            told = f"{len(choice.taken):,} columns are more than a recipe names"
            raise refused(str(path), told, "save them as one column of lists, embedding")
        return choice


def first_rule(columns: Sequence[Column], own: Sequence[str]) -> tuple[str, ...]:
    """What a recipe without `dataset.columns` means: the list column by its name, or every other column."""
    names = [column.name for column in columns]
    by_name = next((name for name in LISTS if name in names), None)
    return (by_name,) if by_name else tuple(name for name in names if name not in own)


def departure(path: Path) -> str:
    """For a recipe without `dataset.columns`: what is read, where it is not what is chosen today; else nothing."""
    with _opened(path) as opened:
        taken = first_rule(opened.columns, opened.own)
    try:
        choice = columns_of(path)
        if choice.taken == taken:
            return ""
        why = f"today {listed(choice.taken)} would be"
    except WbltrError as error:
        why = f"today that is refused ({error.message.removeprefix(f'{path}: ')})"
    read = f"{len(taken):,} columns are read, {listed(taken)}" if len(taken) > 1 else f"the column {listed(taken)} is read"
    return f"{path}: the recipe names no dataset.columns, so {read}; {why}; to choose anew: wbltr embed --import"


def parquet_table(path: Path, wanted: Sequence[str] | None) -> Table:
    """Columns `label` and perhaps `split`, and those of the embeddings.

    Args:
        wanted: these columns; None: those of `first_rule`.
    """
    with _opened(path) as opened:
        known = {column.name: column for column in opened.columns}
        names = first_rule(opened.columns, opened.own) if wanted is None else tuple(wanted)
        for name in names:
            if name not in known or name in opened.own:
                near = closest(name, [other for other in known if other not in opened.own])
                hint = "mend dataset.columns, or make another recipe: wbltr embed --import"
                raise refused(str(path), f"dataset.columns: there is no column {shown(name)!r}.{near}", hint)
            if known[name].kind == "other":
                raise refused(str(path), f"column {shown(name)!r} holds no numbers", EXPECTED)
        if not names:
            raise refused(str(path), "there is nothing in it", EXPECTED)
        everything = [column.name for column in opened.columns]
        if len(set(everything)) < len(everything) and (twice := next((n for n in names if everything.count(n) > 1), None)):
            raise refused(str(path), f"more than one column is called {shown(twice)!r}", "give each a name of its own")
        lists = [name for name in names if known[name].kind == "list"]
        if lists and len(names) > 1:
            raise refused(str(path), f"column {shown(lists[0])!r} holds no numbers, but lists of them", EXPECTED)
        told = {name: _label_column(opened, name) for name in opened.own}
        dimensions = _length(opened, names[0]) if lists else len(names)
        check_size(str(path), opened.count, dimensions, np.dtype(np.float32))
        blocks = _Blocks(path, names, bool(lists), dimensions)
        own = () if lists else names
        return Table(str(path), (opened.count, dimensions), blocks, told[opened.own[0]], told.get("split"), own)


def _length(opened: _Opened, name: str) -> int:
    """How many numbers the lists of a column have: as many as the first."""
    path = str(opened.path)
    values = sum(chunk.num_values for chunk in _chunks(opened, name))
    if values > opened.count * WIDEST or (8 * values > BOMB and 8 * values > TIMES * opened.path.stat().st_size):
        raise refused(path, f"{values:,} numbers in {opened.count:,} lists are more than is read", "save one vector a row")
    batch = next((batch for batch in opened.file.iter_batches(1, columns=[name]) if len(batch)), None)
    if batch is None:
        raise refused(path, "there is nothing in it", EXPECTED)
    length = _lengths(_plain(batch.column(batch.schema.get_field_index(name))))[0]
    if np.isnan(length):
        raise refused(path, "row 0 (counted from 0) has no vector", "leave such rows out")
    return int(length)


def _lengths(column: Any) -> Array:
    """How long each list is; NaN where there is none."""
    import pyarrow.compute as compute

    found: Array = compute.list_value_length(column).to_numpy(zero_copy_only=False)
    return found


def _chunks(opened: _Opened, name: str) -> list[Any]:
    """What the file says of each piece of a column.

    A damaged piece ends the process where Arrow's Python asks for it, and is an error where Arrow itself reads it: so that
    comes first.
    """
    metadata, found = opened.file.metadata, []
    at = [k for k in range(metadata.num_columns) if f"{opened.file.schema.column(k).path}.".startswith(f"{name}.")]
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).total_byte_size
        if size > PIECE and size > TIMES * opened.path.stat().st_size:
            told = f"{size:,} bytes in a file of {opened.path.stat().st_size:,} are more than is read"
            raise refused(str(opened.path), told, "save it again")
        next(opened.file.iter_batches(1, row_groups=[group], columns=[name]), None)
        found += [metadata.row_group(group).column(k) for k in at]
    return found


def _label_column(opened: _Opened, name: str) -> Coded:
    """A column as integers or text, each value kept once."""
    import pyarrow as arrow

    where, file = f"{opened.path}: {name}", opened.file
    size = sum(chunk.total_uncompressed_size for chunk in _chunks(opened, name))
    swollen = size > PIECE and size > TIMES_TEXT * opened.path.stat().st_size
    if swollen or max(size, 8 * opened.count) > LARGEST_COLUMN:
        raise refused(where, "more than is read", "use shorter names, or fewer rows")
    coder, first = Coder(where), 0
    for batch in file.iter_batches(BLOCK // 8, columns=[name]):
        column = batch.column(batch.schema.get_field_index(name))
        if column.null_count:
            row = first + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise refused(where, f"row {row} (counted from 0) has none", "give every row a label")
        first += len(column)
        if arrow.types.is_dictionary(column.type):
            used, codes = np.unique(column.indices.to_numpy(), return_inverse=True)
            coder.add(_values(where, column.dictionary.take(arrow.array(used))), codes)
        elif arrow.types.is_integer(column.type):
            coder.add_array(column.to_numpy(zero_copy_only=False))
        else:
            raise _no_labels(where, name, column)
    if first != opened.count:
        raise refused(where, f"has {first:,} rows, the file says {opened.count:,}", "save it again")
    return coder.done()


def _values(where: str, column: Any) -> list[int] | list[str]:
    """The distinct values of a dictionary column."""
    import pyarrow as arrow

    kind = column.type
    if not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind) or arrow.types.is_integer(kind)):
        raise _no_labels(where, where.rpartition(": ")[2], column)
    if column.null_count:
        raise refused(where, "a row has none", "give every row a label")
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        raise refused(where, "not UTF-8 text", "save text") from None
    return [value.rstrip("\0") if isinstance(value, str) else value for value in values]  # as numpy's text has it


def _no_labels(where: str, name: str, column: Any) -> WbltrError:
    """Labels of another type, and what makes them classes."""
    import pyarrow as arrow

    kind, of = column.type, arrow.types
    way = f"df[{name!r}] = df[{name!r}].astype(str)"
    if of.is_boolean(kind):
        way = f"df[{name!r}] = df[{name!r}].astype(int)"
    elif of.is_floating(kind):
        values = column.to_numpy(zero_copy_only=False)
        if np.isnan(values).any():
            way = f"df = df.dropna(subset=[{name!r}])"
        elif np.isfinite(values).all() and (values == np.round(values)).all():
            way = f"df[{name!r}] = df[{name!r}].astype(int)"
    elif of.is_binary(kind) or of.is_large_binary(kind):
        way = f"df[{name!r}] = df[{name!r}].str.decode('utf-8')"
    given = "give every row a label, or leave it out" if "dropna" in way else "save integers or text"
    return refused(where, f"expected integers or text, found {kind}", f"{given}: {way}")


def _refuse_telling(opened: _Opened, choice: Choice) -> None:
    """Refuse columns that tell the label, by name; of columns that are no family also those that hold whole numbers alone."""
    where, labels, names = str(opened.path), _label_column(opened, opened.own[0]), list(choice.taken)
    listed_ones = next(column.kind for column in opened.columns if column.name == names[0]) == "list"
    first = next(_vectors(opened, names, listed_ones, CHECKED), np.empty((0, len(names))))
    if len(labels.values) >= 2 and opened.count >= len(labels.values) + LEAST_EVIDENCE:
        same = _goes_with(first, labels.codes[: len(first)])
        telling = [] if listed_ones else _telling(opened, choice, labels, np.flatnonzero(same))
        if telling:
            told = (
                f"column{'s' * (len(telling) > 1)} {listed(telling)} go{'es' * (len(telling) == 1)} one-to-one with the labels"
            )
            raise refused_beside(where, f"{told}, one value for each", telling, names)
        if same.all() and _one_a_label(_seals(_vectors(opened, names, listed_ones, ROWS)), 1, labels, family=True):
            told = f"the vectors of {listed(names)} go one-to-one with the labels, one for each: they are the labels"
            raise refused(where, told, f"where they are the embeddings: {flag('--columns', names[:8])}")
    if not choice.family and not listed_ones:
        whole = _whole(
            opened, [name for name, is_whole in zip(names, (first == np.round(first)).all(0), strict=True) if is_whole]
        )
        if whole and len(whole) < len(names):
            told = f"column{'s' * (len(whole) > 1)} {listed(whole)} hold{'s' * (len(whole) == 1)} whole numbers"
            told += " beside columns of floats: ids, labels or rows' numbers are no embedding"
            raise refused_beside(where, told, whole, names)


def _telling(opened: _Opened, choice: Choice, labels: Coded, places: Array) -> list[str]:
    """Columns of which each label has a value of its own; of columns that are no family, also those with one a label."""
    suspects, found = [choice.taken[place] for place in places], list[str]()
    at_once = max(1, TABLE_BYTES // (8 * len(labels.values)))
    for begin in range(0, len(suspects), at_once):
        some = suspects[begin : begin + at_once]
        blocks = _numbers(opened, some, max(1, BLOCK // (8 * len(some))))
        found += [some[place] for place in _one_a_label(blocks, len(some), labels, choice.family)]
    return found


def _whole(opened: _Opened, suspects: list[str]) -> list[str]:
    """Of some columns, those of whole numbers alone, not all of them equal."""
    least, most, left = np.full(len(suspects), np.inf), np.full(len(suspects), -np.inf), np.ones(len(suspects), bool)
    for block in _numbers(opened, suspects, max(1, BLOCK // (8 * len(suspects)))) if suspects else ():
        left &= (block == np.round(block)).all(0)
        least, most = np.fmin(least, block.min(0)), np.fmax(most, block.max(0))
        if not left.any():
            break
    return [name for name, stays, varies in zip(suspects, left, most > least, strict=True) if stays and varies]


def _seals(blocks: Iterator[Array]) -> Iterator[Array]:
    """`(n, 1)`: a number for each row; two are equal where the rows are."""
    for block in blocks:
        weights = np.random.default_rng(0).normal(size=block.shape[1])  # the same for every block
        yield np.ascontiguousarray(block * weights).sum(1, keepdims=True)


def _goes_with(rows: Array, codes: Array) -> Array:
    """`(D,)`: whether rows of one label have one value, in these rows."""
    _, first, places = np.unique(codes, return_index=True, return_inverse=True)
    same: Array = (rows == rows[first][places]).all(0)
    return same


def _one_a_label(blocks: Iterator[Array], width: int, labels: Coded, family: bool) -> list[int]:
    """Of so many columns, those that tell the label."""
    table = np.full((len(labels.values), width), np.nan)
    left, done = np.ones(width, bool), 0
    for block in blocks:
        codes = labels.codes[done : done + len(block)]
        done += len(block)
        new, first = np.unique(codes, return_index=True)
        fresh = np.isnan(table[new]).all(1)
        table[new[fresh]] = block[first[fresh]]
        left &= (block == table[codes]).all(0)
        if not left.any():
            return []
    found = []
    for place in np.flatnonzero(left):
        different = len(np.unique(table[:, place]))
        if different == len(table) or (different > 1 and not family):
            found.append(int(place))
    return found


def _vectors(opened: _Opened, names: list[str], listed_ones: bool, rows: int) -> Iterator[Array]:
    """The embeddings as float64 `(n, D)`, some rows at a time."""
    if not listed_ones:
        yield from _numbers(opened, names, max(1, min(rows, BLOCK // (8 * len(names)))))
        return
    for block in _Blocks(opened.path, tuple(names), True, _length(opened, names[0]))():
        yield block.astype(np.float64)


def _numbers(opened: _Opened, names: Sequence[str], rows: int) -> Iterator[Array]:
    """Columns of numbers as float64 `(n, D)`, so many rows at a time."""
    for batch in opened.file.iter_batches(rows, columns=list(names)):
        if len(batch):
            with np.errstate(invalid="ignore"):
                values = _stacked(batch, names).astype(np.float64)
            yield values


def _stacked(batch: Any, names: Sequence[str]) -> Array:
    """`(n, D)`: columns by name; Arrow gives them in the file's order, and `a` with `a.b`."""
    place = {name: k for k, name in enumerate(batch.schema.names)}
    return np.stack([_plain(batch.column(place[name])).to_numpy(zero_copy_only=False) for name in names], 1)


def _plain(column: Any) -> Any:
    """A column without what a library wraps around its type."""
    return getattr(column, "storage", column)


@dataclass(frozen=True)
class _Blocks:
    """Rows of a parquet file's embeddings, some at a time."""

    path: Path
    columns: tuple[str, ...]
    listed: bool
    dimensions: int

    def __call__(self) -> Iterator[Array]:
        first = 0
        with _opened(self.path) as opened:
            rows = min(ROWS, max(1, BLOCK // (8 * self.dimensions))) if self.listed else max(1, BLOCK // (8 * self.dimensions))
            for batch in opened.file.iter_batches(rows, columns=list(self.columns)):
                if not len(batch):
                    continue
                if self.listed:
                    yield self._lists(_plain(batch.column(batch.schema.get_field_index(self.columns[0]))), first)
                else:
                    yield _stacked(batch, self.columns)
                first += len(batch)

    def _lists(self, column: Any, first: int) -> Array:
        lengths = _lengths(column)
        if (wrong := np.flatnonzero(lengths != self.dimensions)).size:
            row = int(wrong[0])
            if np.isnan(lengths[row]):
                raise refused(str(self.path), f"row {first + row} (counted from 0) has no vector", "leave such rows out")
            why = f"row {first + row} (counted from 0) has {int(lengths[row])} dimensions, the first row has {self.dimensions}"
            raise refused(str(self.path), why, "give every row as many")
        values: Array = column.flatten().to_numpy(zero_copy_only=False)
        return values.reshape(len(column), self.dimensions)
