"""What the shell offers after a tab: names of the store, rows of a table, recipes. None of it imports torch."""

from __future__ import annotations

from pathlib import Path

import typer

from wbltr.errors import WbltrError


def recipes(incomplete: str) -> list[str]:
    """Names of recipes."""
    from wbltr.recipe_file import recipe_names

    return [name for name in recipe_names() if name.startswith(incomplete)]


def refs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names in the store that the command line means; none where there is no store."""
    from wbltr.store import Store

    folder = ctx.params.get("store")
    try:
        store = Store.open(None if folder is None else Path(folder), create=False)
        return [name for name in store.refs() if name.startswith(incomplete)]
    except WbltrError:
        return []


def rows(incomplete: str) -> list[str]:
    """Rows of a table; in a list such as `tau,l2` the last one is completed."""
    from wbltr.methods.rows import ROWS

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{row}" for row in ROWS if row.startswith(last)]
