"""The one exception that reaches a user: what happened, what to do next, and which exit code it ends in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

Code = Literal[
    "bug", "usage", "recipe", "missing", "integrity", "newer", "disk", "network", "training", "interrupted", "terminated"
]

EXIT_CODES: dict[Code, int] = {
    "bug": 1,
    "usage": 2,
    "recipe": 2,
    "missing": 3,
    "integrity": 4,
    "newer": 5,
    "disk": 6,
    "network": 7,
    "training": 8,
    "interrupted": 130,
    "terminated": 143,
}
assert set(EXIT_CODES) == set(get_args(Code))


class WbltrError(Exception):
    """A failure with a cause that a user can act on.

    Args:
        message: where it happened, what was expected, what was found; one line or one line a problem.
        hint: what to type or change next; may be empty.
        code: the kind of failure, which fixes the exit status (see `EXIT_CODES`).
        details: what `--json` says besides: JSON values.
    """

    def __init__(self, message: str, hint: str = "", code: Code = "bug", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code: Code = code
        self.details = details or {}

    @property
    def exit_code(self) -> int:
        """The process's exit status for this kind of failure."""
        return EXIT_CODES[self.code]


class Diverged(WbltrError):
    """A training in which a number is no longer finite. Whoever knows its settings by name says which to change.

    Args:
        epoch, epochs: the one in which it was seen, from 1, and how many there were to be.
        found: what was seen, if there is more to say.
    """

    def __init__(self, epoch: int, epochs: int, found: str = "") -> None:
        told = f"diverged in epoch {epoch} of {epochs}{found and ': '}{found}"
        super().__init__(told, "lower the learning rate or the weight decay", "training")


class Stopped(WbltrError):
    """A stop was asked for (Ctrl-C or a signal); raised between two steps, so that what is done can be saved."""


def shown(text: str, most: int = 100) -> str:
    """Somebody's text as a message quotes it: on one line, what does not print as its code, the end of a long one left out."""
    visible = text[: most + 1] if text[: most + 1].isprintable() else ascii(text[: most + 1])[1:-1]
    return visible if len(visible) <= most else f"{visible[:most]}…"


def sentence(error: BaseException, most: int = 300) -> str:
    """What another library said, for a message: its first line without escape codes, up to the end of a sentence or a word."""
    text = re.sub(r"\x1b\[[0-9;:?]*[ -/]*[@-~]", "", str(error)).strip()
    line = shown((text.splitlines() or [type(error).__name__])[0].strip(), 10 * most)
    if len(line) <= most:
        return line
    end = line.rfind(". ", 0, most)
    return line[: end + 1] if end > 0 else f"{line[: max(line.rfind(' ', 0, most), 0) or most]} …"


def closest(word: str, choices: list[str]) -> str:
    """` Did you mean 'x'?` for the choice nearest to `word`, or nothing when none is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, choices, n=1)
    return f" Did you mean '{near[0]}'?" if near else ""
