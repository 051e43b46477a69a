"""The verbs that only look: recipes, the store, status. None of them imports torch."""

from __future__ import annotations

from typing import Any

from wbltr.cli.console import Console, age, number
from wbltr.cli.request import Request
from wbltr.errors import WbltrError
from wbltr.recipe import Recipe


def _console(request: Request) -> Console:
    return Console(json=request.json, quiet=request.quiet, no_color=request.no_color)


def recipe_list(request: Request) -> None:
    """Names and claims."""
    from wbltr.recipe_file import load_recipe, recipe_names

    found = [load_recipe(name) for name in recipe_names()]
    if request.json:
        listed = [{"name": r.name, "paper": r.paper, "claim": r.claim and r.claim.model_dump(mode="json")} for r in found]
        _console(request).document({"schema": 1, "command": "recipe list", "recipes": listed})
        return
    rows = []
    for recipe in found:
        claim = recipe.claim
        figure = f"{number(claim.all)} ({claim.row}, {claim.on})" if claim and claim.all is not None else "not yet measured"
        rows.append((recipe.name, _images(recipe), recipe.features.network, figure))
    _console(request).table(("recipe", "images", "network", "measured"), rows)


def recipe_show(request: Request, name: str) -> None:
    """Every field with its value."""
    import yaml

    from wbltr.recipe_file import load_recipe

    values = load_recipe(name, request.set).model_dump(mode="json")
    if request.json:
        _console(request).document({"schema": 1, "command": "recipe show", "recipe": values})
    else:
        _console(request).result(yaml.safe_dump(values, sort_keys=False, allow_unicode=True).rstrip())


def recipe_check(request: Request, name: str) -> None:
    """Every mistake at once, or one line that there is none."""
    from wbltr.recipe_file import load_recipe

    recipe = load_recipe(name)
    if request.json:
        _console(request).document({"schema": 1, "command": "recipe check", "name": recipe.name, "valid": True})
    else:
        _console(request).result(f"{recipe.name}: valid")


def _store(request: Request) -> Any:
    from wbltr.store import Store

    return Store.open(request.store, create=False)


def store_ls(request: Request) -> None:
    """Every artifact."""
    from wbltr.pipeline import artifacts

    store = _store(request)
    names: dict[str, list[str]] = {}
    for name, object_id in store.refs().items():
        names.setdefault(object_id, []).append(name)
    listed = []
    for made in artifacts(store):
        object_id, record = made.object_id, made.record
        witness = record.get("witness", {})
        listed.append(
            {
                "artifact": object_id,
                "key": made.key,
                "stage": made.stage,
                "bytes": store.size(object_id),
                "recipe": (record.get("recipe") or {}).get("name"),
                "started": witness.get("started", ""),
                "seconds": witness.get("seconds"),
                "refs": names.get(object_id, []),
            }
        )
    listed.sort(key=lambda row: str(row["started"]))
    if request.json:
        _console(request).document({"schema": 1, "command": "store ls", "artifacts": listed})
        return
    rows = [
        (row["artifact"][:12], row["stage"], f"{row['bytes'] / 1e6:.1f} MB", row["recipe"] or "", ", ".join(row["refs"]))
        for row in listed
    ]
    total = sum(row["bytes"] for row in {r["artifact"]: r for r in listed}.values())
    _console(request).table(("id", "stage", "size", "recipe", "refs"), rows, f"{store.root}: {total / 1e6:.1f} MB")


def store_show(request: Request, text: str) -> None:
    """A record, whole."""
    import yaml

    from wbltr.pipeline import artifact

    store = _store(request)
    record = artifact(store, store.resolve(text)).record
    if request.json:
        _console(request).document({"schema": 1, "command": "store show", "record": record})
    else:
        _console(request).result(yaml.safe_dump(dict(record), sort_keys=False, allow_unicode=True).rstrip())


def store_verify(request: Request) -> None:
    """Hash every object."""
    store = _store(request)
    console = _console(request)
    checked = {object_id: store.verify(object_id) for object_id in store.objects()}
    damaged = [object_id for object_id, sound in checked.items() if not sound]
    if damaged:
        lines = "\n".join(f"object {object_id}: its bytes are not what its name promises" for object_id in damaged)
        raise WbltrError(lines, "they were moved to corrupt/; the command that made them makes them again", "integrity")
    if request.json:
        console.document({"schema": 1, "command": "store verify", "objects": len(checked), "damaged": []})
    else:
        console.result(f"{len(checked)} objects, all sound")


def status(request: Request) -> None:
    """The store and the latest artifact of each stage."""
    from wbltr.pipeline import artifact

    store = _store(request)
    rows = []
    for name, object_id in store.refs().items():
        if store.has(object_id):
            record = artifact(store, object_id).record
            recipe = (record.get("recipe") or {}).get("name", "")
            rows.append((name, object_id[:12], recipe, age(store.ref_age(name) or 0.0)))
    if request.json:
        listed = [{"ref": r[0], "artifact": r[1], "recipe": r[2]} for r in rows]
        _console(request).document({"schema": 1, "command": "status", "store": str(store.root), "latest": listed})
        return
    _console(request).table(("ref", "id", "recipe", ""), rows, f"store {store.root}")


def _images(recipe: Recipe) -> str:
    """A recipe's images in a word: `cifar100 IF 100`; a set that is long-tailed as it is has no factor."""
    factor = recipe.dataset.imbalance_factor
    return recipe.dataset.source if factor is None else f"{recipe.dataset.source} IF {factor:g}"
