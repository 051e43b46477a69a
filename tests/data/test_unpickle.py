from __future__ import annotations

import pickle

import numpy as np
import pytest
from cifar_files import python2_pickle

from wbltr.data.unpickle import unpickle
from wbltr.errors import WbltrError


def wrapped(program: bytes) -> bytes:
    """A pickle of a dictionary whose one value is what `program` leaves on the stack."""
    return b"\x80\x02}U\x01x" + program + b"s."


def test_a_batch_as_python_2_wrote_it_is_read() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    batch = {b"batch_label": b"one", b"labels": [0, 255, 70_000], b"data": pixels, b"long": b"y" * 300}
    read = unpickle(b"\x80\x02" + python2_pickle(batch) + b".", "made")
    assert read["batch_label"] == b"one"
    assert read["labels"] == [0, 255, 70_000]
    assert bytes(read["long"]) == b"y" * 300  # type: ignore[call-overload]
    assert np.array_equal(read["data"], pixels)  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", [2, 3])
def test_plain_data_of_python_3_is_read(protocol: int) -> None:
    value = {
        "a": [1, 2, -3, 70_000, -(2**40), None, True, False, ()],
        "b": {"c": (1,), "d": (1, 2), "e": (1, 2, 3, 4)},
        "é": "ü",
    }
    shared = value | {"again": value["a"]}
    assert unpickle(pickle.dumps(shared, protocol=protocol), "made") == shared


def test_a_list_that_holds_itself_is_only_a_reference() -> None:
    read = unpickle(wrapped(b"]q\0" + b"h\0a" * 1000), "made")
    assert isinstance(read["x"], list)
    assert len(read["x"]) == 1000
    assert all(item is read["x"] for item in read["x"])


def test_every_truncation_is_refused() -> None:
    data = b"\x80\x02" + python2_pickle({b"data": np.zeros((2, 2), np.uint8), b"labels": [1, 2]}) + b"."
    for length in range(len(data)):
        with pytest.raises(WbltrError):
            unpickle(data[:length], "made")
