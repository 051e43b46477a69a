"""Every file system call of a publish fails once in each of six ways: nothing half-made is left, and a rerun gives the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from faults.audit import audit
from faults.commands import published
from faults.counted import Counted
from faults.injected import FAULTS, inject, places
from faults.nursery import Nursery
from wbltr.store import Store

PUBLISH = "faults.commands:publish"


@pytest.mark.parametrize("large", ["", "large"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_call_leaves_a_sound_store_and_the_next_command_finishes(
    toys: Nursery, folder: Path, counted: Counted, fault: str, large: str
) -> None:
    store, trace = folder / "store", folder / "trace"
    Store.open(store)
    found = places(toys, trace, PUBLISH, store, large)
    expected = published(Store.open(store), bool(large))
    for place in found:
        shutil.rmtree(store)
        Store.open(store)
        ended = inject(toys, trace, place, fault, PUBLISH, store, large)
        assert ended is not None, f"{place}: not reached"
        assert ended.code in ((-9,) if fault == "SIGKILL" else (0, 6)), f"{place}: {ended}"
        if ended.code == 6:
            line, hint = ended.err.splitlines()
            assert line.startswith("error: "), f"{place}: {ended.err}"
            assert hint.strip(), f"{place}: {ended.err}"
        kept = fault == "SIGKILL" or place.call.startswith(("unlink", "any"))  # any: the shim does not tell which
        assert audit(store, left=kept) == [], place
        assert published(Store.open(store), bool(large)) == expected
        assert audit(store) == [], place
    counted("every call of a publish", len(found))
