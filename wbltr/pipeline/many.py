"""make_many(): several chains of `make` at once on one machine, each in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from wbltr.errors import Stopped

LISTEN_SECONDS = 0.2  # between two moments in which the calling thread can answer a signal

Result = TypeVar("Result")


def make_many(works: Sequence[Callable[[], Result]], at_once: int) -> list[Result | Exception]:
    """Do several works, each of which makes a chain: the same artifacts as one after another with the same threads each.

    torch leaves the interpreter to the other threads while it computes, and keeps a number of threads (and on a GPU a
    queue) for each of them. Claims keep two works from making the same artifact; what all share is better made before.

    Args:
        works: each is called once, in the order given, in some thread. What its stages run in must be imported by now:
            two threads that import torch at the same moment may see it half-made.
        at_once: how many may go on at the same time.

    Returns:
        For each work its result, or what it raised; a failure of one does not touch the others.

    Raises:
        Stopped: a work was stopped; every other has then come to its own stop or end, and no further one was begun.
    """
    stopped: list[Stopped] = []

    def outcome(work: Callable[[], Result]) -> Result | Exception:
        if stopped:
            return stopped[0]
        try:
            return work()
        except Stopped as stop:
            stopped.append(stop)
            return stop
        except Exception as failure:
            return failure

    with ThreadPoolExecutor(at_once, "work") as pool:
        running = [pool.submit(outcome, work) for work in works]
        # In short waits: Python runs the handler of a signal only when this thread comes back from one.
        while wait(running, LISTEN_SECONDS).not_done:
            pass
    if stopped:
        raise stopped[0]
    return [future.result() for future in running]
