"""What a user brings, settled before any key: the digest of a file of embeddings. No torch here."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from wbltr.errors import WbltrError
from wbltr.pipeline import Runtime, artifacts
from wbltr.recipe import Recipe
from wbltr.store import Store


def settle_embeddings(store: Store, recipe: Recipe, runtime: Runtime) -> tuple[str, Path | None]:
    """The SHA-256 of the recipe's file of embeddings, and the file.

    Where it is no longer there, the digest of what was made of it stands in.

    Raises:
        WbltrError: "missing" where there is neither.
    """
    path = Path(recipe.embeddings_file).expanduser()
    if path.is_file():
        return known_digest(store, path, "embeddings"), path
    section = recipe.dataset.hashed()
    earlier = [
        made
        for made in artifacts(store)
        if made.stage == "dataset"
        and made.config == section
        and (made.record.get("recipe") or {}).get("embeddings_file") == recipe.embeddings_file
    ]
    if not earlier:
        raise WbltrError(f"{path}: no such file of embeddings", "name it: --set embeddings_file=FILE", "missing")
    last = max(earlier, key=lambda made: str(made.record.get("witness", {}).get("started", "")))
    runtime.notice(f"{path} is not here; using the dataset {last.object_id[:12]}")
    return last.inputs["source"], None


def known_digest(store: Store, path: Path, kind: str) -> str:
    """SHA-256 of a large file, 64 hex digits; read once, as long as it stays what it is.

    Args:
        kind: names the store's list of such files.

    Raises:
        WbltrError: "missing" for one that cannot be read.
    """
    from wbltr.data.digests import Seen, StatCache, file_digest

    kept = store.root / "stat" / f"{kind}.txt"

    def save(text: str) -> None:
        with suppress(WbltrError):  # a store that cannot be written to still gives what it has
            store.put(kept, text.encode(), replace=True)

    try:
        text = kept.read_text(errors="replace")
    except OSError:
        text = ""
    cache, place = StatCache(text, save), os.path.realpath(path)
    try:
        stat = path.stat()
        seen = cache.get(place, stat)
        if seen is None:
            seen = Seen(file_digest(path))
            cache.put(place, stat, seen)
            cache.save()
    except OSError as error:
        raise WbltrError(f"{path}: cannot be read: {error.strerror}", "see its permissions", "missing") from None
    return seen.digest.hex()
