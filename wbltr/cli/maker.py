"""Makes what one recipe asks for: tells how far it is and what came of it, and lets `latest` mean it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from wbltr.cli.answer import stop_requested
from wbltr.cli.console import Console
from wbltr.cli.progress import Progress
from wbltr.errors import WbltrError
from wbltr.pipeline import Artifact, Made, Node, Runtime, load_made, materialize
from wbltr.recipe import Recipe
from wbltr.report.words import words
from wbltr.stages import CARRY_A_HEAD, Chain, Lineage
from wbltr.store import Store


class Once:
    """Says of each thing whether this is the first time, to whichever thread asks."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, thing: str) -> bool:
        """Whether nobody asked of this thing before."""
        with self._lock:
            first = thing not in self._seen
            self._seen.add(thing)
        return first


@dataclass
class Maker:
    """One recipe on its way. Several may work at once, each in a thread of its own; `beside` gives the next one.

    Attributes:
        store, console: where things go; shared by all makers of a command.
        recipe: resolved, `precision` settled.
        line: what it starts from.
        runtime: device, threads and where sources lie; the maker adds who is told.
        force: --force: compute again, each key once a command.
        force_inputs: likewise what a node stands on.
        study: whether `latest` stays where it is.
        label: names it in every line where several work at once.
        forced, told: what was forced and what was told of, by any maker.
    """

    store: Store
    console: Console
    recipe: Recipe
    line: Lineage
    runtime: Runtime
    force: bool = False
    force_inputs: bool = False
    study: bool = False
    label: str = ""
    forced: Once = field(default_factory=Once)
    told: Once = field(default_factory=Once)
    progress: Progress = field(init=False)
    chain: Chain = field(init=False)
    made: list[Made] = field(init=False)

    def __post_init__(self) -> None:
        self.progress = Progress(self.console, self.label)
        self.chain = Chain(self.recipe, self.line)
        self.made = []
        self.runtime = replace(
            self.runtime,
            tick=self._tick,
            report=self.progress.report,
            notice=self.progress.notice,
            transfer=self.progress.transfer,
            begin=self.progress.begin,
        )

    def beside(self, recipe: Recipe, label: str) -> Maker:
        """Another maker of the same command and the same dataset."""
        other = replace(self, recipe=recipe, label=label)
        other.chain.dataset = self.chain.dataset
        return other

    def share(self, threads: int | None, *, asked: bool) -> None:
        """Compute on so many threads; `asked`: the user's number, which holds for a resumed run, too."""
        self.runtime = replace(self.runtime, threads=threads, shared=not asked)

    def make(self, node: Node | Artifact) -> Made:
        """Make a node and what it stands on, telling of each artifact."""
        if isinstance(node, Artifact):
            made = Made(node, True, 0.0)
            self._done(made)
            return made
        self._tick(-1, -1)
        return materialize(
            self.store,
            node,
            self.runtime,
            self.recipe,
            force=lambda key: self.force and self.forced(key),
            force_inputs=self.force_inputs,
            done=self._done,
        )

    def load(self, node: Node | Artifact) -> tuple[Made, dict[str, Any]]:
        """Make a node and read its tensors."""
        return load_made(self.store, lambda: self.make(node))

    def _tick(self, done: int, total: int) -> None:
        if (stop := stop_requested()) is not None:
            raise stop
        if total > 0:
            self.progress.advance(done, total)

    def _done(self, made: Made) -> None:
        """Tell of an artifact once a command, and let `latest` mean it."""
        found = made.artifact
        if any(found.object_id == earlier.artifact.object_id for earlier in self.made):
            return
        self.made.append(made)
        if self.told(found.object_id):
            told = words(found.stage, found.record.get("metrics", {}))
            self.progress.made(found.stage, found.object_id, made.cached, made.seconds, made.resumed_from, told)
        # Where several work at once, `latest` follows when they are through, in the order of their seeds.
        if not self.label and not self.study:
            self.point_latest([made])

    def point_latest(self, finished: Sequence[Made]) -> None:
        """Let `latest/<stage>`, and `latest/head` where it has one, mean each of these in turn."""
        latest: dict[str, Made] = {}
        for made in finished:
            stage = made.artifact.stage
            # What was lost and is made again for an artifact that stands on it is not what the user made last.
            if stage not in self.line.lost:
                latest |= {f"latest/{name}": made for name in (stage, *(["head"] if stage in CARRY_A_HEAD else []))}
        for ref, made in latest.items():
            with _latest_may_stay(made.cached):
                self.store.set_ref(ref, made.artifact.object_id)


@contextmanager
def _latest_may_stay(cached: bool) -> Iterator[None]:
    """A cached result from a read-only store is still a result: there, `latest` stays where it was."""
    try:
        yield
    except WbltrError as error:
        if not cached or error.code != "disk":
            raise
