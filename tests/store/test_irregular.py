"""Pipes, devices, folders and files beyond all measure where a store has files: no reader waits, and each says what it met."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wbltr.errors import WbltrError
from wbltr.regular import NotRegular, open_regular, read_regular
from wbltr.store import Store, key_of

Finish = Callable[..., str]
SECONDS = 120  # of a process, after which it is killed and the test fails

# What may lie in the place of a file.
KINDS: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "nothing": lambda path: path.symlink_to("nowhere"),
    "itself": lambda path: path.symlink_to(path.name),
    "empty": Path.touch,
    "huge": lambda path: _sparse(path, 1 << 40),
}


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        try:
            file.truncate(size)
        except OSError:
            pytest.skip("no file of this size here")


def replaced(path: Path, kind: str) -> None:
    path.unlink()
    KINDS[kind](path)


def made(root: Path) -> tuple[Store, list[str], list[str]]:
    """A store of three objects, the last on the first, with two refs: its objects and keys."""
    store = Store(root, "own")
    (root / "FORMAT").parent.mkdir(parents=True)
    (root / "FORMAT").write_text("wbltr-store 1\n")
    ids: list[str] = []
    keys: list[str] = []
    for number in range(3):
        header = {"stage": f"s{number}", "revision": 1, "config": {}, "inputs": {"below": ids[0]} if number == 2 else {}}
        ids.append(store.publish({"a": np.full(3, number)}, header))
        keys.append(key_of(header))
        store.write_record(keys[-1], {"object": ids[-1], **header})
    store.set_ref("mine/one", ids[1])
    store.set_ref("mine/two", ids[2])
    return store, ids, keys


# Every reader of a store, in a process that may take neither time nor memory for ever.
READERS = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
from wbltr.errors import WbltrError
from wbltr.store import Store, Vanished
from wbltr.store.garbage import find_garbage
from wbltr.store.links import links_of
from wbltr.store.rebuild import rebuild
def told(work):
    try:
        return work()
    except WbltrError as error:
        assert error.code in ("integrity", "missing", "disk", "usage"), (error.code, error.message)
        assert error.message.isprintable(), error.message
store = told(lambda: Store.open(Path(sys.argv[1]), create=False)) or Store(Path(sys.argv[1]), "own")
ids, keys = sys.argv[2].split(","), sys.argv[3].split(",")
told(store.refs); told(lambda: store.resolve("mine/one")); told(lambda: store.resolve(ids[1][:8]))
told(lambda: find_garbage(store, 0)); told(lambda: list(store.records()))
for key in keys:
    told(lambda: store.record(key)); told(lambda: store.load_checkpoint(key)); told(lambda: store.metrics(key))
    told(lambda: store.claimed(key))
for object_id in ids:
    told(lambda: store.header(object_id)); told(lambda: store.load(object_id))
    told(lambda: store.span(object_id, "a")); told(lambda: store.verify(object_id))
told(lambda: links_of(store)); told(lambda: rebuild(store))
print(",".join(i for i in ids if told(lambda: store.has(i) and store.verify(i))))
"""
PLACES: dict[str, Callable[[Store, list[str], list[str]], Path]] = {
    "FORMAT": lambda store, ids, keys: store.root / "FORMAT",
    "object": lambda store, ids, keys: store.path(ids[1]),
    "record": lambda store, ids, keys: store.record_path(keys[1]),
    "ref": lambda store, ids, keys: store.root / "refs" / "own" / "mine" / "one",
    "checkpoint": lambda store, ids, keys: next(store.run_folder(keys[1]).glob("step-*")),
    "metrics": lambda store, ids, keys: store.run_folder(keys[1]) / "metrics.jsonl",
    "claim": lambda store, ids, keys: store.run_folder(keys[1]) / "claim.json",
}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "huge"])
@pytest.mark.parametrize("place", PLACES)
def test_no_reader_of_a_store_waits(tmp_path: Path, place: str, kind: str, finish: Finish) -> None:
    store, ids, keys = made(tmp_path / "store")
    store.save_checkpoint(keys[1], 1, {"a": np.zeros(3)}, {})
    store.append_metrics(keys[1], {"epoch": 1})
    (store.run_folder(keys[1]) / "claim.json").write_text("{}")
    replaced(PLACES[place](store, ids, keys), kind)
    sound = finish(READERS, store.root, ",".join(ids), ",".join(keys)).strip().split(",")
    assert sound == (ids if place != "object" else [ids[0], ids[2]])


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`wbltr store …` in a folder with a store of its own."""
    folder.mkdir(exist_ok=True)
    asked = [sys.executable, "-m", "wbltr.cli.app", "store", *words]
    environment = {name: value for name, value in os.environ.items() if name != "WBLTR_STORE"}
    return subprocess.run(asked, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_format_that_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    other, *_ = made(tmp_path / "other")
    replaced(other.root / "FORMAT", kind)
    done = command(tmp_path / "new", "pull", str(other.root))
    assert done.returncode in (2, 3, 4, 6), done
    assert str(other.root) in done.stderr
    assert not list((tmp_path / "new").glob(".wbltr/objects/*/*"))


@pytest.mark.parametrize("kind", [*KINDS, "no JSON", "of another key", "means nothing"])
def test_a_record_that_cannot_be_read_is_named_and_the_rest_is_fetched(tmp_path: Path, kind: str) -> None:
    other, ids, keys = made(tmp_path / "other")
    path = other.record_path(keys[1])
    record = json.loads(path.read_bytes())
    path.unlink()
    if kind in KINDS:
        KINDS[kind](path)
    else:
        bad = {"no JSON": "{", "of another key": json.dumps({**record, "key": keys[0]})}
        path.write_text(bad.get(kind, json.dumps({**record, "object": "ab" * 32})))
    done = command(tmp_path / "new", "pull", str(other.root))
    new = Store(tmp_path / "new" / ".wbltr", "own")
    if kind in ("folder", "nothing"):  # as good as none
        assert done.returncode in (0, 4), done
    else:
        assert done.returncode == 4, done
        assert keys[1] in done.stderr
    assert sorted(new.objects()) == sorted(ids)
    assert {key for key, _ in new.records()} == {keys[0], keys[2]}
    assert new.refs() == other.refs()


@pytest.mark.parametrize("kind", [*KINDS, "no id", "an object that is gone"])
def test_a_ref_that_cannot_be_read_is_named_and_the_rest_is_fetched(tmp_path: Path, kind: str) -> None:
    other, ids, _ = made(tmp_path / "other")
    path = other.root / "refs" / "own" / "mine" / "one"
    path.unlink()
    if kind in KINDS:
        KINDS[kind](path)
    else:
        path.write_text("hello\n" if kind == "no id" else "ab" * 32 + "\n")
    done = command(tmp_path / "new", "pull", str(other.root))
    if kind == "folder":  # where names lie
        assert done.returncode == 0, done
    elif kind != "nothing":
        assert done.returncode == 4, done
        assert "ref mine/one" in done.stderr
    new = Store(tmp_path / "new" / ".wbltr", "own")
    assert sorted(new.objects()) == sorted([ids[0], ids[2]])
    assert new.refs() == {"mine/two": ids[2]}


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_that_is_no_file_ends_a_pull_in_one_line(tmp_path: Path, kind: str) -> None:
    other, ids, _ = made(tmp_path / "other")
    replaced(other.path(ids[1]), kind)
    done = command(tmp_path / "new", "pull", str(other.root))
    assert done.returncode in (0, 4, 6), done
    assert ids[1] not in set(Store(tmp_path / "new" / ".wbltr", "own").objects())
    if done.returncode:
        assert len(done.stderr.splitlines()) <= 3


def test_a_push_names_the_records_of_ones_own_that_it_leaves_out(tmp_path: Path) -> None:
    store, ids, keys = made(tmp_path / "mine" / ".wbltr")
    replaced(store.record_path(keys[1]), "pipe")
    done = command(tmp_path / "mine", "push", str(tmp_path / "there"), "--json")
    assert done.returncode == 4, done
    assert json.loads(done.stdout.splitlines()[0])["unread"] == [f"record {keys[1]}"]
    assert sorted(Store(tmp_path / "there", "own").objects()) == sorted(ids)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_refused_before_it_is_read(tmp_path: Path, kind: str) -> None:
    KINDS[kind](tmp_path / "x")
    for read in (open_regular, lambda path: read_regular(path, 10)):
        with pytest.raises(NotRegular, match="no regular file"):
            read(tmp_path / "x")


def test_a_regular_file_is_read_whole_up_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    (tmp_path / "link").symlink_to("x")
    assert read_regular(tmp_path / "link", 10) == b"0123456789"
    with pytest.raises(NotRegular, match="at most 9"):
        read_regular(tmp_path / "x", 9)
    with open_regular(tmp_path / "x") as file:
        assert file.read(3) == b"012"


def test_an_object_that_is_no_file_is_not_adopted(tmp_path: Path, store: Store) -> None:
    os.mkfifo(tmp_path / "x.safetensors")
    with pytest.raises(WbltrError, match="no regular file") as caught:
        store.adopt(tmp_path / "x.safetensors")
    assert caught.value.code == "integrity"
