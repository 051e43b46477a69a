"""The paper's own figures, from `paper.yaml`: what ours are held against. Per cent, top-1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("paper.yaml")


@dataclass(frozen=True)
class PaperRow:
    """Accuracies that the paper prints for one row; None where it prints none."""

    many: float | None
    medium: float | None
    few: float | None
    all: float | None


@cache
def _file() -> Mapping[str, Any]:
    read: Mapping[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return read


def _row(printed: Sequence[float | None]) -> PaperRow:
    return PaperRow(*printed) if len(printed) == 4 else PaperRow(None, None, None, *printed)


def figures(source: str, imbalance_factor: float | None, row: str) -> PaperRow | None:
    """What the paper prints for a row of weight balancing, or None where it has no such figure.

    Args:
        source: as in a recipe's dataset section: `cifar100`, `imagenet-lt`, `inaturalist18`.
        imbalance_factor: of the cut; not looked at for the two sets that are long-tailed by nature.
        row: as in a recipe's `rows`.

    Source: Tables 1 and 4 (factor 100), Table 2 (factors 50 and 10, `all` alone), Table 3. Table 2's "+ Max" at factor 100 is
    the row `cb-max-default-wd` here.

    >>> figures("cifar100", 100, "cb-wd-max")
    PaperRow(many=72.6, medium=51.86, few=32.63, all=53.35)
    >>> figures("cifar100", 10, "naive").all, figures("cifar100", 20, "naive")
    (57.31, None)
    """
    cuts = _file()["figures"].get(source, {})
    printed = cuts.get("natural", cuts.get(imbalance_factor, {})).get(row)
    return None if printed is None else _row(printed)


def others_at(imbalance_factors: Sequence[float]) -> dict[str, tuple[float | None, ...]]:
    """Others' accuracy over all classes of CIFAR100-LT at each factor of 100, 50, 10 that is asked for (Table 2)."""
    order = (100, 50, 10)
    places = [order.index(int(factor)) for factor in imbalance_factors]
    return {name: tuple(printed[place] for place in places) for name, printed in _file()["others"]["cifar100"].items()}


def others(source: str, *, bells_and_whistles: bool) -> dict[str, PaperRow]:
    """Others' figures on `imagenet-lt` or `inaturalist18` (Table 3).

    Args:
        source: which of the two.
        bells_and_whistles: those that the paper sets apart (ensembles, aggressive augmentation, self-supervised
            pretraining), or those that it does not.
    """
    apart = _file()["bells_and_whistles"]
    listed = _file()["others"][source].items()
    return {name: _row(printed) for name, printed in listed if (name in apart) == bells_and_whistles}


def released() -> dict[str, dict[str, float]]:
    """What the paper's released code gives on CIFAR100-LT, factor 100: how it was measured → row → all classes."""
    measured: dict[str, dict[str, float]] = _file()["released"]
    return measured
