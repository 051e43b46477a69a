"""`tune`: searches settings on the validation part, makes the winner as a plain artifact, and names it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbltr.cli.console import number
from wbltr.cli.making import AFTER_FEATURES
from wbltr.cli.request import Request
from wbltr.cli.session import Session
from wbltr.cli.start import Verb
from wbltr.errors import WbltrError, closest
from wbltr.methods.losses import LOSSES
from wbltr.methods.rows import ROWS, Row
from wbltr.pipeline import Made, artifact
from wbltr.recipe import Recipe, available_precision
from wbltr.report.results import accuracies, per_cent
from wbltr.stages import CARRY_A_HEAD
from wbltr.store import Store

if TYPE_CHECKING:
    from wbltr.studies.space import Space, Target
    from wbltr.studies.study import Study, Trial
    from wbltr.studies.tune import Budget

FEATURES = Verb("tune features", study=True)
CLASSIFIER = Verb("tune classifier", "latest/features", ("features",), AFTER_FEATURES, study=True)
TAU = Verb("tune tau", "latest/features", CARRY_A_HEAD, AFTER_FEATURES, study=True)
SUFFIX = {FEATURES: "-features", CLASSIFIER: "", TAU: "-tau"}  # of the winner's name
TRIALS: Mapping[str, int] = {"features": 20, "classifier": 100}
SHOWN = 5


@dataclass(frozen=True)
class Asked:
    """What `tune` takes beside the common options.

    Attributes:
        trials, minutes: when to end; None: no bound, and with neither the default number of trials.
        ranges: --range.
        storage: a file or a database URL; None: a file in the store.
    """

    trials: int | None
    minutes: float | None
    ranges: Sequence[str]
    storage: str | None


def classifier(request: Request, asked: Asked, batch: int) -> None:
    """The second stage's weight decay, radius and what else --range names."""
    from wbltr.studies.space import check, parse
    from wbltr.studies.tune import study_name, tune_classifier

    space = parse("classifier", asked.ranges)
    session = Session(CLASSIFIER, request)
    _check(session)
    section = session.recipe.classifier
    if section.through_network or section.head != "linear" or LOSSES[section.loss].teacher:
        hint = "tune with classifier.layers=1, mode=cached, head=linear and no teacher"
        raise WbltrError("tune classifier trains linear heads on cached embeddings, many at once", hint, "recipe")
    check(section, space)
    embeddings = [session.chain.embeddings("train"), session.chain.embeddings("val")]
    if request.dry_run:
        session.plan({None: [session.chain.features, *embeddings]})
        return
    features = session.make(session.chain.features).artifact
    name = study_name("classifier", session.recipe, features.object_id, space)
    study, budget = _opened(session, "classifier", name, space, asked, "the second stage")
    with session.working(embeddings):
        winner, section = tune_classifier(
            study,
            session.chain,
            session.maker.load,
            budget,
            at_once=batch,
            precision=available_precision(),
            told=lambda finished: _tell_best(session, finished),
        )
        made = session.maker.make(session.chain.classifier(section))
        evaluated, tensors = session.maker.load(session.chain.on("val").evaluation(made.artifact))
    _tell(session, made, study, winner, accuracies(tensors)["all"], evaluated)


def tau(request: Request) -> None:
    """τ by a sweep: of the head that --from names, else of the one that the recipe's `posthoc.of` means."""
    for text in request.set:
        field = text.partition("=")[0].strip()
        if field in ("posthoc", "posthoc.method", "posthoc.tau"):
            raise WbltrError(f"--set {text}: the command itself says so", "to set τ: wbltr posthoc tau --tau NUMBER", "usage")
        if field == "posthoc.of" and request.start is not None:
            raise WbltrError(f"--set {text}: --from names the head already", "leave one of them out", "usage")
    session = Session(TAU, request, ("posthoc.method=tau", "posthoc.tau=val"))
    _check(session)
    node = session.chain.posthoc(session.recipe.posthoc, session.start if request.start is not None else None)
    if request.dry_run:
        session.plan({None: [node]})
        return
    made, tensors = session.load(node)
    session.store.set_ref(_ref(session), made.artifact.object_id)
    session.name_results([made])
    curve = {
        round(float(t), 1): per_cent(float(share))
        for t, share in zip(tensors["sweep.tau"], tensors["sweep.accuracy"], strict=True)
    }
    chosen = round(float(tensors["tau"]), 1)
    if request.json:
        sweep = {"tau": list(curve), "val": list(curve.values())}
        session.console.document(
            session.document(made, {"tau": chosen, "val": curve[chosen], "sweep": sweep, "ref": _ref(session)})
        )
        return
    of = session.head_name(artifact(session.store, made.artifact.inputs["head"])).removeprefix("+ ")
    session.console.notice(f"τ on {of}, validation; a line a whole number, a column a tenth:")
    session.console.notice("    " + "".join(f"{tenth / 10:>6.1f}" for tenth in range(10)))
    for whole in range(4):
        line = [number(curve[t]) for tenth in range(10) if (t := round(whole + tenth / 10, 1)) in curve]
        session.console.notice(f"{whole:>4}" + "".join(f"{cell:>6}" for cell in line))
    session.console.notice(f"best: τ {chosen:g}, {number(curve[chosen])} on validation; named {_ref(session)}")
    if chosen == max(curve):
        session.console.notice(f"the best lies at the end of the sweep; further: wbltr posthoc tau --tau {chosen + 0.5:g}")
    session.console.result(made.artifact.object_id)
    _tell_next(session, made)


def features(request: Request, asked: Asked, row: Row) -> None:
    """The first stage's weight decay, and its learning rate where --range names it; judged by a row on validation."""
    from wbltr.studies.space import check, parse
    from wbltr.studies.tune import study_name, tune_features

    space = parse("features", asked.ranges)
    session = Session(FEATURES, request)
    if session.recipe.features.network == "none":
        hint = "tune the heads: wbltr tune classifier, or compare a few trainings with wbltr plot weight-decay"
        raise WbltrError("tune features trains networks, which embeddings of one's own have not", hint, "usage")
    _check(session)
    check(session.recipe.features, space)
    if request.dry_run:
        session.plan({None: [session.chain.dataset]})
        return
    with session.working([session.chain.on("val").measured(row)]):
        dataset = session.maker.make(session.chain.dataset).artifact
        validation = _validation(session, dataset.object_id)
        name = study_name("features", session.recipe, dataset.object_id, space, row)
        study, budget = _opened(session, "features", name, space, asked, f"the row '{row}'")
        measured: list[tuple[Made, float | None, Made]] = []

        def judge(recipe: Recipe, probe: Callable[..., None]) -> float:
            maker = session.maker.beside(recipe, f"λ {recipe.features.weight_decay:.3g}")
            maker.runtime = replace(maker.runtime, probe=probe)
            made = maker.make(maker.chain.features)
            evaluated, tensors = maker.load(maker.chain.on("val").measured(row))
            measured.append((made, accuracies(tensors)["all"], evaluated))
            return float(tensors["accuracy.all"])

        winner, recipe = tune_features(
            study, session.recipe, judge, validation, budget, lambda finished: _tell_best(session, finished)
        )
        judge(recipe, lambda epochs, predict: None)
    made, again, evaluated = measured[-1]
    _tell(session, made, study, winner, again, evaluated)


def judging_row(text: str) -> Row:
    """--row: one that stands on the first stage alone.

    Raises:
        WbltrError: code "usage".
    """
    rows: tuple[Row, ...] = tuple(row for row in ROWS if not row.startswith("naive") and "last" not in row)
    for row in rows:
        if row == text:
            return row
    raise WbltrError(f"--row: no row '{text}'.{closest(text, list(rows))}", f"one of {', '.join(rows)}", "usage")


def _validation(session: Session, dataset: str) -> tuple[Any, Any]:
    """Images and labels by which a training is looked at on its way."""
    tensors = session.store.load(dataset, ("val.",))
    if "val.images" not in tensors:
        hint = "tune on embeddings with wbltr tune classifier, or compare a few trainings with wbltr plot weight-decay"
        raise WbltrError("tune features looks at images that the dataset holds; this one is a list of files", hint, "usage")
    return tensors["val.images"], tensors["val.labels"]


def _opened(session: Session, target: Target, name: str, space: Space, asked: Asked, judged: str) -> tuple[Study, Budget]:
    """The study, announced, and when it ends."""
    from wbltr.studies.storage import Storage
    from wbltr.studies.study import Study
    from wbltr.studies.tune import Budget

    storage = Storage(asked.storage or _journal(session, name))
    recipe = session.recipe
    facts = {"target": target, "recipe": recipe.model_dump(mode="json"), "judged": judged}
    study = Study(name, storage, space, getattr(recipe, target).seed, recipe.features.epochs // 2, facts)
    before = len(study.finished())
    others = len(storage.names()) - 1
    how = (
        f"goes on after {before} trials" if before else "new" + (f", beside {others} of other recipes or ranges" * (others > 0))
    )
    tried = ", ".join(f"{field} {wanted}" for field, wanted in space.items())
    session.console.notice(f"study {name} in {storage.shown}: {how}; {tried}")
    begun, minutes = time.monotonic(), asked.minutes
    trials = asked.trials if asked.trials is not None or minutes is not None else TRIALS[target]
    return study, Budget(trials, lambda: minutes is not None and time.monotonic() - begun > 60 * minutes)


def _tell_best(session: Session, finished: Sequence[Trial]) -> None:
    sound = [trial for trial in finished if trial.accuracy is not None]
    if sound:
        top = max(sound, key=lambda trial: trial.accuracy or 0.0)
        session.console.notice(f"{len(finished)} trials, the best so far {_words(top, session.recipe)}")


def _tell(session: Session, made: Made, study: Study, winner: Trial, again: float | None, evaluated: Made) -> None:
    """Name the winner, and tell of it and of the others."""
    from wbltr.studies.space import at_the_edge

    session.store.set_ref(_ref(session), made.artifact.object_id)
    session.name_results([made])
    finished = study.finished()
    pruned = sum(trial.curve is not None for trial in finished)
    diverged = sum(trial.accuracy is None for trial in finished) - pruned
    if session.request.json:
        told = {
            "study": study.name,
            "trials": len(finished),
            "diverged": diverged,
            "pruned": pruned,
            "best": {"number": winner.number, "values": dict(winner.values), "val": _per_cent(winner)},
            "val": again,
            "ref": _ref(session),
            "evaluation": evaluated.artifact.object_id,
        }
        session.console.document(session.document(made, told))
        return
    sound = sorted((trial for trial in finished if trial.accuracy is not None), key=lambda trial: -(trial.accuracy or 0.0))
    for trial in sound[:SHOWN]:
        session.console.notice(f"  trial {trial.number:>4}: {_words(trial, session.recipe)}")
    for count, what in ((diverged, "diverged"), (pruned, "were stopped early, left behind by the others")):
        if count:
            session.console.notice(f"{count} of {len(finished)} trials {what}")
    if edge := at_the_edge(study.space, winner.values):
        ranges = " ".join(f"--range {name}=…" for name in edge)
        session.console.notice(f"the best lies at the edge of what was tried ({', '.join(edge)}); further: {ranges}")
    session.console.notice(f"made alone: {number(again)} on validation; named {_ref(session)}")
    session.console.result(made.artifact.object_id)
    elsewhere = Path(study.storage.shown).parent != studies(session.store)
    where = f" --storage {shlex.quote(study.storage.shown)}" if elsewhere else ""
    session.console.notice(f"its picture: wbltr plot study --study {shlex.quote(study.name)}{where}")
    _tell_next(session, made)


def _tell_next(session: Session, made: Made) -> None:
    session.console.notice(f"next: wbltr eval --from {made.artifact.object_id[:12]}, which opens the test set")


def _per_cent(trial: Trial) -> float | None:
    return None if trial.accuracy is None else per_cent(trial.accuracy)


def _words(trial: Trial, recipe: Recipe) -> str:
    """`43.9 on validation: weight_decay 0.0012 (lr·λ 1.2e-05), radius 0.43`."""
    values: dict[str, Any] = dict(trial.values)
    lr = values.get("lr", recipe.classifier.lr if "radius" in values else recipe.features.lr)
    told = []
    for name, value in values.items():
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        told.append(f"{name} {text}" + (f" (lr·λ {lr * value:.2g})" if name == "weight_decay" else ""))
    return f"{number(_per_cent(trial))} on validation: {', '.join(told)}"


def _check(session: Session) -> None:
    """Refuse before the work what cannot be tuned."""
    if session.recipe.dataset.val == "none":
        raise WbltrError("nothing to choose by: the dataset has no validation part", "see dataset.val", "recipe")
    session.store.check_ref(_ref(session))


def _ref(session: Session) -> str:
    return f"tuned/{session.recipe.name}{SUFFIX[session.verb]}"


def studies(store: Store) -> Path:
    """The folder of the journals that no --storage put elsewhere."""
    return store.root / "studies"


def _journal(session: Session, name: str) -> str:
    folder = studies(session.store)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        hint = "name another place: --storage FILE|URL"
        raise WbltrError(f"{folder}: cannot be made: {error.strerror}", hint, "disk") from None
    return str(folder / f"{name}.journal")
