"""Objects: immutable safetensors files whose name is the SHA-256 of their bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbltr.errors import WbltrError
from wbltr.regular import NotRegular, open_regular
from wbltr.store.files import Files, disk_errors, file_digest
from wbltr.store.keys import DIGEST, canonical_json, checked_digest, checked_header, key_of
from wbltr.store.tensors import Malformed, begin_of, decode, decode_mapped, encode, encode_to, metadata_of, read_header

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SCHEMA = 1
MAP_ABOVE = 2 * 10**9  # bytes
WRITE_ABOVE = 1 << 26  # bytes; larger tensors go to the disk without a copy in memory


class Corrupt(WbltrError):
    """An object whose bytes are not what its name promises; it was moved to `corrupt/` where that was possible.

    Attributes:
        object_id: the name it had.
    """

    def __init__(self, object_id: str, found: str) -> None:
        hint = "the bytes are kept in corrupt/; run the command that made it again, and check the disk if it happens twice"
        super().__init__(f"object {object_id}: damaged: {found}", hint, "integrity")
        self.object_id = object_id


class Vanished(WbltrError):
    """An object that is not in the store, or no longer.

    Attributes:
        object_id: its name.
    """

    def __init__(self, object_id: str, root: Path) -> None:
        super().__init__(f"object {object_id}: not in the store {root}", "make it again, or list: wbltr store ls", "missing")
        self.object_id = object_id


class Objects(Files):
    """`objects/ab/<sha256>.safetensors`, mode 0444."""

    def publish(self, tensors: Mapping[str, ArrayLike], header: Mapping[str, Any]) -> str:
        """Write an object, or find that it is there.

        Args:
            tensors: name → array (torch tensors on the CPU are taken too); any shape, any dtype that numpy and
                safetensors share.
            header: the request: `stage`, `revision`, `config`, `inputs`; see `key_of`.

        Returns:
            The object id.

        Raises:
            WbltrError: `disk` when it cannot be written (nothing half-written is left), `bug` for tensors or a header
                that cannot be stored.
        """
        metadata = canonical_json({"schema": SCHEMA, **checked_header(header)})
        if sum(getattr(tensor, "nbytes", 0) for tensor in tensors.values()) <= WRITE_ABOVE:
            return self._keep(encode(tensors, metadata))
        with self.temporary() as temporary:
            with disk_errors(temporary, "write"):
                encode_to(temporary, tensors, metadata)
                object_id, _ = file_digest(temporary)
            return self._named(object_id, lambda path: self.put_file(path, temporary, 0o444))

    def adopt(self, path: Path) -> str:
        """Take an object that lies outside the store, such as a copy from another one; the file stays where it is.

        Returns:
            The object id.

        Raises:
            WbltrError: `integrity` for a file that is named after a digest it does not have, `usage` for one that is no
                object, `newer` for one of a later schema, `disk` when it cannot be read or kept.
        """
        with disk_errors(path, "read"):
            found, _ = file_digest(path)
        if DIGEST.fullmatch(path.stem) and path.stem != found:
            raise WbltrError(f"{path}: damaged: its SHA-256 is {found}", "copy it again from where it came", "integrity")
        try:
            with disk_errors(path, "read"):
                request_of(metadata_of(read_header(path)), str(path))
                decode_mapped(path, ())
        except Malformed as error:
            hint = "name a file of a store, as wbltr made it"
            raise WbltrError(f"{path}: expected an object of a store: {error}", hint, "usage") from error
        with self.temporary() as temporary:
            with disk_errors(temporary, "write"):
                shutil.copyfile(path, temporary)
            self.take(temporary, found, str(path))
        return found

    def take(self, temporary: Path, object_id: str, where: str) -> None:
        """Give a whole file in `tmp/` its name among the objects, once its bytes are what that name promises.

        Args:
            object_id: the name that it had at `where` it comes from.

        Raises:
            WbltrError: `integrity` for other bytes or for what is no object, `newer` for one of a later schema, `disk`.
        """
        hint = "its bytes were refused and nothing was changed here; mend it there, or get it from elsewhere"
        with disk_errors(temporary, "read"):
            found, _ = file_digest(temporary)
            if found != object_id:
                raise WbltrError(f"{where}: damaged: its SHA-256 is {found}", hint, "integrity")
            try:
                request_of(metadata_of(read_header(temporary)), where)
                decode_mapped(temporary, ())
            except Malformed as error:
                raise WbltrError(f"{where}: expected an object of a store: {error}", hint, "integrity") from error
        self._named(object_id, lambda path: self.put_file(path, temporary, 0o444))

    def _keep(self, data: bytes) -> str:
        """Give bytes their name among the objects, or find that they have it: the object id."""
        object_id = hashlib.sha256(data).hexdigest()
        return self._named(object_id, lambda path: self.put(path, data, replace=False, mode=0o444))

    def _named(self, object_id: str, put: Callable[[Path], bool]) -> str:
        """Call `put` with an object's path; where the name is taken, see that it is by the same bytes: the object id."""
        path = self.path(object_id)
        self.sweep()
        # Again when the file that had the name was damaged and moved away, or removed in between.
        for _ in range(3):
            if put(path):
                return object_id
            with suppress(Vanished):
                if self.verify(object_id):
                    self.touch(object_id)
                    return object_id
        raise WbltrError(f"{path}: damaged, and cannot be moved away", "check the disk, or use another: --store DIR", "disk")

    def path(self, object_id: str) -> Path:
        """Where the object lies, or would."""
        return self.root / "objects" / checked_digest(object_id)[:2] / f"{object_id}.safetensors"

    def has(self, object_id: str) -> bool:
        """Whether a file of that name is there; `verify` tells whether it is sound."""
        path = self.path(object_id)
        with disk_errors(path, "read"):
            return path.is_file()

    def touch(self, object_id: str) -> None:
        """Make an object young again, so that no garbage collection takes it before a record, a ref or a result names it."""
        path = self.path(object_id)
        with suppress(OSError):
            if os.access(path.parent, os.W_OK):  # else nobody like us can remove it, and a read-only store stays as it is
                os.utime(path)

    def size(self, object_id: str) -> int:
        """Size of the file in bytes.

        Raises:
            Vanished: it is not there.
        """
        return self._stat(object_id).st_size

    def objects(self) -> Iterator[str]:
        """Every object id, sorted."""
        for path in sorted((self.root / "objects").glob("??/*.safetensors")):
            if DIGEST.fullmatch(path.stem) and path.stem.startswith(path.parent.name):
                yield path.stem

    def load(self, object_id: str, prefixes: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Read an object: its SHA-256 is checked on every read, and those same bytes are parsed.

        Above 2 GB the file is hashed and then mapped.

        Args:
            object_id: 64 hex digits.
            prefixes: only tensors whose name starts with one of these; None for all.

        Returns:
            Name → writable array.

        Raises:
            Corrupt: the bytes are not those that were published; the file is in `corrupt/` now.
            Vanished: it is not there.
        """
        path = self.path(object_id)
        mapped = self.size(object_id) > MAP_ABOVE
        with self._reading(object_id):
            if mapped:
                found, seen = file_digest(path)
            else:
                with open_regular(path) as file:
                    data, seen = file.read(), os.fstat(file.fileno())
                found = hashlib.sha256(data).hexdigest()
            if found != object_id:
                self.quarantine(path, seen)
                raise Corrupt(object_id, f"its SHA-256 is {found}")
            try:
                return decode_mapped(path, prefixes) if mapped else decode(data, prefixes)
            except Malformed as error:
                self.quarantine(path, seen)
                raise Corrupt(object_id, str(error)) from error

    def span(self, object_id: str, name: str) -> tuple[Path, int]:
        """Where a tensor's bytes lie: the object's file, whose SHA-256 is checked now, and the place in it.

        For what is larger than the memory that it should take: the file is read piece by piece later on.

        Raises:
            Corrupt, Vanished: as `load`; Corrupt also where it has no such tensor.
        """
        path = self.path(object_id)
        if not self.verify(object_id):
            raise Corrupt(object_id, "its SHA-256 is another")
        try:
            with self._reading(object_id):
                return path, begin_of(read_header(path), name)
        except Malformed as error:
            raise Corrupt(object_id, str(error)) from error

    def verify(self, object_id: str) -> bool:
        """Whether the file fits its name; when it does not, it is moved to `corrupt/`.

        Raises:
            Vanished: it is not there.
        """
        path = self.path(object_id)
        with suppress(Corrupt), self._reading(object_id):
            found, seen = file_digest(path)
            if found != object_id:
                self.quarantine(path, seen)
            return found == object_id
        return False

    def header(self, object_id: str) -> dict[str, Any]:
        """The request an object answers: `stage`, `revision`, `config`, `inputs`. Only the file's header is read.

        Raises:
            Corrupt: there is no such header in the file; it is in `corrupt/` now.
            Vanished: it is not there.
            WbltrError: `newer` for a sound object with a later schema.
        """
        path = self.path(object_id)
        seen = self._stat(object_id)
        try:
            with self._reading(object_id):
                metadata = metadata_of(read_header(path))
            return request_of(metadata, f"object {object_id}")
        except WbltrError as error:
            # A flipped bit may look like a later schema, so the digest is asked before the version is blamed.
            if error.code == "newer" and not self.verify(object_id):
                raise Corrupt(object_id, error.message) from error
            raise
        except Malformed as error:
            self.quarantine(path, seen)
            raise Corrupt(object_id, str(error)) from error

    def key_of_object(self, object_id: str) -> str:
        """The key of the request an object answers, from its header; raises as `header` does."""
        return key_of(self.header(object_id))

    def _stat(self, object_id: str) -> os.stat_result:
        with self._reading(object_id):
            return self.path(object_id).stat()

    @contextmanager
    def _reading(self, object_id: str) -> Iterator[None]:
        path = self.path(object_id)
        with disk_errors(path, "read"):
            try:
                yield
            except NotRegular as error:
                self.quarantine(path, path.stat())
                raise Corrupt(object_id, str(error.strerror)) from error
            except OSError as error:
                # ESTALE: a network filesystem's way to say that somebody removed the file while it was open.
                if error.errno in (errno.ENOENT, errno.ESTALE):
                    raise Vanished(object_id, self.root) from error
                raise


def request_of(metadata: dict[str, Any], where: str) -> dict[str, Any]:
    """The request in an object's metadata."""
    schema = metadata.pop("schema", None)
    if type(schema) is int and schema > SCHEMA:
        hint = "update it: pip install --upgrade wbltr"
        raise WbltrError(f"{where}: schema {schema}, this wbltr reads {SCHEMA}", hint, "newer")
    if type(schema) is not int or schema != SCHEMA:
        raise Malformed(f"schema {schema!r}")
    try:
        canonical_json(header := checked_header(metadata))  # what cannot be hashed has no key
        return header
    except WbltrError as error:
        raise Malformed(error.message) from error
