"""What a store remembers of files that lie outside it: their digests, as long as size and times stay what they were."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from wbltr.errors import WbltrError
from wbltr.regular import open_regular
from wbltr.store import Store

if TYPE_CHECKING:
    from wbltr.data.digests import StatCache


def seen_files(store: Store, name: str) -> StatCache:
    """The store's list of this name."""
    from wbltr.data.digests import StatCache

    kept = store.root / "stat" / f"{name}.txt"

    def save(text: str) -> None:
        with suppress(WbltrError):  # a store that cannot be written to still gives what it has
            store.put(kept, text.encode("utf-8", "surrogateescape"), replace=True)

    try:
        with open_regular(kept) as file:
            return StatCache(file.read().decode("utf-8", "surrogateescape"), save)
    except OSError:
        return StatCache("", save)
