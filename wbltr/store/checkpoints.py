"""Checkpoints and metrics of a run: what a computation keeps between attempts, under `runs/<key>/`."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbltr.regular import open_regular
from wbltr.store.claims import Claims
from wbltr.store.files import disk_errors
from wbltr.store.keys import canonical_json, loose_json
from wbltr.store.tensors import Malformed, decode, encode, metadata_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SCHEMA = 1
NAME = re.compile(r"step-(\d+)-([0-9a-f]{12})\.safetensors")


class Checkpoints(Claims):
    """`step-<n>-<first 12 digits of its SHA-256>.safetensors`, the last two, and `metrics.jsonl`."""

    def save_checkpoint(self, key: str, step: int, tensors: Mapping[str, ArrayLike], state: Mapping[str, Any]) -> None:
        """Keep where a run stands. This one and the nearest earlier one stay; the others go, later ones too.

        Args:
            key: 64 hex digits.
            step: how far the run is, in whatever unit it counts; ≥ 0.
            tensors: as for `Store.publish`.
            state: what is no tensor: JSON with string keys; NaN and the infinities come back as they were.

        Raises:
            WbltrError: `disk` when it cannot be written; the earlier ones are still there.
        """
        metadata = canonical_json({"schema": SCHEMA, "key": key, "step": step, "state": state}, finite=False)
        data = encode(tensors, metadata)
        path = self.run_folder(key) / f"step-{step}-{hashlib.sha256(data).hexdigest()[:12]}.safetensors"
        self.put(path, data, replace=True)
        earlier = [other for other in self._checkpoints(key) if _step(other) < step][:1]
        with disk_errors(path.parent, "remove old checkpoints"):
            for other in self._checkpoints(key):
                if other not in (path, *earlier):
                    other.unlink(missing_ok=True)

    def load_checkpoint(self, key: str) -> tuple[int, dict[str, NDArray[Any]], dict[str, Any]] | None:
        """The newest checkpoint that is sound, as (step, writable arrays, state); None when there is none.

        Damaged ones are moved to `corrupt/`.
        """
        for path in self._checkpoints(key):
            try:
                with open_regular(path) as file:
                    data, seen = file.read(), os.fstat(file.fileno())
            except OSError:
                continue
            try:
                if not path.stem.endswith(hashlib.sha256(data).hexdigest()[:12]):
                    raise Malformed("its digest does not fit its name")
                metadata, arrays = metadata_of(data), decode(data)
                state = metadata.get("state")
                if metadata.get("key") != key or metadata.get("step") != _step(path) or not isinstance(state, dict):
                    raise Malformed("a checkpoint of something else")
            except Malformed:
                self.quarantine(path, seen)
                continue
            return _step(path), arrays, state
        return None

    def append_metrics(self, key: str, row: Mapping[str, Any]) -> None:
        """Add one line to `metrics.jsonl`. JSON has no NaN and no infinity: such a number becomes null.

        Raises:
            WbltrError: `disk` when it cannot be written, `bug` when the row is not JSON.
        """
        path = self.run_folder(key) / "metrics.jsonl"
        with disk_errors(path, "write"):
            self.make_folder(path.parent)
            with path.open("ab", buffering=0) as file:
                file.write(loose_json(row) + b"\n")

    def metrics(self, key: str) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl` in order, without lines that a crash cut short; empty when there is no file."""
        path = self.run_folder(key) / "metrics.jsonl"
        if not path.is_file():
            return []
        with disk_errors(path, "read"):
            lines = path.read_bytes().splitlines()
        rows = []
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                rows.append(row)
        return rows

    def truncate_metrics(self, key: str, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Keep only the rows for which `keep(row)` is true: on resume, those up to the checkpoint's step."""
        path = self.run_folder(key) / "metrics.jsonl"
        if path.is_file():
            self.put(path, b"".join(loose_json(row) + b"\n" for row in self.metrics(key) if keep(row)), replace=True)

    def finish(self, key: str) -> None:
        """Drop the checkpoints of a run whose object is published; its metrics stay."""
        for path in self._checkpoints(key):
            with disk_errors(path, "remove"):
                path.unlink(missing_ok=True)

    def _checkpoints(self, key: str) -> list[Path]:
        """The files that are named like checkpoints, newest first."""
        paths = (path for path in self.run_folder(key).glob("step-*.safetensors") if NAME.fullmatch(path.name))
        return sorted(paths, key=_step, reverse=True)


def _step(path: Path) -> int:
    return int(path.name.split("-")[1])
