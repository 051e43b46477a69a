from __future__ import annotations

import os
import pickle
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from cifar_files import python2_pickle

from wbltr.data.unpickle import MAX_OPCODES, unpickle
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


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_calls_something_is_refused_and_nothing_runs(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "made by the pickle"
    data = pickle.dumps({"data": Evil(path)}, protocol=protocol)
    with pytest.raises(WbltrError) as caught:
        unpickle(data, "made")
    assert caught.value.code == "integrity"
    assert not path.exists()
    pickle.loads(data)
    assert path.exists()  # so the same bytes would have run in pickle


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R"
UINT8 = b"cnumpy\ndtype\nU\x02u1K\0K\x01\x87R"
HOSTILE = {
    "os.system": wrapped(b"cos\nsystem\nU\x02ls\x85R"),
    "getattr chain": wrapped(b"cbuiltins\ngetattr\ncnumpy\nndarray\nU\x07tofile\x86R"),
    "a dotted name below numpy": wrapped(b"cnumpy\nndarray.tofile\n"),
    "numpy.load": wrapped(b"cnumpy\nload\nU\x01x\x85R"),
    "INST": b"(ios\nsystem\n.",
    "OBJ": wrapped(b"(cnumpy\nndarray\no"),
    "NEWOBJ": wrapped(b"cnumpy\nndarray\n)\x81"),
    "STACK_GLOBAL": wrapped(b"U\x02osU\x06system\x93"),
    "EXT1": wrapped(b"\x82\x01"),
    "PERSID": wrapped(b"Px\n"),
    "a call of ndarray": wrapped(b"cnumpy\nndarray\nK\xff\x85R"),
    "a dtype of objects": wrapped(b"cnumpy\ndtype\nU\x02O8K\0K\x01\x87R"),
    "an array of objects": wrapped(ARRAY + b"(K\x01K\0\x85" + b"N\x89](tb"),
    "an array filled with a list": wrapped(ARRAY + b"(K\x01K\1\x85" + UINT8 + b"\x89]tb"),
    "an array larger than its bytes": wrapped(ARRAY + b"(K\x01J\xff\xff\xff\x7f\x85" + UINT8 + b"\x89U\x01xtb"),
    "an array of negative size": wrapped(ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + UINT8 + b"\x89U\0tb"),
    "an array too large for a machine": wrapped(ARRAY + b"(K\x01(K\0" + b"J\xff\xff\xff\x7f" * 7 + b"t" + UINT8 + b"\x89U\0tb"),
    "a state for a list": wrapped(b"]}b"),
    "more opcodes than any batch": b"\x80\x02" + b"]" * (MAX_OPCODES + 1) + b".",
    "a huge string": wrapped(b"T\xff\xff\xff\xff"),
    "huge bytes": wrapped(b"B\xff\xff\xff\x7f"),
    "a huge unicode string": wrapped(b"X\xff\xff\xff\x7f"),
    "a huge key": b"\x80\x02}T" + struct.pack("<I", 5000) + b"k" * 5000 + b"Ns.",
    "a bomb of tuples as a key": b"\x80\x02})" + b"q\0h\0\x86" * 200 + b"Ns.",
    "an unset memo": wrapped(b"h\x07"),
    "an empty stack": b"\x80\x02.",
    "a lone append": b"\x80\x02]a.",
    "no mark": b"\x80\x02e.",
    "a list": b"\x80\x02].",
    "an unknown opcode": b"\x80\x02\xff.",
    "protocol 5": b"\x80\x05}.",
    "nothing": b"",
    "no stop": b"\x80\x02}",
    "an endless global": b"\x80\x02c" + b"x" * 1000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused(name: str) -> None:
    with pytest.raises(WbltrError, match=r"^two: expected a pickled CIFAR batch, found something else: ") as caught:
        unpickle(HOSTILE[name], "two")
    assert caught.value.code == "integrity"
    assert len(caught.value.message) < 300


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


def test_damaged_bytes_give_a_dictionary_or_an_error_and_nothing_else() -> None:
    data = b"\x80\x02" + python2_pickle({b"data": np.zeros((2, 2), np.uint8), b"labels": [1, 2, 70_000]}) + b"."
    generator = random.Random(0)
    refused = 0
    for _ in range(3000):
        damaged = bytearray(data)
        for _ in range(generator.randint(1, 3)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        try:
            assert isinstance(unpickle(damaged, "made"), dict)
        except WbltrError as error:
            refused += error.code == "integrity"
    assert refused > 1000
