"""What lies outside the store and goes into keys all the same: the images of a set that lists name. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from wbltr.data.digests import StatCache
from wbltr.data.imagefiles import ListedImages, expanded, is_folder, look
from wbltr.data.listed import LISTED
from wbltr.errors import WbltrError
from wbltr.pipeline import Runtime, artifacts
from wbltr.recipe import DatasetConfig
from wbltr.store import Store


def settle_source(
    store: Store, section: DatasetConfig, lists: Sequence[Path], runtime: Runtime
) -> tuple[str, ListedImages | None]:
    """Look at the images of a set that lists name, before any key: the digest of what they are, and what was found.

    Where there is no folder to look in, the digest of an earlier make of the same section stands in.

    Args:
        lists: --list.

    Raises:
        WbltrError: code "usage" for lists of a set that has none; what `wbltr.data.imagefiles.look` raises.
    """
    if not section.listed:
        if lists:
            raise WbltrError(f"--list: {section.source} has no lists", "leave it out, or name another recipe", "usage")
        return "", None
    earlier = [made for made in artifacts(store) if made.stage == "dataset" and made.config == section.hashed()]
    earlier.sort(key=lambda made: str(made.record.get("witness", {}).get("started", "")))
    roots = [root for root in runtime.roots if root != store.root / "downloads"]
    if earlier and not any(is_folder(expanded(root)) for root in roots):
        runtime.notice(f"{section.source}: its images are not here; using the dataset {earlier[-1].object_id[:12]}")
        return earlier[-1].inputs["source"], None
    if not lists and earlier:
        named = [Path(path) for path in earlier[-1].record.get("witness", {}).get("lists", [])]
        lists = named if all(path.is_file() for path in named) else []
    kept = store.root / "stat" / f"{section.source}.txt"

    def save(text: str) -> None:
        with suppress(WbltrError):  # a store that cannot be written to still gives what it has
            store.put(kept, text.encode(), replace=True)

    try:
        text = kept.read_text(errors="replace")
    except OSError:
        text = ""
    cache = StatCache(text, save)
    found = look(LISTED[section.source], lists, roots, cache, runtime.tick, runtime.notice)
    return found.content, found
