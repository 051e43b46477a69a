"""Whether a store is sound, by its files alone: what wbltr.store promises, read without it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

PLACES = {"FORMAT", "CACHEDIR.TAG", "objects", "records", "refs", "runs", "stat", "studies", "corrupt", "downloads", "tmp"}


def audit(root: Path, *, corrupt: bool = False, left: bool = True) -> list[str]:
    """What is wrong with the store in a folder, a line each; nothing for one that is not there.

    Args:
        corrupt: whether something may lie in `corrupt/`.
        left: whether unfinished bytes may lie in `tmp/`.
    """
    if not root.exists():
        return []
    wrong = [f"{path.name}: none of a store's" for path in root.iterdir() if path.name not in PLACES]
    if (root / "FORMAT").exists() and (root / "FORMAT").read_bytes() != b"wbltr-store 1\n":
        wrong.append("FORMAT: garbled")
    objects = {path.stem: path for path in (root / "objects").rglob("*") if path.is_file()}
    for name, path in objects.items():
        if hashlib.sha256(path.read_bytes()).hexdigest() != name or path.parent.name != name[:2]:
            wrong.append(f"{path}: other bytes than its name promises")
        if path.stat().st_mode & 0o777 != 0o444:
            wrong.append(f"{path}: mode {path.stat().st_mode:o}")
    recorded = set()
    for path in (root / "records").rglob("*.*"):
        record = json.loads(path.read_bytes())
        recorded.add(record["object"])
        if record["key"] != path.stem or record["object"] not in objects:
            wrong.append(f"{path}: a record that dangles")
    for path in (root / "refs").rglob("*"):
        if path.is_file() and path.read_text().removesuffix("\n") not in recorded:
            wrong.append(f"{path}: a name that dangles")
    if not corrupt and (root / "corrupt").exists():
        wrong.append("corrupt/: something damaged was met")
    if not left and (root / "tmp").exists() and (found := list((root / "tmp").iterdir())):
        wrong.append(f"{found[0]}: unfinished")
    return wrong
