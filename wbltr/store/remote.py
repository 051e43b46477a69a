"""A store behind a URL: a folder, or what fsspec reaches (`s3://bucket/path`), laid out as a store is."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbltr.errors import WbltrError, closest, sentence
from wbltr.regular import open_regular
from wbltr.store.files import disk_errors
from wbltr.store.keys import DIGEST
from wbltr.store.objects import Corrupt, request_of
from wbltr.store.records import LARGEST_RECORD, parse
from wbltr.store.refs import HEX, SHORTEST_PREFIX
from wbltr.store.store import FIRST_FILES, LARGEST_FORMAT, Store, has_format
from wbltr.store.tensors import LARGEST_HEADER, Malformed, metadata_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

WORKSPACE = "own"  # whose refs those of a remote are: of the directory that it lies in, if it is a folder
REF = 65  # bytes: an id and a newline
FIRST_READ = 1 << 16  # bytes; most headers are shorter

Told = Callable[[int], None]  # of the bytes of a file that have come or gone so far; what it raises ends the transfer


class Remote:
    """Another store, which nothing of is believed: its objects by their SHA-256 alone, its records by their objects.

    Reads as a `Store` does: `has`, `header`, `record`, `refs`, `resolve`. What is there is listed once.

    Attributes:
        url: as the user wrote it.
    """

    def __init__(self, url: str) -> None:
        """Find the place; what lies there must be a store, or nothing yet.

        Raises:
            WbltrError: `usage` for a URL that means no place or another thing than a store, `missing` without the packages
                for it, `newer` and `integrity` for a store that this wbltr does not read, `network`, `disk`.
        """
        hint = "name a folder, or s3://bucket/path"
        try:
            from fsspec.core import url_to_fs
            from fsspec.implementations.local import LocalFileSystem

            self._files: AbstractFileSystem
            self._files, self._root = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        except ImportError as error:
            raise WbltrError(f"{url}: {sentence(error)}", "pip install 'wbltr[remote]'", "missing") from None
        except Exception as error:  # every protocol reads its own URLs
            raise WbltrError(f"{url}: {sentence(error)}", hint, "usage") from None
        if not url.rpartition("://")[2].strip("/"):
            raise WbltrError(f"{url}: expected a place", hint, "usage")
        self.url = url
        self._store = Store(Path(self._root), WORKSPACE) if isinstance(self._files, LocalFileSystem) else None
        if self._store is not None and self._store.root.exists() and not self._store.root.is_dir():
            raise WbltrError(f"{url}: expected a folder, found a file", hint, "usage")
        with self._asking("", "open"):
            try:
                there = {path.removeprefix(self._root).strip("/") for path in self._files.ls(self._root, detail=False)}
                if self._files.isfile(self._root):
                    raise WbltrError(f"{url}: expected a folder, found a file", hint, "usage")
            except FileNotFoundError:
                there = set()
        said = (self._read("FORMAT", LARGEST_FORMAT) or b"").decode("ascii", "replace").strip()
        self.empty = not has_format(f"{url}/FORMAT", said)
        if self.empty and (others := sorted(there - {"", "FORMAT", "tmp"})):
            raise WbltrError(f"{url}: expected a store, found {others[0]!r} and no FORMAT", hint, "usage")

    # What is there

    @cached_property
    def objects(self) -> dict[str, int]:
        """Every object id, with the size of its file in bytes."""
        return self._digests("objects", ".safetensors")

    @cached_property
    def records(self) -> dict[str, int]:
        """Every key that has a record, with the size of its file in bytes."""
        return self._digests("records", ".json")

    def refs(self) -> dict[str, str]:
        """Name → object id. A name may be one that no store would give."""
        return {name: object_id for name, object_id in self._refs.items() if object_id}

    @cached_property
    def unreadable_refs(self) -> list[str]:
        """Names whose file there holds no object id; without what a file system or a file manager puts beside them."""
        return [name for name, object_id in self._refs.items() if not object_id and not name.rpartition("/")[2].startswith(".")]

    @cached_property
    def _refs(self) -> dict[str, str]:
        """Name → object id, or "" where its file holds none."""
        folder = f"refs/{WORKSPACE}"
        found: dict[str, str] = {}
        for name, size in sorted(self._listed(folder).items()):
            data = self._read(f"{folder}/{name}", REF) if 0 < size <= REF else None
            text = (data or b"").decode("ascii", "replace").removesuffix("\n")
            found[name] = text if DIGEST.fullmatch(text) else ""
        return found

    def has_record(self, key: str) -> bool:
        """Whether a file of that name is there."""
        return key in self.records

    def has(self, object_id: str) -> bool:
        """Whether a file of that name is there."""
        return object_id in self.objects

    def header(self, object_id: str) -> dict[str, Any]:
        """The request that an object answers, as the file's header says; the digest is not asked."""
        name = _object(object_id)
        data = self._read(name, min(FIRST_READ, self.objects[object_id])) or b""
        length = 8 + int.from_bytes(data[:8], "little")
        if len(data) < length <= min(LARGEST_HEADER, self.objects[object_id]):
            data = self._read(name, length) or b""
        try:
            return request_of(metadata_of(data), f"{self.url}/{name}")
        except Malformed as error:
            hint = "nothing was changed here; mend it there, or get it from elsewhere"
            raise WbltrError(f"{self.url}/{name}: damaged: {error}", hint, "integrity") from error

    def record(self, key: str) -> dict[str, Any] | None:
        """The record of a key; None where there is none, or no readable one, or its object is gone."""
        if not 0 < self.records.get(key, 0) <= LARGEST_RECORD:
            return None
        record = parse(self._read(_record(key), LARGEST_RECORD) or b"", key)
        return record if record is not None and self.has(record["object"]) else None

    def resolve(self, text: str) -> str:
        """The object that somebody means, as `Store.resolve` finds it.

        Raises:
            WbltrError: `missing` when nothing or more than one object fits.
        """
        hint = "name a ref of it, or at least 4 digits of an id or a key"
        if not set(text.lower()) <= HEX or len(text) < SHORTEST_PREFIX:
            refs = self.refs()
            if self.has(refs.get(text, "")):
                return refs[text]
            raise WbltrError(f"{self.url}: no ref '{text}'.{closest(text, list(refs))}", hint, "missing")
        prefix = text.lower()
        found = {object_id for object_id in self.objects if object_id.startswith(prefix)}
        found |= {r["object"] for key in self.records if key.startswith(prefix) and (r := self.record(key))}
        if len(found) != 1:
            raise WbltrError(f"{self.url}: {len(found) or 'no'} objects begin like '{text}'", hint, "missing")
        return found.pop()

    # Moving

    def get_object(self, object_id: str, store: Store, told: Told) -> None:
        """Bring an object into a store, which takes it if its bytes are what its name promises."""
        from fsspec.callbacks import Callback

        name = _object(object_id)
        with store.temporary() as temporary:
            with self._asking(name, "read"):
                self._files.get_file(f"{self._root}/{name}", str(temporary), callback=Callback(hooks={"told": _told(told)}))
            store.take(temporary, object_id, f"{self.url}/{name}")

    def put_object(self, object_id: str, store: Store, told: Told) -> None:
        """Send an object of a store; its SHA-256 is checked before."""
        from fsspec.callbacks import Callback

        if not store.verify(object_id):
            raise Corrupt(object_id, "its SHA-256 is another")
        name, source = _object(object_id), store.path(object_id)
        if self._store is not None:
            with self._store.temporary() as temporary:
                with disk_errors(temporary, "write"):
                    shutil.copyfile(source, temporary)
                self._store.take(temporary, object_id, str(source))
            return
        with self._asking(name, "write"):  # an object store shows a file when it is whole
            self._files.put_file(str(source), f"{self._root}/{name}", callback=Callback(hooks={"told": _told(told)}))

    def put_record(self, key: str, data: bytes) -> None:
        """Send the record of a key that has none there."""
        self._put(_record(key), data, replace=key in self.records)

    def put_ref(self, name: str, object_id: str) -> None:
        """Let a name mean an object there."""
        self._put(f"refs/{WORKSPACE}/{name}", f"{object_id}\n".encode(), replace=True)

    def begin(self) -> None:
        """Make it a store, if it is none yet."""
        for name, content in FIRST_FILES.items() if self.empty else ():
            self._put(name, content, replace=True)
        self.empty = False

    def _put(self, name: str, data: bytes, *, replace: bool) -> None:
        if self._store is not None:
            self._store.put(self._store.root / name, data, replace=replace)
            return
        with self._asking(name, "write"):
            self._files.pipe_file(f"{self._root}/{name}", data)

    def _read(self, name: str, end: int) -> bytes | None:
        """A file's first bytes; None where there is no such file."""
        with self._asking(name, "read"):
            try:
                if self._store is not None:
                    with open_regular(self._store.root / name) as file:
                        return file.read(end)
                data: bytes = self._files.cat_file(f"{self._root}/{name}", start=None, end=end)
            except FileNotFoundError:
                return None
            return data

    def _listed(self, folder: str) -> dict[str, int]:
        """The files below a folder: path from there → bytes; 0 of what is no regular file."""
        start = f"{self._root}/{folder}/"
        with self._asking(folder, "list"):
            found = self._files.find(start.rstrip("/"), detail=True)
        sizes = {path: int(entry["size"] or 0) if _is_regular(path, entry) else 0 for path, entry in found.items()}
        return {path.removeprefix(start): size for path, size in sizes.items() if path.startswith(start)}

    def _digests(self, folder: str, suffix: str) -> dict[str, int]:
        pattern = re.compile(rf"([0-9a-f]{{2}})/(\1[0-9a-f]{{62}}){re.escape(suffix)}")
        return {found[2]: size for name, size in self._listed(folder).items() if (found := pattern.fullmatch(name))}

    @contextmanager
    def _asking(self, name: str, action: str) -> Iterator[None]:
        """Whatever goes wrong on the way there, in a line."""
        if self._store is not None:
            with disk_errors(self._store.root / name, action):
                yield
            return
        try:
            yield
        except WbltrError:
            raise
        except Exception as error:  # each protocol's library has its own
            hint = "what has arrived is kept: the same command goes on from there, once this is mended"
            if isinstance(error, PermissionError) or "credential" in str(error).lower():
                hint = "who may: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile that aws configure made"
            raise WbltrError(f"{self.url}: cannot {action} {name or 'it'}: {sentence(error)}", hint, "network") from error


def _object(object_id: str) -> str:
    return f"objects/{object_id[:2]}/{object_id}.safetensors"


def _record(key: str) -> str:
    return f"records/{key[:2]}/{key}.json"


def _is_regular(path: str, entry: Mapping[str, Any]) -> bool:
    """Whether an entry of a list is a file; a link in a folder may lead to one."""
    return entry.get("type") == "file" or (bool(entry.get("islink")) and Path(path).is_file())


def _told(told: Told) -> Callable[..., None]:
    """As fsspec's callbacks are called."""
    return lambda size, value, **_: told(value)
