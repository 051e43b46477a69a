"""Garbage: what no name, no running computation and nothing young stands on; and how to remove without leaving a loose end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wbltr.errors import WbltrError
from wbltr.regular import read_regular
from wbltr.store.files import disk_errors, sync_folder
from wbltr.store.keys import DIGEST
from wbltr.store.links import Links, links_of
from wbltr.store.refs import LARGEST_REF
from wbltr.store.store import Store

KEPT_SECONDS = 14 * 24 * 3600.0


@dataclass(frozen=True)
class Piece:
    """Something to remove.

    Attributes:
        kind: `object`, with the records that mean it; `record` whose object is gone; `checkpoints` of a finished key;
            `run`, what an attempt at a key left that nobody went on with; `download` that was never finished.
        name: object id, key, or file name.
        size: bytes on the disk.
    """

    kind: Literal["object", "record", "checkpoints", "run", "download"]
    name: str
    size: int


@dataclass(frozen=True)
class Garbage:
    """What may go, in the order in which it goes: of two objects first the one that stands on the other.

    Attributes:
        pieces: what to remove.
        before: a time of the file server's clock, in seconds; whatever was touched after it stays.
        links: the links that this was found by.
    """

    pieces: tuple[Piece, ...]
    before: float
    links: Links


def find_garbage(store: Store, older_than: float = KEPT_SECONDS) -> Garbage:
    """Look for what may go; removes nothing.

    Roots are the refs of every workspace, the inputs and results of live claims, and whatever is younger than
    `older_than` seconds by the file server's clock; what they stand on stays with them. An object of a later schema stays.

    Raises:
        WbltrError: `integrity` for a ref that cannot be read, since nobody knows what it keeps; `disk`.
    """
    # Time and links first: what is named, claimed or touched from now on is seen below or looked at again in `remove`.
    before = store.server_time() - older_than
    links = links_of(store)
    live = store.live_claims()
    roots = {object_id for _, object_id in all_refs(store)}
    roots |= {object_id for inputs in live.values() for object_id in inputs}
    roots |= {object_id for key in live for object_id in _of_claim(links, key)}
    roots |= {object_id for object_id, header in links.headers.items() if header is None}
    roots |= {object_id for object_id in links.headers if _young([store.path(object_id)], before)}
    loose = links.headers.keys() - links.reach(roots)
    # What an object reaches holds all that anything below it reaches, so the larger comes first.
    order = sorted(loose, key=lambda object_id: (-len(links.reach([object_id])), object_id))
    pieces = [Piece("object", object_id, _size([store.path(object_id)])) for object_id in order]
    for key, object_id in links.records.items():
        path = store.record_path(key)
        if object_id not in links.headers and not _young([path], before):
            pieces.append(Piece("record", key, _size([path])))
    finished = {key for key, object_id in links.records.items() if object_id in links.headers.keys() - loose}
    for folder in sorted((store.root / "runs").glob("*")):
        files = _run_files(folder, folder.name in finished)
        if folder.name not in live and DIGEST.fullmatch(folder.name) and files and not _young(_dated(files), before):
            pieces.append(Piece("checkpoints" if folder.name in finished else "run", folder.name, _size(files)))
    for path in sorted((store.root / "downloads").rglob("*.part")):
        if not _young([path], before):
            pieces.append(Piece("download", path.relative_to(store.root / "downloads").as_posix(), _size([path])))
    return Garbage(tuple(pieces), before, links)


def remove(store: Store, garbage: Garbage) -> Iterator[Piece]:
    """Remove what was found, and tell each piece that is gone.

    Wherever it is killed, no record means a missing object and no object stands on a missing one that it stood on before.
    What was touched since it was found stays, with all that it stands on.

    Raises:
        WbltrError: `disk` when something cannot be removed.
    """
    spared: set[str] = set()
    for piece in garbage.pieces:
        match piece.kind:
            case "object":
                if piece.name in spared or _young([store.path(piece.name)], garbage.before):
                    spared |= garbage.links.reach([piece.name])
                    continue
                keys = [key for key, object_id in garbage.links.records.items() if object_id == piece.name]
                remove_object(store, piece.name, keys)
            case "record":
                if store.record(piece.name) is not None:
                    continue
                _unlink([store.record_path(piece.name)])
            case "checkpoints" | "run":
                # Looked at again: a computation may have begun, or gone on, or ended since.
                folder = store.run_folder(piece.name)
                finished = store.record(piece.name) is not None
                files = _run_files(folder, finished)
                if store.claimed(piece.name) is not None or not files or _young(_dated(files), garbage.before):
                    continue
                _unlink(files)
                with suppress(OSError):
                    folder.rmdir()
            case "download":
                path = store.root / "downloads" / piece.name
                if _young([path], garbage.before):
                    continue
                _unlink([path])
        yield piece


def remove_object(store: Store, object_id: str, keys: Iterable[str]) -> None:
    """Remove an object after its records: a kill in between leaves an object without a record, as one in publishing does.

    Args:
        keys: of the records that were found to mean it; one that means another object by now stays.
    """
    for key in keys:
        record = store.record(key)
        if record is not None and record["object"] == object_id:
            _unlink([store.record_path(key)])
            with suppress(OSError):
                sync_folder(store.record_path(key).parent)
    _unlink([store.path(object_id)])


def all_refs(store: Store) -> Iterator[tuple[str, str]]:
    """(workspace/name, object id) of every ref of every workspace.

    Raises:
        WbltrError: `integrity` for one that holds no object id.
    """
    folder = store.root / "refs"
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if any(part.startswith(".") for part in name.split("/")) or not path.is_file():
            continue  # what a file system or a file manager puts beside them
        with disk_errors(path, "read"):
            try:
                text = read_regular(path, LARGEST_REF).decode("ascii", "replace").strip()
            except FileNotFoundError:
                continue
        if not DIGEST.fullmatch(text):
            hint = "set it again with --name, or remove this file: nothing is removed while nobody knows what it keeps"
            raise WbltrError(f"{path}: expected an object id, found {text[:40]!r}", hint, "integrity")
        yield name, text


def _of_claim(links: Links, key: str) -> set[str]:
    """What a computation going on has made already: the key's object, and parts of it."""
    return {*links.made.get(key, ()), *links.parts.get(key, ())}


def _run_files(folder: Path, finished: bool) -> list[Path]:
    """What an attempt at a key left: of a finished key only the checkpoints, since its metrics stay with the record."""
    return sorted(folder.glob("step-*" if finished else "*"))


def _dated(files: list[Path]) -> list[Path]:
    """Those that tell when an attempt was last at work: to ask whether the lock is held touches the lock."""
    return [path for path in files if path.name != "claim"] or files


def _young(paths: Iterable[Path], before: float) -> bool:
    """Whether one of these was touched after `before`; a file that is gone was not."""
    for path in paths:
        with disk_errors(path, "read"), suppress(FileNotFoundError):
            if path.stat().st_mtime > before:
                return True
    return False


def _size(paths: Iterable[Path]) -> int:
    size = 0
    for path in paths:
        with suppress(OSError):
            size += path.stat().st_size
    return size


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        with disk_errors(path, "remove"):
            path.unlink(missing_ok=True)
