"""What a making command works with: the store, the recipe, where it starts from, and how results are told."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from wbltr.cli.answer import stop_requested, stoppable
from wbltr.cli.console import Console
from wbltr.cli.request import Request
from wbltr.cli.start import Verb, described, overlaid, refuse_unread, starting_artifact
from wbltr.errors import WbltrError
from wbltr.pipeline import Artifact, Made, Node, Runtime, artifact, load_made, materialize, planned
from wbltr.recipe import Recipe
from wbltr.recipe_file import load_recipe, revise_recipe
from wbltr.report.words import head_words, words
from wbltr.stages import CARRY_A_HEAD, Chain, Lineage, lineage, settle_precision, source_roots


class Session:
    """One making command: console, store, runtime, and the recipe with the artifact it starts from.

    Args:
        verb: the command.
        request: the common options.
        overrides: fields that the command itself sets, below what the user sets.
    """

    def __init__(self, verb: Verb, request: Request, overrides: tuple[str, ...] = ()) -> None:
        self.verb = verb
        self.request = request
        self.console = Console(json=request.json, quiet=request.quiet, no_color=request.no_color)
        self.made: list[Made] = []
        self._forced: set[str] = set()
        self._announced = False
        settings = [*overrides, *self._seeds(), *request.set]
        # A mistyped recipe makes no store, and a command that needs an earlier artifact does not either.
        recipe = load_recipe(request.recipe, settings) if request.recipe is not None else None
        self.start, self.store = starting_artifact(verb, request, self.console)
        line = Lineage() if self.start is None else lineage(self.store, self.start)
        if self.start is not None:
            refuse_unread(verb, request, line)
            if recipe is None:
                recipe = revise_recipe(described(self.start, line, self.console), settings)
            recipe = overlaid(recipe, line, given=request.recipe is not None)
        assert recipe is not None, "starting_artifact refuses a command with neither"
        self.runtime = Runtime(
            device=request.device,
            threads=request.threads,
            roots=source_roots(self.store, recipe.dataset.source, request.root),
            downloads=None if request.root else self.store.root / "downloads",
            tick=self._tick,
            report=self.console.report,
            notice=self.console.notice,
            transfer=self.console.transfer,
            begin=self.console.begin,
        )
        self.recipe: Recipe = recipe if "features" in line.known else settle_precision(self.store, recipe, self.runtime)
        self.chain = Chain(self.recipe, line)
        if request.name:
            self._check_name(request.name)

    def _seeds(self) -> list[str]:
        """--seed for the sections that it may set: all with a recipe, else those that the verb reads."""
        if self.request.seed is None:
            return []
        whole = self.request.recipe is not None and self.request.start is None
        sections = [s for s in ("features", "classifier") if whole or s in self.verb.reads]
        if not sections:
            raise WbltrError(
                f"--seed: {self.verb.name} trains nothing, so a seed would change nothing",
                "name the recipe to train again: --recipe NAME",
                "usage",
            )
        return [f"{section}.seed={self.request.seed}" for section in sections]

    def _check_name(self, name: str) -> None:
        """Refuse a name before the work, not after it."""
        if name.split("/")[0] == "latest":
            raise WbltrError(f"--name {name}: names under latest/ are set by wbltr", "choose another: --name mine", "usage")
        self.store.check_ref(name)

    def _tick(self, done: int, total: int) -> None:
        if (stop := stop_requested()) is not None:
            raise stop
        if total > 0:
            self.console.advance(done, total)

    # Making

    def make(self, node: Node | Artifact) -> Made:
        """Make a node and what it stands on; moves `latest`."""
        if isinstance(node, Artifact):
            made = Made(node, True, 0.0)
            self._done(made)
            return made
        if not self._announced and "torch" not in sys.modules and any(f is None for _, f in planned(self.store, node)):
            self._announced = True
            self.console.notice("starting torch …")
        whole = self.verb.name == "run"
        with stoppable():
            return materialize(
                self.store, node, self.runtime, self.recipe, force=self._again, force_inputs=whole, done=self._done
            )

    def load(self, node: Node) -> tuple[Made, dict[str, Any]]:
        """Make a node and read its tensors."""
        return load_made(self.store, lambda: self.make(node))

    def _again(self, key: str) -> bool:
        """--force: every key once a command; `run` forces the whole chain, other commands what they are named after."""
        if not self.request.force or key in self._forced:
            return False
        self._forced.add(key)
        return True

    def _done(self, made: Made) -> None:
        """Tell of an artifact once a command, and let `latest` mean it."""
        found = made.artifact
        if all(found.object_id != earlier.artifact.object_id for earlier in self.made):
            self.made.append(made)
            told = words(found.stage, found.record.get("metrics", {}))
            self.console.made(found.stage, found.object_id, made.cached, made.seconds, made.resumed_from, told)
            # What was lost and is made again for an artifact that stands on it is not what the user made last.
            if found.stage not in self.chain.line.lost:
                self.point_latest(found, made.cached)

    def point_latest(self, found: Artifact, cached: bool) -> None:
        """Let `latest/<stage>`, and `latest/head` where it has one, mean this artifact."""
        with _latest_may_stay(cached):
            self.store.set_ref(f"latest/{found.stage}", found.object_id)
            if found.stage in CARRY_A_HEAD:
                self.store.set_ref("latest/head", found.object_id)

    # Telling

    def document(self, made: Made, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON document of one made artifact."""
        return {
            "schema": 1,
            "command": self.verb.name,
            "stage": made.artifact.stage,
            "key": made.artifact.key,
            "artifact": made.artifact.object_id,
            "cached": made.cached,
            "resumed_from": made.resumed_from,
            "seconds": round(made.seconds, 3),
            "inputs": dict(made.artifact.inputs),
            "metrics": dict(made.artifact.record.get("metrics", {})),
            **(extra or {}),
        }

    def head_of(self, made: Made) -> Artifact:
        """The head that an eval artifact measured."""
        return artifact(self.store, made.artifact.inputs["head"])

    def head_name(self, head: Artifact) -> str:
        """A head in words, with what it was adjusted from: `+ CB & WD, + τ-norm (τ = 0.5)`."""
        name = head_words(head.stage, head.config, head.record.get("metrics", {}))
        below = head.inputs.get("head", "")
        if below and self.store.has(below) and (earlier := artifact(self.store, below)).stage != "features":
            return f"{self.head_name(earlier)}, {name}"
        return name

    def name_result(self, made: Made) -> None:
        """Give the result the name asked for with --name."""
        if self.request.name:
            self.store.set_ref(self.request.name, made.artifact.object_id)

    def deliver(self, node: Node | Artifact, next_step: str = "") -> Made | None:
        """Make a node and print the artifact's id, or its document; with --dry-run only the plan (then None)."""
        if self.request.dry_run:
            self.plan([node])
            return None
        made = self.make(node)
        self.name_result(made)
        if self.request.json:
            self.console.document(self.document(made))
        else:
            self.console.result(made.artifact.object_id)
        if next_step:
            self.console.notice(f"next: {next_step}")
        return made

    def plan(self, nodes: Sequence[Node | Artifact]) -> None:
        """--dry-run: each step once, in order, finished or to be run."""
        steps: dict[int, tuple[Node, Artifact | None]] = {}
        for node in nodes:
            for step in [] if isinstance(node, Artifact) else planned(self.store, node):
                steps.setdefault(id(step[0]), step)
        listed = []
        for node, found in steps.values():
            forced = self.request.force and (self.verb.name == "run" or any(node is last for last in nodes))
            cached = found is not None and not forced
            listed.append({"stage": node.stage.name, "artifact": found and found.object_id, "cached": cached})
        if self.request.json:
            self.console.document({"schema": 1, "command": self.verb.name, "dry_run": True, "steps": listed})
            return
        rows = [(str(s["stage"]), str(s["artifact"] or "")[:12], "finished" if s["cached"] else "would run") for s in listed]
        claim = self.recipe.claim
        minutes = f"the recipe took {claim.minutes:g} minutes on {claim.hardware}" if claim and claim.minutes else ""
        self.console.table(("stage", "artifact", ""), rows, minutes)


@contextmanager
def _latest_may_stay(cached: bool) -> Iterator[None]:
    """A cached result from a read-only store is still a result: there, `latest` stays where it was."""
    try:
        yield
    except WbltrError as error:
        if not cached or error.code != "disk":
            raise
