"""What a page tells, before it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wbltr.functional.calibration import Reliability
    from wbltr.functional.statistics import Interval
    from wbltr.report.diagnosis import Finding

Tensors = Mapping[str, Any]  # of an eval artifact

LONGEST = 80  # characters of a class's name


@dataclass(frozen=True)
class Measured:
    """One head on the measured part.

    Attributes:
        name: in words.
        artifact: id of its eval artifact.
        tensors: of that.
    """

    name: str
    artifact: str
    tensors: Tensors = field(repr=False, compare=False)

    @cached_property
    def intervals(self) -> Mapping[str, Interval]:
        """`all` and every split → accuracy in per cent with its bounds."""
        from wbltr.report.uncertainty import intervals

        return intervals(self.tensors)

    @cached_property
    def classes(self) -> list[str]:
        """What the classes are called, in label order; the middle of a very long name is left out."""
        from wbltr.report.results import class_names

        half = LONGEST // 2
        names = class_names(self.tensors)
        return [name if len(name) <= LONGEST else f"{name[:half]} … {name[-half:]}" for name in names]


@dataclass(frozen=True)
class Told:
    """What a page tells.

    Attributes:
        recipe: resolved.
        config: the eval section that all were measured under.
        rows: heads on one first stage.
        shown: the one that the page is about; one of the rows.
        first: the first stage's own head, where it is measured and another.
        calibrated: the head that `shown` became with a temperature, where it is measured.
        bins: head → its reliability diagram, of those whose embeddings are there.
        picture: gives a test image as PNG by its place, or None.
        caption: the lines under the table of results.
        findings: of the diagnosis.
        facts: what is known of how it came to be: name → words.
        made: what it stands on, a line each: stage, id, when, seconds, device, versions.
        text: the whole recipe as YAML.
        commands: what each does → what to type.
    """

    recipe: Any
    config: Mapping[str, Any]
    rows: Sequence[Measured]
    shown: Measured
    first: Measured | None
    calibrated: Measured | None
    bins: Mapping[str, Reliability]
    picture: Callable[[int], bytes | None]
    caption: str
    findings: Sequence[Finding]
    facts: Mapping[str, str]
    made: Sequence[Sequence[str]]
    text: str
    commands: Mapping[str, str]
