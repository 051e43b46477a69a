"""Pickles, archives and artifacts as an enemy writes them: nothing runs, nothing is written outside, memory is bounded."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cifar_files import Made, make, python2_pickle, regular, write_tar

from faults.counted import Counted
from wbltr.data.archives import SLACK
from wbltr.data.embedding_files import read_tables
from wbltr.data.sources import load_cifar
from wbltr.data.unpickle import MAX_OPCODES, unpickle
from wbltr.errors import WbltrError
from wbltr.store import Store
from wbltr.store.remote import Remote
from wbltr.store.transfer import plan_pull, pull

ROW = "hostile pickles, archives, artifacts"

# Pickles


def wrapped(program: bytes) -> bytes:
    """A pickle of a dictionary whose one value is what `program` leaves on the stack."""
    return b"\x80\x02}U\x01x" + program + b"s."


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_calls_something_is_refused_and_nothing_runs(tmp_path: Path, protocol: int, counted: Counted) -> None:
    path = tmp_path / "made by the pickle"
    data = pickle.dumps({"data": Evil(path)}, protocol=protocol)
    with pytest.raises(WbltrError) as caught:
        unpickle(data, "made")
    assert caught.value.code == "integrity"
    assert not path.exists()
    pickle.loads(data)
    assert path.exists()  # so the same bytes would have run in pickle
    counted(ROW, 1)


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R"
UINT8 = b"cnumpy\ndtype\nU\x02u1K\0K\x01\x87R"
PICKLES = {
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


@pytest.mark.parametrize("name", PICKLES)
def test_hostile_pickles_are_refused(name: str, counted: Counted) -> None:
    with pytest.raises(WbltrError, match=r"^two: expected a pickled CIFAR batch, found something else: ") as caught:
        unpickle(PICKLES[name], "two")
    assert caught.value.code == "integrity"
    assert len(caught.value.message) < 300
    counted(ROW, 1)


def test_damaged_pickles_give_a_dictionary_or_an_error_and_nothing_else() -> None:
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


# Archives

MADE = make()
PYTHON = MADE.archive.python
FILES = {name: data for name, data in MADE.files.items() if name.startswith("made-python/")}
GOOD = [regular(name, data) for name, data in FILES.items()]


def entry(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    """A member without content."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info, b""


def refused(path: Path, made: Made = MADE) -> str:
    """Why an archive is refused."""
    with pytest.raises(WbltrError) as caught:
        load_cifar(made.archive, path)
    assert caught.value.code == "integrity"
    for told in (caught.value.message, caught.value.hint):
        assert str(path) in told
    assert "--root DIR" in caught.value.hint
    return caught.value.message


BESIDE = [
    regular("../escaped", b"x"),
    regular("/tmp/wbltr-absolute", b"x"),
    regular("made-python/../../escaped", b"x"),
    regular("made-python/../made-python/one", b"x"),
    regular("./made-python/one", b"x"),
    regular("made-python/\x1b[31m", b"x"),
    entry("made-python/link", tarfile.SYMTYPE, "/etc/passwd"),
    entry("made-python/up", tarfile.SYMTYPE, "../.."),
    entry("made-python/hard", tarfile.LNKTYPE, "made-python/one"),
    entry("made-python/device", tarfile.CHRTYPE),
    entry("made-python/disk", tarfile.BLKTYPE),
    entry("made-python/pipe", tarfile.FIFOTYPE),
    entry("made-python", tarfile.DIRTYPE),
    entry("made-python", tarfile.SYMTYPE, "/tmp"),
]


@pytest.mark.parametrize("number", range(len(BESIDE)))
def test_what_else_lies_in_a_tar_is_passed_over_and_nothing_is_extracted(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch, counted: Counted
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    path = write_tar(inside / PYTHON.archive, [BESIDE[number], *GOOD, BESIDE[number]])
    monkeypatch.chdir(inside)
    assert np.array_equal(load_cifar(MADE.archive, path).train_images, MADE.source.train_images)
    assert sorted(tmp_path.rglob("*")) == [inside, path]
    assert not Path("/tmp/wbltr-absolute").exists()
    counted(ROW, 1)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_a_link_or_a_device_is_refused(tmp_path: Path, kind: bytes, counted: Counted) -> None:
    path = write_tar(tmp_path / PYTHON.archive, [entry("made-python/one", kind, "/etc/passwd"), *GOOD])
    assert "made-python/one is no regular file" in refused(path)
    counted(ROW, 1)


def test_a_sparse_member_is_refused(tmp_path: Path, counted: Counted) -> None:
    info, data = regular("made-python/one", FILES["made-python/one"])
    info.pax_headers = {"GNU.sparse.map": "0,10", "GNU.sparse.size": "10"}
    assert "made-python/one is no regular file" in refused(write_tar(tmp_path / PYTHON.archive, [(info, data), *GOOD]))
    counted(ROW, 1)


LIMITED = """
import resource, sys
from pathlib import Path
import numpy
from faults.test_hostile_files import MADE, load_cifar
from wbltr.errors import WbltrError
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
try:
    load_cifar(MADE.archive, Path(sys.argv[1]))
except WbltrError as error:
    print(error.code, peak() - before, error.message)
"""


def repeated(piece: bytes, times: int) -> bytes:
    """The gzip of a piece so many times over, one after the other."""
    return gzip.compress(piece, compresslevel=9) * times


def long_name() -> bytes:
    """A header that says that the next one's name follows."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    return info.tobuf(tarfile.GNU_FORMAT) + b"x" + bytes(511)


def huge(size: int, name: str = "made-python/one") -> bytes:
    """The header of a member of that size."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf()


EXTENDED = tarfile.TarInfo("bomb")
EXTENDED.type, EXTENDED.size = tarfile.XHDTYPE, 4 * SLACK
BOMBS = {
    "10 GB of zeros": lambda: repeated(bytes(64 << 20), 160),
    "a member of 10 GB of zeros": lambda: gzip.compress(huge(10 << 30)) + repeated(bytes(64 << 20), 160),
    "another member of 10 GB of zeros": lambda: gzip.compress(huge(10 << 30, "large")) + repeated(bytes(64 << 20), 160),
    "a million members": lambda: repeated(tarfile.TarInfo("tiny").tobuf() * 10_000, 100),
    "an extended header of 4 MB": lambda: gzip.compress(EXTENDED.tobuf() + b"6 a=b\n" * (4 * SLACK // 6 + 600)),
    "a chain of long names": lambda: repeated(long_name() * 1000, 100),
}


@pytest.mark.parametrize("name", BOMBS)
def test_an_archive_that_unpacks_without_end_is_left_in_bounded_memory(tmp_path: Path, name: str, counted: Counted) -> None:
    path = tmp_path / PYTHON.archive
    path.write_bytes(BOMBS[name]())
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", LIMITED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    code, grown, message = done.stdout.split(" ", 2)
    assert (code, message.startswith(f"{path} is damaged")) == ("integrity", True), done.stderr
    assert int(grown) < 60, "MiB"
    assert sorted(tmp_path.iterdir()) == [path]
    counted(ROW, 1)


# Artifacts

REQUEST = {"schema": 1, "stage": "toy", "revision": 1, "config": {}, "inputs": {}}


def tensor(shape: object = (1,), offsets: object = (0, 4), dtype: object = "F32") -> dict[str, object]:
    """What a header says of a tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def laid_out(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header, as text or as JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def asking(request: object, **tensors: object) -> dict[str, object]:
    """A header with this request."""
    return {"__metadata__": {"wbltr": request if isinstance(request, str) else json.dumps(request)}, **tensors}


def nested(levels: int) -> str:
    """A request whose config is nested so deep."""
    return json.dumps(REQUEST).replace('"config": {}', f'"config": {{"a": {"[" * levels}{"]" * levels}}}')


ARTIFACTS: dict[str, bytes] = {
    "nothing": b"",
    "seven bytes": b"\0" * 7,
    "no header": laid_out(b""),
    "a header without end": laid_out(b"{}", length=2**64 - 1),
    "a header of 100 MB that is not there": laid_out(b"{}", length=100_000_000),
    "a header of 17 MB": laid_out(b'{"__metadata__":{}' + b" " * 17_000_000 + b"}"),
    "no JSON": laid_out(b"{" * 50),
    "a list": laid_out([1]),
    "lists without end": laid_out(b"[" * 100_000),
    "a number of 10,000 digits": laid_out(b'{"a":' + b"9" * 10_000 + b"}"),
    "not Unicode": laid_out(b'{"\xff":1}'),
    "no metadata": laid_out({"a": tensor()}, bytes(4)),
    "metadata of numbers": laid_out({"__metadata__": {"wbltr": 3}}),
    "a request that is a list": laid_out(asking([1])),
    "a request without a stage": laid_out(asking({"schema": 1})),
    "a request with another field": laid_out(asking({**REQUEST, "evil": 1})),
    "a schema that is true": laid_out(asking({**REQUEST, "schema": True})),
    "an input that is a number": laid_out(asking({**REQUEST, "inputs": {"a": 3}})),
    "a config that is text": laid_out(asking({**REQUEST, "config": "x"})),
    "a config nested 100 deep": laid_out(asking(nested(100))),
    "a config nested 500 deep": laid_out(asking(nested(500))),
    "a config nested 900 deep": laid_out(asking(nested(900))),
    "a config nested 100,000 deep": laid_out(asking(nested(100_000))),
    "half a surrogate pair": laid_out(asking('{"schema":1,"stage":"\\ud800","revision":1,"config":{},"inputs":{}}')),
    "a tensor beyond the end": laid_out(asking(REQUEST, a=tensor((1000,), (0, 4000))), bytes(4)),
    "bytes of no tensor": laid_out(asking(REQUEST, a=tensor()), bytes(400)),
    "a gap between tensors": laid_out(asking(REQUEST, a=tensor(), b=tensor((1,), (8, 12))), bytes(12)),
    "two tensors in one place": laid_out(asking(REQUEST, a=tensor(), b=tensor()), bytes(4)),
    "offsets that run backwards": laid_out(asking(REQUEST, a=tensor((1,), (4, 0))), bytes(4)),
    "negative offsets": laid_out(asking(REQUEST, a=tensor((1,), (-4, 0))), bytes(4)),
    "a shape that overflows": laid_out(asking(REQUEST, a=tensor((2**32, 2**32, 2), (0, 0)))),
    "a shape of nothing times everything": laid_out(asking(REQUEST, a=tensor((0, 2**64 - 1), (0, 0)))),
    "a negative shape": laid_out(asking(REQUEST, a=tensor((-1,))), bytes(4)),
    "a shape of 100 dimensions": laid_out(asking(REQUEST, a=tensor([1] * 100)), bytes(4)),
    "an unknown dtype": laid_out(asking(REQUEST, a=tensor(dtype="OBJECT")), bytes(4)),
    "a dtype that numpy has not": laid_out(asking(REQUEST, a=tensor((2,), (0, 4), "BF16")), bytes(4)),
    "a name twice": laid_out(json.dumps(asking(REQUEST, a=tensor())).encode()[:-1] + b', "a": {}}', bytes(4)),
    "a pickle": pickle.dumps(REQUEST),
    "an archive of torch": b"PK\x03\x04" + bytes(200),
}


def broken(store: Store, object_id: str) -> bool:
    """Whether a store sees that it cannot use what has this name."""
    try:
        store.key_of_object(object_id)
        store.load(object_id)
    except WbltrError as error:
        assert error.code in ("integrity", "missing"), error.message
        return True
    return False


@pytest.mark.parametrize("name", ARTIFACTS)
def test_a_file_that_is_no_artifact_is_refused_and_its_store_lives_on(tmp_path: Path, name: str, counted: Counted) -> None:
    store, far = Store.open(tmp_path / "store"), Store.open(tmp_path / "far")
    object_id = hashlib.sha256(ARTIFACTS[name]).hexdigest()
    (tmp_path / "mine.safetensors").write_bytes(ARTIFACTS[name])
    with suppress(WbltrError):
        store.adopt(tmp_path / "mine.safetensors")
    assert broken(store, object_id)
    # The same from elsewhere, under a name that fits its bytes.
    for path, data in ((far.path(object_id), ARTIFACTS[name]), (far.root / "refs/own/mine", f"{object_id}\n".encode())):
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    remote = Remote(str(far.root))
    with suppress(WbltrError):
        pull(store, remote, plan_pull(store, remote, ["mine"]), lambda done, total: None)
    assert broken(store, object_id)
    assert broken(far, object_id)
    assert [*store.records(), *far.records()] == []
    counted(ROW, 3)


def test_a_spoilt_header_is_refused_or_read_and_never_breaks_the_reader(tmp_path: Path, counted: Counted) -> None:
    store = Store.open(tmp_path / "store")
    good = laid_out(asking(REQUEST, a=tensor(), b=tensor((2,), (4, 12))), bytes(12))
    chance = random.Random(0)
    refusals = 0
    for _ in range(200):
        data = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data) - 12)] = chance.choice([0, 255, *b'{}[]",:0123456789', chance.randrange(256)])
        (tmp_path / "mine.safetensors").write_bytes(data)
        try:
            object_id = store.adopt(tmp_path / "mine.safetensors")
            store.key_of_object(object_id)
            store.load(object_id)
        except WbltrError as error:
            assert error.code in ("usage", "integrity", "newer", "recipe")
            refusals += 1
    assert refusals > 100
    counted(ROW, 200)


def test_a_file_larger_than_its_header_says_is_refused_unread(tmp_path: Path, counted: Counted) -> None:
    path = tmp_path / "large.safetensors"
    path.write_bytes(laid_out(asking(REQUEST, a=tensor()), bytes(4)))
    os.truncate(path, 1 << 28)
    with pytest.raises(WbltrError, match="expected an object of a store"):
        Store.open(tmp_path / "store").adopt(path)
    counted(ROW, 1)


# Embeddings


def npz(**members: bytes) -> bytes:
    """An .npz with these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    """An array as a file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def promised(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    """The file of an array that is said to be of this shape."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue() + data


LABELS = npy(np.zeros(4, np.int64))


@pytest.mark.parametrize("name", ["objects", "pickle", "huge", "short", "negative", "code", "no archive", "labels"])
def test_embeddings_of_an_enemy_are_refused_and_nothing_runs(tmp_path: Path, name: str, counted: Counted) -> None:
    ran = tmp_path / "ran"
    evil = np.empty(4, object)
    evil[:] = [Evil(ran)] * 4
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').mkdir('ran'),)}"
    code = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n"
    data = {
        "objects": npz(embeddings=npy(evil), labels=LABELS),
        "pickle": pickle.dumps(Evil(ran)),
        "huge": npz(embeddings=promised((1 << 40, 1 << 20)), labels=LABELS),
        "short": npz(embeddings=promised((4, 3), bytes(8)), labels=LABELS),
        "negative": npz(embeddings=promised((-4, 3)), labels=LABELS),
        "code": npz(embeddings=code, labels=LABELS),
        "no archive": b"PK\x03\x04" + bytes(100),
        "labels": npz(embeddings=npy(np.zeros((4, 3), np.float32)), labels=npy(evil)),
    }[name]
    (tmp_path / "mine.npz").write_bytes(data)
    with pytest.raises(WbltrError) as caught:
        read_tables(tmp_path / "mine.npz")
    assert str(tmp_path / "mine.npz") in caught.value.message
    assert not ran.exists()
    assert not Path("ran").exists()
    counted(ROW, 1)


# Weights


@pytest.mark.parametrize("name", ["pickle", "zip", "itself", "deep", "text", "lists", "safetensors", "nothing"])
def test_weights_of_an_enemy_are_refused_and_nothing_runs(tmp_path: Path, name: str, counted: Counted) -> None:
    import torch

    from wbltr.pretrained import state_of_file

    ran, path = tmp_path / "ran", tmp_path / ("mine.safetensors" if name == "safetensors" else "mine.pth")
    itself: dict[str, Any] = {}
    itself["model"] = itself
    match name:
        case "pickle":
            path.write_bytes(pickle.dumps({"fc.weight": Evil(ran)}, protocol=2))
        case "zip":
            torch.save({"fc.weight": Evil(ran)}, path)
        case "itself":
            torch.save(itself, path)
        case "deep":
            path.write_bytes(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")
        case "text":
            path.write_bytes(b"<html>404</html>")
        case "lists":
            torch.save([torch.zeros(2)], path)
        case "safetensors":
            path.write_bytes(ARTIFACTS["a tensor beyond the end"])
        case _:
            path.write_bytes(b"")
    with pytest.raises(WbltrError) as caught:
        state_of_file(path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert not ran.exists()
    counted(ROW, 1)
