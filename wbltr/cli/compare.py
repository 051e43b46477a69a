"""`compare`: many rows on one first stage, seed by seed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from wbltr.cli.maker import Maker
from wbltr.cli.seeds import with_seed
from wbltr.cli.session import Session
from wbltr.cli.side_by_side import Runs, tell
from wbltr.errors import WbltrError, closest
from wbltr.methods.rows import ROWS, Row
from wbltr.pipeline import Artifact, Node, artifact, planned
from wbltr.recipe import FeaturesConfig, Recipe
from wbltr.report.tables import rows_of
from wbltr.report.words import count

KNOWN = tuple(ROWS)
NAIVE: tuple[Row, ...] = ("naive", "naive-tau")


def run(session: Session, heads: str, naive: str | None, against: str | None) -> None:
    """Make the rows and print the table.

    Args:
        heads: comma-separated rows; or `paper`, those of its Table 4, or `all`: of both the rows that the recipe has
            settings for, the naive ones only where such features are finished or named.
        naive: the features artifact that the naive rows stand on.
        against: the row that every other one is paired with.
    """
    rows, named = _chosen(session.recipe, heads)
    base = None if against is None else _known("--against", against)
    makers = _makers(session)
    if naive is not None:
        _name_naive(session, makers, naive)
    first = next(iter(makers.values()))
    if not named:
        rows = _possible(session, rows)
    if not named and naive is None and set(NAIVE) & set(rows) and not _finished(session, first.chain.naive.features):
        rows = tuple(row for row in rows if row not in NAIVE)
        named_so = shlex.quote(session.request.recipe or session.recipe.name)
        session.console.notice(
            "the naive rows are left out: no features of this recipe without weight decay are finished; make them: "
            f"wbltr train-features --recipe {named_so} --set features.weight_decay=0"
        )
    if base is not None:
        rows = tuple(row for row in KNOWN if row in rows or row == base)
        if len(rows) == 1:
            raise WbltrError(f"--against {base}: it is the only row", "name others: --heads A,B,C", "usage")
    nodes = {seed: {row: maker.chain.measured(row) for row in rows} for seed, maker in makers.items()}
    if session.request.dry_run:
        session.plan({(seed if session.seeds else None): [*of_seed.values()] for seed, of_seed in nodes.items()})
        return
    _say_what_takes_long(session, nodes)
    made: dict[Row, Runs] = {row: {} for row in rows}
    with session.working([node for of_seed in nodes.values() for node in of_seed.values()]):
        for seed, of_seed in nodes.items():
            for row, node in of_seed.items():
                made[row][seed] = makers[seed].load(node)
    tell(session, made, base)


def _say_what_takes_long(session: Session, nodes: Mapping[int, Mapping[Row, Node]]) -> None:
    """Heads take seconds; rows that train more of the network take minutes or hours."""
    long = {
        row: None
        for of_seed in nodes.values()
        for row, node in of_seed.items()
        for step, found in planned(session.store, node)
        if step.stage.name == "finetune" and found is None
    }
    if long:
        epochs = count(session.recipe.classifier.epochs, "epoch")
        seeds = f", for {len(nodes)} seeds" if len(nodes) > 1 else ""
        session.console.notice(f"through the network, {epochs} each{seeds}: {', '.join(long)}; leave them out: --heads A,B,C")


def _chosen(recipe: Recipe, heads: str) -> tuple[tuple[Row, ...], bool]:
    """The rows that --heads means, in the paper's order, and whether it names each."""
    if heads in ("paper", "all"):
        return tuple(row for row in KNOWN if heads == "all" or row in rows_of(4, recipe)), False
    asked = [_known("--heads", word.strip()) for word in heads.split(",") if word.strip()]
    if not asked:
        raise WbltrError("--heads: name at least one", f"paper, all, or rows: {', '.join(KNOWN)}", "usage")
    return tuple(row for row in KNOWN if row in asked), True


def _known(option: str, word: str) -> Row:
    for row in KNOWN:
        if row == word:
            return row
    raise WbltrError(f"{option}: no row '{word}'.{closest(word, list(KNOWN))}", f"rows: {', '.join(KNOWN)}", "usage")


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
