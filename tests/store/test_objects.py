from __future__ import annotations

import hashlib
import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from wbltr.errors import WbltrError
from wbltr.store import Corrupt, Store, Vanished, key_of, objects

Start = Callable[..., "subprocess.Popen[str]"]
Finish = Callable[..., str]
HEADER: dict[str, Any] = {
    "stage": "toy",
    "revision": 1,
    "config": {"name": "é", "rates": [0.1, 1]},
    "inputs": {"from": "ab" * 32},
}


def arrays() -> dict[str, np.ndarray[Any, Any]]:
    return {"train.weight": np.arange(40, dtype=np.float32).reshape(8, 5), "val.labels": np.arange(9), "epochs": np.array(3.5)}


def damage(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_was_published_is_read_back(store: Store) -> None:
    object_id = store.publish(arrays(), HEADER)
    loaded = store.load(object_id)
    assert loaded.keys() == arrays().keys()
    for name, array in arrays().items():
        np.testing.assert_array_equal(loaded[name], array)
        assert (loaded[name].dtype, loaded[name].shape) == (array.dtype, array.shape)
    assert store.header(object_id) == HEADER
    assert store.key_of_object(object_id) == key_of(HEADER)
    assert list(store.objects()) == [object_id]
    assert store.size(object_id) == store.path(object_id).stat().st_size


def test_the_object_id_is_the_digest_of_the_file_and_nothing_is_left_in_tmp(store: Store) -> None:
    object_id = store.publish(arrays(), HEADER)
    assert hashlib.sha256(store.path(object_id).read_bytes()).hexdigest() == object_id
    assert files(store.root / "tmp") == []


def test_fifty_publishes_of_one_input_in_any_order_give_one_object(store: Store) -> None:
    shuffle = random.Random(0)
    for _ in range(50):
        items, fields = list(arrays().items()), list(HEADER.items())
        shuffle.shuffle(items)
        shuffle.shuffle(fields)
        store.publish(dict(items), dict(fields))
    assert len(list(store.objects())) == 1


def test_a_changed_value_dtype_shape_name_or_header_is_another_object(store: Store) -> None:
    base = {"a": np.zeros((2, 3), np.float32)}
    variants: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (base, HEADER),
        ({"a": np.ones((2, 3), np.float32)}, HEADER),
        ({"a": np.zeros((2, 3), np.int32)}, HEADER),
        ({"a": np.zeros((3, 2), np.float32)}, HEADER),
        ({"b": np.zeros((2, 3), np.float32)}, HEADER),
        (base, {**HEADER, "revision": 2}),
    ]
    assert len({store.publish(tensors, header) for tensors, header in variants}) == len(variants)


@pytest.mark.parametrize(
    "dtype", ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", ">f4", ">i8"]
)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0, 2), (1,), (2, 3)])
def test_every_dtype_comes_back_in_every_shape(store: Store, dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    loaded = store.load(store.publish({"a": array}, HEADER))["a"]
    assert loaded.shape == shape
    assert loaded.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(loaded, array)


def test_transposed_and_strided_arrays_are_stored_as_what_they_show(store: Store) -> None:
    array = np.arange(24).reshape(4, 6)
    loaded = store.load(store.publish({"t": array.T, "s": array[::2, ::-3]}, HEADER))
    np.testing.assert_array_equal(loaded["t"], array.T)
    np.testing.assert_array_equal(loaded["s"], array[::2, ::-3])


def test_an_object_may_hold_no_tensors_at_all(store: Store) -> None:
    assert store.load(store.publish({}, HEADER)) == {}


def test_prefixes_choose_what_is_handed_over(store: Store) -> None:
    object_id = store.publish(arrays(), HEADER)
    assert set(store.load(object_id, ["train."])) == {"train.weight"}
    assert set(store.load(object_id, ["val.", "ep"])) == {"val.labels", "epochs"}
    assert store.load(object_id, []) == {}


def test_loaded_arrays_can_be_written_to_without_touching_the_store(store: Store) -> None:
    object_id = store.publish(arrays(), HEADER)
    for array in store.load(object_id).values():
        array[...] = 1
    assert store.verify(object_id)


def test_a_file_too_large_to_read_is_mapped_and_gives_the_same(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    object_id = store.publish(arrays(), HEADER)
    read = store.load(object_id)
    monkeypatch.setattr(objects, "MAP_ABOVE", 0)
    mapped = store.load(object_id)
    assert read.keys() == mapped.keys()
    for name, array in mapped.items():
        np.testing.assert_array_equal(array, read[name])
        assert array.flags.writeable
    assert set(store.load(object_id, ["train."])) == {"train.weight"}
    damage(store.path(object_id), store.path(object_id).read_bytes()[:-1] + b"\7")
    with pytest.raises(Corrupt):
        store.load(object_id)


@pytest.mark.parametrize(
    "tensors",
    [{"a": np.array(["text"])}, {"a": np.array([None])}, {"__metadata__": np.zeros(3)}, {"a": np.zeros(2, np.complex128)}],
)
def test_what_the_format_cannot_hold_is_refused_by_name(store: Store, tensors: dict[str, Any]) -> None:
    with pytest.raises(WbltrError, match="tensor '"):
        store.publish(tensors, HEADER)
    assert list(store.objects()) == []


@pytest.mark.parametrize("umask", [0o077, 0o022, 0o002])
def test_an_object_can_be_read_by_all_and_written_by_none_whatever_the_umask(store: Store, umask: int) -> None:
    before = os.umask(umask)
    try:
        object_id = store.publish(arrays(), HEADER)
    finally:
        os.umask(before)
    assert stat.S_IMODE(store.path(object_id).stat().st_mode) == 0o444


def test_two_processes_that_publish_the_same_tensors_leave_one_object(store: Store, start: Start) -> None:
    code = """
import sys, numpy
from pathlib import Path
from wbltr.store import Store
store = Store.open(Path(sys.argv[1]))
header = {"stage": "toy", "revision": 1, "config": {}, "inputs": {}}
for index in range(20):
    print(store.publish({"a": numpy.full((64, 64), index)}, header))
"""
    processes = [start(code, store.root) for _ in range(2)]
    printed = [process.communicate(timeout=60)[0].split() for process in processes]
    assert printed[0] == printed[1]
    assert sorted(printed[0]) == list(store.objects())
    assert all(store.verify(object_id) for object_id in printed[0])
    assert files(store.root / "tmp") == []


def test_every_flipped_bit_is_refused_and_quarantined(store: Store) -> None:
    object_id = store.publish(arrays(), HEADER)
    path = store.path(object_id)
    good = path.read_bytes()
    header_end = 8 + int.from_bytes(good[:8], "little")
    choose = random.Random(1)
    bits = choose.sample(range(header_end * 8), 150) + choose.sample(range(header_end * 8, len(good) * 8), 150)
    for count, bit in enumerate(bits, start=1):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        damage(path, bytes(bad))
        if count % 2:
            with pytest.raises(Corrupt) as caught:
                store.load(object_id)
            assert caught.value.object_id == object_id
            assert caught.value.code == "integrity"
        else:
            assert not store.verify(object_id)
        assert not store.has(object_id)
        assert len(files(store.root / "corrupt")) == count
    assert store.publish(arrays(), HEADER) == object_id
    assert store.verify(object_id)


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 100, -8, -1])
@pytest.mark.parametrize("padded", [False, True])
def test_a_truncated_object_is_refused_and_quarantined(store: Store, keep: int, padded: bool) -> None:
    object_id = store.publish({"a": np.ones(50)}, HEADER)
    path = store.path(object_id)
    good = path.read_bytes()
    damage(path, good[:keep].ljust(len(good), b"\0") if padded else good[:keep])
    bad = path.read_bytes()
    with pytest.raises(Corrupt):
        store.load(object_id)
    assert [kept.read_bytes() for kept in files(store.root / "corrupt")] == [bad]
    assert not path.exists()


def test_trailing_bytes_are_refused(store: Store) -> None:
    object_id = store.publish(arrays(), HEADER)
    damage(store.path(object_id), store.path(object_id).read_bytes() + b"\0")
    with pytest.raises(Corrupt):
        store.load(object_id)


def test_two_objects_that_changed_places_are_both_refused(store: Store) -> None:
    one, other = store.publish({"a": np.zeros(3)}, HEADER), store.publish({"a": np.ones(3)}, HEADER)
    first, second = store.path(one).read_bytes(), store.path(other).read_bytes()
    damage(store.path(one), second)
    damage(store.path(other), first)
    for object_id in (one, other):
        with pytest.raises(Corrupt):
            store.load(object_id)
    assert len(files(store.root / "corrupt")) == 2


def test_evidence_of_one_damage_does_not_overwrite_that_of_another(store: Store) -> None:
    for damaged in (b"first", b"second", b"first"):
        object_id = store.publish(arrays(), HEADER)
        damage(store.path(object_id), damaged)
        assert not store.verify(object_id)
    assert sorted(path.read_bytes() for path in files(store.root / "corrupt")) == [b"first", b"first", b"second"]


def test_publishing_over_a_damaged_object_replaces_it_and_keeps_the_evidence(store: Store) -> None:
    object_id = store.publish(arrays(), HEADER)
    damage(store.path(object_id), b"rubbish")
    assert store.publish(arrays(), HEADER) == object_id
    assert store.verify(object_id)
    assert [path.read_bytes() for path in files(store.root / "corrupt")] == [b"rubbish"]


def test_bytes_that_fit_their_name_but_are_no_object_are_refused(store: Store) -> None:
    data = b"\xff" * 100
    object_id = hashlib.sha256(data).hexdigest()
    for read in (store.load, store.header):
        store.path(object_id).parent.mkdir(parents=True, exist_ok=True)
        store.path(object_id).write_bytes(data)
        with pytest.raises(Corrupt):
            read(object_id)
        assert not store.has(object_id)


def test_a_damaged_header_is_refused_or_reads_as_some_header_but_never_breaks_the_reader(store: Store) -> None:
    object_id = store.publish(arrays(), HEADER)
    path = store.path(object_id)
    good = path.read_bytes()
    header_end = 8 + int.from_bytes(good[:8], "little")
    refused = 0
    for byte in range(header_end):
        damage(path, good[:byte] + bytes([good[byte] ^ 0x10]) + good[byte + 1 :])
        try:
            store.header(object_id)
        except Corrupt:
            refused += 1
    assert refused > header_end // 4
    assert len(files(store.root / "corrupt")) == refused


@pytest.mark.parametrize(
    "text",
    [
        '{"__metadata__":{"wbltr":"[]"}}',
        '{"__metadata__":{"wbltr":3}}',
        '{"__metadata__":[]}',
        '{"__metadata__":{}}',
        "[]",
        '{"__metadata__":{"wbltr":"{\\"schema\\":true}"}}',
        '{"__metadata__":{"wbltr":"{\\"schema\\":1,\\"stage\\":3}"}}',
        "[" * 100_000,
    ],
)
def test_a_header_with_wrong_json_types_is_refused(store: Store, text: str) -> None:
    data = len(text).to_bytes(8, "little") + text.encode()
    object_id = hashlib.sha256(data).hexdigest()
    store.path(object_id).parent.mkdir(parents=True)
    store.path(object_id).write_bytes(data)
    with pytest.raises(Corrupt):
        store.header(object_id)


def test_a_sound_object_of_a_later_schema_names_the_remedy_and_stays(store: Store) -> None:
    text = b'{"__metadata__":{"wbltr":"{\\"schema\\":2}"}}'
    data = len(text).to_bytes(8, "little") + text
    object_id = hashlib.sha256(data).hexdigest()
    store.path(object_id).parent.mkdir(parents=True)
    store.path(object_id).write_bytes(data)
    with pytest.raises(WbltrError, match="schema 2") as caught:
        store.header(object_id)
    assert caught.value.code == "newer"
    assert store.has(object_id)


def test_a_damaged_object_that_claims_a_later_schema_is_damaged_and_not_newer(store: Store) -> None:
    object_id = store.publish(arrays(), HEADER)
    good = store.path(object_id).read_bytes()
    damage(store.path(object_id), good.replace(b'\\"schema\\":1', b'\\"schema\\":3'))
    with pytest.raises(Corrupt):
        store.header(object_id)
    assert not store.has(object_id)


def test_an_object_that_is_not_there_has_vanished(store: Store) -> None:
    for read in (store.load, store.header, store.size, store.verify, store.key_of_object):
        with pytest.raises(Vanished) as caught:
            read("ab" * 32)
        assert (caught.value.object_id, caught.value.code) == ("ab" * 32, "missing")
    assert not store.has("ab" * 32)


def test_an_id_that_is_none_never_becomes_a_path(store: Store) -> None:
    for text in ("../../etc/passwd", "", "ab", "AB" * 32):
        with pytest.raises(WbltrError, match="64 hex digits"):
            store.path(text)


def test_an_object_from_another_store_is_adopted_and_the_file_stays(store: Store, tmp_path: Path) -> None:
    other = Store.open(tmp_path / "other")
    object_id = other.publish(arrays(), HEADER)
    copy = tmp_path / "mine.safetensors"
    copy.write_bytes(other.path(object_id).read_bytes())
    assert store.adopt(copy) == store.adopt(other.path(object_id)) == store.adopt(store.path(object_id)) == object_id
    assert store.header(object_id) == HEADER
    assert copy.exists()
    assert other.verify(object_id)


def test_a_file_that_is_damaged_or_no_object_is_not_adopted_and_stays(store: Store, tmp_path: Path) -> None:
    other = Store.open(tmp_path / "other")
    good = other.path(other.publish(arrays(), HEADER)).read_bytes()
    foreign = save({"a": np.zeros(3)}, {"format": "pt"})
    cut = good[:-8]
    later = good.replace(b'\\"schema\\":1', b'\\"schema\\":2')
    for name, data, code in [
        ("ab" * 32, good, "integrity"),
        ("foreign", foreign, "usage"),
        ("cut", cut, "usage"),
        ("text", b"hello, world", "usage"),
        ("empty", b"", "usage"),
        ("later", later, "newer"),
    ]:
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(data)
        with pytest.raises(WbltrError, match=name) as caught:
            store.adopt(path)
        assert caught.value.code == code
        assert path.read_bytes() == data
    with pytest.raises(WbltrError) as caught:
        store.adopt(tmp_path / "nowhere")
    assert caught.value.code == "disk"
    assert list(store.objects()) == []


def test_foreign_files_among_the_objects_are_passed_over(store: Store) -> None:
    object_id = store.publish(arrays(), HEADER)
    for name in (f"objects/{object_id[:2]}/notes.safetensors", "objects/zz/x.safetensors", f"objects/{object_id[:2]}/x.tmp"):
        (store.root / name).parent.mkdir(exist_ok=True)
        (store.root / name).write_bytes(b"")
    assert list(store.objects()) == [object_id]


def test_torch_tensors_are_taken_and_go_back_without_a_warning(store: Store) -> None:
    torch = pytest.importorskip("torch")
    weight = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    loaded = store.load(store.publish({"w": weight.T, "step": torch.tensor(3)}, HEADER))
    assert torch.equal(torch.from_numpy(loaded["w"]), weight.T)
    assert torch.from_numpy(loaded["step"]).item() == 3


def test_importing_the_store_imports_no_array_library(finish: Finish) -> None:
    loaded = finish("import sys, wbltr.store; print(*sys.modules)").split()
    assert "wbltr.store" in loaded
    assert not {"numpy", "torch", "safetensors", "filelock"} & set(loaded)


def test_a_span_says_where_a_tensors_bytes_lie_in_a_sound_file(store: Store) -> None:
    tensors: dict[str, np.ndarray[Any, Any]] = {"a": np.arange(7, dtype=np.uint8), "b": np.arange(5, dtype=np.float32)}
    object_id = store.publish(tensors, HEADER)
    for name, array in tensors.items():
        path, begin = store.span(object_id, name)
        assert path.read_bytes()[begin : begin + array.nbytes] == array.tobytes()
    with pytest.raises(Corrupt, match="no tensor 'c'"):
        store.span(object_id, "c")
    assert store.has(object_id)
    damage(store.path(object_id), store.path(object_id).read_bytes()[:-1] + b"x")
    with pytest.raises(Corrupt, match="SHA-256"):
        store.span(object_id, "a")
    with pytest.raises(Vanished):
        store.span(object_id, "a")


def test_large_tensors_are_written_without_a_copy_in_memory_and_give_the_same_object(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = store.publish(arrays(), HEADER)
    monkeypatch.setattr(objects, "WRITE_ABOVE", 0)
    other = Store.open(tmp_path / "other")
    assert other.publish(arrays(), HEADER) == small
    assert other.path(small).read_bytes() == store.path(small).read_bytes()
    assert stat.S_IMODE(other.path(small).stat().st_mode) == 0o444
    assert other.publish(arrays(), HEADER) == small, "again"
    damage(other.path(small), b"damaged")
    assert other.publish(arrays(), HEADER) == small, "over one that is damaged"
    np.testing.assert_array_equal(other.load(small)["val.labels"], np.arange(9))
    assert files(other.root / "tmp") == []


def test_large_tensors_that_do_not_fit_on_the_disk_are_a_disk_error(store: Store) -> None:
    script = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    run = f"""{script}
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import numpy as np
from pathlib import Path
from wbltr.errors import WbltrError
from wbltr.store import Store, objects
objects.WRITE_ABOVE = 0
try:
    Store.open(Path({str(store.root)!r})).publish({{"x": np.zeros(10_000)}}, {HEADER!r})
except WbltrError as error:
    print(error.code)
"""
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["disk"]
    assert files(store.root / "tmp") == []
    assert list(store.objects()) == []
