"""A dataset of embeddings: a file's rows, drawn into parts, checked and brought to float32 a block at a time.

Gives, for each part p: `p.embeddings` float32 `(1, N, D)`, `p.labels` int64 `(N,)`, `p.index` int64 `(N,)` (the row in the
file, tables one after another); and what every dataset has: `class_counts`, `class_names`, `fingerprint`, `canonical`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wbltr.data.embedding_files import look
from wbltr.data.embedding_tables import PARTS, OwnEmbeddings, Table
from wbltr.data.splitting import split_rows
from wbltr.dataset_config import DatasetConfig
from wbltr.errors import WbltrError, shown
from wbltr.pipeline import Runtime
from wbltr.stages._dataset_parts import as_json, fingerprint, tell
from wbltr.stages._room import room

Array = np.ndarray[Any, Any]


def own_embeddings(config: DatasetConfig, runtime: Runtime) -> dict[str, Any]:
    """Read the file that `runtime.listed` names; see the module's docstring for the tensors.

    Raises:
        WbltrError: what is wrong with the file, one line.
    """
    path = runtime.listed
    if path is None:
        raise WbltrError("the file of embeddings is not here", "name it: --set embeddings_file=FILE", "missing")
    runtime.witness["location"] = str(path)
    file = look(path, config.columns, config.class_order)
    parts = drawn(config, file, str(path))
    counts = training_counts(file, parts, str(path))
    index = {part: np.flatnonzero(parts == part) for part in PARTS}
    dimensions = file.tables[0].shape[1]
    held = {part: room(1, len(index[part]), dimensions, runtime) for part in PARTS}
    _fill(config, file, parts, {part: array[0] for part, array in held.items()}, runtime)
    mark = fingerprint(held["train"], file.labels[index["train"]])
    more = {"dimensions": dimensions, "normalize": config.normalize}
    tell(runtime, config, counts, mark, False, file.labels[index["val"]], len(index["test"]), more)
    return {
        **{f"{part}.embeddings": held[part] for part in PARTS},
        **{f"{part}.labels": file.labels[index[part]] for part in PARTS},
        **{f"{part}.index": index[part].astype(np.int64) for part in PARTS},
        "class_counts": counts,
        "class_names": as_json(file.class_names),
        "fingerprint": np.frombuffer(mark, np.uint8),
        "canonical": np.array(False),
    }


def drawn(config: DatasetConfig, file: OwnEmbeddings, where: str) -> Array:
    """A part for each row, `(N,)` text: as the file says, and drawn by class where it says nothing.

    A row that the config leaves out has no part: those of `val` with `val: none`.

    Raises:
        WbltrError: "recipe" where the file and `dataset.val` contradict each other.
    """
    parts = file.parts.copy()
    has_val = bool((parts == "val").any())
    if config.val == "list" and not has_val:
        raise WbltrError(f"dataset.val: list: {where} has no rows of val", "use --set dataset.val=holdout", "recipe")
    if config.val == "holdout" and has_val:
        hint = "use --set dataset.val=list, or none, which leaves them out"
        raise WbltrError(f"dataset.val: holdout: {where} has rows of val", hint, "recipe")
    parts[parts == ("val" if config.val == "none" else "-")] = "out"
    shares = {} if (parts == "test").any() else {"test": config.test_share}
    shares |= {"val": config.val_share} if config.val == "holdout" else {}
    free = np.flatnonzero((parts == "") | (parts == "train"))
    parts[free] = split_rows(file.labels[free], None, shares, config.seed) if shares else "train"
    if not (parts == "test").any():
        raise WbltrError(f"{where}: no row to test on", "give dataset.test_share more, or more rows to every class", "recipe")
    return parts


def training_counts(file: OwnEmbeddings, parts: Array, where: str) -> Array:
    """Training rows of each class, `(C,)` int64.

    Raises:
        WbltrError: "usage" for classes that have none.
    """
    counts = np.bincount(file.labels[parts == "train"], minlength=len(file.class_names)).astype(np.int64)
    if (without := np.flatnonzero(counts == 0)).size:
        names = ", ".join(shown(file.class_names[k]) for k in without[:5]) + (", …" if len(without) > 5 else "")
        raise WbltrError(f"{where}: {len(without)} classes have no row to train on: {names}", "add some, or drop them", "usage")
    return counts


def checked_rows(table: Table) -> Iterator[Array]:
    """A table's rows in float32, some at a time, `(n, D)`.

    Raises:
        WbltrError: "usage" for a row that is no number, "integrity" for a file that has other rows than it says.
    """
    done = 0
    for block in table.blocks():
        yield _checked(block, table, done)
        done += len(block)
    if done != table.shape[0]:
        raise WbltrError(f"{table.where}: has {done:,} rows, and says {table.shape[0]:,}", "save it again", "integrity")


def _fill(config: DatasetConfig, file: OwnEmbeddings, parts: Array, into: Mapping[str, Array], runtime: Runtime) -> None:
    """Bring every row to its place, in the order of the file."""
    done, places = 0, dict.fromkeys(into, 0)
    for table in file.tables:
        for rows in checked_rows(table):
            runtime.tick(done, len(parts))
            if config.normalize == "l2":
                norms = np.linalg.norm(rows, axis=1, keepdims=True)
                rows = rows / np.where(norms > 0, norms, 1)
            own = parts[done : done + len(rows)]
            for part, array in into.items():
                chosen = rows[own == part]
                array[places[part] : places[part] + len(chosen)] = chosen
                places[part] += len(chosen)
            done += len(rows)


def _checked(block: Array, table: Table, first: int) -> Array:
    """Rows as float32; what is no number is refused, the first such row named."""
    with np.errstate(over="ignore", invalid="ignore"):
        rows = block.astype(np.float32, copy=False)
    finite = np.isfinite(rows).all(1)
    if not finite.all():
        at = int(np.argmin(finite))
        dimension = int(np.argmin(np.isfinite(rows[at])))
        place = f"column {shown(table.columns[dimension])!r}" if table.columns else f"dimension {dimension:,}"
        why = f"row {first + at:,} (counted from 0) holds {block[at][dimension]} in {place}, which is not finite in float32"
        raise WbltrError(f"{table.where}: {why}", "mend or leave out such rows", "usage")
    return rows
