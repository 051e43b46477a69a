"""A recipe's fields in a few words each. A field without words is told by its name, so that none is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from wbltr.methods.adjustments import ADJUSTMENTS
from wbltr.methods.heads import HEADS
from wbltr.methods.losses import LOSSES, SETTINGS
from wbltr.report.words import count

Form = str | Mapping[Any, str] | Callable[[Any], str]
TEACHER = 12  # digits of an id
SECOND_STAGE = " in the second stage"
TRAINED = {"features": " in the first stage", "classifier": SECOND_STAGE}


class Words(NamedTuple):
    """How a field is told.

    Attributes:
        ours: of its value: with {} for it, value → words, or what makes them.
        paper: the same of what the paper has instead; empty where `ours` says it already.
    """

    ours: Form
    paper: Form = "{}"


def network_name(network: str) -> str:
    """As the papers write it.

    >>> network_name("resnet32"), network_name("resnext50"), network_name("small"), network_name("none")
    ('ResNet-32', 'ResNeXt-50', 'small network', "embeddings of one's own")
    """
    if network == "none":
        return "embeddings of one's own"
    named = network.replace("resnet", "ResNet-").replace("resnext", "ResNeXt-")
    return named if named != network else f"{network} network"


def _weights(weights: Any) -> str:
    """By what they are; a path says nothing, and is nobody's business."""
    origin = getattr(weights, "origin", None)
    if origin is None:
        return f"from {weights} weights" if str(weights).startswith("IMAGENET1K") else "from a weights file"
    return f"from weights file {weights.sha256[:TEACHER]}" if origin == "file" else f"from {origin} weights"


def _loss(loss: str) -> str:
    return LOSSES[loss].label.removesuffix(" loss")


def _square(side: int) -> str:
    return f"{side} x {side} pixels"


AUGMENTED = {
    "crop-flip": "crops and flips",
    "crop": "crops alone",
    "none": "no augmentation",
    "resized-crop-flip": "resized crops and flips",
    "resized-crop": "resized crops alone",
}
ADJUSTED = {
    "l2": "rows of unit norm",
    "tau": "τ-normalisation",
    "temperature": "temperature scaling",
    "prior": "another prior",
    "none": "no adjustment",
}
STEMS = {"imagenet": "ImageNet stem", "cifar": "CIFAR stem"}
# Of both stages, which are told apart.
IN_A_STAGE: dict[str, Words] = {
    "loss": Words(lambda loss: f"{_loss(loss)} loss", _loss),
    **{name: Words(s.told or f"{s.symbol or name} {{}}", "{}" if s.original else "") for name, s in SETTINGS.items()},
    "head": Words(lambda head: f"{HEADS[head].label} head"),
    "batch_size": Words("batches of {}"),
    "epochs": Words(lambda epochs: count(epochs, "epoch")),
    "lr": Words("lr {}"),
    "momentum": Words("momentum {}"),
    "constraint": Words({"unit-norm": "rows held at unit norm", "none": "rows free"}, ""),
    "sampling": Words("{} sampling"),
    "scheduler": Words({"released": "schedule stepped before each epoch"}, ""),
    "init": Words({"fresh": "a fresh head"}, ""),
    "max_norm": Words(lambda ball: "no MaxNorm" if ball is None else f"MaxNorm of radius {ball.radius:g}", ""),
}
# Whose words need no stage.
ALONE: dict[str, Words] = {
    "dataset.imbalance_factor": Words("imbalance factor {}"),
    "dataset.profile": Words("{} profile"),
    "dataset.largest": Words("largest class of {} images", ""),
    "dataset.order": Words({"shuffled": "images of each class drawn at random"}, "its first ones"),
    "dataset.val": Words({"holdout": "validation images held out of the training part"}, ""),
    "dataset.copy_side": Words(lambda side: f"images brought down to {side} pixels", ""),
    "dataset.side": Words(_square, ""),
    "dataset.normalize": Words({"l2": "each row scaled to unit norm", "none": "not normalised"}, ""),
    "dataset.channels": Words({1: "grey images", 3: "colour images"}, ""),
    "dataset.depth": Words("16-bit files read as {} bits", ""),
    "features.network": Words(network_name, network_name),
    "features.stem": Words(STEMS, STEMS),
    "features.image_size": Words(_square, ""),
    "features.prelogit": Words("{} dimensions before the classifier", ""),
    "features.weights": Words(_weights, ""),
    "features.frozen": Words({True: "frozen network"}, ""),
    "features.select": Words("{}", {"best-test": "the best on test"}),
    "features.epochs": Words(lambda epochs: count(epochs, "epoch")),
    "features.batch_size": Words("batches of {}"),
    "features.weight_decay": Words("weight decay {}"),
    "features.micro_batch": Words("batch-norm over {} images at once", ""),
    "features.augment": Words(AUGMENTED, AUGMENTED),
    "features.pad": Words("crops padded by {} pixels"),
    "features.mean": Words("mean of pixels {}"),
    "features.std": Words("deviation of pixels {}"),
    "embeddings.views": Words(lambda views: f"{count(views, 'view')} of each training image", ""),
    "classifier.mode": Words({"cached": "cached second stage", "exact": "second stage through the network"}, ""),
    "classifier.max_norm.relative": Words({False: "MaxNorm's radius absolute"}, "relative to the first stage's norms"),
    "classifier.max_norm.per": Words({"epoch": "MaxNorm once an epoch"}, "at each step"),
    "classifier.max_norm.on": Words({"trained": "MaxNorm on every trained layer"}, "the classifier alone"),
    "posthoc.method": Words(lambda method: ADJUSTED.get(method) or ADJUSTMENTS[method].label, ""),
    "posthoc.direction": Words({"increasing": "norms that grow with the class"}, ""),
    "posthoc.prior": Words(lambda prior: "uniform" if prior == "uniform" else "shares of classes given", ""),
    "eval.on": Words("measured on the {} part"),
    "eval.many": Words("Many above {}"),
    "eval.few": Words("Few below {}"),
    "eval.flip": Words({True: "flip averaging", False: "no flip averaging"}, ""),
}


def told(path: str, value: Any) -> str:
    """A field at this value.

    Args:
        path: section and field with dots between.
    """
    section, _, name = path.partition(".")
    own = ALONE.get(path)
    words = own or (IN_A_STAGE.get(name) if section in TRAINED else None)
    said = "" if words is None else _said(words.ours, value)
    return said + (TRAINED[section] if own is None else "") if said else f"{path} {_shown(value)}"


def instead(path: str, value: Any) -> str:
    """What the paper has in place of what `told` says; empty where there is nothing to add.

    Args:
        path, value: as of `told`; the paper's value.
    """
    section, _, name = path.partition(".")
    words = ALONE.get(path) or (IN_A_STAGE.get(name) if section in TRAINED else None) or Words("")
    return "" if value is None else _said(words.paper, value)


def _said(form: Form, value: Any) -> str:
    """Empty where the form has no words for the value."""
    if isinstance(form, str):
        return form.format(_shown(value))
    return form.get(value, "") if isinstance(form, Mapping) else form(value)


def _shown(value: Any) -> str:
    """A value of a recipe as it is typed, shortly."""
    if isinstance(value, tuple):
        return ", ".join(map(_shown, value))
    if isinstance(value, float):
        return f"{value:g}"
    if hasattr(value, "artifact"):  # a teacher
        return str(value.artifact[:TEACHER])
    return str(value).lower() if isinstance(value, bool) else str(value)
