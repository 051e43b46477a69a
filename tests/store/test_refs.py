from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wbltr.errors import WbltrError
from wbltr.store import Store, Vanished, key_of

HEADER: dict[str, Any] = {"stage": "toy", "revision": 1, "config": {}, "inputs": {}}


def publish(store: Store, value: int = 0) -> str:
    return store.publish({"a": np.full(3, value)}, HEADER)


def test_a_ref_means_what_it_was_last_set_to(store: Store) -> None:
    first, second = publish(store, 1), publish(store, 2)
    assert store.ref("latest/head") is None
    store.set_ref("latest/head", first)
    store.set_ref("latest/head", second)
    store.set_ref("tuned/été 2", first)
    assert store.ref("latest/head") == second
    assert store.refs() == {"latest/head": second, "tuned/été 2": first}


HOSTILE = [
    *("", "/etc/passwd", "../x", "a/../x", "a/..", "./x", "a//b", "a/", ".hidden", "a/.b", "-flag", " a", "a /b", "a\\b"),
    *("a\0b", "a\nb", "a\x1b[31m", "a\u202eb", "a\ud800", "beef", "x" * 201, "é" * 101),
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_is_refused_and_touches_nothing(store: Store, name: str) -> None:
    object_id = publish(store)
    before = sorted(store.root.parent.rglob("*"))
    for act in (lambda: store.set_ref(name, object_id), lambda: store.ref(name), lambda: store.ref_age(name)):
        with pytest.raises(WbltrError, match=r"^ref ") as caught:
            act()
        assert caught.value.code == "usage"
    assert sorted(store.root.parent.rglob("*")) == before
    assert "\x1b" not in caught.value.message


def test_a_ref_to_nothing_is_not_set(store: Store) -> None:
    with pytest.raises(Vanished):
        store.set_ref("mine", "ab" * 32)
    assert store.refs() == {}


def test_a_name_cannot_be_a_ref_and_the_start_of_others(store: Store) -> None:
    object_id = publish(store)
    store.set_ref("latest/head", object_id)
    store.set_ref("mine", object_id)
    for name in ("latest", "mine/x", "mine/x/y"):
        with pytest.raises(WbltrError, match="same path") as caught:
            store.set_ref(name, object_id)
        assert caught.value.code == "usage"
    assert store.ref("mine/x") is None
    assert store.ref_age("mine/x") is None


def test_a_garbled_ref_is_not_set(store: Store) -> None:
    store.set_ref("mine", publish(store))
    for text in (b"", b"\xff", b"../x", b"ab" * 31):
        (store.root / "refs" / store.workspace / "mine").write_bytes(text)
        assert store.ref("mine") is None
        assert store.refs() == {}


def test_the_age_of_a_ref_counts_from_when_it_was_set(store: Store) -> None:
    store.set_ref("mine", publish(store))
    path = store.root / "refs" / store.workspace / "mine"
    os.utime(path, (path.stat().st_mtime - 5000,) * 2)
    age = store.ref_age("mine")
    assert age is not None
    assert 4990 < age < 5500
    store.set_ref("mine", publish(store))
    age = store.ref_age("mine")
    assert age is not None
    assert age < 500
    assert store.ref_age("other") is None


def test_workspaces_do_not_see_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBLTR_STORE", str(tmp_path / "shared"))
    stores = {}
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        stores[name] = Store.open()
    object_id = publish(stores["one"])
    stores["one"].set_ref("mine", object_id)
    assert stores["other"].refs() == {}
    assert stores["other"].ref("mine") is None
    assert stores["other"].has(object_id)


def test_an_id_a_key_a_prefix_and_a_ref_all_lead_to_the_object(store: Store) -> None:
    object_id = publish(store)
    key = key_of(HEADER)
    store.write_record(key, {"object": object_id})
    store.set_ref("tuned/mine", object_id)
    for text in (object_id, object_id[:4], object_id[:10].upper(), key, key[:4], "tuned/mine"):
        assert store.resolve(text) == object_id


def test_a_prefix_of_several_objects_is_refused_with_the_candidates(store: Store) -> None:
    store.path("abcd" + "0" * 60).parent.mkdir(parents=True)
    for digit in "12":
        store.path("abcd" + digit * 60).touch()
    with pytest.raises(WbltrError, match="2 objects begin like this: abcd1111, abcd2222") as caught:
        store.resolve("abcd")
    assert caught.value.code == "missing"
    assert store.resolve("abcd1") == "abcd" + "1" * 60


def test_what_is_unknown_is_refused_and_what_is_near_is_offered(store: Store) -> None:
    object_id = publish(store)
    store.set_ref("latest/head", object_id)
    with pytest.raises(WbltrError, match=r"Did you mean 'latest/head'\?") as caught:
        store.resolve("latest/haed")
    assert caught.value.code == "missing"
    other = "0123" if not object_id.startswith("0123") else "4567"
    for text in ("", "ab", "../../etc", other, other * 17, object_id[:3], "a\nb"):
        with pytest.raises(WbltrError) as caught:
            store.resolve(text)
        assert caught.value.code == "missing"


def test_a_ref_to_an_object_that_is_gone_says_so(store: Store) -> None:
    object_id = publish(store)
    store.set_ref("mine", object_id)
    store.path(object_id).unlink()
    assert store.ref("mine") == object_id
    with pytest.raises(Vanished):
        store.resolve("mine")
