"""Claims: one process computes a key while the others wait. They save work; nothing correct depends on them."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wbltr.regular import read_regular
from wbltr.store.files import Files, disk_errors
from wbltr.store.keys import DIGEST, checked_digest

if TYPE_CHECKING:
    from filelock import FileLock

LARGEST = 1 << 20  # bytes of claim.json
POLL_SECONDS = 0.1
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Claim:
    """A key that this process computes.

    Attributes:
        key: the key.
        folder: `runs/<key>`, for what the computation keeps between attempts.
        locked: False where the filesystem has no locks, so that others may compute the same key at the same time.
    """

    key: str
    folder: Path
    locked: bool


class Claims(Files):
    """`runs/<key>/claim`, a lock that dies with its process, and `claim.json`, which says whose it is."""

    def run_folder(self, key: str) -> Path:
        """`runs/<key>`: what the computation of a key keeps between attempts. It may not be there yet."""
        return self.root / "runs" / checked_digest(key, "key")

    @contextmanager
    def claim(
        self,
        key: str,
        waiting: Callable[[str, float], None] | None = None,
        tick: Callable[[], None] | None = None,
        inputs: Sequence[str] = (),
    ) -> Iterator[Claim]:
        """Hold the claim on a key; wait while another process has it. Look the key up again once you have it.

        Whoever needs several takes them in the sorted order of their keys, or two processes may wait for each other.

        Args:
            key: 64 hex digits.
            waiting: called once for every holder waited for, with who it is (`host, process 123`) and for how many
                seconds it has had the claim, by the two machines' clocks.
            tick: called every tenth of a second while waiting; whatever it raises ends the wait.
            inputs: ids of the objects that it is computed from, which no garbage collection takes meanwhile.

        Raises:
            WbltrError: `disk` when `runs/<key>` cannot be written: better before the computation than after it.
        """
        import socket

        from filelock import FileLock

        folder = self.run_folder(key)
        holder = folder / "claim.json"
        with disk_errors(folder, "write"):
            self.make_folder(folder)
        lock = FileLock(folder / "claim")
        told: tuple[str, float] | None = None
        with disk_errors(folder / "claim", "lock"):
            state = _acquire(lock)
        while state == "taken":
            if tick is not None:
                tick()
            current = _holder(holder)
            if waiting is not None and current is not None and current != told:
                waiting(current[0], max(0.0, time.time() - current[1]))
                told = current
            time.sleep(POLL_SECONDS)
            with disk_errors(folder / "claim", "lock"):
                state = _acquire(lock)
        try:
            who = f"{socket.gethostname()}, process {os.getpid()}"
            self.put(holder, json.dumps({"who": who, "since": time.time(), "inputs": list(inputs)}).encode(), replace=True)
            yield Claim(key, folder, locked=state == "held")
        finally:
            with suppress(OSError):
                holder.unlink(missing_ok=True)
            lock.release()

    def live_claims(self) -> dict[str, list[str]]:
        """Key → ids of its inputs, for every key that a process computes now."""
        keys = [path.parent.name for path in sorted((self.root / "runs").glob("*/claim.json"))]
        return {key: inputs for key in keys if DIGEST.fullmatch(key) and (inputs := self.claimed(key)) is not None}

    def claimed(self, key: str) -> list[str] | None:
        """The ids of its inputs while a process computes a key; None when nobody does. Where nobody can tell, somebody does."""
        from filelock import FileLock

        holder = self.run_folder(key) / "claim.json"
        if not holder.exists():
            return None
        lock = FileLock(holder.with_name("claim"))
        with suppress(OSError):
            if _acquire(lock) == "held":  # whoever wrote it is dead
                lock.release()
                return None
        with suppress(OSError, ValueError, TypeError, AttributeError):
            return [str(given) for given in json.loads(read_regular(holder, LARGEST)).get("inputs", [])]
        return []


def _acquire(lock: FileLock) -> Literal["held", "taken", "unsupported"]:
    from filelock import Timeout

    try:
        lock.acquire(timeout=0)
    except Timeout:
        return "taken"
    except NotImplementedError:
        return "unsupported"
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return "unsupported"
        raise
    return "held"


def _holder(path: Path) -> tuple[str, float] | None:
    """Who has the claim and since when, as far as the file tells: it may be missing or half-read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads(read_regular(path, LARGEST))
        return str(said["who"]), float(said["since"])
    return None
