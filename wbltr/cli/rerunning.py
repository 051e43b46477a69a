"""`wbltr rerun`: an artifact computed again from the same inputs and config, and whether the same bytes come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from wbltr.cli.answer import stop_requested, stoppable
from wbltr.cli.console import Console
from wbltr.cli.progress import Progress
from wbltr.cli.request import Request
from wbltr.cli.start import SECTIONS
from wbltr.cli.stores import console_of, opened
from wbltr.config import Config
from wbltr.dataset_config import DatasetConfig
from wbltr.errors import WbltrError
from wbltr.pipeline import Artifact, Made, Node, Runtime, artifact, header, make
from wbltr.recipe import EvalConfig, FeaturesConfig, Recipe
from wbltr.recipe_file import recipe_from_record
from wbltr.report.differences import tensor_differences, witness_differences
from wbltr.report.words import words
from wbltr.stages import (
    CARRY_A_HEAD,
    STAGES,
    EmbeddingsStageConfig,
    FinetuneStageConfig,
    PosthocStageConfig,
    SweepConfig,
    lineage,
    settle_embeddings,
    settle_images,
    settle_source,
    settle_weights,
    source_roots,
)
from wbltr.store import Corrupt, Store

CONFIGS: dict[str, type[Config]] = {
    **SECTIONS,
    "finetune": FinetuneStageConfig,
    "embeddings": EmbeddingsStageConfig,
    "sweep": SweepConfig,
    "posthoc": PosthocStageConfig,
    "eval": EvalConfig,
}
NAMED = 10  # tensors that a message lists; --json has all


def rerun(request: Request, name: str, check: bool) -> None:
    """Compute an artifact again; with `check` compare it and leave the record as it is, else let the record mean the new one.

    Raises:
        WbltrError: `missing` when something that it was made from is gone, `newer` or `usage` for an artifact of another
            version's code, `integrity` when other bytes come of it.
    """
    console, store = console_of(request), opened(request)
    first = artifact(store, store.resolve(name))
    node = as_made(store, first)
    if check and not store.verify(first.object_id):
        raise Corrupt(first.object_id, "its SHA-256 is another")
    made = _made_again(request, console, store, first, node, aside=check)
    if check:
        compare(console, store, first, made, json=request.json)
        return
    for ref in (made.artifact.stage, *(["head"] if made.artifact.stage in CARRY_A_HEAD else [])):
        store.set_ref(f"latest/{ref}", made.artifact.object_id)
    if request.json:
        found = {"artifact": made.artifact.object_id, "earlier": first.object_id, "key": made.artifact.key}
        console.document({"schema": 1, "command": "rerun", **found, "seconds": round(made.seconds, 3)})
    else:
        console.result(made.artifact.object_id)


def as_made(store: Store, first: Artifact) -> Node:
    """The request that an artifact answers, once all that it was made from is known to be there.

    Raises:
        WbltrError: see `rerun`.
    """
    what = f"{first.stage} {first.object_id[:12]}"
    stage, revision = STAGES.get(first.stage), store.header(first.object_id)["revision"]
    if stage is None:
        hint = "name what it is a part of: wbltr store ls"
        raise WbltrError(f"{what}: no stage of that name can be computed by itself", hint, "usage")
    if revision != stage.revision:
        newer = revision > stage.revision
        hint = "update it: pip install --upgrade wbltr" if newer else "make it anew by its recipe: both stay in the store"
        found = f"{what}: made by revision {revision} of its stage, this wbltr has {stage.revision}"
        raise WbltrError(found, hint, "newer" if newer else "usage")
    inputs: dict[str, Artifact | str] = {}
    for name, given in first.inputs.items():
        if name == "source":
            inputs[name] = given
        elif store.has(given):
            inputs[name] = artifact(store, given)
        else:
            hint = "fetch it (wbltr store pull URL), or name a store that has it: --store DIR"
            raise WbltrError(f"{what}: the {name} {given[:12]} that it was made from is not in this store", hint, "missing")
    try:
        config = CONFIGS[stage.name].model_validate(dict(first.config))
    except ValueError:  # fields of another version
        config = None
    if config is None or header(stage, config, inputs) != store.header(first.object_id):
        raise WbltrError(f"{what}: this wbltr reads its config otherwise", "make it anew by its recipe", "usage")
    return Node(stage, config, inputs)


def compare(console: Console, store: Store, first: Artifact, made: Made, *, json: bool) -> None:
    """Say whether an artifact that was made again is the same bit for bit.

    Raises:
        WbltrError: `integrity` when it is not, with the tensors that differ and what the two witnesses say otherwise.
    """
    second = made.artifact
    what = f"{first.stage} {first.object_id[:12]}"
    tensors = tensor_differences(store.load(first.object_id), store.load(second.object_id))
    told = [_witness(found) for found in (first, second)]
    witness = witness_differences(*told)
    document = {
        "artifact": first.object_id,
        "again": second.object_id,
        "equal": first.object_id == second.object_id,
        "tensors": [difference.document() for difference in tensors],
        "witness": {name: list(values) for name, values in witness.items()},
    }
    differing = ", ".join(f"{name} {one} and {other}" for name, (one, other) in witness.items())
    if first.object_id == second.object_id:
        if json:
            console.document({"schema": 1, "command": "rerun", **document})
        else:
            console.result(f"{what}: the same bytes again" + (f", although these differ: {differing}" if differing else ""))
        return
    lines = [f"{what}: computed again, it is {second.object_id[:12]}"]
    lines += [difference.words() for difference in tensors[:NAMED]] or ["the same tensors, written in another way"]
    lines += [f"and {len(tensors) - NAMED} more tensors"] if len(tensors) > NAMED else []
    lines.append(f"the two runs differ in: {differing}" if differing else _nothing_known(told[0]))
    hint = f"both are kept, the record means the first; the other: wbltr store show {second.object_id[:12]}"
    raise WbltrError("\n".join(lines), hint, "integrity", document)


def _nothing_known(witness: Mapping[str, object]) -> str:
    if not witness:
        return "how the first was made is not recorded"
    return "host, device, threads and versions are the same"


def _witness(found: Artifact) -> Mapping[str, object]:
    witness = found.record.get("witness")
    return witness if isinstance(witness, dict) else {}


def _files_of(
    request: Request, store: Store, first: Artifact, config: DatasetConfig, recipe: Recipe | None, runtime: Runtime
) -> object:
    """The files that a dataset was made from, as its stage wants them.

    Raises:
        WbltrError: "missing" where they are not here, or are others by now.
    """
    looked_at: str
    listed: object
    hint = "name the folder that has them: --root DIR"
    if config.listed or recipe is None:
        looked_at, listed = settle_source(store, config, (), runtime, request.root)
    elif config.source == "images":
        looked_at, listed = settle_images(store, recipe, runtime, request.root)
    else:
        looked_at, listed = settle_embeddings(store, recipe, runtime)
        hint = f"bring them back to {recipe.embeddings_file}"
    if looked_at != first.inputs["source"] or listed is None:
        what = "embeddings" if config.source == "embeddings" else "images"
        told = f"dataset {first.object_id[:12]}: the {what} that it was made from are not here"
        raise WbltrError(told, hint, "missing")
    return listed


def _made_again(request: Request, console: Console, store: Store, first: Artifact, node: Node, *, aside: bool) -> Made:
    progress = Progress(console)

    def tick(done: int, total: int) -> None:
        if (stop := stop_requested()) is not None:
            raise stop
        progress.advance(done, total)

    known = lineage(store, first).known
    source = known["dataset"].config["source"] if "dataset" in known else ""
    threads = request.threads or _witness(first).get("threads")
    runtime = Runtime(
        device=request.device,
        threads=threads if isinstance(threads, int) else None,
        roots=source_roots(store, source, request.root),
        downloads=None if request.root else store.root / "downloads",
        tick=tick,
        report=progress.report,
        notice=progress.notice,
        transfer=progress.transfer,
        begin=progress.begin,
    )
    console.notice(f"computing {first.stage} {first.object_id[:12]} again; starting torch …")
    recipe = recipe_from_record(first.record.get("recipe"))
    inputs = {name: given for name, given in node.inputs.items() if not isinstance(given, Node)}
    config = node.settled(inputs)
    try:
        with stoppable():
            if recipe is not None and isinstance(config, FeaturesConfig):
                runtime = replace(runtime, weights=settle_weights(store, recipe.model_copy(update={"features": config}))[1])
            elif isinstance(config, DatasetConfig) and (config.in_files or config.own):
                runtime = replace(runtime, listed=_files_of(request, store, first, config, recipe, runtime))
            made = make(store, node.stage, config, inputs, runtime, recipe, force=True, aside=aside)
    finally:
        progress.end()
    told = words(first.stage, made.artifact.record.get("metrics", {}))
    progress.made(first.stage, made.artifact.object_id, False, made.seconds, made.resumed_from, told)
    return made
