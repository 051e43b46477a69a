"""A first recipe for somebody's own set: defaults chosen by its size and the pictures' size, each with its reason. No torch."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wbltr.dataset_config import DatasetConfig
from wbltr.recipe import Recipe
from wbltr.recipe_file import revise_recipe

SMALL = 64  # pixels of the shorter side: larger pictures are streamed, as crops
HELD_MOST = 1 << 30  # bytes of pixels that an artifact holds
EMBEDDINGS_MOST = 1e9  # bytes of training embeddings, all views together
DIMENSIONS = {"small": 64, "resnet32": 64, "resnet18": 512, "resnet50": 2048}
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9._/-]*")
AS_SET = "as you set it"
NO_TEXT = ("true", "false", "null")

Choices = dict[str, tuple[Any, str]]  # "section.field" → value, why


@dataclass(frozen=True)
class OwnSet:
    """What is known of a set.

    Attributes:
        pictures: how many.
        short: pixels of the shorter side, the median.
        grey: whether no picture has colours.
        given: the parts that it names itself.
    """

    pictures: int
    short: int
    grey: bool
    given: Collection[str]


def dataset_choices(own: OwnSet) -> Choices:
    """The section that says what the pictures become, and which part is which."""
    choices: Choices = {
        "dataset.source": ("images", ""),
        "dataset.profile": ("natural", ""),
        "dataset.imbalance_factor": (None, ""),
    }
    if "test" not in own.given:
        choices["dataset.test_share"] = (0.2, "a fifth of each class, since the set has no test part")
    choices["dataset.val"] = ("list", "the set's own validation part")
    if "val" not in own.given:
        choices["dataset.val"] = ("holdout", "the set has no validation part")
        choices["dataset.val_share"] = (0.1, "a tenth of each class")
    if not {"val", "test"} <= set(own.given):
        choices["dataset.seed"] = (0, "draws these parts")
    side, channels = max(8, own.short), 1 if own.grey else 3
    if own.short <= SMALL and own.pictures * channels * side * side <= HELD_MOST:
        choices["dataset.side"] = (side, "pixels: the pictures' shorter side, in the median; the dataset holds them")
        choices["dataset.channels"] = (channels, "all pictures are grey" if own.grey else "colour")
    return choices


def training_choices(
    dataset: DatasetConfig, own: OwnSet, counts: Sequence[int], val: int, mean: Sequence[float], std: Sequence[float]
) -> Choices:
    """Everything else.

    Args:
        dataset: the section.
        counts: training pictures of each class.
        val: validation pictures.
        mean, std: per channel, of the training part; empty where it is streamed.
    """
    train = sum(counts)
    shown = f"{train:,} training pictures"
    choices: Choices = {}
    if dataset.side is not None:
        small = train < 1000 or dataset.side < 16
        network = "small" if small else "resnet32"
        choices["features.network"] = (network, f"for {shown} of {dataset.side} x {dataset.side} pixels")
        epochs = _rounded(200_000 / train, 20, 200)
        choices["features.augment"] = ("crop-flip", "right for most photographs; where left and right matter: crop")
        choices["features.pad"] = (max(1, dataset.side // 8), "pixels that a crop may move")
        decay = 5e-3
        choices["features.mean"] = ([*mean], "of the training part, per channel")
        choices["features.std"] = ([*std], "")
    else:
        network = "resnet50" if train >= 10_000 else "resnet18"
        size = 224 if own.short >= 224 else max(32, own.short // 32 * 32)
        choices["features.network"] = (network, f"for {shown}, {own.short} pixels on the shorter side in the median")
        choices["features.stem"] = ("imagenet" if size > SMALL else "cifar", "")
        epochs = _rounded(1_000_000 / train, 60, 200)
        choices["features.augment"] = (
            "resized-crop-flip",
            "right for most photographs; where left and right matter: resized-crop",
        )
        choices["features.image_size"] = (size, "pixels of a crop")
        choices["features.pad"] = (0, "")
        decay = 5e-4
        choices["features.mean"] = (IMAGENET[0], "ImageNet's, as is usual for such networks")
        choices["features.std"] = (IMAGENET[1], "")
    choices["features.epochs"] = (epochs, f"{epochs * train:,} pictures in all")
    choices["features.batch_size"] = (64 if train >= 1000 else 32, f"for {shown}")
    choices["features.lr"] = (0.01, "the paper's")
    choices["features.weight_decay"] = (decay, "a start: wbltr tune features finds a better one")
    views = int(min(10, max(1, EMBEDDINGS_MOST // (4 * train * DIMENSIONS[network]))))
    choices["embeddings.views"] = (views, "augmented views of each training picture, for the second stage")
    choices["classifier.weight_decay"] = (1e-3, "a start, with max_norm: wbltr tune classifier finds better ones")
    choices["classifier.max_norm"] = ({"radius": 0.7}, "")
    many, few, why = thresholds(counts)
    choices["eval.many"] = (many, why)
    choices["eval.few"] = (few, "classes with fewer training pictures are Few")
    rows = ["first stage", "l2", *(["tau"] if val else []), "cb-wd-max"]
    choices["rows"] = (rows, "" if val else "no tau, which is chosen on validation pictures")
    return choices


def _rounded(value: float, least: int, most: int) -> int:
    """To tens, within bounds."""
    return int(min(most, max(least, 10 * round(value / 10))))


def thresholds(counts: Sequence[int]) -> tuple[int, int, str]:
    """From how many training images on a class is Many, below how many it is Few, and why: > many, < few.

    >>> thresholds([500, 100, 50, 5])[:2], thresholds([50, 40, 30, 20, 10, 5])[:2], thresholds([10, 20])[:2]
    ((100, 20), (30, 20), (10, 11))
    """
    if any(n > 100 for n in counts) and any(n < 20 for n in counts) and any(20 <= n <= 100 for n in counts):
        return 100, 20, "Many above 100 training pictures, Few below 20: the usual"
    ranked, third = sorted(counts), max(1, round(len(counts) / 3))
    if ranked[0] == ranked[-1]:
        return ranked[0], ranked[0], "all classes have as many training pictures: none is Many, none Few"
    # Classes of one size stay together: below the upper third, or where that is everything, below the largest.
    many = max([n for n in ranked if n < ranked[-third]] or [n for n in ranked if n < ranked[-1]])
    few = min([n for n in ranked if n > ranked[third - 1]] or [ranked[-1]])
    return many, min(few, many + 1), "by terciles of the classes: 100 and 20 would leave a split empty"


def recipe_of(name: str, images: str, root: str, choices: Choices, settings: Sequence[str]) -> Recipe:
    """The recipe that choices make, with --set laid on them; raises as `wbltr.recipe_file.revise_recipe` does."""
    values: dict[str, Any] = {}
    for path, (value, _) in choices.items():
        section, _, field = path.partition(".")
        if field:
            values.setdefault(section, {})[field] = value
        else:
            values[section] = value
    return revise_recipe(Recipe.model_validate({"name": name, "images": images, "root": root, **values}), settings)


def said(recipe: Recipe, choices: Choices) -> list[str]:
    """What was chosen and why, a line each."""
    lines = []
    for path, (value, why) in choices.items():
        own = _at(recipe, path)
        if why and path != "rows":
            lines.append(f"{path}: {_written(own)} ({why if _covers(own, _plain(value)) else AS_SET})")
    return lines


def recipe_text(recipe: Recipe, choices: Choices, title: str, images: str, root: str) -> str:
    """The recipe as YAML with the reasons as comments.

    Args:
        title: the first comment.
        images, root: as they are to be written, relative to the file.
    """
    lines = [f"# {line}" for line in title.splitlines()]
    head = {"name": recipe.name, "images": images, "root": root}
    head |= {path: value for path, (value, _) in choices.items() if "." not in path and path != "rows"}
    lines += [f"{name}: {_written(value)}" for name, value in head.items() if value]
    for name, section in recipe:
        if isinstance(section, DatasetConfig) or name in ("features", "embeddings", "classifier", "posthoc", "eval"):
            lines += _section(name, section, choices)
    value, why = choices["rows"]
    lines.append(f"rows: {_written(list(recipe.rows))}{_comment(list(recipe.rows), value, why)}")
    return "\n".join(lines) + "\n"


def _section(name: str, section: Any, choices: Choices) -> list[str]:
    """Lines of what was chosen and of what was set beside it."""
    lines = []
    for field, known in type(section).model_fields.items():
        value = _plain(getattr(section, field))
        chosen, why = choices.get(f"{name}.{field}", (_plain(known.default), ""))
        if f"{name}.{field}" in choices or value != _plain(known.default):
            lines.append(f"  {field}: {_written(value)}{_comment(value, chosen, why)}")
    return [f"{name}:", *lines] if lines else []


def _comment(value: Any, chosen: Any, why: str) -> str:
    why = why if _covers(value, _plain(chosen)) else AS_SET
    return f"  # {why}" if why else ""


def _covers(value: Any, chosen: Any) -> bool:
    """Whether a value is what was chosen, defaults of a nested section filled in."""
    if isinstance(value, Mapping) and isinstance(chosen, Mapping):
        return all(value.get(name) == own for name, own in chosen.items())
    return bool(value == chosen)


def _at(recipe: Recipe, path: str) -> Any:
    section, _, field = path.partition(".")
    value = getattr(recipe, section)
    return _plain(getattr(value, field) if field else value)


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if hasattr(value, "model_dump"):
        return value.hashed()
    return [*value] if isinstance(value, tuple) else value


def _written(value: Any) -> str:
    """A value in YAML's flow style."""
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) and value not in NO_TEXT else json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_written(own)}" for name, own in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_written, value)) + "]"
    return json.dumps(value)
