"""Kills, full disks and missing permissions, with real processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from wbltr.store import Store, key_of

Start = Callable[..., "subprocess.Popen[str]"]
Finish = Callable[..., str]

PUBLISH_FOREVER = """
import sys, numpy
from pathlib import Path
from wbltr.store import Store, key_of
store = Store.open(Path(sys.argv[1]))
print("ready", flush=True)
for index in range(10**9):
    header = {"stage": "toy", "revision": 1, "config": {"index": index}, "inputs": {}}
    object_id = store.publish({"a": numpy.full(300_000, index)}, header)
    store.write_record(key_of(header), {"object": object_id})
    store.set_ref("latest/toy", object_id)
    store.save_checkpoint(key_of(header)[:1] * 64, index, {"a": numpy.full(1000, index)}, {"index": index})
"""

# Dies by SIGKILL at its nth step that touches the disk, for every n until one child gets to its end.
KILL_AT_EVERY_STEP = """
import os, signal, sys, numpy, safetensors.numpy
from pathlib import Path
from wbltr.store import Store, key_of

TOUCHING = {"open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.utime"}
header = {"stage": "toy", "revision": 1, "config": {}, "inputs": {}}
steps, last = 0, -1

def step(event, arguments=None):
    global steps
    if event in TOUCHING:
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)

def publish(root):
    store = Store.open(root)
    object_id = store.publish({"a": numpy.arange(1000)}, header)
    store.write_record(key_of(header), {"object": object_id})
    store.set_ref("latest/toy", object_id)
    return store

sync = os.fsync
def counted_sync(descriptor):
    step("open")
    sync(descriptor)
    step("open")

for last in range(1, 1000):
    root = Path(sys.argv[1]) / str(last)
    child = os.fork()
    if child == 0:
        os.fsync = counted_sync
        sys.addaudithook(step)
        publish(root)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if root.exists():
        assert not list(root.glob("FORMAT*")) or (root / "FORMAT").read_text() == "wbltr-store 1\\n"
        store = Store.open(root)
        objects, records, refs = list(store.objects()), dict(store.records()), store.refs()
        assert all(store.verify(object_id) for object_id in objects)
        assert len(list((root / "records").rglob("*.json"))) == len(records) <= len(objects) <= 1
        assert set(refs.values()) <= {record["object"] for record in records.values()}
        assert not (root / "corrupt").exists()
        again = publish(root)
        assert again.record(key_of(header)) and again.verify(again.refs()["latest/toy"])
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
print(last)
"""

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

FULL = """
import errno, resource, sys, numpy
from pathlib import Path
from wbltr.errors import WbltrError
from wbltr.store import Store

store = Store.open(Path(sys.argv[1]))
header = {"stage": "toy", "revision": 1, "config": {}, "inputs": {}}
small = store.publish({"a": numpy.zeros(10)}, header)
store.save_checkpoint("ab" * 32, 1, {"a": numpy.zeros(10)}, {})
if sys.argv[2] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
large = {"a": numpy.arange(1_000_000)}
for write in (lambda: store.publish(large, header), lambda: store.save_checkpoint("ab" * 32, 2, large, {})):
    try:
        write()
    except WbltrError as error:
        assert error.code == "disk" and str(store.root) in error.message and "--store" in error.hint, error
        assert error.__cause__.errno == (errno.EFBIG if sys.argv[2] == "limit" else errno.ENOSPC), error.__cause__
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


def test_a_kill_at_any_step_leaves_a_sound_object_or_none_and_the_next_command_finishes(tmp_path: Path, finish: Finish) -> None:
    assert int(finish(KILL_AT_EVERY_STEP, tmp_path)) > 40


def test_kills_in_the_middle_of_large_writes_leave_only_sound_files(store: Store, start: Start) -> None:
    for delay in (0.0, 0.013, 0.029, 0.05, 0.083, 0.11):
        process = start(PUBLISH_FOREVER, store.root)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.kill()
        process.wait()
    assert all(store.verify(object_id) for object_id in store.objects())
    assert len(list(store.records())) == len(list((store.root / "records").rglob("*.json")))
    for folder in (store.root / "runs").glob("*"):
        if list(folder.glob("step-*")):
            assert store.load_checkpoint(folder.name) is not None
    assert not (store.root / "corrupt").exists()


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
    finish(FULL, store.root, "limit")


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path: Path, finish: Finish) -> None:
    mounted = ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o size=2m tmpfs "{tmp_path}" && exec "$@"', "sh")
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run([*mounted, "true"], capture_output=True).returncode:
        pytest.skip("mounting a small filesystem needs root on Linux")
    finish(FULL, tmp_path / "store", "disk", prefix=mounted)
