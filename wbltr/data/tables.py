"""Pictures named by a table (CSV): columns path and label, and if one likes split and group. No torch here.

The table is somebody else's text: it is read line by line, and every line, field and number of columns has a bound.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from wbltr.data.folders import OwnRow
from wbltr.data.layouts import PART_OF
from wbltr.data.lists import LARGEST, Problems, unsafe
from wbltr.errors import WbltrError

TABLES = (".csv", ".tsv", ".txt")
LONGEST_LINE = 1 << 20  # bytes
MOST_COLUMNS = 1000
COLUMNS = ("path", "label", "split", "group")
HINT = "a table has a first line 'path,label', and if you like also split and group"


def is_table(path: Path) -> bool:
    """Whether a place of pictures is a table rather than a folder, by its name where it is not there."""
    return path.is_file() or (not path.is_dir() and path.suffix.lower() in TABLES)


def read_table(file: Path, root: Path, problems: Problems) -> list[OwnRow]:
    """Every sound row; what is wrong with the others goes to `problems`.

    Args:
        file: UTF-8; commas, semicolons or tabs between the columns, whichever its first line has most of.
        root: what paths are relative to; absolute ones below it are taken, too.

    Raises:
        WbltrError: code "recipe" for a file that is no such table.
    """
    try:
        if (size := file.stat().st_size) > LARGEST:
            raise WbltrError(f"{file}: {size:,} bytes; a table has at most {LARGEST:,}", "split it", "recipe")
        lines = _lines(file)
        header = next(lines, "")
        delimiter = max(",;\t", key=header.count)
        columns = _columns(file, header, delimiter)
        return [*_rows(file, root, csv.reader(lines, delimiter=delimiter), columns, problems)]
    except OSError as error:
        raise WbltrError(f"{file}: cannot be read: {error.strerror}", HINT, "missing") from None
    except csv.Error as error:
        raise WbltrError(f"{file}: {error}", HINT, "recipe") from None


def _lines(file: Path) -> Iterator[str]:
    """Lines of bounded length, decoded."""
    with file.open("rb") as lines:
        number = 0
        while raw := lines.readline(LONGEST_LINE + 1):
            number += 1
            if len(raw) > LONGEST_LINE:
                told = f"{file}:{number}: a line of more than {LONGEST_LINE:,} bytes"
                raise WbltrError(told, HINT, "recipe")
            try:
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise WbltrError(f"{file}:{number}: not UTF-8 text", "save the table as UTF-8", "recipe") from None


def _columns(file: Path, header: str, delimiter: str) -> dict[str, int]:
    """Where the known columns stand; case and blanks around their names do not count, other columns are passed over."""
    names = [name.strip().casefold() for name in next(csv.reader([header], delimiter=delimiter), [])]
    if len(names) > MOST_COLUMNS:
        raise WbltrError(f"{file}:1: {len(names):,} columns, a table has at most {MOST_COLUMNS:,}", HINT, "recipe")
    twice = next((name for name in COLUMNS if names.count(name) > 1), None)
    if twice is not None:
        raise WbltrError(f"{file}:1: two columns {twice}", HINT, "recipe")
    lacking = [name for name in ("path", "label") if name not in names]
    if lacking:
        shown = ", ".join(repr(name[:40]) for name in names[:8])
        raise WbltrError(f"{file}:1: no column {' and '.join(lacking)}; found {shown or 'nothing'}", HINT, "recipe")
    return {name: names.index(name) for name in COLUMNS if name in names}


def _rows(file: Path, root: Path, reader: Iterator[list[str]], columns: dict[str, int], problems: Problems) -> Iterator[OwnRow]:
    seen: dict[str, str] = {}
    split_given: bool | None = None  # by the first row; then all must be alike
    needed = max(columns.values()) + 1
    for fields in reader:
        place = f"{file.name}:{1 + getattr(reader, 'line_num', 0)}"  # the reader counts the lines after the first
        if not any(fields):
            continue
        if len(fields) < needed:
            problems.add(place, f"expected {needed} fields, found {len(fields)}")
            continue
        path, label, split, group = (fields[columns[name]] if name in columns else "" for name in COLUMNS)
        path = path.removeprefix(f"{root}/").removeprefix("./")
        part = PART_OF.get(split.strip().casefold(), "")
        if why := unsafe(path):
            problems.add(place, f"the path {path[:200]!r} {why}; paths are relative to {root}")
        elif first := seen.get(path):
            problems.add(place, f"{path[:200]!r} is named in {first} already")
        elif split.strip() and not part:
            problems.add(place, f"expected train, val or test as split, found {split[:40]!r}")
        elif split_given not in (None, bool(part)):
            problems.add(place, "names a split, the rows before it do not" if part else "names no split, the rows before it do")
        else:
            split_given = bool(part)
            seen[path] = place
            yield OwnRow(path, label, part, group.strip(), place)
