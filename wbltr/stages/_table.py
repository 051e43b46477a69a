"""Every stage: its config beside the recipe's own sections, its revision, and what it is handed. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import create_model, model_validator

from wbltr.config import METHODS_FILE, Config, OfMethods, OneOf, added_later, fields_of
from wbltr.errors import WbltrError
from wbltr.methods.adjustments import ADJUSTMENTS
from wbltr.methods.heads import KINDS
from wbltr.methods.losses import LOSSES
from wbltr.pipeline import Stage
from wbltr.recipe import ClassifierConfig, EvalConfig, FeaturesConfig, Part, PosthocConfig


class EmbeddingsStageConfig(Config):
    """One part of a dataset through one network; the network's own settings come from the features artifact."""

    part: Part
    network: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    precision: Literal["bf16", "fp32"]
    # Of train; val and test are taken plain and mirrored.
    augment: Literal["crop-flip", "crop", "none", "resized-crop-flip", "resized-crop"]
    pad: int
    views: int
    seed: int
    stem: Literal["cifar", "imagenet"] = added_later("cifar")
    prelogit: int | None = added_later(None)
    image_size: int | None = added_later(None)


def _reads_features(config: FeaturesConfig) -> Mapping[str, tuple[str, ...]]:
    test = ("test.",) if config.select == "best-test" else ()
    teacher = {"teacher": ("network.", "head.")} if LOSSES[config.loss].teacher else {}
    return {"dataset": ("train.", *test, "class_counts", "class_names"), **teacher}


class FinetuneStageConfig(Config):
    """A second stage through the network; the network's own settings come from the features artifact."""

    classifier: ClassifierConfig
    network: str
    stem: Literal["cifar", "imagenet"]
    prelogit: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    precision: Literal["bf16", "fp32"]
    augment: Literal["crop-flip", "crop", "none", "resized-crop-flip", "resized-crop"]
    pad: int
    image_size: int | None


def _reads_finetune(config: FinetuneStageConfig) -> Mapping[str, tuple[str, ...]]:
    test = ("test.",) if config.classifier.select == "best-test" else ()
    return {"dataset": ("train.", *test, "class_counts", "class_names"), "features": ("network.", "head.")}


def _reads_embeddings(config: EmbeddingsStageConfig) -> Mapping[str, tuple[str, ...]]:
    network = ("network.",)
    return {"dataset": (f"{config.part}.", "class_counts", "class_names"), "features": network, "finetune": network}


def _reads_classifier(config: ClassifierConfig) -> Mapping[str, tuple[str, ...]]:
    reads = {"embeddings": ("train.", "class_counts"), "features": ("head.",)}
    if LOSSES[config.loss].teacher:
        reads |= {"teacher": ("head.",), "teacher_embeddings": ("train.embeddings",)}
    return reads


class SweepConfig(Config):
    """Second stages that are fitted together: what a head alone may differ in, and no more."""

    trials: tuple[ClassifierConfig, ...]
    precision: Literal["bf16", "fp32"]  # of the products

    @model_validator(mode="after")
    def _they_share_their_batches(self) -> Self:
        shared = ("epochs", "batch_size", "momentum", "init", "sampling", "scheduler", "seed")
        if not self.trials or len({tuple(getattr(trial, name) for name in shared) for trial in self.trials}) > 1:
            raise ValueError(f"trials of one sweep are some, and alike in {', '.join(shared)}")
        if any(trial.through_network or trial.head != "linear" or LOSSES[trial.loss].teacher for trial in self.trials):
            raise ValueError("a sweep trains linear heads on cached embeddings alone: layers: 1, mode: cached, no teacher")
        return self

    def hashed(self) -> dict[str, Any]:
        """As each trial would be hashed alone."""
        return {"trials": [trial.hashed() for trial in self.trials], "precision": self.precision}


def refuse_adjustment(method: str, kind: str) -> None:
    """Refuse what changes nothing on a kind of head, or is not defined there.

    Raises:
        WbltrError: code "usage".
    """
    changed = {"rows": "rows", "scales": "classes"}.get(ADJUSTMENTS[method].gives)
    if changed in KINDS[kind].refuses:
        hint = "instead: wbltr posthoc logit-adjust, or wbltr posthoc temperature"
        raise WbltrError(f"posthoc {method} {KINDS[kind].why}", hint, "usage")


if TYPE_CHECKING:

    class _Adjusted(Config):
        tau: float | Literal["val"] | None = None
else:
    _Adjusted = create_model(
        "_Adjusted", __base__=OfMethods, **fields_of(ADJUSTMENTS.settings(), absent=True), methods_file=METHODS_FILE
    )


class PosthocStageConfig(_Adjusted):
    """What an adjusted head depends on beside its inputs: the settings that its method has, and no others."""

    method: Annotated[str, OneOf(ADJUSTMENTS)]

    @classmethod
    def of(cls, section: PosthocConfig) -> Self:
        """What a recipe's section comes to; L2 is τ = 1 under its own name."""
        if section.method == "none":
            raise WbltrError("posthoc.method: none leaves nothing to do", "use --set posthoc.method=tau", "recipe")
        entry = ADJUSTMENTS[section.method]
        own = {setting.name: getattr(section, setting.name) for setting in entry.settings}
        return cls.model_validate({"method": section.method, **own, **entry.fixed})


def _reads_posthoc(config: PosthocStageConfig) -> Mapping[str, tuple[str, ...]]:
    entry, reads = ADJUSTMENTS[config.method], {"head": ("head.",)}
    if config.tau == "val" or entry.fitted:
        reads["embeddings"] = ("val.",)
    return reads | ({"dataset": entry.reads} if entry.reads else {})


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
    _reads_classifier,
)
SWEEP = Stage(
    "sweep",
    1,
    "wbltr.stages.sweep:run",
    lambda _: {"embeddings": ("train.", "class_counts"), "validation": ("val.",), "features": ("head.",)},
)
POSTHOC = Stage("posthoc", 2, "wbltr.stages.posthoc:run", _reads_posthoc)  # τ by columns of the logits: other near-ties
EVAL = Stage("eval", 2, "wbltr.stages.eval:run", _reads_eval)  # with calibration; flip: the mean of two logits
STAGES = {stage.name: stage for stage in (DATASET, FEATURES, FINETUNE, EMBEDDINGS, CLASSIFIER, SWEEP, POSTHOC, EVAL)}
NETWORK_FIELDS = ("network", "stem", "prelogit", "mean", "std", "precision", "augment", "pad", "image_size")
CARRY_A_HEAD = ("features", "finetune", "classifier", "posthoc")
