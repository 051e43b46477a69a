"""Which classes are taken for which: the largest confusions, and those of the rarest classes. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wbltr.report.results import SPLITS

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Any]  # of an eval artifact


@dataclass(frozen=True)
class Confusion:
    """Images of one class that were taken for another.

    Attributes:
        true, predicted: labels.
        images: how many.
        of: how many images the true class has.
        examples: places in the measured part of the first of them.
    """

    true: int
    predicted: int
    images: int
    of: int
    examples: tuple[int, ...] = ()


def split_of(tensors: Tensors) -> Array:
    """The split of each class, as a place in `SPLITS`: `(C,)`.

    Splits are cut by training images, so the `classes.few` smallest classes are Few, whatever the thresholds were.
    """
    place = np.argsort(np.argsort(tensors["class_counts"], kind="stable"))
    medium = place < len(place) - int(tensors["classes.many"])
    return medium.astype(int) + (place < int(tensors["classes.few"]))


def largest(tensors: Tensors, most: int) -> list[Confusion]:
    """The confusions with the largest share of their class, over all classes.

    Args:
        tensors: `confusion` int64 `(C, C)`.
        most: how many.
    """
    return _ranked(tensors, np.ones(len(tensors["confusion"]), bool), most, 0)


def in_the_tail(tensors: Tensors, most: int, examples: int) -> tuple[str, list[Confusion]]:
    """The largest confusions of the rarest split that has classes, and its name.

    Args:
        tensors: also `class_counts`, `classes.many`, `classes.few`; `predictions` and `labels`, for examples.
        most: how many.
        examples: images of each.
    """
    splits = split_of(tensors)
    return SPLITS[splits.max()], _ranked(tensors, splits == splits.max(), most, examples)


def _ranked(tensors: Tensors, chosen: Array, most: int, examples: int) -> list[Confusion]:
    matrix = np.asarray(tensors["confusion"])
    of = matrix.sum(1)
    true, predicted = np.nonzero(matrix)  # few of the many pairs
    wrong = (true != predicted) & chosen[true]
    true, predicted = true[wrong], predicted[wrong]
    order = np.argsort(-matrix[true, predicted] / of[true], kind="stable")[:most]
    pairs = zip(true[order].tolist(), predicted[order].tolist(), strict=True)
    return [Confusion(a, b, int(matrix[a, b]), int(of[a]), _places(tensors, a, b, examples)) for a, b in pairs]


def _places(tensors: Tensors, true: int, predicted: int, most: int) -> tuple[int, ...]:
    if "predictions" not in tensors or not most:
        return ()
    found = np.flatnonzero((tensors["labels"] == true) & (tensors["predictions"] == predicted))
    return tuple(int(place) for place in found[:most])
