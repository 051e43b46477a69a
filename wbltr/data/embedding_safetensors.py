"""The tensors of a `.safetensors` file, a block of rows at a time."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wbltr.data.embedding_files import Member
from wbltr.data.embedding_tables import Array, damaged, refused

TYPES: dict[str, type[np.generic]] = {
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "BF16": np.float32,  # whose upper half it is
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "U32": np.uint32,
    "I32": np.int32,
    "U64": np.uint64,
    "I64": np.int64,
}


def safetensors_members(path: Path) -> dict[str, Member]:
    """The tensors by the file's header, which the library checks against the file.

    Raises:
        WbltrError: "integrity" for a damaged file.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, Member] = {}
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                piece = file.get_slice(name)
                kind, shape = piece.get_dtype(), tuple(piece.get_shape())
                if kind in TYPES:
                    dtype = np.dtype(TYPES[kind])
                    found[name] = Member(shape, dtype, _Slices(path, name, shape, half=kind == "BF16"))
                else:
                    way = "tensor.to(torch.int64)" if "labels" in name else "tensor.float()"
                    problem = (f"numbers of type {kind} are not read", f"save it as {way}")
                    found[name] = Member(shape, np.dtype("V1"), _Slices(path, name, shape), problem)
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged(path, error) from None
    return found


@dataclass(frozen=True)
class _Slices:
    """Rows of a tensor, some at a time.

    Attributes:
        half: its numbers are bfloat16, which numpy does not have.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    half: bool = False

    def __call__(self, rows: int) -> Iterator[Array]:
        from safetensors import SafetensorError, safe_open

        if self.half:
            yield from self._halves(rows)
            return
        try:
            with safe_open(self.path, framework="np") as file:
                piece = file.get_slice(self.name)
                for first in range(0, self.shape[0], rows):
                    yield piece[first : min(first + rows, self.shape[0])]
        except (SafetensorError, OSError) as error:
            raise damaged(self.path, error) from None

    def _halves(self, rows: int) -> Iterator[Array]:
        """Exact: a bfloat16 is a float32 whose lower 16 bits are 0."""
        one = math.prod(self.shape[1:])
        with self.path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(length))
            file.seek(8 + length + header[self.name]["data_offsets"][0])
            for first in range(0, self.shape[0], rows):
                count = min(rows, self.shape[0] - first)
                data = np.frombuffer(file.read(2 * count * one), "<u2")
                if len(data) != count * one:
                    raise refused(str(self.path), f"{self.name} is cut short", "save it again")
                yield (data.astype(np.uint32) << 16).view(np.float32).reshape(count, *self.shape[1:])
