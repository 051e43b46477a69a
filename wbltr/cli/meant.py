"""What somebody meant who typed a word where none is expected: which option is missing in front of it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path

from wbltr.errors import closest
from wbltr.recipe_file import recipe_names

LONGEST = 100  # characters of a word that may be a recipe's mistyped name
TABLES = (".csv", ".tsv")
EMBEDDINGS = (".npz", ".safetensors", ".parquet")


def meant(message: str, arguments: Sequence[str], options: Collection[str]) -> str:
    """The command line that would have been understood; empty where there is none to guess.

    Args:
        message: what the parser says of the words that it did not expect.
        arguments: as typed, without `wbltr`.
        options: those that the command has, such as `--recipe`; none where the command itself is unknown.
    """
    unknown = message.startswith("No such command '")
    if not unknown and "extra argument" not in message:
        return ""
    rest = message.partition("'" if unknown else " (")[2]
    places = [place for place, word in enumerate(arguments) if word and rest.startswith(word)]
    if not places:
        return ""
    place = places[0] if unknown else places[-1]
    option, value = _option(arguments[place], ["--recipe"] if unknown else [name for name in options if name not in arguments])
    if not option:
        return ""
    before = ["run"] if unknown else list(arguments[:place])
    return shlex.join(["wbltr", *before, option, value, *arguments[place + 1 :]])


def _option(word: str, options: Collection[str]) -> tuple[str, str]:
    """The option that takes such a word, and the word as it would be understood; two empty texts where none does."""
    path, names = Path(word), recipe_names()
    kinds = (
        ("--recipe", word in names or path.suffix in (".yaml", ".yml")),
        ("--csv", path.suffix.lower() in TABLES),
        ("--import", path.suffix.lower() in EMBEDDINGS),
        ("--images", os.path.isdir(word)),  # noqa: PTH112 - pathlib's raises for a name that is too long
        ("--from", bool(re.fullmatch(r"[0-9a-f]{4,64}|latest/\w+", word))),
    )
    fits = next((option for option, is_such in kinds if is_such and option in options), "")
    if not fits and "--recipe" in options and len(word) < LONGEST and (near := closest(word, names)):
        return "--recipe", near.split("'")[1]
    return fits, word if fits else ""
