"""A study: trials asked of Optuna and told to it, in a storage that outlives this process and may be shared by several."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from wbltr.errors import WbltrError
from wbltr.studies.sampler import STARTUP, sampler
from wbltr.studies.space import Choice, Space
from wbltr.studies.storage import Storage

PRUNE_AFTER = 4  # trials that must have come to their end
BEAT = 60.0  # seconds between two signs of life of a running trial
SILENT = 180.0  # seconds without one, after which its process is taken for dead


@dataclass(frozen=True)
class Trial:
    """One finished trial.

    Attributes:
        number: in the study, from 0.
        values: what was tried, by name.
        accuracy: on the validation part, share; None where it diverged or was pruned.
        curve: of a pruned one: accuracy by epoch.
    """

    number: int
    values: Mapping[str, Any]
    accuracy: float | None
    curve: Mapping[int, float] | None = None


@dataclass(frozen=True)
class Past:
    """A study to look at.

    Attributes:
        name: in its storage.
        begun: when its first trial was.
        facts: what it was begun with; empty for one that did not keep them.
        trials: those that came to their end.
    """

    name: str
    begun: datetime
    facts: Mapping[str, Any]
    trials: Sequence[Trial]


class Pruned(Exception):
    """A trial that others have left behind."""


class Study:
    """Asks for values to try and keeps what they gave.

    Args:
        name: of the study in its storage; the same name goes on with the same study.
        storage: where it lies.
        space: what is tried.
        seed: of the sampler.
        warm_up: epochs before a trial may be pruned, where trials report epochs.
        facts: what it is about, as JSON values; kept with it.

    Raises:
        WbltrError: code "missing" when the storage cannot be used, here and in every method.
    """

    def __init__(
        self,
        name: str,
        storage: Storage,
        space: Space,
        seed: int,
        warm_up: int = 0,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        import optuna

        self.name, self.storage, self.space = name, storage, space
        with storage.reached():
            self._study = optuna.create_study(
                storage=storage.optuna,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                sampler=sampler(seed),
                # A strong weight decay starts slowly, and a cosine schedule ends steeply: nobody is judged early.
                pruner=optuna.pruners.MedianPruner(n_startup_trials=PRUNE_AFTER, n_warmup_steps=warm_up),
            )
            if facts is not None and "facts" not in self._study.user_attrs:
                self._study.set_user_attr("facts", dict(facts))

    def finished(self) -> list[Trial]:
        """Every trial that came to its end, whichever process ran it."""
        with self.storage.reached():
            return _finished(self._study)

    def run(self, count: int, measure: Callable[[Sequence[Mapping[str, Any]]], Sequence[float]]) -> list[Trial]:
        """Try so many at once.

        Args:
            count: how many.
            measure: values of each → accuracy of each, share; NaN for one that diverged. What it raises leaves these trials
                unfinished, and the study as it was.
        """
        asked = [self._asked() for _ in range(count)]
        accuracies: Sequence[float | None] = [None] * count
        try:
            with _alive(asked):
                accuracies = measure([trial.params for trial in asked])
        finally:
            for trial, accuracy in zip(asked, accuracies, strict=True):
                self._tell(trial, accuracy)
        return [
            Trial(
                trial.number, dict(trial.params), float(accuracy) if accuracy is not None and math.isfinite(accuracy) else None
            )
            for trial, accuracy in zip(asked, accuracies, strict=True)
        ]

    def run_one(self, measure: Callable[[Mapping[str, Any], Callable[[int, float], None]], float]) -> None:
        """Try one, which says how far it is.

        Args:
            measure: values and `report(epochs, accuracy)` → accuracy, share. `report` raises `Pruned` where the trial is left
                behind; a WbltrError of code "training" counts as diverged, whatever else it raises leaves the trial unfinished.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        trial = self._asked()

        def report(epochs: int, accuracy: float) -> None:
            behind = True  # also where this process was taken for dead meanwhile, and the trial given up
            with self.storage.reached(), suppress(UpdateFinishedTrialError):
                trial.report(accuracy, epochs)
                behind = trial.should_prune()
            if behind:
                raise Pruned

        accuracy: float | None = None
        pruned = False
        try:
            with _alive([trial]):
                accuracy = measure(trial.params, report)
        except Pruned:
            pruned = True
        except WbltrError as error:
            if error.code != "training":
                raise
            accuracy = math.nan
        finally:
            self._tell(trial, accuracy, pruned=pruned)

    def _asked(self) -> Any:
        """A trial, its values drawn; trials of processes that died are given up first."""
        distributions = {name: _distribution(wanted) for name, wanted in self.space.items()}
        with self.storage.reached():
            self._give_up_the_dead()
            trial = self._study.ask(distributions)
            trial.set_user_attr("alive", time.time())
        return trial

    def _give_up_the_dead(self) -> None:
        from optuna.trial import TrialState

        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            begun = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
            if time.time() - trial.user_attrs.get("alive", begun) > SILENT:
                self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def _tell(self, trial: Any, accuracy: float | None, *, pruned: bool = False) -> None:
        """How a trial ended; without an accuracy and not pruned it was left unfinished, with NaN it diverged."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        # Where this process was taken for dead meanwhile, the trial has been given up, and stays so.
        with self.storage.reached(), suppress(UpdateFinishedTrialError):
            if accuracy is not None and math.isfinite(accuracy):
                self._study.tell(trial, float(accuracy), skip_if_finished=True)
                return
            if accuracy is not None:
                trial.set_user_attr("diverged", True)
            self._study.tell(trial, state=TrialState.PRUNED if pruned else TrialState.FAIL, skip_if_finished=True)


def past(storage: Storage) -> list[Past]:
    """Every study of a storage that has finished trials."""
    import optuna

    found = []
    with storage.reached():
        for one in optuna.get_all_study_summaries(storage.optuna, include_best_trial=False):
            study = optuna.load_study(study_name=one.study_name, storage=storage.optuna)
            if one.datetime_start is not None and (trials := _finished(study)):
                found.append(Past(one.study_name, one.datetime_start, study.user_attrs.get("facts", {}), trials))
    return found


def best(trials: Sequence[Trial]) -> Trial:
    """The best of the trials; of several the first.

    Raises:
        WbltrError: code "training" when every one of them diverged.
    """
    sound = [trial for trial in trials if trial.accuracy is not None]
    if not sound:
        raise WbltrError(
            f"all {len(trials)} trials diverged or were stopped", "narrow the search: --range lr=1e-4..1e-2", "training"
        )
    return max(sound, key=lambda trial: (trial.accuracy or 0.0, -trial.number))


def hopeless(trials: Sequence[Trial]) -> bool:
    """Whether so many have diverged and none has not, that more of them would be a waste."""
    return len(trials) >= STARTUP and all(trial.accuracy is None and trial.curve is None for trial in trials)


@contextmanager
def _alive(trials: Sequence[Any]) -> Iterator[None]:
    """While they run, trials give signs of life, by which other processes tell them from those of a dead one."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT):
            for trial in trials:
                with suppress(Exception):  # a storage that is gone is told of where its answer is needed
                    trial.set_user_attr("alive", time.time())

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _finished(study: Any) -> list[Trial]:
    from optuna.trial import TrialState

    found = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)):
        if trial.state == TrialState.COMPLETE:
            found.append(Trial(trial.number, dict(trial.params), trial.value))
        elif trial.state == TrialState.PRUNED:
            found.append(Trial(trial.number, dict(trial.params), None, dict(trial.intermediate_values)))
        elif trial.user_attrs.get("diverged"):
            found.append(Trial(trial.number, dict(trial.params), None))
    return found


def _distribution(wanted: Any) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(wanted, Choice):
        return CategoricalDistribution(wanted.values)
    return FloatDistribution(wanted.low, wanted.high, log=wanted.log)
