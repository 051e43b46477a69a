"""SHA-256 of many image files, in threads, and a cache of what a file was when it was last looked at."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from wbltr.errors import WbltrError

CHUNK = 1 << 20
TITLE = "wbltr-stat 2"
RACY_NS = 2 * 10**9  # a file younger than this may change again without another time stamp
SAVE_EVERY = 60.0  # seconds

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Seen:
    """What is known of a file's bytes: SHA-256, and the picture's height and width in pixels, 0 where nobody decoded it."""

    digest: bytes
    height: int = 0
    width: int = 0


class StatCache:
    """What is known of a file's bytes, while its size, times and inode are the same: a second look costs a stat.

    Args:
        text: what `save` was given earlier; lines that make no sense are passed over.
        save: keeps the cache as text.
    """

    def __init__(self, text: str = "", save: Callable[[str], None] = lambda _: None) -> None:
        self._save, self._saved, self._changed = save, time.monotonic(), False
        self._known: dict[str, tuple[int, int, int, Seen]] = {}
        first, *lines = text.split("\n")
        for line in lines if first == TITLE else []:
            fields = line.split(" ", 6)
            try:
                size, modified, inode, height, width = (int(fields[place]) for place in (0, 1, 2, 4, 5))
                digest = bytes.fromhex(fields[3])
                if len(digest) == 32:
                    self._known[fields[6]] = (size, modified, inode, Seen(digest, height, width))
            except (ValueError, IndexError):
                continue

    def get(self, path: str, stat: os.stat_result) -> Seen | None:
        """What is known of this file, if it is still what it was."""
        size, modified, inode, seen = self._known.get(path, (-1, -1, -1, None))
        return seen if (size, modified, inode) == (stat.st_size, _changed(stat), stat.st_ino) else None

    def put(self, path: str, stat: os.stat_result, seen: Seen) -> None:
        """Keep what is known, but for a file that has only just been written."""
        if time.time_ns() - stat.st_mtime_ns > RACY_NS:
            self._known[path] = (stat.st_size, _changed(stat), stat.st_ino, seen)
            self._changed = True
            if time.monotonic() - self._saved > SAVE_EVERY:
                self.save()

    def save(self) -> None:
        """Keep it now, if there is anything new."""
        if self._changed:
            rows = (
                f"{size} {modified} {inode} {seen.digest.hex()} {seen.height} {seen.width} {path}"
                for path, (size, modified, inode, seen) in self._known.items()
            )
            self._save("\n".join((TITLE, *rows)))
            self._changed, self._saved = False, time.monotonic()


def _changed(stat: os.stat_result) -> int:
    """Nanoseconds. A program may set the modification time back, but not that of the entry."""
    return max(stat.st_mtime_ns, stat.st_ctime_ns)


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.digest()


def in_threads(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    ahead: int = 0,
    begin: Callable[[], object] | None = None,
) -> Iterator[Result]:
    """`work` of every item, in the order of the items; memory does not grow with their number.

    Args:
        ahead: items that are worked on, or done and not taken yet; 0: four a worker.
        begin: called once in each thread.
    """
    with ThreadPoolExecutor(workers, initializer=begin) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= (ahead or 4 * workers):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def bytes_as_hashed(path: Path, digest: bytes) -> bytes:
    """A file's bytes, which are still those that were hashed.

    Raises:
        WbltrError: code "missing" for one that cannot be read, "integrity" for one that changed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WbltrError(f"{path}: cannot be read: {error.strerror}", "check the disk", "missing") from None
    if hashlib.sha256(data).digest() != digest:
        raise WbltrError(f"{path}: changed while the dataset was made", "run the same command again", "integrity")
    return data
