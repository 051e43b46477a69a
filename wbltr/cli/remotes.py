"""`wbltr store push` and `store pull`: what was made leaves the machine, and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from wbltr.cli.answer import stop_requested, stoppable
from wbltr.cli.console import Console
from wbltr.cli.progress import Progress
from wbltr.cli.request import Request
from wbltr.cli.stores import console_of, opened
from wbltr.errors import WbltrError, shown
from wbltr.report.words import count
from wbltr.store import Store
from wbltr.store import transfer as moving
from wbltr.store.remote import Remote

NAMED = 20  # of what cannot be read


def push(request: Request, url: str, names: Sequence[str]) -> None:
    """Send to another store what names mean; without names, what any ref means."""
    store, remote = opened(request), Remote(url)
    plan = moving.plan_push(store, remote, names)
    _carry_out("push", request, url, plan, lambda told: moving.push(store, remote, plan, told))


def pull(request: Request, url: str, names: Sequence[str]) -> None:
    """Fetch from another store what names mean there; without names, what any ref there means."""
    remote = Remote(url)
    store = Store.open(request.store)
    plan = moving.plan_pull(store, remote, names)
    _carry_out("pull", request, url, plan, lambda told: moving.pull(store, remote, plan, told))


def _carry_out(what: str, request: Request, url: str, plan: moving.Transfer, work: Callable[[moving.Told], None]) -> None:
    """Do what was planned, unless it is only asked for, and tell of it."""
    console = console_of(request)
    if not request.dry_run:
        watched(console, what, work)
    size = sum(plan.objects.values())
    if request.json:
        console.document(
            {
                "schema": 1,
                "command": f"store {what}",
                "dry_run": request.dry_run,
                "url": url,
                "objects": sorted(plan.objects),
                "bytes": size,
                "there": sorted(plan.there),
                "records": sorted(plan.records),
                "refs": dict(plan.refs),
                "kept": list(plan.kept),
                "unread": list(plan.unread),
            }
        )
        _refuse_unread(plan)
        return
    for name in plan.kept:
        console.notice(f"ref {name} stays: it means something else here; to move it: wbltr store pull {url} {name}")
    moved = {"push": "sent", "pull": "fetched"}[what]
    things = f"{count(len(plan.objects), 'object')} ({size / 1e6:.1f} MB), {count(len(plan.records), 'record')}"
    told = f"{'would be ' if request.dry_run else ''}{moved}; {count(len(plan.there), 'object')} already there"
    console.result(f"{things} and {count(len(plan.refs), 'ref')} {told}")
    _refuse_unread(plan)


def _refuse_unread(plan: moving.Transfer) -> None:
    """At the end, of what was left out.

    Raises:
        WbltrError: code "integrity".
    """
    if plan.unread:
        more = [f"and {len(plan.unread) - NAMED:,} more"] if len(plan.unread) > NAMED else []
        lines = [f"{shown(name)}: cannot be read, or means an object that is not there" for name in plan.unread[:NAMED]]
        hint = "all else is there; records are made again from objects: wbltr store verify --rebuild"
        raise WbltrError("\n".join([*lines, *more]), hint, "integrity")


def watched(console: Console, what: str, work: Callable[[moving.Told], None]) -> None:
    """Do the work with a bar; a signal stops it, and what has been moved stays.

    Raises:
        Stopped: a signal asked for it.
    """
    progress, begun = Progress(console), time.monotonic()

    def told(done: int, total: int) -> None:
        if (stop := stop_requested()) is not None:
            raise stop
        progress.transfer(done, total, done / max(time.monotonic() - begun, 1e-3), what)

    progress.begin(what, cached=False)
    try:
        with stoppable():
            work(told)
    finally:
        progress.end()
