"""Recipes: what to make, as frozen pydantic configs. Everything in a section can change a number and is hashed.

A recipe's head (`name`, `paper`, `claim`, `rows`; `heads`, which is laid on the sections) is not hashed itself. No torch here:
a cached chain starts fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, ValidationError, create_model, model_validator

from wbltr.config import (
    METHODS_FILE,
    Config,
    Count,
    Natural,
    NonNegative,
    Number,
    OfMethods,
    OneOf,
    Positive,
    Seed,
    Share,
    Teacher,
    Weights,
    added_later,
    fields_of,
)
from wbltr.dataset_config import DatasetConfig
from wbltr.errors import WbltrError
from wbltr.methods.adjustments import ADJUSTMENTS
from wbltr.methods.heads import HEADS
from wbltr.methods.losses import LOSSES, SETTINGS, LossSettings
from wbltr.methods.rows import ROWS, Row

Part = Literal["train", "val", "test"]
Sampling = Literal["instance", "class-balanced", "square-root"]
LossName = Annotated[str, OneOf(LOSSES)]
RowName = Annotated[Row, OneOf(ROWS)]
DEFERRED = 0.8  # of the epochs without class weights, where a loss defers them: 160 of 200, as Cao et al. released it
# Settings of rows that were there before the tables were: a study's name tells that they are not set, too.
FIRST = ("tau", "rho", "gamma", "smoothing", "scale", "teacher", "temperature", "alpha")
ADJUSTED = {name: setting for name, setting in ADJUSTMENTS.settings().items() if setting.kind == "number"}
CIFAR_NETWORKS = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110")


class MaxNormConfig(Config):
    """MaxNorm (eq. 5): every row of the classifier stays in the L2 ball of this radius."""

    radius: NonNegative = 0.1
    relative: StrictBool = True  # radius = min + radius · (max − min) of the first stage's row norms
    per: Literal["step", "epoch"] = "step"  # when to project; the released code projects once per epoch
    on: Literal["classifier", "trained"] = added_later("classifier")  # its rows; or the filters of every trained layer, too

    @model_validator(mode="after")
    def _an_absolute_radius_is_positive(self) -> Self:
        if not self.relative and self.radius == 0:
            raise ValueError("an absolute radius of 0 would leave no classifier; give a positive one")
        return self


if TYPE_CHECKING:

    class _TrainedHead(Config):
        """The settings that our own code names."""

        loss: str
        reweight_from: int | None = None
        teacher: str | Teacher | None = None
        head: str = "linear"
        scale: float = 30.0
else:
    _TrainedHead = create_model(
        "_TrainedHead",
        __base__=OfMethods,
        loss=(LossName, ...),
        **fields_of(LOSSES.settings()),
        head=(Annotated[str, OneOf(HEADS)], added_later("linear")),
        **fields_of({name: setting for name, setting in HEADS.settings().items() if name not in LOSSES.settings()}),
        methods_file=METHODS_FILE,
    )


class LossConfig(_TrainedHead):
    """A loss, a form of head, and every setting that one of them has; see `wbltr.methods`."""

    @property
    def settings(self) -> LossSettings:
        """What it leaves open, as a loss and a form of head take it."""
        return LossSettings(**{name: getattr(self, name) for name in vars(LossSettings())})

    @model_validator(mode="after")
    def _settings_are_read(self) -> Self:
        loss, head = LOSSES[self.loss], HEADS[self.head]
        for name, setting in SETTINGS.items():
            if setting.original or getattr(self, name) == setting.default or loss.has(name) or head.has(name):
                continue
            what, readers = f"of loss: {self.loss}", ", ".join(LOSSES.readers(name))
            if forms := HEADS.readers(name):
                what, readers = f"of a {self.head} head", " and ".join(forms)
            raise ValueError(f"{name} changes nothing {what}; it belongs to {readers}")
        if self.reweight_from == 0 and not loss.deferred:
            raise ValueError("reweight_from: 0 changes nothing: leave it out, and weights count throughout")
        if loss.teacher and self.teacher is None:
            raise ValueError(f"loss: {self.loss} learns from a teacher: give the id or name of a finished first stage")
        if loss.head and self.head != loss.head:
            raise ValueError(f"loss: {self.loss}: {loss.why_head}; set head: {loss.head}")
        return self


if TYPE_CHECKING:

    class _Settings(Config):
        teacher: str | Teacher | None = None
        tau: float | None = None
else:
    _Settings = create_model("_Settings", __base__=OfMethods, **fields_of(ADJUSTED | SETTINGS, absent=True))


class HeadSettings(_Settings):
    """What one row has of its own, chosen on validation; null: the classifier section's, or the default."""

    weight_decay: NonNegative | None = None  # null: of the paper's rows the section's, of the others 0
    radius: NonNegative | None = None  # of MaxNorm
    lr: Positive | None = None

    def hashed(self) -> dict[str, Any]:
        """As `Config.hashed`; see `FIRST`."""
        return dict.fromkeys(FIRST) | super().hashed()

    def idle(self, row: Row) -> list[str]:
        """What is set here and cannot change this row."""
        entry, read = ROWS[row], set[str]()
        if entry.sets is not None:
            head, loss = HEADS[entry.sets.get("head", "linear")], LOSSES[entry.sets.get("loss", "ce")]
            read = {setting.name for setting in (*loss.settings, *head.settings)} | {"weight_decay", "lr"}
            read = read if head.trained else set()
        elif entry.loss:
            read = {"lr", *(name for part, name in (("max", "radius"), ("wd", "weight_decay")) if part in entry.parts)}
        elif entry.own_settings:
            read = {setting.name for setting in ADJUSTMENTS[entry.adjustment].settings}
        return [name for name in type(self).model_fields if getattr(self, name) is not None and name not in read]


class FeaturesConfig(LossConfig):
    """First stage: cross entropy with a tuned weight decay (section 4.1). The defaults are the paper's settings."""

    # `none`: a head alone, on embeddings of one's own.
    network: Literal[
        "resnet20", "resnet32", "resnet44", "resnet56", "resnet110",
        "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50", "small", "none",
    ] = "resnet34"  # fmt: skip
    weights: str | Weights | None = added_later(None)  # to start from: torchvision's IMAGENET1K_V1 or _V2, or a file
    frozen: StrictBool = added_later(False)  # the network stays as it is, only the head is trained, on plain embeddings
    stem: Literal["cifar", "imagenet"] = added_later("cifar")  # 3x3, stride 1; or 7x7, stride 2 and max-pool
    prelogit: Count | None = added_later(None)  # dimensions of a linear layer before the classifier (appendix C: 2)
    epochs: Count = 200
    batch_size: Annotated[int, Field(ge=2, strict=True)] = 64
    micro_batch: Annotated[int, Field(ge=2, strict=True)] | None = added_later(None)  # images that batch-norm sees at once
    lr: Positive = 0.01
    momentum: Share = 0.9
    weight_decay: NonNegative = 5e-3  # SGD's, on all parameters: twice the λ of eq. 3
    loss: LossName = "ce"
    constraint: Literal["none", "unit-norm"] = "none"  # on the classifier's rows: eq. 2 as a projection after each step
    max_norm: MaxNormConfig | None = added_later(None)  # on the classifier's rows; the radius is absolute
    sampling: Sampling = added_later("instance")
    scheduler: Literal["paper", "released"] = "paper"  # `released` steps before each epoch: the last one has lr 0
    select: Literal["last", "best-test"] = "last"  # `best-test` flatters; for the `-released` recipes only
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    augment: Literal["crop-flip", "crop", "none", "resized-crop-flip", "resized-crop"] = "crop-flip"
    image_size: Annotated[int, Field(ge=8, le=1024, strict=True)] | None = added_later(None)  # pixels a side, of resized crops
    pad: Annotated[int, Field(ge=0, le=64, strict=True)] = 4  # pixels on each side before the crop
    mean: tuple[Number, ...] = (0.4914, 0.4822, 0.4465)  # per channel, of pixels in [0, 1]
    std: tuple[Positive, ...] = (0.2023, 0.1994, 0.2010)
    snapshot_every: Count | None = added_later(None)  # steps after which the head is kept, for Fig. 7
    seed: Seed = 0

    @model_validator(mode="after")
    def _constraints_agree(self) -> Self:
        if self.max_norm is not None and self.max_norm.relative:
            raise ValueError("max_norm: there is no earlier head to be relative to; give radius and relative: false")
        if self.max_norm is not None and self.max_norm.on == "trained":
            raise ValueError(
                "max_norm.on: trained needs a radius for each layer, which only a second stage can take from the first"
            )
        if self.constraint == "unit-norm" and self.max_norm is not None:
            raise ValueError("unit-norm and max_norm both set the rows' norms; choose one")
        return self

    @model_validator(mode="after")
    def _resized_crops_have_a_size(self) -> Self:
        if self.augment.startswith("resized-crop") != (self.image_size is not None):
            raise ValueError("augment: resized-crop-flip or resized-crop, and image_size belong together")
        return self

    @model_validator(mode="after")
    def _a_head_alone_takes_less(self) -> Self:
        if self.network != "none" and not self.frozen:
            return self
        what = "frozen trains a head alone"
        idle: tuple[str, ...] = ("prelogit", "micro_batch", "select", "snapshot_every")
        if self.network == "none":
            what = "network: none trains a head alone"
            idle = (*idle, "stem", "augment", "image_size", "pad", "weights", "frozen")
        told = [name for name in idle if getattr(self, name) != type(self).model_fields[name].default]
        if told:
            raise ValueError(f"{what}: leave out {', '.join(told)}")
        if LOSSES[self.loss].teacher or (self.network == "none" and self.precision == "bf16"):
            raise ValueError(f"{what}, in fp32 and without a teacher")
        if self.head != "linear" and (self.max_norm is not None or self.constraint != "none"):
            raise ValueError(f"head: {self.head} on embeddings takes no constraint")
        return self

    @model_validator(mode="after")
    def _weights_fit_a_network_of_torchvision(self) -> Self:
        if self.frozen and self.weights is None:
            raise ValueError("frozen: a network of random weights is nothing to learn from; give weights")
        if self.weights is None:
            return self
        if self.network in ("small", "none") or self.network in CIFAR_NETWORKS:
            raise ValueError(f"weights: there are none for {self.network}; use resnet18 to resnet152, or resnext50")
        if self.stem != "imagenet" or self.prelogit is not None or len(self.mean) != 3:
            raise ValueError("weights: are of a network for three channels: stem: imagenet, no prelogit, three means")
        return self

    @model_validator(mode="after")
    def _the_network_can_train_this_head(self) -> Self:
        if not HEADS[self.head].first_stage:
            known = " or a ".join(name for name, head in HEADS.items() if head.first_stage)
            raise ValueError(f"head: {self.head}: a first stage trains a {known} one")
        return self

    @model_validator(mode="after")
    def _one_mean_and_std_a_channel(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} channels, std has {len(self.std)}")
        return self

    @model_validator(mode="after")
    def _a_micro_batch_is_part_of_a_batch(self) -> Self:
        if self.micro_batch is not None and self.micro_batch > self.batch_size:
            raise ValueError(f"micro_batch {self.micro_batch} is larger than batch_size {self.batch_size}")
        if self.batch_size < 2 * self.shards:
            raise ValueError(f"micro_batch {self.micro_batch} leaves one image alone in a batch of {self.batch_size}")
        return self

    @property
    def shards(self) -> int:
        """Parts that a batch is cut into."""
        return 1 if self.micro_batch is None else -(-self.batch_size // self.micro_batch)


class EmbeddingsConfig(Config):
    """How many augmented views of each training image the second stage learns from."""

    views: Annotated[int, Field(ge=1, le=1000, strict=True)] = 10
    seed: Seed = 0


class ClassifierConfig(LossConfig):
    """Second stage: the last layer again on frozen embeddings (section 4.2)."""

    mode: Literal["cached", "exact"] = "cached"  # `exact`: through the network; batch-norm's statistics drift, as released
    layers: Literal[1, 2, 5] = 1  # weight layers trained, counted back from the classifier, their batch-norms with them
    loss: LossName = "cb"
    epochs: Count = 10
    batch_size: Count = 64
    lr: Positive = 0.01
    momentum: Share = 0.9
    weight_decay: NonNegative = 0.0  # weights and biases
    max_norm: MaxNormConfig | None = None
    constraint: Literal["none", "unit-norm"] = "none"  # `unit-norm`: eq. 2 as a projection after each step
    init: Literal["features", "fresh"] = "features"
    sampling: Sampling = "instance"
    scheduler: Literal["paper", "released"] = "paper"
    select: Literal["last", "best-test"] = "last"
    seed: Seed = 0

    @property
    def through_network(self) -> bool:
        """Whether it changes more than a head on cached embeddings."""
        return self.mode == "exact" or self.layers > 1

    @model_validator(mode="after")
    def _filters_are_held_where_they_are_trained(self) -> Self:
        if self.max_norm is not None and self.max_norm.on == "trained" and self.layers == 1:
            raise ValueError(
                "max_norm.on: trained holds the filters of trained layers, but layers: 1 trains the classifier alone"
            )
        return self

    @model_validator(mode="after")
    def _best_on_test_needs_the_network(self) -> Self:
        if self.select == "best-test" and not self.through_network:
            raise ValueError("select: best-test is the released protocol's; it needs mode: exact")
        return self

    @model_validator(mode="after")
    def _one_constraint_at_a_time(self) -> Self:
        if self.constraint == "unit-norm" and self.max_norm is not None:
            raise ValueError("unit-norm and max_norm both set the rows' norms; choose one")
        return self

    @model_validator(mode="after")
    def _class_means_are_not_trained(self) -> Self:
        fields = type(self).model_fields
        told = [name for name in fields if name != "head" and getattr(self, name) != fields[name].default]
        if not HEADS[self.head].trained and told:
            raise ValueError(f"head: {self.head} is not trained: leave out {', '.join(told)}")
        return self

    @model_validator(mode="after")
    def _some_forms_begin_from_the_first_stages_head(self) -> Self:
        if HEADS[self.head].starts_from != "any" and self.init == "fresh":
            raise ValueError(f"head: {self.head} begins from the first stage's head: init: features")
        return self

    @model_validator(mode="after")
    def _other_forms_are_trained_on_embeddings_alone(self) -> Self:
        if self.head != "linear" and (self.through_network or self.max_norm is not None or self.constraint != "none"):
            raise ValueError(f"head: {self.head} takes no constraint, and needs mode: cached and layers: 1")
        if LOSSES[self.loss].teacher and (self.head != "linear" or self.through_network):
            raise ValueError(f"loss: {self.loss} needs head: linear, mode: cached and layers: 1")
        return self

    def as_row(self, row: Row, first: FeaturesConfig, settings: HeadSettings | None = None) -> ClassifierConfig:
        """This section with only the parts that `row` names: cb-wd drops MaxNorm.

        Args:
            row: of the second stage.
            first: the first stage, whose weight decay is the `default-wd`.
            settings: what the recipe says of this row beside its classifier section.

        Raises:
            WbltrError: for a row of another stage, or one that needs what the section has not.
        """
        own, entry = settings or HeadSettings(), ROWS[row]
        if self.layers > 1 and entry.layers == 1:
            raise WbltrError(
                f"row '{row}' is of the last layer, but classifier.layers is {self.layers}",
                "leave classifier.layers out: rows such as cb-wd-max-last2 say it themselves",
                "recipe",
            )
        if entry.sets is not None:
            values = self._of_others(row, entry.sets, own)
        elif entry.loss:
            values = self._of_the_paper(row, first, own)
        else:
            raise WbltrError(f"'{row}' is not a row of the second stage", code="usage")
        try:
            return ClassifierConfig.model_validate(values)
        except ValidationError as failure:
            told = "; ".join(str(error["msg"]) for error in failure.errors())
            raise WbltrError(f"row '{row}': {told}", "see its settings: classifier and heads", "recipe") from None

    def _of_the_paper(self, row: Row, first: FeaturesConfig, own: HeadSettings) -> dict[str, Any]:
        entry, parts = ROWS[row], ROWS[row].parts
        weight_decay = self.weight_decay if own.weight_decay is None else own.weight_decay
        ball = self.max_norm and self.max_norm.model_dump()
        if own.radius is not None:
            ball = {**(ball or {}), "radius": own.radius}
        if "max" in parts and ball is None:
            hint = "add --set classifier.max_norm.radius=0.1"
            raise WbltrError(f"row '{row}' needs classifier.max_norm", hint, "recipe")
        if "wd" in parts and not weight_decay:
            hint = "add --set classifier.weight_decay=0.01"
            raise WbltrError(f"row '{row}' needs classifier.weight_decay", hint, "recipe")
        if "default" in parts:
            weight_decay = first.weight_decay
        balanced = self.loss if self.loss in ("cb", "cb-bce") else "cb"
        return {
            **self._plain(own),
            "loss": balanced if entry.loss == "cb" else "ce",
            "weight_decay": weight_decay if {"wd", "default"} & set(parts) else 0.0,
            "max_norm": ball if "max" in parts else None,
            "constraint": "unit-norm" if "l2" in parts else "none",
            "layers": entry.layers,
        }

    def _of_others(self, row: Row, sets: Mapping[str, Any], own: HeadSettings) -> dict[str, Any]:
        loss = LOSSES[sets.get("loss", "ce")]
        if not HEADS[sets.get("head", "linear")].trained:
            return dict(sets)  # whatever the section says, it is the same head
        if loss.teacher and own.teacher is None:
            hint = f"name a finished first stage: --set heads.{row}.teacher=ID"
            raise WbltrError(f"row '{row}' needs a teacher", hint, "recipe")
        settings = {name: getattr(own, name) for name in SETTINGS}
        return {
            **self._plain(own),
            "loss": "ce",
            "weight_decay": own.weight_decay or 0.0,
            "max_norm": None,
            "constraint": "none",
            "mode": "cached",
            "select": "last",
            **sets,
            **({"reweight_from": int(DEFERRED * self.epochs)} if loss.deferred else {}),
            **{name: value for name, value in settings.items() if value is not None},
        }

    def _plain(self, own: HeadSettings) -> dict[str, Any]:
        """The section without what its own loss and form of head read; a row has its own, but for β."""
        left_out = {*SETTINGS, "head", "methods_file"} - {name for name, setting in SETTINGS.items() if setting.original}
        values = {name: value for name, value in self.model_dump().items() if name not in left_out}
        return values | ({} if own.lr is None else {"lr": own.lr})


if TYPE_CHECKING:

    class _Adjusted(Config):
        tau: float | Literal["val"] = "val"
else:
    _Adjusted = create_model("_Adjusted", __base__=OfMethods, **fields_of(ADJUSTMENTS.settings()), methods_file=METHODS_FILE)


class PosthocConfig(_Adjusted):
    """A head adjusted after training; a method reads those settings that it has. See `wbltr.methods.adjustments`."""

    method: Annotated[str, OneOf(ADJUSTMENTS, "none")] = "none"
    of: Literal["features", "classifier"] = "classifier"


class EvalConfig(Config):
    """Where to measure and what Many, Medium and Few mean: > many, between, < few training images."""

    on: Literal["val", "test"] = "test"
    many: Natural = 100
    few: Natural = 20
    flip: StrictBool = False  # average the logits of an image and its mirror image

    @model_validator(mode="after")
    def _few_stays_below_many(self) -> Self:
        if self.few > self.many + 1:
            raise ValueError(f"few: {self.few} exceeds many: {self.many}, so a class would be in both splits")
        return self


class Claim(Config):
    """What a recipe was measured to give: accuracies in per cent, their spread over seeds, and how."""

    on: Literal["val", "test"]
    row: RowName
    all: float | None = None
    many: float | None = None
    medium: float | None = None
    few: float | None = None
    sd: float | None = None  # of `all`, over the seeds
    seeds: Count | None = None
    selected_on: Literal["val", "test", "none"] = "none"
    minutes: float | None = None
    hardware: str = ""
    command: str = ""
    commit: str = ""


class Recipe(Config):
    """One chain from images to a Many / Medium / Few table."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] = "unnamed"
    paper: str = ""
    images: str = ""  # where pictures of one's own lie, a folder or a table; from the folder of the recipe's file
    root: str = ""  # what the table's paths start from; default: the table's own folder
    embeddings_file: str = ""  # where embeddings of one's own lie; from the folder of the recipe's file
    claim: Claim | None = None
    dataset: DatasetConfig
    features: FeaturesConfig = FeaturesConfig()
    embeddings: EmbeddingsConfig = EmbeddingsConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    posthoc: PosthocConfig = PosthocConfig()
    eval: EvalConfig = EvalConfig()
    heads: dict[RowName, HeadSettings] = Field(default_factory=dict)
    rows: Annotated[tuple[RowName, ...], Field(min_length=1)] = ("first stage", "l2", "tau", "cb-wd-max")

    @model_validator(mode="after")
    def _pictures_of_ones_own_are_the_source(self) -> Self:
        if (self.images or self.root) and self.dataset.source != "images":
            raise ValueError(
                f"images, root: {self.dataset.source} has images of its own; they belong to dataset.source: images"
            )
        return self

    @model_validator(mode="after")
    def _embeddings_need_no_network(self) -> Self:
        own = self.dataset.source == "embeddings"
        if own != (self.features.network == "none"):
            raise ValueError("dataset.source: embeddings and features.network: none belong together")
        if own != bool(self.embeddings_file):
            raise ValueError("dataset.source: embeddings and embeddings_file: FILE belong together")
        if own and (self.classifier.through_network or self.eval.flip or self.embeddings.views != 1):
            raise ValueError(
                "without images there is one view and no network: embeddings.views: 1, eval.flip: false, "
                "classifier.mode: cached, classifier.layers: 1"
            )
        return self

    @model_validator(mode="after")
    def _settings_of_rows_are_used(self) -> Self:
        for row, settings in self.heads.items():
            if unused := settings.idle(row):
                raise ValueError(f"heads.{row}: {', '.join(unused)} cannot change this row")
        return self

    def with_features(self, **values: Any) -> Recipe:
        """The same recipe with these fields of its first stage replaced."""
        return self.model_copy(update={"features": self.features.model_copy(update=values)})


def available_precision() -> Literal["bf16", "fp32"]:
    """bf16 where the hardware has it (AVX-512 bf16, AMX, or an NVIDIA device), else fp32: emulated bf16 is slower."""
    from pathlib import Path

    if Path("/dev/nvidia0").exists():
        return "bf16"
    try:
        flags = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return "fp32"
    return "bf16" if "avx512_bf16" in flags or "amx_bf16" in flags else "fp32"
