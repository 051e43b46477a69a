"""Images named by a table (CSV): columns path and label, and if one likes split and group. No torch here.

The table is somebody else's text: it is read line by line, and every line, field and number of columns has a bound.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from wbltr.data.folders import OwnRow, PassedOver
from wbltr.data.layouts import spelt
from wbltr.data.lists import LARGEST, Problems, unsafe
from wbltr.errors import WbltrError

TABLES = (".csv", ".tsv", ".txt")
DELIMITERS = ",;\t|"
LONGEST_LINE = 1 << 20  # characters
MOST_COLUMNS = 1000
COLUMNS = ("path", "label", "split", "group")
HINT = "a table has a first line 'path,label', and if you like also split and group: name its columns so, or put it above"
DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")  # C:\\ or \\\\server
NO_UTF8 = re.compile("[\udc80-\udcff]")  # how Python keeps such bytes


def is_table(path: Path) -> bool:
    """Whether a place of images is a table rather than a folder, by its name where it is not there."""
    return path.is_file() or (not path.is_dir() and path.suffix.lower() in TABLES)


def read_table(file: Path, root: Path, problems: Problems, notice: Callable[[str], None] = lambda _: None) -> list[OwnRow]:
    """Every sound row; what is wrong with the others goes to `problems`.

    Args:
        file: UTF-8; commas, semicolons, tabs or bars between the columns, as its first line has them; or as a line `sep=;`
            above it says.
        root: what paths are relative to; absolute ones below it are taken, too.
        notice: one line for the user.

    Raises:
        WbltrError: code "recipe" for a file that is no such table.
    """
    try:
        if (size := file.stat().st_size) > LARGEST:
            raise WbltrError(f"{file}: {size:,} bytes; a table has at most {LARGEST:,}", "split it", "recipe")
        lines = _lines(file)
        header, above = next(lines, ""), 1
        if told := re.fullmatch(r'"?sep=([^\w"])"?', header.rstrip("\r\n")):  # as spreadsheets write it
            header, above = next(lines, ""), 2
        names, delimiter = _names(header, told[1] if told else DELIMITERS)
        columns = _columns(f"{file}:{above}", names)
        return [*_rows(file, root, _records(file, lines, delimiter, above), (columns, len(names)), problems, notice)]
    except OSError as error:
        raise WbltrError(f"{file}: cannot be read: {error.strerror}", HINT, "missing") from None
    except csv.Error as error:
        raise WbltrError(f"{file}: {error}", HINT, "recipe") from None


def _lines(file: Path) -> Iterator[str]:
    """Lines of bounded length, decoded, with their ends: LF, CR or both."""
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        number = 0
        while line := lines.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                told = f"{file}:{number}: a line of more than {LONGEST_LINE:,} characters"
                raise WbltrError(told, HINT, "recipe")
            if NO_UTF8.search(line) or (number == 1 and "\0" in line):
                form = "UTF-16" if number == 1 and "\0" in line else "WINDOWS-1252"
                hint = f"save it as UTF-8 (in a spreadsheet: CSV UTF-8), or: iconv -f {form} -t UTF-8 FILE > NEW"
                raise WbltrError(f"{file}:{number}: not UTF-8 text", hint, "recipe")
            yield line


def _names(header: str, delimiters: str) -> tuple[list[str], str]:
    """The names of the columns, and the delimiter that finds the most of those that are known, or the most columns.

    Case and blanks around names do not count.
    """
    found = {}
    for delimiter in delimiters:
        fields = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])
        found[delimiter] = [name.strip().casefold() for name in fields]
    best = max(found, key=lambda own: (len({*COLUMNS} & {*found[own]}), len(found[own])))
    return found[best], best


def _columns(place: str, names: list[str]) -> dict[str, int]:
    """Where the known columns stand; others are passed over."""
    if len(names) > MOST_COLUMNS:
        raise WbltrError(f"{place}: {len(names):,} columns, a table has at most {MOST_COLUMNS:,}", HINT, "recipe")
    twice = next((name for name in COLUMNS if names.count(name) > 1), None)
    if twice is not None:
        raise WbltrError(f"{place}: two columns {twice}", HINT, "recipe")
    lacking = [name for name in ("path", "label") if name not in names]
    if lacking:
        shown = ", ".join(repr(name[:40]) for name in names[:8])
        raise WbltrError(f"{place}: no column {' and '.join(lacking)}; found {shown or 'nothing'}", HINT, "recipe")
    return {name: names.index(name) for name in COLUMNS if name in names}


def _records(file: Path, lines: Iterator[str], delimiter: str, above: int) -> Iterator[tuple[str, list[str]]]:
    """The fields of each row, and its place.

    Blanks in front of a quote are no part of a field. A row of several lines is read strictly: a quote that nobody closes would
    hide the rows after it.
    """
    text: list[str] = []
    spaced = re.compile(f'(?:^|{re.escape(delimiter)}) +"')

    def kept() -> Iterator[str]:
        for line in lines:
            text.append(line)
            yield line

    reader, number = csv.reader(kept(), delimiter=delimiter), above
    try:
        for fields in reader:
            place, one = f"{file.name}:{number + 1}", len(text) == 1
            if one and not spaced.search(text[0]):
                yield place, fields
            else:
                for several in csv.reader(text, delimiter=delimiter, strict=not one, skipinitialspace=True):
                    if one and several[-1].endswith(("\r", "\n")):
                        raise csv.Error("unexpected end of line")
                    yield place, several
            number += len(text)
            text.clear()
    except csv.Error as error:
        hint = "see to its quotes: a field in quotes ends in one, and a quote within it is written twice"
        raise WbltrError(
            f"{file}:{number + 1}: a quote that is not closed, or text after one: {error}", hint, "recipe"
        ) from None


def _rows(
    file: Path,
    root: Path,
    records: Iterator[tuple[str, list[str]]],
    shape: tuple[dict[str, int], int],
    problems: Problems,
    notice: Callable[[str], None],
) -> Iterator[OwnRow]:
    """See `read_table`.

    Args:
        shape: where the known columns stand, and how many there are of all.
    """
    seen: dict[str, OwnRow] = {}
    turned = PassedOver()
    words = lru_cache(spelt)  # a table has few
    split_given: bool | None = None  # by the first row; then all must be alike
    columns, width = shape
    needed = max(columns.values()) + 1
    for place, fields in records:
        if not any(map(str.strip, fields)):
            continue
        if len(fields) < needed or any(fields[width:]):
            told = f"expected {needed if len(fields) < needed else width} fields, found {len(fields)}"
            problems.add(place, f"{told}; what holds the sign between fields stands in quotes" if len(fields) > width else told)
            continue
        written, label, split, group = (fields[columns[name]] if name in columns else "" for name in COLUMNS)
        path, label, split = _meant(root, written), label.strip(), split.strip()
        part, others = words(split)
        if DRIVE.match(path):
            told = f"the path starts from a drive of Windows, {path[:2]!r}: let it start from {root}, or from --root DIR"
            problems.add(place, told)
        elif why := unsafe(path):
            problems.add(place, f"the path {path[:200]!r} {why}; paths are relative to {root}", why)
        elif first := seen.get(path):
            other = f", as {first.label[:40]!r}: an image has one row and one label" if first.label != label else ""
            problems.add(place, f"{path[:200]!r} is named in {first.place} already{other}", f"twice{bool(other)}")
        elif split and (others or not part):
            problems.add(place, f"expected train, val or test as split, found {split[:40]!r}", "split")
        elif split_given not in (None, bool(part)):
            problems.add(place, "names a split, the rows before it do not" if part else "names no split, the rows before it do")
        elif not label:
            later = ", and ask for its class later: wbltr predict" if part == "test" else ""
            problems.add(place, f"no label; give it one, or leave the row out{later}")
        else:
            split_given = bool(part)
            seen[path] = OwnRow(path, label, part, group.strip(), place)
            if "\\" in written and "\\" not in path:
                turned.add(path)
            yield seen[path]
    if turned.count:
        notice(f"{file.name}: taking \\ in paths for /, {turned}")


def _meant(root: Path, written: str) -> str:
    """A path as it is written, where there is such a file; else without blanks around it, `/` for `\\`, where that is."""
    path = _below(root, written)
    if ("\\" in path or path != path.strip()) and not os.path.lexists(f"{root}/{path}"):
        stripped = _below(root, path.strip())
        for other in (stripped, _below(root, re.sub(r"[\\/]+", "/", stripped))):
            if os.path.lexists(f"{root}/{other}"):
                return other
    return path


def _below(root: Path, path: str) -> str:
    return path.removeprefix(f"{root}/").removeprefix("./")
