"""The verbs of `wbltr recipe`: what there is, and whether it is sound. None of them imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from wbltr.cli.completing import recipes
from wbltr.cli.options import EVERYWHERE, verb
from wbltr.cli.request import Request
from wbltr.cli.stores import console_of

if TYPE_CHECKING:
    from wbltr.recipe import Recipe

recipe = typer.Typer(help="The recipes that come with wbltr, and your own.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME|FILE", autocompletion=recipes)]


@verb(recipe, "recipe list", EVERYWHERE)
def recipe_list(request: Request) -> None:
    """Example:  wbltr recipe list

    Names of the recipes, and what each was measured to give.
    """
    from wbltr.cli.console import number
    from wbltr.recipe_file import load_recipe, recipe_names

    found = [load_recipe(name) for name in recipe_names()]
    if request.json:
        listed = [{"name": r.name, "paper": r.paper, "claim": r.claim and r.claim.model_dump(mode="json")} for r in found]
        console_of(request).document({"schema": 1, "command": "recipe list", "recipes": listed})
        return
    rows = []
    for one in found:
        claim = one.claim
        figure = f"{number(claim.all)} ({claim.row}, {claim.on})" if claim and claim.all is not None else "not yet measured"
        rows.append((one.name, _images(one), one.features.network, figure))
    console_of(request).table(("recipe", "images", "network", "measured"), rows)


@verb(recipe, "recipe show", ("set", *EVERYWHERE))
def recipe_show(request: Request, name: Name) -> None:
    """Example:  wbltr recipe show cifar100-ir100

    A recipe with every field and default filled in.
    """
    import yaml

    from wbltr.recipe_file import load_recipe

    values = load_recipe(name, request.set).model_dump(mode="json")
    if request.json:
        console_of(request).document({"schema": 1, "command": "recipe show", "recipe": values})
    else:
        console_of(request).result(yaml.safe_dump(values, sort_keys=False, allow_unicode=True).rstrip())


@verb(recipe, "recipe check", EVERYWHERE)
def recipe_check(request: Request, name: Name) -> None:
    """Example:  wbltr recipe check ./mine.yaml

    Every mistake of a recipe at once, with file and line.
    """
    from wbltr.recipe_file import load_recipe

    found = load_recipe(name)
    if request.json:
        console_of(request).document({"schema": 1, "command": "recipe check", "name": found.name, "valid": True})
    else:
        console_of(request).result(f"{found.name}: valid")


def _images(recipe: Recipe) -> str:
    """A recipe's images in a word: `cifar100 IF 100`; a set that is long-tailed as it is has no factor."""
    factor = recipe.dataset.imbalance_factor
    return recipe.dataset.source if factor is None else f"{recipe.dataset.source} IF {factor:g}"
