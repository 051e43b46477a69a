"""`compare`: every row of the paper's Table 4 on one first stage, with the paper's figure beside each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from wbltr.cli.console import number, with_deviation
from wbltr.cli.maker import Maker
from wbltr.cli.rows import COLUMNS, tell_what_never_moved, what_never_moved
from wbltr.cli.seeds import with_seed
from wbltr.cli.session import Session
from wbltr.errors import WbltrError, closest
from wbltr.pipeline import Artifact, Made, Node, artifact, planned
from wbltr.recipe import FeaturesConfig, Row
from wbltr.report.paper import figures
from wbltr.report.results import Spread, difference, eval_document, spread
from wbltr.report.words import caption, label

NAIVE: tuple[Row, ...] = ("naive", "naive-tau")


def run(session: Session, heads: str | None, naive: str | None) -> None:
    """Make the rows and print the table.

    Args:
        heads: comma-separated rows; None: all, the naive ones only where such features are finished or named.
        naive: the features artifact that the naive rows stand on.
    """
    rows = _chosen(heads)
    makers = _makers(session)
    if naive is not None:
        _name_naive(session, makers, naive)
    first = next(iter(makers.values()))
    if heads is None:
        rows = _possible(session, rows)
    if heads is None and naive is None and set(NAIVE) & set(rows) and not _finished(session, first.chain.naive.features):
        rows = tuple(row for row in rows if row not in NAIVE)
        session.console.notice(
            "the naive rows are left out: no features of this recipe without weight decay are finished; make them: "
            f"wbltr train-features --recipe {session.recipe.name} --set features.weight_decay=0"
        )
    nodes = {seed: {row: maker.chain.measured(row) for row in rows} for seed, maker in makers.items()}
    if session.request.dry_run:
        session.plan({(seed if session.seeds else None): [*of_seed.values()] for seed, of_seed in nodes.items()})
        return
    made: dict[Row, dict[str, tuple[Made, dict[str, Any], Mapping[str, Any]]]] = {row: {} for row in rows}
    with session.working([node for of_seed in nodes.values() for node in of_seed.values()]):
        for seed, of_seed in nodes.items():
            for row, node in of_seed.items():
                found, tensors = makers[seed].load(node)
                # A head without randomness is the same artifact for every seed: one measurement, not several.
                made[row].setdefault(found.artifact.object_id, (found, eval_document(tensors, found.artifact.config), tensors))
    _tell(session, made)


def _chosen(heads: str | None) -> tuple[Row, ...]:
    """The rows that --heads names, in the paper's order."""
    known: tuple[Row, ...] = get_args(Row)
    if heads is None:
        return known
    asked = [word.strip() for word in heads.split(",") if word.strip()]
    for word in asked:
        if word not in known:
            raise WbltrError(f"--heads: no row '{word}'.{closest(word, list(known))}", f"rows: {', '.join(known)}", "usage")
    if not asked:
        raise WbltrError("--heads: name at least one", f"rows: {', '.join(known)}", "usage")
    return tuple(row for row in known if row in asked)


def _possible(session: Session, rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Those of the rows that the recipe has settings for; of the others it is said why they are left out."""
    left_out: dict[str, list[str]] = {}
    kept = []
    for row in rows:
        if row in NAIVE and session.recipe.features.weight_decay == 0:
            continue  # the first stage is this row
        try:
            session.chain.measured(row)
        except WbltrError as error:
            left_out.setdefault(error.hint, []).append(row)
        else:
            kept.append(row)
    for hint, names in left_out.items():
        session.console.notice(f"left out: {', '.join(names)}; {hint}")
    if not kept:
        raise WbltrError("the recipe has settings for no row at all", "see wbltr recipe show", "recipe")
    return tuple(kept)


def _makers(session: Session) -> dict[int, Maker]:
    """A maker for each seed of the second stage; all share the first stage."""
    own = session.recipe
    makers = {}
    for seed in session.seeds or (own.classifier.seed,):
        recipe = with_seed(own, seed, session.verb.seeded)
        makers[seed] = session.maker.beside(recipe, "") if session.seeds else session.maker
        makers[seed].chain.features = session.chain.features
    return makers


def _finished(session: Session, features: Node | Artifact) -> bool:
    return isinstance(features, Artifact) or planned(session.store, features)[-1][1] is not None


def _name_naive(session: Session, makers: Mapping[int, Maker], asked: str) -> None:
    """Let the naive rows stand on the artifact of --naive, after a look whether it can be compared."""
    found = artifact(session.store, session.store.resolve(asked))
    if found.stage != "features":
        raise WbltrError(f"--naive {asked}: expected features, found {found.stage}", "see wbltr store ls", "usage")
    if found.config.get("weight_decay") != 0:
        decay = f"were trained with weight decay {found.config.get('weight_decay')}"
        raise WbltrError(f"--naive {asked}: these features {decay}", "name those of features.weight_decay=0", "usage")
    own = session.recipe.features
    if own.weight_decay == 0:
        raise WbltrError(f"--naive {asked}: the first stage is naive itself", "leave --naive out", "usage")
    theirs = FeaturesConfig.model_validate(dict(found.config))
    alike = theirs.model_copy(update={"weight_decay": own.weight_decay, "precision": own.precision})
    if differing := [name for name in FeaturesConfig.model_fields if getattr(alike, name) != getattr(own, name)]:
        told = ", ".join(f"{name} {getattr(theirs, name)} instead of {getattr(own, name)}" for name in differing)
        raise WbltrError(f"--naive {asked}: these features differ in more than weight decay: {told}", "name others", "usage")
    for maker in makers.values():
        dataset = maker.chain.dataset
        of = dataset if isinstance(dataset, Artifact) else planned(session.store, dataset)[-1][1]
        if of is not None and found.inputs.get("dataset") != of.object_id:
            raise WbltrError(f"--naive {asked}: these features are of another dataset", "see wbltr store show", "usage")
        maker.chain.naive.features = found


def _tell(session: Session, made: Mapping[Row, Mapping[str, tuple[Made, dict[str, Any], Mapping[str, Any]]]]) -> None:
    recipe, loss = session.recipe, session.recipe.classifier.loss
    spreads: dict[Row, dict[str, Spread]] = {
        row: {column: spread(document["accuracy"][column] for _, document, _ in runs.values()) for column in COLUMNS[1:]}
        for row, runs in made.items()
    }
    paper = {row: figures(recipe.dataset.source, recipe.dataset.imbalance_factor, row) for row in made}
    published = {row: found.all if found is not None else None for row, found in paper.items()}
    differences = {row: difference(spreads[row]["all"].mean, published[row]) for row in made}
    last, _, tensors = list(list(made.values())[-1].values())[-1]
    still = what_never_moved(session, {row: [run[0] for run in runs.values()] for row, runs in made.items()})
    if session.request.json:
        told = {
            "rows": {row: {column: one.mean for column, one in of_row.items()} for row, of_row in spreads.items()},
            "n": {row: of_row["all"].n for row, of_row in spreads.items()},
            "sd": {row: {column: one.sd for column, one in of_row.items()} for row, of_row in spreads.items()},
            "paper": {row: found and {c: getattr(found, c) for c in COLUMNS[1:]} for row, found in paper.items()},
            "difference": differences,
            "heads": {row: [run[0].artifact.inputs["head"] for run in runs.values()] for row, runs in made.items()},
            "max_norm_never_moved": still,
        }
        session.console.document(session.document(last, told))
        return
    seeded = len(session.seeds) > 1
    printed = any(value is not None for value in published.values())
    columns = (*COLUMNS, *(("n",) if seeded else ()), *(("paper", "difference") if printed else ()))
    lines = [
        (
            label(row, loss),
            *(with_deviation(of_row[column].mean, of_row[column].sd) for column in COLUMNS[1:]),
            *((str(of_row["all"].n),) if seeded else ()),
            *((number(published[row]), _signed(differences[row])) if printed else ()),
        )
        for row, of_row in spreads.items()
    ]
    under = caption(recipe, last.artifact.config, tensors, "")
    if seeded:
        under += (
            f"\nmean ± standard deviation over seeds {', '.join(map(str, session.seeds))} of the second stage; one first stage"
        )
    if printed:
        under += "\npaper: all classes, Alshammari et al., CVPR 2022; the epoch and λ, δ, τ chosen on the test set there"
    session.console.table(columns, lines, under)
    tell_what_never_moved(session, still)
    row = list(made)[-1]
    head = next(iter(made[row].values()))[0].artifact.inputs["head"]
    session.console.notice(
        f"next: wbltr eval --from {head[:12]} ({label(row, loss).removeprefix('+ ')}), or wbltr report --table 4"
    )


def _signed(value: float | None) -> str:
    return "n/a" if value is None else f"{value:+.1f}"
