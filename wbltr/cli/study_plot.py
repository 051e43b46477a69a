"""`plot study`: finds a study and draws what it tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wbltr.cli.console import Console
from wbltr.cli.request import Request
from wbltr.cli.tuning import studies
from wbltr.errors import WbltrError, closest
from wbltr.recipe_file import load_recipe, recipe_from_record
from wbltr.report.drawing import Drawing, Searched, draw_study
from wbltr.store import Store

if TYPE_CHECKING:
    from wbltr.studies.study import Past

FIRST = "wbltr tune features --recipe digits-ir50"


def study_drawn(request: Request, name: str | None, place: str | None) -> tuple[Drawing, dict[str, str]] | None:
    """The figure of the study named, else of the one begun last; None with --dry-run, which makes nothing."""
    for option, given in (("--from", request.start), ("--set", request.set), ("--seed", request.seed)):
        if given not in (None, []):
            raise WbltrError(f"{option}: plot study does not read it", "name the study: --study NAME", "usage")
    recipe = None if request.recipe is None else load_recipe(request.recipe, []).name
    console = Console(json=request.json, quiet=request.quiet, no_color=request.no_color)
    past = _chosen(_known(request, place), name, recipe)
    asked = recipe_from_record(past.facts.get("recipe"))
    if asked is None:
        raise WbltrError(f"study {past.name} does not say of which recipe it is", "go on with it: the same wbltr tune", "usage")
    console.notice(f"study {past.name}, {len(past.trials)} trials; another: --study NAME")
    if not any(trial.accuracy is not None and trial.values["weight_decay"] > 0 for trial in past.trials):
        raise WbltrError(f"study {past.name}: no trial came to its end", "go on with it: the same wbltr tune", "missing")
    if request.dry_run:
        return None
    tried = [
        # A stopped trial stands where it was stopped.
        Searched(one.values, one.curve[max(one.curve)] if one.curve else one.accuracy, one.curve is not None)
        for one in past.trials
    ]
    return draw_study(asked, past.facts["judged"], tried), {}


def _known(request: Request, place: str | None) -> list[Past]:
    """Every study of a storage, or of all journals in the store; the one begun last is the last."""
    from wbltr.studies.storage import Storage
    from wbltr.studies.study import past

    journals = [] if place is not None else studies(Store.open(request.store, create=False)).glob("*.journal")
    places = [place] if place is not None else sorted(map(str, journals))
    found = [one for where in places for one in past(Storage(where, create=False))]
    if not found:
        where = place or "this store"
        raise WbltrError(f"no study with finished trials in {where}", f"make one: {FIRST}", "missing")
    return sorted(found, key=lambda one: one.begun)


def _chosen(found: list[Past], name: str | None, recipe: str | None) -> Past:
    names = [one.name for one in found]
    if name is not None and not (found := [one for one in found if one.name.startswith(name)]):
        raise WbltrError(f"--study {name}: no such study.{closest(name, names)}", f"studies: {', '.join(names)}", "missing")
    own = [one for one in found if recipe in (None, one.facts.get("recipe", {}).get("name"))]
    if not own:
        others = ", ".join(one.name for one in found)
        raise WbltrError(f"--recipe {recipe}: no study is of it", f"studies of other recipes: {others}", "missing")
    return own[-1]
