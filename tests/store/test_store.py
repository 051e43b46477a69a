from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wbltr.errors import WbltrError
from wbltr.store import Store, files

HEADER: dict[str, Any] = {"stage": "toy", "revision": 1, "config": {}, "inputs": {}}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("WBLTR_STORE", raising=False)
    folder = tmp_path / "project" / "deep"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def test_a_new_store_is_made_here_and_says_what_it_is(here: Path) -> None:
    store = Store.open()
    assert store.root == here / ".wbltr"
    assert (store.root / "FORMAT").read_text() == "wbltr-store 1\n"
    assert (store.root / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    assert Store.open().root == store.root


def test_the_nearest_store_upwards_is_used(here: Path) -> None:
    outer = Store.open(here.parent / ".wbltr")
    assert Store.open().root == outer.root == here.parent / ".wbltr"
    (here / ".wbltr").mkdir()
    assert Store.open().root == here / ".wbltr"


def test_an_explicit_folder_comes_before_the_variable_and_that_before_the_nearest(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open()
    monkeypatch.setenv("WBLTR_STORE", str(here / "variable"))
    assert Store.open().root == here / "variable"
    assert Store.open(here / "explicit").root == here / "explicit"
    monkeypatch.setenv("WBLTR_STORE", "")
    assert Store.open().root == here / ".wbltr"


def test_a_workspace_is_the_directory_that_holds_the_store(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Store.open()
    (here / "below").mkdir()
    monkeypatch.chdir(here / "below")
    assert Store.open().workspace == own.workspace
    assert Store.open(here / ".wbltr").workspace == own.workspace
    assert Store.open(here / "shared").workspace != own.workspace


def test_the_workspace_of_a_shared_store_is_the_working_directory(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Store.open(here / "shared")
    monkeypatch.chdir(here.parent)
    assert Store.open(here / "shared").workspace != one.workspace
    assert len(one.workspace) == 16


def test_without_leave_to_create_a_missing_store_is_said_and_not_made(here: Path) -> None:
    (here / "empty").mkdir()
    for folder in (None, here / "nowhere", here / "empty"):
        with pytest.raises(WbltrError, match="no store here") as caught:
            Store.open(folder, create=False)
        assert caught.value.code == "missing"
    assert list(here.iterdir()) == [here / "empty"]
    assert list((here / "empty").iterdir()) == []


@pytest.mark.parametrize("create", [True, False])
def test_a_folder_of_something_else_is_refused_and_left_as_it_is(here: Path, create: bool) -> None:
    (here / "thesis.tex").touch()
    with pytest.raises(WbltrError, match=r"found 'thesis.tex' and no FORMAT") as caught:
        Store.open(here, create=create)
    assert caught.value.code == "usage"
    assert list(here.iterdir()) == [here / "thesis.tex"]


@pytest.mark.parametrize(
    ("text", "code"), [("wbltr-store 2\n", "newer"), ("wbltr-store x", "integrity"), ("\xff\xfe", "integrity")]
)
def test_a_store_of_another_format_is_refused(here: Path, text: str, code: str) -> None:
    root = Store.open().root
    (root / "FORMAT").write_bytes(text.encode("latin-1"))
    with pytest.raises(WbltrError, match="FORMAT") as caught:
        Store.open()
    assert caught.value.code == code


def test_a_store_whose_making_was_cut_short_is_made_again(here: Path) -> None:
    (here / ".wbltr" / "tmp").mkdir(parents=True)
    (here / ".wbltr" / "tmp" / "1-abc").touch()
    assert (Store.open().root / "FORMAT").read_text() == "wbltr-store 1\n"


def test_a_file_in_the_place_of_the_store_is_refused(here: Path) -> None:
    (here / "file").write_text("mine")
    for place in (here / "file", Path(os.devnull)):
        with pytest.raises(WbltrError, match="is a file") as caught:
            Store.open(place)
        assert caught.value.code == "usage"


def test_a_removed_working_directory_is_said(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here.rmdir()
    with pytest.raises(WbltrError, match="working directory") as caught:
        Store.open()
    assert caught.value.code == "missing"
    monkeypatch.chdir(here.parent)


def test_leftovers_older_than_a_day_are_removed_and_younger_ones_stay(here: Path) -> None:
    store = Store.open()
    for opened in (True, False):
        for name, hours in (("old", 25), ("young", 23)):
            path = store.root / "tmp" / name
            path.touch()
            os.utime(path, (path.stat().st_mtime - hours * 3600,) * 2)
        if opened:
            Store.open()
        else:
            store.publish({"a": np.zeros(2)}, HEADER)
        assert [path.name for path in (store.root / "tmp").iterdir()] == ["young"]


def test_without_hard_links_objects_and_records_are_published_all_the_same(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store = Store.open()
    object_ids = [store.publish({"a": np.full(2, value)}, HEADER) for value in (1, 1, 2)]
    assert object_ids[0] == object_ids[1]
    assert all(store.verify(object_id) for object_id in object_ids)
    assert stat.S_IMODE(store.path(object_ids[0]).stat().st_mode) == 0o444
    store.write_record("ab" * 32, {"object": object_ids[0]})
    assert store.write_record("ab" * 32, {"object": object_ids[2]})["object"] == object_ids[0]
    assert list((store.root / "tmp").iterdir()) == []


@pytest.mark.parametrize("replace", [True, False])
def test_bytes_are_synced_before_they_get_their_name_and_the_name_after(
    here: Path, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    target = here / "x.json"
    sync, seen = os.fsync, []

    def observed(descriptor: int) -> None:
        status = os.fstat(descriptor)
        seen.append((stat.S_ISDIR(status.st_mode), status.st_size if stat.S_ISREG(status.st_mode) else 0, target.exists()))
        sync(descriptor)

    folder = files.Files(here)
    folder.make_folder(here / "tmp")
    monkeypatch.setattr(os, "fsync", observed)
    folder.put(target, b"whole", replace=replace)
    assert seen == [(False, 5, False), (True, 0, True)]


def test_every_new_folder_is_synced_into_the_one_above(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    files.Files(here).make_folder(here / "a" / "b" / "c")
    assert synced == [folder.stat().st_ino for folder in (here, here / "a", here / "a" / "b")]


def test_a_put_that_may_not_replace_leaves_the_first_content(here: Path) -> None:
    folder = files.Files(here)
    assert folder.put(here / "a" / "b", b"first", replace=False)
    assert not folder.put(here / "a" / "b", b"second", replace=False)
    assert (here / "a" / "b").read_bytes() == b"first"
    assert folder.put(here / "a" / "b", b"third", replace=True)
    assert (here / "a" / "b").read_bytes() == b"third"


def test_a_sound_file_that_took_the_name_of_a_damaged_one_is_not_quarantined(here: Path) -> None:
    folder = files.Files(here)
    folder.put(here / "x.json", b"damaged", replace=True)
    _, seen = files.file_digest(here / "x.json")
    folder.put(here / "x.json", b"sound", replace=True)
    assert folder.quarantine(here / "x.json", seen) is None
    assert (here / "x.json").read_bytes() == b"sound"
