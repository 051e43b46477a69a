"""Methods of one's own: a file that adds entries to the tables, as `--with FILE.py` names it."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType

from wbltr.errors import WbltrError
from wbltr.methods.adjustments import ADJUSTMENTS
from wbltr.methods.heads import HEADS, KINDS
from wbltr.methods.losses import LOSSES, SETTINGS
from wbltr.methods.settings import OF_A_FILE

MODULE = "wbltr_with"  # what the file is imported as: `value_of=f"{__name__}:mine"`
READERS = ("wbltr.recipe", "wbltr.methods.rows")  # what reads the tables once


def add_methods(file: Path) -> None:
    """Run a file that adds entries: `LOSSES.add(Loss(...))`. It may do whatever Python can.

    Each entry is marked by the SHA-256 of this one file, which keys and records hold; what the file imports is not in it.

    Raises:
        WbltrError: code "usage" for a file that cannot be read or run, or that adds nothing.
    """
    hint = "a Python file that adds to a table: from wbltr.methods.losses import LOSSES, Loss; LOSSES.add(Loss(...))"
    if read := [name for name in READERS if name in sys.modules]:
        raise WbltrError(f"--with {file}: {read[0]} is imported already", "name the file before anything else", "usage")
    known = ADJUSTMENTS.settings()
    before = {table.kind: {*table} for table in (LOSSES, HEADS, ADJUSTMENTS)}
    module = ModuleType(MODULE)
    module.__file__ = str(file)
    sys.modules[MODULE] = module
    try:
        text = file.read_bytes()
        exec(compile(text, str(file), "exec"), module.__dict__)
    except OSError as error:
        raise WbltrError(f"--with {file}: {error.strerror}", hint, "usage") from None
    except Exception as error:
        raise WbltrError(f"--with {file}: {type(error).__name__}: {error}", hint, "usage") from error
    digest, added = hashlib.sha256(text).hexdigest(), False
    for table in (LOSSES, HEADS, ADJUSTMENTS):
        for value in {*table} - before[table.kind]:
            table.files[value], added = digest, True
    if not added:
        raise WbltrError(f"--with {file}: adds no method", hint, "usage")
    names = {*SETTINGS, *known}
    SETTINGS.update(LOSSES.settings() | HEADS.settings())
    OF_A_FILE.update({*SETTINGS, *ADJUSTMENTS.settings()} - names)
    KINDS.update({head.kind.name: head.kind for head in HEADS.values()})
