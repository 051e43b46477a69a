"""An exported model as a folder: whole or not there, and read back without any store. No torch here."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from wbltr.errors import WbltrError
from wbltr.regular import read_regular
from wbltr.serving.about import NAME, About, read_about, unreadable


def is_export(folder: Path) -> bool:
    """Whether a folder holds an exported model."""
    try:
        return os.path.lexists(folder.expanduser() / NAME)  # whatever lies there is read as one, and refused then
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, ~nobody
        return False


def target(folder: Path) -> Path:
    """Where an export is to be written, refused before any work.

    Raises:
        WbltrError: code "usage" for a file or the working directory, "disk" where no folder can be made.
    """
    try:
        folder = folder.expanduser().resolve()
        here = Path.cwd()
    except (OSError, ValueError, RuntimeError) as error:
        raise WbltrError(f"{folder}: {error}", "name a folder to be made: wbltr export DIR", "usage") from None
    if (folder.exists() and not folder.is_dir()) or folder in (here, *here.parents):
        why = "is the working directory or above it" if folder.is_dir() else "is a file"
        raise WbltrError(f"{folder} {why}", "name a folder to be made: wbltr export DIR", "usage")
    if not folder.parent.is_dir() or not os.access(folder.parent, os.W_OK):
        told = f"{folder}: {folder.parent} is no folder that you can write to"
        raise WbltrError(told, "name a folder in one of yours: wbltr export DIR", "disk")
    return folder


def earlier(folder: Path, wanted: About, most: int) -> About | None:
    """The same export, if it lies there whole already.

    Args:
        most: bytes that its model may have.

    Raises:
        WbltrError: code "usage" where anything else lies there.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return None
    with suppress(WbltrError):
        found = read_about(folder)
        same = found.model_copy(update={"sha256": None, "checked": None}) == wanted
        if same and opened(folder, found, most):
            return found
    raise WbltrError(f"{folder}: is not empty, and is not this export", "name another folder, or remove this one", "usage")


def opened(folder: Path, about: About, most: int) -> bytes:
    """The bytes of an exported model's file.

    Args:
        about: what `read_about` said of it.
        most: bytes that such a model may have.

    Raises:
        WbltrError: code "integrity" where the file is not the one that was exported, "missing".
    """
    path = folder / about.file
    try:
        data = read_regular(path, most)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    if hashlib.sha256(data).hexdigest() != about.sha256:
        told = f"{path}: its bytes are not those that {NAME} names"
        raise WbltrError(told, "export it again: wbltr export DIR", "integrity")
    return data
