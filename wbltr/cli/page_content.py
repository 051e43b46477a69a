"""What a page tells, from what the store has: makes nothing, and leaves out what is lost."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wbltr.cli.behind import behind
from wbltr.cli.request import Request
from wbltr.cli.session import Session
from wbltr.methods.rows import Row
from wbltr.pipeline import Artifact, Made, artifact, artifacts, planned
from wbltr.recipe import Part, Recipe
from wbltr.recipe_file import load_recipe, recipe_names
from wbltr.report.caption import caption
from wbltr.report.told import Measured, Told
from wbltr.report.words import label
from wbltr.stages import STAGES, Chain, Lineage, lineage
from wbltr.store import Corrupt, Store, Vanished

if TYPE_CHECKING:
    from wbltr.functional.calibration import Reliability


@dataclass(frozen=True)
class Found:
    """What a store has of one recipe.

    Attributes:
        recipe: with the sections of what the shown head stands on.
        whole: as it was asked for.
        rows: row → its eval artifact.
        shown: the eval artifact that the page is about.
        missing: rows of the recipe that are not finished.
    """

    recipe: Recipe
    whole: Recipe
    rows: Mapping[Row, Artifact]
    shown: Artifact
    missing: tuple[Row, ...]


def content(session: Session, found: Found) -> Told:
    """Everything that a page tells."""
    store, line = session.store, lineage(session.store, found.shown)
    loss = found.recipe.classifier.loss
    rows = {row: _measured(store, made, label(row, loss)) for row, made in found.rows.items()}
    shown = next((one for one in rows.values() if one.artifact == found.shown.object_id), None)
    shown = shown or _measured(store, found.shown, _name(session, found.shown))
    other = _with_temperature(store, found.shown)
    calibrated = None if other is None else _measured(store, other, _name(session, other))
    first = rows.get("first stage")
    return Told(
        recipe=found.recipe,
        config=found.shown.config,
        rows=[*rows.values(), *([] if shown in rows.values() else [shown])],
        shown=shown,
        first=None if first is shown else first,
        calibrated=calibrated,
        bins=_bins(store, [one for one in (shown, calibrated) if one is not None]),
        picture=_pictures(session, line, found.shown, shown.tensors),
        caption=_caption(session, found, shown),
        findings=_findings(session, line, shown.tensors),
        facts=_facts(session, found),
        made=[_line(line.known[stage]) for stage in STAGES if stage in line.known],
        text=_text(found.whole),
        commands=_commands(session, found),
    )


def _measured(store: Store, made: Artifact, name: str) -> Measured:
    return Measured(name, made.object_id, store.load(made.object_id))


def _name(session: Session, made: Artifact) -> str:
    return session.head_name(artifact(session.store, made.inputs["head"]))


def _with_temperature(store: Store, shown: Artifact) -> Artifact | None:
    """The measurement of the same head with a temperature, the newest of several."""
    others = []
    for one in artifacts(store):
        if one.stage == "eval" and one.config == shown.config and store.has(one.inputs["head"]):
            of = artifact(store, one.inputs["head"])
            if of.config.get("method") == "temperature" and of.inputs.get("head") == shown.inputs["head"]:
                others.append(one)
    return max(others, key=lambda one: str(one.record.get("witness", {}).get("started", "")), default=None)


def _bins(store: Store, heads: Sequence[Measured]) -> dict[str, Reliability]:
    """Head → its reliability diagram, where the embeddings that it was measured on are still there."""
    from wbltr.report.reliability import reliability

    found = {}
    for one in heads:
        made = artifact(store, one.artifact)
        on = made.config["on"]
        if part := _if_there(store, made.inputs["embeddings"], (f"{on}.embeddings", f"{on}.labels")):
            head = store.load(made.inputs["head"], ("head.",))
            bins = reliability(head, part[f"{on}.embeddings"], part[f"{on}.labels"], flip=made.config["flip"])
            found[one.name.removeprefix("+ ")] = bins
    return found


def _if_there(store: Store, object_id: str, prefixes: tuple[str, ...]) -> dict[str, Any]:
    """An object's tensors; none of one that is lost, which a page can do without."""
    try:
        return store.load(object_id, prefixes)
    except (Corrupt, Vanished):
        return {}


def _pictures(session: Session, line: Lineage, measured: Artifact, tensors: Mapping[str, Any]) -> Callable[[int], bytes | None]:
    from wbltr.report.pictures import drawn_from

    on = measured.config["on"]
    dataset = _if_there(session.store, line.known["dataset"].object_id, (f"{on}.",)) if "dataset" in line.known else {}
    return drawn_from(dataset, on, tensors.get("labels", ()), session.maker.runtime.roots)


def _caption(session: Session, found: Found, shown: Measured) -> str:
    store, recipe = session.store, found.recipe
    rows = {label(row, recipe.classifier.loss): behind(store, recipe, made, row) for row, made in found.rows.items()}
    here = behind(store, recipe, found.shown)
    if found.shown not in found.rows.values():
        rows[shown.name] = here
    return caption(here.recipe, found.shown.config, shown.tensors, shown.name, rows=rows)


def _findings(session: Session, line: Lineage, tensors: Mapping[str, Any]) -> list[Any]:
    from wbltr.cli.diagnosing import found

    if "features" not in line.known:
        return []
    chain = Chain(session.recipe, line)
    part: Part = "train" if session.recipe.dataset.val == "none" else "val"
    node = chain.embeddings(part, artifact(session.store, line.known["eval"].inputs["head"]))
    made = node if isinstance(node, Artifact) else planned(session.store, node)[-1][1]
    seen = {} if made is None else _if_there(session.store, made.object_id, (f"{part}.embeddings", f"{part}.labels"))
    return found(session.store, line.known, tensors, {part: seen} if seen else {})


def _facts(session: Session, found: Found) -> dict[str, str]:
    told = session.provenance(Made(found.shown, True, 0.0))
    differing = told["departures"]
    facts = {
        "Recipe": found.recipe.name + (f" ({found.recipe.paper})" if found.recipe.paper else ""),
        "How": ", ".join(told["settings"]),
        "Training images": f"fingerprint {told['fingerprint']}" if told["fingerprint"] else "",
        "Differs from the paper": "" if differing is None else ", ".join(differing) or "in nothing that is recorded",
        "Measurement": found.shown.object_id,
    }
    return {name: words for name, words in facts.items() if words}


def _line(made: Artifact) -> list[str]:
    """An artifact as its record has it."""
    witness = made.record.get("witness", {})
    begun = str(witness.get("started", ""))[:16].replace("T", " ")
    seconds = witness.get("seconds")
    versions = witness.get("versions", {})
    with_what = ", ".join(f"{name} {versions[name]}" for name in ("wbltr", "torch", "python") if name in versions)
    device = str(witness.get("device", ""))
    return [made.stage, made.object_id[:12], begun, "" if seconds is None else f"{seconds:,.1f}", device, with_what]


def _text(recipe: Recipe) -> str:
    import yaml

    return str(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)).rstrip()


def _commands(session: Session, found: Found) -> dict[str, str]:
    short = found.shown.object_id[:12]
    return {
        "The whole chain, from the images; what is finished is not computed again": command(session, found, "run"),
        "This page": command(session, found, "report"),
        "The measurement once more, compared bit for bit": f"wbltr rerun --check {short}",
        "Everything that the store knows of it": f"wbltr store show {short}",
    }


def command(session: Session, found: Found, verb: str) -> str:
    """What to type for the same recipe: as it was typed, by its name, or from the file that the page holds."""
    request, name = session.request, found.whole.name
    if request.start is not None and verb == "report":
        return shlex.join(["wbltr", verb, "--from", found.shown.object_id[:12]])
    if request.recipe is not None:
        return shlex.join(["wbltr", verb, *asked(request)])
    if verb == "report":
        return "wbltr report"
    if name in recipe_names() and _alike(load_recipe(name), found.whole):
        return shlex.join(["wbltr", verb, "--recipe", name])
    return shlex.join(["wbltr", verb, "--recipe", f"./{name}.yaml"]) + "  # the recipe under Provenance, saved by this name"


def _alike(known: Recipe, recorded: Recipe) -> bool:
    """Whether they come to the same artifacts; a precision that was left open is settled in a record."""
    settled = known.with_features(precision=recorded.features.precision) if known.features.precision == "auto" else known
    return all(
        getattr(settled, name) == getattr(recorded, name) for name in Recipe.model_fields if name not in ("claim", "paper")
    )


def asked(request: Request) -> list[str]:
    """A recipe as it was typed."""
    return ["--recipe", str(request.recipe), *(word for text in request.set for word in ("--set", text))]
