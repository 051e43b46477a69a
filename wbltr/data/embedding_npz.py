"""The arrays of an `.npz`, a block of rows at a time. Nothing is unpickled; a header is bounded before it is read."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from wbltr.data.embedding_files import KNOWN, Member
from wbltr.data.embedding_tables import Array, damaged
from wbltr.errors import WbltrError

LONGEST_HEADER = 10_000  # bytes, as numpy itself has it
MOST_TOLD = 100  # arrays of other names
HELD = 1 << 29  # bytes of an array in Fortran order that are read at once: every time, the whole array is gone through
AGAIN = "save it again: numpy.savez(...)"


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Whatever zipfile, its codecs and numpy make of a stranger's bytes, as one line."""
    try:
        yield
    except WbltrError:
        raise
    except Exception as error:
        raise damaged(path, error, AGAIN) from None


def npz_members(path: Path) -> dict[str, Member]:
    """The arrays by their headers; what a header promises has to be what the file has.

    Raises:
        WbltrError: "integrity" for a damaged file.
    """
    found: dict[str, Member] = {}
    with _damage_told(path), zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name in found and name in KNOWN:
                raise ValueError(f"{name} is there more than once")
            try:
                if name in KNOWN or len(found) < MOST_TOLD:
                    found[name] = _member(path, archive, info, name)
            except Exception:
                if name in KNOWN:  # the others are named in a hint, and that is all
                    raise
    return found


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Member:
    with archive.open(info) as file:
        shape, fortran, dtype = _header(file)
        begin = file.tell()
    if dtype.hasobject:
        way = f"numpy.stack({name}).astype('float32')" if "embeddings" in name else f"{name}.astype(str)"
        problem = ("holds pickled Python objects, which are not read", f"save numbers or text: {way}")
        return Member(shape, dtype, _no_blocks, problem)
    if begin + dtype.itemsize * math.prod(shape) != info.file_size:
        raise ValueError(f"{name} is cut short")
    turned = fortran and len(shape) > 1
    return Member(shape, dtype, (_Turned if turned else _Rows)(path, info.filename, begin, shape, dtype))


def _no_blocks(_: int) -> Iterator[Array]:
    return iter(())


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, and dtype."""
    start = file.read(8)
    if start[:6] != b"\x93NUMPY" or start[6:] not in (b"\x01\x00", b"\x02\x00"):
        raise ValueError("holds no array of numpy's format 1.0 or 2.0")
    form = "<H" if start[6] == 1 else "<I"
    size = file.read(struct.calcsize(form))
    (length,) = struct.unpack(form, size)
    if length > LONGEST_HEADER:
        raise ValueError(f"an array's header of {length:,} bytes")
    read = np.lib.format.read_array_header_1_0 if start[6] == 1 else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            shape, fortran, dtype = read(io.BytesIO(size + file.read(length)), max_header_size=LONGEST_HEADER)
        except Exception:  # of whatever kind: numpy parses it as Python
            raise ValueError("an array's header is none") from None
    if any(type(side) is not int or side < 0 for side in shape):
        raise ValueError("an array's shape is none")
    return shape, fortran, dtype


@dataclass(frozen=True)
class _Rows:
    """Rows of an array, some at a time."""

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
                yield np.frombuffer(_exactly(file, count * one, self.name), self.dtype).reshape(count, *self.shape[1:])


class _Turned(_Rows):
    """Rows of an array that lies column by column, as pandas gives it; many at once, as each time all is gone through."""

    def __call__(self, rows: int) -> Iterator[Array]:
        columns, one = math.prod(self.shape[1:]), self.dtype.itemsize
        at_once = max(1, HELD // max(1, columns * one))
        for begin in range(0, self.shape[0], at_once):
            count = min(at_once, self.shape[0] - begin)
            held = np.empty((columns, count), self.dtype)
            with _damage_told(self.path), zipfile.ZipFile(self.path) as archive, archive.open(self.name) as file:
                file.read(self.begin)
                for column in held:
                    file.seek(begin * one, io.SEEK_CUR)
                    column[:] = np.frombuffer(_exactly(file, count * one, self.name), self.dtype)
                    file.seek((self.shape[0] - begin - count) * one, io.SEEK_CUR)
            # The last axis varies slowest in the file: turned round, the sides stand in their order.
            whole = held.reshape(*self.shape[:0:-1], count).T
            for first in range(0, count, rows):
                yield np.ascontiguousarray(whole[first : first + rows])


def _exactly(file: IO[bytes], count: int, name: str) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise EOFError(f"{name} is cut short")
    return data
