"""Reads the pickled batches of CIFAR without pickle: a reader of plain data that can name no function and so call none.

A pickle is a program for a small stack machine. This one knows the opcodes that lists, numbers, strings and one NumPy array
need (protocols 2 and 3), treats NumPy's three constructors as marks and refuses everything else. Memory is bounded: a
string is at most as long as the file, everything else costs an opcode, and there are at most `MAX_OPCODES` of those.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wbltr.errors import WbltrError

MAX_OPCODES = 1_000_000  # the largest CIFAR batch has some 200 000
MAX_KEY = 255


@dataclass(frozen=True)
class _Mark:
    """Stands on the stack for something that is never called: a constructor of NumPy, or the dtype it made."""

    name: str


_RECONSTRUCT, _NDARRAY, _DTYPE, _UINT8 = _Mark("_reconstruct"), _Mark("ndarray"), _Mark("dtype"), _Mark("uint8")
_GLOBALS = {
    b"numpy.core.multiarray _reconstruct": _RECONSTRUCT,
    b"numpy._core.multiarray _reconstruct": _RECONSTRUCT,
    b"numpy ndarray": _NDARRAY,
    b"numpy dtype": _DTYPE,
}


class _Array:
    """An array between its constructor and the state that fills it."""

    value: NDArray[np.uint8] | None = None


class _Refused(ValueError):
    """The pickle asks for something that plain data does not need, or breaks off."""


def unpickle(data: bytes | bytearray, where: str) -> dict[str, object]:
    """The dictionary that a pickled CIFAR batch holds.

    Args:
        data: the pickle. Large strings and the array are views of it.
        where: what to call it in messages.

    Returns:
        Keys as text; values: int, None, bool, bytes, str, list, tuple, dict, a view of a long string, or a uint8 array.

    Raises:
        WbltrError: code `integrity`, where the pickle is damaged or holds anything but plain data.
    """
    try:
        value = _Reader(data).run()
        if type(value) is not dict:
            raise _Refused(f"expected a dictionary, found {type(value).__name__}")
        return {key: item.value if isinstance(item, _Array) else item for key, item in value.items()}
    except (ValueError, IndexError, struct.error) as error:
        reason = str(error) if isinstance(error, _Refused) else "it breaks off or its stack runs empty"
        raise WbltrError(
            f"{where}: expected a pickled CIFAR batch, found something else: {reason}",
            "Delete it and get the original again; pickles from elsewhere are not read.",
            "integrity",
        ) from error


class _Reader:
    """The stack machine: one pass over the opcodes, no recursion."""

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = memoryview(data)
        self.position = 0
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def run(self) -> object:
        """The value that the pickle leaves behind at its STOP."""
        for _ in range(MAX_OPCODES):
            opcode = bytes(self.take(1))
            if opcode == b".":
                return self.stack.pop()
            self.step(opcode)
        raise _Refused(f"more than {MAX_OPCODES} opcodes")

    def step(self, opcode: bytes) -> None:
        """Does what one opcode says."""
        push = self.stack.append
        match opcode:
            case b"q":  # BINPUT
                self.memo[self.number("<B")] = self.stack[-1]
            case b"r":  # LONG_BINPUT
                self.memo[self.number("<I")] = self.stack[-1]
            case b"h":  # BINGET
                push(self.remembered(self.number("<B")))
            case b"j":  # LONG_BINGET
                push(self.remembered(self.number("<I")))
            case b"K":  # BININT1
                push(self.number("<B"))
            case b"M":  # BININT2
                push(self.number("<H"))
            case b"J":  # BININT
                push(self.number("<i"))
            case b"\x8a":  # LONG1
                push(int.from_bytes(self.take(self.number("<B")), "little", signed=True))
            case b"U" | b"C":  # SHORT_BINSTRING, SHORT_BINBYTES
                push(bytes(self.take(self.number("<B"))))
            case b"T" | b"B":  # BINSTRING, BINBYTES: the pixels among them, so not copied
                push(self.take(self.number("<I")))
            case b"X":  # BINUNICODE
                push(str(self.take(self.number("<I")), "utf-8", "replace"))
            case b"N":
                push(None)
            case b"\x88" | b"\x89":  # NEWTRUE, NEWFALSE
                push(opcode == b"\x88")
            case b"(":
                self.marks.append(len(self.stack))
            case b"]":
                push([])
            case b"}":
                push({})
            case b")":
                push(())
            case b"\x85" | b"\x86" | b"\x87":  # TUPLE1, TUPLE2, TUPLE3
                push(tuple(self.pop(ord(opcode) - 0x84)))
            case b"t":
                push(tuple(self.pop_to_mark()))
            case b"a":
                self.extend(self.pop(1))
            case b"e":
                self.extend(self.pop_to_mark())
            case b"s":
                self.update(self.pop(2))
            case b"u":
                self.update(self.pop_to_mark())
            case b"c":  # GLOBAL
                push(self.known_global())
            case b"R":  # REDUCE
                self.reduce(*self.pop(2))
            case b"b":  # BUILD
                self.build(*self.pop(1))
            case b"\x80":  # PROTO
                if self.number("<B") not in (2, 3):
                    raise _Refused("a protocol other than 2 and 3")
            case _:
                raise _Refused(f"opcode {opcode!r} at byte {self.position - 1}")

    def take(self, size: int) -> memoryview:
        """The next `size` bytes."""
        start, self.position = self.position, self.position + size
        if self.position > len(self.data):
            raise _Refused(f"{size} bytes wanted at byte {start}, but it ends at byte {len(self.data)}")
        return self.data[start : self.position]

    def number(self, layout: str) -> int:
        """The next integer, in the layout of `struct`."""
        value: int = struct.unpack(layout, self.take(struct.calcsize(layout)))[0]
        return value

    def remembered(self, index: int) -> object:
        """What the pickle memorised under `index`; a reference, so a repeat costs no memory."""
        if index not in self.memo:
            raise _Refused(f"memo {index} was never set")
        return self.memo[index]

    def pop(self, count: int) -> list[object]:
        """The topmost `count` values, in the order they were pushed."""
        return [self.stack.pop() for _ in range(count)][::-1]

    def pop_to_mark(self) -> list[object]:
        """Everything above the last mark."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def extend(self, values: list[object]) -> None:
        """Appends to the list on top of the stack."""
        target = self.stack[-1]
        if type(target) is not list:
            raise _Refused("appends to something that is no list")
        target.extend(values)

    def update(self, values: list[object]) -> None:
        """Sets items of the dictionary on top of the stack; keys are text, since hashing a nested tuple may never end."""
        target = self.stack[-1]
        if type(target) is not dict or len(values) % 2:
            raise _Refused("sets items of something that is no dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_text(key)] = value

    def known_global(self) -> _Mark:
        """The mark for an allowed name; nothing is imported."""
        names = []
        for _ in range(2):
            line = bytes(self.data[self.position : self.position + 256]).partition(b"\n")
            self.take(len(line[0]) + len(line[1]))
            names.append(line[0])
        name = b" ".join(names)
        if name not in _GLOBALS:
            raise _Refused(f"it names {name[:80]!r}, which is not plain data")
        return _GLOBALS[name]

    def reduce(self, function: object, arguments: object) -> None:
        """What NumPy's two constructors would make of the arguments that it pickles for an array of bytes."""
        if type(arguments) is not tuple:
            raise _Refused("a call without arguments")
        if function is _RECONSTRUCT and arguments and arguments[0] is _NDARRAY:
            self.stack.append(_Array())
        elif function is _DTYPE and len(arguments) == 3 and _text(arguments[0]) == "u1":
            self.stack.append(_UINT8)
        else:
            raise _Refused("a call of something else than the constructor of an array of bytes")

    def build(self, state: object) -> None:
        """Fills the array on top of the stack: (version, shape, dtype, Fortran order, bytes). A dtype needs no state."""
        target = self.stack[-1]
        if target is _UINT8:
            return
        if not isinstance(target, _Array) or type(state) is not tuple or len(state) != 5:
            raise _Refused("a state for something that is no array")
        _, shape, dtype, fortran, raw = state
        if dtype is not _UINT8 or not isinstance(raw, bytes | memoryview) or type(fortran) not in (bool, int):
            raise _Refused("an array of something else than bytes")
        if type(shape) is not tuple or not all(type(size) is int and size >= 0 for size in shape):
            raise _Refused("an array without a shape")
        if len(shape) > 8 or math.prod(shape) != len(raw):
            raise _Refused(f"an array whose shape does not fit its {len(raw)} bytes")
        target.value = np.frombuffer(raw, dtype=np.uint8).reshape(shape, order="F" if fortran else "C")


def _text(value: object) -> str:
    if not isinstance(value, bytes | str) or len(value) > MAX_KEY:
        raise _Refused("a key that is no short text")
    return value if isinstance(value, str) else value.decode("latin-1")
