"""The verbs that only look: recipes, status. None of them imports torch."""

from __future__ import annotations

from wbltr.cli.console import age, number
from wbltr.cli.request import Request
from wbltr.cli.stores import console_of, opened
from wbltr.recipe import Recipe


def recipe_list(request: Request) -> None:
    """Names and claims."""
    from wbltr.recipe_file import load_recipe, recipe_names

    found = [load_recipe(name) for name in recipe_names()]
    if request.json:
        listed = [{"name": r.name, "paper": r.paper, "claim": r.claim and r.claim.model_dump(mode="json")} for r in found]
        console_of(request).document({"schema": 1, "command": "recipe list", "recipes": listed})
        return
    rows = []
    for recipe in found:
        claim = recipe.claim
        figure = f"{number(claim.all)} ({claim.row}, {claim.on})" if claim and claim.all is not None else "not yet measured"
        rows.append((recipe.name, _images(recipe), recipe.features.network, figure))
    console_of(request).table(("recipe", "images", "network", "measured"), rows)


def recipe_show(request: Request, name: str) -> None:
    """Every field with its value."""
    import yaml

    from wbltr.recipe_file import load_recipe

    values = load_recipe(name, request.set).model_dump(mode="json")
    if request.json:
        console_of(request).document({"schema": 1, "command": "recipe show", "recipe": values})
    else:
        console_of(request).result(yaml.safe_dump(values, sort_keys=False, allow_unicode=True).rstrip())


def recipe_check(request: Request, name: str) -> None:
    """Every mistake at once, or one line that there is none."""
    from wbltr.recipe_file import load_recipe

    recipe = load_recipe(name)
    if request.json:
        console_of(request).document({"schema": 1, "command": "recipe check", "name": recipe.name, "valid": True})
    else:
        console_of(request).result(f"{recipe.name}: valid")


def status(request: Request) -> None:
    """The store and the latest artifact of each stage."""
    from wbltr.pipeline import artifact

    store = opened(request)
    rows = []
    for name, object_id in store.refs().items():
        if store.has(object_id):
            record = artifact(store, object_id).record
            recipe = (record.get("recipe") or {}).get("name", "")
            rows.append((name, object_id[:12], recipe, age(store.ref_age(name) or 0.0)))
    if request.json:
        listed = [{"ref": r[0], "artifact": r[1], "recipe": r[2]} for r in rows]
        console_of(request).document({"schema": 1, "command": "status", "store": str(store.root), "latest": listed})
        return
    console_of(request).table(("ref", "id", "recipe", ""), rows, f"store {store.root}")


def _images(recipe: Recipe) -> str:
    """A recipe's images in a word: `cifar100 IF 100`; a set that is long-tailed as it is has no factor."""
    factor = recipe.dataset.imbalance_factor
    return recipe.dataset.source if factor is None else f"{recipe.dataset.source} IF {factor:g}"
