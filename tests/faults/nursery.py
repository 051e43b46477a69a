"""A process that has imported what a command needs and forks a child for each: a real process in a millisecond."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent
TOYS = ("faults.commands",)
STAGES = ("dataset", "features", "embeddings", "classifier", "posthoc", "eval")
DIGITS = (
    *TOYS, "torch", "torchvision", "sklearn.datasets", "optuna", "matplotlib.pyplot", "rich.console", "rich.table",
    "wbltr.cli.app", "wbltr.cli.making", *(f"wbltr.stages.{name}" for name in STAGES),
)  # fmt: skip
SHORT = ("--set", "features.epochs=3", "--set", "classifier.epochs=2", "--set", "embeddings.views=2", "--threads", "1")
SECONDS = 60.0  # after which a child that does not end fails its test


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: its exit code; minus the signal that killed it.
    """

    code: int
    out: str
    err: str


class Nursery:
    """Children that call `module:function(*arguments)`, whose text arguments and working folder are given.

    Args:
        folder: where the children's words are kept.
        modules: imported before the first child is born.
        prefix: a command that runs it.
    """

    def __init__(self, folder: Path, *modules: str, prefix: tuple[str, ...] = ()) -> None:
        self._folder = folder
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("WBLTR_", "COLUMNS"))}
        environment |= {"PYTHONPATH": str(TESTS), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        command = [*prefix, sys.executable, "-m", "faults.nursery", *modules]
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._born = 0

    def seen(self, path: Path) -> Path:
        """A path as its children see it, whatever is mounted there for them; for root alone."""
        return Path(f"/proc/{self._process.pid}/root{path}")

    def warm(self, call: str, *arguments: object) -> None:
        """Call it once in the nursery itself, so that what it imports late is there and no fault meets an import."""
        self._ask({"warm": call, "arguments": [str(argument) for argument in arguments]})

    def start(self, call: str, *arguments: object, folder: Path | None = None, stopped: bool = False) -> int:
        """Begin a child.

        Args:
            folder: its working directory.
            stopped: whether it stops (SIGSTOP) before it begins, and waits for SIGCONT.

        Returns:
            Its process id, which nobody else gets until `wait` was called.
        """
        self._born += 1
        said = self._folder / f"child-{self._born}"
        request = {"call": call, "arguments": [str(argument) for argument in arguments], "said": str(said)}
        return int(self._ask({**request, "folder": str(folder or self._folder), "stopped": stopped}))

    def wait(self, pid: int) -> Ended:
        """Wait until a child has ended."""
        code, said = self._ask({"wait": pid})
        files = [Path(f"{said}.{name}") for name in ("out", "err")]
        words = [path.read_text() if path.exists() else "" for path in files]  # one that was killed at once has none
        for path in files:
            path.unlink(missing_ok=True)
        return Ended(code, *words)

    def run(self, call: str, *arguments: object, folder: Path | None = None) -> Ended:
        """Begin a child and wait for its end."""
        return self.wait(self.start(call, *arguments, folder=folder))

    def close(self) -> None:
        """End it, and what it bore."""
        self._process.communicate("")

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the nursery died"
        return json.loads(answer)


def called(call: str, arguments: Sequence[str]) -> None:
    """Call `module:function`."""
    module, _, name = call.partition(":")
    getattr(importlib.import_module(module), name)(*arguments)


def _child(request: dict[str, Any]) -> None:
    code = 0
    try:
        os.chdir(request["folder"])
        streams = [(0, Path(os.devnull), os.O_RDONLY)]
        streams += [(n, Path(f"{request['said']}.{s}"), os.O_WRONLY | os.O_CREAT) for n, s in ((1, "out"), (2, "err"))]
        for number, path, flags in streams:
            descriptor = os.open(path, flags, 0o600)
            os.dup2(descriptor, number)
            os.close(descriptor)
        if request["stopped"]:
            os.kill(os.getpid(), signal.SIGSTOP)
        called(request["call"], request["arguments"])
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(pid: int) -> int:
    ends = time.monotonic() + SECONDS
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > ends:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return -999
        time.sleep(0.0005)


def _serve() -> None:
    for module in sys.argv[1:]:
        importlib.import_module(module)
    living: dict[int, str] = {}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answer: object = None
        if "warm" in request:
            with suppress(SystemExit):
                called(request["warm"], request["arguments"])
        elif "wait" in request:
            answer = (_wait(request["wait"]), living.pop(request["wait"]))
        else:
            pid = os.fork()
            if pid == 0:
                _child(request)
            if request["stopped"]:
                os.waitpid(pid, os.WUNTRACED)  # a SIGCONT that came before the stop would be lost
            living[pid] = request["said"]
            answer = pid
        print(json.dumps(answer), file=answers, flush=True)
    for pid in living:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    _serve()
