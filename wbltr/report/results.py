"""An eval artifact as figures for people: per cent, null where there is nothing to measure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

SPLITS = ("many", "medium", "few")


def per_cent(share: float) -> float | None:
    """A share in [0, 1] as per cent with two decimals; NaN becomes None."""
    return None if math.isnan(share) else round(100 * share, 2)


def accuracies(tensors: Mapping[str, Any], splits: Sequence[str] = SPLITS) -> dict[str, float | None]:
    """`all` and the named splits of an eval artifact, per cent."""
    return {name: per_cent(float(tensors[f"accuracy.{name}"])) for name in ("all", *splits)}


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
    }


def classes_left_out(tensors: Mapping[str, Any]) -> int:
    """How many classes have no image in the part that was measured."""
    return sum(math.isnan(accuracy) for accuracy in tensors["accuracy.per_class"])


def class_names(tensors: Mapping[str, Any]) -> list[str]:
    """Names of the classes in label order."""
    names: list[str] = json.loads(bytes(tensors["class_names"]))
    return names


def against_claim(accuracy: Mapping[str, float | None], claim: Mapping[str, Any]) -> str:
    """One line that compares a result with what the recipe says it gives."""
    found, expected = accuracy.get("all"), claim.get("all")
    if found is None or expected is None:
        return ""
    spread = f" ± {claim['sd']:.1f} (n = {claim['seeds']})" if claim.get("sd") is not None else ""
    return f"the recipe claims {expected:.1f}{spread}; this run: {found:.1f} ({found - expected:+.1f})"
