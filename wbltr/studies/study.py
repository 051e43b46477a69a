"""A study: trials asked of Optuna and told to it, in a storage that outlives this process and may be shared by several."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wbltr.errors import WbltrError
from wbltr.studies.space import Choice, Space

PRUNE_AFTER = 4  # trials that must have come to their end
STARTUP = 10  # trials drawn at random before the sampler learns from them


@dataclass(frozen=True)
class Trial:
    """One finished trial.

    Attributes:
        number: in the study, from 0.
        values: what was tried, by name.
        accuracy: on the validation part, share; None where it diverged or was pruned.
    """

    number: int
    values: Mapping[str, Any]
    accuracy: float | None
    curve: Mapping[int, float] | None = None  # of a pruned one: accuracy by epoch


class Pruned(Exception):
    """A trial that others have left behind."""


class Study:
    """Asks for values to try and keeps what they gave.

    Args:
        name: of the study in its storage; the same name goes on with the same study.
        storage: a file for Optuna's journal, or a database URL.
        space: what is tried.
        seed: of the sampler; with several processes on one study each should have its own.
        warm_up: epochs before a trial may be pruned, where trials report epochs.

    Raises:
        WbltrError: code "missing" when the storage cannot be reached.
    """

    def __init__(self, name: str, storage: str, space: Space, seed: int, warm_up: int = 0) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space = space
        self._failed = optuna.trial.TrialState.FAIL
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna calls several of its parts experimental
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=STARTUP, multivariate=True, group=True, constant_liar=True, seed=seed
            )
            try:
                self._study = optuna.create_study(
                    storage=_storage(storage),
                    study_name=name,
                    direction="maximize",
                    load_if_exists=True,
                    sampler=sampler,
                    # A strong weight decay starts slowly, and a cosine schedule ends steeply: nobody is judged early.
                    pruner=optuna.pruners.MedianPruner(n_startup_trials=PRUNE_AFTER, n_warmup_steps=warm_up),
                )
            except Exception as error:
                told = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise WbltrError(
                    f"--storage {storage}: cannot be used: {told:.200}",
                    "name a file, or a database URL that answers",
                    "missing",
                ) from None

    def finished(self) -> list[Trial]:
        """Every trial that came to its end, whichever process ran it."""
        from optuna.trial import TrialState

        found = []
        ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        for trial in self._study.get_trials(deepcopy=False, states=ended):
            if trial.state == TrialState.COMPLETE:
                found.append(Trial(trial.number, dict(trial.params), trial.value))
            elif trial.state == TrialState.PRUNED:
                found.append(Trial(trial.number, dict(trial.params), None, dict(trial.intermediate_values)))
            elif trial.user_attrs.get("diverged"):
                found.append(Trial(trial.number, dict(trial.params), None))
        return found

    def run(self, count: int, measure: Callable[[Sequence[Mapping[str, Any]]], Sequence[float]]) -> list[Trial]:
        """Try so many at once.

        Args:
            count: how many.
            measure: values of each → accuracy of each, share; NaN for one that diverged. What it raises leaves these trials
                unfinished, and the study as it was.
        """
        distributions = {name: _distribution(wanted) for name, wanted in self.space.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asked = [self._study.ask(distributions) for _ in range(count)]
        told = 0
        try:
            accuracies = measure([trial.params for trial in asked])
            for trial, accuracy in zip(asked, accuracies, strict=True):
                told += 1
                if math.isfinite(accuracy):
                    self._study.tell(trial, float(accuracy))
                else:
                    trial.set_user_attr("diverged", True)
                    self._study.tell(trial, state=self._failed)
        finally:
            for trial in asked[told:]:
                self._study.tell(trial, state=self._failed)
        return [
            Trial(trial.number, dict(trial.params), float(accuracy) if math.isfinite(accuracy) else None)
            for trial, accuracy in zip(asked, accuracies, strict=True)
        ]

    def run_one(self, measure: Callable[[Mapping[str, Any], Callable[[int, float], None]], float]) -> None:
        """Try one, which says how far it is.

        Args:
            measure: values and `report(epochs, accuracy)` → accuracy, share. `report` raises `Pruned` where the trial is left
                behind; a WbltrError of code "training" counts as diverged, whatever else it raises leaves the trial unfinished.
        """
        from optuna.trial import TrialState

        distributions = {name: _distribution(wanted) for name, wanted in self.space.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = self._study.ask(distributions)

        def report(epochs: int, accuracy: float) -> None:
            trial.report(accuracy, epochs)
            if trial.should_prune():
                raise Pruned

        state = TrialState.FAIL
        accuracy = None
        try:
            accuracy = measure(trial.params, report)
            state = TrialState.COMPLETE
        except Pruned:
            state = TrialState.PRUNED
        except WbltrError as error:
            if error.code != "training":
                raise
            trial.set_user_attr("diverged", True)
        finally:
            self._study.tell(trial, accuracy, state)


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


def _storage(place: str) -> Any:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    if "://" in place:
        return optuna.storages.RDBStorage(place, heartbeat_interval=60, grace_period=180)
    # Its other lock is a link, which not every file system has.
    return optuna.storages.JournalStorage(JournalFileBackend(place, lock_obj=JournalFileOpenLock(place)))


def _distribution(wanted: Any) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(wanted, Choice):
        return CategoricalDistribution(wanted.values)
    return FloatDistribution(wanted.low, wanted.high, log=wanted.log)
