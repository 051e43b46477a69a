"""How sure the figures of eval artifacts are: an interval for each, and whether two heads differ. Per cent and points.

Images are drawn with replacement within each class, so that every sample has the classes and sizes of the measured part.
No torch here: what is finished is told without it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wbltr.errors import WbltrError
from wbltr.functional.statistics import (
    Array,
    Interval,
    bootstrap_accuracy,
    bootstrap_interval,
    discordant,
    mcnemar,
    mean_interval,
    paired_bootstrap_difference,
)

Tensors = Mapping[str, Any]  # of an eval artifact

COLUMNS = ("all", "many", "medium", "few")
REPLICATES = 2000  # of each run
SEED = 0  # of the samples: a table printed twice is the same table


@dataclass(frozen=True)
class Paired:
    """How far one row lies above another, on the same images and seed by seed; points of accuracy.

    Attributes:
        differences: `all` and every split → the mean over the pairs with its bounds; see `paired`.
        over_seeds: of `all`, Student's interval of that mean over the seeds, these images taken as given; NaN for one pair.
        mcnemar_p: of McNemar's exact test, which counts images and not classes; of several pairs the largest.
        n: pairs.
        same: whether both rows predict every image alike.
    """

    differences: Mapping[str, Interval]
    over_seeds: Interval
    mcnemar_p: float
    n: int
    same: bool

    @property
    def verdict(self) -> str:
        """What the bounds of `all` say, at 95 %."""
        _, low, high = self.differences["all"]
        if self.same:
            return "the same predictions"
        return "higher" if low > 0 else "lower" if high < 0 else "not distinguishable"


def intervals(*runs: Tensors) -> dict[str, Interval]:
    """`all` and every split → accuracy, per cent, with its 95 % bootstrap interval; NaN for a split without images.

    Of several runs that differ in their seed: the mean, and bounds from the samples of all of them, pooled as in `paired`.
    A class that is never right, or always, is so in every sample: where all are, the interval has no width.
    """
    source = np.random.default_rng(SEED)
    samples = [bootstrap_accuracy(m.diagonal(), m.sum(1), REPLICATES, source) for m in (run["confusion"] for run in runs)]
    found = _by_split(runs[0], [run["accuracy.per_class"] for run in runs], samples)
    # Two decimals, as every accuracy is told: 68.05 is then the same figure in each table.
    return {column: Interval(*(round(x, 2) for x in one)) for column, one in found.items()}


def paired(pairs: Sequence[tuple[Tensors, Tensors]]) -> Paired:
    """How far the first of each pair lies above the second.

    The bounds: images are drawn 2,000 times within each pair, the same ones for both heads, and the differences of all pairs
    are put into one pool, whose 2.5 % and 97.5 % quantiles they are. So they hold the difference that one more training of
    both heads would show on other images of these classes: images and seeds both, as far as so few seeds show their spread.
    They are no bounds of the mean over seeds, for they do not close in as seeds are added; `over_seeds` does, for these
    images alone. Neither knows of other first stages, which all pairs share.

    Args:
        pairs: eval artifacts of both rows, one pair a seed.

    Raises:
        WbltrError: code "missing", an evaluation without predictions; "usage", a pair of other images.
    """
    source = np.random.default_rng(SEED)
    per_class, samples, tests = [], [], []
    for one, other in pairs:
        _refuse_unpaired(one, other)
        heads = (one["predictions"], other["predictions"])
        only, other_only, images = discordant(*heads, one["labels"], len(one["class_counts"]))
        per_class.append(one["accuracy.per_class"] - other["accuracy.per_class"])
        samples.append(paired_bootstrap_difference(only, other_only, images, REPLICATES, source))
        tests.append(mcnemar(int(only.sum()), int(other_only.sum())))
    means = [100 * float(np.nanmean(one)) for one in per_class]
    deviation = statistics.stdev(means) if len(means) > 1 else math.nan
    return Paired(
        _by_split(pairs[0][0], per_class, samples),
        mean_interval(statistics.fmean(means), deviation, len(means)),
        max(tests),
        len(pairs),
        all(np.array_equal(one["predictions"], other["predictions"]) for one, other in pairs),
    )


def _refuse_unpaired(one: Tensors, other: Tensors) -> None:
    if not all("predictions" in tensors for tensors in (one, other)):
        raise WbltrError("an evaluation of an older version has no predictions to pair", "wbltr eval --from HEAD", "missing")
    if not np.array_equal(one["labels"], other["labels"]):
        raise WbltrError("two rows were measured on different images", "evaluate both on one dataset", "usage")


def _by_split(tensors: Tensors, per_class: Sequence[Array], samples: Sequence[Array]) -> dict[str, Interval]:
    """`all` and every split → the mean of these over runs, with the bounds of their pooled samples; shares to per cent."""
    mean, pooled = np.mean(per_class, axis=0), np.concatenate(samples)
    # Splits are cut by training images: as many classes as were counted, from either end.
    place = np.argsort(np.argsort(tensors["class_counts"], kind="stable"))
    many, few = place >= len(place) - int(tensors["classes.many"]), place < int(tensors["classes.few"])
    masks = zip(COLUMNS, (many | True, many, ~(many | few), few), strict=True)
    return {column: Interval(*(100 * x for x in bootstrap_interval(mean, pooled, mask))) for column, mask in masks}


def in_words(row: str, against: str, found: Paired) -> str:
    """`cb-wd-max against cb-wd: +0.1 (−0.2 to +0.4), not distinguishable`; below it the splits, and the tests."""
    if found.same:
        return f"{row} against {against}: {found.verdict}"
    told = {column: f"{signed(one.estimate)} ({_range(one)})" for column, one in found.differences.items() if _exists(one)}
    splits = ", ".join(f"{column} {text}" for column, text in told.items() if column != "all")
    p = "< 0.001" if found.mcnemar_p < 0.001 else f"{'≤' if found.n > 1 else '='} {found.mcnemar_p:.2g}"
    tests = f"McNemar p {p}" + (f"; t over {found.n} seeds: {_range(found.over_seeds)}" if found.n > 1 else "")
    return f"{row} against {against}: {told['all']}, {found.verdict}\n  {splits}\n  {tests}"


def in_brackets(found: Interval) -> str:
    """`(42.6–44.4)`, for the cell of a table."""
    return f"({found.low:.1f}–{found.high:.1f})"


def document(found: Mapping[str, Interval]) -> dict[str, list[float] | None]:
    """Column → [low, high], two decimals; None where there is nothing to measure."""
    return {column: _bounds(one) for column, one in found.items()}


def paired_document(against: str, found: Paired) -> dict[str, Any]:
    """What `compare --against … --json` says of one row; `over_seeds` is None for a single pair."""
    columns = {
        column: {"difference": round(one.estimate, 2), "low": round(one.low, 2), "high": round(one.high, 2)}
        if _exists(one)
        else None
        for column, one in found.differences.items()
    }
    return {
        "against": against,
        **(columns.pop("all") or {}),
        "mcnemar_p": found.mcnemar_p,
        "n": found.n,
        "over_seeds": _bounds(found.over_seeds),
        "splits": columns,
        "verdict": found.verdict,
    }


def signed(value: float) -> str:
    """`+0.4`, `−0.2`; never −0.0."""
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "−")


def _range(found: Interval) -> str:
    return f"{signed(found.low)} to {signed(found.high)}"


def _bounds(found: Interval) -> list[float] | None:
    return [round(found.low, 2), round(found.high, 2)] if _exists(found) else None


def _exists(found: Interval) -> bool:
    return not math.isnan(found.low)
