"""The nouns of a run: stage, artifact, runtime, node."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wbltr.config import Config

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


def _ignore(*_: Any, **__: Any) -> None:
    return None


def _unbound(*_: Any) -> Any:
    raise AssertionError("parts of a result are kept by make(), which binds this to a store")


@dataclass(frozen=True)
class Runtime:
    """What cannot change a number and is in no key: where things lie, how fast, how loud.

    Attributes:
        device, threads: as on the command line.
        shared: whether `threads` is only a share of this machine, which gives way to what a resumed run began with.
        roots: folders that may hold a known set of images, in the order to look; `downloads` is the last.
        listed: a set whose images lie in a folder, as `wbltr.data.imagefiles.look` found it; None for others.
        section: of the recipe, that says the learning rate of what is made; "": the section of its stage.
        weights: file of the pretrained weights to start from; None: they are torchvision's, or there are none.
        tick: `tick(done, total)`, called in every loop; raises when a stop was requested.
        report: `report(metrics)`, after each epoch or part; the last call's metrics go into the record.
        notice: one line for the user.
        probe: `probe(epochs, predict)` after each epoch of a network's training, where a study wants to look: `predict` takes
            images and gives logits. It changes nothing; what it raises ends the stage.
        transfer: `transfer(received, total, bytes_per_second)`, progress of a download.
        checkpoint: `checkpoint(step, state)` after each step saves if it is time to; with `now=True`, as before a stop, always.
        restore: `restore(usable)` gives step, tensors and what else was kept, if `usable(tensors)`. `make` binds both to a key.
        keep: `keep(name, make)` gives the id of a part of a large result, an object of its own; `make()` gives its tensors, and
            is called only where no earlier run has kept the part of that name.
        scratch: a folder for files without a name, on the store's disk; None: there is none.
        span: `span(object_id, tensor)` gives file and place of the bytes of such a part.
        witness: facts for the record; stages may add to it.
    """

    device: str = "auto"
    threads: int | None = None
    shared: bool = False
    roots: tuple[Path, ...] = ()
    downloads: Path | None = None
    listed: Any = None
    section: str = ""
    weights: Path | None = None
    checkpoint_share: float = 0.01  # of the time, spent on checkpoints: cheap ones are frequent, large ones rare
    tick: Callable[[int, int], None] = _ignore
    report: Callable[[Metrics], None] = _ignore
    notice: Callable[[str], None] = _ignore
    transfer: Callable[[int, int, float], None] = _ignore
    probe: Callable[..., None] | None = None
    begin: Callable[[str, bool], None] = _ignore  # stage name, whether it is cached
    checkpoint: Callable[..., None] = _ignore
    restore: Callable[..., tuple[int, dict[str, Any], Mapping[str, Any]] | None] = _ignore
    scratch: Path | None = None
    keep: Callable[[str, Callable[[], Arrays]], str] = _unbound
    span: Callable[[str, str], tuple[Path, int]] = _unbound
    witness: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Node:
    """Something that may be made: a stage, what it stands on, and its config once those exist."""

    stage: Stage
    config: Config | Callable[[Mapping[str, Artifact]], Config]
    inputs: Mapping[str, Node | Artifact | str] = field(default_factory=dict)  # a str is a digest of outside content
    expected: str = ""  # the object id that it must come to, where something finished already stands on it
    section: str = ""  # of the recipe, that says its learning rate, where this is not the section of its stage

    def settled(self, inputs: Mapping[str, Artifact | str]) -> Config:
        """The config, now that what the node stands on exists."""
        if isinstance(self.config, Config):
            return self.config
        return self.config({name: given for name, given in inputs.items() if isinstance(given, Artifact)})
