"""Search spaces: which fields of a section a study tries, and between what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from wbltr.errors import WbltrError, closest
from wbltr.recipe import ClassifierConfig, FeaturesConfig, MaxNormConfig

Target = Literal["features", "classifier"]


@dataclass(frozen=True)
class Interval:
    """Numbers between two; on a logarithmic scale where their size is what matters."""

    low: float
    high: float
    log: bool

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return ",".join(f"{value:g}" if isinstance(value, float) else str(value) for value in self.values)


Range = Interval | Choice
Space = Mapping[str, Range]
LOGARITHMIC = ("weight_decay", "lr")
KNOWN: Mapping[Target, tuple[str, ...]] = {
    "features": ("weight_decay", "lr"),
    "classifier": ("weight_decay", "radius", "lr", "loss", "epochs"),
}
DEFAULT: Mapping[Target, Space] = {
    "features": {"weight_decay": Interval(1e-5, 2e-2, log=True)},
    "classifier": {"weight_decay": Interval(1e-5, 1e-1, log=True), "radius": Interval(0.0, 1.0, log=False)},
}


def parse(target: Target, texts: Sequence[str]) -> Space:
    """A search space from `--range NAME=LOW..HIGH` or `NAME=A,B,C`; what is not named keeps its default.

    Raises:
        WbltrError: code "usage".
    """
    space = dict(DEFAULT[target])
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if name not in KNOWN[target] or not equals:
            hint = f"one of {', '.join(KNOWN[target])}, as in --range weight_decay=1e-4..1e-1"
            raise WbltrError(f"--range {text}: nothing that can be tuned.{closest(name, list(KNOWN[target]))}", hint, "usage")
        space[name] = _range(text, name, value)
    return space


def _range(text: str, name: str, value: str) -> Range:
    form = WbltrError(f"--range {text}: expected LOW..HIGH or A,B,C", "for example --range weight_decay=1e-4..1e-1", "usage")
    if name == "loss":
        losses = tuple(word.strip() for word in value.split(","))
        if not set(losses) <= {"ce", "cb", "cb-bce"}:
            raise WbltrError(f"--range {text}: losses are ce, cb and cb-bce", "for example --range loss=ce,cb", "usage")
        return Choice(losses)
    try:
        if ".." not in value:
            numbers = tuple(float(word) for word in value.split(","))
            if not all(math.isfinite(number) for number in numbers):
                raise form
            return Choice(tuple(int(number) for number in numbers) if name == "epochs" else numbers)
        low, high = (float(word) for word in value.split(".."))
    except ValueError:
        raise form from None
    if name == "epochs":
        raise WbltrError(f"--range {text}: epochs are tried from a list", "for example --range epochs=5,10,20", "usage")
    log = name in LOGARITHMIC
    if not (math.isfinite(low) and math.isfinite(high) and low < high) or low < 0 or (log and low == 0):
        least = "above 0" if log else "from 0 on"
        raise WbltrError(f"--range {text}: expected two numbers {least}, the smaller first", form.hint, "usage")
    return Interval(low, high, log)


def classifier_of(section: ClassifierConfig, values: Mapping[str, Any]) -> ClassifierConfig:
    """A second stage with these values tried; a radius is laid on the section's MaxNorm, or on a relative one."""
    changes = {name: value for name, value in values.items() if name != "radius"}
    if "radius" in values:
        ball = section.max_norm or MaxNormConfig()
        changes["max_norm"] = ball.model_copy(update={"radius": values["radius"]})
        changes["constraint"] = "none"
    return ClassifierConfig.model_validate(section.model_copy(update=changes).model_dump())


def features_of(section: FeaturesConfig, values: Mapping[str, Any]) -> FeaturesConfig:
    """A first stage with these values tried."""
    return FeaturesConfig.model_validate(section.model_copy(update=dict(values)).model_dump())
