"""What the paper did on each of its sets, field by field of a recipe, and what is usual on sets that it did not use.

A field that no table here names is held against its default in the recipe: those are the paper's. Where text and released code
differ, the code's network counts, which figures and appendix point to, and otherwise the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SOME = object()  # a section that the paper has and a recipe may lack; its own fields are held against their defaults
ANY = object()  # each such set has a value of its own, which says nothing by itself


@dataclass(frozen=True)
class Among:
    """Several values that are all the paper's, or all usual; the first is the one that is named."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)


@dataclass(frozen=True)
class Protocol:
    """How one set is measured.

    Attributes:
        says: field → what the paper's text or its released code has, where that is not the default.
        open: field → what is usual, where neither says anything: another value is told, but departs from nothing.
        published: whether the paper used the set. Of another nothing is a departure.
    """

    says: Mapping[str, Any] = field(default_factory=dict)
    open: Mapping[str, Any] = field(default_factory=dict)
    published: bool = True

    def of(self, path: str, default: Any) -> tuple[Any, bool]:
        """A field's value here, and whether another one departs from the paper."""
        if path in self.says:
            return self.says[path], self.published
        return (self.open[path], False) if path in self.open else (default, self.published)


# The method of section 3.3: cross entropy, then the class-balanced loss with weight decay and MaxNorm. The pixels of both
# stages are flipped and cropped (4.1), which on large images is a resized crop.
METHOD = {"classifier.max_norm": SOME}
CUT = {"dataset.imbalance_factor": None}  # told where the recipe's name does not say it
CIFAR_SAYS = METHOD | {
    # An unused training image validates nothing in the paper, and changes nothing of what is trained on.
    "dataset.val": Among("unused", "none"),
    # Released code: the best epoch on the test set, which section 4.1 calls the validation set; logits of an image and its
    # mirror image averaged; batch-norm in train mode in the second stage, which lasts 10 epochs (the default).
    "features.select": "best-test",
    "eval.flip": True,
    "classifier.mode": "exact",
}
CIFAR_OPEN = CUT | {"features.weight_decay": ANY, "embeddings.views": 10}  # Fig. 4: tuned, not printed; no views in the paper
# Section 4.1 has the network, 200 epochs, the batch size, momentum and learning rate of "each model", for all sets. It has no
# image size, no crop's scale, no mean and std, no epochs of the second stage, no flip averaging, and there is no code.
LARGE_OPEN = {
    "features.weight_decay": ANY,
    "features.stem": "imagenet",
    "features.image_size": None,
    "features.mean": (0.485, 0.456, 0.406),
    "features.std": (0.229, 0.224, 0.225),
    "embeddings.views": 1,
    "classifier.mode": "cached",
    "classifier.epochs": 10,
    "classifier.max_norm.relative": True,
    "eval.flip": False,
}
NATURAL = {"dataset.profile": "natural", "dataset.imbalance_factor": None}
LARGE_SAYS = METHOD | NATURAL | {"features.augment": Among("resized-crop-flip", "crop-flip")}
PAPER: dict[tuple[str, float | None], Protocol] = {  # (source, imbalance factor)
    ("cifar100", 100): Protocol(CIFAR_SAYS | {"features.weight_decay": 5e-3}, CIFAR_OPEN),  # the released code's
    ("cifar100", 50): Protocol(CIFAR_SAYS, CIFAR_OPEN),
    ("cifar100", 10): Protocol(CIFAR_SAYS, CIFAR_OPEN),
    # Tuned, and models selected, on its validation list (4.1): which epoch that was is not said.
    ("imagenet-lt", None): Protocol(
        LARGE_SAYS | {"features.network": "resnext50", "dataset.val": Among("list", "none")},
        LARGE_OPEN,
    ),
    # Tuned on the published validation list, which is what is reported (4.1).
    ("inaturalist18", None): Protocol(
        LARGE_SAYS
        | {
            "features.network": "resnet50",
            "features.batch_size": 512,
            "classifier.batch_size": 512,
            "features.select": "best-test",
            "dataset.val": "none",
        },
        LARGE_OPEN,
    ),
}

# Sets that the paper did not use: what is usual there, so that a caption tells what somebody chose and not every number.
MEASURED_AS = {"eval.many": ANY, "eval.few": ANY, "features.weight_decay": ANY}
IMAGES_OF_ONES_OWN = {
    **{
        f"dataset.{name}": ANY for name in ("val", "test_share", "val_share", "columns", "class_order", "classes", "parts_from")
    },
    "dataset.channels": Among(None, 3),
    **{f"features.{name}": ANY for name in ("batch_size", "pad", "mean", "std")},
    "features.augment": Among("crop-flip", "resized-crop-flip"),
    "embeddings.views": ANY,
}
TRAINED_AS = {f"{stage}.{name}": ANY for stage in ("features", "classifier") for name in ("epochs", "batch_size", "lr")}
USUAL: dict[str, Mapping[str, Any]] = {
    "cifar10": CUT,  # after Cao et al. 2019
    "cifar100": CUT,  # another cut than the paper's
    "digits": CUT | {
        "dataset.largest": 110, "features.batch_size": 32, "features.lr": 0.1, "features.augment": "none",
        "features.mean": (0.306,), "features.std": (0.377,),
        "classifier.epochs": 20, "classifier.batch_size": 32, "classifier.lr": 0.05,
    },
    # After Liu et al. 2019 and Kang et al. 2020.
    "places-lt": NATURAL | LARGE_OPEN | {
        "dataset.val": Among("list", "none"), "features.augment": "resized-crop-flip",
        "features.batch_size": 256, "classifier.batch_size": 256,
    },
    "images": NATURAL | IMAGES_OF_ONES_OWN,
    "embeddings": NATURAL | IMAGES_OF_ONES_OWN | TRAINED_AS,  # rates go by the length of the rows
}  # fmt: skip


def published(recipe: Any) -> Protocol | None:
    """The paper's protocol on the recipe's images; None where it did not use them."""
    dataset = recipe.dataset
    as_published = dataset.profile != "step" and dataset.largest is None
    return PAPER.get((dataset.source, dataset.imbalance_factor)) if as_published else None


def protocol(recipe: Any) -> Protocol:
    """The paper's, or what is usual on a set that it did not use."""
    usual = MEASURED_AS | METHOD | dict(USUAL.get(recipe.dataset.source, {}))
    return published(recipe) or Protocol(open=usual, published=False)
