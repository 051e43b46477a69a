"""`report`: what is finished on one first stage, as a page. Looks up, and makes nothing."""

from __future__ import annotations

import shlex
from pathlib import Path

from wbltr.cli.page_content import Found, asked, command, content
from wbltr.cli.request import Request
from wbltr.cli.session import Session
from wbltr.cli.start import Verb, overlaid
from wbltr.cli.writing import expanded, suffix_of, write_file
from wbltr.errors import WbltrError
from wbltr.methods.rows import ROWS, Row
from wbltr.pipeline import Artifact, planned
from wbltr.recipe_file import load_recipe, recipe_from_record
from wbltr.report.results import accuracies
from wbltr.report.words import count
from wbltr.stages import Chain, Lineage, lineage, settle_teachers
from wbltr.store import Store

FILE = Path("report.html")
REPORT = Verb("report", "latest/eval", ("eval",), make_first="wbltr run --recipe digits-ir50", study=True)
KNOWN = tuple(ROWS)


def report(request: Request, out: Path | None) -> None:
    """Write the page and print where it lies."""
    path = expanded(FILE if out is None else out)
    suffix_of(path, (".html",))
    if request.seeds is not None:
        raise WbltrError("--seeds: the page is about one run", "with --table N there are means over seeds", "usage")
    session = _session(request)
    found = _of_latest(session, session.start) if session.start is not None else _of_recipe(session)
    from wbltr.report.page import page

    told = content(session, found)
    write_file(path, page(told).encode())
    if request.json:
        document = {
            "artifact": found.shown.object_id,
            "accuracy": accuracies(told.shown.tensors),
            "rows": {row: accuracies(one.tensors) for row, one in zip(found.rows, told.rows, strict=False)},
            "missing": list(found.missing),
        }
        session.console.document({"schema": 1, "command": "report", "file": str(path), **document})
        return
    session.console.result(str(path), one_line=True)
    if found.missing:
        rows = f"{count(len(found.missing), 'row')} not finished ({', '.join(found.missing)})"
        session.console.notice(f"{rows}; make them: {command(session, found, 'run')}")


def _session(request: Request) -> Session:
    """A session in a store that is there already."""
    if request.recipe is None:
        return Session(REPORT, request)
    load_recipe(request.recipe, request.set)  # a mistake in it comes first
    try:
        Store.open(request.store, create=False)
    except WbltrError as error:
        if error.code != "missing":
            raise
        raise _nothing(request) from None
    return Session(REPORT, request)


def _nothing(request: Request) -> WbltrError:
    made = shlex.join(["wbltr", "run", *asked(request)])
    return WbltrError(f"{request.recipe}: nothing of it is measured in this store", f"make it first: {made}", "missing")


def _of_recipe(session: Session) -> Found:
    rows = _finished(session.store, session.chain)
    if not rows:
        raise _nothing(session.request)
    own = session.recipe.rows
    shown = next((row for row in reversed(own) if row in rows), list(rows)[-1])
    recipe = overlaid(session.recipe, lineage(session.store, rows[shown]), given=False)
    return Found(recipe, session.recipe, rows, rows[shown], tuple(row for row in own if row not in rows))


def _of_latest(session: Session, start: Artifact) -> Found:
    """What was measured last, beside the rows of the recipe that it was measured under."""
    line = lineage(session.store, start)
    whole, teachers = settle_teachers(session.store, recipe_from_record(start.record.get("recipe")) or session.recipe)
    # The rows stand on the first stage alone: what was finetuned on it is one of them.
    below = Lineage({name: line.known[name] for name in ("dataset", "features") if name in line.known}, line.lost, teachers)
    chain = Chain(overlaid(whole, below, given=False), below)
    return Found(session.recipe, whole, _finished(session.store, chain), start, ())


def _finished(store: Store, chain: Chain) -> dict[Row, Artifact]:
    """Every row that is measured; those that the recipe has no settings for are not."""
    rows: dict[Row, Artifact] = {}
    for row in KNOWN:
        if row in ("naive", "naive-tau") and chain.recipe.features.weight_decay == 0:
            continue  # the first stage is this row
        try:
            found = planned(store, chain.measured(row))[-1][1]
        except WbltrError as error:
            if error.code not in ("recipe", "usage"):
                raise
        else:
            rows |= {row: found} if found is not None else {}
    return rows
