"""Missing permissions and limits, met by every way into the store. The rest: tests/faults."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from wbltr.store import Store, key_of

Start = Callable[..., "subprocess.Popen[str]"]
Finish = Callable[..., str]

READ_ONLY = """
import os, sys, socket, numpy, safetensors.numpy, filelock  # before the rights to read them are given up
from pathlib import Path
from wbltr.errors import WbltrError
from wbltr.store import Corrupt, Store, key_of

if os.geteuid() == 0:
    os.setgroups([])
    os.setegid(65534)
    os.seteuid(65534)
store = Store.open(Path(sys.argv[1]))
sound, damaged = sys.argv[2:4]
header = {"stage": "toy", "revision": 1, "config": {}, "inputs": {}}
key = key_of(header)
assert store.has(sound) and store.verify(sound)
assert store.load(sound)["a"].tolist() == [0, 0, 0] and store.header(sound) == header
assert store.record(key)["object"] == sound and dict(store.records()).keys() == {key}
assert store.resolve(sound[:8]) == sound
assert store.load_checkpoint(key)[0] == 3
assert store.ref_age("latest/toy") is not None or store.refs() == {}
try:
    store.load(damaged)
except Corrupt:
    assert store.has(damaged)
else:
    raise AssertionError("a damaged object was read")

def claim():
    with store.claim("ab" * 32):
        pass

for write in (
    lambda: store.publish({"a": numpy.ones(3)}, header),
    lambda: store.write_record("cd" * 32, {"object": sound}),
    lambda: store.set_ref("mine", sound),
    lambda: store.save_checkpoint(key, 4, {}, {}),
    lambda: store.append_metrics(key, {}),
    lambda: store.finish(key),
    claim,
):
    try:
        write()
    except WbltrError as error:
        assert error.code == "disk" and str(store.root) in error.message and "--store" in error.hint, error
    else:
        raise AssertionError("written to a read-only store")
"""

LIMITED = """
import errno, resource, sys, numpy
from pathlib import Path
from wbltr.errors import WbltrError
from wbltr.store import Store

store = Store.open(Path(sys.argv[1]))
header = {"stage": "toy", "revision": 1, "config": {}, "inputs": {}}
small = store.publish({"a": numpy.zeros(10)}, header)
store.save_checkpoint("ab" * 32, 1, {"a": numpy.zeros(10)}, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
large = {"a": numpy.arange(1_000_000)}
for write in (lambda: store.publish(large, header), lambda: store.save_checkpoint("ab" * 32, 2, large, {})):
    try:
        write()
    except WbltrError as error:
        assert error.code == "disk" and str(store.root) in error.message and "--store" in error.hint, error
        assert error.__cause__.errno == errno.EFBIG, error.__cause__
    else:
        raise AssertionError("there was room")
    assert list((store.root / "tmp").iterdir()) == []
assert list(store.objects()) == [small] and store.verify(small)
assert len(list((store.root / "objects").rglob("*.*"))) == 1
assert store.load_checkpoint("ab" * 32)[0] == 1
assert store.publish({"a": numpy.zeros(10)}, header) == small
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp()).resolve()
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def test_a_store_that_may_not_be_written_can_still_be_read(open_folder: Path, finish: Finish) -> None:
    header = {"stage": "toy", "revision": 1, "config": {}, "inputs": {}}
    store = Store.open(open_folder / "store")
    sound, damaged = store.publish({"a": np.zeros(3)}, header), store.publish({"a": np.full(3, 7)}, header)
    store.write_record(key_of(header), {"object": sound})
    store.set_ref("latest/toy", sound)
    store.save_checkpoint(key_of(header), 3, {}, {})
    store.path(damaged).chmod(0o644)
    store.path(damaged).write_bytes(b"damaged")
    for path in [store.root, *store.root.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(store.root.rglob("*"))
    finish(READ_ONLY, store.root, sound, damaged)
    assert sorted(store.root.rglob("*")) == before


def test_a_write_beyond_the_limit_on_file_sizes_leaves_the_store_as_it_was(store: Store, finish: Finish) -> None:
    finish(LIMITED, store.root)
