"""The folder on disk: whole files or none, and the operating system's errors in words."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wbltr.errors import WbltrError
from wbltr.regular import NotRegular, open_regular

STALE_SECONDS = 24 * 3600.0

_FULL = "free some space there, or keep the store elsewhere: --store DIR"
_DENIED = "make the folder writable for you, or use another store: --store DIR"
_HINTS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or keep the store elsewhere: --store DIR",
    errno.EROFS: _DENIED,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EMFILE: "raise the limit on open files: ulimit -n",
}


@contextmanager
def disk_errors(path: Path, action: str) -> Iterator[None]:
    """Turn any OSError inside into a WbltrError that names `path` and says what to do.

    Raises:
        WbltrError: code "integrity" where no regular file lies there, else "disk".
    """
    try:
        yield
    except NotRegular as error:
        raise WbltrError(f"{path}: {error.strerror}", "put the file itself there", "integrity") from error
    except OSError as error:
        reason = error.strerror or str(error)
        hint = _HINTS.get(error.errno or 0, "check the disk, or keep the store elsewhere: --store DIR")
        raise WbltrError(f"{path}: cannot {action}: {reason}", hint, "disk") from error


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut; filesystems that cannot sync a folder are left alone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE):
            raise


def file_digest(path: Path) -> tuple[str, os.stat_result]:
    """SHA-256 of a whole file, and which file it was."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno())


class Files:
    """Unfinished bytes lie in `tmp/` only; a name elsewhere is given to whole, synced files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, path: Path, data: bytes, *, replace: bool, mode: int | None = None) -> bool:
        """Give `data` the name `path`, durably and at once, or change nothing.

        Args:
            path: a name below `root`; its folder is made.
            data: the whole content.
            replace: whether a file that has the name already gives way; else it stays.
            mode: permissions; None leaves them to the umask.

        Returns:
            False when `replace` is false and the name was taken.

        Raises:
            WbltrError: `disk`; the temporary file is gone then.
        """
        with disk_errors(path, "write"):
            self.make_folder(path.parent)
            self.make_folder(self.root / "tmp")
            temporary = self.root / "tmp" / f"{os.getpid()}-{secrets.token_hex(8)}"
            try:
                with temporary.open("xb") as file:
                    file.write(data)
                    if mode is not None:
                        os.fchmod(file.fileno(), mode)
                    file.flush()
                    os.fsync(file.fileno())
                given = True
                if replace:
                    temporary.replace(path)
                else:
                    given = _name_once(temporary, path)
                sync_folder(path.parent)
                return given
            finally:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)

    def scratch(self) -> Path:
        """`tmp/`, for files without a name."""
        with disk_errors(self.root / "tmp", "write"):
            self.make_folder(self.root / "tmp")
        return self.root / "tmp"

    @contextmanager
    def temporary(self) -> Iterator[Path]:
        """A name in `tmp/` for a file that is to be written piece by piece; what has that name at the end is removed."""
        path = self.scratch() / f"{os.getpid()}-{secrets.token_hex(8)}"
        try:
            yield path
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def put_file(self, path: Path, temporary: Path, mode: int) -> bool:
        """Give a whole file in `tmp/` the name `path`, durably and at once; False when the name was taken. Raises as `put`."""
        with disk_errors(path, "write"):
            self.make_folder(path.parent)
            temporary.chmod(mode)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            given = _name_once(temporary, path)
            sync_folder(path.parent)
            return given

    def make_folder(self, folder: Path) -> None:
        """Make `folder` and the folders above it that are missing, durably."""
        if not folder.is_dir():
            self.make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)

    def quarantine(self, path: Path, seen: os.stat_result) -> Path | None:
        """Move a damaged file to `corrupt/` under a name of its own, as evidence.

        Args:
            path: the file.
            seen: what was found damaged; a file that has taken the name since is left alone.

        Returns:
            Where it lies now; None when it could not be moved (a read-only store) or somebody else did.
        """
        with suppress(OSError):
            if not os.path.samestat(path.stat(), seen):
                return None
            target = self.root / "corrupt" / f"{path.stem}.{secrets.token_hex(4)}{path.suffix}"
            self.make_folder(target.parent)
            path.rename(target)
            sync_folder(path.parent)
            return target
        return None

    def server_time(self) -> float:
        """Now by the file server's clock, which stamps the files; this machine's where nothing can be written. Seconds."""
        probe = self.root / "tmp" / f"{os.getpid()}-{secrets.token_hex(8)}"
        try:
            probe.parent.mkdir(exist_ok=True)
            try:
                probe.touch(exist_ok=False)
                return probe.stat().st_mtime
            finally:
                probe.unlink(missing_ok=True)
        except OSError:
            return time.time()

    def sweep(self) -> None:
        """Remove what dead processes left in `tmp/` more than a day ago; looks at the clock only when something lies there."""
        with suppress(OSError):
            if left := list((self.root / "tmp").iterdir()):
                now = self.server_time()
                for path in left:
                    with suppress(OSError):
                        if now - path.stat().st_mtime > STALE_SECONDS:
                            path.unlink()


def _name_once(temporary: Path, path: Path) -> bool:
    """Give a file a name that nobody has: True, or False when it is taken."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    except OSError:
        # No hard links here (FAT, some network mounts), or no room: the rename tells which.
        if path.exists():
            return False
        temporary.rename(path)
    return True
