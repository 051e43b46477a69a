"""Pictures of one's own: class folders and tables of small striped pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from made_images import encoded, picture


def put(path: Path, label: int, number: int, side: int = 20, kind: str = "PNG", mode: str = "RGB") -> Path:
    """One picture; older than a moment, so that what is known of it is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(picture(label, number, side).convert(mode), kind))
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path


def class_folders(root: Path, counts: Mapping[str, int], side: int = 20, mode: str = "RGB", kind: str = "PNG") -> Path:
    """`root/CLASS/NNN.png`; a class's pictures differ, and those of two roots with other folder names do, too."""
    for label, (name, count) in enumerate(counts.items()):
        for number in range(count):
            put(root / name / f"{number:03}.{kind.lower()}", label, 1000 * len(root.name) + number, side, kind, mode)
    return root


def table(file: Path, rows: str) -> Path:
    """A CSV file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(rows)
    return file
