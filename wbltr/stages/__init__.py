"""The graph: which stage stands on which, and what a recipe's rows are. No torch here; a stage's file is imported to run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from wbltr.config import Config, Teacher
from wbltr.data.known import CONTENT
from wbltr.errors import WbltrError
from wbltr.methods.adjustments import ADJUSTMENTS
from wbltr.methods.heads import HEADS
from wbltr.methods.rows import ROWS, Row
from wbltr.pipeline import Artifact, Node, artifact
from wbltr.recipe import ClassifierConfig, FeaturesConfig, Part, PosthocConfig, Recipe
from wbltr.stages._earlier_parts import kept_from, refuse_another_draw
from wbltr.stages._settle import (
    check_root,
    settle_precision,
    settle_shards,
    settle_source,
    settle_teachers,
    sharing_hint,
    source_roots,
)
from wbltr.stages._settle_own import (
    OwnFile,
    datasets_of,
    files_seen,
    look_at_embeddings,
    settle_embeddings,
    settle_images,
    settle_weights,
)
from wbltr.stages._table import (
    CARRY_A_HEAD,
    CLASSIFIER,
    DATASET,
    EMBEDDINGS,
    EVAL,
    FEATURES,
    FINETUNE,
    NETWORK_FIELDS,
    POSTHOC,
    STAGES,
    SWEEP,
    EmbeddingsStageConfig,
    FinetuneStageConfig,
    PosthocStageConfig,
    SweepConfig,
    refuse_adjustment,
)
from wbltr.store import Store

__all__ = [
    "CARRY_A_HEAD", "CLASSIFIER", "DATASET", "EMBEDDINGS", "EVAL", "FEATURES", "FINETUNE", "NETWORK_FIELDS", "POSTHOC",
    "STAGES", "SWEEP", "Chain", "EmbeddingsStageConfig", "FinetuneStageConfig", "Lineage", "OwnFile", "PosthocStageConfig",
    "SweepConfig", "check_root", "datasets_of", "files_seen", "kept_from", "lineage", "look_at_embeddings", "refuse_adjustment",
    "refuse_another_draw", "settle_embeddings", "settle_images", "settle_precision", "settle_shards", "settle_source",
    "settle_teachers", "settle_weights", "sharing_hint", "source_roots",
]  # fmt: skip


@dataclass(frozen=True)
class Lineage:
    """An artifact and what it was made from.

    Attributes:
        known: by stage name, what the store has; the nearest of each stage, the artifact itself first.
        lost: by stage name, ids of inputs that the store no longer has.
        teachers: by id, first stages that others learn from.
        source: digest of the images that the dataset is made of, where `_source` had to look at them for it.
    """

    known: Mapping[str, Artifact] = field(default_factory=dict)
    lost: Mapping[str, str] = field(default_factory=dict)
    teachers: Mapping[str, Artifact] = field(default_factory=dict)
    source: str = ""


def lineage(store: Store, start: Artifact) -> Lineage:
    """What `start` was made from.

    Raises:
        WbltrError: code "missing" when the head that it was adjusted from is gone, and with it the way to its network.
    """
    known: dict[str, Artifact] = {}
    lost: dict[str, str] = {}
    waiting, seen = [start], {start.object_id}
    while waiting:
        here = waiting.pop(0)
        known.setdefault(here.stage, here)
        for name, object_id in here.inputs.items():
            if object_id in seen or name.startswith("teacher"):
                continue
            seen.add(object_id)
            if store.has(object_id):
                waiting.append(artifact(store, object_id))
            elif name == "head":
                raise WbltrError(
                    f"{start.stage} {start.object_id[:12]}: the head {object_id[:12]} that it was adjusted from is not in "
                    "this store, so its network is unknown",
                    "name a store that has it: --store DIR",
                    "missing",
                )
            elif name in STAGES:
                lost.setdefault(name, object_id)
    return Lineage(known, {name: object_id for name, object_id in lost.items() if name not in known})


class Chain:
    """A recipe as nodes. Where it starts from an artifact, that artifact's own lineage stands in for the recipe's.

    Args:
        recipe: resolved; its sections agree with what is known.
        line: what it starts from.
    """

    def __init__(self, recipe: Recipe, line: Lineage | None = None) -> None:
        self.recipe = recipe
        self.line = line or Lineage()
        self._embeddings: list[tuple[Part, Node | Artifact, Node]] = []
        self._own = recipe.dataset.source == "embeddings"

    @cached_property
    def dataset(self) -> Node | Artifact:
        """Images and labels."""
        section = self.recipe.dataset
        source = {"source": self.line.source or CONTENT.get(section.source, "")}
        return self.line.known.get("dataset") or Node(DATASET, section, source, self.line.lost.get("dataset", ""))

    @cached_property
    def features(self) -> Node | Artifact:
        """The first stage."""
        known, section = self.line.known.get("features"), self.recipe.features
        inputs = {"dataset": self.dataset, **self._teacher(section.teacher)}
        return known or Node(FEATURES, section, inputs, self.line.lost.get("features", ""))

    def _teacher(self, teacher: str | Teacher | None) -> dict[str, Node | Artifact]:
        """The first stage to learn from, as an input, if there is one."""
        if teacher is None:
            return {}
        assert isinstance(teacher, Teacher), "teachers are settled before a chain is built"
        return {"teacher": self.line.teachers[teacher.artifact]}

    def network_of(self, head: Node | Artifact | None) -> Node | Artifact:
        """The network that a head is for: one that was finetuned with it, else the first stage's."""
        here: Node | Artifact | str | None = head
        while isinstance(here, Node):
            if here.stage is FINETUNE:
                return here
            here = here.inputs.get("head")
        if isinstance(here, Artifact) and here.stage == "features":
            return self.features
        return self.line.known.get("finetune") or self.features

    def embeddings(self, part: Part, head: Node | Artifact | None = None) -> Node | Artifact:
        """One part through the network of this head; without a head, through the first stage's. One's own are the dataset."""
        if self._own:
            return self.dataset
        network = self.features if head is None else self.network_of(head)
        known = next((node for p, of, node in self._embeddings if p == part and of is network), None)
        if known is not None:
            return known
        name = "features" if network is self.features else "finetune"

        def config(made: Mapping[str, Artifact]) -> Config:
            train = part == "train"
            own = dict(made[name].config)
            if name == "features":
                features = FeaturesConfig.model_validate(own)
                own = {field: getattr(features, field) for field in NETWORK_FIELDS}
            return EmbeddingsStageConfig.model_validate(
                {
                    **{field: own[field] for field in NETWORK_FIELDS},
                    "part": part,
                    "augment": own["augment"] if train else "none",
                    "pad": own["pad"] if train else 0,
                    "views": self.recipe.embeddings.views if train else 2,
                    "seed": self.recipe.embeddings.seed if train else 0,
                }
            )

        node = Node(EMBEDDINGS, config, {"dataset": self.dataset, name: network})
        self._embeddings.append((part, network, node))
        return node

    def _embeddings_of(self, teacher: Teacher) -> Node | Artifact:
        """The very images that the second stage learns from, through the teacher's network."""
        if self._own:
            return self.dataset
        first, views = self.recipe.features, self.recipe.embeddings
        images = {name: getattr(first, name) for name in ("precision", "augment", "pad", "image_size")}
        network = {name: getattr(teacher, name) for name in Teacher.model_fields if name != "artifact"}
        config = EmbeddingsStageConfig(part="train", views=views.views, seed=views.seed, **images, **network)
        return Node(EMBEDDINGS, config, {"dataset": self.dataset, "features": self.line.teachers[teacher.artifact]})

    def classifier(self, section: ClassifierConfig | None = None) -> Node | Artifact:
        """The second stage; without a section the recipe's own, or the one the chain starts from."""
        for stage in ("finetune", "classifier"):
            if section is None and stage in self.line.known:
                return self.line.known[stage]
        section = section or self.recipe.classifier
        if HEADS[section.head].starts_from == "linear features" and self._kind(self.features) != "linear":
            hint = "on such features: classifier.head=cosine, or a linear one"
            raise WbltrError(
                f"classifier.head: {section.head} changes a linear head, the first stage's is cosine", hint, "recipe"
            )
        if self._own and section.through_network:
            what = "mode: exact" if section.mode == "exact" else f"layers: {section.layers}"
            hint = "train the head alone: classifier.mode=cached, classifier.layers=1"
            raise WbltrError(f"classifier.{what} trains a network; embeddings of one's own have none", hint, "recipe")
        if not section.through_network:
            inputs = {"embeddings": self.embeddings("train"), "features": self.features, **self._teacher(section.teacher)}
            if isinstance(section.teacher, Teacher):
                inputs["teacher_embeddings"] = self._embeddings_of(section.teacher)
            return Node(CLASSIFIER, section, inputs)

        def config(made: Mapping[str, Artifact]) -> Config:
            features = FeaturesConfig.model_validate(dict(made["features"].config))
            own = {field: getattr(features, field) for field in NETWORK_FIELDS}
            return FinetuneStageConfig.model_validate({**own, "classifier": section})

        return Node(FINETUNE, config, {"dataset": self.dataset, "features": self.features})

    def sweep(self, trials: Sequence[ClassifierConfig], precision: Literal["bf16", "fp32"]) -> Node:
        """Many second stages at once, measured on the validation part."""
        if self.recipe.dataset.val == "none":
            raise WbltrError("nothing to choose by: the dataset has no validation part", "see dataset.val", "recipe")
        inputs = {"embeddings": self.embeddings("train"), "validation": self.embeddings("val"), "features": self.features}
        return Node(SWEEP, SweepConfig(trials=tuple(trials), precision=precision), inputs)

    def posthoc(self, section: PosthocConfig, head: Node | Artifact | None = None) -> Node:
        """An adjusted head, of `head` or of what the section names."""
        config = PosthocStageConfig.of(section)
        below = head or (self.features if section.of == "features" else self.classifier())
        refuse_adjustment(config.method, self._kind(below))
        reads, inputs = POSTHOC.reads(config), {"head": below}
        if "embeddings" in reads:
            if self.recipe.dataset.val == "none":
                what, hint = f"{section.method} cannot be fitted", "it needs images that the head has not learned from"
                if config.tau == "val":
                    what = "τ cannot be chosen"
                    hint = f"give it: --set posthoc.tau=1.0, or posthoc {section.method} --tau 1.0"
                raise WbltrError(f"{what}: the dataset has no validation part", hint, "recipe")
            inputs["embeddings"] = self.embeddings("val", below)
        if "dataset" in reads:
            inputs["dataset"] = self.dataset
        return Node(POSTHOC, config, inputs)

    def _kind(self, head: Node | Artifact) -> str:
        """The kind of a head that may still have to be made, as far as its config says; an adjustment keeps it."""
        while isinstance(head, Node) and head.stage is POSTHOC and not isinstance(below := head.inputs["head"], str):
            head = below
        if isinstance(head, Artifact):
            return HEADS[head.config.get("head", "linear")].kind.name
        section = head.config if isinstance(head.config, FeaturesConfig | ClassifierConfig) else None
        return "linear" if section is None else HEADS[section.head].kind.name

    def head(self) -> Node | Artifact:
        """What the recipe ends in: its classifier, or a post-hoc adjustment."""
        section = self.recipe.posthoc
        if section.method != "none":
            return self.posthoc(section)
        return self.features if section.of == "features" else self.classifier()

    @cached_property
    def naive(self) -> Chain:
        """The same images and network without weight decay in the first stage, as the paper's first rows have it."""
        if self.recipe.features.weight_decay == 0:
            return self
        known = {name: found for name, found in self.line.known.items() if name == "dataset"}
        line = Lineage(known, teachers=self.line.teachers)
        other = Chain(self.recipe.with_features(weight_decay=0.0), line)
        other.dataset = self.dataset
        return other

    def row(self, name: Row) -> Node | Artifact:
        """The head of one row: of the paper's Table 4, or another on the same embeddings."""
        own = self.recipe.heads.get(name)
        match name:
            case "naive":
                return self.naive.features
            case "naive-tau":
                return self.naive.row("tau")
            case "first stage":
                return self.features
        entry = ROWS[name]
        if not entry.adjustment:
            head = self.classifier(self.recipe.classifier.as_row(name, self.recipe.features, own))
            if isinstance(head, Node) and own is not None and own.lr is not None:
                return replace(head, section=f"heads.{name}")
            return head
        settings: dict[str, Any] = {"tau": self.recipe.posthoc.tau}
        if entry.own_settings:
            settings = {s.name: getattr(own, s.name, None) for s in ADJUSTMENTS[entry.adjustment].settings}
        told = {setting: value for setting, value in settings.items() if value is not None}
        return self.posthoc(PosthocConfig.model_validate({**told, "method": entry.adjustment, "of": "features"}))

    def measured(self, name: Row) -> Node:
        """The evaluation of one row."""
        chain = self.naive if name.startswith("naive") else self
        return chain.evaluation(self.row(name))

    def on(self, part: Literal["val", "test"]) -> Chain:
        """The same chain, measured on this part."""
        other = Chain(self.recipe.model_copy(update={"eval": self.recipe.eval.model_copy(update={"on": part})}), self.line)
        other.dataset, other.features = self.dataset, self.features
        return other

    def evaluation(self, head: Node | Artifact) -> Node:
        """A head measured on the part that the recipe names."""
        section = self.recipe.eval
        if section.on == "val" and self.recipe.dataset.val == "none":
            raise WbltrError("eval.on: val, but the dataset has no validation part", "use --set eval.on=test", "recipe")
        return Node(EVAL, section, {"head": head, "embeddings": self.embeddings(section.on, head)})
