"""Results that go to files of the user's choice: whole or not at all, and never over something that is no file."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from wbltr.errors import WbltrError, closest


def suffix_of(out: Path, known: tuple[str, ...]) -> str:
    """The ending of --out, one of `known`; refused before any work.

    Raises:
        WbltrError: `usage` for another ending, `disk` for a folder that is not there or that cannot be written to.
    """
    out = expanded(out)
    if out.suffix not in known:
        near = closest(out.suffix, list(known))
        told = f"ends in '{out.suffix}'" if out.suffix else "has no ending"
        raise WbltrError(f"--out {out}: {told}.{near}", f"known endings: {', '.join(known)}", "usage")
    if out.is_dir() or not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        why = "it is a folder" if out.is_dir() else f"{out.parent} is no folder that you can write to"
        raise WbltrError(f"--out {out}: cannot write: {why}", "name a file in a folder of yours: --out FILE", "disk")
    return out.suffix


def expanded(out: Path) -> Path:
    """`~` as the home folder; refused where there is no such user."""
    try:
        return out.expanduser()
    except RuntimeError as error:
        raise WbltrError(f"--out {out}: {error}", "name a file: --out FILE", "usage") from None


def write_file(path: Path, content: bytes) -> None:
    """Give `content` the name `path`; a file that has it gives way.

    Raises:
        WbltrError: `disk`; nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise WbltrError(f"{path}: cannot write: {reason}", "name another place: --out FILE", "disk") from None
