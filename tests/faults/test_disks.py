"""Full disks, stores that may not be written, stores of other people: one line, exit 6, and the store as it was."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.audit import audit
from faults.counted import Counted
from faults.nursery import TOYS, Ended, Nursery

ROW = "full disks, read-only stores, foreign owners, umasks"
MAKE = "faults.commands:make"
PUBLISH = "faults.commands:publish"
ANOTHER = "faults.commands:another"
LARGE = (3, 20_000)  # steps and size of a chain of two objects of 160 kB each, and checkpoints

needs_root = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="another user, and mounts, need root")


@pytest.fixture
def mounting(tmp_path: Path) -> Iterator[Nursery]:
    """A nursery whose children may mount, unseen by anybody else."""
    prefix = ("unshare", "--mount")
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("no namespace of mounts may be made here")
    nursery = Nursery(tmp_path, *TOYS, prefix=prefix)
    nursery.warm(MAKE, tmp_path / "warm")
    yield nursery
    nursery.close()


def refused(ended: Ended, root: Path) -> None:
    """It was one line that names the store, with what to do."""
    assert ended.code == 6, ended
    line, hint = ended.err.splitlines()
    assert line.startswith(f"error: {root}"), ended
    assert hint.startswith("  "), ended
    assert ended.out == ""


def content(root: Path) -> dict[str, str]:
    """Every file of a store: path → digest."""
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


@needs_root
def test_a_disk_that_fills_up_leaves_whole_things_and_the_next_command_finishes_once_there_is_room(
    mounting: Nursery, folder: Path, counted: Counted
) -> None:
    place = folder / "disk"
    place.mkdir()
    expected = mounting.run(MAKE, folder / "roomy", *LARGE).out
    for size in range(16, 336, 16):
        mounting.warm("faults.commands:mount", place, f"size={size}k")
        store = place / "store"
        refused(mounting.run(MAKE, store, *LARGE), store)
        assert audit(mounting.seen(store), left=False) == [], f"{size} kB"
        mounting.warm("faults.commands:mount", place, "remount,size=8m")
        again = mounting.run(MAKE, store, *LARGE)
        assert (again.code, again.out) == (0, expected), again
        assert audit(mounting.seen(store), left=False) == []
        counted(ROW, 1)


@needs_root
def test_a_store_mounted_read_only_answers_what_it_has_and_refuses_the_rest(
    mounting: Nursery, folder: Path, counted: Counted
) -> None:
    place = folder / "disk"
    place.mkdir()
    mounting.warm("faults.commands:mount", place, "size=8m")
    made = mounting.run(MAKE, place / "store")
    before = content(mounting.seen(place / "store"))
    mounting.warm("faults.commands:mount", place, "remount,ro")
    again = mounting.run(MAKE, place / "store")
    assert (again.code, again.out) == (0, made.out), again
    refused(mounting.run(MAKE, place / "store", 5), place / "store")
    refused(mounting.run(MAKE, place / "new"), place / "new")
    assert content(mounting.seen(place / "store")) == before
    counted(ROW, 3)


@needs_root
@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_a_store_of_another_owner_is_used_as_far_as_its_permissions_go(
    toys: Nursery, folder: Path, counted: Counted, umask: str
) -> None:
    store = folder / "store"
    made = toys.run("faults.commands:masked", umask, MAKE, store, folder=folder)
    assert made.code == 0, made
    before = content(store)
    assert audit(store) == []
    cached = toys.run(ANOTHER, umask, MAKE, store, folder=folder)
    new = toys.run(ANOTHER, umask, PUBLISH, store, folder=folder)
    if umask == "000":  # everybody's
        assert (cached.code, new.code) == (0, 0), (cached, new)
        assert cached.out == made.out
    else:
        refused(new, store)
        assert content(store) == before
        if umask == "022":  # everybody may look
            assert (cached.code, cached.out) == (0, made.out), cached
        else:
            refused(cached, store)
    assert audit(store) == []
    counted(ROW, 2)


@needs_root
def test_a_folder_in_which_nobody_else_may_make_a_store_is_refused(toys: Nursery, folder: Path, counted: Counted) -> None:
    refused(toys.run(ANOTHER, "022", MAKE, folder / "store", folder=folder), folder / "store")
    assert not (folder / "store").exists()
    counted(ROW, 1)
