"""Where studies lie: a file for Optuna's journal, or a database that several machines reach."""

from __future__ import annotations

import errno
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wbltr.errors import WbltrError, sentence
from wbltr.regular import open_regular

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE)  # the file is there, the disk says no


class Storage:
    """One place that holds studies.

    Args:
        place: a file, or a database URL.
        create: whether a file that is not there is begun.

    Attributes:
        shown: the place as it may be printed, without a password.
        optuna: the storage as Optuna has it.

    Raises:
        WbltrError: code "missing" when it cannot be reached.
    """

    def __init__(self, place: str, *, create: bool = True) -> None:
        self.shown = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", place)
        file = place.removeprefix("sqlite:///") if place.startswith("sqlite:///") or "://" not in place else ""
        if not create and file and not Path(file).is_file():
            raise WbltrError(f"storage {place}: there is no such file", "name a journal, or a database URL", "missing")
        self._file: Path | None = None
        self._identity: tuple[int, int] | None = None
        with self.reached():
            self.optuna = self._opened(place)

    def names(self) -> list[str]:
        """Every study that lies here."""
        import optuna

        with self.reached():
            return list(optuna.get_all_study_names(self.optuna))

    def _opened(self, place: str) -> Any:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if "://" in place:
            import sqlalchemy

            url = sqlalchemy.make_url(place)
            if url.drivername == "postgresql":  # otherwise the driver would depend on SQLAlchemy's version
                url = url.set(drivername="postgresql+psycopg")
            # A trial may take hours: no connection is kept open meanwhile.
            engine = {"poolclass": sqlalchemy.NullPool}
            return optuna.storages.RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=engine)
        with suppress(FileNotFoundError), open_regular(Path(place)) as journal:
            if journal.read(1) not in (b"", b"{"):  # Optuna would write into any file
                raise ValueError("it is another kind of file")
        # Its other lock is a link, which not every file system has.
        storage = optuna.storages.JournalStorage(JournalFileBackend(place, lock_obj=JournalFileOpenLock(place)))
        self._file = Path(place)
        self._identity = self._now()
        return storage

    def _now(self) -> tuple[int, int] | None:
        """Device and inode of the file; None where there is none."""
        try:
            found = self._file.stat() if self._file is not None else None
        except FileNotFoundError:
            return None
        return None if found is None else (found.st_dev, found.st_ino)

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Around every use: whatever goes wrong there becomes one line.

        Raises:
            WbltrError: code "missing", or "disk".
        """
        # Optuna would begin another file in its place, and hold on to trials that are in neither.
        if self._identity is not None and self._now() != self._identity:
            raise WbltrError(
                f"storage {self.shown}: was removed or replaced while the study ran",
                "what it made is in the store; the same command begins the study again",
                "missing",
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna calls several of its parts experimental
                yield
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and error.name == "psycopg":
                raise WbltrError(
                    f"storage {self.shown}: PostgreSQL's driver is not installed",
                    "pip install 'wbltr[postgresql]'",
                    "missing",
                ) from None
            first: BaseException = error
            while first.__cause__ is not None:  # SQLAlchemy and Optuna wrap what the database said
                first = first.__cause__
            full = any(isinstance(one, OSError) and one.errno in DISK for one in _behind(error))
            hint = "see to the disk; the same command goes on" if full else "name a file, or a database URL that answers"
            raise WbltrError(
                f"storage {self.shown}: cannot be used: {sentence(first)}", hint, "disk" if full else "missing"
            ) from error


def _behind(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was raised from or while handling."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
