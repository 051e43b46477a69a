"""What an ONNX file holds, read without running it or the `onnx` package: whether it names other files and all is finite.

It is protobuf: fields of a number, a kind and a value. Only those that lead to tensors are followed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# message → number of a field → the message that is in it
BELOW: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
DEEPEST = 100  # as protobuf itself reads
FLOAT, DOUBLE, HALF = 1, 11, 10
NUMBERS = {FLOAT: "<f4", DOUBLE: "<f8", HALF: "<f2"}
TYPE, FLOATS, RAW, DOUBLES, EXTERNAL, LOCATION = 2, 4, 9, 10, 13, 14  # fields of a tensor


def refuse_unfit(model: bytes) -> None:
    """Refuse a graph whose weights lie in other files, or are not finite.

    Raises:
        ValueError: in words.
    """
    _look(memoryview(model), "model", 0)


def _look(message: memoryview, kind: str, depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError("its graphs are nested too deeply")
    if kind == "tensor":
        _look_at_tensor(message)
        return
    for number, value in _fields(message):
        if isinstance(value, memoryview) and number in BELOW[kind]:
            _look(value, BELOW[kind][number], depth + 1)


def _look_at_tensor(message: memoryview) -> None:
    of: int = 0
    raw: list[memoryview] = []
    numbers: list[tuple[str, memoryview]] = []
    for number, value in _fields(message):
        if number == EXTERNAL or (number == LOCATION and value != 0):
            raise ValueError("weights of it lie in another file")
        if number == TYPE and isinstance(value, int):
            of = value
        elif isinstance(value, memoryview) and number == RAW:
            raw.append(value)
        elif isinstance(value, memoryview) and number in (FLOATS, DOUBLES):
            numbers.append(("<f4" if number == FLOATS else "<f8", value))
    numbers += [(NUMBERS[of], value) for value in raw if of in NUMBERS]
    for name, value in numbers:
        if not np.isfinite(np.frombuffer(value, name)).all():
            raise ValueError("a weight of it is not a finite number")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: of a varint the integer, of all else the bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        size = {1: 8, 5: 4}.get(tag & 7)
        if tag & 7 == 2:
            size, at = _varint(message, at)
        if size is None or at + size > len(message):
            raise ValueError("it is damaged")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at + place >= len(message):
            break
        byte = message[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("it is damaged")
