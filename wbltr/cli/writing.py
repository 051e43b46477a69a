"""Results that go to files of the user's choice: whole or not at all, and never over something that is no file."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wbltr.cli.answer import ending_cleanly
from wbltr.errors import WbltrError, closest

if sys.platform != "win32":
    import fcntl


def suffix_of(out: Path, known: tuple[str, ...]) -> str:
    """The ending of --out, one of `known`; refused before any work.

    Raises:
        WbltrError: `usage` for another ending or for what is no file, `disk` for a folder that is not there or that cannot
            be written to.
    """
    out = expanded(out)
    if out.suffix not in known:
        near = closest(out.suffix, list(known))
        told = f"ends in '{out.suffix}'" if out.suffix else "has no ending"
        raise WbltrError(f"--out {out}: {told}.{near}", f"known endings: {', '.join(known)}", "usage")
    if out.is_dir() or not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        why = "it is a folder" if out.is_dir() else f"{out.parent} is no folder that you can write to"
        raise WbltrError(f"--out {out}: cannot write: {why}", "name a file in a folder of yours: --out FILE", "disk")
    if out.exists() and not out.is_file():  # a pipe, a device: their readers would wait for ever
        raise WbltrError(f"--out {out}: is no regular file", "name a file; to a pipe goes stdout: leave out --out", "usage")
    return out.suffix


def expanded(out: Path) -> Path:
    """`~` as the home folder; refused where there is no such user."""
    try:
        return out.expanduser()
    except RuntimeError as error:
        raise WbltrError(f"--out {out}: {error}", "name a file: --out FILE", "usage") from None


def write_file(path: Path, content: bytes) -> None:
    """Give `content` the name `path`; a file that has it gives way. Raises as `unfinished`."""
    with unfinished(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def unfinished(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """An empty file or folder beside `path`, to be filled: it takes that name when all is well, and is removed otherwise.

    What a process that died left there is removed first. It is told by its lock: a living process holds one, and its name says
    on which host, since a lock on a network's file system need not be seen from another.

    Raises:
        WbltrError: `disk`; nothing is left behind then.
    """
    with ending_cleanly():
        try:
            _remove_dead(path)
            temporary, lock = _made(path, folder)
            try:
                yield temporary
                for whole in (*(temporary.iterdir() if folder else ()), temporary):
                    _sync(whole)
                temporary.replace(path)
            finally:
                _remove(temporary)
                if lock is not None:
                    os.close(lock)
        except BrokenPipeError:  # of our own reader, not of the disk
            raise
        except OSError as error:
            told = f"{path}: cannot write: {error.strerror or error}"
            raise WbltrError(told, f"name another place: {'wbltr export DIR' if folder else '--out FILE'}", "disk") from None


def _ends(path: Path) -> tuple[str, str]:
    """How the names of unfinished files for `path` begin and end on this host; short enough for any file system."""
    return f".{path.name[:30]}.{platform.node()[:64]}.", ".unfinished"


def _made(path: Path, folder: bool) -> tuple[Path, int | None]:
    """A new file or folder with its lock; None where there are no locks."""
    while True:
        temporary = path.with_name(secrets.token_hex(8).join(_ends(path)))
        temporary.mkdir() if folder else temporary.touch(exist_ok=False)
        lock = _locked(temporary, wait=True)
        if lock is None or temporary.exists():
            return temporary, lock
        os.close(lock)  # taken for a dead one's, before it was locked


def _locked(path: Path, *, wait: bool) -> int | None:
    """A descriptor that holds the lock of a file or folder; None where another has it, or nothing can be locked."""
    if sys.platform == "win32":
        return None
    descriptor = None
    try:
        descriptor = os.open(path, (os.O_RDONLY if path.is_dir() else os.O_RDWR) | os.O_NOFOLLOW | os.O_NONBLOCK)
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor


def _remove_dead(path: Path) -> None:
    beginning, end = _ends(path)
    for left in path.parent.iterdir():
        if left.name.startswith(beginning) and left.name.endswith(end) and (lock := _locked(left, wait=False)) is not None:
            _remove(left)
            os.close(lock)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
