"""The graph: which stage stands on which, and what a recipe's rows are. No torch here; a stage's file is imported to run it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from wbltr.data.known import CONTENT
from wbltr.errors import WbltrError
from wbltr.pipeline import Artifact, Node, Runtime, Stage, artifact, artifacts, look_up
from wbltr.recipe import (
    ClassifierConfig,
    Config,
    EvalConfig,
    FeaturesConfig,
    Part,
    PosthocConfig,
    Recipe,
    Row,
    added_later,
    available_precision,
)
from wbltr.store import Store


class EmbeddingsStageConfig(Config):
    """One part of a dataset through one network; the network's own settings come from the features artifact."""

    part: Part
    network: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    precision: Literal["bf16", "fp32"]
    augment: Literal["crop-flip", "crop", "none", "resized-crop-flip"]  # of train; val and test are taken plain and mirrored
    pad: int
    views: int
    seed: int
    stem: Literal["cifar", "imagenet"] = added_later("cifar")
    prelogit: int | None = added_later(None)
    image_size: int | None = added_later(None)


def _reads_features(config: FeaturesConfig) -> Mapping[str, tuple[str, ...]]:
    test = ("test.",) if config.select == "best-test" else ()
    return {"dataset": ("train.", *test, "class_counts", "class_names")}


class FinetuneStageConfig(Config):
    """A second stage through the network; the network's own settings come from the features artifact."""

    classifier: ClassifierConfig
    network: str
    stem: Literal["cifar", "imagenet"]
    prelogit: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    precision: Literal["bf16", "fp32"]
    augment: Literal["crop-flip", "crop", "none", "resized-crop-flip"]
    pad: int
    image_size: int | None


def _reads_finetune(config: FinetuneStageConfig) -> Mapping[str, tuple[str, ...]]:
    test = ("test.",) if config.classifier.select == "best-test" else ()
    return {"dataset": ("train.", *test, "class_counts", "class_names"), "features": ("network.", "head.")}


def _reads_embeddings(config: EmbeddingsStageConfig) -> Mapping[str, tuple[str, ...]]:
    network = ("network.",)
    return {"dataset": (f"{config.part}.", "class_counts", "class_names"), "features": network, "finetune": network}


class PosthocStageConfig(Config):
    """What a rescaled head depends on beside its inputs; L2 is τ = 1 under its own name."""

    method: Literal["l2", "tau"]
    tau: float | Literal["val"]


def _reads_posthoc(config: PosthocStageConfig) -> Mapping[str, tuple[str, ...]]:
    return {"head": ("head.",)} | ({"embeddings": ("val.",)} if config.tau == "val" else {})


def _reads_eval(config: EvalConfig) -> Mapping[str, tuple[str, ...]]:
    return {"head": ("head.",), "embeddings": (f"{config.on}.", "class_counts", "class_names")}


DATASET = Stage("dataset", 1, "wbltr.stages.dataset:run")
FEATURES = Stage("features", 1, "wbltr.stages.features:run", _reads_features)
FINETUNE = Stage("finetune", 1, "wbltr.stages.finetune:run", _reads_finetune)
EMBEDDINGS = Stage("embeddings", 1, "wbltr.stages.embeddings:run", _reads_embeddings)
CLASSIFIER = Stage(
    "classifier",
    3,  # one matrix with the bias as its last row: other roundings
    "wbltr.stages.classifier:run",
    lambda _: {"embeddings": ("train.", "class_counts"), "features": ("head.",)},
)
POSTHOC = Stage("posthoc", 2, "wbltr.stages.posthoc:run", _reads_posthoc)  # τ by columns of the logits: other near-ties
EVAL = Stage("eval", 1, "wbltr.stages.eval:run", _reads_eval)
STAGES = {stage.name: stage for stage in (DATASET, FEATURES, FINETUNE, EMBEDDINGS, CLASSIFIER, POSTHOC, EVAL)}
NETWORK_FIELDS = ("network", "stem", "prelogit", "mean", "std", "precision", "augment", "pad", "image_size")
CARRY_A_HEAD = ("features", "finetune", "classifier", "posthoc")


@dataclass(frozen=True)
class Lineage:
    """An artifact and what it was made from.

    Attributes:
        known: by stage name, what the store has; the nearest of each stage, the artifact itself first.
        lost: by stage name, ids of inputs that the store no longer has.
        source: digest of the images that the dataset is made of, where `_source` had to look at them for it.
    """

    known: Mapping[str, Artifact] = field(default_factory=dict)
    lost: Mapping[str, str] = field(default_factory=dict)
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
            if object_id in seen:
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

    @cached_property
    def dataset(self) -> Node | Artifact:
        """Images and labels."""
        section = self.recipe.dataset
        source = {"source": self.line.source or CONTENT.get(section.source, "")}
        return self.line.known.get("dataset") or Node(DATASET, section, source, self.line.lost.get("dataset", ""))

    @cached_property
    def features(self) -> Node | Artifact:
        """The first stage."""
        known = self.line.known.get("features")
        return known or Node(FEATURES, self.recipe.features, {"dataset": self.dataset}, self.line.lost.get("features", ""))

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

    def embeddings(self, part: Part, head: Node | Artifact | None = None) -> Node:
        """One part through the network of this head; without a head, through the first stage's."""
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

    def classifier(self, section: ClassifierConfig | None = None) -> Node | Artifact:
        """The second stage; without a section the recipe's own, or the one the chain starts from."""
        for stage in ("finetune", "classifier"):
            if section is None and stage in self.line.known:
                return self.line.known[stage]
        section = section or self.recipe.classifier
        if not section.through_network:
            return Node(CLASSIFIER, section, {"embeddings": self.embeddings("train"), "features": self.features})

        def config(made: Mapping[str, Artifact]) -> Config:
            features = FeaturesConfig.model_validate(dict(made["features"].config))
            own = {field: getattr(features, field) for field in NETWORK_FIELDS}
            return FinetuneStageConfig.model_validate({**own, "classifier": section})

        return Node(FINETUNE, config, {"dataset": self.dataset, "features": self.features})

    def posthoc(self, section: PosthocConfig, head: Node | Artifact | None = None) -> Node:
        """An adjusted head, of `head` or of what the section names."""
        if section.method == "none":
            raise WbltrError("posthoc.method: none leaves nothing to do", "use --set posthoc.method=tau", "recipe")
        config = PosthocStageConfig(method=section.method, tau=section.tau if section.method == "tau" else 1.0)
        below = head or (self.features if section.of == "features" else self.classifier())
        if config.tau != "val":
            return Node(POSTHOC, config, {"head": below})
        if self.recipe.dataset.val == "none":
            raise WbltrError("τ cannot be chosen: the dataset has no validation part", "give it: --tau 1.0", "recipe")
        return Node(POSTHOC, config, {"head": below, "embeddings": self.embeddings("val", below)})

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
        line = Lineage({name: found for name, found in self.line.known.items() if name == "dataset"})
        other = Chain(self.recipe.with_features(weight_decay=0.0), line)
        other.dataset = self.dataset
        return other

    def row(self, name: Row) -> Node | Artifact:
        """The head of one row of the paper's Table 4."""
        match name:
            case "naive":
                return self.naive.features
            case "naive-tau":
                return self.naive.row("tau")
            case "first stage":
                return self.features
            case "l2" | "tau":
                return self.posthoc(PosthocConfig(method=name, tau=self.recipe.posthoc.tau, of="features"))
            case _:
                first, own = self.recipe.features, self.recipe.heads.get(name)
                return self.classifier(self.recipe.classifier.as_row(name, first, own))

    def measured(self, name: Row) -> Node:
        """The evaluation of one row."""
        chain = self.naive if name.startswith("naive") else self
        return chain.evaluation(self.row(name))

    def evaluation(self, head: Node | Artifact) -> Node:
        """A head measured on the part that the recipe names."""
        section = self.recipe.eval
        if section.on == "val" and self.recipe.dataset.val == "none":
            raise WbltrError("eval.on: val, but the dataset has no validation part", "use --set eval.on=test", "recipe")
        return Node(EVAL, section, {"head": head, "embeddings": self.embeddings(section.on, head)})


def settle_shards(recipe: Recipe, processes: int, runtime: Runtime) -> Recipe:
    """Give each of several processes its part of a batch, where the recipe does not say how a batch is cut."""
    if processes == 1 or recipe.features.micro_batch is not None:
        return recipe
    batch = recipe.features.batch_size
    size = _micro_batch(batch, processes)
    if size is None:
        raise WbltrError(
            f"{processes} processes cannot share a batch of {batch} evenly, with two images or more for each",
            sharing_hint(batch, processes),
            "usage",
        )
    runtime.notice(f"{processes} processes: features.micro_batch={size}, which is what batch-norm sees at once")
    return recipe.with_features(micro_batch=size)


def _micro_batch(batch_size: int, processes: int) -> int | None:
    """The largest part of a batch of which there are as many as processes, or a multiple; none of a single image."""
    for parts in range(processes, batch_size // 2 + 1, processes):
        size = -(-batch_size // parts)
        if -(-batch_size // size) == parts:
            return size
    return None


def sharing_hint(batch_size: int, processes: int) -> str:
    """What to set so that so many processes can share a batch."""
    size = _micro_batch(batch_size, processes)
    if size is not None:
        return f"--set features.micro_batch={size}"
    batch_size = max(2, -(-batch_size // processes)) * processes
    return f"--set features.batch_size={batch_size}, which is another training; or start fewer processes"


def settle_precision(store: Store, recipe: Recipe, runtime: Runtime, source: str = "") -> Recipe:
    """Replace `precision: auto` by what this machine does well, or by what the store has finished already."""
    if recipe.features.precision != "auto":
        return recipe
    best = available_precision()
    choices = [recipe.with_features(precision=p) for p in sorted(("bf16", "fp32"), key=lambda p: p != best)]
    section = recipe.dataset
    dataset = look_up(store, DATASET, section, {"source": source or CONTENT.get(section.source, "")})
    for choice in choices if dataset else []:
        if look_up(store, FEATURES, choice.features, {"dataset": dataset} if dataset else {}):
            if choice is not choices[0]:
                runtime.notice(
                    f"using the finished {choice.features.precision} features; another: --set features.precision={best}"
                )
            return choice
    return choices[0]


def source_roots(store: Store, source: str, root: Path | None) -> tuple[Path, ...]:
    """Where a known set may lie: --root, WBLTR_DATA, where earlier makes found it, the store's downloads."""
    roots = [root] if root else []
    if os.environ.get("WBLTR_DATA"):
        roots.append(Path(os.environ["WBLTR_DATA"]))
    for made in artifacts(store):
        place = made.record.get("witness", {}).get("location")
        if made.stage == "dataset" and made.config.get("source") == source and place:
            roots.append(Path(place))
    return (*dict.fromkeys(roots), store.root / "downloads")
