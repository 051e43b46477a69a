"""What to type next for a file of embeddings of another form: each hint fits the names, shapes and types that were found."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wbltr.data.embedding_tables import EXPECTED, LARGEST_COLUMN, Array, refused
from wbltr.data.layouts import PART_OF
from wbltr.errors import WbltrError, address, shown

if TYPE_CHECKING:
    from wbltr.data.embedding_files import Member

SHOWN = 10  # names of a file
CHECKED = 1 << 22  # bytes that a hint may read


def elsewhere(path: Path) -> WbltrError:
    """What is not there, or no regular file, or an address: which, and how it gets here."""
    if (told := address(path)) is not None:
        return told
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return WbltrError(f"{path}: no such file", "name a .npz, .safetensors or .parquet file", "missing")
    if stat.S_ISDIR(mode):
        inside = sorted(file.name for file in path.glob("*") if file.suffix.lower() in (".npz", ".safetensors", ".parquet"))
        hint = f"name a file in it: {shown(str(path / inside[0]))}" if inside else "name a .npz, .safetensors or .parquet file"
        return WbltrError(f"{path}: is a folder, no file", hint, "missing")
    return WbltrError(f"{path}: is no regular file", "save it to a file and name that", "missing")


def other_names(path: Path, members: Mapping[str, Member], why: str = "") -> WbltrError:
    """A file of arrays without the names that are read: what it holds, and the line that renames them."""
    told = ", ".join(f"{shown(name)} {_side(member.shape)}" for name, member in list(members.items())[:SHOWN])
    told += ", …" if len(members) > SHOWN else ""
    means = _meaning(members)
    if not means:
        return refused(str(path), (f"{why}; it " if why else "") + f"holds {told or 'no array'}")
    new = shown(f"{path.stem}-named{path.suffix}")
    pairs = [(name, f"d[{found!r}]") for name, found in means.items()]
    if path.suffix.lower() == ".npz":
        inside = ", ".join(f"{name}={value}" for name, value in pairs)
        way = f"d = numpy.load({path.name!r}); numpy.savez({new!r}, {inside})"
    else:
        inside = ", ".join(f"{name!r}: {value}" for name, value in pairs)
        way = f"d = safetensors.numpy.load_file({path.name!r}); safetensors.numpy.save_file({{{inside}}}, {new!r})"
    return refused(str(path), (f"{why}; it " if why else "") + f"holds {told}", f"{EXPECTED}: {way}")


def _side(shape: Sequence[int]) -> str:
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"


def _meaning(members: Mapping[str, Member]) -> dict[str, str]:
    """Our name → theirs, where in each part one array can be the embeddings and one their labels; else nothing."""
    groups: dict[str, dict[str, Member]] = {}
    for name, member in members.items():
        parts = {PART_OF[word] for word in re.split(r"[^a-z]+", name.lower()) if word in PART_OF}
        groups.setdefault(min(parts) if len(parts) == 1 else "", {})[name] = member
    if set(groups) - {""}:
        groups.pop("", None)
    found: dict[str, str] = {}
    for part, group in groups.items():
        rows = [
            name
            for name, member in group.items()
            if len(member.shape) == 2 and member.dtype.kind in "fiu" and member.shape[1] > 1
        ]
        count = group[rows[0]].shape[0] if len(rows) == 1 else -1
        labels = [n for n, m in group.items() if m.shape in ((count,), (count, 1)) and n not in ("split", "class_names")]
        labels = [name for name in labels if name.endswith("labels")] or labels
        if len(rows) != 1 or len(labels) != 1:
            return {}
        prefix = f"{part}_" if part else ""
        found |= {f"{prefix}embeddings": rows[0], f"{prefix}labels": labels[0]}
    return found


def hint_of_shape(name: str, shape: Sequence[int]) -> str:
    """How an array of another shape becomes `(N, D)`."""
    if len(shape) < 2:
        return f"one row for each label: {name}.reshape(len(labels), -1)"
    if all(side == 1 for side in shape[2:]):
        return f"{name}.reshape(len({name}), -1)"
    axes = tuple(range(2, len(shape))) if len(shape) > 3 else (1,)
    return f"one vector a row: {name}.reshape(len({name}), -1), or a mean, {name}.mean({axes if len(axes) > 1 else axes[0]})"


def hint_of_labels(name: str, member: Member, count: int) -> str:
    """How labels of another shape or type become `(N,)` integers or text."""
    shape, kind = member.shape, member.dtype.kind
    if len(shape) == 2 and shape[0] == count and shape[1] > 1:
        block = _beginning(member)
        one = block is not None and bool((np.count_nonzero(block, axis=1) == 1).all())
        return f"one-hot: {name}.argmax(1)" if one else f"one label a row, such as {name}.argmax(1)"
    if shape != (count,):
        if shape and np.prod([float(side) for side in shape]) == count:
            return f"{name}.ravel()"
        return "give every row a label"
    if kind == "b":
        return f"{name}.astype(int)"
    if kind == "f":
        block = _beginning(member)
        if block is not None and np.isnan(block).any():
            row = int(np.argmax(np.isnan(block)))
            return f"row {row} (counted from 0) has none: leave such rows out, then {name}.astype(int)"
        if block is not None and np.isfinite(block).all() and (block == np.round(block)).all():
            return f"{name}.astype(int)"
    if kind == "V":
        return f"save integers or text: numpy.array([str(label) for label in {name}.tolist()])"
    return f"save integers or text: {name}.astype(str)"


def _beginning(member: Member) -> Array | None:
    """The first rows of a small enough array."""
    if member.size > LARGEST_COLUMN or member.dtype.kind not in "fiub":
        return None
    return next(iter(member.blocks(max(1, CHECKED // member.row_bytes))), None)
