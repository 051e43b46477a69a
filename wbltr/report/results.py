"""An eval artifact as figures for people: per cent, null where there is nothing to measure."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SPLITS = ("many", "medium", "few")
CALIBRATION = ("ece", "classwise_ece", "nll", "brier")


def per_cent(share: float) -> float | None:
    """A share in [0, 1] as per cent with two decimals; NaN becomes None."""
    return None if math.isnan(share) else round(100 * share, 2)


def accuracies(tensors: Mapping[str, Any], splits: Sequence[str] = SPLITS) -> dict[str, float | None]:
    """`all` and the named splits of an eval artifact, per cent."""
    return {name: per_cent(float(tensors[f"accuracy.{name}"])) for name in ("all", *splits)}


def difference(ours: float | None, paper: float | None) -> float | None:
    """How far ours lies above the paper's, in points; None where one of them is not there."""
    return None if ours is None or paper is None else round(ours - paper, 2)


def eval_document(tensors: Mapping[str, Any], config: Mapping[str, Any], splits: Sequence[str] = SPLITS) -> dict[str, Any]:
    """What `eval --json` adds to the common fields.

    Args:
        tensors: of the eval artifact.
        config: the eval section it was measured under.
        splits: which of many, medium, few to give.
    """
    return {
        "accuracy": accuracies(tensors, splits),
        "per_class": [per_cent(float(accuracy)) for accuracy in tensors["accuracy.per_class"]],
        "classes": class_names(tensors),
        "counts": [int(n) for n in tensors["class_counts"]],
        "norms": [round(float(norm), 6) for norm in tensors["norms"]],
        "on": config["on"],
        "n": int(tensors["images"]),
        "top5": per_cent(float(tensors["accuracy.top5"])),
        "macro_f1": per_cent(float(tensors["macro_f1"])),
        "classes_left_out": classes_left_out(tensors),
        "precision": _precision(tensors),
        "auroc": _figure(tensors, "auroc"),
        "harmonic": _figure(tensors, "accuracy.harmonic"),
        "geometric": _figure(tensors, "accuracy.geometric"),
        "worst": _worst(tensors),
        **{name: {part: _figure(tensors, f"{name}.{part}") for part in ("all", *splits)} for name in CALIBRATION},
    }


def _figure(tensors: Mapping[str, Any], name: str) -> float | None:
    """A share as per cent, NLL and Brier score as they are; None for NaN, and where an earlier revision did not measure it."""
    value = float(tensors.get(name, math.nan))
    if name.partition(".")[0] in ("nll", "brier"):
        return round(value, 4) if math.isfinite(value) else None
    return per_cent(value)


def _precision(tensors: Mapping[str, Any]) -> list[float | None]:
    """Per class, per cent; None for a class never predicted."""
    confusion = tensors["confusion"]
    pairs = zip(confusion.diagonal().tolist(), confusion.sum(0).tolist(), strict=True)
    return [per_cent(right / predicted) if predicted else None for right, predicted in pairs]


def _worst(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The class of least accuracy, the first of several; None without images."""
    shares = [(share, k) for k, share in enumerate(tensors["accuracy.per_class"].tolist()) if not math.isnan(share)]
    if not shares:
        return {"class": None, "accuracy": None}
    share, k = min(shares)
    return {"class": class_names(tensors)[k], "accuracy": per_cent(share)}


def classes_left_out(tensors: Mapping[str, Any]) -> int:
    """How many classes have no image in the part that was measured."""
    return sum(math.isnan(accuracy) for accuracy in tensors["accuracy.per_class"])


def class_names(tensors: Mapping[str, Any]) -> list[str]:
    """Names of the classes in label order."""
    names: list[str] = json.loads(bytes(tensors["class_names"]))
    return names


@dataclass(frozen=True)
class Spread:
    """One figure over several runs.

    Attributes:
        mean: None where there is nothing to measure.
        sd: sample standard deviation (n - 1); None for a single run.
        n: how many runs have the figure.
    """

    mean: float | None
    sd: float | None
    n: int


def spread(values: Iterable[float | None]) -> Spread:
    """Mean and standard deviation of the values that there are, with two decimals."""
    found = [value for value in values if value is not None]
    mean = round(statistics.fmean(found), 2) if found else None
    return Spread(mean, round(statistics.stdev(found), 2) if len(found) > 1 else None, len(found))


def over_runs(runs: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Spread]]:
    """Row → `all` or split → its spread.

    Args:
        runs: for each run, row → its `eval_document`; the rows of all are the same.
    """
    return {
        row: {name: spread(run[row]["accuracy"][name] for run in runs) for name in document["accuracy"]}
        for row, document in runs[0].items()
    }


def against_claim(found: Spread, claim: Mapping[str, Any]) -> str:
    """One line that compares the accuracy over all classes with what the recipe says it gives."""
    expected = claim.get("all")
    if found.mean is None or expected is None:
        return ""
    claimed = f" ± {claim['sd']:.1f} (n = {claim['seeds']})" if claim.get("sd") is not None else ""
    runs = "this run" if found.n == 1 else f"these {found.n} runs"
    deviation = "" if found.sd is None else f" ± {found.sd:.1f}"
    return f"the recipe claims {expected:.1f}{claimed}; {runs}: {found.mean:.1f}{deviation} ({found.mean - expected:+.1f})"
