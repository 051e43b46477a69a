"""What `compare` tells: a table with an interval and the paper's figure, and how far rows lie above one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wbltr.cli.console import number, with_deviation
from wbltr.cli.rows import COLUMNS, tell_what_never_moved, what_never_moved
from wbltr.cli.session import Session
from wbltr.methods.rows import Row
from wbltr.pipeline import Made
from wbltr.report import uncertainty
from wbltr.report.caption import caption
from wbltr.report.paper import figures
from wbltr.report.results import Spread, accuracies, difference, spread
from wbltr.report.uncertainty import REPLICATES, Paired
from wbltr.report.words import label

Runs = dict[int, tuple[Made, Mapping[str, Any]]]  # seed → eval artifact with its tensors


def tell(session: Session, made: Mapping[Row, Runs], against: Row | None) -> None:
    """Print the table, and below it the differences from `against`; or the document."""
    recipe, loss = session.recipe, session.recipe.classifier.loss
    once = {row: _once(runs) for row, runs in made.items()}
    spreads = {row: _spreads(runs) for row, runs in once.items()}
    sure = {row: uncertainty.intervals(*(tensors for _, tensors in runs)) for row, runs in once.items()}
    pairs = {} if against is None else {row: _paired(made[row], made[against]) for row in made if row != against}
    paper = {row: figures(recipe.dataset.source, recipe.dataset.imbalance_factor, row) for row in made}
    published = {row: found.all if found is not None else None for row, found in paper.items()}
    differences = {row: difference(spreads[row]["all"].mean, published[row]) for row in made}
    last, tensors = list(once.values())[-1][-1]
    still = what_never_moved(session, {row: [run for run, _ in runs] for row, runs in once.items()})
    if session.request.json:
        told = {
            "rows": {row: {column: one.mean for column, one in of_row.items()} for row, of_row in spreads.items()},
            "n": {row: of_row["all"].n for row, of_row in spreads.items()},
            "sd": {row: {column: one.sd for column, one in of_row.items()} for row, of_row in spreads.items()},
            "interval": {row: uncertainty.document(found) for row, found in sure.items()},
            "paper": {row: found and {c: getattr(found, c) for c in COLUMNS[1:]} for row, found in paper.items()},
            "difference": differences,
            "heads": {row: [run.artifact.inputs["head"] for run, _ in runs] for row, runs in once.items()},
            "max_norm_never_moved": still,
        }
        if against is not None:
            told["paired"] = {row: uncertainty.paired_document(against, found) for row, found in pairs.items()}
        session.console.document(session.document(last, told))
        return
    seeded = len(session.seeds) > 1
    printed = any(value is not None for value in published.values())
    columns = (*COLUMNS, *(("n",) if seeded else ()), *(("paper", "difference") if printed else ()))
    lines = [
        (
            label(row, loss),
            f"{with_deviation(of_row['all'].mean, of_row['all'].sd)} {uncertainty.in_brackets(sure[row]['all'])}",
            *(number(of_row[column].mean) for column in COLUMNS[2:]),
            *((str(of_row["all"].n),) if seeded else ()),
            *((number(published[row]), _signed(differences[row])) if printed else ()),
        )
        for row, of_row in spreads.items()
    ]
    rows = session.behind_rows({row: runs[-1][0] for row, runs in once.items()})
    under = [caption(recipe, last.artifact.config, tensors, "", rows=rows)]
    under.append(f"(low–high): 95 % of {REPLICATES:,} bootstrap samples, images drawn with replacement within each class")
    if seeded:
        under[-1] += " and pooled over the seeds"
        under.append(
            f"mean ± standard deviation over seeds {', '.join(map(str, session.seeds))} of the second stage; one first stage; "
            "the splits' deviations: --json"
        )
    if printed:
        under.append("paper: all classes, Alshammari et al., CVPR 2022; the epoch and λ, δ, τ chosen on the test set there")
    if against is not None:
        under += ["", *(uncertainty.in_words(row, against, found) for row, found in pairs.items())]
        under.append("points, 95 % of as many paired samples of the same images; McNemar counts images, not classes")
    session.console.table(columns, lines, "\n".join(under))
    tell_what_never_moved(session, still)
    row, head = list(made)[-1], last.artifact.inputs["head"]
    session.console.notice(
        f"next: wbltr eval --from {head[:12]} ({label(row, loss).removeprefix('+ ')}), or wbltr report --table 4"
    )


def _once(runs: Runs) -> list[tuple[Made, Mapping[str, Any]]]:
    """A head without randomness is the same artifact for every seed: one measurement, not several."""
    found: dict[str, tuple[Made, Mapping[str, Any]]] = {}
    for made, tensors in runs.values():
        found.setdefault(made.artifact.object_id, (made, tensors))
    return list(found.values())


def _spreads(runs: list[tuple[Made, Mapping[str, Any]]]) -> dict[str, Spread]:
    found = [accuracies(tensors) for _, tensors in runs]
    return {column: spread(one[column] for one in found) for column in COLUMNS[1:]}


def _paired(runs: Runs, against: Runs) -> Paired:
    """Seed by seed; two heads without randomness are one pair."""
    pairs = {}
    for seed, (made, tensors) in runs.items():
        other, others = against[seed]
        pairs[made.artifact.object_id, other.artifact.object_id] = (tensors, others)
    return uncertainty.paired(list(pairs.values()))


def _signed(value: float | None) -> str:
    return "n/a" if value is None else uncertainty.signed(value)
