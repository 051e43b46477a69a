"""One fault at one file system call of a child: by strace where it may trace, else by Python's own audit events."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from faults.nursery import Ended, Nursery, called

FAULTS = ("SIGKILL", "ENOSPC", "EIO", "EROFS", "EMFILE", "EDQUOT")
# Those that a path or a descriptor goes through; `?`: not every machine has it.
CALLS = (
    "%file,?read,?pread64,?readv,?write,?pwrite64,?writev,?close,?fstat,?fsync,?fdatasync,?lseek,?getdents64,?flock,?fchmod,"
    "?ftruncate,?copy_file_range,?sendfile,?ioctl,?fcntl"
)
CALL = re.compile(r"(\w+)\(.*")
EVENTS = frozenset({"open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.utime", "os.listdir"})


class Place(NamedTuple):
    """The nth call of a name."""

    call: str
    nth: int


@cache
def traceable() -> bool:
    """Whether strace is here and may trace a process that it did not start."""
    if shutil.which("strace") is None:
        return False
    with subprocess.Popen(["sleep", "10"]) as sleeping:
        traced = subprocess.run(["timeout", "0.2", "strace", "-p", str(sleeping.pid)], capture_output=True, text=True)
        sleeping.kill()
    return "attached" in traced.stderr


def places(nursery: Nursery, trace: Path, call: str, *arguments: object) -> list[Place]:
    """Every file system call that a child makes for `call`, in order.

    Args:
        trace: a file to write to.
    """
    if not traceable():
        ended = nursery.run("faults.injected:shimmed", "EIO", 0, trace, call, *arguments)
        assert ended.code == 0, ended.err
        return [Place("any", nth) for nth in range(1, int(trace.read_text()) + 1)]
    ended, lines = _traced(nursery, trace, ("-e", f"trace={CALLS}"), call, *arguments)
    assert ended.code == 0, ended.err
    seen: Counter[str] = Counter()
    found = []
    for line in lines:
        if made := CALL.fullmatch(line):
            seen[made[1]] += 1
            if not line.startswith(("write(1,", "write(2,")):  # its words
                found.append(Place(made[1], seen[made[1]]))
    return found


def inject(nursery: Nursery, trace: Path, place: Place, fault: str, call: str, *arguments: object) -> Ended | None:
    """Run a child with one fault; None where it did not come to that place."""
    if not traceable():
        ended = nursery.run("faults.injected:shimmed", fault, place.nth, trace, call, *arguments)
        return ended if ended.code == -signal.SIGKILL or int(trace.read_text()) >= place.nth else None
    kind = "signal=KILL" if fault == "SIGKILL" else f"error={fault}"
    options = ("-e", f"trace={place.call}", "-e", f"inject={place.call}:{kind}:when={place.nth}")
    ended, lines = _traced(nursery, trace, options, call, *arguments)
    hit = ended.code == -signal.SIGKILL or any("INJECTED" in line for line in lines)
    return ended if hit else None


def _traced(nursery: Nursery, trace: Path, options: tuple[str, ...], call: str, *arguments: object) -> tuple[Ended, list[str]]:
    pid = nursery.start(call, *arguments, stopped=True)
    command = ["strace", "-o", str(trace), *options, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        assert "attached" in strace.stderr.readline()
        os.kill(pid, signal.SIGCONT)
        ended = nursery.wait(pid)
    return ended, trace.read_text().splitlines()


def shimmed(fault: str, nth: str, told: str, call: str, *arguments: str, within: str = "") -> None:
    """In a child: call, with a fault at the nth step that touches the disk; how many there were is written to `told`.

    Args:
        within: only steps at paths that hold this text count, and every fsync.
    """
    steps = 0
    counting = True

    def step(event: str, paths: tuple[object, ...] = (within,)) -> None:
        nonlocal steps
        if counting and event in EVENTS and within in str(paths[0]):
            steps += 1
            if steps == int(nth):
                if fault == "SIGKILL":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError(getattr(errno, fault), os.strerror(getattr(errno, fault)))

    sync = os.fsync

    def counted_sync(fd: Any) -> None:
        step("open")
        sync(fd)

    os.fsync = counted_sync
    sys.addaudithook(step)
    try:
        called(call, arguments)
    finally:
        counting = False
        Path(told).write_text(str(steps))


def sampled(fault: str, nth: str, told: str, *arguments: str) -> None:
    """In a child: the command line, with a fault at its nth step that touches a store."""
    shimmed(fault, nth, told, "faults.commands:wbltr", *arguments, within=".wbltr")
