"""A recipe that is there already under the name of the one to be written: what can be told of it before the work."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wbltr.errors import WbltrError
from wbltr.recipe import Recipe
from wbltr.recipe_file import load_recipe, parse_yaml, revise_recipe
from wbltr.recipe_writer import AS_SET

PLACES = ("images", "root", "embeddings_file")  # fields that say where somebody's own lies; no --set of them is written


def clash(out: Path, why: str, command: str = "") -> WbltrError:
    """What to raise where a file says something else than the recipe to be written.

    Args:
        command: what uses the file as it is; empty where it is no recipe for the same place.
    """
    keep = f"keep it: {command}; or " if command else ""
    told = f"{out}: is there already and says something else{': ' if why else ''}{why}"
    return WbltrError(told, f"{keep}write another: --out FILE", "usage")


def refuse_clash(out: Path, wanted: Sequence[tuple[str, Path | None]], settings: Sequence[str], command: str) -> None:
    """Refuse what is sure to clash: no recipe, one for another place, or one that was made with other settings.

    Args:
        wanted: fields that name a place, with what they will name; None: the field will be empty.
        settings: --set.
        command: see `clash`.

    Raises:
        WbltrError: code "usage".
    """
    if not out.exists():
        return
    try:
        there = load_recipe(f"{out.parent}/{out.name}")
        text = out.read_text("utf-8-sig")
        value, where = parse_yaml(text, out.name)
    except (WbltrError, OSError, ValueError):
        raise clash(out, "it is no recipe that can be read") from None
    for field, place in wanted:
        own = getattr(there, field)
        if _real(own) != _real(place):
            raise clash(out, f"it has {field}: {own}" if own else f"it has no {field}")
    asked = [setting for setting in settings if setting.partition("=")[0].partition(".")[0].strip() not in PLACES]
    if not holds(there, value, asked):
        raise clash(out, f"it was not made with {' '.join(f'--set {setting}' for setting in asked)}".rstrip(), command)
    lines = text.split("\n")
    paths = [tuple(setting.partition("=")[0].strip().split(".")) for setting in asked]
    for below, line in where.items():
        marked = lines[int(line.rpartition(":")[2]) - 1].rstrip().endswith(f"# {AS_SET}")
        if marked and len(below) <= 2 and not any(path[: len(below)] == below[: len(path)] for path in paths):
            raise clash(out, f"its {'.'.join(below)} was set when it was made, and is not now", command)


def holds(there: Recipe, written: Mapping[str, Any], settings: Sequence[str]) -> bool:
    """Whether a recipe has these settings already.

    Args:
        there, written: the recipe, and its file's content.
        settings: --set.
    """
    try:
        bare = Recipe.model_validate({"name": there.name, **written})  # paths as they are written
        return revise_recipe(bare, settings) == bare
    except (WbltrError, ValueError):  # it extends another, or these settings do not go with the rest of it
        return False


def _real(place: str | Path | None) -> str:
    return os.path.realpath(os.path.expanduser(place)) if place else ""  # noqa: PTH111 - pathlib's raises for nobody
