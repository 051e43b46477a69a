"""The store: one folder with everything that was made, and how it is found."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

from wbltr.errors import WbltrError
from wbltr.regular import read_regular
from wbltr.store.checkpoints import Checkpoints
from wbltr.store.files import disk_errors
from wbltr.store.refs import Refs

FOLDER = ".wbltr"
FORMAT = 1
LARGEST_FORMAT = 4096  # bytes of the file of that name
CACHEDIR_TAG = (
    b"Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a wbltr store: what it holds can be made again.\n"
)
FIRST_FILES = {"FORMAT": f"wbltr-store {FORMAT}\n".encode(), "CACHEDIR.TAG": CACHEDIR_TAG}


class Store(Refs, Checkpoints):
    """Objects, records, refs, claims and checkpoints in one folder. Nothing is kept in memory: any process may open it.

    Attributes:
        root: the folder.
        workspace: whose refs these are: `own` for the directory that holds `.wbltr`, wherever it is moved to, or
            16 hex digits for the working directory when the store is another one than the nearest `.wbltr`.
    """

    @classmethod
    def open(cls, folder: Path | None = None, *, create: bool = True) -> Store:
        """Open the store, and make it when there is none.

        Args:
            folder: the store itself; None for the one in `WBLTR_STORE`, else the nearest `.wbltr` from the working
                directory upwards, else a new `.wbltr` here.
            create: whether it may be made.

        Raises:
            WbltrError: `missing` when there is none and it may not be made, `usage` for a folder that is something else,
                `newer` for a store of another format, `integrity` for a garbled FORMAT, `disk` when it cannot be made or read.
        """
        with disk_errors(Path(), "look for a store from"):
            try:
                here = Path.cwd()
            except FileNotFoundError:
                raise WbltrError("the working directory was removed", "change to another directory", "missing") from None
            named = os.environ.get("WBLTR_STORE")
            above = (parent / FOLDER for parent in (here, *here.parents))
            nearest = next((place for place in above if _is_folder(place, strict=not folder and not named)), here / FOLDER)
        try:
            root = (folder or (Path(named) if named else nearest)).expanduser().resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise WbltrError(f"{folder or named}: cannot be a store: {error}", "name a folder: --store DIR", "usage") from None
        own = root == nearest.resolve()
        store = cls(root, "own" if own else hashlib.sha256(os.fsencode(here.resolve())).hexdigest()[:16])
        store._check_format(create)
        store.sweep()
        return store

    def _check_format(self, create: bool) -> None:
        path = self.root / "FORMAT"
        with disk_errors(self.root, "open"):
            # Listed before FORMAT is read, which is the first file of a new store; tmp/ alone is one being made.
            listed = sorted(entry.name for entry in self.root.iterdir()) if self.root.exists() else []
            text = ""
            with suppress(FileNotFoundError):
                text = read_regular(path, LARGEST_FORMAT).decode(errors="replace").strip()
        if has_format(str(path), text):
            return
        if others := [name for name in listed if name not in ("FORMAT", "tmp")]:
            hint = "name an empty folder, or one that is a store: --store DIR"
            raise WbltrError(f"{self.root}: expected a store, found {others[0]!r} and no FORMAT", hint, "usage")
        if not create:
            raise WbltrError(f"{self.root}: no store here", "make something first, or name one: --store DIR", "missing")
        for name, content in FIRST_FILES.items():
            self.put(self.root / name, content, replace=True)


def _is_folder(path: Path, *, strict: bool) -> bool:
    """Whether a folder lies there; what may not be looked at is none, unless `strict`: then it raises PermissionError."""
    try:
        return path.is_dir()
    except PermissionError:
        if strict:
            raise
        return False


def has_format(where: str, text: str) -> bool:
    """Whether `text`, the content of the file FORMAT at `where`, names a format that this wbltr reads; False for no text.

    Raises:
        WbltrError: `newer` for another format, `integrity` for anything else.
    """
    found = re.fullmatch(r"wbltr-store (\d+)", text)
    if found and int(found[1]) != FORMAT:
        hint = "update it: pip install --upgrade wbltr; or use another store: --store DIR"
        raise WbltrError(f"{where}: format {found[1]}, this wbltr reads {FORMAT}", hint, "newer")
    if text and not found:
        hint = "restore this file, or use another store: --store DIR"
        raise WbltrError(f"{where}: expected 'wbltr-store {FORMAT}', found {text[:40]!r}", hint, "integrity")
    return bool(found)
