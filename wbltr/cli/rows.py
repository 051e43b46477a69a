"""`run`: the rows of a recipe's table, measured once or over several seeds at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from wbltr.cli.console import number, with_deviation
from wbltr.cli.maker import Maker
from wbltr.cli.seeds import Share, share, with_seed
from wbltr.cli.session import Session
from wbltr.cores import these_cores
from wbltr.errors import Stopped, WbltrError
from wbltr.methods.rows import Row
from wbltr.pipeline import Artifact, Made, Node, artifact, make_many, planned
from wbltr.report.caption import caption
from wbltr.report.results import SPLITS, eval_document, over_runs
from wbltr.report.words import label

COLUMNS = ("", "all", *SPLITS)


@dataclass(frozen=True)
class Rows:
    """The rows of one run.

    Attributes:
        documents: row → what `eval --json` says of it.
        every: row → its eval artifact.
        last: the last row's eval artifact, with its tensors.
    """

    documents: Mapping[str, dict[str, Any]]
    every: Mapping[Row, Made]
    last: Made
    tensors: Mapping[str, Any]


def evaluations(maker: Maker) -> dict[Row, Node]:
    """Row → its evaluation."""
    return {row: maker.chain.measured(row) for row in maker.recipe.rows}


def measured(maker: Maker) -> Rows:
    """Make every row in order."""
    documents: dict[str, dict[str, Any]] = {}
    every: dict[Row, Made] = {}
    for row, node in evaluations(maker).items():
        made, tensors = maker.load(node)
        documents[row], every[row] = eval_document(tensors, made.artifact.config), made
    return Rows(documents, every, made, tensors)


def made(session: Session) -> Rows:
    """Every row of one run, its names set."""
    with session.working(list(evaluations(session.maker).values())):
        rows = measured(session.maker)
    _point_latest(session.maker, rows)
    session.name_results([rows.last])
    return rows


def run(session: Session) -> None:
    """Make and print the table of a recipe."""
    if session.seeds:
        _run_seeds(session)
        return
    maker = session.maker
    if session.request.dry_run:
        session.plan({None: list(evaluations(maker).values())})
        return
    rows = made(session)
    if session.request.json:
        told = {
            "stages": [session.document(made) for made in maker.made],
            "rows": {row: document["accuracy"] for row, document in rows.documents.items()},
        }
        session.console.document(session.document(rows.last, rows.documents[_last(rows)] | told))
        return
    loss = session.recipe.classifier.loss
    lines = [
        (label(row, loss), *(number(document["accuracy"][column]) for column in COLUMNS[1:]))
        for row, document in rows.documents.items()
    ]
    session.console.table(COLUMNS, lines, _caption(session, rows))
    tell_what_never_moved(session, what_never_moved(session, {row: [made] for row, made in rows.every.items()}))
    _what_next(session)


def _run_seeds(session: Session) -> None:
    makers = {seed: session.maker.beside(with_seed(session.recipe, seed), f"seed {seed}") for seed in session.seeds}
    nodes = {seed: list(evaluations(maker).values()) for seed, maker in makers.items()}
    if session.request.dry_run:
        shared: dict[int | None, list[Node | Artifact]] = {None: [session.chain.dataset]}
        session.plan(shared | {seed: [*several] for seed, several in nodes.items()})
        return
    runs = _made_together(session, makers, [node for several in nodes.values() for node in several])
    last = runs[session.seeds[-1]]
    spreads = over_runs([rows.documents for rows in runs.values()])
    if session.request.json:
        made = {m.artifact.object_id: m for maker in [*makers.values(), session.maker] for m in maker.made}
        told = {
            "seeds": list(runs),
            "rows": {row: {column: s.mean for column, s in spread.items()} for row, spread in spreads.items()},
            "sd": {row: {column: s.sd for column, s in spread.items()} for row, spread in spreads.items()},
            "per_seed": {str(seed): {r: d["accuracy"] for r, d in rows.documents.items()} for seed, rows in runs.items()},
            "stages": [session.document(m) for m in made.values()],
        }
        session.console.document(session.document(last.last, last.documents[_last(last)] | told))
        return
    loss = session.recipe.classifier.loss
    lines = [
        (label(row, loss), *(with_deviation(spread[column].mean, spread[column].sd) for column in COLUMNS[1:]))
        for row, spread in spreads.items()
    ]
    session.console.table(COLUMNS, lines, _caption(session, last, runs))
    every = {row: [rows.every[row] for rows in runs.values()] for row in last.every}
    tell_what_never_moved(session, what_never_moved(session, every))
    _what_next(session)


def _made_together(session: Session, makers: Mapping[int, Maker], nodes: list[Node]) -> dict[int, Rows]:
    """Every seed's rows. One that fails lets the others finish and is told of then; a stop stops all.

    Raises:
        WbltrError: what failed, with its seeds.
    """
    with session.working(nodes) as missing:
        divided = Share(len(makers), 1, session.request.threads)
        if missing:
            divided = _prepared(session, nodes)
            if len(makers) > 1:
                session.console.notice(str(divided))
        session.maker.make(session.chain.dataset)
        for maker in makers.values():
            maker.share(divided.threads, asked=session.request.threads is not None)
        works = [partial(_one_seed, maker, alone=len(makers) == 1, bar=missing) for maker in makers.values()]
        try:
            outcomes = dict(zip(makers, make_many(works, divided.at_once), strict=True))
        finally:
            # As if they had run one after another.
            session.maker.point_latest([made for maker in makers.values() for made in maker.made])
    rows = {seed: outcome for seed, outcome in outcomes.items() if isinstance(outcome, Rows)}
    session.name_results([rows[seed].last if seed in rows else None for seed in session.seeds])
    if failures := {seed: outcome for seed, outcome in outcomes.items() if isinstance(outcome, Exception)}:
        raise _failure(failures, list(rows))
    _point_latest(session.maker, rows[session.seeds[-1]])
    return rows


def _prepared(session: Session, nodes: list[Node]) -> Share:
    """Import what will run, here and not in several threads at once; then see what there is to share."""
    for node in nodes:
        for step, _ in planned(session.store, node):
            step.stage.function()
    from wbltr.machine import import_the_rest, prepare

    import_the_rest()
    request = session.request
    device = prepare(request.device, 1)
    return share(len(session.seeds), device.type, request.threads, these_cores())


def _one_seed(maker: Maker, *, alone: bool, bar: bool) -> Rows:
    try:
        if bar:
            maker.progress.start()
        return measured(maker)
    except Stopped:
        raise
    except Exception as failure:
        if not alone:
            maker.progress.notice(f"failed, the others go on: {(str(failure).splitlines() or [type(failure).__name__])[0]}")
        raise
    finally:
        maker.progress.end()


def _failure(failures: Mapping[int, Exception], finished: list[int]) -> Exception:
    """One error for all that failed, a line for each message; a bug as it is."""
    lines: dict[str, list[str]] = {}
    for seed, failure in failures.items():
        if not isinstance(failure, WbltrError):
            return failure
        lines.setdefault(failure.message, []).append(str(seed))
    first = next(iter(failures.values()))
    assert isinstance(first, WbltrError)
    hints = [first.hint] if first.hint else []
    if finished:
        hints.append(f"or go on without: --seeds {','.join(map(str, finished))}")
    told = [f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}: {message}" for message, seeds in lines.items()]
    return WbltrError("\n".join(told), "; ".join(hints), first.code)


def _point_latest(maker: Maker, rows: Rows) -> None:
    """`latest/head` is what the last row measured, whatever was made after it."""
    head = artifact(maker.store, rows.last.artifact.inputs["head"])
    maker.point_latest([Made(head, rows.last.cached, 0.0)])


def _last(rows: Rows) -> Row:
    return list(rows.every)[-1]


def _caption(session: Session, rows: Rows, runs: Mapping[int, Rows] | None = None) -> str:
    row = _last(rows)
    seeds = {seed: one.documents[row]["accuracy"]["all"] for seed, one in (runs or {}).items()}
    head = label(row, session.recipe.classifier.loss)
    behind = session.behind_rows(rows.every)
    return caption(session.recipe, rows.last.artifact.config, rows.tensors, head, seeds, rows=behind)


def what_never_moved(session: Session, rows: Mapping[Row, Sequence[Made]]) -> list[Row]:
    """Rows whose MaxNorm never moved a row of the classifier in any run: what is called so in a table did nothing there.

    Args:
        rows: their eval artifacts.
    """
    still: list[Row] = []
    for row, runs in rows.items():
        heads = [session.head_of(made) for made in runs]
        bound = [head for head in heads if head.config.get("classifier", head.config).get("max_norm")]
        moved = [session.store.load(head.object_id, ("history.projected",))["history.projected"] for head in bound]
        if moved and not any(bool((projected > 0).any()) for projected in moved):
            still.append(row)
    return still


def tell_what_never_moved(session: Session, rows: Sequence[Row]) -> None:
    """One line at the end of a command."""
    if rows:
        names = ", ".join(label(row, session.recipe.classifier.loss).removeprefix("+ ") for row in rows)
        session.console.notice(f"MaxNorm never moved a row of the classifier in: {names}")


def _what_next(session: Session) -> None:
    session.console.notice("next: wbltr posthoc tau --tau 1.5, then wbltr eval; another set: wbltr recipe list")
