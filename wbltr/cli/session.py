"""What a making command works with: the store, the recipe, where it starts from, and how results are told."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbltr.cli.answer import stop_requested, stoppable
from wbltr.cli.behind import behind
from wbltr.cli.console import Console
from wbltr.cli.maker import Maker
from wbltr.cli.progress import Progress
from wbltr.cli.request import Request
from wbltr.cli.seeds import seed_list, with_seed
from wbltr.cli.start import Verb, described, overlaid, refuse_unread, starting_artifact
from wbltr.distributed import Dismissed, team
from wbltr.errors import WbltrError
from wbltr.methods.rows import Row
from wbltr.pipeline import Artifact, Made, Node, Runtime, artifact, assist, planned
from wbltr.recipe import Recipe
from wbltr.recipe_file import load_recipe, revise_recipe
from wbltr.report.provenance import OfRow, document
from wbltr.report.words import head_words, label
from wbltr.stages import (
    Lineage,
    check_root,
    kept_from,
    lineage,
    refuse_another_draw,
    settle_embeddings,
    settle_images,
    settle_precision,
    settle_shards,
    settle_source,
    settle_teachers,
    settle_weights,
    source_roots,
)

if TYPE_CHECKING:
    from wbltr.data.imagefiles import ListedImages
    from wbltr.data.own_images import OwnImages


class Session:
    """One making command: console, store, and a maker for the recipe with the artifact it starts from.

    With --seeds the maker is that of the first seed; the others stand beside it.

    Args:
        verb: the command.
        request: the common options.
        overrides: fields that the command itself sets, below what the user sets.
        images: pictures of the user's own, where the command has looked at them already.
    """

    def __init__(self, verb: Verb, request: Request, overrides: tuple[str, ...] = (), images: OwnImages | None = None) -> None:
        if request.on_bad_image is not None:
            request = replace(request, set=[f"dataset.on_bad_image={request.on_bad_image}", *request.set])
        self.verb = verb
        self.request = request
        self.team = team()
        if self.team.size > 1 and not verb.shared:
            raise WbltrError(
                f"{verb.name} does its work in one process, torchrun started {self.team.size}",
                "run it by itself; what torchrun can share is wbltr train-features",
                "usage",
            )
        leads = self.team.leads
        self.console = Console(json=request.json, quiet=request.quiet or not leads, no_color=request.no_color, leads=leads)
        self.seeds = seed_list(request, verb.seeded)
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
        assert recipe is not None, "starting_artifact refuses a command with neither"
        recipe, weights = settle_weights(self.store, recipe)
        if self.start is not None:
            recipe = overlaid(recipe, line, given=request.recipe is not None)
        if request.images is not None:
            if recipe.dataset.source != "images" or "dataset" in line.known:
                why = "starts from a dataset that is finished" if "dataset" in line.known else "has images of its own"
                told = f"--images: {verb.name if 'dataset' in line.known else recipe.name} {why}"
                raise WbltrError(
                    told, "leave it out, or make a recipe for your pictures: wbltr make-dataset --images DIR", "usage"
                )
            recipe = recipe.model_copy(update={"images": str(request.images.absolute()), "root": ""})
        if self.seeds:
            recipe = with_seed(recipe, self.seeds[0], verb.seeded)
        runtime = Runtime(
            device=request.device,
            threads=request.threads,
            roots=self._roots(recipe, line),
            downloads=None if request.root else self.store.root / "downloads",
            notice=self.console.notice,
            listed=images,
            weights=weights,
        )
        if "dataset" in line.known and request.lists:
            hint = "to make another, name the recipe and leave --from out"
            raise WbltrError(f"--list: {verb.name} starts from a dataset that is finished", hint, "usage")
        if "dataset" not in line.known:
            line, runtime = self._look(recipe, line, runtime)
            recipe = self._with_parts(recipe, runtime.listed)
        elif request.recipe is not None and recipe.dataset.own:
            self._refuse_other_files(recipe, line, runtime)
        source = line.known["dataset"].inputs.get("source", "") if "dataset" in line.known else line.source
        recipe, teachers = settle_teachers(self.store, recipe, source)
        line = replace(line, teachers=teachers)
        if "features" not in line.known:
            recipe = settle_shards(recipe, self.team.size, runtime)
            recipe = settle_precision(self.store, recipe, runtime, line.source, teachers)
        whole = verb.name == "run"
        self.maker = Maker(
            self.store, self.console, recipe, line, runtime, force=request.force, force_inputs=whole, study=verb.study
        )
        self.recipe, self.chain = recipe, self.maker.chain
        dataset = self.chain.dataset
        if request.root is not None and isinstance(dataset, Node) and planned(self.store, dataset)[-1][1] is None:
            check_root(recipe.dataset, request.root, runtime)
        for name in self.names():
            self._check_name(name)

    def _roots(self, recipe: Recipe, line: Lineage) -> tuple[Path, ...]:
        """Folders that may hold the images; of a finished dataset first the one that it was made from."""
        roots = source_roots(self.store, recipe.dataset.source, self.request.root)
        witness = line.known["dataset"].record.get("witness", {}) if "dataset" in line.known else {}
        place = witness.get("location") if self.request.root is None else None
        return (Path(place), *roots) if isinstance(place, str) else roots

    def _look(self, recipe: Recipe, line: Lineage, runtime: Runtime) -> tuple[Lineage, Runtime]:
        """Where images or embeddings are files, look at these: what they are is part of every key."""
        if recipe.dataset.source == "embeddings" and not self.request.lists:
            source, file = settle_embeddings(self.store, recipe, runtime)
            return replace(line, source=source), replace(runtime, listed=file)
        if not (recipe.dataset.in_files or self.request.lists):
            return line, runtime
        listed: ListedImages | OwnImages | None
        progress = Progress(self.console)

        def tick(done: int, total: int) -> None:
            if (stop := stop_requested()) is not None:
                raise stop
            progress.advance(done, total)

        progress.begin("images", cached=False)
        try:
            with stoppable():
                looking = replace(runtime, tick=tick, notice=progress.notice)
                if recipe.dataset.source == "images" and not self.request.lists:
                    source, listed = settle_images(self.store, recipe, looking, self.request.root)
                else:
                    source, listed = settle_source(self.store, recipe.dataset, self.request.lists, looking, self.request.root)
        finally:
            progress.end()
        roots = runtime.roots if listed is None else (listed.root, *runtime.roots)
        return replace(line, source=source), replace(runtime, listed=listed, roots=roots)

    def _with_parts(self, recipe: Recipe, images: Any) -> Recipe:
        """Of images of one's own that had parts already: make-dataset keeps these, and no other command draws them anew."""
        typed = any(text.replace(" ", "").startswith(("dataset.parts_from=", "dataset=")) for text in self.request.set)
        if recipe.dataset.source != "images" or images is None or typed:
            return recipe
        if self.verb.name != "make-dataset":
            command = "" if self.request.images else f"wbltr make-dataset --recipe {shlex.quote(str(self.request.recipe))}"
            refuse_another_draw(self.store, recipe.dataset, images, command)
            return recipe
        kept = kept_from(self.store, recipe.dataset, images)
        return recipe.model_copy(update={"dataset": recipe.dataset.model_copy(update={"parts_from": kept})})

    def _refuse_other_files(self, recipe: Recipe, line: Lineage, runtime: Runtime) -> None:
        """Of one's own, two sets may have the same section: refuse a recipe whose files are not those of --from.

        Where they are not here any more, and nothing was made of them, there is nothing to compare.
        """
        try:
            found, _ = self._look(recipe, line, runtime)
        except WbltrError as error:
            if error.code != "missing":
                raise
            return
        if found.source != line.known["dataset"].inputs["source"]:
            raise WbltrError(
                f"--recipe {recipe.name}: its files are not those that the artifact of --from was made of",
                "leave --recipe out, or leave --from out",
                "usage",
            )

    def names(self) -> list[str]:
        """What --name calls the results: one name, or one a seed."""
        if not self.request.name:
            return []
        return [f"{self.request.name}/seed-{seed}" for seed in self.seeds] or [self.request.name]

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

    # Making

    @contextmanager
    def working(self, nodes: Sequence[Node | Artifact]) -> Iterator[bool]:
        """While something is made that can be resumed: a signal asks for a stop, and no bar outlives the work.

        Gives whether any of the nodes has still to be made; then it is said that torch is being imported.
        """
        missing = self.request.force or any(
            found is None for node in nodes if isinstance(node, Node) for _, found in planned(self.store, node)
        )
        if missing and not self._announced and "torch" not in sys.modules:
            self._announced = True
            self.console.notice("starting torch …")
        with stoppable():
            try:
                yield missing
            finally:
                self.console.end()

    def make(self, node: Node | Artifact) -> Made:
        """Make a node and what it stands on; moves `latest`."""
        with self.working([node]):
            return self.maker.make(node)

    def load(self, node: Node | Artifact) -> tuple[Made, dict[str, Any]]:
        """Make a node and read its tensors."""
        with self.working([node]):
            return self.maker.load(node)

    def assist(self, node: Node) -> None:
        """As one of torchrun's processes that does not lead: help with the work, and publish and print nothing."""
        with self.working([node]), suppress(Dismissed):
            assist(self.store, node, self.maker.runtime, self.recipe)

    # Telling

    def document(self, made: Made, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON document of one made artifact; of a measurement also what separates it from the paper's protocol."""
        of_eval = {"provenance": self.provenance(made)} if made.artifact.stage == "eval" else {}
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
            **of_eval,
            **(extra or {}),
        }

    def behind(self, made: Made, row: Row | None = None) -> OfRow:
        """What a measurement came from; of a table, with the row that it is."""
        return behind(self.store, self.recipe, made.artifact, row)

    def behind_rows(self, made: Mapping[Row, Made]) -> dict[str, OfRow]:
        """The rows of a table by their names, with what each came from."""
        loss = self.recipe.classifier.loss
        return {label(row, loss): self.behind(one, row) for row, one in made.items()}

    def provenance(self, made: Made) -> dict[str, Any]:
        """What `--json` says of where a measurement comes from."""
        found = self.behind(made)
        return document(found.recipe, found.origin)

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

    def name_results(self, results: Sequence[Made | None]) -> None:
        """Give the results the names asked for with --name; None for what failed."""
        for name, made in zip(self.names(), results, strict=False):
            if made is not None:
                self.store.set_ref(name, made.artifact.object_id)

    def deliver(self, node: Node | Artifact, next_step: str = "") -> Made | None:
        """Make a node and print the artifact's id, or its document; with --dry-run only the plan (then None)."""
        if self.request.dry_run:
            self.plan({None: [node]})
            return None
        made = self.make(node)
        self.name_results([made])
        if self.request.json:
            self.console.document(self.document(made))
        else:
            self.console.result(made.artifact.object_id)
        if next_step:
            self.console.notice(f"next: {next_step}")
        return made

    def plan(self, nodes: Mapping[int | None, Sequence[Node | Artifact]]) -> None:
        """--dry-run: each step once, in order, finished or to be run.

        Args:
            nodes: what is to be made, by seed; None for what belongs to none.
        """
        steps: dict[int, tuple[int | None, Node, Artifact | None]] = {}
        asked = [node for several in nodes.values() for node in several]
        for seed, several in nodes.items():
            for node in several:
                for step, found in [] if isinstance(node, Artifact) else planned(self.store, node):
                    steps.setdefault(id(step), (seed, step, found))
        listed: list[dict[str, Any]] = []
        for seed, step, found in steps.values():
            forced = self.request.force and (self.verb.name == "run" or any(step is last for last in asked))
            told = {"stage": step.stage.name, "artifact": found and found.object_id, "cached": found is not None and not forced}
            listed.append({"seed": seed, **told} if self.seeds else told)
        if self.request.json:
            self.console.document({"schema": 1, "command": self.verb.name, "dry_run": True, "steps": listed})
            return
        columns = [*(["seed"] if self.seeds else []), "stage", "artifact", ""]
        rows = [[str(s["stage"]), str(s["artifact"] or "")[:12], "finished" if s["cached"] else "would run"] for s in listed]
        if self.seeds:
            rows = [["" if s["seed"] is None else str(s["seed"]), *row] for s, row in zip(listed, rows, strict=True)]
        claim = self.recipe.claim
        minutes = f"the recipe took {claim.minutes:g} minutes on {claim.hardware}" if claim and claim.minutes else ""
        self.console.table(columns, rows, minutes + (" for one seed" if minutes and self.seeds else ""))
