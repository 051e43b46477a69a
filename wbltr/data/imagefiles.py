"""The image files that a set's lists name: found, checked and hashed before any key is computed. No torch here."""

from __future__ import annotations

import hashlib
import json
import os
import stat as modes
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from wbltr.data.digests import Seen, StatCache, file_digest, in_threads
from wbltr.data.listed import ListedSet
from wbltr.data.lists import Listing, Problems, class_names, find_lists, read_lists
from wbltr.errors import WbltrError

FORMS: tuple[Literal["NFC"], Literal["NFD"]] = ("NFC", "NFD")
MOST_BYTES = 1 << 28  # of an image's file
HASHING = 4  # threads; a disk rarely gains from more
Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class Files:
    """One part's images, sorted by path.

    Attributes:
        paths: relative to the image root.
        labels, sizes: of each; sizes in bytes.
        digests: SHA-256 of each file.
    """

    paths: list[str]
    labels: list[int]
    sizes: list[int]
    digests: list[bytes]


@dataclass(frozen=True)
class ListedImages:
    """A set whose images lie in a folder, as it was when it was looked at.

    Attributes:
        known: the set.
        root: the image root.
        lists: where the lists lie, by part.
        parts: the images, by part.
        class_names: in label order.
        departures: in what the lists differ from the published ones.
        cache: what is known of the files.
    """

    known: ListedSet
    root: Path
    lists: Mapping[str, Path]
    parts: Mapping[str, Files]
    class_names: tuple[str, ...]
    departures: tuple[str, ...]
    cache: StatCache

    @cached_property
    def content(self) -> str:
        """What goes into keys: SHA-256 over the class names and every image's part, label, digest and path, sorted."""
        digest = hashlib.sha256(json.dumps(self.class_names, ensure_ascii=False).encode() + b"\n")
        for part, files in self.parts.items():
            rows = zip(files.paths, files.labels, files.digests, strict=True)
            digest.update("".join(f"{part} {label} {own.hex()} {path}\n" for path, label, own in rows).encode())
        return digest.hexdigest()


def look(
    known: ListedSet,
    given: Sequence[Path],
    roots: Sequence[Path],
    cache: StatCache,
    tick: Tick = lambda done, total: None,
    notice: Callable[[str], None] = lambda _: None,
) -> ListedImages:
    """Read the lists, check every file that they name, and hash those that the cache does not know.

    Args:
        known: the set.
        given: --list; see `find_lists`.
        roots: folders that may be the image root, in the order to look; lists may lie in them, too.
        cache: of the files below the root.
        tick: called with files hashed and files in all; may raise to stop.
        notice: one line for the user.

    Raises:
        WbltrError: code "missing"; every problem of the lists and files at once.
    """
    folders = [root for root in map(expanded, roots) if is_folder(root)]
    if not folders:
        searched = ", ".join(str(root) for root in roots) or "no folder at all"
        raise WbltrError(
            f"{known.title} not found: looked for its images in {searched}",
            "name the folder that the lists' paths start from: --root DIR",
            "missing",
        )
    lists = find_lists(known, [*map(expanded, given)], folders)
    problems = Problems()
    listings = read_lists(lists, problems)
    root = _root_of(listings, folders).resolve()
    notice(f"reading {known.title} from {root}, lists from {', '.join(sorted({str(p.parent) for p in lists.values()}))}")
    hint = "correct the lists or the folder: --list DIR, --root DIR"
    parts = dict(zip(lists, checked(listings, root, cache, tick, problems, hint), strict=True))
    departures = [
        text for part, files in parts.items() for text in known.departures(part, [*zip(files.paths, files.labels, strict=True)])
    ]
    return ListedImages(known, root, lists, parts, class_names(listings), tuple(departures), cache)


def checked(
    listings: Sequence[Listing], root: Path, cache: StatCache, tick: Tick, problems: Problems, hint: str
) -> list[Files]:
    """The files that rows name, each hashed unless the cache knows it; sorted by path.

    Args:
        root: resolved.
        tick: see `look`.
        problems: of the rows so far.
        hint: what to do about them.

    Raises:
        WbltrError: code "missing"; every problem at once.
    """
    stats = [_stats(listing, root, problems) for listing in listings]
    problems.settle(hint)
    return _hashed(listings, root, stats, cache, tick)


def expanded(path: Path) -> Path:
    """With `~` replaced, where that is possible."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's raises for an unknown user


def is_folder(path: Path) -> bool:
    """Whether it is a folder that may be entered; what cannot be a path is none."""
    return os.path.isdir(path) and os.access(path, os.X_OK)  # noqa: PTH112 - pathlib's raises


def _root_of(listings: Sequence[Listing], folders: Sequence[Path]) -> Path:
    """The first folder that has the most of a few listed files."""
    sample = [path for listing in listings for path in listing.paths[:: max(1, len(listing.paths) // 5)]]
    return max(folders, key=lambda folder: sum(os.path.lexists(folder / path) for path in sample))


def _stats(listing: Listing, root: Path, problems: Problems) -> list[os.stat_result | None]:
    """Size and time of every listed file; what is not a readable file below the root goes to `problems`."""
    real = os.path.realpath(root)
    inside: dict[str, bool] = {}
    found: list[os.stat_result | None] = []
    for row, path in enumerate(listing.paths):
        whole = f"{root}/{path}"
        own, why = None, ""
        try:
            own = os.lstat(whole)
            folder = os.path.dirname(whole)  # noqa: PTH120 - as often as there are images
            if folder not in inside:
                inside[folder] = below(folder, real)
            if modes.S_ISLNK(own.st_mode):
                own = os.stat(whole)  # noqa: PTH116
                why = "" if below(whole, real) else "is a link that leaves the image root"
            if not inside[folder]:
                why = "lies behind a link that leaves the image root"
            elif not why and not modes.S_ISREG(own.st_mode):
                why = "is no regular file"
            elif not why and own.st_size > MOST_BYTES:
                why = f"has {own.st_size:,} bytes, an image at most {MOST_BYTES:,}"
            elif not why and not os.access(whole, os.R_OK):
                why = "may not be read"
        except OSError as error:
            why = f"is missing in {root}{_other_form(root, path)}" if own is None else f"cannot be read: {error.strerror}"
        if why:
            problems.add(listing.where(row), f"{path!r} {why}", why if listing.together else "")
        found.append(own)
    return found


def below(path: str, real: str) -> bool:
    """Whether a path, its links followed, lies in the folder `real`, which has none."""
    own = os.path.realpath(path)
    return own == real or own.startswith(real.rstrip("/") + "/")


def _other_form(root: Path, path: str) -> str:
    """Words for a file that is there under the same name in the other Unicode normal form."""
    for form in FORMS:
        other = unicodedata.normalize(form, path)
        if other != path and os.path.lexists(f"{root}/{other}"):
            return f", which has it in Unicode's {form} form"
    return ""


def _hashed(
    listings: Sequence[Listing],
    root: Path,
    stats: Sequence[Sequence[os.stat_result | None]],
    cache: StatCache,
    tick: Tick,
) -> list[Files]:
    """The parts with their digests, sorted by path."""
    jobs = [
        (f"{root}/{path}", own)
        for listing, several in zip(listings, stats, strict=True)
        for path, own in zip(listing.paths, several, strict=True)
        if own is not None
    ]
    known = [cache.get(*job) for job in jobs]
    fresh = [number for number, seen in enumerate(known) if seen is None]
    try:
        for done, digest in enumerate(in_threads(lambda number: file_digest(Path(jobs[number][0])), fresh, HASHING)):
            known[fresh[done]] = Seen(digest)
            cache.put(*jobs[fresh[done]], Seen(digest))
            tick(done + 1, len(fresh))
    except OSError as error:
        raise WbltrError(f"{error.filename}: cannot be read: {error.strerror}", "check the disk", "missing") from None
    finally:
        cache.save()
    digests = [seen.digest for seen in known if seen is not None]
    files, first = [], 0
    for listing, several in zip(listings, stats, strict=True):
        sizes = [own.st_size for own in several if own is not None]
        rows = sorted(zip(listing.paths, listing.labels, sizes, digests[first : first + len(sizes)], strict=True))
        first += len(sizes)
        files.append(
            Files(
                [path for path, _, _, _ in rows],
                [label for _, label, _, _ in rows],
                [size for _, _, size, _ in rows],
                [digest for _, _, _, digest in rows],
            )
        )
    return files
