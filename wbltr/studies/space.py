"""Search spaces: which fields of a section a study tries, and between what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from wbltr.errors import WbltrError, closest
from wbltr.methods.losses import LOSSES
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
        if unknown := [loss for loss in losses if loss not in LOSSES]:
            near = closest(unknown[0], list(LOSSES))
            raise WbltrError(f"--range {text}: no loss '{unknown[0]}'.{near}", f"losses: {', '.join(LOSSES)}", "usage")
        return Choice(_different(text, losses))
    try:
        if ".." not in value:
            numbers = tuple(float(word) for word in value.split(","))
            if not all(math.isfinite(number) for number in numbers):
                raise form
            if name == "epochs" and any(number != int(number) for number in numbers):
                raise WbltrError(f"--range {text}: epochs are whole numbers", "for example --range epochs=5,10,20", "usage")
            return Choice(_different(text, tuple(int(number) for number in numbers) if name == "epochs" else numbers))
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


def _different(text: str, values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise WbltrError(f"--range {text}: names a value twice", "write different values", "usage")
    return values


def check(section: ClassifierConfig | FeaturesConfig, space: Space) -> None:
    """Refuse before the first trial a value that the section would refuse in a later one.

    Raises:
        WbltrError: code "usage".
    """
    for name, wanted in space.items():
        for value in wanted.values if isinstance(wanted, Choice) else (wanted.low, wanted.high):
            try:
                if isinstance(section, ClassifierConfig):
                    classifier_of(section, {name: value})
                else:
                    features_of(section, {name: value})
            except ValidationError as error:
                why = "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
                raise WbltrError(f"--range {name}={wanted}: {value} cannot be tried: {why}", "narrow it", "usage") from None


def at_the_edge(space: Space, values: Mapping[str, Any]) -> list[str]:
    """Which of these values lie within a twentieth of an end of their interval: a better one may lie beyond."""
    found = []
    for name, wanted in space.items():
        if isinstance(wanted, Interval):
            scale = math.log if wanted.log else float
            low, high, here = scale(wanted.low), scale(wanted.high), scale(values[name])
            if not 0.05 < (here - low) / (high - low) < 0.95:
                found.append(name)
    return found


def classifier_of(section: ClassifierConfig, values: Mapping[str, Any]) -> ClassifierConfig:
    """A second stage with these values tried; a radius is laid on the section's MaxNorm, or on a relative one."""
    changes = {"methods_file": None} | {name: value for name, value in values.items() if name != "radius"}
    if "radius" in values:
        ball = section.max_norm or MaxNormConfig()
        changes["max_norm"] = ball.model_copy(update={"radius": values["radius"]})
        changes["constraint"] = "none"
    return ClassifierConfig.model_validate(section.model_copy(update=changes).model_dump())


def features_of(section: FeaturesConfig, values: Mapping[str, Any]) -> FeaturesConfig:
    """A first stage with these values tried."""
    return FeaturesConfig.model_validate(section.model_copy(update=dict(values)).model_dump())
