"""One command from request to exit code: the only place where an exception becomes a line, and signals a wish to stop."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import FrameType
from typing import Any

import typer

from wbltr.cli.console import Console
from wbltr.cli.request import Request
from wbltr.distributed import team
from wbltr.errors import EXIT_CODES, Code, Stopped, WbltrError, shown

_GUEST: ContextVar[bool] = ContextVar("guest", default=False)
LEADER_FIRST = 1.0  # seconds
REQUESTED: list[int] = []  # signals received; a list, since a handler can only append


def answer(command: str, request: Request, work: Callable[[], None]) -> None:
    """Run a command's work; the one place where an exception becomes a line and an exit code."""
    console = Console(json=request.json, quiet=request.quiet, no_color=request.no_color)
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # what is wrong with an image is told by its name
    try:
        console.leads = team().leads
        if request.methods is not None:
            from wbltr.methods.own import add_methods

            add_methods(request.methods)
        work()
    except WbltrError as error:
        if not console.leads and not isinstance(error, Stopped):
            time.sleep(LEADER_FIRST)  # torchrun ends the others as soon as one has gone, and the leader has the words
        if request.debug:
            console.traceback()
        console.failure(command, error)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # The reader of a pipe went away (`| head`): nothing is lost and nobody is left to tell.
        _drop_stdout()
        raise typer.Exit(0) from None
    except Exception as error:
        if request.debug:
            console.traceback()
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
            _drop_stdout()
            console.json = False
            console.failure(command, WbltrError(f"cannot write: {error.strerror}", "free some space", "disk"))
            raise typer.Exit(6) from None
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            told = f"{shown(str(error.filename))}: the name is too long for this file system"
            console.failure(command, WbltrError(told, "name another", "usage"))
            raise typer.Exit(EXIT_CODES["usage"]) from None
        hint = "this is a bug in wbltr; run it again with --debug and report what it shows"
        console.failure(command, WbltrError(f"{type(error).__name__}: {error}", hint, "bug"))
        raise typer.Exit(1) from None
    finally:
        console.end()


def _drop_stdout() -> None:
    """What is still buffered for stdout goes nowhere, instead of failing again at exit."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def guest() -> Iterator[None]:
    """While we work in somebody else's process: only Ctrl-C asks for a stop, the second one is a KeyboardInterrupt."""
    token = _GUEST.set(True)
    try:
        yield
    finally:
        _GUEST.reset(token)
        if threading.current_thread() is threading.main_thread():
            REQUESTED.clear()


@contextmanager
def stoppable() -> Iterator[None]:
    """While work runs that can be resumed, a signal asks for a stop instead of killing; the second Ctrl-C leaves at once.

    Signals reach the main thread only: in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    REQUESTED.clear()
    before: dict[int, Any] = {number: signal.signal(number, _on_signal) for number in _signals()}
    try:
        yield
    except Stopped:
        if team().size > 1:  # torchrun signals those that are left as soon as one has gone; they are on their way
            before[signal.SIGTERM] = signal.SIG_IGN
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    # Asked for in the last step of this work, or in one too short to look: stop before the next.
    if (stop := stop_requested()) is not None:
        raise stop


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """While something lies about that must not stay: a signal that would kill ends the work as Ctrl-C does, with exit 143."""
    if threading.current_thread() is not threading.main_thread() or _GUEST.get():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    mine = [number for number, handler in before.items() if handler == signal.SIG_DFL]  # `nohup` ignores one

    def end(_: int, __: FrameType | None) -> None:
        for other in mine:
            signal.signal(other, signal.SIG_IGN)  # nor does a second one keep us from cleaning up
        with suppress(OSError):
            os.write(2, b"\nstopping\n")
        raise SystemExit(EXIT_CODES["terminated"])

    for number in mine:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number])


def _signals() -> list[int]:
    if _GUEST.get():
        return [signal.SIGINT]
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]


def _on_signal(number: int, _: FrameType | None) -> None:
    if REQUESTED and _GUEST.get():
        raise KeyboardInterrupt
    if REQUESTED and number == signal.SIGINT:
        with suppress(OSError):
            os.write(2, b"\x1b[?25h" if os.isatty(2) else b"")  # the cursor that a progress bar hid
        os._exit(130)
    REQUESTED.append(number)  # before the words, which may be answered at once
    if len(REQUESTED) == 1:
        words = b"\nstopping after this step; Ctrl-C again leaves at once\n" if number == signal.SIGINT else b"\nstopping\n"
        with suppress(OSError):
            os.write(2, words)


def stop_requested() -> WbltrError | None:
    """What to raise when a signal asked for a stop; None while nobody did."""
    if not REQUESTED:
        return None
    code: Code = "interrupted" if REQUESTED[0] == signal.SIGINT else "terminated"
    return Stopped("stopped; what is done is kept", f"go on with: {shlex.join(['wbltr', *sys.argv[1:]])}", code)
