"""Refs: names that people give to objects, one set for each workspace."""

from __future__ import annotations

import unicodedata
from contextlib import suppress
from pathlib import Path

from wbltr.errors import WbltrError, closest
from wbltr.regular import NotRegular, read_regular
from wbltr.store.files import disk_errors
from wbltr.store.keys import DIGEST
from wbltr.store.objects import Vanished
from wbltr.store.records import Records

LARGEST_REF = 4096  # bytes of its file
LONGEST_NAME = 200  # bytes of UTF-8
SHORTEST_PREFIX = 4
HEX = frozenset("0123456789abcdef")


class Refs(Records):
    """`refs/<workspace>/<name>`: one object id each, replaced atomically.

    Args:
        root: the store's folder.
        workspace: whose names these are; names set in one workspace are not seen from another.
    """

    def __init__(self, root: Path, workspace: str) -> None:
        super().__init__(root)
        self.workspace = workspace

    def set_ref(self, name: str, object_id: str) -> None:
        """Let `name` (such as `latest/head` or `tuned/mine`) mean an object from now on.

        Raises:
            Vanished: the object is not in the store.
            WbltrError: `usage` for a name that cannot be one; `disk` when it cannot be written.
        """
        path = self.check_ref(name)
        if not self.has(object_id):
            raise Vanished(object_id, self.root)
        self.touch(object_id)
        self.put(path, f"{object_id}\n".encode(), replace=True)

    def unset_ref(self, name: str) -> None:
        """Forget a name; what it meant stays. A name that was never set is none.

        Raises:
            WbltrError: `usage` for a name that cannot be one; `disk` when it cannot be removed.
        """
        path = self._ref_path(name)
        with disk_errors(path, "remove"), suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()

    def check_ref(self, name: str) -> Path:
        """Refuse a name that cannot be a ref, before any work is done for it.

        Returns:
            Where its file would lie.

        Raises:
            WbltrError: `usage` for a name that cannot be one, or that is above or below another.
        """
        path = self._ref_path(name)
        folder = self.root / "refs" / self.workspace
        with disk_errors(path, "read"):
            taken = path.is_dir() or any((folder / parent).is_file() for parent in path.relative_to(folder).parents)
        if taken:
            raise WbltrError(f"ref '{name}': it and another ref would need the same path", "choose another name", "usage")
        return path

    def ref(self, name: str) -> str | None:
        """The object id that `name` means; None when it was never set or its file is garbled. The object may be gone."""
        path = self._ref_path(name)
        with disk_errors(path, "read"):
            try:
                text = read_regular(path, LARGEST_REF).decode("ascii", "replace").removesuffix("\n")
            except (FileNotFoundError, NotADirectoryError, NotRegular):
                return None
        return text if DIGEST.fullmatch(text) else None

    def refs(self) -> dict[str, str]:
        """Name → object id for this workspace, sorted by name."""
        folder = self.root / "refs" / self.workspace
        found: dict[str, str] = {}
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and not _fault(name) and (object_id := self.ref(name)):
                found[name] = object_id
        return found

    def ref_age(self, name: str) -> float | None:
        """Seconds since `name` was last set, by the file server's clock; None when it is not set."""
        path = self._ref_path(name)
        with disk_errors(path, "read"):
            try:
                set_at = path.stat().st_mtime
            except (FileNotFoundError, NotADirectoryError):
                return None
        return max(0.0, self.server_time() - set_at)

    def resolve(self, text: str) -> str:
        """The object that somebody means: a ref, or the first digits (at least 4) of an object id or of a key.

        Raises:
            WbltrError: `missing` when nothing or more than one object fits.
        """
        hint = "list what there is: wbltr store ls"
        if not set(text.lower()) <= HEX:
            if not _fault(text) and (object_id := self.ref(text)):
                if not self.has(object_id):
                    raise Vanished(object_id, self.root)
                return object_id
            raise WbltrError(f"'{text}': no such ref.{closest(text, list(self.refs()))}", hint, "missing")
        prefix = text.lower()
        if len(prefix) < SHORTEST_PREFIX:
            raise WbltrError(
                f"'{text}': expected a ref, or at least {SHORTEST_PREFIX} digits of an id or a key", hint, "missing"
            )
        found = {path.stem for path in (self.root / "objects" / prefix[:2]).glob(f"{prefix}*.safetensors")}
        for path in (self.root / "records" / prefix[:2]).glob(f"{prefix}*.json"):
            if DIGEST.fullmatch(path.stem) and (record := self.record(path.stem)):
                found.add(record["object"])
        match sorted(found):
            case [object_id]:
                return object_id
            case []:
                near = closest(prefix, [object_id[: len(prefix)] for object_id in self.objects()])
                raise WbltrError(f"'{text}': no object, key or ref begins like this.{near}", hint, "missing")
            case several:
                names = ", ".join(object_id[: len(prefix) + 4] for object_id in several[:5])
                raise WbltrError(f"'{text}': {len(several)} objects begin like this: {names}", "give more digits", "missing")

    def _ref_path(self, name: str) -> Path:
        if fault := _fault(name):
            raise WbltrError(f"ref {name!r}: {fault}", "names look like latest/head or tuned/mine", "usage")
        return self.root / "refs" / self.workspace / name


def _fault(name: str) -> str:
    """What keeps `name` from being a ref: the empty string for nothing."""
    if not name or len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
        return f"expected 1 to {LONGEST_NAME} bytes"
    if any(unicodedata.category(character)[0] == "C" or character in "\u2028\u2029\\" for character in name):
        return "expected no control characters and no backslash"
    if any(not part or part[0] in ".-" or part != part.strip() for part in name.split("/")):
        return "expected parts between slashes that are not empty and begin with neither '.', '-' nor a space"
    if set(name.lower()) <= HEX:
        return "only hex digits: it would be read as an id"
    return ""
