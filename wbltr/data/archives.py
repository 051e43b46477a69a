"""Finds the files of a known archive and reads them member by member, checked against their pinned sizes and digests.

Nothing is ever extracted: a `.tar.gz` is streamed, and of what it holds only regular files with exactly the expected
name and size are read. Whatever else lies in it (links, devices, other names) is passed over, up to `SLACK` bytes of it.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from wbltr.data.known import Archive, Form, Member
from wbltr.errors import WbltrError

SLACK = 1 << 20  # bytes of headers, padding and small files (a readme, the class names) beside the members
CHUNK = 1 << 22

Tick = Callable[[], None]


class _Damaged(Exception):
    """What is wrong with an archive or a folder, in words; becomes a WbltrError that says where."""


def locate(archive: Archive, roots: Sequence[Path]) -> Path | None:
    """The first place under `roots` where an archive lies, as torchvision lays it out.

    A root holds the unpacked folder (`cifar-100-python`, `cifar-100-binary`) or the `.tar.gz`, or is one of them itself.
    Folders come before files, since they need no unpacking, and the python form before the binary one.

    Returns:
        The folder or the `.tar.gz`; None where there is none. A folder that lacks one of its members does not count.
    """
    for root in roots:
        hit = _find(archive, _expanded(root))
        if hit is not None:
            return hit[1]
    return None


def _expanded(path: Path) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's raises for an unknown user


def not_found(archive: Archive, roots: Sequence[Path]) -> WbltrError:
    """The error for an archive that lies under none of `roots`: what was looked for, and where."""
    names = ", ".join(f"{form.folder}/ or {form.archive}" for form in archive.forms)
    places = ", ".join(str(root) for root in roots) or "no folder at all"
    return WbltrError(
        f"{archive.title} not found: looked for {names}; in {places}",
        "Name the folder that holds one of them with --root DIR, or drop --root to download it.",
        "missing",
    )


def read_members(archive: Archive, location: Path, tick: Tick | None = None) -> Iterator[tuple[Member, bytearray]]:
    """Every member of an archive with its bytes, whose size and MD5 fit what is pinned, in the order in which they lie.

    Args:
        archive: what to read.
        location: what `locate` takes as a root, or gave.
        tick: called every few MiB; may raise to stop.

    Raises:
        WbltrError: code `missing`, nothing at `location` or it may not be read; code `integrity`, damaged.
    """
    hit = _find(archive, _expanded(location))
    if hit is None:
        raise not_found(archive, [location])
    form, place = hit
    tick = tick or (lambda: None)
    try:
        yield from (_read_tar if place.is_file() else _read_folder)(form, place, tick)
    except OSError as error:
        hint = "Look at its permissions and its disk, or name another copy with --root DIR."
        raise WbltrError(f"{place} cannot be read: {error}", hint, "missing") from error
    except _Damaged as error:
        hint = f"Delete {place} and download it again by dropping --root, or name another copy with --root DIR."
        raise WbltrError(f"{place} is damaged: {error}", hint, "integrity") from error


def _find(archive: Archive, root: Path) -> tuple[Form, Path] | None:
    try:
        names = (root.name, root.resolve().name)
    except (OSError, RuntimeError):  # a loop of links
        names = (root.name, root.name)
    for form in archive.forms:
        itself = [root] if form.folder in names else []
        for folder in (*itself, root / form.folder):
            if all(_is_file(folder / member.name) for member in form.members):
                return form, folder
    for form in archive.forms:
        itself = [root] if root.name == form.archive else []
        for file in (*itself, root / form.archive):
            if _is_file(file):
                return form, file
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder that may not be entered holds nothing for us
        return False


def _read_folder(form: Form, folder: Path, tick: Tick) -> Iterator[tuple[Member, bytearray]]:
    for member in form.members:
        size = (folder / member.name).stat().st_size
        if size != member.size:
            raise _Damaged(f"{member.name}: expected {member.size} bytes, found {size}")
        with (folder / member.name).open("rb") as stream:
            yield member, _read(stream, member, tick)


def _read_tar(form: Form, path: Path, tick: Tick) -> Iterator[tuple[Member, bytearray]]:
    wanted = {f"{form.folder}/{member.name}": member for member in form.members}
    try:
        with gzip.open(path) as unpacked:
            bounded = _Bounded(unpacked)
            with tarfile.open(fileobj=bounded, mode="r|") as tar:  # type: ignore[call-overload]
                for entry in tar:
                    tick()
                    member = wanted.get(entry.name)
                    if member is None:
                        continue
                    if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or entry.sparse is not None:
                        raise _Damaged(f"{entry.name} is no regular file")
                    if entry.size != member.size:
                        raise _Damaged(f"{entry.name}: expected {member.size} bytes, found {entry.size}")
                    bounded.allowance += member.size
                    stream = tar.extractfile(entry)
                    assert stream is not None  # it is a regular file
                    del wanted[entry.name]
                    yield member, _read(stream, member, tick)
                    if not wanted:
                        return
        raise _Damaged(f"it lacks {', '.join(wanted)}")
    except (_Damaged, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RecursionError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's or the system's; gzip sets none
            raise
        found = file_sha256(path, tick)
        same = "as published" if found == form.sha256 else f"expected {form.sha256}, found {found}"
        raise _Damaged(f"{error}; SHA-256 of the file: {same}") from error


def _read(stream: IO[bytes], member: Member, tick: Tick) -> bytearray:
    data = bytearray(member.size)
    view = memoryview(data)
    digest = hashlib.md5(usedforsecurity=False)
    for start in range(0, member.size, CHUNK):
        tick()
        chunk = stream.read(len(view[start : start + CHUNK]))
        view[start : start + len(chunk)] = chunk
        digest.update(chunk)
    if digest.hexdigest() != member.md5:
        raise _Damaged(f"{member.name}: expected MD5 {member.md5}, found {digest.hexdigest()}")
    return data


class _Bounded:
    """A stream that refuses to give more than its allowance, which grows with every member that is wanted."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self.stream = stream
        self.allowance = SLACK

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.allowance -= len(data)
        if self.allowance < 0:
            raise _Damaged(f"it holds more than {SLACK} bytes besides the expected members")
        return data


def file_sha256(path: Path, tick: Tick | None = None) -> str:
    """SHA-256 of a file, hexadecimal. `tick` is called every few MiB and may raise to stop."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            if tick is not None:
                tick()
            digest.update(chunk)
    return digest.hexdigest()
