"""`tune`: searches settings on the validation part, makes the winner as a plain artifact, and names it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wbltr.cli.console import number
from wbltr.cli.making import AFTER_FEATURES
from wbltr.cli.request import Request
from wbltr.cli.session import Session
from wbltr.cli.start import Verb
from wbltr.errors import WbltrError
from wbltr.recipe import Recipe, available_precision
from wbltr.report.results import accuracies

if TYPE_CHECKING:
    from wbltr.studies.study import Trial

CLASSIFIER = Verb("tune classifier", "latest/features", ("features",), AFTER_FEATURES, study=True)
TRIALS = 100
SHOWN = 5


def classifier(
    request: Request, trials: int | None, minutes: float | None, batch: int, ranges: Sequence[str], storage: str | None
) -> None:
    """The second stage's weight decay, radius and what else --range names."""
    from wbltr.studies.space import parse
    from wbltr.studies.study import Study
    from wbltr.studies.tune import Budget, study_name, tune_classifier

    space = parse("classifier", ranges)
    session = Session(CLASSIFIER, request)
    _check(session)
    if request.dry_run:
        session.plan({None: [session.chain.features, session.chain.embeddings("train"), session.chain.embeddings("val")]})
        return
    features = session.make(session.chain.features).artifact
    name = study_name("classifier", session.recipe, features.object_id, space)
    place = storage or _journal(session, name)
    study = Study(name, place, space, session.recipe.classifier.seed)
    before = len(study.finished())
    wanted = trials if trials is not None or minutes is not None else TRIALS
    session.console.notice(
        f"study {name} in {place}: " + (f"goes on after {before} trials" if before else "new")
        + f"; {', '.join(f'{field} {tried}' for field, tried in space.items())}"
    )  # fmt: skip
    begun = time.monotonic()
    budget = Budget(wanted, lambda: minutes is not None and time.monotonic() - begun > 60 * minutes)

    def told(finished: Sequence[Trial]) -> None:
        sound = [trial for trial in finished if trial.accuracy is not None]
        if sound:
            top = max(sound, key=lambda trial: trial.accuracy or 0.0)
            session.console.notice(f"{len(finished)} trials, the best so far {_words(top, session.recipe)}")

    with session.working([session.chain.embeddings("train"), session.chain.embeddings("val")]):
        winner, section = tune_classifier(
            study,
            session.chain,
            session.maker.load,
            budget,
            at_once=batch,
            precision=available_precision(),
            told=told,
        )
        made = session.maker.make(session.chain.classifier(section))
        on_val = session.chain.on("val").evaluation(made.artifact)
        evaluated, tensors = session.maker.load(on_val)
    session.store.set_ref(_ref(session), made.artifact.object_id)
    session.name_results([made])
    finished = study.finished()
    again = accuracies(tensors)["all"]
    diverged = sum(trial.accuracy is None for trial in finished)
    if request.json:
        session.console.document(
            session.document(
                made,
                {
                    "study": name,
                    "storage": place,
                    "trials": len(finished),
                    "diverged": diverged,
                    "best": {"values": dict(winner.values), "val": number_of(winner)},
                    "val": again,
                    "ref": _ref(session),
                    "evaluation": evaluated.artifact.object_id,
                },
            )
        )
        return
    sound = sorted((t for t in finished if t.accuracy is not None), key=lambda t: -(t.accuracy or 0.0))
    for trial in sound[:SHOWN]:
        session.console.notice(f"  trial {trial.number:>4}: {_words(trial, session.recipe)}")
    if diverged:
        session.console.notice(f"{diverged} of {len(finished)} trials diverged and were left out")
    session.console.notice(f"made alone: {number(again)} on validation; named {_ref(session)}")
    session.console.result(made.artifact.object_id)
    session.console.notice(f"next: wbltr eval --from {made.artifact.object_id[:12]}, which opens the test set")


def number_of(trial: Trial) -> float | None:
    """A trial's accuracy in per cent."""
    return None if trial.accuracy is None else round(100 * trial.accuracy, 2)


def _words(trial: Trial, recipe: Recipe) -> str:
    """`43.9 on validation: weight_decay 0.0012 (lr·λ 1.2e-05), radius 0.43`."""
    values: dict[str, Any] = dict(trial.values)
    lr = values.get("lr", recipe.classifier.lr)
    told = []
    for name, value in values.items():
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        told.append(f"{name} {text}" + (f" (lr·λ {lr * value:.2g})" if name == "weight_decay" else ""))
    return f"{number(number_of(trial))} on validation: {', '.join(told)}"


def _check(session: Session) -> None:
    """Refuse before the work what cannot be tuned."""
    if session.recipe.dataset.val == "none":
        raise WbltrError("nothing to choose by: the dataset has no validation part", "see dataset.val", "recipe")
    if session.recipe.classifier.through_network:
        hint = "tune with classifier.layers=1 and mode=cached"
        raise WbltrError("tune classifier trains heads on cached embeddings, not layers of the network", hint, "recipe")
    session.store.check_ref(_ref(session))


def _ref(session: Session) -> str:
    return f"tuned/{session.recipe.name}"


def _journal(session: Session, name: str) -> str:
    folder = session.store.root / "studies"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        hint = "name another place: --storage FILE|URL"
        raise WbltrError(f"{folder}: cannot be made: {error.strerror}", hint, "disk") from None
    return str(folder / f"{name}.journal")
