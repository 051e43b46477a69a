"""Images in folders: which there are, of which class and part. Of files, the first bytes are read at most; no torch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wbltr.data.imagefiles import below
from wbltr.data.layouts import Layout, Steps, decide
from wbltr.data.lists import ODD
from wbltr.data.signatures import NO_IMAGE, false_claim, looked_at
from wbltr.errors import WbltrError

LITTER = ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "#recycle", "#snapshot")
SHOWN = 3
NAMED = 10  # classes and folders that a message names


@dataclass(frozen=True)
class OwnRow:
    """One image.

    Attributes:
        path: relative to the root, with `/`.
        label: the class's name, as it is written.
        part: train, val or test; empty: whoever uses the set may choose.
        group: rows of one group stay in one part; empty: by itself.
        place: where it was named, for messages.
    """

    path: str
    label: str
    part: str = ""
    group: str = ""
    place: str = ""


@dataclass
class PassedOver:
    """What lies in a folder and is not taken: how many, and the first few.

    Attributes:
        names: relative to the root.
        count: how many there are.
    """

    names: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, name: str) -> None:
        """One more."""
        self.count += 1
        if len(self.names) < SHOWN:
            self.names.append(name)

    def __str__(self) -> str:
        """`12: a.txt, b.txt, c.txt …`."""
        return f"{self.count:,}: {', '.join(self.names)}{' …' if self.count > SHOWN else ''}"


@dataclass(frozen=True)
class Found:
    """What lies below a root; hidden files and folders, and those of other programs, are left out.

    Attributes:
        images: every folder → names of the images right in it, sorted.
        unread: folders → names of the images right in it that cannot be read, each with the reason in a word or two.
        others: folders → names of other files.
        links: links that are folders or leave the root; to folders, to files.
    """

    images: Mapping[Steps, list[str]]
    unread: Mapping[Steps, list[tuple[str, str]]]
    others: Mapping[Steps, list[str]]
    folder_links: PassedOver
    file_links: PassedOver


def is_hidden(name: str) -> bool:
    """Whether a file or folder is not meant to be seen, or was left by another program: `.git`, `__MACOSX`, `@eaDir`."""
    return name.startswith(".") or name.lower() in LITTER


def read_folder(
    root: Path,
    notice: Callable[[str], None] = lambda _: None,
    tick: Callable[[], None] = lambda: None,
    classes: str = "outermost",
    on_bad_image: str = "fail",
) -> list[OwnRow]:
    """Every image below a root, with its class and part; how the folders are read is `wbltr.data.layouts.decide`'s.

    Said are: how the folders were read, folders without an image, files that are no images or belong to no class, links that
    leave the root or are folders.

    Args:
        root: resolved.
        tick: called for every folder; may raise to stop.
        classes: outermost or innermost; see `decide`.
        on_bad_image: what becomes of images that cannot be read: fail or skip.

    Raises:
        WbltrError: code "missing" where there are no class folders, no images, or no folder `train` beside `test`; "recipe"
            where the folders can be read in two ways or are fewer than two classes; "integrity" for images that cannot be read.
    """
    found = scan(root, tick)

    def tell(line: str) -> None:
        notice(_plain(line))

    held = {steps: len(names) + len(found.unread.get(steps, ())) for steps, names in found.images.items()}
    try:
        layout = decide(held, classes, str(root))
        _check_names(root, layout)
        rows, unread = _rows(found, layout)
        for line in layout.said:
            tell(line)
        _say_what_is_left_out(root, found, layout, {row.label for row in rows}, tell)
        if unread and on_bad_image == "fail":  # those that claim to be images, too: all are told of at once
            for row in rows:
                if (why := false_claim(f"{root}/{row.path}")) is not None:
                    unread.setdefault(row.label, Counter())[why] += 1
        _judge(root, unread, on_bad_image, tell)
        if not rows:
            raise WbltrError(f"{root}: has no image that can be read", "convert them to JPEG or PNG", "missing")
    except WbltrError as error:
        raise _with_links(error, found.folder_links) from None
    return rows


def scan(root: Path, tick: Callable[[], None] = lambda: None) -> Found:
    """Look at every file below a root once; links to folders are not followed.

    Args:
        root: resolved.
        tick: called for every folder; may raise to stop.

    Raises:
        WbltrError: code "missing" for a folder that cannot be read.
    """
    images: dict[Steps, list[str]] = {}
    unread: dict[Steps, list[tuple[str, str]]] = {}
    others: dict[Steps, list[str]] = {}
    folder_links, file_links = PassedOver(), PassedOver()
    left: list[Steps] = [()]
    while left:
        tick()
        steps = left.pop()
        taken = images.setdefault(steps, [])
        try:
            entries = sorted(os.scandir("/".join((str(root), *steps))), key=lambda entry: entry.name)
        except OSError as error:
            told = f"{error.filename}: cannot be read: {error.strerror}"
            raise WbltrError(told, "check its permissions", "missing") from None
        inner = []
        for entry in (entry for entry in entries if not is_hidden(entry.name)):
            path = "/".join((*steps, entry.name))
            if entry.is_dir(follow_symlinks=False):
                inner.append((*steps, entry.name))
            elif entry.is_symlink() and entry.is_dir():
                folder_links.add(path)
            elif entry.is_symlink() and not below(entry.path, str(root)):
                file_links.add(path)
            elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110 - as often as there are links
                unread.setdefault(steps, []).append((entry.name, "a link to nothing"))
            elif (kind := looked_at(entry.path)) is None:
                others.setdefault(steps, []).append(entry.name)
            elif ODD.search(path):
                unread.setdefault(steps, []).append((entry.name, f"{_odd(path)} in the name"))
            elif kind.read:
                taken.append(entry.name)
            else:
                unread.setdefault(steps, []).append((entry.name, kind.name or NO_IMAGE))
        left += reversed(inner)
    return Found(images, unread, others, folder_links, file_links)


def _rows(found: Found, layout: Layout) -> tuple[list[OwnRow], dict[str, Counter[str]]]:
    """The images of classes, and of each class how many cannot be read, by reason."""
    rows: list[OwnRow] = []
    unread: dict[str, Counter[str]] = {}
    for steps, (label, part) in sorted(layout.homes.items()):
        rows += [OwnRow("/".join((*steps, name)), label, part) for name in found.images[steps]]
        if steps in found.unread:
            unread.setdefault(label, Counter()).update(why for _, why in found.unread[steps])
    return rows, unread


def _judge(root: Path, unread: Mapping[str, Counter[str]], on_bad_image: str, notice: Callable[[str], None]) -> None:
    """Refuse images that cannot be read, counted by class, or say that they are skipped."""
    if not unread:
        return
    count = sum(sum(reasons.values()) for reasons in unread.values())
    shown = [
        f"{label!r} {sum(reasons.values()):,} ({', '.join(sorted(reasons))})"
        for label, reasons in sorted(unread.items())[:NAMED]
    ]
    images, by_class = f"{count:,} image{'s' if count > 1 else ''}", _some(shown, len(unread))
    if on_bad_image == "fail":
        hint = "convert them to JPEG or PNG (rename those of odd names), or leave them out: --on-bad-image skip"
        raise WbltrError(f"{root}: {images} cannot be read: {by_class}", hint, "integrity")
    notice(f"skipping {images} that cannot be read: {by_class}")


def _say_what_is_left_out(
    root: Path, found: Found, layout: Layout, labels: Iterable[str], notice: Callable[[str], None]
) -> None:
    """Folders without an image, other files and links, a line each."""
    known = {*labels}
    hollow = sorted({label for label, _ in layout.homes.values()} - known)
    if lost := [*layout.empty, *hollow]:
        notice(f"no image in {len(lost):,} folder{'s' if len(lost) > 1 else ''}: {_some(lost[:NAMED], len(lost))}")
    strange, outside = PassedOver(), PassedOver()
    for steps, names in sorted(found.others.items()):
        for name in names:
            (outside if steps in layout.above else strange).add("/".join((*steps, name)))
    for steps in sorted({*found.images} - {*layout.homes}):
        for name in [*found.images[steps], *(name for name, _ in found.unread.get(steps, ()))]:
            outside.add("/".join((*steps, name)))
    for passed, what in ((strange, "files that are no images"), (outside, "files outside the class folders")):
        if passed.count:
            notice(f"passing over {what}, {passed}")
    both = PassedOver([*found.folder_links.names, *found.file_links.names], found.folder_links.count + found.file_links.count)
    if both.count:
        notice(f"passing over links that leave {root} or are folders, {both}")


def _check_names(root: Path, layout: Layout) -> None:
    """Refuse class folders whose names are no text."""
    odd = sorted({label for label, _ in layout.homes.values() if ODD.search(label)})
    if odd:
        shown = ", ".join(ascii(label[:40]) for label in odd[:SHOWN])
        raise WbltrError(f"{root}: {_odd(odd[0])} in the name of a class folder: {shown}", "rename the folder", "recipe")


def _odd(name: str) -> str:
    """What is wrong with a name that matches `ODD`."""
    match = ODD.search(name)
    return "a control character" if match is not None and match[0] < " " else "no UTF-8 text"


def _some(shown: Sequence[str], count: int) -> str:
    return ", ".join(shown) + (f" and {count - len(shown):,} more" if count > len(shown) else "")


def _with_links(error: WbltrError, links: PassedOver) -> WbltrError:
    """A refusal in one line that names the links to folders, which may be what is missing."""
    told, hint = error.message, error.hint
    if links.count:
        told += f"; links to folders are not followed, {links}"
        hint += "; for linked folders copy what they link to: cp -rL DIR COPY"
    return WbltrError(_plain(told), _plain(hint), error.code)


def _plain(line: str) -> str:
    """A line in which names that are no text are shown as codes."""
    return ODD.sub(lambda match: ascii(match[0])[1:-1], line)
