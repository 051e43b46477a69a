"""make(): look up, claim, run or resume, publish, record. Written once, for every stage; knows no concrete stage, no torch."""

from __future__ import annotations

import importlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wbltr.errors import Stopped, WbltrError
from wbltr.recipe import Config, Recipe
from wbltr.store import Store, key_of

Arrays = Mapping[str, Any]  # name -> numpy array, or anything numpy can read (a CPU tensor)
Metrics = Mapping[str, Any]  # JSON values


@dataclass(frozen=True)
class Stage:
    """One kind of step: a typed config and a function from artifacts to an artifact.

    Attributes:
        name: as in records and messages.
        revision: bumped by hand when the code's numbers change; part of the key.
        run: dotted path `module:function`, imported on a miss only. Called as `run(config, inputs, runtime)` with
            inputs name → tensor name → numpy array; returns the object's tensors.
        reads: for a config, the tensor prefixes that the stage is handed of each input. It gets nothing else.
    """

    name: str
    revision: int
    run: str
    reads: Callable[[Any], Mapping[str, tuple[str, ...]]] = lambda config: {}

    def function(self) -> Callable[[Config, Mapping[str, Arrays], Runtime], Arrays]:
        """The stage's `run`, imported now."""
        module, _, name = self.run.partition(":")
        found: Callable[[Config, Mapping[str, Arrays], Runtime], Arrays] = getattr(importlib.import_module(module), name)
        return found


@dataclass(frozen=True)
class Artifact:
    """An immutable object of the store with the record of how it came to be."""

    object_id: str
    record: Mapping[str, Any]

    @property
    def stage(self) -> str:
        """The stage that made it."""
        return str(self.record["stage"])

    @property
    def key(self) -> str:
        """The digest of what was asked."""
        return str(self.record["key"])

    @property
    def config(self) -> Mapping[str, Any]:
        """The stage's own config, as JSON values."""
        config: Mapping[str, Any] = self.record["config"]
        return config

    @property
    def inputs(self) -> Mapping[str, str]:
        """Input name → object id, or the digest of outside content."""
        inputs: Mapping[str, str] = self.record["inputs"]
        return inputs


@dataclass(frozen=True)
class Made:
    """What one `make` did."""

    artifact: Artifact
    cached: bool
    seconds: float
    resumed_from: int | None = None  # the step it went on from


def _ignore(*_: Any) -> None:
    return None


def _never(_: str) -> bool:
    return False


@dataclass(frozen=True)
class Runtime:
    """What cannot change a number and is in no key: where things lie, how fast, how loud.

    Attributes:
        device, threads: as on the command line.
        roots: folders that may hold a known set of images, in the order to look; `downloads` is the last.
        tick: `tick(done, total)`, called in every loop; raises when a stop was requested.
        report: `report(metrics)`, after each epoch or part; the last call's metrics go into the record.
        notice: one line for the user.
        transfer: `transfer(received, total, bytes_per_second)`, progress of a download.
        checkpoint, restore: bound to a key by `make`.
        witness: facts for the record; stages may add to it.
    """

    device: str = "auto"
    threads: int | None = None
    roots: tuple[Path, ...] = ()
    downloads: Path | None = None
    checkpoint_share: float = 0.01  # of the time, spent on checkpoints: cheap ones are frequent, large ones rare
    tick: Callable[[int, int], None] = _ignore
    report: Callable[[Metrics], None] = _ignore
    notice: Callable[[str], None] = _ignore
    transfer: Callable[[int, int, float], None] = _ignore
    begin: Callable[[str, bool], None] = _ignore  # stage name, whether it is cached
    checkpoint: Callable[[int, Callable[[], Arrays]], None] = _ignore
    restore: Callable[[], tuple[int, dict[str, Any], Mapping[str, Any]] | None] = lambda: None
    witness: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Node:
    """Something that may be made: a stage, what it stands on, and its config once those exist."""

    stage: Stage
    config: Config | Callable[[Mapping[str, Artifact]], Config]
    inputs: Mapping[str, Node | Artifact | str] = field(default_factory=dict)  # a str is a digest of outside content
    expected: str = ""  # the object id that it must come to, where something finished already stands on it

    def settled(self, inputs: Mapping[str, Artifact | str]) -> Config:
        """The config, now that what the node stands on exists."""
        if isinstance(self.config, Config):
            return self.config
        return self.config({name: given for name, given in inputs.items() if isinstance(given, Artifact)})


def header(stage: Stage, config: Config, inputs: Mapping[str, Artifact | str]) -> dict[str, Any]:
    """What the key is hashed from and the object carries."""
    ids = {name: given if isinstance(given, str) else given.object_id for name, given in inputs.items()}
    return {"stage": stage.name, "revision": stage.revision, "config": config.hashed(), "inputs": ids}


def artifact(store: Store, object_id: str) -> Artifact:
    """An object of the store with its record; without a record, what its own header says."""
    own = store.header(object_id)
    key = store.key_of_object(object_id)
    record = store.record(key)
    if record is None or record["object"] != object_id or not _whole(record):
        record = {k: own[k] for k in ("stage", "revision", "config", "inputs")} | {"key": key, "object": object_id}
    return Artifact(object_id, record)


def look_up(store: Store, stage: Stage, config: Config, inputs: Mapping[str, Artifact | str]) -> Artifact | None:
    """The finished artifact of this request, if the store has it."""
    record = store.record(key_of(header(stage, config, inputs)))
    return None if record is None or not _whole(record) else Artifact(record["object"], record)


def _whole(record: Mapping[str, Any]) -> bool:
    """Whether a record says what an artifact needs; one written by other hands may not."""
    return isinstance(record.get("stage"), str) and all(isinstance(record.get(name), dict) for name in ("config", "inputs"))


def artifacts(store: Store) -> Iterator[Artifact]:
    """Every finished artifact of the store, by key."""
    for _, record in store.records():
        if _whole(record):
            yield Artifact(record["object"], record)


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


def _bind(store: Store, key: str, runtime: Runtime) -> tuple[Runtime, _Progress]:
    """The runtime with checkpoints, metrics and the last report bound to one key."""
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
        told = {"metrics": progress.last, "threads": bound.witness.get("threads"), "seconds": spent}
        store.save_checkpoint(key, step, state(), told)
        saved[:] = [time.monotonic(), time.monotonic() - now]

    def checkpoint(step: int, state: Callable[[], Arrays]) -> None:
        try:
            runtime.tick(-1, -1)
        except Stopped:
            save(step, state)
            raise
        if time.monotonic() - saved[0] >= saved[1] / runtime.checkpoint_share:
            save(step, state)

    def restore() -> tuple[int, dict[str, Any], Mapping[str, Any]] | None:
        found = store.load_checkpoint(key)
        if found is None:
            return None
        step, _, told = found
        progress.resumed_from, progress.last, progress.seconds_before = step, dict(told["metrics"]), float(told["seconds"])
        store.truncate_metrics(key, lambda row: row.get("epoch", 0) <= progress.last.get("epoch", 0))
        progress.listed = True
        return found

    bound = replace(runtime, report=report, checkpoint=checkpoint, restore=restore, witness={})
    return bound, progress


def make(
    store: Store,
    stage: Stage,
    config: Config,
    inputs: Mapping[str, Artifact | str],
    runtime: Runtime,
    recipe: Recipe | None = None,
    *,
    force: bool = False,
) -> Made:
    """Give the artifact of this request: from the store, or by running the stage once.

    Args:
        inputs: artifacts by input name; a str is the digest of content outside the store.
        recipe: the whole resolved recipe, kept in the record.
        force: run even when the store has it; both objects are kept and the record points to the new one.

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

    with store.claim(key, waiting, lambda: runtime.tick(-1, -1)):
        found = None if force else look_up(store, stage, config, inputs)
        if found is not None:
            runtime.begin(stage.name, True)
            return Made(found, True, time.monotonic() - clock)
        runtime.begin(stage.name, False)
        bound, progress = _bind(store, key, runtime)
        wanted = stage.reads(config)
        handed = {
            name: store.load(given.object_id, wanted.get(name, ()))
            for name, given in inputs.items()
            if not isinstance(given, str)
        }
        tensors = stage.function()(config, handed, bound)
        object_id = store.publish(tensors, asked)
        seconds = progress.seconds_before + time.monotonic() - clock
        record = {
            "schema": 1,
            "key": key,
            "object": object_id,
            **asked,
            "recipe": recipe.model_dump(mode="json") if recipe else None,
            "metrics": progress.last,
            "witness": _witness(bound, started, seconds, progress.resumed_from),
        }
        kept = store.write_record(key, record, force=force)
        if not _whole(kept):
            kept = store.write_record(key, record, force=True)
        store.finish(key)
        return Made(Artifact(kept["object"], kept), False, seconds, progress.resumed_from)


def materialize(
    store: Store,
    node: Node,
    runtime: Runtime,
    recipe: Recipe | None = None,
    *,
    force: Callable[[str], bool] = _never,
    force_inputs: bool = False,
    done: Callable[[Made], None] = _ignore,
) -> Made:
    """Make a node and, before it, whatever it stands on; an input found damaged is made again.

    Args:
        force: asked with a key whether to run it even when the store has it.
        force_inputs: whether `force` is asked for what the node stands on, too.
        done: told of each artifact on the way, inputs first.
    """
    from wbltr.store import Corrupt, Vanished

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
            made = make(store, node.stage, config, inputs, runtime, recipe, force=again)
        except (Corrupt, Vanished) as failure:
            mendable = any(isinstance(given, Node) for given in node.inputs.values())
            if attempt == 2 or not mendable:
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


def load_made(store: Store, made_again: Callable[[], Made]) -> tuple[Made, dict[str, Any]]:
    """Make something and read its tensors; an object that turns out damaged or gone is made once more."""
    from wbltr.store import Corrupt, Vanished

    try:
        made = made_again()
        return made, store.load(made.artifact.object_id)
    except (Corrupt, Vanished):
        made = made_again()
        return made, store.load(made.artifact.object_id)


def planned(store: Store, node: Node) -> list[tuple[Node, Artifact | None]]:
    """What `materialize` would go through, inputs first: nodes with the finished artifact, or None for what would run."""
    steps: list[tuple[Node, Artifact | None]] = []
    inputs: dict[str, Artifact | str] = {}
    for name, given in node.inputs.items():
        if isinstance(given, Node):
            below = planned(store, given)
            steps += [step for step in below if all(step[0] is not earlier for earlier, _ in steps)]
            if below[-1][1] is not None:
                inputs[name] = below[-1][1]
        else:
            inputs[name] = given
    ready = len(inputs) == len(node.inputs)
    found = look_up(store, node.stage, node.settled(inputs), inputs) if ready else None
    return [*steps, (node, found)]
