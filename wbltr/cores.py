"""How many cores this process may use, and how many of those other processes leave free right now."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.15


@dataclass(frozen=True)
class Cores:
    """What there is to compute on.

    Attributes:
        allowed: cores that this process may use, by its affinity and a container's quota; at least 1.
        free: of those, how many are not kept busy by other processes; at least 1.
    """

    allowed: int
    free: int

    def __str__(self) -> str:
        """What to say of it; nothing where all are free."""
        if self.free == self.allowed:
            return ""
        return f"{self.free} of {self.allowed} cores; the others are busy; --threads N to choose"


def free_cores() -> int:
    """How many cores to compute on when nobody says: those that are free, at least 1."""
    return these_cores().free


@functools.cache
def these_cores() -> Cores:
    """The cores of this process, looked at once in its life for 0.15 s; without /proc (macOS) all count as free."""
    return measure_cores(Path("/"), affinity(), lambda: time.sleep(SAMPLE_SECONDS))


def affinity() -> Collection[int]:
    """Numbers of the CPUs that this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def measure_cores(root: Path, cpus: Collection[int], pause: Callable[[], None]) -> Cores:
    """Compare two looks at the kernel's clocks.

    Args:
        root: the folder that holds `proc` and `sys`.
        cpus: numbers of the CPUs that this process may run on; not empty.
        pause: returns when it is time for the second look.
    """
    quotas = list(_quotas(root))
    before, own_before = _ticks(root, cpus), _own_ticks(root)
    used_before = [_used(folder) for _, folder in quotas]
    started = time.monotonic()
    pause()
    seconds = time.monotonic() - started
    after, own_after = _ticks(root, cpus), _own_ticks(root)

    passed = {cpu: after[cpu][1] - before[cpu][1] for cpu in after if cpu in before}
    passed = {cpu: ticks for cpu, ticks in passed.items() if ticks > 0}
    busy = sum((after[cpu][0] - before[cpu][0]) / ticks for cpu, ticks in passed.items())
    own = (own_after - own_before) * len(passed) / sum(passed.values()) if passed else 0.0
    free = len(cpus) - max(0.0, busy - own)
    for (cores, folder), used in zip(quotas, used_before, strict=True):
        rate = (_used(folder) - used) / seconds if seconds > 0 else 0.0
        free = min(free, cores - max(0.0, rate - own))
    allowed = min([float(len(cpus)), *(cores for cores, _ in quotas)])
    return Cores(max(1, round(allowed)), max(1, round(free)))


def _read(path: Path) -> str:
    """The file's text; empty where there is none."""
    with suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def _ticks(root: Path, cpus: Collection[int]) -> dict[int, tuple[int, int]]:
    """CPU → (busy, all) ticks since boot: user nice system idle iowait irq softirq steal of `/proc/stat`."""
    found = {}
    for line in _read(root / "proc/stat").splitlines():
        name, *fields = line.split()
        number = name.removeprefix("cpu")
        if name.startswith("cpu") and number.isdecimal() and int(number) in cpus and len(fields) >= 8:
            times = [int(field) for field in fields[:8]]
            found[int(number)] = (sum(times) - times[3] - times[4], sum(times))
    return found


def _own_ticks(root: Path) -> int:
    """User and system time of this process, all its threads, in the same ticks."""
    fields = _read(root / "proc/self/stat").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]) if len(fields) > 12 else 0


def _quotas(root: Path) -> Iterator[tuple[float, Path]]:
    """(cores, folder) of every control group above this process that has a CPU quota; of version 2 and of version 1."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path, *_ = (*line.split(":", 2), "", "", "")
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in dict.fromkeys((controllers, "cpu")) if controllers else ("",):
            top = root / "sys/fs/cgroup" / mount
            # Inside a container the path may be the host's, and only the top is there.
            own = top / path.strip("/")
            for folder in [own, *own.parents]:
                if not folder.is_relative_to(top):
                    break
                if (cores := _quota(folder)) is not None:
                    yield cores, folder


def _quota(folder: Path) -> float | None:
    """Cores that a control group may keep busy; None where it may all."""
    with suppress(ValueError):
        version_2 = _read(folder / "cpu.max").split()
        if len(version_2) == 2:
            return float(version_2[0]) / float(version_2[1])
        quota, period = (float(_read(folder / f"cpu.cfs_{name}_us")) for name in ("quota", "period"))
        return quota / period if quota > 0 < period else None
    return None


def _used(folder: Path) -> float:
    """CPU seconds that a control group has used so far; 0 where it does not say."""
    for line in _read(folder / "cpu.stat").splitlines():
        if line.startswith("usage_usec "):
            return int(line.split()[1]) / 1e6
    nanoseconds = _read(folder / "cpuacct.usage").strip()
    return int(nanoseconds) / 1e9 if nanoseconds.isdecimal() else 0.0
