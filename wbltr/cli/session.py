"""What a making command works with: the store, the recipe, where it starts from, and how results are told."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wbltr.cli.answer import stop_requested
from wbltr.cli.console import Console, age
from wbltr.cli.options import Request
from wbltr.errors import WbltrError
from wbltr.pipeline import Artifact, Made, Node, Runtime, artifact, materialize, planned
from wbltr.recipe import Recipe
from wbltr.recipe_file import load_recipe, recipe_from_record, recipe_names, revise_recipe
from wbltr.report.words import head_words, words
from wbltr.stages import CARRY_A_HEAD, Chain, lineage, settle_precision, source_roots
from wbltr.store import Store


@contextmanager
def _latest_may_stay(cached: bool) -> Iterator[None]:
    """A cached result from a read-only store is still a result: there, `latest` stays where it was."""
    try:
        yield
    except WbltrError as error:
        if not cached or error.code != "disk":
            raise


class Session:
    """What a making command works with: console, store, runtime, and the recipe with the artifact it starts from.

    Args:
        command: its name, as typed.
        request: the common options.
        default: the ref that stands in where neither --recipe nor --from is given; None where there is none.
        accepts: stages that may be started from.
        overrides: fields that the command itself sets, below what the user sets.
    """

    def __init__(
        self,
        command: str,
        request: Request,
        *,
        default: str | None = None,
        accepts: tuple[str, ...] = (),
        overrides: tuple[str, ...] = (),
        make_first: str = "wbltr run --recipe digits-ir50",
    ) -> None:
        self.command = command
        self.request = request
        self.console = Console(json=request.json, quiet=request.quiet, no_color=request.no_color)
        self.store = Store.open(request.store)
        self.made: list[Made] = []
        self.forced: set[str] = set()
        self.start = self._start(default, accepts, make_first)
        recipe = self._recipe(overrides)
        known = lineage(self.store, self.start) if self.start is not None else {}
        self._refuse_fixed(known)
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
        self.recipe = recipe if "features" in known else settle_precision(self.store, recipe, self.runtime)
        self.chain = Chain(self.recipe, known)

    def _start(self, default: str | None, accepts: tuple[str, ...], make_first: str) -> Artifact | None:
        """The artifact that --from names, or the latest one that fits, announced."""
        asked = self.request.start
        if asked == "-":
            asked = sys.stdin.readline().strip()
        if asked is not None:
            path = Path(asked).expanduser()
            object_id = self.store.adopt(path) if "\0" not in asked and path.is_file() else self.store.resolve(asked)
            found = artifact(self.store, object_id)
            if found.stage not in accepts:
                raise WbltrError(
                    f"--from {asked}: {self.command} starts from {' or '.join(accepts)}, this is a {found.stage} artifact",
                    "list what there is: wbltr store ls",
                    "usage",
                )
            return found
        if default is None or self.request.recipe is not None:
            return None
        latest = self.store.ref(default)
        if latest is None or not self.store.has(latest):
            raise WbltrError(
                f"nothing to start from: no {default} in {self.store.root}", f"make it first: {make_first}", "missing"
            )
        found = artifact(self.store, latest)
        name = (found.record.get("recipe") or {}).get("name", "no recipe")
        seconds = self.store.ref_age(default) or 0.0
        self.console.notice(f"using {found.stage} {latest[:12]} ({name}, {age(seconds)}); another: --from ID")
        return found

    def _recipe(self, overrides: tuple[str, ...]) -> Recipe:
        """--recipe, or the recipe of the artifact to start from, or the defaults; then overrides."""
        settings = [*overrides, *self._seeds(), *self.request.set]
        if self.request.recipe is not None:
            return load_recipe(self.request.recipe, settings)
        recorded = recipe_from_record(self.start.record.get("recipe")) if self.start is not None else None
        if recorded is not None:
            return revise_recipe(recorded, settings)
        hint = f"recipes: {', '.join(recipe_names())}"
        raise WbltrError(f"{self.command} needs --recipe NAME", hint, "usage")

    def _seeds(self) -> list[str]:
        seed = self.request.seed
        return [] if seed is None else [f"features.seed={seed}", f"classifier.seed={seed}"]

    def _refuse_fixed(self, known: Mapping[str, Any]) -> None:
        """A section that the starting artifact has settled cannot be overridden without saying so."""
        fixed = sorted(
            {text.partition(".")[0] for text in self.request.set} & set(known) & {"dataset", "features", "classifier"}
        )
        if fixed:
            raise WbltrError(
                f"--set {fixed[0]}.…: {self.command} starts from a finished {fixed[0]} artifact, which has its own",
                "to make another, name the recipe: --recipe NAME",
                "usage",
            )

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
        if "torch" not in sys.modules and any(found is None for _, found in planned(self.store, node)):
            self.console.notice("starting torch …")
        return materialize(
            self.store, node, self.runtime, self.recipe, force=self._again, force_inputs=self.command == "run", done=self._done
        )

    def _again(self, key: str) -> bool:
        """--force: every key once a command; `run` forces the whole chain, other commands what they are named after."""
        if not self.request.force or key in self.forced:
            return False
        self.forced.add(key)
        return True

    def _done(self, made: Made) -> None:
        """Tell of an artifact once a command, and let `latest` mean it."""
        found = made.artifact
        if any(found.object_id == earlier.artifact.object_id for earlier in self.made):
            return
        self.made.append(made)
        told = words(found.stage, found.record.get("metrics", {}))
        self.console.made(found.stage, found.object_id, made.cached, made.seconds, made.resumed_from, told)
        with _latest_may_stay(made.cached):
            self.store.set_ref(f"latest/{found.stage}", found.object_id)
            if found.stage in CARRY_A_HEAD:
                self.store.set_ref("latest/head", found.object_id)

    def document(self, made: Made, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON document of one made artifact."""
        return {
            "schema": 1,
            "command": self.command,
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

    def head_name(self, made: Made) -> str:
        """What an eval artifact measured, in words."""
        head = artifact(self.store, made.artifact.inputs["head"])
        return head_words(head.stage, head.config, head.record.get("metrics", {}))

    def notes(self, result: Mapping[str, Any]) -> None:
        """What a reader must know about a result."""
        if result["classes_left_out"]:
            self.console.notice(
                f"{result['classes_left_out']} of {len(result['counts'])} classes have no {result['on']} images: "
                "left out of every mean"
            )

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
        """--dry-run: what would run."""
        steps: dict[tuple[str, str], bool] = {}
        for node in nodes:
            for stage, found in [] if isinstance(node, Artifact) else planned(self.store, node):
                steps.setdefault((stage, found.object_id[:12] if found else "-"), found is not None)
        if self.request.json:
            listed = [{"stage": stage, "artifact": None if i == "-" else i, "cached": c} for (stage, i), c in steps.items()]
            self.console.document({"schema": 1, "command": self.command, "dry_run": True, "steps": listed})
            return
        rows = [(stage, object_id, "finished" if cached else "would run") for (stage, object_id), cached in steps.items()]
        claim = self.recipe.claim
        minutes = f"the recipe took {claim.minutes:g} minutes on {claim.hardware}" if claim and claim.minutes else ""
        self.console.table(("stage", "artifact", ""), rows, minutes)
