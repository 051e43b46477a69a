"""make(): look up, claim, run or resume, publish, record. Written once, for every stage."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from wbltr.config import Config
from wbltr.errors import WbltrError
from wbltr.pipeline.lookup import answers, header, look_up
from wbltr.pipeline.terms import Arrays, Artifact, Made, Metrics, Node, Runtime, Stage
from wbltr.recipe import Recipe
from wbltr.store import Corrupt, Store, Vanished, key_of
from wbltr.store.keys import part_of

LIBRARIES = ("numpy", "safetensors", "scikit-learn", "torch", "torchvision")


def _in_use(package: str) -> bool:
    return {"scikit-learn": "sklearn"}.get(package, package) in sys.modules


def _witness(runtime: Runtime, started: float, seconds: float, resumed_from: int | None) -> dict[str, Any]:
    return {
        "argv": sys.argv[1:],
        "host": platform.node(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **{n: version(n) for n in ("wbltr", *LIBRARIES) if _in_use(n)}},
        "pid": os.getpid(),
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="milliseconds"),
        "seconds": round(seconds, 3),
        "resumed_from": resumed_from,
        **runtime.witness,
    }


@dataclass
class _Progress:
    """What one run of a stage has told so far."""

    last: dict[str, Any] = field(default_factory=dict)  # the last report
    resumed_from: int | None = None
    seconds_before: float = 0.0  # spent by the runs that this one goes on from
    listed: bool = False  # whether metrics.jsonl is this run's
    parts: list[str] = field(default_factory=list)  # ids of what was kept beside the result


def _bind(store: Store, key: str, asked: dict[str, Any], runtime: Runtime, aside: bool) -> tuple[Runtime, _Progress]:
    """The runtime with checkpoints, metrics and the last report bound to one key; `aside` makes parts again, too."""
    progress = _Progress()
    begun = time.monotonic()
    saved = [time.monotonic(), 0.01]  # when, and how long it took

    def report(metrics: Metrics) -> None:
        if not progress.listed:
            store.truncate_metrics(key, lambda _: False)
            progress.listed = True
        progress.last = dict(metrics)
        store.append_metrics(key, metrics)
        runtime.report(metrics)

    def save(step: int, state: Callable[[], Arrays]) -> None:
        now = time.monotonic()
        spent = progress.seconds_before + now - begun
        told = {"metrics": progress.last, "seconds": spent}
        told |= {name: bound.witness.get(name) for name in ("threads", "processes")}
        store.save_checkpoint(key, step, state(), told)
        saved[:] = [time.monotonic(), time.monotonic() - now]

    def checkpoint(step: int, state: Callable[[], Arrays], now: bool = False) -> None:
        if now or time.monotonic() - saved[0] >= saved[1] / runtime.checkpoint_share:
            save(step, state)

    def restore(usable: Callable[[Arrays], bool] = lambda _: True) -> tuple[int, dict[str, Any], Mapping[str, Any]] | None:
        found = store.load_checkpoint(key)
        if found is not None and not usable(found[1]):
            runtime.notice("the checkpoint is another version's: starting over")
            found = None
        if found is None:
            return None
        step, _, told = found
        progress.resumed_from, progress.last, progress.seconds_before = step, dict(told["metrics"]), float(told["seconds"])
        store.truncate_metrics(key, lambda row: row.get("epoch", 0) <= progress.last.get("epoch", 0))
        progress.listed = True
        return found

    def keep(name: str, parts: Callable[[], Arrays]) -> str:
        own = part_of(asked, name)
        if aside:
            progress.parts.append(store.publish(parts(), own))
            return progress.parts[-1]
        part_key = key_of(own)
        record = store.record(part_key)
        if record is None or not answers(store, part_key, record):
            object_id = store.publish(parts(), own)
            record = store.write_record(part_key, {"schema": 1, "key": part_key, "object": object_id, **own}, force=True)
        progress.parts.append(str(record["object"]))
        return progress.parts[-1]

    threads = runtime.threads
    if runtime.shared and (begun_with := store.load_checkpoint(key)) is not None:
        threads = begun_with[2].get("threads") or threads
    bound = replace(
        runtime,
        threads=threads,
        report=report,
        checkpoint=checkpoint,
        restore=restore,
        keep=keep,
        span=store.span,
        scratch=store.scratch(),
        witness={},
    )
    return bound, progress


def _handed(store: Store, stage: Stage, config: Config, inputs: Mapping[str, Artifact | str]) -> dict[str, Arrays]:
    """What a stage is given of its inputs: the tensors that it declares, nothing else."""
    wanted = stage.reads(config)
    given = {name: found for name, found in inputs.items() if isinstance(found, Artifact)}
    for found in given.values():
        store.touch(found.object_id)  # what the result will stand on is in use again
    return {name: store.load(found.object_id, wanted.get(name, ())) for name, found in given.items()}


def make(
    store: Store,
    stage: Stage,
    config: Config,
    inputs: Mapping[str, Artifact | str],
    runtime: Runtime,
    recipe: Recipe | None = None,
    *,
    force: bool = False,
    aside: bool = False,
) -> Made:
    """Give the artifact of this request: from the store, or by running the stage once.

    Args:
        inputs: artifacts by input name; a str is the digest of content outside the store.
        recipe: the whole resolved recipe, kept in the record.
        force: run even when the store has it; both objects are kept and the record points to the new one.
        aside: with `force`: the record that there is stays, and the new one is only in what this returns.

    Raises:
        WbltrError: what the stage raised; `Corrupt` or `Vanished` (wbltr.store) when an input's object failed.
    """
    asked = header(stage, config, inputs)
    key = key_of(asked)
    started = time.time()
    clock = time.monotonic()
    found = None if force else look_up(store, stage, config, inputs)
    if found is not None:
        runtime.begin(stage.name, True)
        return Made(found, True, time.monotonic() - clock)

    def waiting(holder: str, seconds: float) -> None:
        runtime.notice(f"waiting for {holder}, which has been making the same {stage.name} for {seconds:.0f} s")

    with store.claim(key, waiting, lambda: runtime.tick(-1, -1), asked["inputs"].values()):
        found = None if force else look_up(store, stage, config, inputs)
        if found is not None:
            runtime.begin(stage.name, True)
            return Made(found, True, time.monotonic() - clock)
        runtime.begin(stage.name, False)
        bound, progress = _bind(store, key, asked, runtime, aside)
        tensors = stage.function()(config, _handed(store, stage, config, inputs), bound)
        object_id = store.publish(tensors, asked)
        seconds = progress.seconds_before + time.monotonic() - clock
        record = {
            "schema": 1,
            "key": key,
            "object": object_id,
            **asked,
            "recipe": recipe.model_dump(mode="json") if recipe else None,
            "metrics": progress.last,
            **({"parts": progress.parts} if progress.parts else {}),
            "witness": _witness(bound, started, seconds, progress.resumed_from),
        }
        kept = record if aside else store.write_record(key, record, force=force)
        if not aside and not answers(store, key, kept):
            kept = store.write_record(key, record, force=True)
        store.finish(key)
        return Made(Artifact(kept["object"], kept), False, seconds, progress.resumed_from)


def _never(_: str) -> bool:
    return False


def materialize(
    store: Store,
    node: Node,
    runtime: Runtime,
    recipe: Recipe | None = None,
    *,
    force: Callable[[str], bool] = _never,
    force_inputs: bool = False,
    done: Callable[[Made], None] = lambda _: None,
) -> Made:
    """Make a node and, before it, whatever it stands on; an input found damaged is made again.

    Args:
        force: asked with a key whether to run it even when the store has it.
        force_inputs: whether `force` is asked for what the node stands on, too.
        done: told of each artifact on the way, inputs first.
    """
    for attempt in range(3):
        inputs: dict[str, Artifact | str] = {}
        for name, given in node.inputs.items():
            if isinstance(given, Node):
                below = force if force_inputs else _never
                made = materialize(store, given, runtime, recipe, force=below, force_inputs=force_inputs, done=done)
                inputs[name] = made.artifact
            else:
                inputs[name] = given
        config = node.settled(inputs)
        again = force(key_of(header(node.stage, config, inputs)))
        try:
            own = replace(runtime, section=node.section)
            made = make(store, node.stage, config, inputs, own, recipe, force=again)
        except (Corrupt, Vanished) as failure:
            # Only what this made or looked up can be made again; an artifact given from outside cannot.
            given_from_outside = {given.object_id for given in node.inputs.values() if isinstance(given, Artifact)}
            if attempt == 2 or failure.object_id in given_from_outside:
                raise
            runtime.notice(f"{failure.message}; making it again")
            continue
        if node.expected and made.artifact.object_id != node.expected:
            raise WbltrError(
                f"the {node.stage.name} {node.expected[:12]} that this stands on is gone, and making it again gave "
                f"{made.artifact.object_id[:12]}",
                "train again from there, or name a store that has it: --store DIR",
                "missing",
            )
        done(made)
        return made
    raise AssertionError("unreachable")


def assist(store: Store, node: Node, runtime: Runtime, recipe: Recipe | None = None) -> None:
    """Run a stage beside the process that makes it: what it stands on is made here, too; nothing of its own is published.

    Raises:
        Exception: what the stage raised.
    """
    inputs: dict[str, Artifact | str] = {
        name: materialize(store, given, runtime, recipe).artifact if isinstance(given, Node) else given
        for name, given in node.inputs.items()
    }
    config = node.settled(inputs)
    beside = replace(runtime, report=lambda _: None, span=store.span)
    node.stage.function()(config, _handed(store, node.stage, config, inputs), beside)


def load_made(store: Store, made_again: Callable[[], Made]) -> tuple[Made, dict[str, Any]]:
    """Make something and read its tensors; an object that turns out damaged or gone is made once more."""
    made = made_again()
    try:
        return made, store.load(made.artifact.object_id)
    except (Corrupt, Vanished):
        made = made_again()
        return made, store.load(made.artifact.object_id)
