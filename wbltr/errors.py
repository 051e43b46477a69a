"""The one exception that reaches a user: what happened, what to do next, and which exit code it ends in."""

from __future__ import annotations

import re
import shlex
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


COMPARED = 1000  # words that `closest` takes a good look at


def closest(word: str, choices: list[str]) -> str:
    """` Did you mean 'x'?` for the choice nearest to `word`, or nothing; of very many, those near by the alphabet count."""
    from bisect import bisect
    from difflib import get_close_matches

    if len(choices) > COMPARED:
        ranked = sorted(choices)
        place = bisect(ranked, word)
        choices = ranked[max(0, place - COMPARED // 2) : place + COMPARED // 2]
    near = get_close_matches(word, choices, n=1)
    return f" Did you mean '{shown(near[0])}'?" if near else ""


_ADDRESS = re.compile(r"(?:^|/)([A-Za-z][A-Za-z0-9+.-]+):/+([^/].*)")  # pathlib makes one slash of two


def address(place: object, *, written: bool = False) -> WbltrError | None:
    """What to raise for an address that stands where a file or folder is named; None: it is none.

    Args:
        written: the file or folder was to be made.
    """
    found = _ADDRESS.search(str(place))
    if found is None:
        return None
    scheme, rest = found[1].lower(), found[2]
    whole = shlex.quote(shown(f"{scheme}://{rest}", 1000))
    if written:
        hint = "name a place here, and copy it there then" + ("; a store: wbltr store push URL" if scheme == "s3" else "")
        return WbltrError(
            f"{scheme}://{shown(rest)}: nothing is written to addresses, but to files and folders here", hint, "usage"
        )
    kind = "dataset" if rest.startswith("datasets/") else "model"
    repository = "/".join(rest.removeprefix("datasets/").split("/")[:2])
    ways = {
        "hf": f"hf download {shlex.quote(shown(repository))} --repo-type {kind} --local-dir DIR",
        "s3": f"aws s3 cp --recursive {whole} DIR" if rest.endswith("/") else f"aws s3 cp {whole} .",
        "gs": f"gcloud storage cp -r {whole} .",
        "http": f"curl -LO {whole}",
        "https": f"curl -LO {whole}",
    }
    hint = f"fetch it: {ways[scheme]}; then name what lies here" if scheme in ways else "fetch it, then name what lies here"
    return WbltrError(f"{scheme}://{shown(rest)}: addresses are not read, files and folders here are", hint, "usage")
