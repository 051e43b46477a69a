"""Where a command starts from: --from, --recipe or the latest artifact; and which recipe then holds."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wbltr.cli.console import Console, age
from wbltr.cli.request import Request
from wbltr.cli.seeds import TRAINED
from wbltr.config import Config
from wbltr.dataset_config import DatasetConfig
from wbltr.errors import WbltrError
from wbltr.pipeline import Artifact, artifact, artifacts
from wbltr.recipe import ClassifierConfig, FeaturesConfig, Recipe
from wbltr.recipe_file import recipe_from_record, recipe_names
from wbltr.report.words import head_words
from wbltr.stages import CARRY_A_HEAD, Lineage
from wbltr.store import Store

OFFERED = 5  # artifacts to start from that are named where none is latest
SECTIONS: dict[str, type[Config]] = {"dataset": DatasetConfig, "features": FeaturesConfig, "classifier": ClassifierConfig}


@dataclass(frozen=True)
class Verb:
    """What a making command takes.

    Attributes:
        name: as typed.
        default: the ref that stands in where neither --recipe nor --from is given; empty: --recipe is needed.
        accepts: stages that may be started from.
        reads: recipe sections that can still be overridden when it starts from an artifact.
        make_first: what to type when there is nothing to start from.
        seeded: sections whose seed --seeds sets.
        study: whether it looks at several things for one question; such a command moves no `latest`.
        shared: whether several processes may do its work together, as torchrun starts them.
    """

    name: str
    default: str = ""
    accepts: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    make_first: str = "wbltr train-features --recipe digits-ir50"
    seeded: tuple[str, ...] = TRAINED
    study: bool = False
    shared: bool = False


def starting_artifact(verb: Verb, request: Request, console: Console) -> tuple[Artifact | None, Store]:
    """The artifact that --from names, or the latest one that fits, announced; None where the recipe says it all.

    Raises:
        WbltrError: `usage` for an artifact of another stage or when there is no recipe, `missing` when there is nothing.
    """
    if request.start is not None:
        asked = sys.stdin.readline().strip() if request.start == "-" else request.start
        path = _as_file(asked)
        store = Store.open(request.store, create=path is not None)
        object_id = store.resolve(asked) if path is None else store.adopt(path)
        return _accepted(artifact(store, object_id), f"--from {asked}", verb), store
    if request.recipe is not None:
        return None, Store.open(request.store)
    if not verb.default:
        raise WbltrError(f"{verb.name} needs --recipe NAME", f"recipes: {', '.join(recipe_names())}", "usage")
    try:
        store = Store.open(request.store, create=False)
    except WbltrError as error:
        if error.code != "missing":
            raise
        raise WbltrError(f"nothing to start from: {error.message}", f"make it first: {verb.make_first}", "missing") from None
    latest = store.ref(verb.default)
    if latest is None or not store.has(latest):
        raise _nothing(verb, store, console)
    found = _accepted(artifact(store, latest), verb.default, verb)
    name = _recipe_of(found) or "no recipe"
    seconds = store.ref_age(verb.default) or 0.0
    console.notice(f"using {found.stage} {latest[:12]} ({name}, {age(seconds)}); another: --from ID")
    return found, store


def _nothing(verb: Verb, store: Store, console: Console) -> WbltrError:
    """There is no artifact that is meant without a word: the refusal, after a list of those that may be named."""
    told = f"nothing to start from: no {verb.default} in {store.root}"
    found = [made for made in artifacts(store) if made.stage in verb.accepts and store.has(made.object_id)]
    if not found:
        return WbltrError(told, f"make it first: {verb.make_first}", "missing")
    found.sort(key=_started, reverse=True)
    listed = found[:OFFERED]
    more = f", {len(found) - OFFERED:,} more: wbltr store ls" if len(found) > OFFERED else ""
    console.notice(f"{store.root} has, the newest first{more}:")
    for made in listed:
        console.notice("  " + "  ".join([made.object_id[:12], *_described(made)]))
    stage = verb.default.rpartition("/")[2]
    best = next((made for made in found if made.stage == stage), found[0])
    hint = f"name one: --from {best.object_id[:12]} ({', '.join(_described(best))})"
    rows = [{"artifact": made.object_id, "stage": made.stage, "recipe": _recipe_of(made) or None} for made in listed]
    return WbltrError(told, hint, "missing", {"artifacts": rows})


def _started(made: Artifact) -> str:
    """When it was begun, as its record has it; text that sorts by time."""
    return str(made.record.get("witness", {}).get("started", ""))


def _described(made: Artifact) -> list[str]:
    """Stage, which head it is, recipe and age, as far as its record says them."""
    words = [made.stage]
    with suppress(KeyError, TypeError, AttributeError):  # a record by other hands
        words += [head_words(made.stage, made.config, made.record.get("metrics", {}))] if made.stage in CARRY_A_HEAD else []
    words += [_recipe_of(made)]
    with suppress(ValueError, TypeError):
        words += [age(max(0.0, (datetime.now(UTC) - datetime.fromisoformat(_started(made))).total_seconds()))]
    return [word for word in words if word]


def _recipe_of(made: Artifact) -> str:
    return str((made.record.get("recipe") or {}).get("name") or "")


def _as_file(asked: str) -> Path | None:
    """The file that --from names, or None where it is an id or a ref."""
    try:
        path = Path(asked).expanduser()
        return path if path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, ~nobody
        return None


def _accepted(found: Artifact, asked: str, verb: Verb) -> Artifact:
    if found.stage not in verb.accepts:
        raise WbltrError(
            f"{asked}: {verb.name} starts from {' or '.join(verb.accepts)}, this is an artifact of {found.stage}",
            "list what there is: wbltr store ls",
            "usage",
        )
    return found


def refuse_unread(verb: Verb, request: Request, line: Lineage) -> None:
    """A section that cannot change what this command does from here is refused, never dropped in silence.

    With --recipe, dataset and features may be set as they are in the artifact: `overlaid` compares them.
    """
    compared = ("dataset", "features") if request.recipe is not None else ()
    for text in request.set:
        section = text.partition(".")[0].partition("=")[0].strip()
        if section in Recipe.model_fields and section not in (*verb.reads, *compared):
            why = "which is finished and has its own" if section in line.known else "which does not read it here"
            raise WbltrError(
                f"--set {text}: {verb.name} starts from the artifact {_short(line)}, {why}",
                "to make another, name the recipe: --recipe NAME",
                "usage",
            )


def _short(line: Lineage) -> str:
    return next(iter(line.known.values())).object_id[:12]


def described(start: Artifact, line: Lineage, console: Console) -> Recipe:
    """The recipe that an artifact was made by; without a record, the defaults around its own lineage, said aloud."""
    recorded = recipe_from_record(start.record.get("recipe"))
    if recorded is not None:
        return recorded
    if "dataset" not in line.known:
        hint = f"recipes: {', '.join(recipe_names())}"
        raise WbltrError(f"artifact {start.object_id[:12]} has no record of its recipe; give --recipe NAME", hint, "usage")
    console.notice(f"artifact {start.object_id[:12]} has no record of its recipe: using the defaults around it")
    dataset = dict(line.known["dataset"].config)
    own = {"embeddings_file": "unrecorded", "features": {"network": "none"}, "embeddings": {"views": 1}}
    return Recipe.model_validate(
        {"name": "unrecorded", "dataset": dataset, **(own if dataset["source"] == "embeddings" else {})}
    )


def overlaid(recipe: Recipe, line: Lineage, *, given: bool) -> Recipe:
    """The recipe with the sections of what is already made, so that records and captions tell what is true.

    Args:
        recipe: from --recipe or from a record.
        line: what the command starts from.
        given: whether --recipe was typed: then a contradiction is refused.
    """
    if "features" in line.lost and given:
        raise WbltrError(
            f"--from: the features {line.lost['features'][:12]} that it stands on are not in this store",
            "name a store that has it: --store DIR",
            "missing",
        )
    own: dict[str, Any] = {}
    for name, section in SECTIONS.items():
        if name not in line.known:
            continue
        own[name] = section.model_validate(dict(line.known[name].config))
        wanted = getattr(recipe, name)
        if name == "features" and wanted.precision == "auto":
            wanted = wanted.model_copy(update={"precision": own[name].precision})
        if given and name != "classifier" and wanted != own[name]:
            raise WbltrError(
                f"--recipe {recipe.name}: its {name} section is not the one that the artifact of --from was made with",
                "leave --recipe out, or leave --from out",
                "usage",
            )
    if "finetune" in line.known:
        own["classifier"] = ClassifierConfig.model_validate(line.known["finetune"].config["classifier"])
    if "classifier" in own:
        own["posthoc"] = recipe.posthoc.model_copy(update={"of": "classifier"})
    return recipe.model_copy(update=own)
